"""The store engine: the output memory to DRAM, as sums, requantised, or as absolute maxima."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import exact_log2

from .absmax import Reduce
from .array import pack
from .axi import beat_layout
from .bursts import Bursts, burst_layout
from .edge import delayed
from .isa.config import Config
from .isa.instructions import Absmax, Axis, Format, Opcode, Store
from .layout import INSTRUCTION_BITS, SCALE, instruction_layout
from .load import entry_layout, lane_entry_layout
from .pack import MAXIMUM_BYTES, Pack
from .requantise import Requantise
from .rowwalk import RowWalk
from .shared import Builder
from .sram import Sram

__all__ = ["PostLane", "StoreEngine"]

STAGE = Requantise.LATENCY
NARROW_DEPTH = 2 * STAGE + 6
"""Words of the INT8 and maxima queues: those between read and queue and back, at full rate."""


class PostLane(wiring.Component):
    """One lane behind the output memory: rescale by row, then requantise.

    Members
    -------
    value : In(signed(32)); row_scale, rescaled : In
        A sum, the scale of its row, and whether to apply it.
    sum : Out(signed(32))
        Three cycles later.
    scale : In(SCALE)
        Of `sum`.
    result : Out(signed(8))
        Three cycles after `sum`.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "value": In(signed(32)),
                "row_scale": In(SCALE),
                "rescaled": In(1),
                "sum": Out(signed(32)),
                "scale": In(SCALE),
                "result": Out(signed(8)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.rescale = rescale = Requantise(32)
        m.submodules.requantise = requantise = Requantise(8)
        m.d.comb += [
            rescale.value.eq(self.value),
            rescale.scale.eq(self.row_scale),
            rescale.bypass.eq(~self.rescaled),
            self.sum.eq(rescale.result),
            requantise.value.eq(rescale.result),
            requantise.scale.eq(self.scale),
            self.result.eq(requantise.result),
        ]
        return m


class StoreEngine(wiring.Component):
    """Execute store and absmax instructions, one after the other.

    Members
    -------
    i : In(stream of an instruction word)
    row_scale, column_scale : In(streams)
        Writes of the load engine into the scale memories.
    read_enable, read_address, read_data, half_busy
        Port to the output memory, see `hw.accumulate.Accumulate`.
    bursts : Out(stream of burst_layout); beats : Out(stream of beat_layout)
        To the write master.
    written : In(1)
        The write master has nothing left to be answered.
    end, signal_load, signal_execute : Out(1)
        Everything an instruction wrote is in DRAM; its tokens.
    busy : Out(1)

    Timing
    ------
    INT8 rows and maxima pass at one word a cycle, sums at the rate of the bus.
    """

    def __init__(self, config: Config, builder: Builder) -> None:
        self._config, self._builder = config, builder
        self._wide_depth = max(2, -(-2 * (STAGE + 3) * config.bus_bytes // (4 * config.columns)))
        super().__init__(
            {
                "i": In(stream.Signature(INSTRUCTION_BITS)),
                "row_scale": In(stream.Signature(entry_layout(config.row_scale_depth))),
                "column_scale": In(stream.Signature(lane_entry_layout(config))),
                "read_enable": Out(1),
                "read_address": Out(exact_log2(config.output_depth) + 1),
                "read_data": In(32 * config.columns),
                "half_busy": In(2),
                "bursts": Out(stream.Signature(burst_layout(config))),
                "beats": Out(stream.Signature(beat_layout(config))),
                "written": In(1),
                "end": Out(1),
                "signal_load": Out(1),
                "signal_execute": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        word = Signal(INSTRUCTION_BITS, reset_less=True)
        store = instruction_layout(Store)(word)
        absmax = instruction_layout(Absmax)(word)
        self._reduces = Signal()
        self._requantises = Signal()
        self._by_column = Signal()
        m.d.comb += [
            self._reduces.eq(store.opcode == Opcode.ABSMAX),
            self._requantises.eq(~self._reduces & (store.format != Format.INT32)),
            self._by_column.eq(self._reduces & (absmax.axis == Axis.COLUMN)),
        ]
        m.submodules.walk = walk = RowWalk(self._config)
        m.submodules.cutter = cutter = Bursts(self._config)
        connect(m, cutter.o, wiring.flipped(self.bursts))
        self._control(m, word, store, absmax, walk, cutter)
        self._pass(m, store, absmax, walk)
        return m

    def _control(
        self, m: Module, word: Signal, store: Any, absmax: Any, walk: RowWalk, cutter: Bursts
    ) -> None:
        """Take an instruction, start the walk and the bursts, and end when all is answered."""
        active, starting = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~active),
            self.busy.eq(active),
            self.end.eq(active & ~starting & walk.i.ready & cutter.i.ready & self.written),
            self.signal_load.eq(self.end & store.signal_load),
            self.signal_execute.eq(self.end & store.signal_execute),
            walk.i.valid.eq(starting),
            cutter.i.valid.eq(starting),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [word.eq(self.i.p), active.eq(1), starting.eq(1)]
        with m.Elif(starting):
            m.d.sync += starting.eq(0)
        with m.Elif(self.end):
            m.d.sync += active.eq(0)

        matrix = walk.i.p
        for name in ("rows", "columns", "base", "row_stride", "block_stride", "row_scale"):
            m.d.comb += getattr(matrix, name).eq(
                Mux(self._reduces, getattr(absmax, name), getattr(store, name))
            )
        m.d.comb += [
            matrix.by_block.eq(self._by_column),
            matrix.column_scale.eq(store.column_scale),
        ]
        self._region(m, store, absmax, cutter)

    def _region(self, m: Module, store: Any, absmax: Any, cutter: Bursts) -> None:
        """Say where the result goes: rows, or one list of maxima."""
        bus = self._config.bus_bytes
        row_bytes = Signal(19)
        with m.If(~self._reduces):
            m.d.comb += row_bytes.eq(Mux(self._requantises, store.columns, 4 * store.columns))
        with m.Else():
            with m.Switch(absmax.axis):
                with m.Case(Axis.ROW):
                    m.d.comb += row_bytes.eq(4 * absmax.rows)
                with m.Case(Axis.COLUMN):
                    m.d.comb += row_bytes.eq(4 * absmax.columns)
                with m.Default():
                    m.d.comb += row_bytes.eq(4)
        m.d.comb += [
            cutter.i.p.beat.eq(Mux(self._reduces, absmax.dram, store.dram) >> exact_log2(bus)),
            cutter.i.p.pitch.eq(store.pitch >> exact_log2(bus)),
            cutter.i.p.rows.eq(Mux(self._reduces, 1, store.rows)),
            cutter.i.p.row_beats.eq((row_bytes + (bus - 1)) >> exact_log2(bus)),
        ]

    def _pass(self, m: Module, store: Any, absmax: Any, walk: RowWalk) -> None:
        """Read words and send them through the lanes, into the queue of their kind.

        With c for the cycle a word is read in, its sums come in c+1, leave the rescaler in
        c+1+STAGE and the requantiser in c+1+2*STAGE. `Later` follows each word on that way.
        """
        config = self._config
        word = walk.o.p
        issue, room = Signal(), Signal()
        m.d.comb += [
            issue.eq(walk.o.valid & room & ~self.half_busy.bit_select(word.address[-1], 1)),
            walk.o.ready.eq(issue),
            self.read_enable.eq(issue),
            self.read_address.eq(word.address),
        ]
        later = Later(m, word, issue, 2 * STAGE + 2)
        row_entry, column_entries = self._scales(m, word, issue, later)
        rescaled, by_row = Signal(), Signal()
        m.d.comb += [
            rescaled.eq(Mux(self._reduces, absmax.scaled, store.format == Format.INT8_ROW_COLUMN)),
            by_row.eq(store.format == Format.INT8_ROW),
        ]
        row_entry_later = delayed(m, row_entry, STAGE, "row_scales_later")
        lanes = []
        for column in range(config.columns):
            lane = self._builder.place(m, f"lane_{column}", "cdmqta_post_lane", PostLane)
            m.d.comb += [
                lane.value.eq(self.read_data.word_select(column, 32)),
                lane.row_scale.eq(row_entry),
                lane.rescaled.eq(rescaled),
                lane.scale.eq(
                    Mux(by_row, row_entry_later, column_entries.word_select(column, SCALE.size))
                ),
            ]
            lanes.append(lane)
        pack_unit = self._collect(m, absmax, later, lanes)
        self._room(m, word, issue, room, later, pack_unit)

    def _scales(self, m: Module, word: Any, issue: Signal, later: Later) -> tuple[Signal, Signal]:
        """Return a word's row scale with its sums, and its column scales STAGE cycles later."""
        config = self._config
        m.submodules.row_scales = rows = Sram(config.row_scale_depth, SCALE.size, self._builder)
        m.submodules.column_scales = columns = Sram(
            config.column_scale_depth,
            SCALE.size * config.columns,
            self._builder,
            granularity=SCALE.size,
        )
        write = self.column_scale
        m.d.comb += [
            self.row_scale.ready.eq(1),
            rows.write_enable.eq(self.row_scale.valid),
            rows.write_address.eq(self.row_scale.p.address),
            rows.write_data.eq(self.row_scale.p.data),
            rows.read_enable.eq(issue),
            rows.read_address.eq(word.row_scale),
            write.ready.eq(1),
            columns.write_enable.eq(
                Cat(write.valid & (write.p.lane == lane) for lane in range(config.columns))
            ),
            columns.write_address.eq(write.p.address),
            columns.write_data.eq(write.p.data.replicate(config.columns)),
            columns.read_enable.eq(later.valid[STAGE]),
            columns.read_address.eq(later.word[STAGE].column_scale),
        ]
        return rows.read_data, columns.read_data

    def _collect(self, m: Module, absmax: Any, later: Later, lanes: list[Any]) -> Pack:
        """Reduce the sums where maxima are asked for, and queue whatever the instruction makes."""
        m.submodules.reduce = reduce = Reduce(self._config)
        m.submodules.pack = out = Pack(self._config, self._wide_depth, NARROW_DEPTH)
        at_sum, at_columns = later.word[1 + STAGE], later.word[1 + STAGE + Reduce.COLUMN_LATENCY]
        at_row, at_result = later.word[1 + STAGE + Reduce.ROW_LATENCY], later.word[1 + 2 * STAGE]
        sums = Signal(32 * self._config.columns)
        tensor, is_sum = Signal(), Signal()
        m.d.comb += [
            sums.eq(pack([lane.sum for lane in lanes])),
            tensor.eq(absmax.axis == Axis.TENSOR),
            reduce.sums.eq(sums),
            reduce.valid.eq(later.valid[1 + STAGE] & self._reduces),
            reduce.first.eq(Mux(tensor, at_sum.start, at_sum.first)),
            reduce.last.eq(Mux(tensor, at_sum.end, at_sum.last)),
            is_sum.eq(~self._reduces & ~self._requantises),
            out.wide.data.eq(Mux(self._reduces, reduce.columns, sums)),
            out.wide.count.eq(4 * Mux(self._reduces, at_columns.lanes, at_sum.lanes)),
            out.wide.last.eq(Mux(self._reduces, at_columns.end, at_sum.last)),
            out.wide_valid.eq(
                (later.valid[1 + STAGE] & is_sum) | (reduce.column_valid & self._by_column)
            ),
            out.narrow.data.eq(pack([lane.result for lane in lanes])),
            out.narrow.count.eq(at_result.lanes),
            out.narrow.last.eq(at_result.last),
            out.narrow_valid.eq(later.valid[1 + 2 * STAGE] & self._requantises),
            out.maxima.data.eq(reduce.row),
            out.maxima.count.eq(MAXIMUM_BYTES),
            out.maxima.last.eq(at_row.end),
            out.maxima_valid.eq(reduce.row_valid & ~self._by_column),
        ]
        connect(m, out.o, wiring.flipped(self.beats))
        return out

    def _room(
        self, m: Module, word: Any, issue: Signal, room: Signal, later: Later, out: Pack
    ) -> None:
        """Let a word be read only when its queue will have a place for what it makes.

        Words that only add to a running maximum make nothing: of a column block only the last
        word needs a place, and of a row the place is given back when no maximum came of it.
        """
        used = Signal(range(NARROW_DEPTH + self._wide_depth + 1))
        needs, wide, returned = Signal(), Signal(), Signal()
        age = 1 + STAGE + Reduce.ROW_LATENCY
        m.d.comb += [
            needs.eq(~self._by_column | word.last),
            wide.eq(self._by_column | (~self._reduces & ~self._requantises)),
            room.eq(~needs | (used < Mux(wide, self._wide_depth, NARROW_DEPTH))),
            returned.eq(later.valid[age] & self._reduces & ~self._by_column & ~out.maxima_valid),
        ]
        m.d.sync += used.eq(used + (issue & needs) - out.taken - returned)


class Later:
    """A word and whether it counts, by cycles since it was read: entry 0 is the reading cycle."""

    def __init__(self, m: Module, word: Any, valid: Signal, ages: int) -> None:
        self.word, self.valid = [word], [valid]
        for age in range(1, ages + 1):
            item = Signal(word.shape(), name=f"word_{age}", reset_less=True)
            counts = Signal(name=f"word_valid_{age}")
            m.d.sync += [item.eq(self.word[-1]), counts.eq(self.valid[-1])]
            self.word.append(item)
            self.valid.append(counts)
