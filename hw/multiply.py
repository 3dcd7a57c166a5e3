"""The product of a sum and the multiplier of a scale, made ready for rounding."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .adders import Heap
from .layout import SCALE
from .shared import Builder

__all__ = [
    "PRODUCT_BITS",
    "RECODED",
    "ScaleProduct",
    "digits_layout",
    "digits_of",
    "place_product",
    "recoded",
]

PRODUCT_BITS = 48


def digits_layout(bits: int) -> data.StructLayout:
    """Return the layout of a multiplier in digits -1, 0, 1 and 2; that of number n weighs ``4**n``.

    A digit has a bit in `once`, `twice` or `minus`, and 0 has none. `last` weighs ``2**bits``;
    `bits` are even.
    """
    digits = bits // 2
    return data.StructLayout({"once": digits, "twice": digits, "minus": digits, "last": 1})


RECODED = data.StructLayout({"digits": digits_layout(SCALE["m"].width), "s": SCALE["s"].width})
"""A scale as the multiplier takes it: where lanes share a scale, digits are made once for all."""


def digits_of(m: Module, multiplier: Value, name: str) -> data.View:
    """Return the digits of a multiplier, in the same cycle."""
    digits = Signal(digits_layout(len(multiplier)), name=name)
    carries = _carries(m, multiplier, name)
    for digit, carry in enumerate(carries[:-1]):
        low, high = multiplier[2 * digit], multiplier[2 * digit + 1]
        # Two bits and the carry are 0 to 4; of 3 and 4, the 4 is the carry to the next digit.
        m.d.comb += [
            digits.once[digit].eq(~high & (low ^ carry)),
            digits.twice[digit].eq((high & ~low & ~carry) | (~high & low & carry)),
            digits.minus[digit].eq(high & (low ^ carry)),
        ]
    m.d.comb += digits.last.eq(carries[-1])
    return digits


def recoded(m: Module, scale: Any, name: str) -> data.View:
    """Return a scale with the digits of its multiplier, in the same cycle."""
    made = Signal(RECODED, name=name)
    m.d.comb += [made.digits.eq(digits_of(m, scale.m, f"{name}_digits")), made.s.eq(scale.s)]
    return made


def _carries(m: Module, multiplier: Value, name: str) -> list[Any]:
    """Return the carry into each digit and out of the last, in few gates one behind another."""
    digits = len(multiplier) // 2
    # Of the digits up to each: whether they carry, and whether they would pass one on.
    makes: list[Any] = [multiplier[2 * digit : 2 * digit + 2].all() for digit in range(digits)]
    passes: list[Any] = [multiplier[2 * digit + 1] for digit in range(digits)]
    step = 1
    while step < digits:
        for digit in range(digits):
            below = digit // step * step - 1
            if digit & step:
                made = Signal(name=f"{name}_makes_{digit}_{step}")
                passed = Signal(name=f"{name}_passes_{digit}_{step}")
                m.d.comb += [
                    made.eq(makes[digit] | (passes[digit] & makes[below])),
                    passed.eq(passes[digit] & passes[below]),
                ]
                makes[digit], passes[digit] = made, passed
        step *= 2
    return [Const(0), *makes]


class ScaleProduct(wiring.Component):
    """``value * multiplier``, less one if `value` is negative, with the multiplier's digits.

    A negative product less one is the complement of its magnitude, so what is shifted out of it
    rounds away from zero just as that of a positive one does.

    As `cells`, a tree of full adders (`hw.adders`) over a row for each digit; otherwise ``*``, for
    simulators, FPGAs and proofs. Both are the same to the bit.

    Parameters
    ----------
    value_bits, multiplier_bits : int
        Widths, the multiplier's even; others than the default are for proofs.
    cells : bool
        Form.

    Members
    -------
    value : In(signed(value_bits)); digits : In(digits_layout(multiplier_bits))
    product : Out(signed(value_bits + multiplier_bits))
        In the same cycle.
    """

    def __init__(
        self, value_bits: int = 32, multiplier_bits: int = 16, *, cells: bool = False
    ) -> None:
        self._sizes, self._cells = (value_bits, multiplier_bits), cells
        super().__init__(
            {
                "value": In(signed(value_bits)),
                "digits": In(digits_layout(multiplier_bits)),
                "product": Out(signed(value_bits + multiplier_bits)),
            }
        )

    def in_cells(self) -> ScaleProduct:
        """Return the same as a tree of full adders."""
        return ScaleProduct(*self._sizes, cells=True)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if self._cells:
            heap = Heap(sum(self._sizes), inverted=True)
            self._fill(heap)
            rows = heap.rows()
            heap.place(m)
            left, right = (~Cat(bit.value for bit in row) for row in rows)
            m.d.comb += self.product.eq(left + right)
        else:
            digits, multiplier = self.digits, Signal(self._sizes[1])
            places = zip(digits.once, digits.twice, strict=True)
            minus = Cat((bit, Const(0)) for bit in digits.minus)
            m.d.comb += [
                multiplier.eq(Cat(*(Cat(place) for place in places)) - minus),
                self.product.eq(self.value * multiplier - self.value[-1]),
            ]
        return m

    def _fill(self, heap: Heap) -> None:
        """Put in the rows of all digits, as complements, of which a bit is one gate."""
        value, (width, bits) = self.value, self._sizes
        digits, constant = self.digits, 0
        rows = zip(digits.once, digits.twice, digits.minus, strict=True)
        for digit, (once, twice, minus) in enumerate(rows):
            for place in range(width + 1):
                bit = (once & value[min(place, width - 1)]) | (
                    minus & ~value[min(place, width - 1)]
                )
                if place:
                    bit |= twice & value[place - 1]
                # The top bit weighs -1: -x is ~x - 1.
                heap.add(2 * digit + place, bit if place == width else ~bit)
            constant -= 1 << 2 * digit + width
            heap.add(2 * digit, ~minus)  # -value is ~value + 1
        for place in range(width):  # the last carry's digit is 0 or 1, and its top bit that of all
            heap.add(bits + place, ~(digits.last & value[place]))
        heap.add(0, value[-1])
        heap.add_constant((constant - 1) % (1 << width + bits))


def place_product(m: Module, builder: Builder) -> Any:
    """Add a `ScaleProduct` to `m` as submodule `product`, and return its interface."""
    return builder.place(m, "product", "cdmqta_scale_product", ScaleProduct, clocked=False)
