"""Queues as `amaranth.lib.fifo` makes them, by their levels, and with what they hold.

A `SyncFIFOBuffered` of depth D is a memory of D - 1 words with a register behind it: a word that is
written in cycle c to an empty queue is at its output in cycle c + 2. Until the memory has room
nothing can be written, whatever is read in the same cycle.
"""

from __future__ import annotations

from .compiled import compiled
from .record import record

__all__ = ["BUFFERED", "advance", "advance_with", "has_room", "level", "push"]

BUFFERED = record(inner=1, out=1)
"""Words in the memory, and whether the register holds one: then the output is valid."""


@compiled
def has_room(queue, depth):
    """Return whether a queue of `depth` takes a word in this cycle."""
    return queue.inner != depth - 1


@compiled
def level(queue):
    """Return the words in a queue."""
    return queue.inner + queue.out


@compiled
def advance(queue, writes, reads):
    """End a cycle: `writes` says that a word is taken, `reads` that the output is, if valid."""
    moves = queue.inner > 0 and (queue.out == 0 or reads)
    if writes:
        queue.inner += 1
    if moves:
        queue.inner -= 1
        queue.out = 1
    elif reads:
        queue.out = 0


@compiled
def advance_with(queue, items, writes, value, reads):
    """As `advance`, with the contents: `items[0]` is the output, `items[1]` the next word.

    Places past the level are zero, so that equal states are equal bytes.
    """
    moves = queue.inner > 0 and (queue.out == 0 or reads)
    if reads and not moves:
        items[0] = 0
    if moves:
        for place in range(queue.inner):
            items[place] = items[place + 1]
        items[queue.inner] = 0
    if writes:
        items[queue.inner + (0 if moves else 1)] = value
    advance(queue, writes, reads)


@compiled
def push(queue, items, value):
    """Add a word after `advance_with` without one: the same cycle as writing it there."""
    items[queue.inner + 1] = value
    queue.inner += 1
