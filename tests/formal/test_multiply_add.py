"""The tree of full adders is ``base + a * w``."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hw.multiply_add import MultiplyAdd
from sim.toolchain import yosys_environment

from . import forms


def proofs(
    folder: Path,
    products: int,
    factors: list[int],
    known: str = "",
    change=str,
    *,
    registered: bool = False,
) -> list[bool]:
    """Return, for each value of all stationary operands, whether both forms are one function.

    A product of two unknowns is out of reach of a solver; by a constant, for all `a` and `base`, it
    is an adder. With a register, `enable` is free in every cycle but the first.
    """
    given = [f"{known} -set in_w {factor}" for factor in factors]
    unit = MultiplyAdd(products, registered=registered)
    return forms.proofs(folder, unit, given, change, load="enable" if registered else "")


FORMS = pytest.mark.parametrize("registered", [False, True], ids=["at once", "registered"])


@pytest.fixture(autouse=True)
def yosys() -> None:
    yosys_environment()


@FORMS
def test_some_factors(tmp_path: Path, registered: bool) -> None:
    factors = [0, 1, 0x7F, 0x80, 0xFF, 0x5B]
    assert proofs(tmp_path, 1, factors, registered=registered) == [True] * 6


@pytest.mark.formal
@FORMS
@pytest.mark.parametrize("high", range(8))
def test_every_factor(tmp_path: Path, high: int, registered: bool) -> None:
    factors = [high << 5 | low for low in range(32)]
    assert proofs(tmp_path, 1, factors, registered=registered) == [True] * 32


@pytest.mark.formal
@FORMS
@pytest.mark.parametrize("products", [2, 4])
def test_each_of_several_products(tmp_path: Path, products: int, registered: bool) -> None:
    """One left operand and `base` unknown, random others: that one product is right, it shows."""
    rng = random.Random(products)
    for unknown in range(products):
        known = [f"-set in_a[{8 * n + 7}:{8 * n}] {rng.randrange(256)}" for n in range(products)]
        del known[unknown]
        factors = [rng.randrange(1 << 8 * products) for _ in range(2)]
        found = proofs(tmp_path, products, factors, " ".join(known), registered=registered)
        assert found == [True, True]


@pytest.mark.parametrize(
    "registered,old,new",
    [
        pytest.param(False, ".CI(", ".CI(~", id="tree"),
        pytest.param(True, ".CI(", ".CI(~", id="registered tree"),
        pytest.param(True, "if (enable)", "if (1)", id="register never holds"),
        pytest.param(True, "if (enable)", "if (enable & base[0])", id="register loads at times"),
    ],
)
def test_a_wrong_form_is_found(tmp_path: Path, registered: bool, old: str, new: str) -> None:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    assert proofs(tmp_path, 1, [0x5B], change=change, registered=registered) == [False]
