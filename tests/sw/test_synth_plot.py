"""The picture of a synthesis: nothing is left out, and the same figures give the same bytes."""

from __future__ import annotations

import pytest

from hw.isa.config import PRESETS
from sim.costs import costs_of
from sim.energy import full_use
from sim.synth.element import Element, Figures
from sim.synth.power import Part
from sw.synth.plot import draw, energy_parts, parts
from sw.synth.power import Measured, power_rows
from sw.synth.power import energy_parts as by_component

CONFIG = PRESETS["paper"]
FOUR = {"rows": 16, "macs_per_element": 4, "input_depth": 16384}
FIGURES = {
    "unit": "top", "library": "cells", "total_mm2": 10.0, "energy_recorded": True,
    "units": [{"unit": "elements", "mm2": 6.0}, {"unit": "a", "mm2": 0.01},
              {"unit": "b", "mm2": 0.02}],
    "memories": [{"memory": "cdmqta_sram_1rw_4x4", "mm2": 3.97}],
}  # fmt: skip


def test_areas_add_up():
    found = parts(FIGURES)
    assert [name for name, _ in found] == ["elements", "other cells", "1rw_4x4"]
    assert sum(mm2 for _, mm2 in found) == pytest.approx(10)


@pytest.mark.parametrize("unit", ["pe", "top"])
def test_energies_add_up(unit):
    for row in power_rows(CONFIG, unit):
        found = by_component(CONFIG, unit)[row["dataflow"]]
        whole = 2 / row["tops_per_watt"] if unit == "top" else row["pj_a_mac"]
        assert sum(found.values()) == pytest.approx(whole)
        assert sum(pj for _, pj in energy_parts(found)) == pytest.approx(whole)


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("changes", [{}, FOUR])
def test_parts_of_a_mac_are_those_of_its_element(measured, changes):
    """What is left of the recorded MAC by its parts is nothing, in each dataflow."""
    config = CONFIG.replace(**changes)
    costs, found = costs_of(config), None
    if measured:
        found = Measured(costs, element_of_parts(costs, config.macs_per_element))
    for name, each in by_component(config, "pe", found).items():
        mac = costs.mac_ws if name == "WS" else costs.mac_os
        assert sum(each.values()) == pytest.approx(mac.value)
        assert each["glitches and wires"] == pytest.approx(mac.value - mac.zero_delay)
        assert len(each) == (7 if measured else 4) and min(each.values()) > 0


def test_an_array_moves_tiles_and_sums_beside_its_macs():
    element, array = (by_component(CONFIG, unit) for unit in ("pe", "array"))
    for dataflow in CONFIG.dataflows:
        spent = full_use(CONFIG, dataflow)
        rest = {k: v for k, v in array[dataflow.name].items() if k not in element[dataflow.name]}
        assert {*array[dataflow.name]} == {*element[dataflow.name], *rest}
        assert rest["tiles and sums on their way"] == pytest.approx(
            1e12 * spent.dynamic["loads and drains"] / spent.macs
        )
        # Its clock and leakage come on top of what moves.
        assert rest["sums at the foot"] >= 1e12 * spent.dynamic["foot"] / spent.macs > 0


def element_of_parts(costs, products):
    """Return an element that takes what a MAC is recorded to take, in parts of one to six."""
    figures = {}
    for name, mac in (("WS", costs.mac_ws), ("OS", costs.mac_os)):
        whole = 1e3 * products * mac.zero_delay
        parts = {part.name.lower(): whole * (part + 1) / 21 for part in Part}
        figures[name] = Figures(parts, whole)
    return Element(2.5, 1.0, None, figures, figures, {})


@pytest.mark.parametrize("energy", [False, True])
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_pictures_are_the_same_every_time(suffix, energy):
    pytest.importorskip("matplotlib")
    figures = dict(FIGURES)
    if energy:
        figures["pj_a_mac_by_component"] = by_component(CONFIG, "top")
    first = draw(figures, suffix)
    assert first == draw(figures, suffix)
    assert len(draw(figures | {"pj_a_mac_by_component": {}}, suffix)) < len(first) or not energy
