"""What recorded designs must reach, whoever records them again."""

from __future__ import annotations

import pytest

from hw.isa.instructions import Dataflow
from sim.area import area
from sim.energy import full_use
from sim.silicon import silicon

ARRAYS = {"paper": (3.3, 2.0), "overlap": (4.8, 2.0), "fast": (4.8, 1.0)}
"""mm2 of all elements, and the period of one in ns, at most."""
CHIPS = {"paper": (11.5, 2.0), "overlap": (12.4, 2.0), "fast": (12.2, 2.0), "four": (10.75, 2.1)}
"""mm2 and ns of a whole chip, at most: what they were brought to."""
ZERO_DELAY, TIMED = 1.4, 1.0
"""TOPS/W of a chip at full use, at least."""


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name: str) -> None:
    mm2, period_ns = ARRAYS[name]
    chip = silicon().chips[name]
    assert chip.units["elements"].area_um2 * 1e-6 <= mm2
    assert silicon().element(chip.config).period_ns <= period_ns


@pytest.mark.parametrize("name", CHIPS)
def test_chips(name: str) -> None:
    mm2, period_ns = CHIPS[name]
    chip = silicon().chips[name]
    assert area(chip.config).total <= mm2
    assert chip.period_ns <= period_ns


@pytest.mark.parametrize("dataflow", list(Dataflow))
@pytest.mark.parametrize("name", ["paper", "overlap", "four"])
def test_operations_a_joule(name: str, dataflow: Dataflow) -> None:
    use = full_use(silicon().chips[name].config, dataflow)
    assert use.tops_per_watt_zero_delay >= ZERO_DELAY
    assert use.tops_per_watt >= TIMED
