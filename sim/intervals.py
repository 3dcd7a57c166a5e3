"""What goes on in a machine, cycle by cycle, as intervals of named signals."""

from __future__ import annotations

from collections.abc import Iterable

from hw.isa.registers import ACTIVITY

from .axi import CHANNELS, Master, Slave
from .result import Interval

__all__ = ["SIGNALS", "handshakes", "intervals"]

SIGNALS = (*ACTIVITY, *(f"axi_{channel}" for channel in CHANNELS))
"""Meaning of each bit of a word of activity: those of `ACTIVITY`, then a handshake on each AXI
channel, that is, valid and ready in one cycle."""

_AR, _R, _AW, _W, _B = (1 << bit for bit in range(len(ACTIVITY), len(SIGNALS)))


def handshakes(master: Master, slave: Slave) -> int:
    """Return the bits of the handshakes in a cycle."""
    return (
        bool(master.arvalid and slave.arready) * _AR
        | bool(slave.rvalid and master.rready) * _R
        | bool(master.awvalid and slave.awready) * _AW
        | bool(master.wvalid and slave.wready) * _W
        | bool(slave.bvalid and master.bready) * _B
    )


def intervals(changes: Iterable[tuple[int, int]], stop: int) -> tuple[Interval, ...]:
    """Return the intervals in which each signal is 1.

    Parameters
    ----------
    changes : iterable of (int, int)
        Cycle, and the word of activity from it to the next change, in the order of cycles; before
        the first the word is 0.
    stop : int
        Cycles of the run: what is before cycle 0 or from this one on is left out.

    Returns
    -------
    tuple of Interval
        By first cycle, then in the order of `SIGNALS`. Two of a signal never touch.
    """
    began: dict[int, int] = {}
    found: list[tuple[int, int, int]] = []
    before = 0
    for cycle, word in (*changes, (stop, 0)):
        at = min(max(cycle, 0), stop)
        turned, before = before ^ word, word
        while turned:
            bit = (turned & -turned).bit_length() - 1
            turned &= turned - 1
            if word >> bit & 1:
                began[bit] = at
            elif at > (start := began.pop(bit)):
                found.append((start, bit, at - start))
    return tuple(Interval(SIGNALS[bit], start, cycles) for start, bit, cycles in sorted(found))
