"""From rows in DRAM to AXI bursts."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .isa.config import Config

__all__ = ["Bursts", "burst_layout", "region_layout"]

BEATS_BITS = 32
"""Bits of a number of beats: an instruction's rows times its beats a row, or a whole program."""


def region_layout(config: Config) -> data.StructLayout:
    """Return the description of rows in DRAM, in beats of the bus."""
    return data.StructLayout(
        {
            "beat": config.address_bits - exact_log2(config.bus_bytes),  # address of the first
            "pitch": 32,  # from row to row
            "rows": 16,
            "row_beats": BEATS_BITS,
        }
    )


def burst_layout(config: Config) -> data.StructLayout:
    """Return a burst: address of its first beat, and the number of beats."""
    return data.StructLayout(
        {
            "beat": config.address_bits - exact_log2(config.bus_bytes),
            "beats": range(config.burst_beats + 1),
        }
    )


class Bursts(wiring.Component):
    """Cut rows in DRAM into bursts that cross no 4096-byte boundary.

    Rows that follow one another without a gap make common bursts.

    Parameters
    ----------
    limit : int, optional
        Most beats in a burst; `Config.burst_beats` by default.
    ahead : bool, optional
        Whether a region is taken while the one before is still being cut. If not, a ready input
        tells that all bursts are handed over.

    Members
    -------
    i : In(stream of region_layout)
    o : Out(stream of burst_layout)

    Timing
    ------
    The first burst follows its region by two cycles, then one burst a cycle; with `ahead`, the
    next region's bursts follow without a gap.
    """

    def __init__(self, config: Config, limit: int | None = None, *, ahead: bool = False) -> None:
        self._config, self._limit, self._ahead = config, limit or config.burst_beats, ahead
        super().__init__(
            {
                "i": In(stream.Signature(region_layout(config))),
                "o": Out(stream.Signature(burst_layout(config))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        waiting, active, starts, ends = (Signal() for _ in range(4))
        region = Signal(region_layout(self._config), reset_less=True)
        m.d.comb += [
            starts.eq(waiting & (~active | ends)),
            self.i.ready.eq(~waiting | starts if self._ahead else ~waiting & ~active),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [waiting.eq(1), region.eq(self.i.p)]
        with m.Elif(starts):
            m.d.sync += waiting.eq(0)
        with m.If(starts):
            m.d.sync += active.eq(1)
        with m.Elif(ends):
            m.d.sync += active.eq(0)
        self._cut(m, region, starts, active, ends)
        return m

    def _cut(self, m: Module, region: Any, starts: Signal, active: Signal, ends: Signal) -> None:
        """Walk the rows of a region burst by burst."""
        row_start = Signal.like(region.beat, reset_less=True)
        beat = Signal.like(region.beat, reset_less=True)
        pitch = Signal(32, reset_less=True)
        row_beats = Signal(BEATS_BITS, reset_less=True)
        rows, row_left = Signal(16, reset_less=True), Signal(BEATS_BITS, reset_less=True)
        beats, to_boundary = Signal.like(self.o.p.beats), Signal(13)
        page = 4096 // self._config.bus_bytes
        m.d.comb += [
            to_boundary.eq(page - (beat % page)),
            beats.eq(self._least(m, self._limit, row_left, to_boundary)),
            self.o.valid.eq(active),
            self.o.p.beat.eq(beat),
            self.o.p.beats.eq(beats),
            ends.eq(active & self.o.ready & (row_left == beats) & (rows == 1)),
        ]
        with m.If(starts):
            m.d.sync += [
                beat.eq(region.beat),
                row_start.eq(region.beat),
                pitch.eq(region.pitch),
                rows.eq(region.rows),
                row_beats.eq(region.row_beats),
                row_left.eq(region.row_beats),
            ]
            with m.If(region.pitch == region.row_beats):
                m.d.sync += [rows.eq(1), row_left.eq(region.rows * region.row_beats[:16])]
        with m.Elif(self.o.valid & self.o.ready):
            with m.If(row_left != beats):
                m.d.sync += [beat.eq(beat + beats), row_left.eq(row_left - beats)]
            with m.Else():
                m.d.sync += [
                    beat.eq(row_start + pitch),
                    row_start.eq(row_start + pitch),
                    row_left.eq(row_beats),
                    rows.eq(rows - 1),
                ]

    @staticmethod
    def _least(m: Module, limit: int, *values: Signal) -> Signal:
        """Return the least of a constant and some signals."""
        least: Any = limit
        for value in values:
            smaller = Signal(range(limit + 1), name=f"least_{value.name}")
            m.d.comb += smaller.eq(Mux(value < least, value, least))
            least = smaller
        return least
