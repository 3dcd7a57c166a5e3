"""Our timing analysis and OpenSTA say the same of units of the accelerator."""

from __future__ import annotations

import pytest

from sim.synth.sta import NONE
from tests.marks import nightly

from .compared import CONDITIONS, ELEMENTS, World, of_element, of_script, of_tiny, of_unit
from .opensta import needs_opensta

pytestmark = needs_opensta

UNITS = (
    "cdmqta_pe",
    "cdmqta_row",
    "cdmqta_lane",
    "cdmqta.execute.edge",
    "cdmqta.execute.feed",
    "cdmqta.execute.walk",
    "cdmqta.execute",
)
"""From one element to everything between the engines, memories included."""
LANES = ("cdmqta_lane", "cdmqta_post_lane")
"""A column of the accumulator, and one of the store engine."""
NEAR = 0.005
"""Share by which periods may differ: OpenSTA fits a waveform to each driver; 0.1 % is usual."""
EXACT = 3e-5
"""The same without wires, where both look the same entries up: in single precision there."""


def assert_same(made: World, unit: str) -> None:
    for condition in CONDITIONS:
        ours, theirs = made.periods(unit, condition)
        near = EXACT if condition == "bare" else NEAR
        assert theirs is not None and ours == pytest.approx(theirs, rel=near), (unit, condition)


def test_units(tmp_path):
    """One test, since mapping takes most of its time: with wires, without, and to clock gates."""
    made = of_script(tmp_path, UNITS[-1], UNITS)
    gated = 0
    for unit in UNITS:
        assert_same(made, unit)
        # Enables are due before the edge, as data of a register; they are hardly ever the last.
        bare = made.timing(unit, NONE)
        labels = bare.graph.labels
        ends = zip(bare.ends, bare.check.tolist(), strict=False)  # ports come last
        enables = [end for end, by in ends if by >= 0 and labels[by] == "clock gating setup"]
        if enables:
            theirs = made.theirs(unit, "bare", to="[get_pins */E]")
            assert max(enables) == pytest.approx(theirs, rel=EXACT, abs=1e-5), unit
            gated += 1
    assert gated > 2


@pytest.mark.nightly
def test_every_unit(tmp_path):
    """All modules of the accelerator, and all of it at once."""
    made = of_script(tmp_path, "cdmqta")
    assert len(made.units) > 40
    for unit in made.units:
        ours, theirs = made.periods(unit, "wires")
        assert (theirs is None) == (ours is None), unit
        if theirs is not None:
            assert ours == pytest.approx(theirs, rel=NEAR, abs=1e-4), unit


QUICK = ("ws1-os1-overlap0-register0-macs1", "ws0-os1-overlap1-register1-macs1")
"""The default element, and one with neither its registers nor its mapping."""


@pytest.mark.parametrize(
    "variant", [*QUICK, *nightly(*(name for name in ELEMENTS if name not in QUICK))]
)
def test_our_elements(tmp_path, variant: str):
    """As they are mapped for users: cells of adders, complements of flip-flops, sizes, buffers."""
    assert_same(of_element(tmp_path, ELEMENTS[variant]), "cdmqta_pe")


@pytest.mark.parametrize("unit", LANES)
def test_our_lanes(tmp_path, unit: str):
    assert_same(of_unit(tmp_path, unit), unit)


@pytest.mark.nightly
def test_our_accelerator(tmp_path):
    """The whole of the smallest preset, and the lanes as they are in it."""
    units = (*LANES, "cdmqta")
    made = of_tiny(tmp_path, units)
    for unit in units:
        assert_same(made, unit)
