"""Prices from what was measured; here, from figures that are easy to add up."""

from __future__ import annotations

import dataclasses
import json

import pytest

from hw.isa.config import Config
from sim.silicon import VARIANT, Price, Silicon, silicon, variant
from sim.synth.element import Element, Figures
from sim.synth.loads import Conditions
from sim.synth.netlist import parse_netlist
from sim.synth.record import CHIPS, element_prices, lane_prices, rest_by_unit, variants
from sim.synth.work import Work

from .powered import library


def figures(total: float, **parts: float) -> Figures:
    return Figures({"clock": 0.0, "leakage": 0.0} | parts, total)


TIMED = {
    "IDLE": figures(150, clock=100.0, leakage=50.0),
    "WS": figures(1400),
    "WS_LOADING": figures(1500),
    "OS": figures(1600),
    "WS_PADDING": figures(550),
    "OS_PADDING": figures(650),
}


def element(**more: Figures) -> Element:
    """Return an element that takes half of its energy for delays and wires."""
    timed = TIMED | more
    zero_delay = {
        name: figures(each.total / 2, **{part: fj / 2 for part, fj in each.parts.items()})
        for name, each in timed.items()
    }
    return Element(2.5, 800.0, "wires", zero_delay, timed, {"WS": 100})


def twice(timed: float) -> Price:
    return Price(pytest.approx(timed), pytest.approx(timed / 2))


def test_prices_of_an_element() -> None:
    found = element_prices(element(OS_DRAINING=figures(2100)), 1.9)
    assert (found.area_um2, found.period_ns) == (800.0, 1.9)
    assert (found.mac_ws, found.mac_os) == (twice(1.4), twice(1.6))
    assert (found.padding_ws, found.padding_os) == (twice(0.4), twice(0.5))
    assert (found.load_shift, found.drain_shift) == (twice(0.1), twice(0.5))
    assert found.clock == twice(0.1)
    assert found.leakage_mw == pytest.approx(50 / 2.5 * 1e-3), "50 fJ in 2.5 ns are 20 uW"


def test_a_sum_that_drains_alone_is_compared_with_an_idle_element() -> None:
    assert element_prices(element(DRAIN=figures(850)), 1.9).drain_shift == twice(0.7)


def test_an_array_of_one_dataflow_has_no_price_of_the_other() -> None:
    both = element()
    only = {name: each for name, each in both.timed.items() if "OS" not in name}
    found = element_prices(dataclasses.replace(both, timed=only), 1.9)
    assert found.mac_os == found.padding_os == found.drain_shift == Price(0.0, 0.0)
    assert found.mac_ws == twice(1.4)


def test_prices_of_lanes() -> None:
    work = {"rest": 1000.0, "overwrite": 3000.0, "accumulate": 5000.0}
    store = {"rest": 2000.0, "requantise": 9000.0, "rescale": 12000.0, "reduce": 6000.0}
    halves = [{name: fj / 2 for name, fj in each.items()} for each in (work, store)]
    found = lane_prices(Work(halves[0], work, {}), Work(halves[1], store, {}))
    assert found.accumulate == twice((3 + 5) / 2 - 1)
    assert (found.requantise, found.rescale, found.reduce) == (twice(7), twice(6), twice(4))


def test_every_variant_and_every_design_is_recorded() -> None:
    found = silicon()
    paper = Config.preset("paper")
    assert found.elements.keys() == {variant(paper.replace(**each)) for each in variants()}
    assert {name: dict(chip.changes) for name, chip in found.chips.items()} == CHIPS
    assert len(found.elements) == 30
    for key, each in found.elements.items():
        has = dict(zip(VARIANT, key, strict=True))
        assert (each.mac_ws.timed > 0) == has["weight_stationary"]
        assert (each.mac_os.timed > 0) == has["output_stationary"]


def test_all_of_it_survives_json() -> None:
    found = silicon()
    assert Silicon.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_a_module_without_a_unit_belongs_where_it_lies() -> None:
    """A shared one to several: here three inverters, of 7 nW each, one with the AXI's reader."""
    ports = {"clk": {"direction": "input", "bits": [2]}}
    inverter = {"type": "INV", "connections": {"A": [2], "ZN": [5]}}

    def module(cells: dict, **more) -> dict:
        return {"ports": ports, "cells": cells, **more}

    def child(name: str) -> dict:
        return {"type": name, "connections": {"clk": [2]}}

    lane = {"one": child("shared"), "two": child("shared")}
    top = {"lane": child("cdmqta_lane"), "reader": child("cdmqta.reader")}
    modules = {
        "shared": module({"inv": inverter}),
        "cdmqta_lane": module(lane),
        "cdmqta.reader": module({"one": child("shared")}),
        "cdmqta": module(top, attributes={"top": "1"}),
    }
    netlist = parse_netlist(json.dumps({"modules": modules}), library())
    found = rest_by_unit(netlist, Conditions())
    assert {unit: rest.leakage_nw for unit, rest in found.items()} == {
        "controller": 0,
        "accumulate": 14,
        "AXI": 7,
    }
