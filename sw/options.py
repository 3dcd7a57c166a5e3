"""Options that commands share: configuration, backend, and files to write."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import wraps
from pathlib import Path
from typing import Any

import click

from hw.isa.config import LEAST_GBPS, PRESETS, Config, ConfigError
from sim.result import DramTiming

from .console import Report
from .driver import BACKENDS, Device
from .gemm import ROUNDINGS
from .tile_search import GOALS

__all__ = [
    "DATAFLOW",
    "OBJECTIVE",
    "SEED",
    "Margin",
    "OutputFile",
    "Settings",
    "Target",
    "backend_options",
    "check_requantise",
    "config_options",
    "dram_values",
    "gemm_paths",
    "rate_of",
    "rounding_options",
    "settings_options",
]

DATAFLOW = click.Choice(["ws", "os", "auto"])
OBJECTIVE = click.option(
    "--objective", type=click.Choice(GOALS), default="latency", show_default=True,
    help="What the plan of each product makes small.",
)  # fmt: skip
SEED = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True,
    help="Of the data the program makes.",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What --preset, --config and --set ask for.

    Members
    -------
    preset, file : str or None
    values : tuple of str
        Each ``KEY=VALUE``.
    """

    preset: str | None
    file: str | None
    values: tuple[str, ...]

    def over(self, base: Config) -> Config:
        """Return the preset, or else `base`, with the file and then the values laid over it.

        All is laid at once, so that values may be given in any order.

        Raises
        ------
        ConfigError
            Names the option, the value and what is accepted.
        """
        config = base
        if self.preset is not None:
            config = _named("--preset", Config.preset, self.preset)
        changes, options = {}, []
        if self.file is not None:
            changes |= _toml(self.file)
            options.append(f"--config {self.file}")
        for text in self.values:
            key, value = _setting(text)
            changes[key] = value
            options.append(f"--set {text}")
        return _named(" ".join(options), config.replace, **changes)


def _named(option: str, make: Callable, /, *arguments: Any, **values: Any) -> Config:
    """Call `make`; name the option in what it complains of."""
    try:
        return make(*arguments, **values)
    except ConfigError as error:
        raise ConfigError(f"{option}: {error}") from None


