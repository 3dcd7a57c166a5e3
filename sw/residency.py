"""Which tiles lie where in an on-chip memory while a program is being written."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

__all__ = ["Alternating", "Residency"]


@dataclass
class _Resident:
    key: Hashable
    base: int
    words: int
    used: int

    @property
    def end(self) -> int:
        return self.base + self.words


class Residency:
    """Tiles in a memory of two halves, each tile inside one half if it fits there.

    A tile that is still there is not loaded again. A new one goes to the half in which it drives
    out nothing, or what was used longest ago, and of two such halves to the one that was not used
    last: so that one half fills while the other is read.
    """

    def __init__(self, half: int) -> None:
        self._half = half
        self._tiles: list[_Resident] = []
        self._time = 0
        self._last_half = 1

    def get(self, key: Hashable, words: int) -> tuple[int, bool]:
        """Return the first word of a tile, and whether it must be loaded there.

        Raises
        ------
        ValueError
            The tile is larger than the memory: tiling has gone wrong.
        """
        self._time += 1
        for tile in self._tiles:
            if tile.key == key:
                tile.used = self._time
                self._last_half = tile.base // self._half
                return tile.base, False
        if words > 2 * self._half:
            raise ValueError(f"a tile of {words} words in a memory of {2 * self._half}")
        if words > self._half:
            halves = [self._room(0, 2 * self._half, words)]
        else:
            order = (1 - self._last_half, self._last_half)
            halves = [self._room(h * self._half, (h + 1) * self._half, words) for h in order]
        _, base = min(halves, key=lambda room: room[0])
        new = _Resident(key, base, words, self._time)
        self._tiles = [t for t in self._tiles if t.end <= base or new.end <= t.base] + [new]
        self._last_half = base // self._half
        return base, True

    def _room(self, start: int, end: int, words: int) -> tuple[int, int]:
        """Return (last use of what must go, base) of the best place for `words` in [start, end)."""
        inside = [t for t in self._tiles if t.base < end and start < t.end]
        bases = {start, *(t.end for t in inside), *(t.base - words for t in inside), end - words}
        places = []
        for base in sorted(bases):
            if start <= base and base + words <= end:
                gone = [t.used for t in inside if t.base < base + words and base < t.end]
                places.append((max(gone, default=-1), base))
        return min(places)


class Alternating:
    """Places for results: one half of the output memory after the other."""

    def __init__(self, half: int) -> None:
        self._half, self._next = half, 0

    def get(self, words: int) -> int:
        """Return the first word for a tile of results.

        Raises
        ------
        ValueError
            The tile is larger than the memory: tiling has gone wrong.
        """
        if words > 2 * self._half:
            raise ValueError(f"a tile of {words} words in a memory of {2 * self._half}")
        if words > self._half:
            self._next = 0
            return 0
        base = self._next * self._half
        self._next = 1 - self._next
        return base
