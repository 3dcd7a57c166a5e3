"""Absolute maxima of rows, columns or a whole tensor."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .isa.config import Config
from .isa.pipeline import MAXIMUM_TREE

__all__ = ["LaneMaximum", "RowMaximum"]

GROUP = 8
"""Lanes that one stage of the tree reduces."""


class LaneMaximum(wiring.Component):
    """One lane: the magnitude of each sum, the maximum of a column, and its place in a queue.

    The queue is a shift register along the lanes: it takes the maxima of a block of columns at
    once and gives them one by one, lane 0 first, while the next block is searched.

    Members
    -------
    value : In(signed(32)); takes : In(1)
        Its magnitude is wanted.
    magnitude : Out(32)
        A cycle later, until the next is wanted.
    valid, first : In(1)
        With `magnitude`: it counts for its column; the column's maximum starts with it.
    load, shift : In(1)
        Take the maximum, which is complete a cycle after its last magnitude; or the next lane's.
    chain_in : In(32); chain_out : Out(32)
        From the next lane and to the one before.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "value": In(signed(32)),
                "takes": In(1),
                "magnitude": Out(32),
                "valid": In(1),
                "first": In(1),
                "load": In(1),
                "shift": In(1),
                "chain_in": In(32),
                "chain_out": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        magnitude = Signal(32, name="magnitude_register", reset_less=True)
        most, queued = Signal(32, reset_less=True), Signal(32, reset_less=True)
        with m.If(self.takes):
            m.d.sync += magnitude.eq(Mux(self.value[31], -self.value, self.value))
        with m.If(self.valid & (self.first | (magnitude > most))):
            m.d.sync += most.eq(magnitude)
        with m.If(self.load):
            m.d.sync += queued.eq(most)
        with m.Elif(self.shift):
            m.d.sync += queued.eq(self.chain_in)
        m.d.comb += [self.magnitude.eq(magnitude), self.chain_out.eq(queued)]
        return m


class RowMaximum(wiring.Component):
    """Reduce words of `columns` magnitudes to one maximum a row, or one of all.

    Members
    -------
    magnitudes : In, 32 bits a lane
    valid, first, last : In(1)
        A word; whether it starts and ends its group (a row or the tensor).
    maximum_valid : Out(1); maximum : Out(32)
        Of the group whose last word came LATENCY cycles before.

    Timing
    ------
    One word a cycle. There is no stall.
    """

    LATENCY = MAXIMUM_TREE

    def __init__(self, config: Config) -> None:
        self._lanes = config.columns
        super().__init__(
            {
                "magnitudes": In(32 * config.columns),
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "maximum_valid": Out(1),
                "maximum": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        valid, first, last = self.valid, self.first, self.last
        level = [self.magnitudes.word_select(lane, 32) for lane in range(self._lanes)]
        for stage in range(self.LATENCY - 1):
            size = len(level) if stage else GROUP
            groups = [level[start : start + size] for start in range(0, len(level), size)]
            level = []
            for index, group in enumerate(groups):
                greatest = Signal(32, name=f"greatest_{stage}_{index}", reset_less=True)
                with m.If(valid):
                    m.d.sync += greatest.eq(self._greatest(m, group, f"{stage}_{index}"))
                level.append(greatest)
            valid, first, last = self._later(m, stage, valid, first, last)

        held = Signal(32, reset_less=True)
        total = Signal(32)
        m.d.comb += total.eq(Mux(~first & (held > level[0]), held, level[0]))
        with m.If(valid):
            m.d.sync += held.eq(total)
        m.d.sync += self.maximum_valid.eq(valid & last)
        m.d.comb += self.maximum.eq(held)
        return m

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
