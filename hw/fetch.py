"""Fetch: from a program in DRAM to a stream of instruction words."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .bursts import Bursts, burst_layout
from .gearbox import Gearbox
from .isa.config import Config
from .isa.instructions import INSTRUCTION_BYTES
from .isa.pipeline import fetch_burst
from .layout import INSTRUCTION_BITS

__all__ = ["Fetch"]


class Fetch(wiring.Component):
    """Read the program ahead of its execution.

    Members
    -------
    start : In(1); base : In; length : In
        Begin at beat `base` (in bus words) with `length` instructions.
    bursts : Out(stream of burst_layout); beats : In(stream of one beat)
    o : Out(stream of an instruction word)
    idle : Out(1)
        Nothing is asked for or held.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._burst = fetch_burst(config.burst_beats, config.bus_bytes)
        super().__init__(
            {
                "start": In(1),
                "base": In(config.address_bits - exact_log2(config.bus_bytes)),
                "length": In(24),
                "bursts": Out(stream.Signature(burst_layout(config))),
                "beats": In(stream.Signature(8 * config.bus_bytes)),
                "o": Out(stream.Signature(INSTRUCTION_BITS)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self._config
        bus, room = config.bus_bytes, 4 * self._burst
        m.submodules.cutter = cutter = Bursts(config, self._burst)
        m.submodules.queue = queue = SyncFIFOBuffered(width=8 * bus, depth=room)
        m.submodules.gearbox = gearbox = Gearbox(bus, INSTRUCTION_BYTES)
        program_bytes = self.length * INSTRUCTION_BYTES
        asked = Signal(range(room + 1))
        enough, taken = Signal(), Signal()
        m.d.comb += [
            cutter.i.valid.eq(self.start & (self.length != 0)),
            cutter.i.p.beat.eq(self.base),
            cutter.i.p.rows.eq(1),
            cutter.i.p.row_beats.eq((program_bytes + (bus - 1)) >> exact_log2(bus)),
            # Beats are asked for only where the queue has a place for them.
            enough.eq(asked + cutter.o.p.beats <= room),
            self.bursts.p.eq(cutter.o.p),
            self.bursts.valid.eq(cutter.o.valid & enough),
            cutter.o.ready.eq(self.bursts.ready & enough),
            queue.w_data.eq(self.beats.p),
            queue.w_en.eq(self.beats.valid),
            self.beats.ready.eq(queue.w_rdy),
            gearbox.i.p.data.eq(queue.r_data),
            gearbox.i.p.count.eq(bus),
            gearbox.i.valid.eq(queue.r_rdy),
            queue.r_en.eq(gearbox.i.ready),
            taken.eq(queue.r_rdy & gearbox.i.ready),
            self.o.p.eq(gearbox.o.p.data),
            self.o.valid.eq(gearbox.o.valid),
            gearbox.o.ready.eq(self.o.ready),
            self.idle.eq(cutter.i.ready & (asked == 0) & ~gearbox.o.valid),
        ]
        m.d.sync += asked.eq(
            asked + Mux(self.bursts.valid & self.bursts.ready, cutter.o.p.beats, 0) - taken
        )
        return m
