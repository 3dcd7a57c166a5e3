"""The execute engine: folds, feed, edges, array and accumulator, connected as the data flows."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import exact_log2

from .accumulate import Accumulate
from .array import Array
from .buffer import Buffer, write_layout
from .edge import Edge
from .feed import Feed
from .isa.config import Config
from .isa.instructions import Execute
from .isa.pipeline import inside_depth
from .layout import SCALE, instruction_layout
from .load import entry_layout
from .shared import Builder
from .sram import Sram
from .walk import Walk

__all__ = ["ExecuteEngine"]


class ExecuteEngine(wiring.Component):
    """The array with its operand memories and its output memory.

    Members
    -------
    i : In(stream of the Execute layout)
        Instructions whose tokens are taken.
    write_left, write_right, write_scale : In(streams)
        Writes of the load engine into the input, weight and accumulate-scale memories.
    write_update : In(stream of entry_layout)
        Writes of the store engine into the accumulate-scale memory; never refused, before those of
        the load engine.
    read_enable, read_address, read_data, half_busy, half_used
        Port of the store engine to the output memory, see `hw.accumulate.Accumulate`.
    read_end, signal_load : Out(1)
        The last operand of an instruction is read; a token to LOAD.
    end, signal_store : Out(1)
        The last result of an instruction is written; a token to STORE.
    busy : Out(1)
        An instruction is in here.
    fed, array_fed, written : Out(1); macs, accumulate_saturations : Out
        For the counters: an operand is read, a wave is issued, a result row is written; useful
        products issued, scaled sums limited.
    left_reads, left_writes, right_reads, right_writes : Out(2)
        Banks of the input and the weight memory in use, see `hw.buffer.Buffer`; for timelines.
    moves : Out(1)
        An operand is read, or what was read may still be on its way to the output memory.
    """

    def __init__(self, config: Config, builder: Builder) -> None:
        self._config, self._builder = config, builder
        left = write_layout(config.input_depth, 8 * config.rows, config.macs_per_element)
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(Execute))),
                "write_left": In(stream.Signature(left)),
                "write_right": In(
                    stream.Signature(write_layout(config.weight_depth, 8 * config.columns))
                ),
                "write_scale": In(stream.Signature(entry_layout(config.accumulate_scale_depth))),
                "write_update": In(stream.Signature(entry_layout(config.accumulate_scale_depth))),
                "read_enable": In(1),
                "read_address": In(exact_log2(config.output_depth) + 1),
                "read_data": Out(32 * config.columns),
                "half_busy": Out(2),
                "half_used": Out(2),
                "read_end": Out(1),
                "signal_load": Out(1),
                "end": Out(1),
                "signal_store": Out(1),
                "busy": Out(1),
                "fed": Out(1),
                "array_fed": Out(1),
                "written": Out(1),
                "left_reads": Out(2),
                "left_writes": Out(2),
                "right_reads": Out(2),
                "right_writes": Out(2),
                "moves": Out(1),
                "macs": Out(range(config.macs_per_cycle + 1)),
                "accumulate_saturations": Out(range(config.columns + 1)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config, builder = self._config, self._builder
        m.submodules.walk = walk = Walk(config)
        m.submodules.feed = feed = Feed(config)
        together = config.macs_per_element
        m.submodules.left = left = Buffer(
            config.input_depth, 8 * config.rows, builder, together, wide=True
        )
        m.submodules.right = right = Buffer(
            config.weight_depth, 8 * config.columns, builder, together
        )
        m.submodules.scales = scales = Sram(config.accumulate_scale_depth, SCALE.size, builder)
        m.submodules.edge = edge = Edge(config)
        m.submodules.array = array = Array(config, builder)
        m.submodules.accumulate = accumulate = Accumulate(config, builder)

        tokens = self._tokens(m, feed, accumulate)
        m.d.comb += [
            walk.i.p.eq(self.i.p),
            walk.i.valid.eq(self.i.valid & tokens.w_rdy),
            self.i.ready.eq(walk.i.ready & tokens.w_rdy),
        ]
        connect(m, walk.o, feed.i)
        connect(m, wiring.flipped(self.write_left), left.write)
        connect(m, wiring.flipped(self.write_right), right.write)
        update, scale = self.write_update, self.write_scale
        m.d.comb += [
            update.ready.eq(1),
            scale.ready.eq(~update.valid),
            scales.write_enable.eq(update.valid | scale.valid),
            scales.write_address.eq(Mux(update.valid, update.p.address, scale.p.address)),
            scales.write_data.eq(Mux(update.valid, update.p.data, scale.p.data)),
            scales.read_enable.eq(feed.scale_enable),
            scales.read_address.eq(feed.scale_address),
            feed.scale_data.eq(scales.read_data),
            left.read_enable.eq(feed.left_enable),
            left.read_address.eq(feed.left_address),
            right.read_enable.eq(feed.right_enable),
            right.read_address.eq(feed.right_address),
            edge.left.eq(left.read_data),
            edge.right.eq(right.read_data),
            self.left_reads.eq(left.reads),
            self.left_writes.eq(left.writes),
            self.right_reads.eq(right.reads),
            self.right_writes.eq(right.writes),
            edge.left_enable.eq(feed.left_valid),
            edge.right_enable.eq(feed.right_valid),
            array.a_in.eq(edge.a),
            array.control_in.eq(edge.control),
            array.b_in.eq(edge.b),
            accumulate.sums.eq(array.p_out),
            accumulate.operation.eq(feed.operation),
        ]
        for name in ("wave", "os", "first", "last", "load_first", "load_last"):
            m.d.comb += getattr(edge, name).eq(getattr(feed, name))
        self._outside(m, feed, accumulate)
        self._moves(m, feed)
        return m

    def _outside(self, m: Module, feed: Feed, accumulate: Accumulate) -> None:
        """Connect the store engine's port and everything the controller hears of."""
        m.d.comb += [
            accumulate.read_enable.eq(self.read_enable),
            accumulate.read_address.eq(self.read_address),
            self.read_data.eq(accumulate.read_data),
            self.half_busy.eq(accumulate.half_busy),
            self.half_used.eq(accumulate.half_used),
            self.read_end.eq(feed.read_end),
            self.end.eq(accumulate.written_end),
            self.signal_store.eq(accumulate.written_signal_store),
            self.fed.eq(feed.fed),
            self.array_fed.eq(feed.wave),
            self.written.eq(accumulate.written),
            self.macs.eq(feed.macs),
            self.accumulate_saturations.eq(accumulate.saturations),
        ]

    def _moves(self, m: Module, feed: Feed) -> None:
        """Count down the longest way from a read to the last result of it; see docs/pipeline.md.

        The loading of a tile whose last rows are not read is no longer.
        """
        way = 2 * self._config.rows + self._config.columns + 16 + self._config.product_register
        left = Signal(range(way + 1), name="way_left")
        with m.If(feed.fed):
            m.d.sync += left.eq(way)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.comb += self.moves.eq(feed.fed | (left != 0))

    def _tokens(self, m: Module, feed: Feed, accumulate: Accumulate) -> SyncFIFO:
        """Send tokens to LOAD in program order; return the queue of instructions in here.

        An instruction frees its operands with its last read, but one that scales also reads the
        scale memory, until its last result is written. The instructions behind it wait with
        their tokens, or the load engine would take one of theirs for its.
        """
        limit = inside_depth(self._config.rows, self._config.columns)
        ahead = limit - 2
        m.submodules.inside = inside = SyncFIFO(width=2, depth=limit)
        read, written, oldest_done = (
            Signal(range(-limit - ahead, limit + ahead + 1)) for _ in range(3)
        )
        signals, scales = inside.r_data[0], inside.r_data[1]
        m.d.comb += [
            inside.w_data.eq(Cat(self.i.p.signal_load, self.i.p.scale)),
            inside.w_en.eq(self.i.valid & self.i.ready),
            oldest_done.eq(Mux(scales, written, read)),
            inside.r_en.eq(inside.r_rdy & (oldest_done > 0)),
            self.signal_load.eq(inside.r_en & signals),
        ]
        # Ends of the oldest instruction and those behind it that have not left the queue.
        m.d.sync += [
            read.eq(read + feed.read_end - inside.r_en),
            written.eq(written + accumulate.written_end - inside.r_en),
        ]
        m.d.comb += self.busy.eq(inside.r_rdy | (written != 0))
        return inside
