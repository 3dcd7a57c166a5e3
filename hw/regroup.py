"""From beats to words of the memories: cut, padded, and transposed where asked."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .gearbox import Gearbox
from .isa.config import Config
from .isa.instructions import Memory
from .isa.pipeline import ENTRY_BYTES, scale_group
from .shared import Builder
from .transpose import Transpose

__all__ = ["Regroup", "beats_layout", "word_layout"]


def beats_layout(*, wide: bool = False) -> data.StructLayout:
    """Return what to do with the beats of an instruction: its fields of the same names.

    With `wide` also whether its words are made several at once.
    """
    more = {"wide": 1} if wide else {}
    return data.StructLayout(
        {"memory": 3, "transpose": 1, "packed": 1, **more, "rows": 16, "columns": 16}
    )


def word_layout(config: Config) -> data.StructLayout:
    """Return a word of any memory, and where it ends; of column scales, a group of entries.

    A line is a row in blocks of the memory; transposed, a block of the memory in rows, as far as
    they are of one chunk.
    """
    group, together = scale_group(config.bus_bytes, config.columns), config.macs_per_element
    places = {"places": together} if together > 1 else {}
    return data.StructLayout(
        {
            "data": 8 * max(config.fold_reduction, config.columns, ENTRY_BYTES * group),
            **places,  # of several words at once, those that the line has
            "given": group,  # column scales: of the entries, those that the line has
            "line_ends": 1,
            "chunk_ends": 1,  # transposed: with this line
            "ends": 1,  # transposed: the instruction, with this line
        }
    )


class Regroup(wiring.Component):
    """Count an instruction's bytes as its beats come; send them through a gearbox or be transposed.

    Beats of the next instruction are taken while words of the one before wait. A packed beat stays
    for two cycles, and is a beat of its lower and one of its upper bytes, unless a row ends before.
    Transposed in chunks of a beat, it is its lower half in one of them and its upper in the next.

    Members
    -------
    i : In(stream of beats_layout)
        Instructions in order. Transposed, all rows of the first `Config.transpose_columns` columns
        come before those of the next.
    beats : In(stream of one beat)
    memory, transpose, wide : In
        Of the instruction whose words are wanted; `wide`, words of the input memory that are made
        as many at once as the array reads, is there if these are several.
    o : Out(stream of word_layout)
        Its words.
    stalled : Out(1)
        A beat would be taken, but none is there.

    Timing
    ------
    Beats are taken from the cycle after their instruction. A word follows its beat by a cycle,
    transposed by two.
    """

    def __init__(self, config: Config, builder: Builder) -> None:
        self._config, self._builder = config, builder
        self._group = scale_group(config.bus_bytes, config.columns)
        self._sizes = {
            Memory.INPUT: config.rows,
            Memory.WEIGHT: config.columns,
            Memory.ACCUMULATE_SCALE: ENTRY_BYTES,
            Memory.ROW_SCALE: ENTRY_BYTES,
            Memory.COLUMN_SCALE: ENTRY_BYTES * self._group,
        }
        self._wide = config.fold_reduction if config.macs_per_element > 1 else 0
        self._layout = beats_layout(wide=self._wide > 0)
        super().__init__(
            {
                "i": In(stream.Signature(self._layout)),
                "beats": In(stream.Signature(8 * config.bus_bytes)),
                "memory": In(3),
                "transpose": In(1),
                **({"wide": In(1)} if self._wide else {}),
                "o": Out(stream.Signature(word_layout(config))),
                "stalled": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self._config.bus_bytes
        job = Signal(self._layout, reset_less=True)
        active, taken, ready, job_ends, leaves = (Signal() for _ in range(5))
        m.submodules.transposer = transposer = Transpose(
            bus, self._config.transpose_columns, self._builder
        )
        m.d.comb += [
            self.i.ready.eq(~active | (taken & job_ends)),
            self.beats.ready.eq(active & ready & leaves),
            taken.eq(self.beats.valid & active & ready),
            self.stalled.eq(active & ready & ~self.beats.valid),
            transposer.i.valid.eq(self.beats.valid & active & job.transpose),
        ]
        with m.If(self.i.ready):
            m.d.sync += [active.eq(self.i.valid), job.eq(self.i.p)]
        with m.If(job.transpose):
            m.d.comb += ready.eq(transposer.i.ready)
        row_ends, chunk_ends, count = self._count(m, job, taken, job_ends, transposer)
        beat = self._unpacked(m, job, taken, leaves, row_ends, chunk_ends, job_ends)
        m.d.comb += transposer.i.p.data.eq(beat)
        boxes = {}
        for size in sorted({*self._sizes.values(), self._wide} - {0}):
            boxes[size] = box = Gearbox(bus, size)
            m.submodules[f"gearbox_{size}"] = box
            chosen = Signal(name=f"chosen_{size}")
            m.d.comb += [
                chosen.eq(~job.transpose & Cat(self._makers(job, size)).any()),
                box.i.p.data.eq(beat),
                box.i.p.count.eq(count),
                box.i.p.last.eq(row_ends),
                box.i.valid.eq(self.beats.valid & active & chosen),
            ]
            with m.If(chosen):
                m.d.comb += ready.eq(box.i.ready)
        self._give(m, boxes, transposer)
        return m

    def _unpacked(
        self,
        m: Module,
        job: Any,
        taken: Signal,
        leaves: Signal,
        row_ends: Signal,
        chunk_ends: Any,
        job_ends: Signal,
    ) -> Signal:
        """Return the beat in bytes; a packed one leaves with its upper half, or with its row."""
        beat, upper = Signal.like(self.beats.p, name="beat"), Signal()
        # Of chunks of a beat, every other one begins with the upper half.
        first = Signal()
        half = len(beat) // 2
        m.d.comb += [
            leaves.eq(~job.packed | upper | row_ends),
            beat.eq(self.beats.p),
        ]
        with m.If(job.packed):
            packed = Mux(upper, self.beats.p[half:], self.beats.p[:half])
            elements = (packed[start : start + 4].as_signed() for start in range(0, half, 4))
            m.d.comb += beat.eq(Cat(Cat(each, each[3].replicate(4)) for each in elements))
        with m.If(taken & ~leaves):
            m.d.sync += upper.eq(1)
        with m.Elif(taken & ~row_ends):
            m.d.sync += upper.eq(0)
        if self._config.transpose_columns > self._config.bus_bytes:
            with m.Elif(taken):
                m.d.sync += upper.eq(0)
        else:
            with m.Elif(taken):
                following = Signal()
                m.d.comb += following.eq(job.packed & ~job_ends & (first ^ chunk_ends))
                m.d.sync += [first.eq(following), upper.eq(following)]
        return beat

    def _makers(self, job: Any, size: int) -> list[Any]:
        """Return what makes words of an instruction so large, if it does not transpose."""
        found = []
        for memory, lanes in self._sizes.items():
            wide = memory is Memory.INPUT and self._wide
            if lanes == size:
                found.append((job.memory == memory) & ~job.wide if wide else job.memory == memory)
            if wide and self._wide == size:
                found.append((job.memory == memory) & job.wide)
        return found

    def _count(
        self, m: Module, job: Any, taken: Signal, job_ends: Signal, transposer: Transpose
    ) -> tuple[Signal, Any, Signal]:
        """Count beats, rows and chunks.

        Returns
        -------
        row_ends, chunk_ends, count
            Whether a beat ends its row, with that a chunk that is not the last, and its bytes.
        """
        config, bus, chunk = self._config, self._config.bus_bytes, self._config.transpose_columns
        # Bytes of the row in this chunk, rows of the chunk, and columns from this chunk on: a plain
        # load is one chunk.
        bytes_left, rows_left, columns_left = Signal(16), Signal(16), Signal(16)
        width, beyond = Signal(16), Signal(16)
        row_ends, last_row, last_chunk, block_ends = (Signal() for _ in range(4))
        height = Signal(range(max(config.rows, config.columns) + 1))
        block_row, count = Signal.like(height), Signal(range(bus + 1))
        m.d.comb += [
            width.eq(_least(columns_left, job.transpose, chunk)),
            beyond.eq(columns_left - chunk),
            height.eq(Mux(job.memory == Memory.INPUT, config.rows, config.columns)),
            row_ends.eq(bytes_left <= bus),
            count.eq(Mux(row_ends, bytes_left, bus)),
            last_row.eq(rows_left == 1),
            last_chunk.eq(~job.transpose | (columns_left <= chunk)),
            block_ends.eq(last_row | (block_row == height - 1)),
            job_ends.eq(row_ends & last_row & last_chunk),
            transposer.i.p.row_ends.eq(row_ends),
            transposer.i.p.block_ends.eq(block_ends),
            transposer.i.p.columns.eq(width),
            transposer.i.p.tag.eq(Cat(last_row, last_row & last_chunk)),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                bytes_left.eq(_least(self.i.p.columns, self.i.p.transpose, chunk)),
                rows_left.eq(self.i.p.rows),
                columns_left.eq(self.i.p.columns),
                block_row.eq(0),
            ]
        with m.Elif(taken & ~row_ends):
            m.d.sync += bytes_left.eq(bytes_left - bus)
        with m.Elif(taken & ~last_row):
            m.d.sync += [
                bytes_left.eq(width),
                rows_left.eq(rows_left - 1),
                block_row.eq(Mux(block_ends, 0, block_row + 1)),
            ]
        with m.Elif(taken):
            m.d.sync += [
                bytes_left.eq(_least(beyond, 1, chunk)),
                rows_left.eq(job.rows),
                columns_left.eq(beyond),
                block_row.eq(0),
            ]
        return row_ends, last_row & ~last_chunk, count

    def _give(self, m: Module, boxes: dict[int, Gearbox], transposer: Transpose) -> None:
        """Offer the words that are wanted."""
        with m.If(self.transpose):
            m.d.comb += [
                self.o.valid.eq(transposer.o.valid),
                self.o.p.data.eq(transposer.o.p.data),
                self.o.p.line_ends.eq(transposer.o.p.block_ends),
                Cat(self.o.p.chunk_ends, self.o.p.ends).eq(transposer.o.p.tag),
                transposer.o.ready.eq(self.o.ready),
            ]
        with m.Else(), m.Switch(self.memory):
            for memory, size in self._sizes.items():
                with m.Case(memory):
                    if memory is Memory.INPUT and self._wide:
                        with m.If(self.wide):
                            self._offer(m, boxes[self._wide])
                            count = boxes[self._wide].o.p.count
                            m.d.comb += self.o.p.places.eq(
                                Cat(count > start for start in range(0, self._wide, size))
                            )
                        with m.Else():
                            self._offer(m, boxes[size])
                    else:
                        self._offer(m, boxes[size])
        count = boxes[self._sizes[Memory.COLUMN_SCALE]].o.p.count
        m.d.comb += self.o.p.given.eq(
            Cat(count > ENTRY_BYTES * entry for entry in range(self._group))
        )

    def _offer(self, m: Module, box: Gearbox) -> None:
        """Offer the words of a gearbox."""
        m.d.comb += [
            self.o.valid.eq(box.o.valid),
            self.o.p.data.eq(box.o.p.data),
            self.o.p.line_ends.eq(box.o.p.last),
            box.o.ready.eq(self.o.ready),
        ]


def _least(value: Any, limited: Any, limit: int) -> Any:
    """Return a value, or the limit if it is `limited` and larger."""
    return Mux(limited & (value > limit), limit, value)
