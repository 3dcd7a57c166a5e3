"""The store engine: the output memory to DRAM, as sums, requantised, or as absolute maxima."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import bits_for, exact_log2

from .absmax import RowMaximum
from .array import pack, total
from .axi import beat_layout
from .bursts import burst_layout
from .edge import delayed_where
from .isa.config import Config
from .isa.pipeline import (
    BLOCK_LEAD,
    MAGNITUDE,
    MAXIMA_DEPTH,
    MAXIMUM_BYTES,
    NARROW_DEPTH,
    RECODE,
    RESULT,
    ROW_MAXIMUM,
    STORES,
    SUM,
    Kind,
    wide_depth,
)
from .later import Later
from .layout import INSTRUCTION_BITS, SCALE
from .load import entry_layout, lane_group_layout
from .maxima import Maxima
from .multiply import RECODED, recoded
from .noise import Keys, place_layout
from .pack import Pack
from .postlane import PostLane
from .retire import Retire
from .rowwalk import RowWalk
from .shared import Builder
from .sram import Sram
from .storedecode import StoreDecode
from .storegate import StoreGate

__all__ = ["StoreEngine"]


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
    read_enable, read_address, read_data, half_busy, half_used
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
    moves : Out(1)
        A word is read, or a maximum or an entry passes.
    stalled_on_dram, stalled_on_memory : Out(1)
        A beat or burst waits to be taken; a word waits for a busy half only.

    Timing
    ------
    INT8 rows and words for maxima pass at one a cycle, sums at the rate of the bus. Words that are
    rescaled and requantised pass the lanes' multipliers twice, at one in two cycles. A block of
    column maxima of n lanes needs n cycles, BLOCK_LEAD + 2 at least, in which the next block is
    read.
    """

    def __init__(self, config: Config, builder: Builder) -> None:
        self._config, self._builder = config, builder
        wide = wide_depth(config.bus_bytes, config.columns)
        self._depths = {Kind.WIDE: wide, Kind.NARROW: NARROW_DEPTH, Kind.MAXIMA: MAXIMA_DEPTH}
        update_entry = entry_layout(config.accumulate_scale_depth)
        super().__init__(
            {
                "i": In(stream.Signature(INSTRUCTION_BITS)),
                "row_scale": In(stream.Signature(entry_layout(config.row_scale_depth))),
                "column_scale": In(stream.Signature(lane_group_layout(config))),
                "accumulate_scale": Out(stream.Signature(update_entry)),
                "seed": In(32),
                "read_enable": Out(1),
                "read_address": Out(exact_log2(config.output_depth) + 1),
                "read_data": In(32 * config.columns),
                "half_busy": In(2),
                "half_used": In(2),
                "bursts": Out(stream.Signature(burst_layout(config))),
                "beats": Out(stream.Signature(beat_layout(config))),
                "answered": In(1),
                "end": Out(1),
                "signal_load": Out(1),
                "signal_execute": Out(1),
                "busy": Out(1),
                "saturations": Out(range(config.columns + 1)),
                "moves": Out(1),
                "stalled_on_dram": Out(1),
                "stalled_on_memory": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self._config
        m.submodules.walk = RowWalk(config)
        m.submodules.retire = Retire(config, STORES)
        m.submodules.pack = Pack(config, self._depths, STORES)
        m.submodules.maxima = Maxima(config, self._builder, STORES)
        m.submodules.row_maximum = RowMaximum(config)
        m.submodules.keys = keys = Keys()
        m.submodules.gate = StoreGate(config, self._depths, STORES)
        m.submodules.decode = decode = StoreDecode(config)
        # The seed holds still while an instruction is in here.
        m.d.comb += [keys.seed.eq(self.seed), keys.takes.eq(self.i.valid & self.i.ready)]
        self._accept(m, decode)
        later = self._read(m, decode)
        lanes = self._lanes(m, later)
        self._scales(m, later, lanes)
        self._collect(m, later, lanes)
        self._reduce(m, later, lanes)
        self._count(m, lanes)
        self._outside(m)
        return m

    def _accept(self, m: Module, decode: StoreDecode) -> None:
        """Hand an instruction to every unit that has a part in it."""
        units = m.submodules
        targets = (units.walk.i, units.retire.i, units.pack.order, units.maxima.i)
        taken = Signal()
        m.d.comb += [
            decode.i.eq(self.i.p),
            self.i.ready.eq(Cat(target.ready for target in targets).all()),
            taken.eq(self.i.valid & self.i.ready),
            units.walk.i.valid.eq(taken),
            units.walk.i.p.eq(decode.matrix),
            units.retire.i.valid.eq(taken),
            units.retire.i.p.eq(decode.ending),
            units.retire.region.eq(decode.region),
            units.pack.order.valid.eq(taken & decode.writes),
            units.pack.order.p.eq(decode.kind),
            units.maxima.i.valid.eq(taken & decode.reduces),
            units.maxima.i.p.eq(decode.use),
        ]

    def _read(self, m: Module, decode: StoreDecode) -> Later:
        """Read the walk's words, and the factor of an instruction before its first."""
        units, gate = m.submodules, m.submodules.gate
        word = units.walk.o.p
        m.d.comb += [
            gate.word.eq(word),
            gate.valid.eq(units.walk.o.valid),
            gate.half_busy.eq(self.half_busy),
            gate.half_used.eq(self.half_used),
            gate.column_claims.eq(units.maxima.claims),
            units.maxima.room.eq(gate.column_room),
            gate.block_released.eq(units.maxima.block_released),
            gate.done.eq(units.maxima.done),
            gate.done_scales.eq(units.maxima.done_scales),
            units.walk.o.ready.eq(gate.reads),
            self.read_enable.eq(gate.reads),
            self.read_address.eq(word.address),
        ]
        for kind in Kind:
            name = f"{kind.name.lower()}_taken"
            m.d.comb += getattr(gate, name).eq(getattr(units.pack, name))
        units.row_scales = rows = Sram(self._config.row_scale_depth, SCALE.size, self._builder)
        place, arrives = Signal.like(decode.factor, reset_less=True), Signal()
        factor = Signal(SCALE, reset_less=True)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += place.eq(decode.factor)
        m.d.sync += arrives.eq(gate.reads_factor)
        with m.If(arrives):
            m.d.sync += factor.eq(rows.read_data)
        m.d.comb += [
            rows.read_enable.eq(gate.reads | gate.reads_factor),
            rows.read_address.eq(Mux(gate.reads_factor, place, word.row_scale)),
            units.maxima.factor.eq(factor),
        ]
        return Later(m, word, units.walk.o.valid, gate.reads, ROW_MAXIMUM)

    def _lanes(self, m: Module, later: Later) -> list[Any]:
        """Place the lanes, and give each what its word brings along; see `PostLane` for when."""
        config, word = self._config, later.word
        place = Signal(place_layout(config), reset_less=True)
        with m.If(later.valid[1] & word[1].control.stochastic):
            m.d.sync += [
                place.row.eq(word[1].noise_row),
                place.column.eq(word[1].noise_column),
                place.above.eq((word[1].noise_column >> bits_for(config.columns - 1)) + 1),
            ]
        counted, column_valid = Signal(range(config.columns + 1)), Signal()
        with m.If(later.valid[RESULT] & word[RESULT].control.narrow):
            m.d.comb += counted.eq(word[RESULT].lanes)
        m.d.comb += column_valid.eq(later.valid[MAGNITUDE] & word[MAGNITUDE].control.by_column)
        valid = Cat(later.valid[1 : SUM - RECODE + 1])
        narrow = later.where(m, "narrow", SUM - RECODE, RESULT - 1)
        stochastic = later.where(m, "stochastic", 2, SUM + 1)
        reduces = later.where(m, "reduces", SUM, SUM)
        lanes = []
        for column in range(config.columns):
            lane = self._builder.place(
                m, f"lane_{column}", "cdmqta_post_lane", lambda: PostLane(config, self._builder)
            )
            m.d.comb += [
                lane.lane.eq(column),
                lane.keys.eq(m.submodules.keys.keys),
                lane.place.eq(place),
                lane.valid.eq(valid),
                lane.narrow.eq(narrow),
                lane.stochastic.eq(stochastic),
                lane.reduces.eq(reduces),
                lane.value.eq(self.read_data.word_select(column, 32)),
                lane.by_row.eq(word[SUM - RECODE].control.by_row),
                lane.lanes.eq(counted),
                lane.column_valid.eq(column_valid),
                lane.column_first.eq(word[MAGNITUDE].first),
                lane.load.eq(m.submodules.maxima.block_valid),
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
        row, made, loaded = maxima.row_scale, maxima.column_scale, self.column_scale
        group = len(loaded.p.given)
        reads = SUM - RECODE - 1
        enable, entries = Signal(config.columns), Signal(SCALE.size * group)
        m.d.comb += [
            self.row_scale.ready.eq(~row.valid),
            rows.write_enable.eq(row.valid | self.row_scale.valid),
            rows.write_address.eq(Mux(row.valid, row.p.address, self.row_scale.p.address)),
            rows.write_data.eq(Mux(row.valid, row.p.data, self.row_scale.p.data)),
            loaded.ready.eq(~made.valid),
            entries.eq(Mux(made.valid, made.p.data.replicate(group), loaded.p.data.as_value())),
            columns.write_enable.eq(enable),
            columns.write_address.eq(Mux(made.valid, made.p.address, loaded.p.address)),
            columns.write_data.eq(entries.replicate(config.columns // group)),
            columns.read_enable.eq(later.valid[reads]),
            columns.read_address.eq(later.word[reads].column_scale),
        ]
        for lane in range(config.columns):
            given = loaded.valid & loaded.p.given[lane % group] & (loaded.p.group == lane // group)
            m.d.comb += enable[lane].eq(Mux(made.valid, made.p.lane == lane, given))
        taken = later.valid[1 : 1 + reads]
        row_later = delayed_where(m, rows.read_data, taken, "row_scales_later")
        rescale = Signal(RECODED, reset_less=True)
        digits = recoded(m, SCALE(rows.read_data), "recoded")
        with m.If(later.valid[1] & later.word[1].control.rescaled):
            m.d.sync += rescale.eq(digits)
        for index, lane in enumerate(lanes):
            m.d.comb += [
                lane.rescaled.eq(later.word[1 + RECODE].control.rescaled),
                lane.rescale_scale.eq(rescale),
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
        word, block = later.word[MAGNITUDE], later.word[BLOCK_LEAD]
        m.d.comb += [
            tree.magnitudes.eq(pack([lane.magnitude for lane in lanes])),
            tree.valid.eq(later.valid[MAGNITUDE] & word.control.reduces & ~word.control.by_column),
            tree.first.eq(Mux(word.control.tensor, word.start, word.first)),
            tree.last.eq(Mux(word.control.tensor, word.end, word.last)),
            maxima.row_valid.eq(tree.maximum_valid),
            maxima.row.eq(tree.maximum),
            maxima.row_end.eq(later.word[ROW_MAXIMUM].end),
            maxima.block_valid.eq(later.valid[BLOCK_LEAD] & block.control.by_column & block.last),
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
            m.d.sync += some.eq(total(flags[start : start + group]))
            sums.append(some)
        m.d.sync += self.saturations.eq(total(sums))

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
            self.moves.eq(self.read_enable | maxima.moves),
            self.stalled_on_memory.eq(m.submodules.gate.stalled),
            self.accumulate_scale.valid.eq(maxima.update.valid),
            self.accumulate_scale.p.eq(maxima.update.p),
            self.stalled_on_dram.eq(
                (self.bursts.valid & ~self.bursts.ready) | (self.beats.valid & ~self.beats.ready)
            ),
        ]
