"""Rows of bytes from words of one size to words of another: `hw.gearbox.Gearbox`.

In a cycle: if `offers`, a word may be taken, by `give`; then `ready` says whether one is taken in,
and `take` does so. In this order readiness passes through as it does in the hardware.
"""

from __future__ import annotations

from .compiled import compiled
from .record import record

__all__ = ["GEARBOX", "ends", "give", "offers", "ready", "take"]

GEARBOX = record(level=1, ending=1)
"""Bytes that wait, and whether the last of them ends a row."""


@compiled
def offers(box, size):
    """Return whether a word of `size` bytes, or what is left of a row, is there."""
    return box.ending or box.level >= size


@compiled
def ends(box, size):
    """Return whether the word that is there ends its row."""
    return box.ending and box.level <= size


@compiled
def give(box, size):
    """Take the word away; return whether it ends its row."""
    if ends(box, size):
        box.level = box.ending = 0
        return 1
    box.level -= size
    return 0


@compiled
def ready(box, size):
    """Return whether bytes are taken."""
    return not box.ending and box.level < size


@compiled
def take(box, count, row_ends):
    """Add bytes, the last of a row or not."""
    box.level += count
    box.ending = row_ends
