"""Area and period of what is mapped now, against what is recorded.

Areas may differ by `AREA` and periods by `PERIOD`: more means that the hardware or the flow has
changed, and the file is to be recorded again (`python -m sim.synth.record`).
"""

from __future__ import annotations

import pytest

from hw.isa.config import Config
from sim.silicon import Chip, silicon
from sim.synth.library import LibraryError, find_library
from sim.synth.record import CHIPS, unit_periods
from sim.synth.synthesis import synthesise

AREA, PERIOD = 0.01, 0.03
PAPER = Config.preset("paper")
QUICK = "quarter"
"""The design that is small enough for the default tests."""


@pytest.fixture(scope="module", autouse=True)
def library() -> None:
    try:
        find_library(None)
    except LibraryError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", [QUICK, "overlap", "fast", "four"])
def test_elements_are_as_recorded(name: str) -> None:
    config = PAPER.replace(**CHIPS[name])
    recorded, found = silicon().element(config), synthesise(config, "pe")
    assert found.cells_mm2 * 1e6 == pytest.approx(recorded.area_um2, rel=AREA)
    assert found.period_ns == pytest.approx(recorded.period_ns, rel=PERIOD)


def as_recorded(chip: Chip) -> None:
    found = synthesise(chip.config)
    periods = unit_periods(found.timing)
    assert {unit.name for unit in found.units} == chip.units.keys()
    for unit in found.units:
        recorded = chip.units[unit.name]
        assert unit.area_um2 == pytest.approx(recorded.area_um2, rel=AREA), unit.name
        assert unit.registers == recorded.flip_flops, unit.name
        period = periods.get(unit.name, 0.0)
        assert period == pytest.approx(recorded.period_ns, rel=PERIOD), unit.name
    assert found.period_ns == pytest.approx(chip.period_ns, rel=PERIOD)


def test_units_are_as_recorded() -> None:
    as_recorded(silicon().chips[QUICK])


@pytest.mark.nightly
@pytest.mark.parametrize("name", sorted(CHIPS.keys() - {QUICK}))
def test_units_of_large_designs_are_as_recorded(name: str) -> None:
    as_recorded(silicon().chips[name])
