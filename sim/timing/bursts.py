"""Rows in DRAM to bursts: `hw.bursts.Bursts`.

In a cycle: `offer` gives the burst at the output, `ready` says whether a region is taken, and
`advance` ends the cycle. The first burst follows its region by two cycles.
"""

from __future__ import annotations

from .compiled import compiled
from .record import record

__all__ = ["CUTTER", "advance", "offer", "ready"]

CUTTER = record(
    waiting=1, next_beat=1, next_pitch=1, next_rows=1, next_row_beats=1,
    active=1, beat=1, row_start=1, pitch=1, rows=1, row_beats=1, row_left=1,
)  # fmt: skip
"""The region that waits, and the one that is cut. Addresses and pitches count beats, modulo those
of 4096 bytes: only the distance from a boundary matters."""


@compiled
def offer(c, h, limit):
    """Return the beats of the burst that is offered, 0 for none."""
    if not c.active:
        return 0
    return min(limit, c.row_left, h.page - c.beat)


@compiled
def _ends(c, h, limit, taken):
    return c.active and taken and c.rows == 1 and c.row_left == offer(c, h, limit)


@compiled
def ready(c, h, limit, ahead, taken):
    """Return whether a region is taken, if `taken` says that the burst at the output is."""
    if not ahead:
        return not c.waiting and not c.active
    return not c.waiting or not c.active or _ends(c, h, limit, taken)


@compiled
def advance(c, h, limit, taken, comes, beat, pitch, rows, row_beats):
    """End a cycle: the burst is taken, and a region of `rows` by `row_beats` beats comes."""
    beats = offer(c, h, limit)
    ends = _ends(c, h, limit, taken)
    starts = c.waiting and (not c.active or ends)
    if starts:
        c.active = 1
        c.beat = c.row_start = c.next_beat
        c.pitch, c.rows = c.next_pitch & (h.page - 1), c.next_rows
        c.row_beats = c.row_left = c.next_row_beats
        if c.next_pitch == c.next_row_beats:
            # Rows without a gap make common bursts.
            c.rows, c.row_left = 1, c.next_rows * c.next_row_beats
        c.waiting = c.next_beat = c.next_pitch = c.next_rows = c.next_row_beats = 0
    elif ends:
        c.active = c.beat = c.row_start = c.pitch = c.rows = c.row_beats = c.row_left = 0
    elif beats and taken:
        if c.row_left != beats:
            c.beat = (c.beat + beats) & (h.page - 1)
            c.row_left -= beats
        else:
            c.beat = c.row_start = (c.row_start + c.pitch) & (h.page - 1)
            c.row_left = c.row_beats
            c.rows -= 1
    if comes:
        c.waiting, c.next_beat, c.next_pitch = 1, beat & (h.page - 1), pitch
        c.next_rows, c.next_row_beats = rows, row_beats
