"""Blocks that come in by rows and go out by columns: `hw.transpose.Transpose`.

In a cycle: `reads` and `ready` tell what happens, and `advance` ends it.
"""

from __future__ import annotations

from .compiled import compiled
from .record import record

__all__ = ["CHUNK_ENDS", "LOAD_ENDS", "TRANSPOSE", "advance", "reads", "ready"]

CHUNK_ENDS, LOAD_ENDS = 1, 2
"""Bits of the tag of a block: the last of its chunk of columns, and of its instruction."""

TRANSPOSE = record(
    row=1, filled=1, complete_columns=1, complete_tag=1,
    draining=1, column=1, columns=1, tag=1,
    valid=1, ends=1, ends_tag=1,
)  # fmt: skip
"""The block that fills, the one that is complete and waits (`filled`), the one that drains, and
the word at the output: `ends` with a block, whose tag is then `ends_tag`."""


@compiled
def reads(t, word_taken):
    """Return whether a column of the block that drains is read."""
    return t.draining and (word_taken or not t.valid)


@compiled
def ready(t, column_read):
    """Return whether a beat is taken: of a row whose places the block before has left."""
    return not t.filled and (not t.draining or t.row < t.column + column_read)


@compiled
def advance(t, column_read, word_taken, row_comes, block_comes, columns, tag):
    """End a cycle: the last beat of a row is taken, or that of a whole block as described."""
    drained = not t.draining or (column_read and t.column == t.columns - 1)
    if column_read:
        t.valid = 1
        t.ends = 1 if drained else 0
        t.ends_tag = t.tag if drained else 0
        t.column += 1
    elif word_taken:
        t.valid = t.ends = t.ends_tag = 0
    if row_comes:
        t.row = 0 if block_comes else t.row + 1
    if block_comes:
        t.filled, t.complete_columns, t.complete_tag = 1, columns, tag
    if drained:
        t.draining, t.columns, t.tag = t.filled, t.complete_columns, t.complete_tag
        t.column = t.filled = t.complete_columns = t.complete_tag = 0
