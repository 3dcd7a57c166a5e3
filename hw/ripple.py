"""A small adder where there is time for its carries."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .adders import Heap
from .shared import Builder

__all__ = ["RippleSum", "place_sum"]


class RippleSum(wiring.Component):
    """``a + b`` modulo ``2**width``.

    As `cells`, a chain of full adders (`hw.adders`); otherwise ``+``, for simulators, FPGAs and
    proofs.

    Parameters
    ----------
    width : int
    cells : bool
        Form.

    Members
    -------
    a, b : In(width); total : Out(width)
        In the same cycle.
    """

    def __init__(self, width: int, *, cells: bool = False) -> None:
        self._width, self._cells = width, cells
        super().__init__({"a": In(width), "b": In(width), "total": Out(width)})

    def in_cells(self) -> RippleSum:
        """Return the same as a chain of full adders."""
        return RippleSum(self._width, cells=True)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if not self._cells:
            m.d.comb += self.total.eq(self.a + self.b)
            return m
        heap = Heap(self._width)
        for weight in range(self._width):
            heap.add(weight, self.a[weight])
            heap.add(weight, self.b[weight])
        bits = heap.total()
        heap.place(m)
        m.d.comb += self.total.eq(Cat(bit.value for bit in bits))
        return m


def place_sum(m: Module, name: str, width: int, builder: Builder) -> Any:
    """Add a `RippleSum` to `m` as submodule `name`, and return its interface."""
    module = f"cdmqta_ripple_sum_{width}"
    return builder.place(m, name, module, lambda: RippleSum(width), clocked=False)
