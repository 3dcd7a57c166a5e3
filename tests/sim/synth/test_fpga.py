"""Designs in cells of FPGAs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from hw.emit import emit
from hw.isa.config import Config
from hw.sram import Macro, verilog
from sim.synth import fpga
from sim.synth.fpga import estimate, map_fpga
from sim.synth.targets import TARGETS, FpgaTarget, Resources
from sim.synth.yosys import MappingError
from tests.marks import nightly


def of_module(counts: dict[str, Counter[str]], name: str, target: FpgaTarget) -> Resources:
    """Return what a module takes that holds no other."""
    taken = (target.takes(cell) * times for cell, times in counts[name].items())
    return sum(taken, Resources())


@cache
def all_memories(config: Config) -> tuple[str, list[Macro]]:
    """Return a top that holds each memory of an accelerator, and the memories."""
    macros = [memory.macro for memory in emit(config, memories="blackbox").memories]
    ports, lines = [], []
    for number, macro in enumerate(macros):
        links = []
        for name, (direction, width) in macro.pins().items():
            ports.append(f"{direction} [{width - 1}:0] {name}_{number}")
            links.append(f".{name}({name}_{number})")
        lines.append(f"{macro.name} memory_{number} ({', '.join(links)});")
    top = f"module all({', '.join(ports)});\n" + "\n".join(lines) + "\nendmodule\n"
    return "".join(map(verilog, macros)) + top, macros


@pytest.mark.parametrize("name", ["xilinx", "ecp5", *nightly("ice40")])
def test_memories_become_block_memories(name: str) -> None:
    """Small ones may be LUTs; of flip-flops there is the word that is read, and one written."""
    target = TARGETS[name]
    text, macros = all_memories(Config.preset("small"))
    counts = map_fpga(text, "all", target)
    assert len(macros) >= 5
    for macro in macros:
        found = of_module(counts, macro.name, target)
        bits = macro.depth * macro.width
        assert found.flip_flops <= 3 * macro.width + 64, macro
        if macro.depth >= 512:
            blocks = -(-bits // (1024 * target.bram_kbit))
            assert blocks <= found.bram <= 2 * blocks and not found.lut_ram, macro
        else:
            assert found.bram or found.lut_ram * 64 >= bits, macro


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("products, overlap", [(1, 0), (4, 1), *nightly((4, 0))])
def test_a_product_is_a_dsp(name: str, products: int, overlap: int) -> None:
    config = Config(macs_per_element=products, drain_overlap=overlap)
    found = estimate(config, "pe", name)
    assert found.total.dsp == products and found.total.bram == found.total.lut_ram == 0
    registers = (1 + overlap) * 32 + 3 * 8 * products + 4 + 2 * overlap
    assert found.total.flip_flops == registers
    assert {part.name for part in found.parts} == {"cdmqta_pe", "cdmqta_multiply_add"}


def test_modules_are_counted_as_often_as_they_stand_there() -> None:
    config = Config(rows=3, columns=2)
    one, six = estimate(config, "pe", "ecp5"), estimate(config, "array", "ecp5")
    instances = {part.name: part.instances for part in six.parts}
    assert instances == {
        "cdmqta_array": 1, "cdmqta_row": 3, "cdmqta_pe": 6, "cdmqta_multiply_add": 6,
    }  # fmt: skip
    parts = {part.name: part.resources for part in six.parts}
    foot = parts["cdmqta_array"]
    assert (foot.flip_flops, foot.dsp) == (2 * 32, 0), "a register a column"
    assert foot.lut and six.total == one.total * 6 + foot


UNITS = {
    "cdmqta": {"cdmqta.execute": 1, "cdmqta.load": 1, "LUT4": 3},
    "cdmqta.execute": {"cdmqta.execute.array": 1, "cdmqta.execute.left": 1, "TRELLIS_FF": 5},
    "cdmqta.execute.array": {"cdmqta_row": 4},
    "cdmqta.execute.left": {"cdmqta_sram_1rw_8x8": 2},
    "cdmqta.load": {"cdmqta_sram_1rw_8x8": 1, "CCU2C": 7},
    "cdmqta_row": {"cdmqta_pe": 2, "LUT4": 1},
    "cdmqta_pe": {"MULT18X18D": 1, "PFUMX": 9},
    "cdmqta_sram_1rw_8x8": {"DP16KD": 1},
}
"""Cells and modules of an accelerator on an ECP5, made up."""


@pytest.fixture
def made_up(monkeypatch) -> dict[str, Counter[str]]:
    counts = {name: Counter(cells) for name, cells in UNITS.items()}
    monkeypatch.setattr(fpga, "verilog_of", lambda config, unit: ("", "cdmqta"))
    monkeypatch.setattr(fpga, "map_fpga", lambda verilog, top, target: counts)
    return counts


def test_units_add_up(made_up) -> None:
    found = estimate(Config(), "top", "ecp5")
    assert {part.name: part.resources for part in found.parts} == {
        "controller": Resources(lut=3),
        "feed": Resources(flip_flops=5),
        "elements": Resources(lut=4, dsp=8),
        "operand buffers": Resources(bram=2),
        "load": Resources(lut=14, carry=7, bram=1),
        "array foot": Resources(),
    }
    assert found.total == Resources(lut=21, carry=7, flip_flops=5, dsp=8, bram=3)
    luts = [part.resources.lut for part in found.parts]
    assert luts == sorted(luts, reverse=True)


def test_a_cell_that_is_not_of_the_family_is_named(made_up) -> None:
    made_up["cdmqta.load"]["$_DLATCH_P_"] = 2
    with pytest.raises(MappingError) as raised:
        estimate(Config(), "top", "ecp5")
    assert str(raised.value) == (
        "unmappable cell: module cdmqta.load holds 2 of type $_DLATCH_P_, which Lattice ECP5 has "
        "not"
    )


def test_what_is_unknown_is_named() -> None:
    with pytest.raises(ValueError, match="target must be one of ice40, ecp5, xilinx, not 'ecp6'"):
        estimate(Config(), "pe", "ecp6")
    with pytest.raises(ValueError, match="unit must be one of pe, array, top, not 'row'"):
        estimate(Config(), "row", "ecp5")
    wrong = replace(TARGETS["ecp5"], command="synth_none")
    with pytest.raises(MappingError, match=r"yosys cannot map the design: .*synth_none") as raised:
        map_fpga("module a; endmodule", "a", wrong)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "target, cell, takes",
    [
        ("xilinx", "RAMB36E1", Resources(bram=2)),
        ("xilinx", "RAM64M", Resources(lut_ram=4)),
        ("xilinx", "FDRE", Resources(flip_flops=1)),
        ("xilinx", "LUT7", None),
        ("ice40", "SB_DFFESR", Resources(flip_flops=1)),
        ("ice40", "SB_RAM40_4KNR", Resources(bram=1)),
        ("ecp5", "TRELLIS_DPR16X4", Resources(lut_ram=6)),
    ],
)  # fmt: skip
def test_what_cells_take(target: str, cell: str, takes: Resources | None) -> None:
    assert TARGETS[target].takes(cell) == takes
