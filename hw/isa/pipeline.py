"""Lengths of pipelines and depths of queues: when something happens, and how much is in between.

The hardware is built with these numbers, and the timing model counts with them.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "ADDRESSES_DEPTH",
    "BEATS_DEPTH",
    "BLOCK_LEAD",
    "DIVISION",
    "ENTRY_BYTES",
    "FRESH_ENTRY",
    "LOADS_AHEAD",
    "MAGNITUDE",
    "MAXIMA_DEPTH",
    "MAXIMUM_BYTES",
    "MAXIMUM_TREE",
    "NARROW_DEPTH",
    "REGIONS",
    "RECODE",
    "RESCALE",
    "RESULT",
    "ROW_MAXIMUM",
    "STORES",
    "SUM",
    "TURNS",
    "UPDATE_ENTRY",
    "WRITE_DEPTH",
    "Kind",
    "fetch_burst",
    "inside_depth",
    "meeting_delay",
    "scale_group",
    "wide_depth",
]

_FETCH_BEATS, _FETCH_BYTES = 8, 128

ADDRESSES_DEPTH, BEATS_DEPTH, WRITE_DEPTH = 3, 4, 3
"""Addresses before either AXI address channel, beats behind the read and before the write data."""

LOADS_AHEAD = 4
"""Loads whose rows are asked for ahead of data."""

RECODE = 1
"""Stages before a multiplication by a scale, in which its multiplier becomes digits."""
RESCALE = 3
"""Stages of a multiplication by a scale and its rounding."""

TURNS = 4
"""Short shift registers that stand for a long one, each clocked in its turn."""

STORES = 8
"""Instructions in the store engine: enough short ones to cover the time in which DRAM answers."""
REGIONS = 4
"""Regions of theirs that wait for the burst cutter."""

SUM = 1 + RECODE + RESCALE
"""Cycles from the reading of a word of the output memory to its sums."""
RESULT = SUM + RESCALE
"""The same to its INT8 lanes."""
MAGNITUDE = SUM + 1
MAXIMUM_TREE = 3
"""Stages of the tree that finds the maximum of a word."""
ROW_MAXIMUM = MAGNITUDE + MAXIMUM_TREE
BLOCK_LEAD = MAGNITUDE + 1
"""Cycles from the reading of a word to the load of its block into the queue of column maxima."""
DIVISION = 9
"""Stages of the division of 127 by a maximum: two of its 18 bits each."""
FRESH_ENTRY = 1 + DIVISION + 1
"""Stages from a maximum to the entry of 127/maximum."""
UPDATE_ENTRY = 3
"""Stages from a maximum to its entry for scale-and-accumulate."""

ENTRY_BYTES = 4
"""Of a scale entry in DRAM."""
MAXIMUM_BYTES = 4
NARROW_DEPTH = RESULT + 5
"""Words of the INT8 queue: those between read and queue and back, at full rate."""
MAXIMA_DEPTH = ROW_MAXIMUM + 8
"""Maxima on their way to DRAM."""


class Kind(IntEnum):
    """What an instruction of the store engine writes; each has a queue of its own."""

    WIDE = 0
    """Words of sums."""
    NARROW = 1
    """Words of INT8 lanes."""
    MAXIMA = 2


def meeting_delay(rows: int, product_register: int) -> int:
    """Return the cycles from the issue of a wave to the operation that its sums meet.

    Two from addresses to the edge, two through it and the operand registers, one a row, and one at
    the foot; a register behind the multiplier delays all rows alike.
    """
    return rows + 5 + product_register


def fetch_burst(burst_beats: int, bus_bytes: int) -> int:
    """Return the beats in a burst of fetch, of which its queue holds four.

    Enough to hide the bus, few enough to leave it to the load engine; and on a wide bus no more
    than four instructions, since the queue is registers.
    """
    return min(burst_beats, _FETCH_BEATS, max(1, _FETCH_BYTES // bus_bytes))


def inside_depth(rows: int, columns: int) -> int:
    """Return the instructions that may be in the execute engine.

    The way from last read to last write takes so many folds, each of `rows` cycles or more. As many
    instructions of one fold each may be inside, or the queue would hold the array up.
    """
    return (2 * rows + columns + 16) // rows + 4


def scale_group(bus_bytes: int, columns: int) -> int:
    """Return the column scales that a load writes in a cycle.

    As many as a beat holds, and as divide a word of `columns` of them evenly: a group never lies in
    two words.
    """
    most = min(columns, bus_bytes // ENTRY_BYTES)
    return max(group for group in range(1, most + 1) if columns % group == 0)


def wide_depth(bus_bytes: int, columns: int) -> int:
    """Return the words of the queue of sums: those of the cycles between read and queue and back.

    A queue of two takes no word in the cycle after one that found it empty: three at least.
    """
    return max(3, -(-(SUM + 7) * bus_bytes // (4 * columns)))
