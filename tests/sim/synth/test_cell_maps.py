"""Full adders of a library, and the complements that flip-flops give."""

from __future__ import annotations

from typing import Any

import pytest

from sim.synth.cell_maps import RegisterPins, full_adder_map, register_pins, use_complements
from sim.synth.liberty import Library
from sim.synth.liberty_reader import parse_liberty

from .small import LIBRARY, TEXT, check, module, output, pin, timing


def library(*cells: str) -> Library:
    """Return the library of `small` with more cells."""
    return parse_liberty((TEXT.rstrip().removesuffix("}") + "".join(cells) + "}").encode(), "more")


def adder(name: str, area: float, slow: str, more: str = "", carry: str = "") -> str:
    """Return a full adder of which one input is slower to the carry than the others."""
    sums = "".join(timing(each, "", 0.3, 0.3) for each in "XYZ")
    carries = "".join(
        timing(each, "positive_unate", *(2 * [0.9 if each == slow else 0.2])) for each in "XYZ"
    )
    function = carry or "(X & Y) | (Z & (X | Y))"
    return (
        f"cell ({name}) {{ area : {area}; {more} {pin('X', 1)} {pin('Y', 1)} {pin('Z', 1)}"
        f"{output('SUM', 'X ^ Y ^ Z', sums)} {output('UP', function, carries)} }}\n"
    )


def register(name: str, more: str = "", outputs: str = "Q QN", edge: str = "CK") -> str:
    """Return a flip-flop."""
    about = f'ff ("IQ", "IQN") {{ next_state : "D"; clocked_on : "{edge}"; {more} }}'
    states = {"Q": "IQ", "QN": "IQN"}
    rising = timing("CK", "non_unate", 0.4, 0.5, "timing_type : rising_edge;")
    pins = "".join(output(each, states[each], rising) for each in outputs.split())
    return (
        f"cell ({name}) {{ area : 5; {about} {pin('D', 1, check('setup_rising', 0.1, 0.1))}"
        f"{pin('CK', 1, 'clock : true;')} {pin('R', 1)} {pins} }}\n"
    )


def test_the_smallest_adder_and_its_fastest_input_for_what_comes_last() -> None:
    found = library(adder("BIG", 9, "X"), adder("FULL", 7, "Z"), adder("LARGE", 8, "Y"))
    text = full_adder_map(found)
    assert '(* techmap_celltype = "FULLADD" *)' in text
    assert "FULL _TECHMAP_REPLACE_ (.Z(A), .X(B), .Y(CI), .SUM(S), .UP(CO));" in text


def test_cells_that_are_no_full_adder() -> None:
    assert full_adder_map(LIBRARY) is None
    odd = adder("ODD", 1, "X", carry="(X & Y) | Z")
    banned = adder("BANNED", 2, "X", "dont_use : true;")
    assert full_adder_map(library(odd, banned)) is None
    assert "FULL _TECH" in full_adder_map(library(odd, banned, adder("FULL", 7, "X")))


def test_pins_of_plain_flip_flops() -> None:
    clear = register("CLEARED", 'clear : "!R";')
    fall = register("FALLING", edge="!CK")
    found = register_pins(library(register("BOTH"), register("ONE", outputs="Q"), clear, fall))
    assert found["BOTH"] == RegisterPins("D", "CK", "Q", "QN")
    assert found["ONE"].inverted is None
    assert "CLEARED" not in found and "FALLING" not in found


def netlist(**cells: tuple[str, dict[str, object]]) -> dict[str, Any]:
    """Return a netlist of one module as yosys writes it."""
    made = module({"clk": 2, "d": 3}, {"q": 4}, cells)
    for cell in made["cells"].values():
        cell["port_directions"] = {}
    return {"modules": {"top": made}}


FLIP_FLOP = {"CK": 2, "D": 3, "Q": 4}


@pytest.fixture
def both() -> Library:
    return library(register("BOTH"), register("ONE", outputs="Q"))


def test_an_inverter_behind_a_flip_flop_goes(both: Library) -> None:
    design = netlist(
        f=("BOTH", FLIP_FLOP),
        first=("INV", {"A": 4, "ZN": 5}),
        second=("INV", {"A": 4, "ZN": 6}),
        other=("INV", {"A": 5, "ZN": 7}),
    )
    assert use_complements(design, both, register_pins(both)) == 1
    cells = design["modules"]["top"]["cells"]
    assert cells["f"]["connections"]["QN"] == [5]
    assert cells["f"]["port_directions"]["QN"] == "output"
    assert set(cells) == {"f", "second", "other"}, "a complement is had once"


@pytest.mark.parametrize(
    "kind, more, behind",
    [
        ("ONE", {}, "INV"),
        ("BOTH", {"QN": 9}, "INV"),
        ("BOTH", {}, "BUF"),
    ],
)
def test_what_stays_as_it_is(both: Library, kind: str, more: dict[str, int], behind: str) -> None:
    """A flip-flop of one output, one whose complement is used already, and no inverter."""
    out = {"INV": "ZN", "BUF": "Z"}[behind]
    design = netlist(f=(kind, FLIP_FLOP | more), i=(behind, {"A": 4, out: 5}))
    before = repr(design)
    assert use_complements(design, both, register_pins(both)) == 0
    assert repr(design) == before
