"""Delay lines of flags, side by side in one 64-bit number.

A flag enters at the lowest bit of its line at the end of a cycle and is at the highest as many
cycles later as the line has stages.
"""

from __future__ import annotations

from .compiled import compiled

__all__ = ["lines", "shift"]

BITS = 63
"""Those of a signed number that are not its sign."""


def lines(*stages: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Lay out lines of some `stages`.

    Returns
    -------
    first, last : tuple of int
        The lowest and the highest bit of each line.
    keep : int
        Bits that a flag may move to, for `shift`.

    Raises
    ------
    ValueError
        They do not fit into one number.
    """
    total = sum(stages)
    if total > BITS:
        raise ValueError(f"lines of {total} stages do not fit into {BITS} bits")
    places = [sum(stages[:index]) for index in range(len(stages) + 1)]
    first = tuple(1 << place for place in places[:-1])
    last = tuple(1 << place - 1 for place in places[1:])
    return first, last, (1 << total) - 1 - sum(first)


@compiled
def shift(line, keep, entering):
    """Return the lines of the next cycle; `entering` are lowest bits."""
    return (line << 1) & keep | entering
