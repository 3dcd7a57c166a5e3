"""Periods of mapped designs, as our timing analysis and OpenSTA have them.

``python -m tests.sim.synth.compared`` prints both for every netlist of `OURS`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hw.isa.config import Config
from sim.synth.design import design_of
from sim.synth.flat import flatten
from sim.synth.flow import map_design, netlist_verilog
from sim.synth.liberty_reader import read_liberty
from sim.synth.library import find_library, library_file
from sim.synth.netlist import Macro, Netlist, read_netlist
from sim.synth.record import variants
from sim.synth.sta import DEFAULT, NONE, Timing, analyse, chosen_wire_load
from sim.synth.synthesis import synthesise

from .opensta import cell_library, macro_library, mapped, period, write_units

__all__ = [
    "CONDITIONS", "ELEMENTS", "World", "of_element", "of_script", "of_tiny", "of_unit",
]  # fmt: skip

CONDITIONS: Mapping[str, tuple[str, str, bool]] = {
    "wires": (DEFAULT, "cells.lib", False),
    "lumped": (DEFAULT, "cells.lib", True),
    "bare": (NONE, "bare.lib", True),
}
"""Our wire load, the library that OpenSTA is given, and whether it takes loads as capacitance
alone. It takes a library's default wire load by itself: ``bare.lib`` names none."""


def _name(fields: Mapping[str, int]) -> str:
    return "-".join(f"{word}{value}" for word, value in zip(_WORDS, fields.values(), strict=True))


_WORDS = ("ws", "os", "overlap", "register", "macs")
ELEMENTS = {_name(fields): Config.preset("paper").replace(**fields) for fields in variants()}
"""Every variant of the element that is recorded, by name."""


@dataclass(frozen=True)
class World:
    """A netlist, and a folder with its `units` and its libraries as OpenSTA reads them."""

    folder: Path
    netlist: Netlist
    units: tuple[str, ...]

    def timing(self, unit: str, wire_load: str) -> Timing:
        """Return our analysis of a unit."""
        library = self.netlist.library
        return analyse(flatten(self.netlist, unit), chosen_wire_load(library, wire_load))

    def theirs(self, unit: str, condition: str, to: str = "") -> float | None:
        """Return the period that OpenSTA finds, of paths to ``to``; None if there is none."""
        _, library, lumped = CONDITIONS[condition]
        number = self.units.index(unit)
        return period(self.folder, number, library, lumped=lumped, to=to)

    def periods(self, unit: str, condition: str) -> tuple[float | None, float | None]:
        """Return our period of a unit and OpenSTA's; None where no path is found."""
        timing = self.timing(unit, CONDITIONS[condition][0])
        ours = None if timing.path is None else timing.period_ns
        return ours, self.theirs(unit, condition)


def of_script(folder: Path, top: str, units: Iterable[str] = ()) -> World:
    """Map a unit of the smallest preset by a script of these tests; without units, all of it."""
    macros = mapped(folder, top)
    netlist = read_netlist(folder / "mapped.json", read_liberty(folder / "cells.lib"), macros)
    every = (name for name, module in netlist.modules.items() if module.names)
    return _world(folder, netlist, tuple(units) or tuple(every), "mapped.json")


def of_element(folder: Path, config: Config) -> World:
    """Map an element as ``cdmqta synth --unit pe`` does."""
    cell_library()  # or the test is skipped
    made = synthesise(config, "pe")
    return _as_written(folder, made.netlist, made.folder, (made.design.top,))


def of_tiny(folder: Path, units: Iterable[str]) -> World:
    """Map the smallest preset as ``cdmqta synth`` does."""
    cell_library()
    made = synthesise(Config.preset("tiny"))
    return _as_written(folder, made.netlist, made.folder, tuple(units))


def of_unit(folder: Path, unit: str) -> World:
    """Map a unit of the smallest preset as the whole is mapped, but alone, which is quicker."""
    cell_library()
    design, library = design_of(Config.preset("tiny"), "top"), find_library()
    macros: Mapping[str, Macro] = design.macros()
    made = map_design(design.verilog, unit, library, library_file(), None, macros)
    netlist = read_netlist(made / "netlist.json", library, macros)
    return _as_written(folder, netlist, made, (unit,))


def _as_written(folder: Path, netlist: Netlist, made: Path, units: tuple[str, ...]) -> World:
    """Give OpenSTA the Verilog of a netlist that a user gets, too."""
    shutil.copyfile(library_file(), folder / "cells.lib")
    (folder / "netlist.v").write_text(netlist_verilog(made))
    return _world(folder, netlist, units, "netlist.v")


def _world(folder: Path, netlist: Netlist, units: tuple[str, ...], source: str) -> World:
    write_units(folder, units, source)
    (folder / "macros.lib").write_text(macro_library(netlist.kinds))
    text = (folder / "cells.lib").read_text()
    (folder / "bare.lib").write_text(text.replace("default_wire_load", "/* */ comment"))
    return World(folder, netlist, units)


def _ours(folder: Path) -> Iterator[tuple[str, World]]:
    """Map everything that the tests compare of our own netlists, each in a folder of its own."""
    for name, config in ELEMENTS.items():
        (folder / name).mkdir()
        yield name, of_element(folder / name, config)
    (folder / "tiny").mkdir()
    yield "tiny", of_tiny(folder / "tiny", ("cdmqta_lane", "cdmqta_post_lane", "cdmqta"))


def _print() -> None:
    largest = dict.fromkeys(CONDITIONS, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        for name, made in _ours(Path(folder)):
            for unit in made.units:
                shown = []
                for condition in CONDITIONS:
                    ours, theirs = made.periods(unit, condition)
                    share = ours / theirs - 1
                    largest[condition] = max(largest[condition], abs(share))
                    shown.append(f"{condition} {ours:.6f} {theirs:.6f} {share:+.4%}")
                print(f"{name} {unit}: {'; '.join(shown)}", flush=True)
    print("largest:", ", ".join(f"{name} {share:.4%}" for name, share in largest.items()))


if __name__ == "__main__":
    _print()
