"""When a word of the output memory may be read."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .isa.config import Config
from .isa.pipeline import RESCALE, Kind
from .rowwalk import word_layout

__all__ = ["StoreGate"]


class StoreGate(wiring.Component):
    """Let a word be read when its bank is free, its scales are there, the lanes' multipliers will
    be free, and there is a place for what it makes.

    Nothing behind the output memory can wait, so places are claimed when a word is read.

    Parameters
    ----------
    depths : dict of Kind to int
        Words each queue of `hw.pack.Pack` holds.
    instructions : int
        Instructions inside at most.

    Members
    -------
    word : In(word_layout); valid : In(1)
        The walk's word.
    half_busy, half_used : In(2)
        See `hw.accumulate.Accumulate`.
    reads : Out(1)
        It is read in this cycle.
    reads_factor : Out(1)
        The factor's entry is read instead, once before an instruction's first word.
    stalled : Out(1)
        Only the array keeps the word from being read.
    wide_taken, narrow_taken, maxima_taken : In(1)
        A place in a queue is free again.
    column_room : Out(1); column_claims : In(1)
        There is a place for a maximum of a column; it is taken.
    block_released : In(1)
        The last word of a block of columns may be read from the next cycle on.
    done, done_scales : In(1)
        An absmax is through; it has made scales.
    """

    def __init__(self, config: Config, depths: dict[Kind, int], instructions: int) -> None:
        self._depths, self._instructions = depths, instructions
        super().__init__(
            {
                "word": In(word_layout(config)),
                "valid": In(1),
                "half_busy": In(2),
                "half_used": In(2),
                "reads": Out(1),
                "reads_factor": Out(1),
                "stalled": Out(1),
                "wide_taken": In(1),
                "narrow_taken": In(1),
                "maxima_taken": In(1),
                "column_room": Out(1),
                "column_claims": In(1),
                "block_released": In(1),
                "done": In(1),
                "done_scales": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        control = self.word.control
        made, known, ready = self._made(m), Signal(), Signal()
        m.d.comb += [
            self.reads_factor.eq(self.valid & made & control.needs_factor & ~known),
            ready.eq(
                self.valid
                & made
                & (known | ~control.needs_factor)
                & self._room(m)
                & ~self._multiplies(m)
            ),
            self.reads.eq(ready & self._free(m)),
            self.stalled.eq(ready & ~self.reads),
        ]
        m.d.sync += known.eq((known | self.reads_factor) & ~(self.reads & self.word.end))
        return m

    def _free(self, m: Module) -> Signal:
        """Return whether the array leaves the word's bank alone.

        Where it writes, a sum may have had to wait for the last read of a bank.
        """
        address = self.word.address
        half, parity = address[-1], address[0]
        before, before_half, before_parity = Signal(), Signal(), Signal()
        m.d.sync += [before.eq(self.reads), before_half.eq(half), before_parity.eq(parity)]
        late, free = Signal(), Signal()
        m.d.comb += [
            late.eq(before & (before_half == half) & (before_parity == parity)),
            free.eq(
                ~self.half_busy.bit_select(half, 1) & ~(self.half_used.bit_select(half, 1) & late)
            ),
        ]
        return free

    def _multiplies(self, m: Module) -> Signal:
        """Return whether the multipliers would have to rescale the word in the cycle in which they
        requantise another: one that was read RESCALE cycles before.
        """
        narrow, meets = Signal(RESCALE), Signal()
        m.d.sync += narrow.eq(Cat(self.reads & self.word.control.narrow, narrow[:-1]))
        m.d.comb += meets.eq(self.word.control.rescaled & narrow[-1])
        return meets

    def _made(self, m: Module) -> Signal:
        """Return whether all is made that the word's instruction reads.

        What an absmax makes counts as unmade from the reading of its last word on; words of later
        instructions come after that.
        """
        control = self.word.control
        unfinished = Signal(range(self._instructions + 1))
        unfinished_scales = Signal.like(unfinished)
        ends, made = Signal(), Signal()
        m.d.comb += [
            ends.eq(self.reads & self.word.end & control.reduces),
            made.eq(
                ~(control.needs_scales & (unfinished_scales != 0))
                & ~(control.needs_maxima & (unfinished != 0))
            ),
        ]
        m.d.sync += [
            unfinished.eq(unfinished + ends - self.done),
            unfinished_scales.eq(unfinished_scales + (ends & control.to_scales) - self.done_scales),
        ]
        return made

    def _room(self, m: Module) -> Signal:
        """Return whether there will be a place for what the word makes."""
        word, control = self.word, self.word.control
        makes_maximum, by_row, block_inside = Signal(), Signal(), Signal()
        m.d.comb += [
            makes_maximum.eq(control.reduces & Mux(control.tensor, word.end, word.last)),
            by_row.eq(makes_maximum & control.to_dram & ~control.by_column),
        ]
        # Maxima of a block leave the lanes one by one; no other may come in between.
        with m.If(self.reads & makes_maximum & control.by_column):
            m.d.sync += block_inside.eq(1)
        with m.Elif(self.block_released):
            m.d.sync += block_inside.eq(0)
        full = []
        for kind, wants in (
            (Kind.WIDE, control.sums),
            (Kind.NARROW, control.narrow),
            (Kind.MAXIMA, by_row),
        ):
            name, depth = kind.name.lower(), self._depths[kind]
            used = Signal(range(depth + 1), name=f"{name}_used")
            claims: Any = self.reads & wants
            if kind is Kind.MAXIMA:
                claims = claims | self.column_claims
                m.d.comb += self.column_room.eq(used != depth)
            m.d.sync += used.eq(used + claims - getattr(self, f"{name}_taken"))
            full.append(wants & (used == depth))
        room = Signal()
        m.d.comb += room.eq(~(Cat(full).any() | (makes_maximum & block_inside)))
        return room
