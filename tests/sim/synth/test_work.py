"""Units beside the elements: at rest, and the lanes at work."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hw.accumulate import Lane
from hw.postlane import PostLane
from sim.synth.circuit import Circuit
from sim.synth.gate_kernel import FLIP_FLOP
from sim.synth.lanes import accumulate_lane, store_lane
from sim.synth.liberty import WireLoad
from sim.synth.loads import Conditions
from sim.synth.netlist import parse_netlist
from sim.synth.standby import standby
from sim.synth.stimulus import record
from sim.synth.work import at_rest, at_work

from .conftest import CONFIG, opened
from .powered import PIN_FF, VOLTAGE, circuit, library

INVERTER = {"type": "INV", "connections": {"A": [2], "ZN": [5]}}


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
    return opened(map_unit(lambda builder: Lane(CONFIG, builder), adders=True))


def test_a_lane_of_the_accumulator(lane: Circuit) -> None:
    """Its memories are macros: what they read is an input, recorded like all others."""
    assert any("." in name for name in lane.inputs), "memories are there"
    work = accumulate_lane(lane, CONFIG, Conditions())
    for figures in (work.zero_delay, work.timed):
        assert figures["rest"] < min(figures["overwrite"], figures["accumulate"])
    assert work.timed["accumulate"] > 1.05 * work.zero_delay["accumulate"], "it glitches"
    assert min(work.cycles.values()) >= 5


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


@pytest.fixture(scope="module")
def store(map_unit) -> Circuit:
    return opened(map_unit(lambda builder: PostLane(CONFIG, builder), adders=True))


def test_a_lane_of_the_store_engine(store: Circuit) -> None:
    work = store_lane(store, CONFIG, Conditions())
    for figures in (work.zero_delay, work.timed):
        assert figures["rest"] < figures["requantise"]
        assert figures["rest"] < figures["reduce"] < figures["rescale"]


def test_lanes_at_rest_clock_next_to_nothing(lane: Circuit, store: Circuit) -> None:
    """All of a store lane is behind clock gates, and all but some bits of an accumulator's."""
    assert len(_clocked(store)) == 0 < sum(model.kind == FLIP_FLOP for model in store.models)
    assert len(_clocked(lane)) <= 8


def _clocked(circuit: Circuit) -> list[int]:
    """Return the flip-flops that the clock reaches directly."""
    return [
        cell
        for cell, model in enumerate(circuit.models)
        if model.kind == FLIP_FLOP and circuit.pins[cell, model.clock] == circuit.clock_net
    ]


def test_standby_is_counted_as_it_is_simulated(element: Circuit, element_netlist) -> None:
    wires = WireLoad("w", ff_per_unit=2.0, kohm_per_unit=0.0, slope=1.0, lengths=((1, 1.5),))
    for conditions in (Conditions(), Conditions(wire_load=wires)):
        (found,) = standby(element_netlist, conditions)
        rest = at_rest(element, conditions)
        # Simulated flip-flops hold zeros; the mean of both is 20 fJ more.
        assert found.clock_fj == pytest.approx(rest.clock_fj + 20 * len(_clocked(element)))
        assert found.instances == 1 and found.leakage_nw == pytest.approx(rest.leakage_nw, rel=0.1)


def test_standby_of_modules_counts_their_instances() -> None:
    flop = {"type": "DFF", "connections": {"CK": [2], "D": [3], "Q": [4]}}
    ports = {"clk": {"direction": "input", "bits": [2]}}
    inner = {"type": "inner", "connections": {"clk": [2]}}
    modules = {
        "inner": {"ports": ports, "cells": {"flop": flop}},
        "middle": {"ports": ports, "cells": {"a": inner, "b": inner, "inv": INVERTER}},
        "outer": {
            "ports": ports,
            "attributes": {"top": "1"},
            "cells": {name: {**inner, "type": "middle"} for name in "xyz"},
        },
    }
    netlist = parse_netlist(json.dumps({"modules": modules}), library())
    found = {each.name: each for each in standby(netlist, Conditions())}
    assert {name: each.instances for name, each in found.items()} == {
        "outer": 1,
        "middle": 3,
        "inner": 6,
    }
    # Both edges of the pin, and inside with Q low and high.
    assert found["inner"].clock_fj == pytest.approx(VOLTAGE**2 + (10 + 20 + 30 + 40) / 2)
    assert found["middle"].clock_fj == 0 and found["middle"].leakage_nw == 7
