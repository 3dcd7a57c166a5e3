"""Circuits that cannot be simulated, cells as tables, and models of cells in Verilog."""

from __future__ import annotations

import numpy as np
import pytest

from sim.synth.cellmodel import SimulationError, cell_model
from sim.synth.cells import prime_implicants, verilog_models
from sim.synth.circuit import Circuit
from sim.synth.gates import simulate
from sim.synth.liberty_reader import parse_liberty

from .powered import TEXT, circuit, library

INV = ("INV", {"A": 2, "ZN": 3})


@pytest.mark.parametrize(
    "cells, message",
    [
        ({"a": ("INV", {"A": 2, "ZN": 3}), "b": ("INV", {"A": 2, "ZN": 3})}, "b is not the only"),
        ({"a": ("INV", {"A": 9, "ZN": 3})}, "a: nothing drives its A"),
        ({"a": ("INV", {"ZN": 3})}, "a: nothing drives its A"),
        ({"a": ("NAND2", {"A": 2, "B": 3, "ZN": 3})}, "a is in or behind a loop"),
        ({"a": ("DFF", {"D": 2, "CK": 2, "Q": 3})}, "a: no clock drives CK of DFF"),
        ({"a": ("DFF", {"D": 4, "CK": 4, "Q": 3})}, "a: the clock drives D of DFF"),
    ],
)
def test_a_circuit_that_cannot_be_simulated_is_refused(cells, message: str) -> None:
    with pytest.raises(SimulationError, match=message) as caught:
        circuit(cells, clk=[4], a=[2], out=[3])
    assert "\n" not in str(caught.value)


def test_a_circuit_needs_its_clock() -> None:
    with pytest.raises(SimulationError, match="unit has no clock port 'clk'"):
        circuit({"a": INV}, ck=[4], a=[2], out=[3])


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({}, "input 'a' of unit is not given"),
        ({"a": np.zeros((3, 2))}, r"takes \(cycles, 1\) bits, not \(3, 2\)"),
        ({"a": np.zeros((0, 1))}, "of one length, not of"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, message: str) -> None:
    unit = circuit({"a": INV}, clk=[4], a=[2], out=[3])
    with pytest.raises(SimulationError, match=message):
        simulate(unit, inputs)


@pytest.mark.parametrize(
    "cell, message",
    [
        ('latch ("IQ", "IQN") { data_in : "D"; enable : "G"; }', "is a latch"),
        (
            'ff ("IQ", "IQN") { next_state : "D"; clocked_on : "G"; clear : "!R"; }',
            "asynchronous set or reset",
        ),
        ('ff ("IQ", "IQN") { next_state : "D"; clocked_on : "!G"; }', "clocked on '!G'"),
        ('clock_gating_integrated_cell : "latch_negedge";', "clock gate of the kind"),
    ],
)
def test_a_cell_of_another_kind_is_refused_by_name(cell: str, message: str) -> None:
    pins = "".join(f"pin ({pin}) {{ direction : input; }} " for pin in "DGR")
    more = f'cell (ODD) {{ {cell} {pins} pin (Q) {{ direction : output; function : "IQ"; }} }} }}'
    read = parse_liberty((TEXT.rstrip().removesuffix("}") + more).encode(), "odd.lib")
    with pytest.raises(SimulationError, match=f"cell ODD .*{message}"):
        cell_model(read.cells["ODD"])
    with pytest.raises(SimulationError, match="cell ODD"):
        verilog_models(read, ["ODD"])
    assert "module ODD" not in verilog_models(read), "left out where all are asked for"


def test_a_flip_flop_takes_its_data_with_the_rise_only() -> None:
    model = cell_model(library().cells["DFF"])
    clock, data = model.inputs.index("CK"), model.inputs.index("D")
    for state in range(8):
        after = model.after(clock, state)
        rises = not state >> clock & 1
        assert after >> 2 == (state >> data & 1 if rises else state >> 2)
        assert model.after(data, state) == state ^ 1 << data


@pytest.mark.parametrize("inputs", [1, 2, 3, 4])
def test_prime_implicants_cover_a_table_and_no_more(inputs: int) -> None:
    rng = np.random.default_rng(inputs)
    size = 1 << inputs
    for table in rng.integers(0, 1 << size, 50).tolist():
        primes = prime_implicants(table, inputs)
        for index in range(size):
            assert any(index & mask == value for mask, value in primes) == bool(table >> index & 1)
        for mask, value in primes:
            for place in range(inputs):
                wider = mask & ~(1 << place)
                if wider != mask:
                    inside = [i for i in range(size) if i & wider == value & wider]
                    assert not all(table >> i & 1 for i in inside), "none can be made wider"


def test_a_netlist_of_nothing_but_wires_runs() -> None:
    unit = circuit({}, clk=[4], a=[2], out=[2])
    assert isinstance(unit, Circuit)
    a = np.array([[0], [1], [1]], np.uint8)
    activity = simulate(unit, {"a": a})
    assert (activity.outputs["out"] == a).all()
    assert activity.toggles[0, unit.inputs["a"].nets].tolist() == [1]
