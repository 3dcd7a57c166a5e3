"""Static timing analysis, against times worked out here."""

from __future__ import annotations

import math
import random

import pytest

from sim.synth.flat import flatten
from sim.synth.limits import overloads
from sim.synth.netlist import Macro, NetlistError
from sim.synth.path import describe
from sim.synth.sta import DEFAULT, NONE, TimingError, analyse, chosen_wire_load

from .small import LIBRARY, delay, module, netlist, setup, slew

NO_WIRE = chosen_wire_load(LIBRARY, NONE)
LONG = chosen_wire_load(LIBRARY, DEFAULT)
CLK, IN, OUT = 2, 3, 9


def timed(cells: dict, wire=NO_WIRE, inputs=None, outputs=None, macros=None, **names):
    """Return the timing of a module with clock 2, input 3 and output 9."""
    inputs = {"clk": CLK, "in": IN} if inputs is None else inputs
    top = module(inputs, {"out": OUT} if outputs is None else outputs, cells, names)
    return analyse(flatten(netlist(macros, top=top)), wire)


def flop(data: object, q: object, clock: object = CLK) -> tuple[str, dict]:
    """Return a register."""
    return "DFF", {"D": data, "CK": clock, "Q": q}


def inv(a: object, zn: object) -> tuple[str, dict]:
    """Return an inverter."""
    return "INV", {"A": a, "ZN": zn}


CHAIN = {"one": flop(IN, 4), "not": inv(4, 5), "two": flop(5, OUT)}


def chain(wire_ff: float = 0.0, lag=lambda pin_ff: 0.0) -> dict[str, float]:
    """Return the period that each edge needs at the end of `CHAIN`, by hand.

    Parameters
    ----------
    wire_ff : float
        On each net.
    lag : callable
        Time on the wire to a pin, by its capacitance.
    """
    q_rise, q_fall = delay(0.4, 0, 2 + wire_ff), delay(0.5, 0, 1.8 + wire_ff)
    rise_in, fall_in = slew(0.4, 0, 2 + wire_ff), slew(0.5, 0, 1.8 + wire_ff)
    rise = q_fall + lag(1.8) + delay(0.10, fall_in, 1 + wire_ff)
    fall = q_rise + lag(2) + delay(0.08, rise_in, 0.9 + wire_ff)
    return {
        "rise": rise + lag(1) + setup(0.05, slew(0.10, fall_in, 1 + wire_ff)),
        "fall": fall + lag(0.9) + setup(0.07, slew(0.08, rise_in, 0.9 + wire_ff)),
    }


def test_from_register_to_register():
    timing = timed(CHAIN)
    need = chain()
    edge = max(need, key=need.get)
    assert timing.period_ns == pytest.approx(need[edge], abs=1e-6)
    path = timing.path
    assert (path.check, path.points[-1].edge) == ("setup", edge)
    assert [(p.instance, p.pin, p.cell) for p in path.points] == [
        ("one", "Q", "DFF"), ("not", "ZN", "INV"), ("two", "D", "DFF"),
    ]  # fmt: skip
    assert path.points[0].arrival_ns == pytest.approx(delay(0.5, 0, 1.8), abs=1e-6)
    assert sum(p.delay_ns for p in path.points) == pytest.approx(path.points[-1].arrival_ns)
    assert path.points[-1].arrival_ns + path.setup_ns == pytest.approx(path.period_ns)


def test_wires():
    """`long` has 1 fF and 0.4 kohm for one load: a branch delays its pin and its own wire."""
    need = chain(1.0, lambda pin_ff: 0.4 * (1.0 + pin_ff) / 1000)
    assert timed(CHAIN, LONG).period_ns == pytest.approx(max(need.values()), abs=1e-6)


def test_a_branch_is_a_share_of_the_wire():
    """Two loads: 3 fF and 1.2 kohm in all, so 1.5 fF and 0.6 kohm to each."""
    timing = timed({"one": inv(IN, 4), "two": inv(4, 5), "three": inv(4, OUT)}, LONG)
    input_lag = 0.4 * (1 + 2) / 1000, 0.4 * (1 + 1.8) / 1000
    loads = 2 * 2 + 3, 2 * 1.8 + 3
    four = input_lag[1] + delay(0.10, 0, loads[0]), input_lag[0] + delay(0.08, 0, loads[1])
    slews = slew(0.10, 0, loads[0]), slew(0.08, 0, loads[1])
    # An output port is a load without capacitance.
    rise = four[1] + 0.6 * (1.5 + 1.8) / 1000 + delay(0.10, slews[1], 1)
    fall = four[0] + 0.6 * (1.5 + 2.0) / 1000 + delay(0.08, slews[0], 1)
    assert timing.period_ns == pytest.approx(max(rise, fall), abs=1e-6)
    assert timing.path.end == "out" and timing.path.check == "output"


