"""Absolute maxima of rows, columns or a whole tensor."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .array import pack
from .isa.config import Config

__all__ = ["Reduce"]

GROUP = 8
"""Lanes that one stage of the tree reduces."""


class Reduce(wiring.Component):
    """Reduce words of `columns` sums to unsigned 32-bit maxima.

    Members
    -------
    sums : In, 32 bits a lane
    valid, first, last : In(1)
        A word; whether it starts and ends its group (a row, a block of columns, the tensor).
    row_valid : Out(1); row : Out(32)
        The maximum over lanes and words of the group that ended.
    column_valid : Out(1); columns : Out, 32 bits a lane
        The maximum of each lane over the words of the group that ended.

    Timing
    ------
    `columns` shows COLUMN_LATENCY cycles after the last word of its group, `row` ROW_LATENCY. There
    is no stall.
    """

    COLUMN_LATENCY = 2
    ROW_LATENCY = 4

    def __init__(self, config: Config) -> None:
        self._lanes = config.columns
        super().__init__(
            {
                "sums": In(32 * config.columns),
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "row_valid": Out(1),
                "row": Out(32),
                "column_valid": Out(1),
                "columns": Out(32 * config.columns),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        valid, first, last = self.valid, self.first, self.last
        magnitudes = []
        for lane in range(self._lanes):
            value = self.sums.word_select(lane, 32)
            magnitude = Signal(32, name=f"magnitude_{lane}", reset_less=True)
            m.d.sync += magnitude.eq(Mux(value[31], -value.as_signed(), value))
            magnitudes.append(magnitude)
        valid, first, last = self._later(m, 1, valid, first, last)
        self._columns(m, magnitudes, valid, first, last)

        level = magnitudes
        for stage in (2, 3):
            size = GROUP if stage == 2 else len(level)
            groups = [level[start : start + size] for start in range(0, len(level), size)]
            level = []
            for index, group in enumerate(groups):
                greatest = Signal(32, name=f"greatest_{stage}_{index}", reset_less=True)
                m.d.sync += greatest.eq(self._greatest(m, group, f"{stage}_{index}"))
                level.append(greatest)
            valid, first, last = self._later(m, stage, valid, first, last)

        held = Signal(32, reset_less=True)
        total = Signal(32)
        m.d.comb += total.eq(Mux(~first & (held > level[0]), held, level[0]))
        with m.If(valid):
            m.d.sync += held.eq(total)
        m.d.sync += self.row_valid.eq(valid & last)
        m.d.comb += self.row.eq(held)
        return m

    def _columns(
        self, m: Module, magnitudes: list[Signal], valid: Any, first: Any, last: Any
    ) -> None:
        held = []
        for lane, magnitude in enumerate(magnitudes):
            most = Signal(32, name=f"column_{lane}", reset_less=True)
            with m.If(valid & (first | (magnitude > most))):
                m.d.sync += most.eq(magnitude)
            held.append(most)
        m.d.sync += self.column_valid.eq(valid & last)
        m.d.comb += self.columns.eq(pack(held))

    @staticmethod
    def _later(m: Module, stage: int, *flags: Any) -> list[Signal]:
        moved = []
        for name, flag in zip(("valid", "first", "last"), flags, strict=True):
            later = Signal(name=f"{name}_{stage}")
            m.d.sync += later.eq(flag)
            moved.append(later)
        return moved

    @staticmethod
    def _greatest(m: Module, values: list[Signal], name: str) -> Any:
        """Return the greatest of some signals, by a tree of comparators."""
        step = 0
        while len(values) > 1:
            level = []
            for index in range(0, len(values) - 1, 2):
                a, b = values[index], values[index + 1]
                more = Signal(32, name=f"more_{name}_{step}_{index}")
                m.d.comb += more.eq(Mux(a > b, a, b))
                level.append(more)
            if len(values) % 2:
                level.append(values[-1])
            values, step = level, step + 1
        return values[0]
