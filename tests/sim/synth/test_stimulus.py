"""Mapped units do what the RTL does, in every cycle of real products, with delays and without."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hw.isa.instructions import Dataflow
from sim.synth.gates import simulate
from sim.synth.loads import Conditions
from sim.synth.power import Prices
from sim.synth.stimulus import Recording, _Run, column_slice, normal_int8, record

from .conftest import CONFIG


def product(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return normal_int8(rng, 9, 10), normal_int8(rng, 7, 10).T


@pytest.mark.parametrize("dataflow", list(Dataflow))
@pytest.mark.parametrize("name, path", [("element", "array.row_2.pe_1"), ("array", "array")])
def test_a_mapped_unit_does_what_the_rtl_does(
    name: str, path: str, dataflow: Dataflow, request
) -> None:
    unit = request.getfixturevalue(name)
    config = CONFIG if name == "array" else column_slice(CONFIG, *product(0))
    seen = record(config, *product(0), dataflow, [path])[path]
    assert seen.cycles > 50
    for delays in (None, Prices(unit, Conditions()).loads.delays()):
        activity = simulate(unit, seen.inputs, delays=delays)
        # The register at the foot of an array is written in every cycle, with whatever stood above.
        assert seen.difference(activity.outputs, 1 + config.rows if name == "array" else 0) is None
        assert all(values.any() for values in seen.outputs.values())


def test_a_difference_is_named_and_what_was_never_written_is_none() -> None:
    zero, one = np.zeros((6, 2), np.uint8), np.ones((6, 2), np.uint8)
    seen = Recording({"rst": zero}, {"q": zero.copy()}, {})
    assert seen.difference({"q": one}) is None, "registers that nobody wrote"
    seen.outputs["q"][3:, 1] = 1
    assert seen.difference({"q": one}) is None, "written in cycle 3"
    assert seen.difference({"q": zero}) == "q, bit 1, in cycle 3"
    one[4:, 0] = 0
    one[5, 0] = 1
    assert seen.difference({"q": one}) == "q, bit 0, in cycle 5"


def test_control_is_recorded_by_field() -> None:
    """Each of 3 folds streams 9 waves through an element."""
    path = "array.row_0.pe_0"
    seen = record(CONFIG, *product(1), Dataflow.WS, [path])[path]
    valid = seen.field("control_in", "valid")
    assert valid.sum() == 9 * 3 * 2 and not seen.field("control_in", "os").any()
    assert seen.field("control_in", "first")[valid].sum() == 3 * 2
    assert (seen.inputs["rst"] == 0).all()


def test_sums_that_are_wrong_are_no_stimulus(monkeypatch) -> None:
    """An instruction that starts a row too late."""
    instruction = _Run._instruction
    monkeypatch.setattr(
        _Run, "_instruction", lambda run: dataclasses.replace(instruction(run), left_base=1)
    )
    with pytest.raises(RuntimeError, match="row 0, block 0: the RTL's sums are wrong"):
        record(CONFIG, *product(2), Dataflow.WS, ["array"])


def test_an_unknown_unit_is_named() -> None:
    with pytest.raises(ValueError, match=r"no unit 'array.row_9' in the execute engine"):
        record(CONFIG, *product(0), Dataflow.WS, ["array.row_9"])


def test_values_are_quantised_by_row() -> None:
    values = normal_int8(np.random.default_rng(0), 40, 200)
    assert values.dtype == np.int8 and (np.abs(values).max(axis=1) == 127).all()
    assert 30 < values.std() < 60
