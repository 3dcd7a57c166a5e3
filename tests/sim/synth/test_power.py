"""Energy of circuits so small that it is counted by hand; prices are those of `powered`."""

from __future__ import annotations

import numpy as np
import pytest

from sim.synth.gates import simulate
from sim.synth.liberty import WireLoad
from sim.synth.loads import Conditions
from sim.synth.power import Part, Prices

from .powered import PIN_FF, VOLTAGE, circuit

CYCLES = 11
"""Ten of which count."""


def bits(values, width: int = 1) -> np.ndarray:
    return (np.asarray(values)[:, None] >> np.arange(width) & 1).astype(np.uint8)


def square(cycles: int = CYCLES) -> np.ndarray:
    """A bit that changes in every cycle."""
    return bits(np.arange(cycles))


def toggle_fj(ff: float) -> float:
    return ff * VOLTAGE**2 / 2


def spent(unit, inputs, *, timed: bool = False, **conditions):
    prices = Prices(unit, Conditions(**conditions))
    activity = simulate(unit, inputs, delays=prices.loads.delays() if timed else None)
    return prices.breakdown(activity)


@pytest.mark.parametrize("timed", [False, True])
def test_an_inverter(timed: bool) -> None:
    unit = circuit({"inv": ("INV", {"A": 2, "ZN": 3})}, clk=[4], a=[2], out=[3])
    found = spent(unit, {"a": square()}, timed=timed, period_ns=2.0)
    assert found[Part.INPUTS] == pytest.approx(toggle_fj(PIN_FF))
    assert found[Part.LOGIC] == pytest.approx((2 + 1) / 2), "a rise takes 2 fJ, a fall 1"
    assert found[Part.CLOCK] == found[Part.REGISTERS] == found[Part.ADDERS] == 0
    assert found[Part.LEAKAGE] == pytest.approx((5 + 7) / 2 * 2.0 * 1e-3), "5 nW if A, 7 if not"
    assert found.total == pytest.approx(found.dynamic + found[Part.LEAKAGE])


def hazard(kind: str):
    """A gate that sees its second input late: ``!(a & !a)``, with an inverter as its load."""
    return circuit(
        {
            "late": ("INV", {"A": 2, "ZN": 3}),
            "gate": (kind, {"A": 2, "B": 3, "ZN": 4}),
            "load": ("INV", {"A": 4, "ZN": 5}),
        },
        clk=[6],
        a=[2],
        out=[5],
    )


def test_a_glitch_is_seen_with_delays_only() -> None:
    """The input rises in half of the cycles, and the gate's output falls and rises each time."""
    unit, late = hazard("NAND2"), (2 + 1) / 2 + toggle_fj(PIN_FF)
    assert spent(unit, {"a": square()})[Part.LOGIC] == pytest.approx(late)
    glitch = 4 + 2 + 2 * toggle_fj(PIN_FF) + 2 + 1
    found = spent(unit, {"a": square()}, timed=True)
    assert found[Part.LOGIC] == pytest.approx(late + glitch / 2)
    activity = simulate(unit, {"a": square()}, delays=Prices(unit, Conditions()).loads.delays())
    assert activity.toggles[0].tolist()[2:6] == [10, 10, 10, 10], "all nets, once a cycle"
    assert not activity.outputs["out"].any()


def test_a_glitch_shorter_than_its_gate_is_slow_does_not_pass() -> None:
    unit = hazard("SLOW2")
    inputs = {"a": square()}
    found = spent(unit, inputs, timed=True)
    assert found.dynamic == pytest.approx(spent(unit, inputs).dynamic)
    pulse = 4 + 2 + 2 * toggle_fj(PIN_FF)
    assert found.swallowed == pytest.approx(pulse / 2), "and what it would take is told apart"
    assert spent(unit, inputs).swallowed == spent(hazard("NAND2"), inputs).swallowed == 0


def gated():
    """A flip-flop behind a clock gate."""
    return circuit(
        {
            "gate": ("CG", {"CK": 2, "E": 3, "GCK": 4}),
            "flop": ("DFF", {"CK": 4, "D": 5, "Q": 6}),
        },
        clk=[2],
        enable=[3],
        d=[5],
        out=[6],
    )


@pytest.mark.parametrize("timed", [False, True])
def test_behind_a_closed_gate_only_data_moves(timed: bool) -> None:
    inputs = {"enable": bits([0] * CYCLES), "d": square()}
    found = spent(gated(), inputs, timed=timed)
    assert found[Part.CLOCK] == pytest.approx(2 * toggle_fj(1) + 10 + 20), "the gate's own clock"
    assert found[Part.REGISTERS] == pytest.approx((100 + 200) / 2), "while its clock is low"
    assert found[Part.INPUTS] == pytest.approx(toggle_fj(2))


