"""Figures of a design: units, memories, period."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hw.isa.config import Config
from sim.macros import SRAM, memories
from sim.sram_table import Ports, banked
from sim.synth import synthesis
from sim.synth.design import Design, Sram, design_of
from sim.synth.sta import TimingError
from sim.synth.synthesis import Synthesis, synthesise

from .small import LIBRARY, TEXT

VERILOG = """
(* blackbox *) module ram(input clk, input [3:0] address, output [3:0] read_data); endmodule
(* blackbox *) module huge(input clk, input [3:0] address, output [3:0] read_data); endmodule
module \\cdmqta.load (input clk, input [3:0] d, output reg [3:0] q);
  wire [3:0] read;
  ram memory(.clk(clk), .address(d), .read_data(read));
  always @(posedge clk) q <= read ^ {read[2:0], read[3]};
endmodule
module cdmqta_pe(input clk, input [3:0] d, output reg [3:0] q);
  always @(posedge clk) q <= d ^ {d[2:0], d[3]};
endmodule
module cdmqta(input clk, input [3:0] d, output [3:0] q);
  wire [3:0] a, b, c;
  cdmqta_pe first(clk, d, a), second(clk, a, b);
  \\cdmqta.load  load(clk, b, c);
  assign q = c & b;
endmodule
"""


@pytest.fixture
def liberty(tmp_path) -> Path:
    file = tmp_path / "small.lib"
    file.write_text(TEXT)
    return file


def made(liberty: Path, monkeypatch, **options) -> Synthesis:
    """Return figures of an accelerator that is made up, with a memory of 4096 x 64 bits."""
    banks = banked(4096, 64, Ports.SINGLE, SRAM)
    memory = Sram("ram", 3, 4096, 64, banks)
    design = Design("top", VERILOG, "cdmqta", (memory,))
    monkeypatch.setattr(synthesis, "design_of", lambda *_: design)
    return synthesise(Config(), "top", liberty=liberty, **options)


def test_units_and_memories_add_up(liberty: Path, monkeypatch) -> None:
    found = made(liberty, monkeypatch)
    units = {unit.name: unit for unit in found.units}
    assert set(units) == {"elements", "load", "controller"}
    assert units["elements"].registers == 8 and units["load"].registers == 4
    cells = sum(unit.area_um2 for unit in found.units)
    assert found.cells_mm2 == pytest.approx(cells * 1e-6) and cells > 12 * 5
    (memory,) = found.memories
    assert memory.area_mm2 == pytest.approx(3 * memory.banks.area_mm2)
    assert found.memories_mm2 == memory.area_mm2
    assert found.total_mm2 == pytest.approx(found.cells_mm2 + found.memories_mm2)


def test_a_memory_is_on_paths_and_a_bound_of_its_own(liberty: Path, monkeypatch) -> None:
    """Its access begins the longest path; its cycle is a bound where it is longer than all."""
    found = made(liberty, monkeypatch)
    point = found.memories[0].banks.point
    assert found.path.start.startswith("load.memory")
    assert found.timing.period_ns > point.access_ns
    assert found.memory_cycle_ns == point.cycle_ns
    assert found.period_ns == max(found.timing.period_ns, point.cycle_ns)
    banks = banked(512, 64, Ports.SINGLE, SRAM)
    banks = replace(banks, point=replace(banks.point, cycle_ns=9.0))
    slow = Sram("huge", 1, 512, 64, banks)
    design = Design("top", VERILOG, "cdmqta", (*found.design.memories, slow))
    monkeypatch.setattr(synthesis, "design_of", lambda *_: design)
    bound = synthesise(Config(), "top", liberty=liberty)
    assert bound.timing.period_ns == found.timing.period_ns, "it is on no path"
    assert bound.period_ns == bound.memory_cycle_ns == 9.0
    assert [memory.name for memory in bound.memories] == ["ram", "huge"], "the largest first"


def test_a_derate_slows_the_clock_down(liberty: Path, monkeypatch) -> None:
    found = made(liberty, monkeypatch)
    assert found.fmax_mhz() == pytest.approx(1e3 / found.period_ns)
    assert found.fmax_mhz(1.25) == pytest.approx(found.fmax_mhz() / 1.25)


def test_wires_are_those_of_the_library(liberty: Path, monkeypatch) -> None:
    assert made(liberty, monkeypatch).wire_load is None
    with pytest.raises(
        TimingError, match="small has no wire load 'huge'; accepted: default, none, long"
    ):
        made(liberty, monkeypatch, wire_load="huge")


def test_the_netlist_comes_with_models_of_its_cells(liberty: Path, monkeypatch) -> None:
    found = made(liberty, monkeypatch)
    text = found.netlist_verilog()
    for cell in LIBRARY.cells:
        assert (f"\nmodule {cell} " in text) == (cell in found.census.kinds), cell
    assert "module cdmqta(" in text and "module \\cdmqta.load (" in text


def test_an_array_is_its_elements(liberty: Path) -> None:
    one = synthesise(Config(rows=2, columns=2), "pe", liberty=liberty)
    four = synthesise(Config(rows=2, columns=2), "array", liberty=liberty)
    assert four.memories == () and four.memory_cycle_ns == 0
    shares = {share.name: share for share in four.units}
    element = shares["cdmqta_pe"]
    assert element.instances == 4 and element.registers == 4 * one.census.modules[0].registers
    assert one.census.modules[0].registers == 32 + 3 * 8 + 4
    elements = sum(each.area_um2 for each in four.census.modules if each.name != "cdmqta_array")
    assert elements == pytest.approx(4e6 * one.cells_mm2, rel=0.05), "and buffers at most"


def test_memories_are_the_nearest_of_the_table() -> None:
    """Those of the accelerator, as the energy model has them."""
    config = Config(rows=3, columns=5, weight_depth=256)
    found = design_of(config, "top")
    assert "module cdmqta_sram" not in found.verilog, "they are left open"
    ours = sorted((m.instances, m.depth, m.width, m.banks) for m in found.memories)
    theirs: dict[tuple, int] = {}
    for memory in memories(config):
        size = memory.depth, memory.width, memory.banks()
        theirs[size] = theirs.get(size, 0) + memory.copies
    assert sum(each[0] for each in ours) == sum(theirs.values())
    for instances, *size in ours:
        assert theirs[tuple(size)] == instances
    macros = found.macros()
    for memory in found.memories:
        assert macros[memory.name].access_ns == memory.banks.point.access_ns > 0


def test_an_unknown_unit_is_named() -> None:
    with pytest.raises(ValueError, match="unit must be one of pe, array, top, not 'row'"):
        design_of(Config(), "row")