def test_latest_arrival_and_largest_slew_need_not_come_together():
    """NAND's B is slower to answer, yet the slew of A's edge is the larger."""
    cells = {"a": inv(4, 5), "b": inv(IN, 4), "n": ("NAND", {"A": IN, "B": 5, "ZN": 6})}
    cells["last"] = inv(6, OUT)
    timing = timed(cells)
    load_b = 3.0, 2.7
    four = delay(0.10, 0, 2.0), delay(0.08, 0, 1.8)
    slews = slew(0.10, 0, 2.0), slew(0.08, 0, 1.8)
    five = four[1] + delay(0.10, slews[1], load_b[0]), four[0] + delay(0.08, slews[0], load_b[1])
    b_slews = slew(0.10, slews[1], load_b[0]), slew(0.08, slews[0], load_b[1])
    six = five[1] + delay(0.25, b_slews[1], 2), five[0] + delay(0.12, b_slews[0], 1.8)
    six_slews = (
        max(slew(0.2, 0, 2), slew(0.25, b_slews[1], 2)),
        max(slew(0.1, 0, 1.8), slew(0.12, b_slews[0], 1.8)),
    )
    rise = six[1] + delay(0.10, six_slews[1], 0)
    fall = six[0] + delay(0.08, six_slews[0], 0)
    assert timing.period_ns == pytest.approx(max(rise, fall), abs=1e-6)


ONES = {
    "constant": ({}, "1"),
    "cell": ({"t": ("ONE", {"Z": 7})}, 7),
    "inverted": ({"t": inv("0", 7)}, 7),
    "nand": ({"t": ("NAND", {"A": IN, "B": "0", "ZN": 7})}, 7),
}


@pytest.mark.parametrize("how", ONES)
def test_a_tied_input_shuts_what_does_not_hold(how):
    """XOR inverts where B is 1: what is left are the arcs with that condition, of that sense."""
    cells, one = ONES[how]
    timing = timed({**cells, "x": ("XOR", {"A": IN, "B": one, "Z": OUT})})
    assert timing.period_ns == pytest.approx(max(delay(0.34, 0, 0), delay(0.36, 0, 0)), abs=1e-6)
    assert {(p.pin, p.edge) for p in timing.path.points} == {
        ("in", "rise"), ("Z", "fall"), ("out", "fall"),
    }  # fmt: skip


def test_an_input_tied_to_0():
    timing = timed({"x": ("XOR", {"A": "0", "B": IN, "Z": OUT})})
    assert timing.period_ns == pytest.approx(delay(0.40, 0, 0), abs=1e-6)
    assert {p.edge for p in timing.path.points} == {"fall"}


def test_what_never_changes_takes_no_time():
    timing = timed({"n": ("NAND", {"A": IN, "B": "0", "ZN": OUT})})
    assert timing.period_ns == 0.0 and timing.path is None and timing.worst(3) == []
    # A loop that a tied input opens is none.
    loop = {"n": ("NAND", {"A": 4, "B": "0", "ZN": 5}), "i": inv(5, 4)}
    assert timed(loop).path is None


def test_a_clock_gate():
    """Its enable is due before the edge; what is behind it is clocked at once."""
    gate = "GATE", {"E": 4, "CK": CLK, "GCK": 5}
    cells = {"e": inv(IN, 4), "g": gate, "one": flop(IN, 6, clock=5), "two": flop(6, OUT)}
    timing = timed(cells)
    rise = delay(0.10, 0, 2) + setup(0.6, slew(0.10, 0, 2))
    fall = delay(0.08, 0, 1.8) + setup(0.7, slew(0.08, 0, 1.8))
    gated, register = timing.worst(2)
    assert gated.period_ns == pytest.approx(max(rise, fall), abs=1e-6)
    assert (gated.start, gated.end, gated.check) == ("in", "g/E", "clock gating setup")
    fall = delay(0.5, 0, 0.9) + setup(0.07, slew(0.5, 0, 0.9))
    assert register.period_ns == pytest.approx(fall, abs=1e-6)
    assert (register.end, register.points[0].instance) == ("out", "one")


def test_a_clock_through_a_buffer_is_ideal():
    cells = {"c": ("BUF", {"A": CLK, "Z": 5}), "one": flop(IN, 6, clock=5), "two": flop(6, OUT)}
    fall = delay(0.5, 0, 0.9) + setup(0.07, slew(0.5, 0, 0.9))
    assert timed(cells).period_ns == pytest.approx(fall, abs=1e-6)


