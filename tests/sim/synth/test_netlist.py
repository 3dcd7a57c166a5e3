"""Netlists, and what becomes of their hierarchy."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sim.synth.flat import flatten
from sim.synth.netlist import ONE, OPEN, ZERO, Macro, NetlistError, parse_netlist, read_netlist

from .small import LIBRARY, module, netlist

MACROS = {"ram": Macro(outputs=("q",))}


def nets(flat, name: str) -> dict[str, int]:
    """Return the nets of an instance's pins."""
    (at,) = [k for k in range(len(flat.kind)) if flat.instance_name(k) == name]
    pins = flat.kinds[flat.kind[at]].pins
    return dict(zip(pins, flat.net[flat.first[at] : flat.first[at + 1]].tolist(), strict=True))


def port(flat, name: str) -> list[int]:
    """Return the nets of a port."""
    return flat.ports[name].nets.tolist()


def inverter(pin_in: object = 2, pin_out: object = 3) -> dict:
    """Return a module of one inverter."""
    return module({"i": 2}, {"o": pin_out}, {"not": ("INV", {"A": pin_in, "ZN": 3})})


def test_a_module_twice():
    """Two of three levels; each instance has nets of its own."""
    top = module(
        {"i": 2}, {"o": 4}, {"a": ("pair", {"i": 2, "o": 3}), "b": ("INV", {"A": 3, "ZN": 4})}
    )
    pair = module(
        {"i": 2}, {"o": 4}, {"x": ("inv", {"i": 2, "o": 3}), "y": ("inv", {"i": 3, "o": 4})}
    )  # fmt: skip
    design = netlist(top=top, pair=pair, inv=inverter())
    flat = flatten(design)
    names = [flat.instance_name(k) for k in range(3)]
    assert names == ["b", "a.x.not", "a.y.not"]
    assert nets(flat, "a.x.not")["A"] == port(flat, "i")[0]
    assert nets(flat, "a.x.not")["ZN"] == nets(flat, "a.y.not")["A"]
    assert nets(flat, "a.y.not")["ZN"] == nets(flat, "b")["A"]
    assert nets(flat, "b")["ZN"] == port(flat, "o")[0]
    assert len({*flat.net.tolist()}) == 4
    assert [flat.module_name(k) for k in range(3)] == ["", "a.x", "a.y"]
    assert flat.net_name(1, 1) == "a.x.o"
    inner = flatten(design, "pair")
    assert inner.name == "pair" and len(inner.kind) == 2


def test_buses_keep_their_order():
    top = module({"i": [2, 3, 4]}, {"o": 5}, {"a": ("low", {"i": [4, 2], "o": 5})})
    low = module({"i": [2, 3]}, {"o": 4}, {"n": ("NAND", {"A": 2, "B": 3, "ZN": 4})})
    flat = flatten(netlist(top=top, low=low))
    i = port(flat, "i")
    assert nets(flat, "a.n") == {"A": i[2], "B": i[0], "ZN": port(flat, "o")[0]}


def test_wires_through_a_child_are_one_net():
    through = module({"i": [2, 3]}, {"o": [3, 2]}, {})
    top = module(
        {"i": 2},
        {"o": 6},
        {
            "a": ("through", {"i": [2, 3], "o": [4, 5]}),
            "n": ("NAND", {"A": 5, "B": 4, "ZN": 3}),
            "m": ("INV", {"A": 4, "ZN": 6}),
        },
    )
    flat = flatten(netlist(top=top, through=through))
    assert nets(flat, "n")["A"] == port(flat, "i")[0]
    assert nets(flat, "n")["B"] == nets(flat, "m")["A"] == nets(flat, "n")["ZN"]


def test_what_a_child_ties_is_tied():
    ties = module({}, {"o": ["1", "0"]}, {})
    top = module(
        {}, {"o": 4}, {"t": ("ties", {"o": [2, 3]}), "n": ("NAND", {"A": 2, "B": 3, "ZN": 4})}
    )
    flat = flatten(netlist(top=top, ties=ties))
    assert nets(flat, "n")["A"] == ONE and nets(flat, "n")["B"] == ZERO
    into = module({}, {"o": 3}, {"a": ("inv", {"i": "1", "o": 3})})
    assert nets(flatten(netlist(top=into, inv=inverter())), "a.not")["A"] == ONE


def test_open_pins_and_values_that_do_not_matter():
    top = module({}, {"o": 2}, {"n": ("NAND", {"A": "x", "ZN": 2}), "a": ("inv", {"i": "0"})})
    flat = flatten(netlist(top=top, inv=inverter()))
    assert nets(flat, "n") == {"A": ZERO, "B": OPEN, "ZN": port(flat, "o")[0]}
    assert nets(flat, "a.not")["ZN"] not in (OPEN, ZERO, ONE, port(flat, "o")[0])


def test_a_macro_has_a_pin_for_each_bit():
    top = module(
        {"clk": 2, "d": [3, 4]}, {"o": [5, 6]},
        {"r": ("ram", {"clk": 2, "d": [3, 4], "q": [5, 6]})},
    )  # fmt: skip
    flat = flatten(netlist(MACROS, top=top))
    (kind,) = flat.kinds
    assert kind.pins == ("clk", "d[0]", "d[1]", "q[0]", "q[1]")
    assert kind.inputs == (True, True, True, False, False)
    assert nets(flat, "r")["q[1]"] == port(flat, "o")[1]


