"""Prices from what was measured; here, from figures that are easy to add up."""

from __future__ import annotations

import json

import pytest

from sim.synth.consumption import Consumption, rest_by_unit
from sim.synth.element import Element, Figures
from sim.synth.loads import Conditions
from sim.synth.netlist import parse_netlist
from sim.synth.work import Rest, Work

from .powered import library


def figures(total: float, **parts: float) -> Figures:
    return Figures({"clock": 0.0, "leakage": 0.0} | parts, total)


def consumption(**more: Figures) -> Consumption:
    zero_delay = {"IDLE": figures(120), "WS": figures(900), "OS": figures(1000)}
    timed = {
        "IDLE": figures(150, clock=100.0, leakage=50.0),
        "WS": figures(1400),
        "WS_LOADING": figures(1500),
        "OS": figures(1600),
        "WS_PADDING": figures(550),
        "OS_PADDING": figures(650),
        **more,
    }
    work = {"rest": 1000.0, "overwrite": 3000.0, "accumulate": 5000.0}
    store = {"rest": 2000.0, "requantise": 9000.0, "rescale": 12000.0, "reduce": 6000.0}
    return Consumption(
        configuration="0123",
        library="round",
        element=Element(2.5, 800.0, "wires", zero_delay, timed, {"WS": 100}),
        lanes={"accumulate": Work({}, work, {}), "store": Work({}, store, {})},
        rest={"elements": Rest(1e6, 1e6), "load": Rest(3000, 2e6), "AXI": Rest(500, 1e6)},
    )


def test_prices_of_events() -> None:
    prices = consumption(OS_DRAINING=figures(2100)).prices()
    assert (prices.mac_zero_delay, prices.mac_zero_delay_os) == pytest.approx((0.9, 1.0))
    assert (prices.mac_ws, prices.mac_os) == pytest.approx((1.4, 1.6))
    assert (prices.padding_ws, prices.padding_os) == pytest.approx((0.4, 0.5))
    assert (prices.load_shift, prices.drain_shift) == pytest.approx((0.1, 0.5))
    assert prices.pe_clock == pytest.approx(0.1)
    assert prices.pe_leakage_mw == pytest.approx(50 / 2.5 * 1e-3), "50 fJ in 2.5 ns are 20 uW"
    assert prices.accumulate_sum == pytest.approx((3 + 5) / 2 - 1)
    assert (prices.store_sum, prices.rescale_sum) == pytest.approx((7, 3))
    assert prices.reduce_sum == pytest.approx(4)
    assert prices.clocks == pytest.approx(3.5), "of all but the elements"
    assert prices.leakage_mw == pytest.approx(3.0)


def test_a_sum_that_drains_alone_is_compared_with_an_idle_element() -> None:
    assert consumption(DRAIN=figures(850)).prices().drain_shift == pytest.approx(0.7)


def test_an_array_of_one_dataflow_has_no_price_of_the_other() -> None:
    found = consumption()
    timed = {name: each for name, each in found.element.timed.items() if "OS" not in name}
    element = Element(2.5, 800.0, None, {"WS": figures(900)}, timed, {})
    prices = Consumption("", "", element, found.lanes, found.rest).prices()
    assert prices.mac_os == prices.mac_zero_delay_os == prices.padding_os == 0
    assert prices.drain_shift == 0 and prices.mac_ws == pytest.approx(1.4)


def test_all_of_it_survives_json() -> None:
    found = consumption()
    assert Consumption.from_json(json.loads(json.dumps(found.as_json()))) == found


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
