"""Units beside the elements: at rest, and the lanes at work."""

from __future__ import annotations

import numpy as np
import pytest

from hw.accumulate import Lane
from hw.isa.config import Config
from hw.postlane import PostLane
from sim.synth.circuit import Circuit
from sim.synth.lanes import accumulate_lane, store_lane
from sim.synth.loads import Conditions
from sim.synth.stimulus import record
from sim.synth.work import at_rest, at_work

from .powered import PIN_FF, VOLTAGE, circuit

CONFIG = Config(rows=4, columns=4)
"""Its memories hold what the accumulator's product needs."""


def test_at_rest_clocks_move_and_cells_leak() -> None:
    cells = {
        "gate": ("CG", {"CK": 2, "E": 3, "GCK": 4}),
        "kept": ("DFF", {"CK": 4, "D": 5, "Q": 6}),
        "free": ("DFF", {"CK": 2, "D": 5, "Q": 7}),
    }
    unit = circuit(cells, clk=[2], enable=[3], d=[5], rst=[8], out=[6, 7])
    rest = at_rest(unit, Conditions(period_ns=7.0))
    pins = 2 * 2 * VOLTAGE**2 / 2  # the gate's and the free flip-flop's, both edges
    assert rest.clock_fj == pytest.approx(pins + 2 * (10 + 20))
    assert rest.leakage_nw == pytest.approx(3 * 11), "does not depend on the period"


def test_work_is_told_apart_by_what_is_done() -> None:
    unit = circuit({"inv": ("INV", {"A": 2, "ZN": 3})}, clk=[4], a=[2], more=[5], out=[3])
    a = np.array([[0], [1], [0], [1], [1], [1]], np.uint8)
    moves = np.array([0, 1, 1, 1, 0, 0], bool)
    work, activity = at_work(unit, {"a": a}, {"moves": moves, "stays": ~moves}, Conditions())
    assert work.cycles == {"moves": 3, "stays": 2}, "the first cycle only sets the stage"
    added = work.timed["moves"] - work.timed["stays"]
    assert added == pytest.approx(PIN_FF * VOLTAGE**2 / 2 + (1 + 2 + 1) / 3, abs=0.1), "and leaks"
    assert (activity.outputs["out"] == 1 - a).all()
    with pytest.raises(ValueError, match="no cycle of phase 2"):
        at_work(unit, {"a": a}, {"moves": moves, "never": moves & ~moves}, Conditions())


@pytest.fixture(scope="module")
def lane(map_unit) -> Circuit:
    return map_unit(lambda builder: Lane(CONFIG, builder), adders=True)


def test_a_lane_of_the_accumulator(lane: Circuit) -> None:
    """Its memories are macros: what they read is an input, recorded like all others."""
    assert any("." in name for name in lane.inputs), "memories are there"
    work = accumulate_lane(lane, CONFIG, Conditions())
    for figures in (work.zero_delay, work.timed):
        assert figures["rest"] < min(figures["overwrite"], figures["accumulate"])
    assert work.timed["accumulate"] > 1.2 * work.zero_delay["accumulate"], "it glitches"
    assert min(work.cycles.values()) >= 10


def test_a_netlist_of_another_lane_is_not_measured(lane: Circuit, monkeypatch) -> None:
    """As if the lane's results came a cycle later."""

    def late(*what):
        seen = record(*what)
        for values in seen["accumulate.lane_0"].outputs.values():
            values[1:] = values[:-1].copy()
        return seen

    monkeypatch.setattr("sim.synth.lanes.record", late)
    with pytest.raises(RuntimeError, match="the netlist of unit differs from the RTL: "):
        accumulate_lane(lane, CONFIG, Conditions())


@pytest.mark.nightly
def test_a_lane_of_the_store_engine(map_unit) -> None:
    work = store_lane(map_unit(lambda builder: PostLane(CONFIG), adders=True), CONFIG, Conditions())
    for figures in (work.zero_delay, work.timed):
        assert figures["rest"] < figures["reduce"]
        assert figures["rest"] < figures["requantise"] < figures["rescale"]
