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
    """Return a region, and whether to cut it; of what is packed, beats of bytes, two in each."""
    return data.StructLayout({"region": region_layout(config), "cut": 1, "packed": 1})


class Chunks(wiring.Component):
    """Cut rows in DRAM into chunks of so many beats; give all rows of a chunk before the next.

    What is packed is cut as if it were bytes already. So where a chunk is a beat, two that follow
    one another are halves of the same beat, and both ask for it.

    Parameters
    ----------
    beats : int, a power of two
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
        packed, halves, rest_packed = Signal(), Signal(), Signal(reset_less=True)
        beats = Signal.like(region.row_beats)
        # Of a chunk of one beat that is packed: whether it is the upper half of that.
        upper = Signal()
        m.d.comb += [
            region.eq(Mux(resting, rest, self.i.p.region)),
            packed.eq(Mux(resting, rest_packed, self.i.p.packed)),
            halves.eq(packed & (self._beats == 1)),
            more.eq((resting | self.i.p.cut) & (region.row_beats > self._beats)),
            beats.eq(Mux(more, self._beats, region.row_beats)),
            self.o.p.eq(region),
            self.o.p.row_beats.eq(Mux(packed, (beats + 1) >> 1, beats)),
            self.o.valid.eq(resting | self.i.valid),
            self.i.ready.eq(self.o.ready & ~resting),
        ]
        step = Mux(packed, Mux(halves, upper, self._beats // 2), self._beats)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [
                resting.eq(more),
                rest.eq(region),
                rest.beat.eq(region.beat + step),
                rest.row_beats.eq(region.row_beats - self._beats),
                rest_packed.eq(packed),
                upper.eq(halves & more & ~upper),
            ]
        return m
