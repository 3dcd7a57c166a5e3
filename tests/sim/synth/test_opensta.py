"""Our timing analysis and OpenSTA say the same of units of the accelerator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from sim.synth.flat import flatten
from sim.synth.liberty_reader import read_liberty
from sim.synth.netlist import Netlist, read_netlist
from sim.synth.sta import DEFAULT, NONE, Timing, analyse, chosen_wire_load

from .opensta import macro_library, mapped, needs_opensta, period, write_units

pytestmark = needs_opensta

UNITS = (
    "cdmqta_pe",
    "cdmqta_row",
    "cdmqta_lane",
    "cdmqta.execute.edge",
    "cdmqta.execute.feed",
    "cdmqta.execute.walk",
    "cdmqta.execute",
)
"""From one element to everything between the engines, memories included."""
NEAR = 0.005
"""Share by which periods may differ: OpenSTA fits a waveform to each driver; 0.1 % is usual."""
EXACT = 3e-5
"""The same without wires, where both look the same entries up: in single precision there."""


@dataclass(frozen=True)
class World:
    """What all tests of a design share."""

    folder: Path
    netlist: Netlist

    def timing(self, unit: str, wire_load: str) -> Timing:
        library = self.netlist.library
        return analyse(flatten(self.netlist, unit), chosen_wire_load(library, wire_load))


def world(folder: Path, top: str) -> World:
    """Map a design, and write what OpenSTA reads."""
    macros = mapped(folder, top)
    library = read_liberty(folder / "cells.lib")
    netlist = read_netlist(folder / "mapped.json", library, macros)
    (folder / "macros.lib").write_text(macro_library(netlist.kinds))
    # OpenSTA takes a library's default wire load by itself: without one there is no wire.
    text = (folder / "cells.lib").read_text()
    (folder / "bare.lib").write_text(text.replace("default_wire_load", "/* */ comment"))
    return World(folder, netlist)


def test_units(tmp_path):
    """One test, since mapping takes most of its time: with wires, without, and to clock gates."""
    made = world(tmp_path, UNITS[-1])
    write_units(tmp_path, UNITS)
    gated = 0
    for number, unit in enumerate(UNITS):
        ours = made.timing(unit, DEFAULT).period_ns
        for lumped in (False, True):
            theirs = period(tmp_path, number, "cells.lib", lumped=lumped)
            assert ours == pytest.approx(theirs, rel=NEAR), unit
        bare = made.timing(unit, NONE)
        theirs = period(tmp_path, number, "bare.lib", lumped=True)
        assert bare.period_ns == pytest.approx(theirs, rel=EXACT), unit
        # Enables are due before the edge, as data of a register; they are hardly ever the last.
        labels = bare.graph.labels
        ends = zip(bare.ends, bare.check.tolist(), strict=False)  # ports come last
        enables = [end for end, by in ends if by >= 0 and labels[by] == "clock gating setup"]
        if enables:
            theirs = period(tmp_path, number, "bare.lib", lumped=True, to="[get_pins */E]")
            assert max(enables) == pytest.approx(theirs, rel=EXACT, abs=1e-5), unit
            gated += 1
    assert gated > 2


@pytest.mark.nightly
def test_every_unit(tmp_path):
    """All modules of the accelerator, and all of it at once."""
    made = world(tmp_path, "cdmqta")
    units = [name for name, module in made.netlist.modules.items() if module.names]
    write_units(tmp_path, units)
    assert len(units) > 40
    for number, unit in enumerate(units):
        theirs = period(tmp_path, number, "cells.lib")
        ours = made.timing(unit, DEFAULT)
        assert (theirs is None) == (ours.path is None), unit
        if theirs is not None:
            assert ours.period_ns == pytest.approx(theirs, rel=NEAR, abs=1e-4), unit
