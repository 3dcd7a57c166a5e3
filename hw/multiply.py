"""The product of a sum and the multiplier of a scale, made ready for rounding."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .adders import Heap
from .shared import Builder

__all__ = ["PRODUCT_BITS", "ScaleProduct", "place_product"]

PRODUCT_BITS = 48


class ScaleProduct(wiring.Component):
    """``value * multiplier``, less one if `value` is negative.

    A negative product less one is the complement of its magnitude, so what is shifted out of it
    rounds away from zero just as that of a positive one does.

    As `cells`, a tree of full adders (`hw.adders`) over rows of digits -1, 0, 1 and 2 of the
    multiplier; otherwise ``*``, for simulators, FPGAs and proofs. Both are the same to the bit.

    Parameters
    ----------
    value_bits, multiplier_bits : int
        Widths, the multiplier's even; others than the default are for proofs.
    cells : bool
        Form.

    Members
    -------
    value : In(signed(value_bits)); multiplier : In(multiplier_bits)
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
                "multiplier": In(multiplier_bits),
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
            self._fill(m, heap)
            rows = heap.rows()
            heap.place(m)
            left, right = (~Cat(bit.value for bit in row) for row in rows)
            m.d.comb += self.product.eq(left + right)
        else:
            m.d.comb += self.product.eq(self.value * self.multiplier - self.value[-1])
        return m

    def _fill(self, m: Module, heap: Heap) -> None:
        """Put in the rows of all digits, as complements, of which a bit is one gate."""
        value, (width, bits) = self.value, self._sizes
        carries, constant = self._carries(m), 0
        for digit, carry in enumerate(carries[:-1]):
            low, high = self.multiplier[2 * digit], self.multiplier[2 * digit + 1]
            names = (f"once_{digit}", f"twice_{digit}", f"minus_{digit}")
            once, twice, minus = (Signal(name=name) for name in names)
            # Two bits and the carry are 0 to 4; of 3 and 4, the 4 is the carry to the next digit.
            m.d.comb += [
                once.eq(~high & (low ^ carry)),
                twice.eq((high & ~low & ~carry) | (~high & low & carry)),
                minus.eq(high & (low ^ carry)),
            ]
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
            heap.add(bits + place, ~(carries[-1] & value[place]))
        heap.add(0, value[-1])
        heap.add_constant((constant - 1) % (1 << width + bits))

    def _carries(self, m: Module) -> list[Any]:
        """Return the carry into each digit and out of the last, in few gates one behind another."""
        digits = self._sizes[1] // 2
        # Of the digits up to each: whether they carry, and whether they would pass one on.
        makes = [self.multiplier[2 * digit : 2 * digit + 2].all() for digit in range(digits)]
        passes = [self.multiplier[2 * digit + 1] for digit in range(digits)]
        step = 1
        while step < digits:
            for digit in range(digits):
                below = digit // step * step - 1
                if digit & step:
                    made = Signal(name=f"makes_{digit}_{step}")
                    passed = Signal(name=f"passes_{digit}_{step}")
                    m.d.comb += [
                        made.eq(makes[digit] | (passes[digit] & makes[below])),
                        passed.eq(passes[digit] & passes[below]),
                    ]
                    makes[digit], passes[digit] = made, passed
            step *= 2
        return [Const(0), *makes]


def place_product(m: Module, builder: Builder) -> Any:
    """Add a `ScaleProduct` to `m` as submodule `product`, and return its interface."""
    return builder.place(m, "product", "cdmqta_scale_product", ScaleProduct, clocked=False)
