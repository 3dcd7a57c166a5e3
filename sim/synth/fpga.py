"""What a design takes of an FPGA: LUTs, flip-flops, multipliers and block memories."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.isa.config import Config

from ..toolchain import yosys_version
from .design import verilog_of
from .kept import kept
from .netlist import instances_in
from .targets import TARGETS, FpgaTarget, Resources
from .units import owned_in
from .yosys import MappingError, run_yosys

__all__ = [
    "TARGETS",
    "FpgaShare",
    "FpgaSynthesis",
    "FpgaTarget",
    "Resources",
    "estimate",
    "map_fpga",
]

_DESIGN, _COUNTS = "design.v", "counts.json"

_SCRIPT = f"""\
read_verilog -sv {_DESIGN}
{{command}} -top {{top}}
tee -q -o {_COUNTS} stat -json
"""


@dataclass(frozen=True)
class FpgaShare:
    """A part of a design: its name, instances of the module (of a unit, 1), what they take."""

    name: str
    instances: int
    resources: Resources


@dataclass(frozen=True)
class FpgaSynthesis:
    """A design in cells of an FPGA.

    Members
    -------
    config : Config
    unit : str
    target : FpgaTarget
    parts : tuple of FpgaShare
        Units of an accelerator; of less than that, its modules.
    """

    config: Config
    unit: str
    target: FpgaTarget
    parts: tuple[FpgaShare, ...]

    @property
    def total(self) -> Resources:
        """All parts together."""
        return sum((part.resources for part in self.parts), Resources())


def estimate(config: Config, unit: str, target: str) -> FpgaSynthesis:
    """Map a unit to an FPGA, or find it mapped already, and count what it takes.

    Nothing is placed, so how far it fills a device, and how fast it is, is not known. Memories are
    what yosys makes of their behaviour, arithmetic is ``*`` and ``+``.

    Parameters
    ----------
    config : Config
    unit : str
        ``pe``, ``array`` or ``top``.
    target : str
        One of `TARGETS`.

    Raises
    ------
    ValueError
        An unknown unit or target.
    MappingError
        yosys fails, or leaves a cell that the family has not.
    """
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    verilog, top = verilog_of(config, unit)
    counts = map_fpga(verilog, top, TARGETS[target])
    return FpgaSynthesis(config, unit, TARGETS[target], _parts(counts, top, unit, TARGETS[target]))


def map_fpga(verilog: str, top: str, target: FpgaTarget) -> dict[str, Counter[str]]:
    """Return how often each type of cell and module is in each module, itself not looked into.

    Every module is mapped once, and what was mapped is kept.

    Raises
    ------
    MappingError
        yosys fails.
    """
    script = _SCRIPT.format(command=target.command, top=top)

    def make(folder: Path) -> None:
        (folder / _DESIGN).write_text(verilog, encoding="utf-8")
        run_yosys(folder, script)
        (folder / _DESIGN).unlink()

    folder = kept([yosys_version(), script, verilog], _COUNTS, make)
    modules: dict[str, Any] = json.loads((folder / _COUNTS).read_bytes())["modules"]
    return {
        name.removeprefix("\\"): Counter(module["num_cells_by_type"])
        for name, module in modules.items()
    }


def _parts(
    counts: Mapping[str, Counter[str]], top: str, unit: str, target: FpgaTarget
) -> tuple[FpgaShare, ...]:
    """Return units, or modules, those with most LUTs first."""
    own = {name: _own(name, counts, target) for name in counts}
    below = {
        name: {each: n for each, n in inside.items() if each in counts}
        for name, inside in counts.items()
    }
    if unit != "top":
        found = instances_in(top, below.__getitem__)
        parts = [FpgaShare(name, n, own[name] * n) for name, n in found.items()]
    else:
        units: dict[str, Resources] = {}
        for (name, module), times in owned_in(top, below).items():
            units[name] = units.get(name, Resources()) + own[module] * times
        parts = [FpgaShare(name, 1, resources) for name, resources in units.items()]
    return tuple(sorted(parts, key=lambda part: part.resources.values(), reverse=True))


def _own(name: str, counts: Mapping[str, Counter[str]], target: FpgaTarget) -> Resources:
    """Return what a module takes without those inside."""
    total = Resources()
    for cell, times in counts[name].items():
        if cell in counts:
            continue
        takes = target.takes(cell)
        if takes is None:
            raise MappingError(
                f"unmappable cell: module {name} holds {times} of type {cell}, which "
                f"{target.title} has not"
            )
        total += takes * times
    return total
