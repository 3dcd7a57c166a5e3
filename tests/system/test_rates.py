"""How fast the 64x64 RTL is, in cycles: what `nox -s bench` prints meets its goals. Nightly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.bench import rates

pytestmark = pytest.mark.nightly

MEASURES = (
    rates.products,
    rates.hidden_dram,
    rates.switching,
    rates.transposing,
    rates.requantising,
)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda each: each.__name__)
def test_goals_are_met(measure: Callable[[], rates.Rows]) -> None:
    rows = measure()
    assert rows
    missed = [f"{what}: {measured}; goal: {goal}" for what, measured, goal, met in rows if not met]
    assert not missed, "\n".join(missed)
