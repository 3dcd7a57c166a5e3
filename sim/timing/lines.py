"""Delay lines: what enters leaves a fixed number of cycles later, a bit in an array of words.

Bit 0 of the first word is what leaves in this cycle. Bits do not wander through the array by an
index, so lines that hold the same are the same bytes.
"""

from __future__ import annotations

from .compiled import compiled

__all__ = ["put", "shift", "words_of"]

_ALL_BUT_THE_SIGN = (1 << 63) - 1


@compiled
def words_of(length):
    """Return the words of 64 bits that a line takes."""
    return (length + 63) >> 6


@compiled
def put(line, place):
    """Set the bit that leaves in `place` cycles."""
    line[place >> 6] |= 1 << (place & 63)


@compiled
def shift(line, words):
    """Move a line of `words` words by a cycle, and return the bit that leaves."""
    leaves = line[0] & 1
    for word in range(words - 1):
        line[word] = (line[word] >> 1) & _ALL_BUT_THE_SIGN | line[word + 1] << 63
    line[words - 1] = (line[words - 1] >> 1) & _ALL_BUT_THE_SIGN
    return leaves
