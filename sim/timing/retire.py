"""Instructions of the store engine end in order: `hw.retire.Retire`."""

from __future__ import annotations

from hw.isa.pipeline import REGIONS, STORES

from . import bursts, fifo
from .compiled import compiled
from .record import record

__all__ = ["RETIRE", "busy", "ending_of", "has_room", "region_of", "step"]

RETIRE = record(
    endings=fifo.BUFFERED, ending=STORES, written=1, reduced=1,
    regions=fifo.BUFFERED, region=REGIONS, cutter=bursts.CUTTER, cutting=1,
    marks=fifo.BUFFERED, mark=STORES, unanswered=1,
)  # fmt: skip
"""Endings and regions are packed by `ending_of` and `region_of`. `written` and `reduced`
instructions are done in part, not counting those that have ended. A mark counts the bursts up to
the end of its instruction that are unanswered."""

_WRITES, _REDUCES, _TO_LOAD, _TO_EXECUTE = (1 << bit for bit in range(4))
_BEAT, _PITCH, _ROWS = 10, 11, 16
"""Bits of a region's fields above the flag of rows without a gap; beats of a row are on top."""


@compiled
def busy(r):
    """Return whether an instruction is inside."""
    return r.endings.inner > 0 or r.endings.out > 0


@compiled
def has_room(r):
    """Return whether an instruction is taken in this cycle."""
    return fifo.has_room(r.endings, STORES) and fifo.has_room(r.regions, REGIONS)


@compiled
def ending_of(writes, reduces, to_load, to_execute):
    """Return what an instruction waits for, and whom it tells."""
    ending = _WRITES if writes else 0
    ending |= _REDUCES if reduces else 0
    ending |= _TO_LOAD if to_load else 0
    return ending | (_TO_EXECUTE if to_execute else 0)


@compiled
def region_of(h, beat, pitch, rows, row_beats):
    """Return a region packed: of its pitch only the place in a page matters, and gaps."""
    gapless = 1 if pitch == row_beats else 0
    pitch %= h.page
    if pitch == row_beats and not gapless:
        pitch += h.page
    region = row_beats << _ROWS | rows
    return ((region << _PITCH | pitch) << _BEAT | beat & (h.page - 1)) << 1 | gapless


@compiled
def _cut(r, h, w):
    """Offer a burst, and end a cycle of the regions; return whether one has been cut."""
    c = r.cutter
    if c.active:
        w.write_burst = bursts.offer(c, h, h.burst_beats)
        if w.write_burst_ready:
            r.unanswered += 1
            bursts.advance(c, h, h.burst_beats, True, False, 0, 0, 0, 0)
    else:
        w.write_burst = 0
        if c.waiting:
            bursts.advance(c, h, h.burst_beats, False, False, 0, 0, 0, 0)
        elif r.cutting or r.regions.out:
            cut = r.cutting > 0
            r.cutting = r.regions.out
            if r.cutting:
                _start(r, h)
            fifo.advance_with(r.regions, r.region, False, 0, True)
            return cut
    if r.regions.inner and not r.regions.out:
        fifo.advance_with(r.regions, r.region, False, 0, False)
    return False


@compiled
def _start(r, h):
    """Hand the first region to the cutter, which is free."""
    region = r.region[0] >> 1
    beat, region = region & ((1 << _BEAT) - 1), region >> _BEAT
    pitch, region = region & ((1 << _PITCH) - 1), region >> _PITCH
    rows, row_beats = region & ((1 << _ROWS) - 1), region >> _ROWS
    if r.region[0] & 1:
        pitch = row_beats
    bursts.advance(r.cutter, h, h.burst_beats, False, True, beat, pitch, rows, row_beats)


@compiled
def _mark(r, cut):
    """End a cycle of the marks before its answer; return whether the writes of one are done."""
    done = r.marks.out > 0 and r.mark[0] <= 0
    if cut or done or (r.marks.inner and not r.marks.out):
        fifo.advance_with(r.marks, r.mark, cut, r.unanswered, done)
    return done


@compiled
def _answer(r):
    """End a cycle in which an answer comes."""
    r.unanswered -= 1
    if r.marks.out:
        r.mark[0] -= 1
    for place in range(1, r.marks.inner + 1):
        r.mark[place] -= 1


@compiled
def step(r, h, w, reduced):
    """Tell of bursts and ends, and end a cycle in which an instruction is `reduced`."""
    ending = r.ending[0]
    ends = (
        r.endings.out > 0
        and (not ending & _WRITES or r.written > 0)
        and (not ending & _REDUCES or r.reduced > 0)
    )
    w.store_end = 1 if ends else 0
    w.store_to_load = 1 if ends and ending & _TO_LOAD else 0
    w.store_to_execute = 1 if ends and ending & _TO_EXECUTE else 0
    # While a region is cut there are bursts, and none in the cycle that marks its end.
    if _mark(r, _cut(r, h, w)):
        r.written += 1
    if w.answered:
        _answer(r)
    if reduced:
        r.reduced += 1
    if ends:
        if ending & _WRITES:
            r.written -= 1
        if ending & _REDUCES:
            r.reduced -= 1
    if ends or (r.endings.inner and not r.endings.out):
        fifo.advance_with(r.endings, r.ending, False, 0, ends)
