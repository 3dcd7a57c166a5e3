"""What becomes of absolute maxima: merged with those of other tiles, written, made into scales."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .edge import delayed, delayed_where, valid_line
from .isa.config import Config
from .isa.pipeline import BLOCK_LEAD
from .layout import SCALE
from .load import entry_layout, lane_entry_layout
from .scales import FreshEntry, UpdateEntry
from .shared import Builder
from .sram import Sram

__all__ = ["Maxima", "use_layout"]


def use_layout(config: Config) -> data.StructLayout:
    """Return what an instruction does with its maxima."""
    places = max(exact_log2(config.row_scale_depth), exact_log2(config.column_scale_depth))
    return data.StructLayout(
        {
            "by_column": 1,
            "merge": 1,
            "to_dram": 1,
            "to_scales": 1,
            "to_updates": 1,
            "scale_base": places,
            "update_base": exact_log2(config.accumulate_scale_depth),
        }
    )


class Maxima(wiring.Component):
    """Merge maxima, one a cycle, keep them, and pass them on.

    Parameters
    ----------
    instructions : int
        Instructions inside at most.

    Members
    -------
    i : In(stream of use_layout)
        Instructions in program order, before their first maximum.
    row_valid, row_end : In(1); row : In(32)
        The maximum of a row or tensor; the last of its instruction.
    block_valid, block_end : In(1); block_lanes : In
        The lanes' queue takes a block of column maxima in this cycle. It must be free.
    column : In(32); shift : Out(1)
        The queue's head is taken. It moves unless a maximum of a row comes, or `room` is lacking.
    block_released : Out(1)
        The block will be through when a word read from the next cycle on ends another.
    room : In(1)
        There is a place for a column maximum on its way to DRAM.
    claims : Out(1)
        A column maximum that goes to DRAM is taken.
    dram_valid, dram_end : Out(1); dram : Out(32)
        A maximum to write; the last of its instruction.
    factor : In(SCALE)
        Of the instruction that makes updates; there is one inside at most.
    row_scale, column_scale, update : Out(streams of entries)
        Entries made; they must be taken.
    done, done_scales : Out(1)
        An instruction has left; it made scales.
    moves : Out(1)
        A maximum or an entry passes.

    Timing
    ------
    A maximum is in `dram` 2 cycles after it came, its entry FreshEntry.LATENCY or
    UpdateEntry.LATENCY later.
    """

    def __init__(self, config: Config, builder: Builder, instructions: int) -> None:
        self._config, self._builder, self._instructions = config, builder, instructions
        update_entry = entry_layout(config.accumulate_scale_depth)
        super().__init__(
            {
                "i": In(stream.Signature(use_layout(config))),
                "row_valid": In(1),
                "row_end": In(1),
                "row": In(32),
                "block_valid": In(1),
                "block_end": In(1),
                "block_lanes": In(range(config.columns + 1)),
                "column": In(32),
                "shift": Out(1),
                "block_released": Out(1),
                "room": In(1),
                "claims": Out(1),
                "dram_valid": Out(1),
                "dram_end": Out(1),
                "dram": Out(32),
                "factor": In(SCALE),
                "row_scale": Out(stream.Signature(entry_layout(config.row_scale_depth))),
                "column_scale": Out(stream.Signature(lane_entry_layout(config))),
                "update": Out(stream.Signature(update_entry)),
                "done": Out(1),
                "done_scales": Out(1),
                "moves": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        layout = use_layout(self._config)
        m.submodules.uses = uses = SyncFIFOBuffered(width=layout.size, depth=self._instructions)
        use = layout(uses.r_data)
        lane, block_end, lane_end = self._serialise(m, use)
        valid, end, step = Signal(), Signal(), Signal()
        offset = Signal(16)
        m.d.comb += [
            uses.w_data.eq(self.i.p),
            uses.w_en.eq(self.i.valid),
            self.i.ready.eq(uses.w_rdy),
            uses.r_en.eq(end),
            valid.eq(self.row_valid | self.shift),
            self.moves.eq(
                valid | self.row_scale.valid | self.column_scale.valid | self.update.valid
            ),
            step.eq(self.row_valid | lane_end),
            end.eq(Mux(self.row_valid, self.row_end, lane_end & block_end)),
        ]
        with m.If(end):
            m.d.sync += offset.eq(0)
        with m.Elif(step):
            m.d.sync += offset.eq(offset + 1)
        tag = self._tag(m, use, lane, offset, end)
        merged, merged_tag, merged_valid = self._merge(m, valid, tag)
        m.d.comb += [
            self.dram.eq(merged),
            self.dram_valid.eq(merged_valid & merged_tag.use.to_dram),
            self.dram_end.eq(merged_tag.end),
        ]
        self._entries(m, merged, merged_tag, merged_valid)
        return m

    def _serialise(self, m: Module, use: Any) -> tuple[Signal, Signal, Signal]:
        """Empty the lanes' queue; return its lane, whether it ends a matrix, and if it ends now."""
        left, lane = Signal(range(self._config.columns + 1)), Signal(range(self._config.columns))
        block_end, lane_end = Signal(reset_less=True), Signal()
        released = Signal()
        m.d.comb += [
            self.shift.eq((left != 0) & ~self.row_valid & (~use.to_dram | self.room)),
            self.claims.eq(self.shift & use.to_dram),
            lane_end.eq(self.shift & (left == 1)),
            # Without DRAM nothing holds the queue up: what it has takes `left` cycles, the last of
            # which may be that of the next load, BLOCK_LEAD + 1 cycles from now at the earliest.
            self.block_released.eq(
                self.shift & ~released & Mux(use.to_dram, left == 1, left <= BLOCK_LEAD + 2)
            ),
        ]
        with m.If(self.shift):
            m.d.sync += [left.eq(left - 1), lane.eq(lane + 1)]
        with m.If(self.block_valid):
            m.d.sync += [left.eq(self.block_lanes), lane.eq(0), block_end.eq(self.block_end)]
            m.d.sync += released.eq(0)
        with m.Elif(self.block_released):
            m.d.sync += released.eq(1)
        return lane, block_end, lane_end

    def _tag(self, m: Module, use: Any, lane: Signal, offset: Signal, end: Signal) -> Any:
        """Return what goes along with a maximum."""
        config = self._config
        layout = data.StructLayout(
            {
                "use": use_layout(config),
                "row_place": exact_log2(config.row_scale_depth),
                "column_place": exact_log2(config.column_scale_depth),
                "lane": range(config.columns),
                "update_place": exact_log2(config.accumulate_scale_depth),
                "end": 1,
            }
        )
        tag = Signal(layout)
        m.d.comb += [
            tag.use.eq(use),
            tag.row_place.eq(use.scale_base + offset),
            tag.column_place.eq(use.scale_base + offset),
            tag.lane.eq(lane),
            tag.update_place.eq(use.update_base + offset),
            tag.end.eq(end),
        ]
        return tag

    def _merge(self, m: Module, valid: Signal, tag: Any) -> tuple[Signal, Any, Signal]:
        """Read the maximum of the same place, and write back the greater one."""
        config = self._config
        m.submodules.row_maxima = rows = Sram(config.row_scale_depth, 32, self._builder)
        m.submodules.column_maxima = columns = Sram(
            config.column_scale_depth * config.columns, 32, self._builder
        )
        value, merged = Signal(32, reset_less=True), Signal(32, reset_less=True)
        old = Signal(32)
        tags = [tag, Signal.like(tag, name="tag_1", reset_less=True)]
        tags.append(Signal.like(tag, name="tag_2", reset_less=True))
        counts = [valid, Signal(name="valid_1"), Signal(name="valid_2")]
        for stage in range(2):
            m.d.sync += counts[stage + 1].eq(counts[stage])
            with m.If(counts[stage]):
                m.d.sync += tags[stage + 1].eq(tags[stage])
        reads, writes = valid & tag.use.merge, counts[2]
        by_column, write_column = tag.use.by_column, tags[2].use.by_column
        with m.If(counts[0]):
            m.d.sync += value.eq(Mux(self.row_valid, self.row, self.column))
        with m.If(counts[1]):
            m.d.sync += merged.eq(Mux(tags[1].use.merge & (old > value), old, value))
        m.d.comb += [
            old.eq(Mux(tags[1].use.by_column, columns.read_data, rows.read_data)),
            rows.read_enable.eq(reads & ~by_column),
            rows.read_address.eq(tag.row_place),
            rows.write_enable.eq(writes & ~write_column),
            rows.write_address.eq(tags[2].row_place),
            rows.write_data.eq(merged),
            # Lane above word: no place is left out whatever the number of lanes is.
            columns.read_enable.eq(reads & by_column),
            columns.read_address.eq(Cat(tag.column_place, tag.lane)),
            columns.write_enable.eq(writes & write_column),
            columns.write_address.eq(Cat(tags[2].column_place, tags[2].lane)),
            columns.write_data.eq(merged),
        ]
        return merged, tags[2], counts[2]

    def _entries(self, m: Module, merged: Signal, tag: Any, valid: Signal) -> None:
        """Make the entries of maxima and say where they belong."""
        m.submodules.fresh = fresh = FreshEntry()
        m.submodules.updated = updated = UpdateEntry()
        use = tag.use
        last = FreshEntry.LATENCY
        flags = Cat(
            valid & use.to_scales & ~use.by_column,
            valid & use.to_scales & use.by_column,
            valid & tag.end,
            valid & tag.end & use.to_scales,
        )
        flags_later = delayed(m, flags, last, "flags_later", reset=True)
        makes_scale, makes_update = valid & use.to_scales, valid & use.to_updates
        scales = valid_line(m, makes_scale, last, "scales_made")
        updates = valid_line(m, makes_update, UpdateEntry.LATENCY, "updates_made")
        m.d.comb += [
            fresh.maximum.eq(merged),
            fresh.valid.eq(makes_scale),
            updated.maximum.eq(merged),
            updated.valid.eq(makes_update),
            updated.factor.eq(self.factor),
            Cat(self.row_scale.valid, self.column_scale.valid, self.done, self.done_scales).eq(
                flags_later
            ),
            self.row_scale.p.data.eq(fresh.entry),
            self.row_scale.p.address.eq(delayed_where(m, tag.row_place, scales, "row_places")),
            self.column_scale.p.data.eq(fresh.entry),
            self.column_scale.p.address.eq(
                delayed_where(m, tag.column_place, scales, "column_places")
            ),
            self.column_scale.p.lane.eq(delayed_where(m, tag.lane, scales, "lanes_later")),
            self.update.p.data.eq(updated.entry),
            self.update.p.address.eq(delayed_where(m, tag.update_place, updates, "update_places")),
            self.update.valid.eq(
                delayed(m, makes_update, UpdateEntry.LATENCY, "updates_later", reset=True)
            ),
        ]