MACROS = {"ram": Macro(outputs=("q",), access_ns=1.5, setup_ns=0.25, input_ff=6.0)}


def test_a_macro():
    cells = {
        "a": inv(IN, 4),
        "r": ("ram", {"clk": CLK, "address": [4, IN], "q": [5, 6]}),
        "one": flop(6, OUT),
    }
    to_flop, _, into = timed(cells, macros=MACROS).worst(3)
    assert to_flop.period_ns == pytest.approx(1.5 + setup(0.07, 0), abs=1e-6)
    assert (to_flop.start, to_flop.end) == ("r/q[1]", "out")
    assert into.period_ns == pytest.approx(delay(0.10, 0, 6) + 0.25, abs=1e-6)
    assert (into.start, into.end, into.check) == ("in", "r/address[0]", "setup")


def test_names_of_the_design():
    """Ports are inside, too; cells of the hierarchy come with their path."""
    inner = module(
        {"clk": 2, "i": 3}, {"o": 5}, {"$1": flop(3, 4), "$2": inv(4, 5)}, {"state": [4, 3]}
    )
    cells = {"u": ("inner", {"clk": 2, "i": 3, "o": 4}), "$3": flop(4, 5)}
    top = module({"clk": 2, "in": 3}, {"out": [6, 5]}, cells)
    timing = analyse(flatten(netlist(top=top, inner=inner)), NO_WIRE)
    path = timing.path
    assert (path.start, path.end) == ("u.state[0]", "out[1]")
    assert [(p.instance, p.module, p.net) for p in path.points] == [
        ("u.$1", "u", "u.state[0]"), ("u.$2", "u", "u.o"), ("$3", "", None),
    ]  # fmt: skip
    lines = describe(path).splitlines()
    assert lines[0] == f"u.state[0] -> out[1]: {path.period_ns:.3f} ns (setup)"
    assert len(lines) == 2 + len(path.points) + 1
    assert lines[2].split()[-3:] == ["DFF", "\\", "u.state[0]"]
    assert lines[4].split()[-3:] == ["DFF", "/", "-"]


def test_ends_are_sorted():
    cells = {"a": inv(IN, 4), "b": inv(4, 5), "one": flop(4, 6), "two": flop(5, 7)}
    timing = timed(cells, outputs={"out": [6, 7, 5]})
    paths = timing.worst(9)
    periods = [path.period_ns for path in paths]
    assert periods == sorted(periods, reverse=True) and periods[0] == timing.period_ns
    assert {path.end for path in paths} == {"out[0]", "out[1]", "out[2]"}
    assert len(paths) == 5  # two registers, and three outputs, two of which are theirs


def test_what_drives_too_much():
    cells = {f"n{k}": inv(4, 20 + k) for k in range(15)}
    cells |= {"a": inv(IN, 4), "b": inv(IN, 5), "last": inv(5, OUT)}
    (one,) = overloads(timed(cells).graph)
    assert (one.instance, one.pin, one.cell, one.fanout) == ("a", "ZN", "INV", 15)
    assert (one.load_ff, one.limit_ff, one.net) == (pytest.approx(30.0), 20.0, None)
    # A net with a wire of 4 for each load has 0.5 fF more for each unit.
    worst = overloads(timed(cells, LONG).graph)
    assert [each.instance for each in worst] == ["a"]
    assert worst[0].load_ff == pytest.approx(30 + 0.5 * (6 + 13 * 4))
    assert overloads(timed(cells).graph, 0) == []


@pytest.mark.parametrize(
    "cells,what",
    [
        (
            {"l": ("LATCH", {"D": IN, "G": CLK, "Q": OUT})},
            r"top: l \(LATCH\) is a latch: it cannot be timed",
        ),
        (
            {"one": flop(IN, OUT, clock=IN)},
            r"top: one/CK \(DFF\) is not clocked by 'clk': it cannot be timed",
        ),
        (
            {"g": ("GATE", {"E": IN, "CK": IN, "GCK": 5}), "one": flop(IN, OUT, clock=5)},
            r"top: (one|g)/CK \((DFF|GATE)\) is not clocked by 'clk': it cannot be timed",
        ),
        (
            {"n": ("NAND", {"A": IN, "B": CLK, "ZN": OUT})},
            r"top: n/B \(NAND\) takes the clock as data: it cannot be timed",
        ),
        (
            {"i": inv(CLK, 5), "one": flop(IN, OUT, clock=5)},
            r"top: i/A \(INV\) takes the clock as data: it cannot be timed",
        ),
        ({"a": inv(IN, 4), "b": inv(OUT, 4)}, "top: a and b drive one net"),
        (
            {"a": ("NAND", {"A": IN, "B": 5, "ZN": 4}), "b": inv(4, 5)},
            "top: a combinational loop goes through [ab]$",
        ),
    ],
)
def test_what_cannot_be_timed(cells, what):
    with pytest.raises(NetlistError, match=what):
        timed(cells)


