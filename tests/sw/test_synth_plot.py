"""The picture of a synthesis: nothing is left out, and the same figures give the same bytes."""

from __future__ import annotations

import pytest

from hw.isa.config import PRESETS
from sw.synth.plot import draw, energy_parts, parts
from sw.synth.power import energy_parts as by_component
from sw.synth.power import power_rows

CONFIG = PRESETS["paper"]
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
