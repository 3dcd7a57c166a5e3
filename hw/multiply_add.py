"""The arithmetic of a processing element: products of INT8, added to a 32-bit sum."""

from __future__ import annotations

from functools import cache
from typing import Any

from amaranth import Cat, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .adders import Bit, Heap

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
        if not self._cells:
            inverted = inverted_bits(self._products, registered=self._registered)
            m.d.comb += self.total.eq((self.base + self._plain(m)) ^ inverted)
        elif self._registered:
            m.d.comb += self.total.eq(self._in_two_stages(m))
        else:
            tree = _Tree(self.a, self.w, self.base)
            tree.place(m)
            m.d.comb += self.total.eq(Cat(bit.value for bit in tree.total))
        return m

    def _in_two_stages(self, m: Module) -> Value:
        """Return the total, with the products and what they need as constants in a register.

        Both stages end in an adder that synthesis makes, for one that ripples has no place in a
        stage that is meant to be short.
        """
        low = _upper_weight(self._products)
        heap = _products_heap(self.a, self.w, low + 1)
        rows = heap.rows()
        heap.place(m)
        first, second = (Cat(bit.value for bit in row) for row in rows)
        product, lower = Signal(low + 1, reset_less=True), Signal(low + 1)
        with m.If(self.enable):
            m.d.sync += product.eq(~first + ~second)
        m.d.comb += lower.eq(self.base[:low] + product[:low])
        upper, logic = _stepped(self.base[low:], product[low], lower[low])
        m.d.comb += logic
        return Cat(lower[:low], upper)

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
def inverted_bits(products: int = 1, *, registered: bool = False) -> int:
    """Return the mask of the bits of `MultiplyAdd.total` that are complements."""
    if registered:
        return 0
    operand = Signal(_OPERAND * products)
    bits = _Tree(operand, operand, Signal(_SUM)).total
    return sum(bit.inverted << weight for weight, bit in enumerate(bits))


def _pairs(a: Any, w: Any) -> list[tuple[Any, Any]]:
    """Return the operands of each product."""
    return [
        (a.word_select(index, _OPERAND), w.word_select(index, _OPERAND))
        for index in range(len(a) // _OPERAND)
    ]


def _upper_weight(products: int) -> int:
    """Return the weight from which on only one is added or taken, see `_Tree`."""
    return 2 * _OPERAND - 1 + exact_log2(products)


class _Tree:
    """The bits of ``base`` and all products, and their sum.

    The top bits of a product weigh ``-2^7``. With ``-x.2^n = ~x.2^n - 2^n``, every bit product in
    which one of the two factors is a top bit is added as its complement, and the constants of all
    of them add up to ``2^8 - 2^15``, or for D products ``D.2^8 - 2^w`` with ``w = 15 + log2 D``. So
    below weight w all is added in a heap, whose carries c beyond it are 0, 1 or 2, and what
    is left is to add ``c - 1`` to the upper bits of `base`.
    """

    def __init__(self, a: Any, w: Any, base: Any) -> None:
        low = _upper_weight(len(a) // _OPERAND)
        self._heap = heap = _products_heap(a, w, low)
        for weight in range(low):
            heap.add(weight, ~base[weight], _BASE_TIME)
        lower = heap.total()
        early, late = sorted(heap.carries, key=lambda bit: bit.time)
        upper, self._logic = _stepped(base[low:], ~early.value, ~late.value)
        self.total = [*lower, *(Bit(bit) for bit in upper)]

    def place(self, m: Module) -> None:
        """Add the logic to a module."""
        self._heap.place(m)
        m.d.comb += self._logic


def _products_heap(a: Any, w: Any, width: int) -> Heap:
    """Return the bits of all products in a heap, with their constants below ``2^w``.

    Complements are added: a product of bits is then one NAND, and the multiplexer that gives a sum
    to be added may invert.
    """
    heap = Heap(width, inverted=True)
    pairs = _pairs(a, w)
    for pair in pairs:
        _add_product(heap, *pair)
    heap.add_constant(len(pairs) << _OPERAND)
    return heap


def _stepped(upper: Any, early: Any, late: Any) -> tuple[list[Any], list[Any]]:
    """Return bits, one less, the same or one more with none, one or both of two carries.

    Adding one inverts the lowest bits up to the first 0, taking one up to the first 1: which of
    them to look for is the carry that comes first, if both are alike; the last decides whether
    anything happens, and has the short way. With the bits comes the logic that makes them.
    """
    steps = Signal()
    logic = [steps.eq(early == late)]
    bits = []
    for weight in range(len(upper)):
        bit, onwards = Signal(name=f"upper_{weight}"), Signal(name=f"steps_{weight + 1}")
        logic += [
            bit.eq(upper[weight] ^ steps),
            onwards.eq(steps & (upper[weight] == early)),
        ]
        bits.append(bit)
        steps = onwards
    return bits, logic


_BASE_TIME = 2
"""Gates before `base` beyond those before the bits of products: the way to its multiplexer."""


def _add_product(heap: Heap, a: Any, w: Any) -> None:
    """Add the product of two signed numbers, but for constants."""
    top = _OPERAND - 1
    for i in range(_OPERAND):
        for j in range(_OPERAND):
            both = a[i] & w[j]
            heap.add(i + j, both if (i == top) != (j == top) else ~both)
