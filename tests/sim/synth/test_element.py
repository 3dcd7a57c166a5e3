"""What an element takes, by what it does."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from hw.isa.config import Config
from sim.synth.element import Element, Load, Stimulus, measure, record_products
from sim.synth.loads import Conditions

from .conftest import opened


def products(drain_overlap: int) -> Stimulus:
    return record_products(Config(rows=8, columns=4, drain_overlap=drain_overlap))


@pytest.fixture(scope="module")
def stimulus() -> Stimulus:
    return products(0)


@pytest.fixture(scope="module")
def alone(element, stimulus: Stimulus) -> Element:
    return measure(element, stimulus, Conditions())


@pytest.fixture(scope="module")
def overlapped(overlap_netlist) -> Element:
    return measure(opened(overlap_netlist), products(1), Conditions())


@pytest.fixture(params=["alone", "overlapped"])
def measured(request) -> Element:
    return request.getfixturevalue(request.param)


def test_everything_an_element_does_is_met(alone: Element, overlapped: Element) -> None:
    """With one register of sums a finished one passes alone; with two it passes under a MAC."""
    names = {load.name for load in Load} - {"OTHER"}
    for measured, not_met in ((alone, "OS_DRAINING"), (overlapped, "DRAIN")):
        met = names - {not_met}
        assert set(measured.zero_delay) == set(measured.timed) == set(measured.cycles) == met
        assert min(measured.cycles.values()) >= 5
        assert measured.cycles["WS"] > 1000 and measured.cycles["OS"] > 1000


def test_an_element_that_idles_takes_clock_and_leakage_only(measured: Element) -> None:
    for figures in (measured.zero_delay, measured.timed):
        idle = figures["IDLE"]
        assert idle.parts["clock"] > 0 and idle.parts["leakage"] > 0
        assert idle.total == pytest.approx(idle.parts["clock"] + idle.parts["leakage"])


def test_what_does_more_takes_more(measured: Element) -> None:
    for figures in (measured.zero_delay, measured.timed):
        total = {name: each.total for name, each in figures.items()}
        assert total["IDLE"] < total["WS_PADDING"] < total["WS"] < total["WS_LOADING"]
        assert total["IDLE"] < total["OS_PADDING"] < total["OS"]
        assert total["OS"] < total.get("OS_DRAINING", math.inf)
        assert total["IDLE"] < total.get("DRAIN", math.inf)
    for name in ("WS", "OS"):
        assert measured.glitches(Load[name]) > 0.1 * measured.zero_delay[name].total
    assert measured.glitches(Load.IDLE) == pytest.approx(0)


def test_figures_survive_json(measured: Element) -> None:
    assert Element.from_json(json.loads(json.dumps(measured.as_json()))) == measured


def test_a_netlist_that_does_something_else_is_not_measured(element, stimulus: Stimulus) -> None:
    first = stimulus.recordings[0]
    wrong = {**first.outputs, "p_out": np.roll(first.outputs["p_out"], 1, axis=0)}
    changed = Stimulus((dataclasses.replace(first, outputs=wrong),), stimulus.loads[:1])
    with pytest.raises(RuntimeError, match="the netlist of unit differs from the RTL: p_out, bit"):
        measure(element, changed, Conditions())