def _toml(file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config: cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config: {file} is not TOML: {error}") from None


def _setting(text: str) -> tuple[str, int | float]:
    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--set takes KEY=VALUE, not {text!r}")
    defaults = Config().to_mapping()
    try:
        return key, type(defaults[key])(value)
    except (KeyError, ValueError):
        return key, getattr(_named(f"--set {text}", Config().parse, key, value), key)


def settings_options(default: str | None) -> Callable:
    """Add --preset, --config, --set and --json; the command gets `settings` and `report`."""

    def decorate(command: Callable) -> Callable:
        @click.option(
            "--preset", default=default, show_default=True, metavar="|".join(PRESETS),
            help="Configuration to start from.",
        )  # fmt: skip
        @click.option(
            "--config", "config_file", metavar="FILE.toml", help="Values laid over the preset."
        )
        @click.option(
            "--set", "values", multiple=True, metavar="KEY=VALUE",
            help="One value laid over both; repeatable.",
        )  # fmt: skip
        @click.option(
            "--json", "json_file", type=OutputFile(dash=True), metavar="FILE",
            help="Write every figure as JSON; - for standard output.",
        )  # fmt: skip
        @wraps(command)
        def run(
            preset: str | None, config_file: str | None, values: tuple[str, ...],
            json_file: str | None, **options: Any,
        ) -> None:  # fmt: skip
            settings = Settings(preset, config_file, values)
            command(settings=settings, report=Report(json_file, config_file), **options)

        return run

    return decorate


def config_options(default: str) -> Callable:
    """Add what `settings_options` does; the command gets `config` and `report`."""

    def decorate(command: Callable) -> Callable:
        @settings_options(default)
        @wraps(command)
        def run(settings: Settings, **options: Any) -> None:
            command(config=settings.over(Config()), **options)

        return run

    return decorate


RECORDS = {"timeline": ("timing", "rtl"), "waves": ("rtl",)}
"""Backends that record what an option of this name asks for."""


@dataclass(frozen=True)
class Target:
    """What --backend and the DRAM options ask for.

    Members
    -------
    backend : str
        One of `sw.driver.BACKENDS`.
    dram : dict
        Values that replace those of a configuration.
    """

    backend: str
    dram: dict[str, int | float]

    def device(self, config: Config, show: Any = None, **options: Any) -> Device:
        """Return a device; `options` are those that not every backend has."""
        for name in options:
            able = RECORDS[name]
            if self.backend not in able:
                raise click.UsageError(
                    f"--{name} needs --backend {' or '.join(able)}, not {self.backend}"
                )
        if self.backend == "rtl":
            options["progress"] = show
        timing = DramTiming.of(config.replace(**self.dram))
        return Device(config, self.backend, timing, options)


def backend_options(default: str) -> Callable:
    """Add --backend, --dram-gbps and --dram-latency; the command gets `target`."""

    def decorate(command: Callable) -> Callable:
        @click.option(
            "--backend", default=default, show_default=True, metavar="|".join(BACKENDS),
            help="What runs the program.",
        )  # fmt: skip
        @click.option(
            "--dram-gbps", metavar="X|unlimited", help="DRAM bandwidth; unlimited is the bus width."
        )
        @click.option("--dram-latency", type=int, metavar="CYCLES")
        @wraps(command)
        def run(
            backend: str, dram_gbps: str | None, dram_latency: int | None, **options: Any
        ) -> None:
            if backend not in BACKENDS:
                raise click.UsageError(
                    f"--backend must be one of {', '.join(BACKENDS)}, not {backend!r}"
                )
            command(target=Target(backend, dram_values(dram_gbps, dram_latency)), **options)

        return run

    return decorate


def dram_values(gbps: str | None, latency: int | None) -> dict[str, int | float]:
    """Return what --dram-gbps and --dram-latency change in a configuration."""
    changes: dict[str, int | float] = {}
    if gbps is not None:
        changes |= {"dram_gbps": _dram_rate(gbps)}
    if latency is not None:
        changes |= {"dram_latency": latency}
    for key, value in changes.items():
        _named(f"--{key.replace('_', '-')}", Config().replace, **{key: value})
    return changes


def rate_of(text: str) -> float:
    """Return a DRAM bandwidth as Config takes it, which says 0 for unlimited.

    Raises
    ------
    ValueError
        It is none; the message is what is accepted.
    """
    if text == "unlimited":
        return 0.0
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not rate > 0:
        raise ValueError("a positive number or unlimited")
    return rate


def _dram_rate(text: str) -> float:
    try:
        rate = rate_of(text)
    except ValueError as error:
        raise click.UsageError(f"--dram-gbps must be {error}, not {text!r}") from None
    if 0 < rate < LEAST_GBPS:
        raise click.UsageError(
            f"--dram-gbps must be at least {LEAST_GBPS} or unlimited, not {text!r}"
        )
    return rate


def rounding_options(command: Callable) -> Callable:
    """Add --rounding and --noise-seed; the command gets `rounding` and `noise_seed`."""

    @click.option(
        "--rounding", type=click.Choice(ROUNDINGS), default="nearest", show_default=True,
        help="Of INT8 results.",
    )  # fmt: skip
    @click.option(
        "--noise-seed", type=click.IntRange(0, (1 << 32) - 1), show_default="0",
        help="Of stochastic rounding.",
    )  # fmt: skip
    @wraps(command)
    def run(rounding: str, noise_seed: int | None, **options: Any) -> None:
        if noise_seed is not None and rounding != "stochastic":
            raise click.UsageError(f"--noise-seed needs --rounding stochastic, not {rounding}")
        command(rounding=rounding, noise_seed=noise_seed or 0, **options)

    return run


def gemm_paths(output: str, requantise: str | None) -> dict[str, Path]:
    """Return the files that `gemm` writes, by what is in them."""
    beside = () if requantise is None else ("maxima", "scales")
    return {"C": Path(output)} | {name: Path(output).with_suffix(f".{name}.npy") for name in beside}


def check_requantise(
    *,
    requantise: str | None,
    scaling: str,
    maxima: str | None,
    margin: Fraction | None,
    rounding: str,
    **_: Any,
) -> None:
    """Refuse options of `gemm` that make no sense together."""
    for option, asked in (("--scaling", scaling != "fresh"), ("--rounding", rounding != "nearest")):
        if asked and requantise is None:
            raise click.UsageError(f"{option} needs --requantise: int32 sums are exact")
    if scaling == "delayed" and maxima is None:
        raise click.UsageError("--scaling delayed needs --maxima, C.maxima.npy of an earlier step")
    if scaling == "fresh" and maxima is not None:
        raise click.UsageError("--maxima needs --scaling delayed, not fresh")
    if scaling == "fresh" and margin is not None:
        raise click.UsageError("--margin needs --scaling delayed, not fresh")


class Margin(click.ParamType):
    """A rational above 0, such as 1.25 or 5/4."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> Fraction:
        """Return the rational."""
        try:
            margin = Fraction(value)
        except (ValueError, ZeroDivisionError):
            margin = Fraction(0)
        if margin <= 0:
            self.fail(f"must be a number above 0, such as 1.25 or 5/4, not {value!r}", param, ctx)
        return margin


class Finite(click.FloatRange):
    """A number in a range, which NaN and infinities are not."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class OutputFile(click.ParamType):
    """A file to be written: refused before any work if its folder cannot take it."""

    name = "file"

    def __init__(self, *, dash: bool = False) -> None:
        self._dash = dash

    def convert(self, value: str, param: Any, ctx: Any) -> str:
        """Return the name, unless no file of that name can be written."""
        if self._dash and value == "-":
            return value
        if not value:
            self.fail("names no file", param, ctx)
        path = Path(value)
        folder = path.parent
        if path.is_dir():
            self.fail(f"cannot write {value}: it is a folder", param, ctx)
        if not folder.is_dir():
            self.fail(f"cannot write {value}: there is no folder {folder}", param, ctx)
        if not os.access(folder, os.W_OK):
            self.fail(f"cannot write {value}: {folder} may not be written to", param, ctx)
        return value