def test_wire_loads_by_name():
    assert chosen_wire_load(LIBRARY, "long") is LONG is LIBRARY.wire_loads["long"]
    assert NO_WIRE is None
    with pytest.raises(TimingError) as raised:
        chosen_wire_load(LIBRARY, "wide")
    assert str(raised.value) == (
        "small has no wire load 'wide'; accepted: default, none, long"
    )  # fmt: skip


PINS = {"INV": ("A",), "BUF": ("A",), "NAND": ("A", "B"), "XOR": ("A", "B")}
BASES = {  # from input to output by the edges of each: (input, output, base)
    ("INV", "A"): ((1, 0, 0.10), (0, 1, 0.08)),
    ("BUF", "A"): ((0, 0, 0.15), (1, 1, 0.16)),
    ("NAND", "A"): ((1, 0, 0.2), (0, 1, 0.1)),
    ("NAND", "B"): ((1, 0, 0.25), (0, 1, 0.12)),
    ("XOR", "A"): ((0, 0, 0.30), (1, 1, 0.32), (1, 0, 0.34), (0, 1, 0.36)),
    ("XOR", "B"): ((0, 0, 0.38), (1, 0, 0.38), (0, 1, 0.40), (1, 1, 0.40)),
}
CAPACITANCES = {("NAND", "B"): 3, ("XOR", "A"): 3, ("XOR", "B"): 3}


def reference(cells: dict[str, tuple[str, dict]], inputs: list[int], wire) -> dict[int, tuple]:
    """Return arrivals and slews of all nets, by recursion and from the formulas."""
    users: dict[int, list[float]] = {}
    for kind, pins in cells.values():
        for pin in PINS[kind]:
            users.setdefault(pins[pin], []).append(CAPACITANCES.get((kind, pin), 2))
    drivers = {list(pins.values())[-1]: (kind, pins) for kind, pins in cells.values()}
    found: dict[int, tuple] = {net: ((0.0, 0.0), (0.0, 0.0)) for net in inputs}

    def branch(net: int) -> tuple[float, float, float]:
        fanout = len(users.get(net, ()))
        if wire is None or not fanout:
            return 0.0, 0.0, 0.0
        farads, ohms = wire.capacitance_ff(fanout), wire.resistance_kohm(fanout)
        return farads, ohms / fanout, farads / fanout

    def at(net: int) -> tuple:
        if net not in found:
            kind, pins = drivers[net]
            arrival, steep = [-math.inf] * 2, [0.0] * 2
            for pin in PINS[kind]:
                before, slews = at(pins[pin])
                _, ohms, farads = branch(pins[pin])
                for edge, out, base in BASES[kind, pin]:
                    load = sum(users.get(net, ())) * (0.9 if out else 1) + branch(net)[0]
                    ff = CAPACITANCES.get((kind, pin), 2) * (0.9 if edge else 1)
                    time = before[edge] + ohms * (farads + ff) / 1000
                    arrival[out] = max(arrival[out], time + delay(base, slews[edge], load))
                    steep[out] = max(steep[out], slew(base, slews[edge], load))
            found[net] = tuple(arrival), tuple(steep)
        return found[net]

    for net in drivers:
        at(net)
    return found


@pytest.mark.parametrize("wire", [NO_WIRE, LONG], ids=["bare", "long"])
@pytest.mark.parametrize("seed", range(6))
def test_random_logic(seed, wire):
    """Every arrival and slew in a few hundred cells, in any order of the file."""
    rng = random.Random(seed)
    inputs = list(range(2, 10))
    nets, cells = list(inputs), {}
    for k in range(300):
        kind = rng.choice(list(PINS))
        pins = {pin: rng.choice(nets[-40:]) for pin in PINS[kind]}
        nets.append(nets[-1] + 1)
        cells[f"c{k}"] = kind, {**pins, "ZN" if kind in ("INV", "NAND") else "Z": nets[-1]}
    order = list(cells)
    rng.shuffle(order)
    top = module({"in": inputs}, {}, {name: cells[name] for name in order})
    flat = flatten(netlist(top=top))
    timing = analyse(flat, wire)
    expected = reference(cells, inputs, wire)
    for at, name in enumerate(order):
        net = int(flat.net[flat.first[at + 1] - 1])
        arrival, steep = expected[list(cells[name][1].values())[-1]]
        assert timing.arrival_ns[net] == pytest.approx(arrival, abs=1e-5)
        assert timing.slew_ns[net] == pytest.approx(steep, abs=1e-5)
