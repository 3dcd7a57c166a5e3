"""Figures that are recorded, against what is mapped, and for whom they hold."""

from __future__ import annotations

import pytest

from hw.isa.config import Config
from sim.costs import costs_of
from sim.silicon import silicon
from sim.synth.library import LibraryError, find_library
from sim.synth.synthesis import synthesise
from sw.synth.recorded import recorded_figures

PAPER = Config.preset("paper")
SIMULATED = {"clock_mhz": 500, "dram_latency": 7, "dram_gbps": 12.8}


@pytest.mark.parametrize("name", silicon().chips)
def test_clock_and_dram_make_no_other_design(name: str) -> None:
    """They are of simulations only."""
    chip = silicon().chips[name]
    for config in (chip.config, chip.config.replace(**SIMULATED)):
        assert silicon().chip(config) is chip
        assert costs_of(config).units.keys() == chip.units.keys() - {"elements"}
        found = recorded_figures(config, "top")
        assert found["period_ns"] == chip.period_ns
        assert found["fmax_mhz"] == pytest.approx(1e3 / chip.period_ns)


def test_of_another_design_there_is_no_period() -> None:
    other = PAPER.replace(weight_depth=2 * PAPER.weight_depth)
    assert silicon().chip(other) is None
    assert recorded_figures(other, "top")["period_ns"] is None
    assert recorded_figures(other, "pe")["period_ns"] == silicon().element(PAPER).period_ns


def test_an_array_is_recorded_as_it_is_mapped() -> None:
    """Elements and what lies at their feet, which is 6 % of so small an array."""
    try:
        find_library(None)
    except LibraryError as error:
        pytest.skip(str(error))
    config = PAPER.replace(rows=4, columns=4, bus_bytes=16)
    mapped, found = synthesise(config, "array"), recorded_figures(config, "array")
    assert [row["unit"] for row in found["units"]] == ["elements", "array foot"]
    assert found["total_mm2"] == pytest.approx(mapped.total_mm2, rel=0.005)
    assert found["period_ns"] == pytest.approx(mapped.period_ns, rel=0.01)
