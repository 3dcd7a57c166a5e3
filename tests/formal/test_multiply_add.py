"""The tree of full adders is ``base + a * w``."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hw.multiply_add import MultiplyAdd
from sim.toolchain import yosys_environment

from . import forms


def proofs(
    folder: Path, products: int, factors: list[int], known: str = "", change=str
) -> list[bool]:
    """Return, for each value of all stationary operands, whether both forms are one function.

    A product of two unknowns is out of reach of a solver; by a constant, for all `a` and `base`, it
    is an adder.
    """
    given = [f"{known} -set in_w {factor}" for factor in factors]
    return forms.proofs(folder, MultiplyAdd(products), given, change)


@pytest.fixture(autouse=True)
def yosys() -> None:
    yosys_environment()


def test_some_factors(tmp_path: Path) -> None:
    assert proofs(tmp_path, 1, [0, 1, 0x7F, 0x80, 0xFF, 0x5B]) == [True] * 6


@pytest.mark.formal
@pytest.mark.parametrize("high", range(8))
def test_every_factor(tmp_path: Path, high: int) -> None:
    factors = [high << 5 | low for low in range(32)]
    assert proofs(tmp_path, 1, factors) == [True] * 32


@pytest.mark.formal
@pytest.mark.parametrize("products", [2, 4])
def test_each_of_several_products(tmp_path: Path, products: int) -> None:
    """One left operand and `base` unknown, random others: that one product is right, it shows."""
    rng = random.Random(products)
    for unknown in range(products):
        known = [f"-set in_a[{8 * n + 7}:{8 * n}] {rng.randrange(256)}" for n in range(products)]
        del known[unknown]
        factors = [rng.randrange(1 << 8 * products) for _ in range(2)]
        assert proofs(tmp_path, products, factors, " ".join(known)) == [True, True]


def test_a_wrong_tree_is_found(tmp_path: Path) -> None:
    def change(text: str) -> str:
        assert ".CI(" in text
        return text.replace(".CI(", ".CI(~", 1)

    assert proofs(tmp_path, 1, [0x5B], change=change) == [False]
