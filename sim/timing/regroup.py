"""Beats of a load to words of its memory: `hw.regroup.Regroup`, as far as bytes are counted.

In a cycle: if a word is `offered`, `give` takes it; then `step` takes a beat and ends the cycle.
"""

from __future__ import annotations

from hw.isa.instructions import Memory
from hw.isa.pipeline import ENTRY_BYTES

from . import gearbox, transpose
from .compiled import compiled
from .gearbox import GEARBOX
from .record import record
from .transpose import TRANSPOSE

__all__ = ["LINE_ENDS", "REGROUP", "give", "offered", "step", "word_size"]

LINE_ENDS = 4
"""Bit of what `give` returns, beside those of a tag of `sim.timing.transpose`."""

_INPUT, _WEIGHT = int(Memory.INPUT), int(Memory.WEIGHT)
_COLUMN_SCALE = int(Memory.COLUMN_SCALE)

REGROUP = record(
    active=1, transpose=1, packed=1, upper=1, first=1, size=1, rows=1, height=1,
    bytes_left=1, rows_left=1, columns_left=1, block_row=1,
    boxes=(GEARBOX, 5), transposer=TRANSPOSE,
)  # fmt: skip
"""The instruction whose beats are taken, and what waits of it and of those before. `size` is bytes
of a word; transposed, it is 0, and `height` rows make a block. Of a packed beat the lower half is
taken first, then, as `upper` says, the upper one; `first` is which one a row of this chunk begins
with. There is a gearbox for the size of
a word of the input memory, of the weight memory, of a scale entry, of a group of column scales and
of as many words of the input memory as are read at once, as far as these differ."""


@compiled
def word_size(h, memory, wide):
    """Return the bytes of a word of a memory, of the column scales those written in a cycle.

    Of the input memory they are those of several words if these are written at once.
    """
    if memory == _INPUT:
        return h.wide_bytes if wide else h.rows
    if memory == _WEIGHT:
        return h.columns
    return h.group_bytes if memory == _COLUMN_SCALE else ENTRY_BYTES


@compiled
def _box(g, h, size):
    """Return the gearbox of a size, the first that has it."""
    if size == h.rows:
        return g.boxes[0]
    if size == h.columns:
        return g.boxes[1]
    if size == ENTRY_BYTES:
        return g.boxes[2]
    return g.boxes[3 if size == h.group_bytes else 4]


@compiled
def offered(g, h, size):
    """Return whether a word of `size` bytes is there; 0 is one of the transposed."""
    return gearbox.offers(_box(g, h, size), size) if size else g.transposer.valid


@compiled
def give(g, h, size):
    """Take a word away; return `LINE_ENDS` if it ends its line, transposed with the block's tag.

    One of the transposed leaves in `step`.
    """
    if size:
        return LINE_ENDS if gearbox.give(_box(g, h, size), size) else 0
    t = g.transposer
    return LINE_ENDS | t.ends_tag if t.ends else 0


@compiled
def step(g, h, w, word_taken, follows, following):
    """Take a beat, and end the cycle; return whether there was room for the next instruction.

    Parameters
    ----------
    word_taken : bool
        The transposer's word is taken.
    follows, following : bool, record
        Whether an instruction waits, and which: fields of `sim.timing.load.LOAD`.
    """
    t = g.transposer
    column_read = transpose.reads(t, word_taken)
    room = 0
    if g.active:
        if g.transpose:
            room = transpose.ready(t, column_read)
        else:
            room = gearbox.ready(_box(g, h, g.size), g.size)
    row_ends = g.bytes_left <= h.bus
    leaves = not g.packed or g.upper or row_ends
    w.beat_ready = 1 if room and leaves else 0
    taken = room and w.beat_valid
    w.load_stalled_on_dram = 1 if room and not taken else 0
    row_comes = block_comes = job_ends = 0
    width = tag = 0
    if taken:
        g.upper = 0 if leaves else 1
        last_row = g.rows_left == 1
        if g.transpose:
            row_comes = row_ends
            block_comes = row_ends and (last_row or g.block_row == g.height - 1)
            width = min(g.columns_left, h.transpose_columns)
            last_chunk = g.columns_left <= h.transpose_columns
            if last_row:
                tag = transpose.CHUNK_ENDS | (transpose.LOAD_ENDS if last_chunk else 0)
            job_ends = row_ends and last_row and last_chunk
        else:
            width = g.columns_left
            gearbox.take(_box(g, h, g.size), min(g.bytes_left, h.bus), 1 if row_ends else 0)
            job_ends = row_ends and last_row
        if row_ends and g.packed and g.transpose and h.chunk_beats == 1:
            if last_row:
                g.first = 0 if job_ends else 1 - g.first
            g.upper = g.first
        if not row_ends:
            g.bytes_left -= h.bus
        elif not job_ends:
            _next_row(g, h, width, last_row, block_comes)
    if column_read or word_taken or row_comes:
        transpose.advance(t, column_read, word_taken, row_comes, block_comes, width, tag)
    if g.active and not job_ends:
        return False
    if follows:
        _begin(g, h, following)
    elif g.active:
        _clear(g)
    return True


@compiled
def _next_row(g, h, width, last_row, block_ends):
    """Go on with the next row, after the last one with the first of the next chunk."""
    if not last_row:
        g.bytes_left = width
        g.rows_left -= 1
        if g.transpose:
            g.block_row = 0 if block_ends else g.block_row + 1
    else:
        g.columns_left -= h.transpose_columns
        g.bytes_left = min(g.columns_left, h.transpose_columns)
        g.rows_left = g.rows
        g.block_row = 0


@compiled
def _begin(g, h, following):
    """Begin an instruction."""
    g.active, g.transpose, g.block_row = 1, following.transpose, 0
    g.packed = following.packed
    g.rows_left, g.columns_left = following.rows, following.columns
    if following.transpose:
        # Only these come back to the first row.
        g.rows, g.height, g.size = following.rows, word_size(h, following.memory, 0), 0
        g.bytes_left = min(following.columns, h.transpose_columns)
    else:
        g.rows, g.height = 0, 0
        g.size = word_size(h, following.memory, following.wide)
        g.bytes_left = following.columns


@compiled
def _clear(g):
    """Wait for an instruction; the buffers keep what they hold."""
    g.active = g.transpose = g.packed = g.first = g.size = g.rows = g.height = 0
    g.bytes_left = g.rows_left = g.columns_left = g.block_row = 0