def test_names_are_those_of_the_design():
    """The hidden have none; of several, the plain and short one; yosys' own hierarchy is undone."""
    top = module(
        {"i": [2, 3]},
        {"o": 5},
        {"$1": ("NAND", {"A": 2, "B": 3, "ZN": 4}), "$2": ("INV", {"A": 4, "ZN": 5})},
        {"a$1": [2, 3], "long_name": [2, 3]},
    )
    top["netnames"]["$hidden"] = {"hide_name": 1, "bits": [4]}
    top["netnames"]["\\u.v"] = {"hide_name": 0, "bits": [5], "attributes": {"hdlname": "u v"}}
    flat = flatten(netlist(top=top))
    assert [flat.net_name(0, pin) for pin in range(3)] == ["i[0]", "i[1]", None]
    assert flat.net_name(1, 1) == "o"
    del top["netnames"]["o"], top["netnames"]["i"]
    flat = flatten(netlist(top=top))
    assert flat.net_name(1, 1) == "u.v" and flat.net_name(0, 1) == "long_name[1]"


def test_an_unmappable_cell():
    top = module({"i": 2}, {"o": 3}, {"odd": ("$_DLATCH_P_", {"D": 2, "Q": 3})})
    with pytest.raises(NetlistError) as raised:
        netlist(top=top)
    assert str(raised.value) == (
        "unmappable cell: module top, cell odd is of type $_DLATCH_P_, which is neither in small "
        "nor a module of the design nor a declared macro"
    )
    ram = module({"clk": 2}, {"q": 3}, {"r": ("ram", {"clk": 2, "q": 3})})
    with pytest.raises(NetlistError, match="cell r is of type ram, which is neither"):
        netlist(top=ram)
    # An empty shell, as yosys keeps of what it has not seen inside, is no module.
    shell = module({"clk": 2}, {"q": 3}, {})
    shell["attributes"]["blackbox"] = "00000001"
    with pytest.raises(NetlistError, match="cell r is of type ram, which is neither"):
        netlist(top=ram, ram=shell)
    assert netlist(MACROS, top=ram, ram=shell).kinds[0].macro is MACROS["ram"]


@pytest.mark.parametrize(
    "text,what",
    [
        (b"nonsense", "net.json is no netlist in yosys' JSON: JSONDecodeError"),
        (b"[]", "net.json is no netlist in yosys' JSON: TypeError"),
        (b"{}", "net.json is no netlist in yosys' JSON: KeyError('modules')"),
        (b'{"modules": {}}', "net.json holds no module"),
    ],
)
def test_what_is_no_netlist(text, what, tmp_path):
    (tmp_path / "net.json").write_bytes(text)
    with pytest.raises(NetlistError) as raised:
        read_netlist(tmp_path / "net.json", LIBRARY)
    assert str(raised.value).startswith(f"{tmp_path}/{what}")
    with pytest.raises(NetlistError, match="none.json cannot be read: No such file"):
        read_netlist(tmp_path / "none.json", LIBRARY)


def test_other_mistakes():
    pin = module({"i": 2}, {"o": 3}, {"n": ("INV", {"A": 2, "Y": 3})})
    with pytest.raises(NetlistError, match="top: cell n has a pin Y, which INV of small has not"):
        netlist(top=pin)
    lost = module({"i": 2}, {"o": 3}, {"n": ("inv", {"a": 2, "o": 3})})
    with pytest.raises(NetlistError, match="instance n: inv has no port a"):
        flatten(netlist(top=lost, inv=inverter()))
    with pytest.raises(NetlistError, match="the netlist has no module 'other'; it has inv"):
        flatten(netlist(inv=inverter()), "other")
    loop = module({"i": 2}, {"o": 3}, {"n": ("top", {"i": 2, "o": 3})})
    with pytest.raises(NetlistError, match="module top contains itself"):
        flatten(netlist(top=loop))
    both = module({}, {"o": [2, 2]}, {})
    tied = module({}, {}, {"a": ("both", {"o": ["0", "1"]})})
    with pytest.raises(NetlistError, match="a net is tied to 0 and to 1"):
        flatten(netlist(top=tied, both=both))
    wide = module({"i": 2}, {"o": 3}, {"n": ("inv", {"i": [2, 3], "o": 3})})
    with pytest.raises(NetlistError, match="instance n: port i of inv has 1 bits, not 2"):
        flatten(netlist(top=wide, inv=inverter()))


def test_hundreds_of_instances():
    """Names and nets of a tall tree, in which empty modules lie between."""
    depth = 6
    modules = {"m0": inverter()}
    for level in range(1, depth):
        below = f"m{level - 1}"
        cells = {
            "none": ("empty", {}),
            "a": (below, {"i": 2, "o": 3}),
            "gap": ("empty", {}),
            "b": (below, {"i": 3, "o": 4}),
        }
        modules[f"m{level}"] = module({"i": 2}, {"o": 4}, cells)
    modules["empty"] = module({}, {}, {})
    text = json.dumps({"modules": modules})
    flat = flatten(parse_netlist(text, LIBRARY), f"m{depth - 1}")
    count = 2 ** (depth - 1)
    assert len(flat.kind) == count
    names = [flat.instance_name(k) for k in range(count)]
    assert names == sorted(names) and len(set(names)) == count
    # One chain, in order.
    assert np.array_equal(flat.net[1:-1:2], flat.net[2::2])
    assert names[5] == "a.a.b.a.b.not"