@pytest.mark.parametrize("timed", [False, True])
def test_behind_an_open_gate_the_clock_moves_too(timed: bool) -> None:
    """Data begins with 1, and what is stored with 0, so that it changes in every cycle, too."""
    inputs = {"enable": bits([1] * CYCLES), "d": 1 - square()}
    found = spent(gated(), inputs, timed=timed)
    gate = 2 * toggle_fj(1) + 10 + 50 + 40 + 60  # pin and output, a rise and a fall
    flop = 2 * toggle_fj(1) + (10 + 30) / 2 + (20 + 40) / 2
    assert found[Part.CLOCK] == pytest.approx(gate + flop)
    assert found[Part.REGISTERS] == pytest.approx((300 + 400) / 2 + (50 + 60) / 2)


def test_data_that_comes_after_half_a_cycle_finds_the_clock_low() -> None:
    """An input changes 0.125 ns after the clock, the mean of a flip-flop's edges."""
    inputs = {"enable": bits([1] * CYCLES), "d": square()}
    early = spent(gated(), inputs, timed=True, period_ns=0.3)
    late = spent(gated(), inputs, timed=True, period_ns=0.2)
    assert early[Part.REGISTERS] - late[Part.REGISTERS] == pytest.approx((300 + 400 - 300) / 2)


def test_a_gate_holds_what_it_has_while_the_clock_is_high() -> None:
    """The enable of a cycle is that of the end of the cycle before."""
    rng = np.random.default_rng(0)
    enable, d = rng.integers(0, 2, 200), rng.integers(0, 2, 200)
    expected = np.zeros(200, int)
    for cycle in range(1, 200):
        expected[cycle] = d[cycle - 1] if enable[cycle - 1] else expected[cycle - 1]
    unit, inputs = gated(), {"enable": bits(enable), "d": bits(d)}
    for delays in (None, Prices(unit, Conditions()).loads.delays()):
        seen = simulate(unit, inputs, delays=delays).outputs["out"]
        assert (seen[:, 0] == expected).all()


def test_both_outputs_of_an_adder_count() -> None:
    """From 000 to 111 and back with `CI` last: no output of the two is passed over."""
    pins = {"A": 2, "B": 3, "CI": 4, "CO": 5, "S": 6}
    unit = circuit({"add": ("FA", pins)}, clk=[7], x=[2, 3, 4], out=[6, 5])
    values = np.arange(64) % 8
    activity = simulate(unit, {"x": bits(values, 3)})
    total = activity.outputs["out"] @ (1, 2)
    assert (total == bits(values, 3).sum(axis=1)).all()
    found = Prices(unit, Conditions()).breakdown(activity)
    rises = np.diff(activity.outputs["out"].astype(int), axis=0)
    energy = 8 * (rises > 0).sum() + 4 * (rises < 0).sum()
    assert found[Part.ADDERS] == pytest.approx(energy / 63)


def test_a_circuit_settles_when_its_longest_path_has() -> None:
    cells = {
        "flop": ("DFF", {"CK": 2, "D": 3, "Q": 4}),
        "one": ("INV", {"A": 4, "ZN": 5}),
        "two": ("SLOW2", {"A": 5, "B": "1", "ZN": 6}),
    }
    unit = circuit(cells, clk=[2], d=[3], out=[6])
    prices = Prices(unit, Conditions())
    activity = simulate(unit, {"d": square()}, delays=prices.loads.delays())
    assert activity.settled_ns == pytest.approx(0.15 + 0.05 + 0.09), "Q falls later than it rises"


def test_wires_are_loads() -> None:
    unit = circuit({"inv": ("INV", {"A": 2, "ZN": 3})}, clk=[4], a=[2], out=[3])
    load = WireLoad("w", ff_per_unit=2.0, kohm_per_unit=0.0, slope=1.0, lengths=((1, 1.5),))
    found = spent(unit, {"a": square()}, wire_load=load, link_ff=4.0)
    assert found[Part.INPUTS] == pytest.approx(toggle_fj(PIN_FF + 3.0 + 4.0))
    assert found[Part.LOGIC] == pytest.approx((2 + 1) / 2), "nothing is connected to its output"


def test_phases_are_counted_apart() -> None:
    unit = circuit({"inv": ("INV", {"A": 2, "ZN": 3})}, clk=[4], a=[2], out=[3])
    prices = Prices(unit, Conditions())
    a = bits([0, 1, 0, 1, 1, 1, 1])
    activity = simulate(unit, {"a": a}, phases=[0, 0, 0, 0, 1, 1, 1])
    assert activity.cycles.tolist() == [3, 3], "the first cycle only sets the stage"
    assert prices.breakdown(activity, 1).dynamic == 0
    assert prices.breakdown(activity, 0)[Part.LOGIC] == pytest.approx((1 + 2 + 1) / 3)
    with pytest.raises(ValueError, match="no cycle of phase 2"):
        prices.breakdown(activity, 2)
