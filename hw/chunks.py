"""From a region of DRAM to narrower ones, beside one another."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .bursts import region_layout
from .isa.config import Config

__all__ = ["Chunks", "chunked_layout"]


def chunked_layout(config: Config) -> data.StructLayout:
    """Return a region, and whether to cut it."""
    return data.StructLayout({"region": region_layout(config), "cut": 1})


class Chunks(wiring.Component):
    """Cut rows in DRAM into chunks of so many beats; give all rows of a chunk before the next.

    Parameters
    ----------
    beats : int
        Beats of a row in each chunk but the last.

    Members
    -------
    i : In(stream of chunked_layout)
    o : Out(stream of region_layout)

    Timing
    ------
    The first chunk passes through in the cycle in which the region is taken, the others follow,
    one a cycle.
    """

    def __init__(self, config: Config, beats: int) -> None:
        self._config, self._beats = config, beats
        super().__init__(
            {
                "i": In(stream.Signature(chunked_layout(config))),
                "o": Out(stream.Signature(region_layout(config))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rest = Signal(region_layout(self._config), reset_less=True)
        region = Signal.like(rest)
        resting, more = Signal(), Signal()
        m.d.comb += [
            region.eq(Mux(resting, rest, self.i.p.region)),
            more.eq((resting | self.i.p.cut) & (region.row_beats > self._beats)),
            self.o.p.eq(region),
            self.o.valid.eq(resting | self.i.valid),
            self.i.ready.eq(self.o.ready & ~resting),
        ]
        with m.If(more):
            m.d.comb += self.o.p.row_beats.eq(self._beats)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [
                resting.eq(more),
                rest.eq(region),
                rest.beat.eq(region.beat + self._beats),
                rest.row_beats.eq(region.row_beats - self._beats),
            ]
        return m
