"""Transposition of blocks of bytes, one word a cycle, in one block of memory."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .shared import Builder
from .words import place_words

__all__ = ["Transpose", "beat_layout", "word_layout"]


def beat_layout(bus: int, size: int) -> data.StructLayout:
    """Return a beat of a row of a block of at most `size` rows by `size` columns."""
    return data.StructLayout(
        {
            "data": 8 * bus,
            "row_ends": 1,  # last beat of its row
            "block_ends": 1,  # of the block's last row
            "columns": range(size + 1),  # of the block; the same in all its beats
            "tag": 2,  # of the block, in its last beat: comes out with the words
        }
    )


def word_layout(size: int) -> data.StructLayout:
    """Return a column of a block; bytes past the block's rows are zero."""
    return data.StructLayout({"data": 8 * size, "block_ends": 1, "tag": 2})


def exchanged(m: Module, values: list[Any], select: Value, name: str) -> list[Value]:
    """Return the values so that place i holds what was at ``i ^ select``: a stage for each bit."""
    for bit in range(exact_log2(len(values))):
        stage = Signal(8 * len(values), name=f"{name}_{bit}")
        m.d.comb += stage.eq(
            Cat(
                Mux(select[bit], values[index ^ 1 << bit], value)
                for index, value in enumerate(values)
            )
        )
        values = [stage.word_select(index, 8) for index in range(len(values))]
    return values


class Transpose(wiring.Component):
    """Take blocks by rows, give them by columns.

    Element (i, j) of a block lies in bank ``i ^ j``, so that all elements of a row, and all of a
    column, are in different banks. The next block's row k takes the places that column k of this
    one has left, as if the block were already turned; so blocks lie upright and turned by turns,
    and one block of memory serves to fill and to drain at the same time. An exclusive or instead of
    a sum needs no adders: the address in a bank is that of the row or column, with some bits
    inverted, and the way between lanes and banks is the same in both directions.

    Parameters
    ----------
    bus, size : int
        Bytes of a beat, and rows and columns of the largest block; powers of two, bus <= size.

    Members
    -------
    i : In(stream of beat_layout)
    o : Out(stream of word_layout)

    Timing
    ------
    The first word of a block follows its last beat by two cycles, then comes one a cycle. The next
    block's row k is taken no sooner than the cycle in which column k is read: blocks of `size` by
    `size` in rows of one beat pass at one word a cycle. Readiness passes through without a
    register.
    """

    def __init__(self, bus: int, size: int, builder: Builder) -> None:
        self._bus, self._size, self._builder = bus, size, builder
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(bus, size))),
                "o": Out(stream.Signature(word_layout(size))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        size = self._size
        index = range(size)
        # The block that fills; `filled` while it waits, complete, for the one before it to drain.
        row, beat, filled = Signal(index), Signal(range(max(size // self._bus, 2))), Signal()
        # The block that drains, and how each of the two lies.
        column, draining, turned = Signal(index), Signal(), Signal()
        taken, completes, reads, drained = Signal(), Signal(), Signal(), Signal()
        layout = data.StructLayout({"rows": index, "columns": range(size + 1), "tag": 2})
        complete, block = Signal(layout, reset_less=True), Signal(layout, reset_less=True)
        arriving = Signal(layout)
        m.d.comb += [
            arriving.rows.eq(row),
            arriving.columns.eq(self.i.p.columns),
            arriving.tag.eq(self.i.p.tag),
            self.i.ready.eq(~filled & (~draining | (row < column + reads))),
            taken.eq(self.i.valid & self.i.ready),
            completes.eq(taken & self.i.p.row_ends & self.i.p.block_ends),
            reads.eq(draining & (self.o.ready | ~self.o.valid)),
            drained.eq(~draining | (reads & (column == block.columns - 1))),
        ]
        with m.If(taken):
            m.d.sync += beat.eq(Mux(self.i.p.row_ends, 0, beat + 1))
            with m.If(self.i.p.row_ends):
                m.d.sync += row.eq(Mux(self.i.p.block_ends, 0, row + 1))
        with m.If(completes):
            m.d.sync += complete.eq(arriving)
        m.d.sync += filled.eq((filled | completes) & ~drained)
        with m.If(reads):
            m.d.sync += column.eq(column + 1)
        with m.If(drained):
            m.d.sync += [draining.eq(filled | completes), column.eq(0)]
            with m.If(filled | completes):
                m.d.sync += [block.eq(Mux(filled, complete, arriving)), turned.eq(~turned)]
        words = self._banks(m, row, beat, taken, column, reads, turned)
        self._give(m, words, block, column, reads, drained)
        return m

    def _banks(
        self,
        m: Module,
        row: Signal,
        beat: Signal,
        taken: Signal,
        column: Signal,
        reads: Signal,
        turned: Signal,
    ) -> list[Value]:
        """Write a beat into the banks of its elements; return what each bank read.

        `turned` is set while the draining block lies turned, that is, with column j at address j
        of all banks; the filling one lies the other way.
        """
        bus_bits = exact_log2(self._bus)
        lanes = [self.i.p.data.word_select(lane, 8) for lane in range(self._bus)]
        lanes = exchanged(m, lanes, row[:bus_bits], "beat_exchanged")
        found = []
        for bank in range(self._size):
            store = place_words(m, f"bank_{bank}", self._size, 8, self._builder)
            m.d.comb += [
                store.read_enable.eq(reads),
                store.read_address.eq(Mux(turned, column, column ^ bank)),
                store.write_enable.eq(taken & ((row ^ bank) >> bus_bits == beat)),
                store.write_address.eq(Mux(turned, row, row ^ bank)),
                store.write_data.eq(lanes[bank % self._bus]),
            ]
            found.append(store.read_data)
        return found

    def _give(
        self,
        m: Module,
        found: list[Value],
        block: Any,
        column: Signal,
        reads: Signal,
        drained: Signal,
    ) -> None:
        """Offer what the banks read in the cycle before as a word, zero past the block's rows."""
        rows, place = Signal.like(block.rows, reset_less=True), Signal.like(column, reset_less=True)
        tag, ends = Signal.like(block.tag, reset_less=True), Signal(reset_less=True)
        with m.If(reads):
            m.d.sync += [
                self.o.valid.eq(1),
                rows.eq(block.rows),
                place.eq(column),
                tag.eq(block.tag),
                ends.eq(drained),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        first, *others = exchanged(m, found, place, "word_exchanged")
        present = [Mux(rows >= row, lane, 0) for row, lane in enumerate(others, start=1)]
        m.d.comb += [
            self.o.p.data.eq(Cat(first, *present)),
            self.o.p.block_ends.eq(ends),
            self.o.p.tag.eq(tag),
        ]
