"""The systolic array: rows of processing elements."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .isa.config import Config
from .pe import BIAS, ProcessingElement, control_layout
from .shared import Builder

__all__ = ["Array", "Row"]


def pack(values: list[Any]) -> Value:
    """Return values as one vector, the first in the lowest bits."""
    return Cat(*(Value.cast(value) for value in values))


def total(values: list[Any]) -> Any:
    """Return the sum of values in a tree, so that no adder is wider than its result."""
    if len(values) == 1:
        return values[0]
    middle = len(values) // 2
    return total(values[:middle]) + total(values[middle:])


class Row(wiring.Component):
    """One row of `columns` processing elements.

    Members
    -------
    a_in : In, 8 bits a product of an element; control_in : In(control_layout)
        Enter the leftmost element.
    b_in, b_out : 8 bits a product, the first element in the lowest bits
    p_in, p_out : 32 bits an element
    """

    def __init__(self, config: Config, builder: Builder) -> None:
        self._config = config
        self._builder = builder
        self._operand = operand = 8 * config.macs_per_element
        super().__init__(
            {
                "a_in": In(signed(operand)),
                "control_in": In(control_layout(config)),
                "b_in": In(operand * config.columns),
                "p_in": In(32 * config.columns),
                "b_out": Out(operand * config.columns),
                "p_out": Out(32 * config.columns),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        a, control = self.a_in, self.control_in
        elements = []
        for column in range(self._config.columns):
            element = self._builder.place(
                m,
                f"pe_{column}",
                "cdmqta_pe",
                lambda: ProcessingElement(self._config, self._builder),
            )
            m.d.comb += [
                element.a_in.eq(a),
                element.control_in.eq(control),
                element.b_in.eq(self.b_in.word_select(column, self._operand)),
                element.p_in.eq(self.p_in.word_select(column, 32)),
            ]
            a, control = element.a_out, element.control_out
            elements.append(element)
        m.d.comb += [
            self.b_out.eq(pack([element.b_out for element in elements])),
            self.p_out.eq(pack([element.p_out for element in elements])),
        ]
        return m


class Array(wiring.Component):
    """`rows` x `columns` processing elements.

    Members
    -------
    a_in : In, 8 bits a product of a row; control_in : In, one control_layout a row
        Skewed: each row one cycle later than the row above.
    b_in : In, 8 bits a product of a column
        Enters the top, skewed: each column one cycle later than the column to its left.
    p_out : Out, 32 bits a column
        Leaves the bottom with the skew of the columns, a cycle after the last row, and without the
        bias of the elements' sums.
    """

    def __init__(self, config: Config, builder: Builder) -> None:
        self._config = config
        self._builder = builder
        self._operand = operand = 8 * config.macs_per_element
        super().__init__(
            {
                "a_in": In(operand * config.rows),
                "control_in": In(control_layout(config).size * config.rows),
                "b_in": In(operand * config.columns),
                "p_out": Out(32 * config.columns),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        b, p = self.b_in, Const(BIAS, 32).replicate(self._config.columns)
        control = control_layout(self._config).size
        for index in range(self._config.rows):
            row = self._builder.place(
                m, f"row_{index}", "cdmqta_row", lambda: Row(self._config, self._builder)
            )
            m.d.comb += [
                row.a_in.eq(self.a_in.word_select(index, self._operand)),
                row.control_in.eq(self.control_in.word_select(index, control)),
                row.b_in.eq(b),
                row.p_in.eq(p),
            ]
            b, p = row.b_out, row.p_out
        for column in range(self._config.columns):
            foot = Signal(32, name=f"foot_{column}", reset_less=True)
            m.d.sync += foot.eq(p.word_select(column, 32) - BIAS)
            m.d.comb += self.p_out.word_select(column, 32).eq(foot)
        return m
