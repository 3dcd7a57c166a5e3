"""The store engine: the output memory to DRAM, as sums, requantised, or as absolute maxima."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import exact_log2

from .absmax import RowMaximum
from .array import pack
from .axi import beat_layout
from .bursts import burst_layout
from .edge import delayed
from .isa.config import Config
from .isa.instructions import Absmax, Axis, Format, Opcode, Store
from .layout import INSTRUCTION_BITS, SCALE, instruction_layout
from .load import entry_layout, lane_entry_layout
from .maxima import LEAD, Maxima
from .noise import Keys
from .pack import MAXIMUM_BYTES, Kind, Pack
from .postlane import STAGE, PostLane
from .retire import Retire
from .rowwalk import RowWalk
from .shared import Builder
from .sram import Sram

__all__ = ["StoreEngine"]

INSTRUCTIONS = 8
"""Instructions inside at most: enough short ones to cover the time in which DRAM answers."""
SUM = 1 + STAGE
"""Cycles from the reading of a word to its sums."""
RESULT = SUM + STAGE
MAGNITUDE = SUM + 1
ROW_MAXIMUM = MAGNITUDE + RowMaximum.LATENCY
NARROW_DEPTH = 2 * STAGE + 6
"""Words of the INT8 queue: those between read and queue and back, at full rate."""
MAXIMA_DEPTH = ROW_MAXIMUM + 8


class StoreEngine(wiring.Component):
    """Execute store and absmax instructions, several at once, and end them in order.

    Words of the next instruction are read as soon as the last of the one before has been, but an
    instruction that reads scales or maxima waits until an absmax before it has made them. Within
    one absmax, entries that it makes must not be among those that it reads.

    Members
    -------
    i : In(stream of an instruction word)
    row_scale, column_scale : In(streams)
        Writes of the load engine into the scale memories. Entries made here go first.
    accumulate_scale : Out(stream)
        Entries for scale-and-accumulate; they must be taken.
    seed : In(32)
        Of stochastic rounding; it holds still while the engine is busy.
    read_enable, read_address, read_data, half_busy
        Port to the output memory, see `hw.accumulate.Accumulate`.
    bursts : Out(stream of burst_layout); beats : Out(stream of beat_layout)
        To the write master.
    answered : In(1)
        A burst was answered.
    end, signal_load, signal_execute : Out(1)
        Everything an instruction wrote is in its place; its tokens.
    busy : Out(1)
    saturations : Out
        INT8 elements limited, some cycles after.
    stalled_on_dram, stalled_on_memory : Out(1)
        A beat or burst waits to be taken; a word waits for a busy half only.

    Timing
    ------
    INT8 rows and words for maxima pass at one a cycle, sums at the rate of the bus. A block of
    column maxima of n lanes needs n cycles, in which the next block is read.
    """

    def __init__(self, config: Config, builder: Builder) -> None:
        self._config, self._builder = config, builder
        wide = max(2, -(-2 * (STAGE + 3) * config.bus_bytes // (4 * config.columns)))
        self._depths = {Kind.WIDE: wide, Kind.NARROW: NARROW_DEPTH, Kind.MAXIMA: MAXIMA_DEPTH}
        update_entry = entry_layout(config.accumulate_scale_depth)
        super().__init__(
            {
                "i": In(stream.Signature(INSTRUCTION_BITS)),
                "row_scale": In(stream.Signature(entry_layout(config.row_scale_depth))),
                "column_scale": In(stream.Signature(lane_entry_layout(config))),
                "accumulate_scale": Out(stream.Signature(update_entry)),
                "seed": In(32),
                "read_enable": Out(1),
                "read_address": Out(exact_log2(config.output_depth) + 1),
                "read_data": In(32 * config.columns),
                "half_busy": In(2),
                "bursts": Out(stream.Signature(burst_layout(config))),
                "beats": Out(stream.Signature(beat_layout(config))),
                "answered": In(1),
                "end": Out(1),
                "signal_load": Out(1),
                "signal_execute": Out(1),
                "busy": Out(1),
                "saturations": Out(range(config.columns + 1)),
                "stalled_on_dram": Out(1),
                "stalled_on_memory": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self._config
        m.submodules.walk = RowWalk(config)
        m.submodules.retire = Retire(config, INSTRUCTIONS)
        m.submodules.pack = Pack(config, self._depths, INSTRUCTIONS)
        m.submodules.maxima = Maxima(config, self._builder, INSTRUCTIONS)
        m.submodules.row_maximum = RowMaximum(config)
        m.submodules.keys = keys = Keys()
        m.d.comb += keys.seed.eq(self.seed)
        factor = self._accept(m)
        issue = self._issue(m, factor)
        later = Later(m, m.submodules.walk.o.p, issue, ROW_MAXIMUM)
        lanes = self._lanes(m, later)
        self._scales(m, later, lanes)
        self._collect(m, later, lanes)
        self._reduce(m, later, lanes)
        self._count(m, lanes)
        self._outside(m)
        return m

    def _accept(self, m: Module) -> Signal:
        """Hand an instruction to every unit that has a part in it; return its factor's address."""
        units = m.submodules
        store = instruction_layout(Store)(self.i.p)
        absmax = instruction_layout(Absmax)(self.i.p)
        targets = (units.walk.i, units.retire.i, units.pack.order, units.maxima.i)
        taken, reduces, writes = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(Cat(target.ready for target in targets).all()),
            taken.eq(self.i.valid & self.i.ready),
            reduces.eq(store.opcode == Opcode.ABSMAX),
            writes.eq(~reduces | absmax.to_dram),
            units.walk.i.valid.eq(taken),
            units.retire.i.valid.eq(taken),
            units.retire.i.p.writes.eq(writes),
            units.retire.i.p.maxima.eq(reduces),
            units.retire.i.p.signal_load.eq(store.signal_load),
            units.retire.i.p.signal_execute.eq(store.signal_execute),
            units.pack.order.valid.eq(taken & writes),
            units.maxima.i.valid.eq(taken & reduces),
            units.maxima.i.p.by_column.eq(absmax.axis == Axis.COLUMN),
        ]
        for name in ("merge", "to_dram", "to_scales", "to_updates", "scale_base", "update_base"):
            m.d.comb += getattr(units.maxima.i.p, name).eq(getattr(absmax, name))
        self._matrix(m, store, absmax, reduces)
        self._region(m, store, absmax, reduces)
        factor = Signal(exact_log2(self._config.row_scale_depth), reset_less=True)
        with m.If(taken):
            m.d.sync += factor.eq(absmax.factor)
        return factor

    def _matrix(self, m: Module, store: Any, absmax: Any, reduces: Signal) -> None:
        """Say which words are read and what is done with them."""
        matrix = m.submodules.walk.i.p
        control = matrix.control
        for name in ("rows", "columns", "base", "row_stride", "block_stride", "row_scale"):
            m.d.comb += getattr(matrix, name).eq(
                Mux(reduces, getattr(absmax, name), getattr(store, name))
            )
        by_both = store.format == Format.INT8_ROW_COLUMN
        updates = absmax.to_updates & (absmax.axis != Axis.COLUMN)
        m.d.comb += [
            matrix.column_scale.eq(store.column_scale),
            matrix.noise_row.eq(store.origin_row),
            matrix.noise_column.eq(store.origin_column),
            matrix.one_scale.eq(~reduces & (store.format == Format.INT8_TENSOR)),
            matrix.by_block.eq(control.by_column),
            control.sums.eq(~reduces & (store.format == Format.INT32)),
            control.narrow.eq(~reduces & (store.format != Format.INT32)),
            control.reduces.eq(reduces),
            control.by_column.eq(reduces & (absmax.axis == Axis.COLUMN)),
            control.tensor.eq(absmax.axis == Axis.TENSOR),
            control.rescaled.eq(Mux(reduces, absmax.scaled, by_both)),
            control.by_row.eq(
                (store.format == Format.INT8_ROW) | (store.format == Format.INT8_TENSOR)
            ),
            control.stochastic.eq(control.narrow & store.stochastic),
            control.to_dram.eq(absmax.to_dram),
            control.to_scales.eq(absmax.to_scales),
            control.needs_factor.eq(reduces & updates),
            control.needs_scales.eq(control.narrow | (reduces & (absmax.scaled | updates))),
            # The factor is kept in one register: until its user is through, no other may come.
            control.needs_maxima.eq(reduces & (absmax.merge | updates)),
        ]

    def _region(self, m: Module, store: Any, absmax: Any, reduces: Signal) -> None:
        """Say where the result goes, and in what form: rows, or one list of maxima."""
        bus = self._config.bus_bytes
        units = m.submodules
        row_bytes, narrow = Signal(19), Signal()
        m.d.comb += narrow.eq(store.format != Format.INT32)
        with m.If(~reduces):
            m.d.comb += row_bytes.eq(Mux(narrow, store.columns, 4 * store.columns))
        with m.Else():
            with m.Switch(absmax.axis):
                with m.Case(Axis.ROW):
                    m.d.comb += row_bytes.eq(4 * absmax.rows)
                with m.Case(Axis.COLUMN):
                    m.d.comb += row_bytes.eq(4 * absmax.columns)
                with m.Default():
                    m.d.comb += row_bytes.eq(4)
        region = units.retire.region
        m.d.comb += [
            region.beat.eq(Mux(reduces, absmax.dram, store.dram) >> exact_log2(bus)),
            region.pitch.eq(store.pitch >> exact_log2(bus)),
            region.rows.eq(Mux(reduces, 1, store.rows)),
            region.row_beats.eq((row_bytes + (bus - 1)) >> exact_log2(bus)),
            units.pack.order.p.eq(
                Mux(reduces, Kind.MAXIMA, Mux(narrow, Kind.NARROW, Kind.WIDE)),
            ),
        ]

    def _issue(self, m: Module, factor: Signal) -> Signal:
        """Return whether the walk's word is read: its half is free, and its way, and its scales."""
        walk, maxima = m.submodules.walk, m.submodules.maxima
        word, control = walk.o.p, walk.o.p.control
        issue, open_, free = Signal(), Signal(), Signal()
        known, asks, arrives = Signal(), Signal(), Signal()
        unfinished = Signal(range(INSTRUCTIONS + 1))
        unfinished_scales = Signal.like(unfinished)
        m.d.comb += [
            free.eq(
                walk.o.valid
                & ~(control.needs_scales & (unfinished_scales != 0))
                & ~(control.needs_maxima & (unfinished != 0))
            ),
            asks.eq(free & control.needs_factor & ~known),
            open_.eq(free & ~asks & self._room(m, issue)),
            issue.eq(open_ & ~self.half_busy.bit_select(word.address[-1], 1)),
            self.stalled_on_memory.eq(open_ & ~issue),
            walk.o.ready.eq(issue),
            self.read_enable.eq(issue),
            self.read_address.eq(word.address),
        ]
        # Entries that an absmax makes count as unmade from its last word until they are written.
        ends = issue & word.end & control.reduces
        m.d.sync += [
            unfinished.eq(unfinished + ends - maxima.done),
            unfinished_scales.eq(
                unfinished_scales + (ends & control.to_scales) - maxima.done_scales
            ),
            known.eq((known | asks) & ~(issue & word.end)),
            arrives.eq(asks),
        ]
        kept = Signal(SCALE, name="factor_entry", reset_less=True)
        m.submodules.row_scales = rows = Sram(
            self._config.row_scale_depth, SCALE.size, self._builder
        )
        m.d.comb += [
            rows.read_enable.eq(issue | asks),
            rows.read_address.eq(Mux(asks, factor, word.row_scale)),
            maxima.factor.eq(kept),
        ]
        with m.If(arrives):
            m.d.sync += kept.eq(rows.read_data)
        return issue

    def _room(self, m: Module, issue: Signal) -> Signal:
        """Return whether there will be a place for what the walk's word makes."""
        out, maxima, word = m.submodules.pack, m.submodules.maxima, m.submodules.walk.o.p
        control = word.control
        makes_maximum, by_row, block_inside = Signal(), Signal(), Signal()
        m.d.comb += [
            makes_maximum.eq(control.reduces & Mux(control.tensor, word.end, word.last)),
            by_row.eq(makes_maximum & control.to_dram & ~control.by_column),
        ]
        # Maxima of a block leave the lanes one by one; no other may come in between.
        with m.If(issue & makes_maximum & control.by_column):
            m.d.sync += block_inside.eq(1)
        with m.Elif(maxima.block_released):
            m.d.sync += block_inside.eq(0)
        full = []
        for kind, wants, claims, taken in (
            (Kind.WIDE, control.sums, issue & control.sums, out.wide_taken),
            (Kind.NARROW, control.narrow, issue & control.narrow, out.narrow_taken),
            (Kind.MAXIMA, by_row, (issue & by_row) | maxima.claims, out.maxima_taken),
        ):
            name = kind.name.lower()
            used = Signal(range(self._depths[kind] + 1), name=f"{name}_used")
            m.d.sync += used.eq(used + claims - taken)
            full.append(wants & (used == self._depths[kind]))
            if kind is Kind.MAXIMA:
                m.d.comb += maxima.room.eq(used != self._depths[kind])
        room = Signal()
        m.d.comb += room.eq(~(Cat(full).any() | (makes_maximum & block_inside)))
        return room

    def _lanes(self, m: Module, later: Later) -> list[Any]:
        """Place the lanes, and give each what its word brings along; see `PostLane` for when."""
        config, word = self._config, later.word
        noise_start, noise_row = Signal(), Signal(16, reset_less=True)
        m.d.comb += noise_start.eq(later.valid[0] & word[0].control.stochastic)
        with m.If(noise_start):
            m.d.sync += noise_row.eq(word[0].noise_row)
        counted, column_valid, load = Signal(range(config.columns + 1)), Signal(), Signal()
        with m.If(later.valid[RESULT] & word[RESULT].control.narrow):
            m.d.comb += counted.eq(word[RESULT].lanes)
        m.d.comb += [
            column_valid.eq(later.valid[MAGNITUDE] & word[MAGNITUDE].control.by_column),
            load.eq(later.valid[LEAD] & word[LEAD].control.by_column & word[LEAD].last),
        ]
        lanes = []
        for column in range(config.columns):
            lane = self._builder.place(
                m, f"lane_{column}", "cdmqta_post_lane", lambda: PostLane(config)
            )
            m.d.comb += [
                lane.lane.eq(column),
                lane.keys.eq(m.submodules.keys.keys),
                lane.noise_start.eq(noise_start),
                lane.noise_column.eq(word[0].noise_column),
                lane.noise_row.eq(noise_row),
                lane.value.eq(self.read_data.word_select(column, 32)),
                lane.rescaled.eq(word[1].control.rescaled),
                lane.by_row.eq(word[SUM].control.by_row),
                lane.stochastic.eq(word[SUM + 1].control.stochastic),
                lane.lanes.eq(counted),
                lane.column_valid.eq(column_valid),
                lane.column_first.eq(word[MAGNITUDE].first),
                lane.load.eq(load),
                lane.shift.eq(m.submodules.maxima.shift),
            ]
            if lanes:
                m.d.comb += lanes[-1].chain_in.eq(lane.chain_out)
            lanes.append(lane)
        return lanes

    def _scales(self, m: Module, later: Later, lanes: list[Any]) -> None:
        """Write the scale memories, and give each word its entries."""
        config, maxima, rows = self._config, m.submodules.maxima, m.submodules.row_scales
        m.submodules.column_scales = columns = Sram(
            config.column_scale_depth,
            SCALE.size * config.columns,
            self._builder,
            granularity=SCALE.size,
        )
        row, column = maxima.row_scale, Signal(lane_entry_layout(config), name="column_entry")
        m.d.comb += [
            self.row_scale.ready.eq(~row.valid),
            rows.write_enable.eq(row.valid | self.row_scale.valid),
            rows.write_address.eq(Mux(row.valid, row.p.address, self.row_scale.p.address)),
            rows.write_data.eq(Mux(row.valid, row.p.data, self.row_scale.p.data)),
            self.column_scale.ready.eq(~maxima.column_scale.valid),
            column.eq(Mux(maxima.column_scale.valid, maxima.column_scale.p, self.column_scale.p)),
            columns.write_enable.eq(
                Mux(
                    maxima.column_scale.valid | self.column_scale.valid,
                    Cat(column.lane == lane for lane in range(config.columns)),
                    0,
                )
            ),
            columns.write_address.eq(column.address),
            columns.write_data.eq(column.data.replicate(config.columns)),
            columns.read_enable.eq(later.valid[STAGE]),
            columns.read_address.eq(later.word[STAGE].column_scale),
        ]
        row_later = delayed(m, rows.read_data, STAGE, "row_scales_later")
        for index, lane in enumerate(lanes):
            m.d.comb += [
                lane.rescale_scale.eq(rows.read_data),
                lane.row_scale.eq(row_later),
                lane.column_scale.eq(columns.read_data.word_select(index, SCALE.size)),
            ]

    def _collect(self, m: Module, later: Later, lanes: list[Any]) -> None:
        """Queue whatever goes to DRAM."""
        out, maxima = m.submodules.pack, m.submodules.maxima
        sums, results = later.word[SUM], later.word[RESULT]
        m.d.comb += [
            out.wide.chunk.data.eq(pack([lane.sum for lane in lanes])),
            out.wide.chunk.count.eq(4 * sums.lanes),
            out.wide.chunk.last.eq(sums.last),
            out.wide.end.eq(sums.end),
            out.wide_valid.eq(later.valid[SUM] & sums.control.sums),
            out.narrow.chunk.data.eq(pack([lane.result for lane in lanes])),
            out.narrow.chunk.count.eq(results.lanes),
            out.narrow.chunk.last.eq(results.last),
            out.narrow.end.eq(results.end),
            out.narrow_valid.eq(later.valid[RESULT] & results.control.narrow),
            out.maxima.chunk.data.eq(maxima.dram),
            out.maxima.chunk.count.eq(MAXIMUM_BYTES),
            out.maxima.chunk.last.eq(maxima.dram_end),
            out.maxima.end.eq(maxima.dram_end),
            out.maxima_valid.eq(maxima.dram_valid),
        ]
        connect(m, out.o, wiring.flipped(self.beats))

    def _reduce(self, m: Module, later: Later, lanes: list[Any]) -> None:
        """Find maxima of rows, and take those of columns out of the lanes."""
        tree, maxima = m.submodules.row_maximum, m.submodules.maxima
        word, block = later.word[MAGNITUDE], later.word[LEAD]
        m.d.comb += [
            tree.magnitudes.eq(pack([lane.magnitude for lane in lanes])),
            tree.valid.eq(later.valid[MAGNITUDE] & word.control.reduces & ~word.control.by_column),
            tree.first.eq(Mux(word.control.tensor, word.start, word.first)),
            tree.last.eq(Mux(word.control.tensor, word.end, word.last)),
            maxima.row_valid.eq(tree.maximum_valid),
            maxima.row.eq(tree.maximum),
            maxima.row_end.eq(later.word[ROW_MAXIMUM].end),
            maxima.block_valid.eq(lanes[0].load),
            maxima.block_lanes.eq(block.lanes),
            maxima.block_end.eq(block.end),
            maxima.column.eq(lanes[0].chain_out),
        ]

    def _count(self, m: Module, lanes: list[Any]) -> None:
        """Add the lanes that were limited, in two stages of adders."""
        flags, group = [lane.saturated for lane in lanes], 8
        sums = []
        for start in range(0, len(flags), group):
            some = Signal(range(group + 1), name=f"saturated_{start}")
            m.d.sync += some.eq(sum(flags[start : start + group]))
            sums.append(some)
        m.d.sync += self.saturations.eq(sum(sums))

    def _outside(self, m: Module) -> None:
        """Wire bursts, entries and ends to the ports."""
        retire, maxima = m.submodules.retire, m.submodules.maxima
        connect(m, retire.bursts, wiring.flipped(self.bursts))
        m.d.comb += [
            retire.answered.eq(self.answered),
            retire.maxima_done.eq(maxima.done),
            self.end.eq(retire.end),
            self.signal_load.eq(retire.signal_load),
            self.signal_execute.eq(retire.signal_execute),
            self.busy.eq(retire.busy),
            self.accumulate_scale.valid.eq(maxima.update.valid),
            self.accumulate_scale.p.eq(maxima.update.p),
            self.stalled_on_dram.eq(
                (self.bursts.valid & ~self.bursts.ready) | (self.beats.valid & ~self.beats.ready)
            ),
        ]


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
