"""Boolean functions of cells."""

from __future__ import annotations

from itertools import product

import pytest

from sim.synth.function import parse_function

TEXTS = {
    "A": lambda a, b, c: a,
    "!A": lambda a, b, c: not a,
    "A'": lambda a, b, c: not a,
    "(A & B)": lambda a, b, c: a and b,
    "A B": lambda a, b, c: a and b,
    "A*B + C": lambda a, b, c: (a and b) or c,
    "A | B & C": lambda a, b, c: a or (b and c),
    "A ^ B & C": lambda a, b, c: (a != b) and c,
    "!A ^ B": lambda a, b, c: (not a) != b,
    "!(A | B)' C": lambda a, b, c: (a or b) and c,
    "((A & B) | (C & (A | B)))": lambda a, b, c: a + b + c >= 2,
    "1": lambda a, b, c: True,
    "0": lambda a, b, c: False,
}


@pytest.mark.parametrize("text", TEXTS)
def test_every_value(text):
    function = parse_function(text)
    for a, b, c in product((False, True), repeat=3):
        assert function({"A": a, "B": b, "C": c}) == TEXTS[text](a, b, c)


def test_some_inputs_held():
    majority = parse_function("((A & B) | (C & (A | B)))")
    assert majority.given({"A": 1}).table == parse_function("B | C").table
    assert majority.given({"A": 0, "B": 0}).constant is False
    assert majority.given({"A": 1, "C": 1}).constant is True
    assert majority.constant is None
    assert majority.given({}) == majority


def test_which_edges_an_output_follows():
    assert parse_function("!(A & B)").unate("A") == (False, True)
    assert parse_function("A & B").unate("B") == (True, False)
    assert parse_function("A ^ B").unate("A") == (True, True)
    assert parse_function("A").unate("B") == (False, False)
    assert parse_function("A ^ B").given({"B": 1}).unate("A") == (False, True)


@pytest.mark.parametrize(
    "text,what",
    [
        ("A &", "'A &' is no Boolean expression at its end"),
        ("(A | B", "'(A | B' lacks a closing parenthesis"),
        ("A ? B", "'A ? B' is no Boolean expression at '?'"),
        ("A ) B", "'A ) B' is no Boolean expression at ')'"),
        ("+ A", "'+ A' is no Boolean expression at +"),
        (
            " + ".join(f"A{k}" for k in range(17)),
            "has 17 inputs; accepted: at most 16",
        ),
    ],
)
def test_what_is_no_function(text, what):
    with pytest.raises(ValueError) as raised:
        parse_function(text)
    assert str(raised.value).endswith(what)
