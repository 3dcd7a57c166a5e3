"""What becomes of absolute maxima, one a cycle: `hw.maxima.Maxima`.

A `use`, what an absmax does with its maxima, is the set of lines that each of them enters.
"""

from __future__ import annotations

from hw.isa.pipeline import BLOCK_LEAD, FRESH_ENTRY, STORES, UPDATE_ENTRY

from . import fifo
from .compiled import compiled
from .flags import lines, shift
from .record import record

__all__ = [
    "COLUMN_SCALE_MADE", "DONE", "DONE_SCALES", "DRAM_VALID", "MAXIMA", "ROW_SCALE_MADE",
    "UPDATE_MADE", "step", "use_of",
]  # fmt: skip

MERGED = 2
"""Cycles from a maximum to what comes of the one of the same place; entries follow."""
_FRESH = MERGED + FRESH_ENTRY

_FIRST, _LAST, _KEEP = lines(MERGED, MERGED + UPDATE_ENTRY, _FRESH, _FRESH, _FRESH, _FRESH)
_DRAM, _UPDATE, _ROW_SCALE, _COLUMN_SCALE, _DONE, _DONE_SCALES = _FIRST
DRAM_VALID, UPDATE_MADE, ROW_SCALE_MADE, COLUMN_SCALE_MADE, DONE, DONE_SCALES = _LAST
"""Bits of `MAXIMA.line`: what leaves in this cycle."""

MAXIMA = record(
    uses=fifo.BUFFERED, use=STORES, line=1, left=1, ends=1, released=1,
)  # fmt: skip
"""Uses in program order, maxima on their way, and the block of columns that leaves the lanes: how
many are left, whether its instruction ends with it, and whether the next may be on its way."""


@compiled
def use_of(by_column, to_dram, to_scales, to_updates):
    """Return the use of an absmax."""
    use = 0
    if to_dram:
        use |= _DRAM
    if to_scales:
        use |= _COLUMN_SCALE if by_column else _ROW_SCALE
    if to_updates and not by_column:
        use |= _UPDATE
    return use


@compiled
def step(m, row, row_end, block, block_lanes, block_end, room):
    """End a cycle in which the maximum of a `row` comes, or the lanes' queue takes a `block`.

    Returns
    -------
    claims, released : bool
        As the members `claims` and `block_released` of `hw.maxima.Maxima`, of this cycle.
    """
    use = m.use[0]
    shifts = m.left > 0 and not row and (room or not use & _DRAM)
    claims = shifts and use & _DRAM != 0
    released = (
        shifts and not m.released and (m.left == 1 if use & _DRAM else m.left <= BLOCK_LEAD + 2)
    )
    ends = row_end if row else shifts and m.left == 1 and m.ends != 0
    entering = use if row or shifts else 0
    if ends:
        entering |= _DONE
        if use & (_ROW_SCALE | _COLUMN_SCALE):
            entering |= _DONE_SCALES
    m.line = shift(m.line, _KEEP, entering)
    fifo.advance_with(m.uses, m.use, False, 0, ends)
    if released:
        m.released = 1
    if shifts:
        m.left -= 1
        if not m.left:
            m.ends = m.released = 0
    if block:
        m.left, m.ends, m.released = block_lanes, block_end, 0
    return claims, released
