"""Area of configurations, against what was recorded of designs that were mapped."""

from __future__ import annotations

import pytest

from hw.isa.config import Config
from sim.area import area
from sim.costs import costs_of
from sim.macros import memories
from sim.silicon import silicon
from sim.sram_table import Cell, Organisation, Ports, banked

PAPER = Config.preset("paper")


@pytest.mark.parametrize("name", silicon().chips)
def test_cells_are_those_of_the_recorded_design(name: str) -> None:
    """Elements of a whole design are a little larger than alone where they bound its clock."""
    chip = silicon().chips[name]
    found = area(chip.config).components
    for unit, recorded in chip.units.items():
        assert found[unit] == pytest.approx(recorded.area_um2 * 1e-6, rel=0.02), unit


def test_units_grow_with_what_drives_them() -> None:
    """Between two sizes that are recorded, and beyond them."""
    sizes = [4, 16, 32, 64, 128]
    found = [
        costs_of(PAPER.replace(rows=n, columns=n, bus_bytes=min(n, 64), clock_mhz=100)).units
        for n in sizes
    ]
    for unit in found[0]:
        areas = [each[unit].area_um2 for each in found]
        assert areas == sorted(areas) and areas[0] > 0, unit


def test_banks_of_one_port_halve_the_area_of_the_sums() -> None:
    """Twice as many as with two ports, of half the words: 3.37 mm2, and not 6.56."""
    (memory,) = (each for each in memories(PAPER) if each.name == "output")
    small = Organisation(Cell.LSTP, bank_bytes=8192, bank_width=8)
    two_ports = banked(PAPER.output_depth, memory.width, Ports.DUAL, small)
    built = area(PAPER).components["output memory"]
    assert built == pytest.approx(3.37, rel=0.002)
    assert 2 * PAPER.columns * two_ports.area_mm2 == pytest.approx(6.56, rel=0.002)


def test_components_add_up() -> None:
    found = area(PAPER)
    assert found.total == pytest.approx(sum(found.components.values()))
    assert 0.5 * found.total < found.memories < found.total
    text = str(found).splitlines()
    assert len(text) == 2 + len(found.components) and f"{found.total:.4f}" in text[-1]


def test_elements_grow_with_the_array_and_memories_with_their_depth() -> None:
    small, wide = area(PAPER.replace(rows=32)), area(PAPER)
    assert wide.components["elements"] == 2 * small.components["elements"]
    deep = area(PAPER.replace(weight_depth=2 * PAPER.weight_depth))
    doubled = 2 * wide.components["weight memory"]
    assert deep.components["weight memory"] == pytest.approx(doubled)
    same = {"input memory", "output memory", "elements", "accumulate"}
    assert all(deep.components[name] == wide.components[name] for name in same)


def test_fast_cells_may_be_chosen() -> None:
    fast = costs_of(PAPER).replace(sram=Organisation(Cell.HP, bank_bytes=None, bank_width=None))
    assert area(PAPER, fast).components["input memory"] != area(PAPER).components["input memory"]


@pytest.mark.parametrize("preset", ["tiny", "small", "paper"])
def test_every_preset_has_an_area(preset: str) -> None:
    found = area(Config.preset(preset))
    assert all(mm2 > 0 for mm2 in found.components.values())
