"""The arithmetic of a processing element: products of INT8, added to a 32-bit sum."""

from __future__ import annotations

from functools import cache
from typing import Any

from amaranth import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .adders import Heap

__all__ = ["MultiplyAdd", "inverted_bits"]

_OPERAND, _SUM = 8, 32


class MultiplyAdd(wiring.Component):
    """``base + sum(a[i] * w[i])``, exact modulo 2^32.

    As `cells`, a tree of full adders (`hw.adders`) over the bits of all products, signed as Baugh
    and Wooley do, and of `base`; otherwise ``*`` and ``+``, for simulators, FPGAs and proofs. Both
    are the same to the bit: some bits of the total come as their complement, where the tree has
    them so, since a register has both outputs.

    Parameters
    ----------
    products : int
        Products in a cycle.
    registered : bool
        Whether there is a register behind the products.
    cells : bool
        Form.

    Members
    -------
    a, w : In, 8 bits a product, signed
    enable : In(1)
        With `registered`: whether there are products to take.
    base : In(signed(32))
        With `registered`, a cycle after its `a` and `w`.
    total : Out(32)
        The sum of the same cycle as `base`, xor `inverted_bits`.
    """

    def __init__(self, products: int = 1, *, registered: bool = False, cells: bool = False) -> None:
        self._products, self._registered, self._cells = products, registered, cells
        enable = {"enable": In(1)} if registered else {}
        super().__init__(
            {
                "a": In(_OPERAND * products),
                "w": In(_OPERAND * products),
                **enable,
                "base": In(signed(_SUM)),
                "total": Out(_SUM),
            }
        )

    def in_cells(self) -> MultiplyAdd:
        """Return the same as a tree of full adders."""
        return MultiplyAdd(self._products, registered=self._registered, cells=True)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if self._cells:
            heap = _heap(self.a, self.w, self.base)
            bits = heap.total()
            heap.place(m)
            m.d.comb += self.total.eq(Cat(bit.value for bit in bits))
        else:
            total = self.base + self._plain(m)
            m.d.comb += self.total.eq(total ^ inverted_bits(self._products))
        return m

    def _plain(self, m: Module) -> Any:
        """Return the sum of products."""
        sum_ = sum(a.as_signed() * w.as_signed() for a, w in _pairs(self.a, self.w))
        if not self._registered:
            return sum_
        product = Signal(signed(len(sum_)), reset_less=True)
        with m.If(self.enable):
            m.d.sync += product.eq(sum_)
        return product


@cache
def inverted_bits(products: int = 1) -> int:
    """Return the mask of the bits of `MultiplyAdd.total` that are complements."""
    operand = Signal(_OPERAND * products)
    bits = _heap(operand, operand, Signal(_SUM)).total()
    return sum(bit.inverted << weight for weight, bit in enumerate(bits))


def _pairs(a: Any, w: Any) -> list[tuple[Any, Any]]:
    """Return the operands of each product."""
    return [
        (a.word_select(index, _OPERAND), w.word_select(index, _OPERAND))
        for index in range(len(a) // _OPERAND)
    ]


def _heap(a: Any, w: Any, base: Any) -> Heap:
    """Return the bits that make the total.

    They are complements: a product of bits is then one NAND, and the multiplexer that gives `base`
    may invert.
    """
    heap = Heap(_SUM, inverted=True)
    for pair in _pairs(a, w):
        _add_product(heap, *pair)
    for weight in range(_SUM):
        heap.add(weight, ~base[weight], _BASE_TIME)
    return heap


_BASE_TIME = 1
"""Gates before `base` beyond those before the bits of products: a multiplexer."""


def _add_product(heap: Heap, a: Any, w: Any) -> None:
    """Add the product of two signed numbers.

    The top bits weigh ``-2^7``. With ``-x.2^n = ~x.2^n - 2^n``, every bit product in which one
    of the two factors is a top bit is added as its complement, and the constants ``-2^n`` of all
    of them add up to ``2^8 - 2^15``.
    """
    top = _OPERAND - 1
    for i in range(_OPERAND):
        for j in range(_OPERAND):
            both = a[i] & w[j]
            heap.add(i + j, both if (i == top) != (j == top) else ~both)
    heap.add_constant((1 << _OPERAND) - (1 << 2 * _OPERAND - 1))
