"""Modules that a recipe names stay as quick as they are written; all others are made small."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.synth.census import census
from sim.synth.flat import flatten
from sim.synth.flow import Recipe, map_design
from sim.synth.netlist import Netlist, read_netlist
from sim.synth.sta import analyse

from .powered import TEXT, library

DESIGN = """
module small_sum(input [31:0] a, b, output [31:0] s);
  assign s = a + b;
endmodule
module quick_sum(input [31:0] a, b, output [31:0] s);
  assign s = a + b;
endmodule
module unit(input [31:0] a, b, output [31:0] small, quick);
  small_sum one(.a(a), .b(b), .s(small));
  quick_sum two(.a(a), .b(b), .s(quick));
endmodule
"""


def mapped(folder: Path, commands: str | None) -> Netlist:
    (folder / "cells.lib").write_text(TEXT)
    quick = ((commands, ("quick_*", "not_there")),) if commands else ()
    recipe = Recipe(whole=(), quick=quick, periods_ns=(), period_ns=None)
    found = map_design(DESIGN, "unit", library(), folder / "cells.lib", recipe)
    return read_netlist(found / "netlist.json", library(), {})


def last(netlist: Netlist, port: str) -> float:
    """Return when the last bit of an output comes."""
    timing = analyse(flatten(netlist), None)
    return float(timing.arrival_ns[timing.graph.flat.ports[port].nets].max())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDMQTA_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("commands", [commands for commands, _ in Recipe().quick])
def test_a_named_module_is_quick_and_larger(tmp_path: Path, commands: str) -> None:
    plain, both = mapped(tmp_path, None), mapped(tmp_path, commands)
    assert last(both, "quick") < 0.7 * last(plain, "quick")
    assert last(both, "small") == last(plain, "small") == last(plain, "quick")
    assert census(both).area_um2 > census(plain).area_um2
