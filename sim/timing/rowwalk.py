"""The words of a matrix in the output memory, and what comes of each: `hw.rowwalk.RowWalk`."""

from __future__ import annotations

from hw.isa.instructions import Axis, Format, Opcode
from hw.isa.pipeline import (
    BLOCK_LEAD,
    MAXIMA_DEPTH,
    NARROW_DEPTH,
    RESCALE,
    RESULT,
    ROW_MAXIMUM,
    SUM,
    wide_depth,
)

from . import pack
from .compiled import compiled
from .flags import lines
from .record import record

__all__ = [
    "BLOCK", "BLOCK_VALID", "KEEP", "MULTIPLIED", "NARROW_VALID", "ROW", "ROW_END", "ROW_VALID",
    "WALK", "WIDE_VALID",
    "advance", "clear", "start",
]  # fmt: skip

_FIRST, _LAST, KEEP = lines(SUM, RESULT, ROW_MAXIMUM, ROW_MAXIMUM, BLOCK_LEAD)
_WIDE, _NARROW, ROW, _ROW_END, BLOCK = _FIRST
WIDE_VALID, NARROW_VALID, ROW_VALID, ROW_END, BLOCK_VALID = _LAST
"""Bits of what comes of words, in the cycle in which it is there."""
MULTIPLIED = _NARROW << RESCALE - 1
"""A word that is requantised was read RESCALE cycles before: none that is rescaled may be read."""

WALK = record(
    address=1, outer=1, inner_step=1, outer_step=1, inner_left=1, inner_count=1, outer_left=1,
    last_lanes=1, each=1, each_last=1, at_end=1, claims=1, kind=1, depth=1,
    needs_scales=1, needs_maxima=1, needs_factor=1, reduces=1, to_scales=1, rescaled=1,
)  # fmt: skip
"""A matrix; `outer_left` is 0 without. Inside are rows where blocks are walked, else blocks.
`last_lanes` count in the last block. Lines that each word enters, the last ones of rows or blocks,
and the very last; which of them `claims` a place in the queue of a `kind`, and its `depth`. What
must be made before a word is read (`needs_factor` until it is), what the instruction makes, and
whether its words are `rescaled`."""

_ADDRESS = (1 << 16) - 1
_ABSMAX, _INT32 = int(Opcode.ABSMAX), int(Format.INT32)
_ROW_COLUMN = int(Format.INT8_ROW_COLUMN)
_BY_COLUMN, _TENSOR = int(Axis.COLUMN), int(Axis.TENSOR)
_wide_depth = compiled(wide_depth)


@compiled
def clear(walk):
    """Leave no matrix."""
    walk.address = walk.outer = walk.inner_step = walk.outer_step = 0
    walk.inner_left = walk.inner_count = walk.outer_left = walk.last_lanes = 0
    walk.each = walk.each_last = walk.at_end = walk.claims = walk.kind = walk.depth = 0
    walk.needs_scales = walk.needs_maxima = walk.needs_factor = 0
    walk.reduces = walk.to_scales = walk.rescaled = 0


@compiled
def start(walk, h, i):
    """Start the matrix of an instruction, of which every field of `WALK` is set."""
    blocks = (i.columns + h.columns - 1) // h.columns
    walk.last_lanes = i.columns - (blocks - 1) * h.columns
    walk.address = walk.outer = i.base
    walk.reduces = 1 if i.opcode == _ABSMAX else 0
    if walk.reduces and i.axis == _BY_COLUMN:
        walk.inner_count, walk.inner_step = i.rows, i.row_stride
        walk.outer_left, walk.outer_step = blocks, i.block_stride
    else:
        walk.inner_count, walk.inner_step = blocks, i.block_stride
        walk.outer_left, walk.outer_step = i.rows, i.row_stride
    walk.inner_left = walk.inner_count
    walk.each = walk.each_last = walk.at_end = 0
    if walk.reduces:
        _start_absmax(walk, i)
    else:
        _start_store(walk, h, i)


@compiled
def _start_store(walk, h, i):
    wide = i.format == _INT32
    walk.kind = pack.WIDE if wide else pack.NARROW
    walk.depth = _wide_depth(h.bus, h.columns) if wide else NARROW_DEPTH
    walk.each = walk.claims = _WIDE if wide else _NARROW
    walk.needs_scales = 0 if wide else 1
    walk.needs_maxima = walk.needs_factor = walk.to_scales = 0
    walk.rescaled = 1 if i.format == _ROW_COLUMN else 0


@compiled
def _start_absmax(walk, i):
    walk.kind, walk.depth = pack.MAXIMA, MAXIMA_DEPTH
    # Maxima of columns claim their places one by one, when they leave the lanes.
    walk.claims = ROW if i.to_dram else 0
    if i.axis == _BY_COLUMN:
        walk.each_last = BLOCK
    elif i.axis == _TENSOR:
        walk.at_end = ROW | _ROW_END
    else:
        walk.each_last, walk.at_end = ROW, _ROW_END
    updates = i.to_updates and i.axis != _BY_COLUMN
    walk.needs_factor = 1 if updates else 0
    walk.needs_scales = 1 if i.scaled or updates else 0
    walk.needs_maxima = 1 if i.merge or updates else 0
    walk.to_scales, walk.rescaled = i.to_scales, i.scaled


@compiled
def advance(walk):
    """Go to the next word; behind the last one `clear` is due."""
    walk.inner_left -= 1
    if walk.inner_left:
        walk.address = (walk.address + walk.inner_step) & _ADDRESS
        return
    walk.inner_left = walk.inner_count
    walk.outer = walk.address = (walk.outer + walk.outer_step) & _ADDRESS
    walk.outer_left -= 1
