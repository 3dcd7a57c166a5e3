"""Instructions of the store engine end in order, each when all it wrote is in its place."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import bits_for, exact_log2

from .bursts import Bursts, burst_layout
from .isa.config import Config
from .isa.pipeline import REGIONS

__all__ = ["Retire", "ending_layout", "write_region_layout"]


def ending_layout() -> data.StructLayout:
    """Return what an instruction waits for, and whom it tells."""
    return data.StructLayout({"writes": 1, "maxima": 1, "signal_load": 1, "signal_execute": 1})


def write_region_layout(config: Config) -> data.StructLayout:
    """Return a region in DRAM, as `hw.bursts.region_layout`, with short rows."""
    beat = config.address_bits - exact_log2(config.bus_bytes)
    return data.StructLayout({"beat": beat, "pitch": 32, "rows": 16, "row_beats": 19})


class Retire(wiring.Component):
    """Give out the bursts of instructions, and say in which cycle each has ended.

    Parameters
    ----------
    instructions : int
        Instructions inside at most.

    Members
    -------
    i : In(stream of ending_layout); region : In(write_region_layout)
        An instruction; its region counts if it `writes`.
    bursts : Out(stream of burst_layout)
    answered : In(1)
        A burst was answered, in order.
    maxima_done : In(1)
        An instruction's maxima and entries are written, in order.
    end, signal_load, signal_execute : Out(1)
    busy : Out(1)

    Timing
    ------
    At most one instruction ends in a cycle. Bursts of the next follow those of the one before after
    three cycles.
    """

    def __init__(self, config: Config, instructions: int) -> None:
        self._config, self._instructions = config, instructions
        super().__init__(
            {
                "i": In(stream.Signature(ending_layout())),
                "region": In(write_region_layout(config)),
                "bursts": Out(stream.Signature(burst_layout(config))),
                "answered": In(1),
                "maxima_done": In(1),
                "end": Out(1),
                "signal_load": Out(1),
                "signal_execute": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        layout = ending_layout()
        m.submodules.endings = endings = SyncFIFOBuffered(
            width=layout.size, depth=self._instructions
        )
        head = layout(endings.r_data)
        writes_done, maxima_done = self._writes(m), self.maxima_done
        # Instructions whose part is done, not counting those that have ended.
        written = Signal(range(self._instructions + 1))
        reduced = Signal(range(self._instructions + 1))
        m.d.comb += [
            endings.w_data.eq(self.i.p),
            endings.w_en.eq(self.i.valid & self.i.ready),
            endings.r_en.eq(self.end),
            self.end.eq(
                endings.r_rdy & (~head.writes | (written != 0)) & (~head.maxima | (reduced != 0))
            ),
            self.signal_load.eq(self.end & head.signal_load),
            self.signal_execute.eq(self.end & head.signal_execute),
            self.busy.eq(endings.level != 0),
        ]
        m.d.sync += [
            written.eq(written + writes_done - (self.end & head.writes)),
            reduced.eq(reduced + maxima_done - (self.end & head.maxima)),
        ]
        m.d.comb += self.i.ready.eq(endings.w_rdy & m.submodules.regions.w_rdy)
        return m

    def _writes(self, m: Module) -> Signal:
        """Cut regions into bursts; return a pulse when all bursts of an instruction are answered.

        When a region has been cut, the number of bursts given out so far is its mark: it is done
        when as many are answered. Both counts are modulo a power of two that is more than twice
        the number in flight.
        """
        config = self._config
        layout = write_region_layout(config)
        m.submodules.regions = regions = SyncFIFOBuffered(width=layout.size, depth=REGIONS)
        m.submodules.cutter = cutter = Bursts(config)
        region, cutting, cut = layout(regions.r_data), Signal(), Signal()
        sent = Signal(bits_for(2 * config.write_outstanding) + 1)
        answers = Signal.like(sent)
        m.submodules.marks = marks = SyncFIFOBuffered(width=len(sent), depth=self._instructions)
        beyond, done = Signal(signed(len(sent))), Signal()
        m.d.comb += [
            regions.w_data.eq(self.region),
            regions.w_en.eq(self.i.valid & self.i.ready & self.i.p.writes),
            cutter.i.valid.eq(regions.r_rdy),
            regions.r_en.eq(cutter.i.ready),
            cut.eq(cutting & cutter.i.ready),
            marks.w_data.eq(sent),
            marks.w_en.eq(cut),
            beyond.eq(answers - marks.r_data),
            done.eq(marks.r_rdy & (beyond >= 0)),
            marks.r_en.eq(done),
        ]
        for name in ("beat", "pitch", "rows", "row_beats"):
            m.d.comb += getattr(cutter.i.p, name).eq(getattr(region, name))
        m.d.sync += [
            cutting.eq(Mux(cutter.i.ready, regions.r_rdy, cutting)),
            sent.eq(sent + (self.bursts.valid & self.bursts.ready)),
            answers.eq(answers + self.answered),
        ]
        connect(m, cutter.o, wiring.flipped(self.bursts))
        return done
