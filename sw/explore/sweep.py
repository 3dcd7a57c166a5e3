"""What is swept: axes from the command line or a file, and the grid that they span."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from hw.isa.config import Config, ConfigError

from ..dataflow import CHOICES
from ..options import rate_of
from ..tile_search import GOALS
from .point import ExploreError, Point, code_version
from .workload import Workload

__all__ = ["Axis", "Candidate", "Plan", "grid", "parse_axis", "read_axes"]

CAPACITIES = ("input_bytes", "weight_bytes", "output_bytes")
"""Keys that set a memory's depth by what all of it holds, whatever the array's shape."""
MOST = 100_000
"""Points of a grid, at most."""

Value = int | float | str


@dataclass(frozen=True)
class Axis:
    """Values that some keys, set alike, take one after the other."""

    keys: tuple[str, ...]
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Plan:
    """What all points have that no axis changes.

    Members
    -------
    config : Config
    workload : Workload
    dataflow : "auto", "ws" or "os"
    objective : str
    """

    config: Config
    workload: Workload
    dataflow: str
    objective: str


@dataclass(frozen=True)
class Candidate:
    """A place of the grid: the swept values, and their point, or why there is none.

    Members
    -------
    values : dict
        By key, in the order of the axes.
    point : Point or None
    refused : str or None
        What `Config` says of the values.
    """

    values: dict[str, Value]
    point: Point | None
    refused: str | None = None


def parse_axis(text: str) -> Axis:
    """Return the axis of ``KEY=VALUE,VALUE...``, or ``KEY=KEY=VALUE,...`` for keys set alike.

    Raises
    ------
    ExploreError
        A key is unknown, or a value is not of its kind.
    """
    *keys, values = text.split("=")
    if not keys:
        raise ExploreError(f"--sweep takes KEY=VALUE,VALUE,..., not {text!r}")
    return _axis(f"--sweep {text}", keys, values.split(","))


def read_axes(file: str) -> tuple[Axis, ...]:
    """Return the axes of a TOML file of lists, such as ``rows = [16, 32]``.

    Keys that are set alike are one quoted key: ``"rows=columns" = [16, 32]``.

    Raises
    ------
    ExploreError
        The file cannot be read, is not TOML, or has another form; else as `parse_axis`.
    """
    try:
        content = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ExploreError(f"--sweep-file: cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExploreError(f"--sweep-file: {file} is not TOML: {error}") from None
    axes = []
    for name, values in content.items():
        source = f"--sweep-file {file}"
        if not isinstance(values, list):
            raise ExploreError(f"{source}: {name} must be a list of values, not {values!r}")
        axes.append(_axis(source, name.split("="), [str(value) for value in values]))
    return tuple(axes)


def _axis(source: str, keys: list[str], texts: list[str]) -> Axis:
    kinds = _kinds()
    for key in keys:
        if key not in kinds:
            raise ExploreError(f"{source}: unknown key {key!r}; accepted: {', '.join(kinds)}")
    if not texts:
        raise ExploreError(f"{source}: {keys[0]} has no values")
    values = []
    for text in texts:
        for key in keys:
            try:
                value = kinds[key](text.strip())
            except ValueError as error:
                raise ExploreError(f"{source}: {key} must be {error}, not {text!r}") from None
        if value in values:
            raise ExploreError(f"{source}: {text.strip()} is given twice")
        values.append(value)
    return Axis(tuple(keys), tuple(values))


def _kinds() -> dict[str, Callable[[str], Value]]:
    """Return every key with what makes a value of text, or raises ValueError of what is accepted.

    Whether a value of `Config` is in its range, and goes with others, is for `Config` to say.
    """
    kinds: dict[str, Callable[[str], Value]] = {
        field.name: _number if isinstance(field.default, float) else _whole
        for field in fields(Config)
    }
    kinds |= {"dram_gbps": _rate} | dict.fromkeys(CAPACITIES, _bytes)
    kinds |= {"workload": str, "reading": str, "batch": _whole, "rank": _whole}
    return kinds | {"dataflow": _one_of(CHOICES), "objective": _one_of(GOALS)}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number") from None


def _rate(text: str) -> float:
    rate = rate_of(text)
    if rate == math.inf:
        raise ValueError("a positive number or unlimited")
    return rate


def _bytes(text: str) -> int:
    factor = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
    try:
        return int(text.removesuffix("K").removesuffix("M")) * factor
    except ValueError:
        raise ValueError("a number of bytes such as 65536, 64K or 1M") from None


def _one_of(names: Iterable[str]) -> Callable[[str], str]:
    accepted = tuple(names)

    def parse(text: str) -> str:
        if text not in accepted:
            raise ValueError(f"one of {', '.join(accepted)}")
        return text

    return parse


def grid(axes: Iterable[Axis], plan: Plan) -> tuple[Candidate, ...]:
    """Return the product of the axes, the last one running fastest.

    Raises
    ------
    ExploreError
        A key is on two axes, or the grid is too large.
    click.UsageError
        A workload is not known.
    """
    axes = tuple(axes)
    keys = [key for axis in axes for key in axis.keys]
    twice = [key for key in keys if keys.count(key) > 1]
    if twice:
        raise ExploreError(f"{twice[0]} is swept twice: one --sweep may hold all its values")
    size = math.prod(len(axis.values) for axis in axes)
    if size > MOST:
        raise ExploreError(f"the sweeps span {size:,} points: at most {MOST:,} are accepted")
    found = []
    for values in product(*(axis.values for axis in axes)):
        pairs = zip(axes, values, strict=True)
        found.append(_candidate({key: value for axis, value in pairs for key in axis.keys}, plan))
    return tuple(found)


def _candidate(values: dict[str, Value], plan: Plan) -> Candidate:
    step = replace(plan.workload, **_some(values, ("reading", "batch", "rank")))
    if "workload" in values:
        step = replace(step, name=str(values["workload"]))
    chosen = {"dataflow": plan.dataflow, "objective": plan.objective}
    chosen |= _some(values, ("dataflow", "objective"))
    training_step = step.load()
    try:
        config = _configuration(values, plan.config)
    except ConfigError as error:
        return Candidate(values, None, str(error))
    return Candidate(values, Point(config, training_step, **chosen, version=code_version()))


def _some(values: dict[str, Value], keys: Iterable[str]) -> dict[str, Any]:
    return {key: values[key] for key in keys if key in values}


def _configuration(values: dict[str, Value], base: Config) -> Config:
    changes = _some(values, Config.names())
    shape = {"rows": base.rows, "columns": base.columns} | changes
    word = {"input": shape["rows"], "weight": shape["columns"], "output": 4 * shape["columns"]}
    for memory, size in word.items():
        capacity = values.get(f"{memory}_bytes")
        if capacity is None or size < 1:
            continue  # Config refuses the shape
        depth, rest = divmod(capacity, 2 * size)
        if rest:
            raise ConfigError(
                f"{memory}_bytes {capacity} are not two halves of whole words of {size} bytes"
            )
        changes[f"{memory}_depth"] = depth
    return base.replace(**changes)
