"""What the store engine produces, regrouped into beats of the bus."""

from __future__ import annotations

from typing import Any

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .axi import beat_layout
from .gearbox import Gearbox, chunk
from .isa.config import Config

__all__ = ["MAXIMUM_BYTES", "Pack"]

MAXIMUM_BYTES = 4


class Pack(wiring.Component):
    """Queue words and turn them into beats.

    Only one kind may hold words at a time. A queue takes a word in any cycle: its user keeps count
    of the room, with the `taken` pulses.

    Parameters
    ----------
    wide_depth, narrow_depth : int
        Words each queue holds: sums, and INT8 words or maxima.

    Members
    -------
    wide, narrow, maxima : In
        Chunks of `columns` sums, of `columns` INT8 lanes, and of one maximum.
    wide_valid, narrow_valid, maxima_valid : In(1)
    taken : Out(1)
        A word has left its queue.
    o : Out(stream of beat_layout)
    """

    def __init__(self, config: Config, wide_depth: int, narrow_depth: int) -> None:
        self._config = config
        self._kinds = {
            "wide": (4 * config.columns, wide_depth),
            "narrow": (config.columns, narrow_depth),
            "maxima": (MAXIMUM_BYTES, narrow_depth),
        }
        members: dict[str, wiring.Member] = {}
        for kind, (size, _) in self._kinds.items():
            members[kind] = In(chunk(size))
            members[f"{kind}_valid"] = In(1)
        members["taken"] = Out(1)
        members["o"] = Out(stream.Signature(beat_layout(config)))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for kind, (size, depth) in self._kinds.items():
            layout = chunk(size)
            queue = SyncFIFOBuffered(width=layout.size, depth=depth)
            box = Gearbox(size, self._config.bus_bytes)
            m.submodules[f"{kind}_queue"] = queue
            m.submodules[f"{kind}_gearbox"] = box
            m.d.comb += [
                queue.w_data.eq(getattr(self, kind)),
                queue.w_en.eq(getattr(self, f"{kind}_valid")),
                box.i.p.eq(queue.r_data),
                box.i.valid.eq(queue.r_rdy),
                queue.r_en.eq(box.i.ready),
            ]
            with m.If(queue.r_rdy & box.i.ready):
                m.d.comb += self.taken.eq(1)
            with m.If(box.o.valid):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.p.data.eq(box.o.p.data),
                    self.o.p.count.eq(box.o.p.count),
                    box.o.ready.eq(self.o.ready),
                ]
        return m
