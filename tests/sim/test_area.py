"""Area of configurations, against the totals that were recorded."""

from __future__ import annotations

import pytest

from hw.isa.config import Config
from sim.area import area
from sim.costs import COSTS, MULTIPLIER_TREE, Cost
from sim.macros import memories
from sim.sram_table import Cell, Organisation, Ports, banked

PAPER = Config.preset("paper")
STUDY = MULTIPLIER_TREE
NO_OVERLAP = STUDY.replace(pe_area=Cost(762, "um2", "recorded; the drain is not hidden"))
BIG = ("elements", "input memory", "weight memory", "output memory")


def test_recorded_area_of_elements_and_memories() -> None:
    """64x64 with 2 MB, drain not hidden: 3.12 mm2 of elements, 6.7 of memories, 10.2 in all.

    What is left of the 10.2 mm2 was an allowance for all else. Here all else is counted, and comes
    to more: two rescalers, noise and maxima in every store lane, scale and maxima memories, the
    transposer.
    """
    found = area(PAPER, NO_OVERLAP).components
    assert found["elements"] == pytest.approx(3.12, rel=0.005)
    assert sum(found[name] for name in BIG[1:]) == pytest.approx(6.7, rel=0.01)
    assert sum(found[name] for name in BIG) == pytest.approx(10.2, rel=0.05)
    assert sum(found.values()) == pytest.approx(10.2, rel=0.21)


def test_cells_of_the_whole_are_those_of_its_synthesis() -> None:
    """All of it in one run of yosys: 5.911 mm2, and 0.203 of the transposer's words."""
    found = area(PAPER)
    assert found.total - found.memories == pytest.approx(6.114, rel=0.002)


def test_hiding_the_drain_costs_what_is_recorded() -> None:
    assert area(PAPER, STUDY).total - area(PAPER, NO_OVERLAP).total == pytest.approx(1.5, rel=0.02)


def test_banks_of_one_port_halve_the_area_of_the_sums() -> None:
    """Twice as many as with two ports, of half the words: 3.37 mm2, and not 6.56."""
    (memory,) = (each for each in memories(PAPER) if each.name == "output")
    two_ports = banked(PAPER.output_depth, memory.width, Ports.DUAL, COSTS.sram)
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
    same = set(wide.components) - {"weight memory"}
    assert all(deep.components[name] == wide.components[name] for name in same)


def test_fast_cells_may_be_chosen() -> None:
    fast = COSTS.replace(sram=Organisation(Cell.HP, bank_bytes=None, bank_width=None))
    assert area(PAPER, fast).components["input memory"] != area(PAPER).components["input memory"]


@pytest.mark.parametrize("preset", ["tiny", "small", "paper"])
def test_every_preset_has_an_area(preset: str) -> None:
    found = area(Config.preset(preset))
    assert all(mm2 > 0 for mm2 in found.components.values())
