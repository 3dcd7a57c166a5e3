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

    Members
    -------
    i : In(stream of region_layout)
    o : Out(stream of burst_layout)

    Timing
    ------
    The first burst follows its region by two cycles, then one burst a cycle.
    """

    def __init__(self, config: Config, limit: int | None = None) -> None:
        self._config, self._limit = config, limit or config.burst_beats
        super().__init__(
            {
                "i": In(stream.Signature(region_layout(config))),
                "o": Out(stream.Signature(burst_layout(config))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        region = self.i.p
        row_start = Signal.like(region.beat, reset_less=True)
        beat = Signal.like(region.beat, reset_less=True)
        pitch = Signal(32, reset_less=True)
        row_beats = Signal(BEATS_BITS, reset_less=True)
        rows, row_left = Signal(16), Signal(BEATS_BITS)
        active, starting = Signal(), Signal()
        beats, to_boundary = Signal.like(self.o.p.beats), Signal(13)
        page = 4096 // self._config.bus_bytes
        m.d.comb += [
            to_boundary.eq(page - (beat % page)),
            beats.eq(self._least(m, self._limit, row_left, to_boundary)),
            self.o.valid.eq(active & ~starting),
            self.o.p.beat.eq(beat),
            self.o.p.beats.eq(beats),
            self.i.ready.eq(~active),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                active.eq(1),
                starting.eq(1),
                beat.eq(region.beat),
                row_start.eq(region.beat),
                pitch.eq(region.pitch),
                rows.eq(region.rows),
                row_beats.eq(region.row_beats),
                row_left.eq(region.row_beats),
            ]
        with m.If(starting):
            m.d.sync += starting.eq(0)
            with m.If(pitch == row_beats):
                m.d.sync += [rows.eq(1), row_left.eq(rows * row_beats[:16])]
        with m.If(self.o.valid & self.o.ready):
            with m.If(row_left != beats):
                m.d.sync += [beat.eq(beat + beats), row_left.eq(row_left - beats)]
            with m.Else():
                m.d.sync += [
                    beat.eq(row_start + pitch),
                    row_start.eq(row_start + pitch),
                    row_left.eq(row_beats),
                    rows.eq(rows - 1),
                    active.eq(rows != 1),
                ]
        return m

    @staticmethod
    def _least(m: Module, limit: int, *values: Signal) -> Signal:
        """Return the least of a constant and some signals."""
        least: Any = limit
        for value in values:
            smaller = Signal(range(limit + 1), name=f"least_{value.name}")
            m.d.comb += smaller.eq(Mux(value < least, value, least))
            least = smaller
        return least
