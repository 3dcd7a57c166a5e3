"""The load engine: rows of DRAM into words of the on-chip memories."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import exact_log2

from .buffer import write_layout
from .bursts import Bursts, burst_layout
from .chunks import Chunks
from .isa.config import Config
from .isa.instructions import Load, Memory
from .isa.pipeline import ENTRY_BYTES, LOADS_AHEAD, scale_group
from .layout import SCALE, instruction_layout
from .regroup import Regroup, beats_layout
from .shared import Builder

__all__ = ["LoadEngine", "entry_layout", "lane_entry_layout", "lane_group_layout"]


def entry_layout(depth: int) -> data.StructLayout:
    """Return a write to a scale memory of single entries."""
    return data.StructLayout({"address": exact_log2(depth), "data": SCALE.size})


def lane_entry_layout(config: Config) -> data.StructLayout:
    """Return a write of one entry of a word of column scales."""
    return data.StructLayout(
        {
            "address": exact_log2(config.column_scale_depth),
            "lane": range(config.columns),
            "data": SCALE.size,
        }
    )


def lane_group_layout(config: Config) -> data.StructLayout:
    """Return a write of a group of entries of a word of column scales.

    There is an entry for each lane of the group, and the group after it begins at the next lane.
    `given` says which of the entries are written.
    """
    group = scale_group(config.bus_bytes, config.columns)
    return data.StructLayout(
        {
            "address": exact_log2(config.column_scale_depth),
            "group": range(config.columns // group),
            "given": group,
            "data": data.ArrayLayout(SCALE.size, group),
        }
    )


def _write_layout(config: Config) -> data.StructLayout:
    """Return what to do with the words of an instruction; its lines are `hw.regroup.word_layout`'s.

    Where the array reads several words at once, `wide` instructions write so many.
    """
    wide = {"wide": 1} if config.macs_per_element > 1 else {}
    return data.StructLayout(
        {
            "memory": 3,
            "transpose": 1,
            **wide,
            "rows": 16,
            "base": 16,
            "step": 16,  # from word to word of a line
            "line_step": 16,
            "signal_execute": 1,
            "signal_store": 1,
        }
    )


class LoadEngine(wiring.Component):
    """Request rows as soon as an instruction's tokens are taken; write words as the data comes.

    Requests run ahead of data by up to `LOADS_AHEAD` instructions. Beats of an instruction are
    taken while words of the one before are still written, so instructions follow one another
    without a gap, also where one transposes. Of such a one all rows of a chunk of columns are
    loaded before those of the next chunk.

    Members
    -------
    i : In(stream of the Load layout)
    bursts : Out(stream of burst_layout); beats : In(stream of one beat)
        To and from the read master.
    left, right, accumulate_scale, row_scale, column_scale : Out(streams)
        Writes into the memories.
    end, signal_execute, signal_store : Out(1)
        The last word of an instruction is written; its tokens.
    stalled_on_dram : Out(1)
        A beat would be taken, but none is there.
    stalled_on_memory : Out(1)
        A word is refused by its memory.
    moves : Out(1)
        A beat is taken or a word is written.
    busy : Out(1)
    """

    def __init__(self, config: Config, builder: Builder) -> None:
        self._config, self._builder = config, builder
        self._together = together = config.macs_per_element
        left = write_layout(config.input_depth, 8 * config.rows, together)
        self._beats, self._job = beats_layout(wide=together > 1), _write_layout(config)
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(Load))),
                "bursts": Out(stream.Signature(burst_layout(config))),
                "beats": In(stream.Signature(8 * config.bus_bytes)),
                "left": Out(stream.Signature(left)),
                "right": Out(
                    stream.Signature(write_layout(config.weight_depth, 8 * config.columns))
                ),
                "accumulate_scale": Out(
                    stream.Signature(entry_layout(config.accumulate_scale_depth))
                ),
                "row_scale": Out(stream.Signature(entry_layout(config.row_scale_depth))),
                "column_scale": Out(stream.Signature(lane_group_layout(config))),
                "end": Out(1),
                "signal_execute": Out(1),
                "signal_store": Out(1),
                "stalled_on_dram": Out(1),
                "stalled_on_memory": Out(1),
                "moves": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.regroup = regroup = Regroup(self._config, self._builder)
        m.submodules.takes = takes = SyncFIFOBuffered(width=self._beats.size, depth=LOADS_AHEAD)
        m.submodules.writes = writes = SyncFIFOBuffered(width=self._job.size, depth=LOADS_AHEAD)
        self._request(m, takes, writes)
        connect(m, wiring.flipped(self.beats), regroup.beats)
        m.d.comb += [
            regroup.i.p.eq(takes.r_data),
            regroup.i.valid.eq(takes.r_rdy),
            takes.r_en.eq(regroup.i.ready),
            self.stalled_on_dram.eq(regroup.stalled),
        ]
        self._write(m, writes, regroup)
        return m

    def _request(self, m: Module, takes: SyncFIFOBuffered, writes: SyncFIFOBuffered) -> None:
        """Hand the rows to the burst cutter, and what to do with them to the queues."""
        bus = self._config.bus_bytes
        m.submodules.chunks = chunks = Chunks(self._config, self._config.transpose_columns // bus)
        m.submodules.cutter = cutter = Bursts(self._config, ahead=True)
        connect(m, chunks.o, cutter.i)
        connect(m, cutter.o, wiring.flipped(self.bursts))
        word, region = self.i.p, chunks.i.p.region
        transpose, room, taken = Signal(), Signal(), Signal()
        take, write = Signal(self._beats, name="take"), Signal(self._job, name="write")
        m.d.comb += [
            transpose.eq(
                word.transpose & ((word.memory == Memory.INPUT) | (word.memory == Memory.WEIGHT))
            ),
            region.beat.eq(word.dram >> exact_log2(bus)),
            region.pitch.eq(word.pitch >> exact_log2(bus)),
            region.rows.eq(word.rows),
            region.row_beats.eq((word.columns + (bus - 1)) >> exact_log2(bus)),
            chunks.i.p.cut.eq(transpose),
            chunks.i.p.packed.eq(word.packed),
            room.eq(takes.w_rdy & writes.w_rdy),
            chunks.i.valid.eq(self.i.valid & room),
            self.i.ready.eq(chunks.i.ready & room),
            taken.eq(self.i.valid & self.i.ready),
            take.columns.eq(word.columns),
            take.packed.eq(word.packed),
            write.base.eq(word.base),
            write.step.eq(Mux(transpose, word.row_stride, self._along(m, word, take, write))),
            write.line_step.eq(Mux(transpose, word.block_stride, word.row_stride)),
            write.signal_execute.eq(word.signal_execute),
            write.signal_store.eq(word.signal_store),
        ]
        for queue, entry in ((takes, take), (writes, write)):
            m.d.comb += [
                entry.memory.eq(word.memory),
                entry.transpose.eq(transpose),
                entry.rows.eq(word.rows),
                queue.w_en.eq(taken),
                queue.w_data.eq(entry),
            ]

    def _along(self, m: Module, word: Any, take: Any, write: Any) -> Any:
        """Return the words from one to the next of a row, as they are written.

        Rows of the input memory whose words follow one another from where the array reads so many
        at once, are also written so many at once.
        """
        if self._together == 1:
            return word.block_stride
        wide, low = Signal(name="wide"), exact_log2(self._together)
        m.d.comb += [
            wide.eq(
                (word.memory == Memory.INPUT)
                & ~word.transpose
                & (word.block_stride == 1)
                & ~(word.base[:low] | word.row_stride[:low]).any()
            ),
            take.wide.eq(wide),
            write.wide.eq(wide),
        ]
        return Mux(wide, self._together, word.block_stride)

    def _write(self, m: Module, queue: SyncFIFOBuffered, regroup: Regroup) -> None:
        """Write each word at its place, one line after the other."""
        job, following = Signal(self._job, name="job", reset_less=True), self._job(queue.r_data)
        word = regroup.o.p
        active, fresh, written, end = (Signal() for _ in range(4))
        m.d.comb += [
            written.eq(regroup.o.valid & regroup.o.ready),
            fresh.eq(queue.r_rdy & (~active | end)),
            queue.r_en.eq(fresh),
            regroup.memory.eq(job.memory),
            regroup.transpose.eq(job.transpose),
            *([regroup.wide.eq(job.wide)] if self._together > 1 else []),
            self.end.eq(end),
            self.signal_execute.eq(end & job.signal_execute),
            self.signal_store.eq(end & job.signal_store),
            self.moves.eq(written | (self.beats.valid & self.beats.ready)),
            self.stalled_on_memory.eq(active & regroup.o.valid & ~regroup.o.ready),
            self.busy.eq(active | (queue.level != 0)),
        ]
        with m.If(fresh):
            m.d.sync += [job.eq(following), active.eq(1)]
        with m.Elif(end):
            m.d.sync += active.eq(0)

        config = self._config
        groups = config.columns // scale_group(config.bus_bytes, config.columns)
        rows_left, group = Signal(16), Signal(range(groups))
        line_ends, wraps = Signal(), Signal()
        m.d.comb += [
            line_ends.eq(written & word.line_ends),
            end.eq(line_ends & Mux(job.transpose, word.ends, rows_left == 1)),
            wraps.eq((job.memory != Memory.COLUMN_SCALE) | (group == groups - 1)),
        ]
        with m.If(fresh):
            m.d.sync += [rows_left.eq(following.rows), group.eq(0)]
        with m.Elif(line_ends):
            m.d.sync += [rows_left.eq(rows_left - 1), group.eq(0)]
        with m.Elif(written):
            m.d.sync += group.eq(Mux(wraps, 0, group + 1))
        address = self._address(m, job, fresh, following.base, written & wraps, line_ends, word)
        self._ports(m, job, active, regroup, address, group)

    def _address(
        self,
        m: Module,
        job: Any,
        fresh: Signal,
        base: Any,
        steps: Any,
        line_ends: Signal,
        word: Any,
    ) -> Signal:
        """Return the address of the next word.

        The chunk after this one starts where the first line of this one would go on.
        """
        address, line, chunk = Signal(16), Signal(16), Signal(16)
        first_line = Signal()
        next_address, next_line, next_chunk = Signal(16), Signal(16), Signal(16)
        m.d.comb += [
            next_address.eq(address + job.step),
            next_chunk.eq(Mux(first_line, next_address, chunk)),
            next_line.eq(Mux(job.transpose & word.chunk_ends, next_chunk, line + job.line_step)),
        ]
        with m.If(fresh):
            m.d.sync += [address.eq(base), line.eq(base), first_line.eq(1)]
        with m.Elif(line_ends):
            m.d.sync += [
                address.eq(next_line),
                line.eq(next_line),
                chunk.eq(next_chunk),
                first_line.eq(word.chunk_ends),
            ]
        with m.Elif(steps):
            m.d.sync += address.eq(next_address)
        return address

    def _ports(
        self, m: Module, job: Any, active: Signal, regroup: Regroup, address: Signal, group: Signal
    ) -> None:
        """Offer the word to its memory."""
        ports = {
            Memory.INPUT: self.left,
            Memory.WEIGHT: self.right,
            Memory.ACCUMULATE_SCALE: self.accumulate_scale,
            Memory.ROW_SCALE: self.row_scale,
            Memory.COLUMN_SCALE: self.column_scale,
        }
        word, entries = regroup.o.p, self.column_scale.p
        m.d.comb += [entries.group.eq(group), entries.given.eq(word.given)]
        for memory, port in ports.items():
            m.d.comb += port.p.address.eq(address)
            if memory is Memory.INPUT and self._together > 1:
                self._side_by_side(m, job, word, address)
            elif memory is not Memory.COLUMN_SCALE:
                m.d.comb += port.p.data.eq(word.data)
            with m.If(active & (job.memory == memory)):
                m.d.comb += [port.valid.eq(regroup.o.valid), regroup.o.ready.eq(port.ready)]
        for index in range(len(word.given)):
            m.d.comb += entries.data[index].eq(word.data.word_select(index, 8 * ENTRY_BYTES))

    def _side_by_side(self, m: Module, job: Any, word: Any, address: Signal) -> None:
        """Offer the input memory a word, at its place among those read at once, or all of these."""
        low, lanes = exact_log2(self._together), 8 * self._config.rows
        one = word.data[:lanes].replicate(self._together)
        m.d.comb += [
            self.left.p.data.eq(Mux(job.wide, word.data[: lanes * self._together], one)),
            self.left.p.places.eq(Mux(job.wide, word.places, 1 << address[:low])),
        ]
