"""Change of width between byte streams."""

from __future__ import annotations

from math import gcd
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Gearbox", "chunk"]


def chunk(size: int) -> data.StructLayout:
    """Return a piece of a byte stream: `size` bytes, how many count, and whether a row ends."""
    return data.StructLayout({"data": 8 * size, "count": range(size + 1), "last": 1})


class Gearbox(wiring.Component):
    """Regroup rows of bytes from words of `size_in` into words of `size_out` bytes.

    Only the last word of a row may be partial, on either side; its bytes past `count` are ignored
    at the input and zero at the output.

    Members
    -------
    i : In(stream of chunk(size_in))
    o : Out(stream of chunk(size_out))

    Timing
    ------
    One word a cycle on the wider side's terms: a word goes in and another out in one cycle. The
    first output follows its input by a cycle. Readiness passes through without a register.
    """

    def __init__(self, size_in: int, size_out: int) -> None:
        self._in, self._out = size_in, size_out
        super().__init__(
            {
                "i": In(stream.Signature(chunk(size_in))),
                "o": Out(stream.Signature(chunk(size_out))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        size_in, size_out = self._in, self._out
        # A word goes in where less than one to go out is left, a multiple of their common divisor.
        size = size_in + size_out - gcd(size_in, size_out)
        buffer = Signal(8 * size, reset_less=True)
        level = Signal(range(size + 1))
        ending = Signal()
        ends = Signal()
        emit = Signal()
        taken = Signal()
        left = Signal.like(level)
        shifted = Signal(8 * size)

        m.d.comb += [
            ends.eq(ending & (level <= size_out)),
            self.o.valid.eq(ending | (level >= size_out)),
            self.o.p.data.eq(buffer[: 8 * size_out]),
            self.o.p.count.eq(Mux(ends, level, size_out)),
            self.o.p.last.eq(ends),
            emit.eq(self.o.valid & self.o.ready),
            left.eq(Mux(emit, Mux(ends, 0, level - size_out), level)),
            shifted.eq(Mux(emit, buffer >> 8 * size_out, buffer)),
            self.i.ready.eq(Mux(ending, emit & ends, left < size_out)),
            taken.eq(self.i.valid & self.i.ready),
        ]
        added = Mux(taken, self._placed(m, left), 0)
        with m.If(taken):
            m.d.sync += ending.eq(self.i.p.last)
        with m.Elif(emit & ends):
            m.d.sync += ending.eq(0)
        # Bytes past the level must be zero, since new ones are laid over them; the buffer has no
        # reset, so the first word of all replaces what it holds.
        with m.If(taken | emit):
            m.d.sync += [
                buffer.eq(Mux(left == 0, 0, shifted) | added),
                level.eq(left + Mux(taken, self.i.p.count, 0)),
            ]
        return m

    def _placed(self, m: Module, left: Signal) -> Signal:
        """Return the input bytes that count, moved up to the level they are added at.

        The level before an input is a multiple of the sizes' greatest common divisor, so a
        shift by a variable number of bytes is a choice among few positions.
        """
        masked = Signal(8 * self._in)
        m.d.comb += masked.eq(
            Cat(
                Mux(self.i.p.count > index, self.i.p.data.word_select(index, 8), 0)
                for index in range(self._in)
            )
        )
        moved = Signal(8 * (self._in + self._out - gcd(self._in, self._out)))
        with m.Switch(left):
            for position in range(0, self._out, gcd(self._in, self._out)):
                with m.Case(position):
                    m.d.comb += moved.eq(Cat(Const(0, 8 * position), masked))
        return moved
