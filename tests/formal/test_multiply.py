"""Adders in cells are what their plain forms are: the requantiser's multiplier, sums of noise."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from amaranth import Module, signed
from amaranth.back import verilog
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.adders import FULL_ADDER_VERILOG
from hw.multiply import ScaleProduct, digits_of
from hw.ripple import RippleSum
from sim.toolchain import yosys_environment

from . import forms

BENCH = """
module bench;
  reg [95:0] cases [0:{count} - 1];
  reg [95:0] now;
  wire [47:0] product;
  integer index, wrong;
  unit dut(.value(now[95:64]), .multiplier(now[63:48]), .product(product));
  initial begin
    $readmemh("cases.hex", cases);
    wrong = 0;
    for (index = 0; index < {count}; index = index + 1) begin
      now = cases[index];
      #1 if (product !== now[47:0]) wrong = wrong + 1;
    end
    $display("%0d wrong", wrong);
  end
endmodule
"""


class Product(wiring.Component):
    """What is meant, as one line; or made by a `ScaleProduct` from digits, in one of its forms."""

    def __init__(self, *sizes: int, made: bool = False, cells: bool = True) -> None:
        self._sizes, self._made, self._cells = sizes or (32, 16), made, cells
        value, multiplier = self._sizes
        product = Out(signed(value + multiplier))
        super().__init__(
            {"value": In(signed(value)), "multiplier": In(multiplier), "product": product}
        )

    def in_cells(self) -> Product:
        return Product(*self._sizes, made=True, cells=self._cells)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if not self._made:
            m.d.comb += self.product.eq(self.value * self.multiplier - self.value[-1])
            return m
        m.submodules.unit = unit = ScaleProduct(*self._sizes, cells=self._cells)
        digits = digits_of(m, self.multiplier, "digits")
        m.d.comb += [
            unit.value.eq(self.value),
            unit.digits.eq(digits),
            self.product.eq(unit.product),
        ]
        return m


def proofs(folder: Path, unit: Any, multipliers: list[int], change=str) -> list[bool]:
    """Return, for each multiplier, whether both forms are one function of all values.

    Without multipliers, for all of them at once, which a solver can only do for a few bits.
    """
    given = [f"-set in_multiplier {number}" for number in multipliers] or [""]
    return forms.proofs(folder, unit, given, change)


@pytest.fixture(autouse=True)
def yosys() -> None:
    yosys_environment()


@pytest.mark.parametrize("sizes", [(2, 2), (4, 6), (6, 4)], ids=str)
@pytest.mark.parametrize("cells", [False, True], ids=["plain", "cells"])
def test_every_product_of_a_few_bits(tmp_path: Path, sizes: tuple[int, int], cells: bool) -> None:
    assert proofs(tmp_path, Product(*sizes, cells=cells), []) == [True]


def test_the_chain_of_adders_is_a_sum(tmp_path: Path) -> None:
    assert proofs(tmp_path, RippleSum(16), []) == [True]


@pytest.mark.formal
@pytest.mark.parametrize("digit", range(8))
def test_every_digit(tmp_path: Path, digit: int) -> None:
    """Of all values; more digits at once are beyond a solver."""
    multipliers = [low << 2 * digit for low in range(1, 4)]
    assert proofs(tmp_path, Product(), multipliers) == [True] * 3


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog is not installed")
@pytest.mark.parametrize("count", [2_000, pytest.param(20_000, marks=pytest.mark.formal)])
def test_edges_and_random_products(tmp_path: Path, count: int) -> None:
    """In full width, in simulation: extremes, all digits alike, and random ones."""
    rng = random.Random(16)
    values = [-(1 << 31), 1 - (1 << 31), -1, 0, 1, 0x55555555, -0x55555556, (1 << 31) - 1]
    multipliers = [0, 1, 0x5555, 0x7FFF, 0x8000, 0xAAAA, 0xFFFE, 0xFFFF]
    pairs = [(value, multiplier) for value in values for multiplier in multipliers]
    pairs += [(rng.getrandbits(32) - (1 << 31), rng.getrandbits(16)) for _ in range(count)]
    wanted = [(value * multiplier - (value < 0)) % (1 << 48) for value, multiplier in pairs]
    words = [
        f"{value % (1 << 32):08x}{multiplier:04x}{product:012x}"
        for (value, multiplier), product in zip(pairs, wanted, strict=True)
    ]
    (tmp_path / "cases.hex").write_text("\n".join(words))
    cells = verilog.convert(Product(made=True), name="unit", strip_internal_attrs=True)
    bench = BENCH.format(count=len(pairs))
    (tmp_path / "bench.v").write_text(cells + FULL_ADDER_VERILOG + bench)
    for command in (["iverilog", "-g2012", "-o", "bench", "bench.v"], ["vvp", "bench"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "0 wrong\n"


def test_a_wrong_tree_is_found(tmp_path: Path) -> None:
    def change(text: str) -> str:
        assert ".CI(" in text
        return text.replace(".CI(", ".CI(~", 1)

    assert proofs(tmp_path, Product(), [0x5B39], change) == [False]
