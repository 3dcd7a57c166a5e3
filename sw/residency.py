"""Which tiles lie where in an on-chip memory while a program is being written."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from .tile import TileError

__all__ = ["Residency", "Results"]


@dataclass(slots=True)
class _Resident:
    key: Hashable
    base: int
    end: int
    used: int
    stays: bool


FOREVER = 1 << 62
"""When a tile was used last that must stay: later than anything."""


class Residency:
    """Tiles in a memory of two halves, each tile inside one half if it fits there; or of one.

    A tile that is still there is not loaded again. A new one goes to the half in which it drives
    out nothing, or what was used longest ago, and of two such halves to the one that was not used
    last: so that a tile need not wait for what was used last, and what is used again stays.
    """

    def __init__(self, half: int, halves: int = 2) -> None:
        self._half, self._size = half, half * halves
        self._tiles: list[_Resident] = []  # by base
        self._bases: list[int] = []
        self._by_key: dict[Hashable, _Resident] = {}
        # Of each half: the tiles that need not stay, by use, and how many words are taken.
        self._recent: list[OrderedDict[int, _Resident]] = [OrderedDict() for _ in range(halves)]
        self._taken = [0] * halves
        self._in_both = 0
        self._time = 0
        self._last_half = halves - 1

    def get(self, key: Hashable, words: int, stays: bool = False) -> tuple[int, bool]:
        """Return the first word of a tile, and whether it must be loaded there.

        Parameters
        ----------
        stays : bool
            It is not driven out before it is freed.

        Raises
        ------
        TileError
            There is no room for the tile beside those that stay.
        """
        self._time += 1
        tile = self._by_key.get(key)
        if tile is not None:
            half = tile.base // self._half
            if not tile.stays:
                tile.used = self._time
                self._recent[half].move_to_end(tile.base)
            self._last_half = half
            return tile.base, False
        base = self._place(words)
        new = _Resident(key, base, base + words, FOREVER if stays else self._time, stays)
        first, last = self._between(base, new.end)
        for tile in self._tiles[first:last]:
            del self._by_key[tile.key]
            self._note(tile, -1)
        self._tiles[first:last], self._bases[first:last] = [new], [base]
        self._by_key[key] = new
        self._note(new, 1)
        self._last_half = base // self._half
        return base, True

    def room(self, words: int) -> int:
        """Return how many tiles of so many words there may be at once."""
        if words > self._half:
            return self._size // words
        return self._size // self._half * (self._half // words)

    def free(self, chosen: Callable[[Any], bool]) -> None:
        """Forget the tiles whose keys are chosen."""
        for tile in [tile for tile in self._tiles if chosen(tile.key)]:
            del self._by_key[tile.key]
            self._note(tile, -1)
        self._tiles = [tile for tile in self._tiles if tile.key in self._by_key]
        self._bases = [tile.base for tile in self._tiles]

    def _note(self, tile: _Resident, sign: int) -> None:
        """Count a tile that comes, with sign 1, or goes, with -1."""
        first, last = tile.base // self._half, (tile.end - 1) // self._half
        self._in_both += sign * (first != last)
        if not tile.stays:
            if sign > 0:
                self._recent[first][tile.base] = tile
            else:
                del self._recent[first][tile.base]
        for half in range(first, last + 1):
            begin = max(tile.base, half * self._half)
            self._taken[half] += sign * (min(tile.end, (half + 1) * self._half) - begin)

    def _between(self, start: int, end: int) -> tuple[int, int]:
        """Return which of the tiles reach into [start, end): from the first to behind the last."""
        first = bisect_left(self._bases, start)
        if first and self._tiles[first - 1].end > start:
            first -= 1
        return first, bisect_left(self._bases, end)

    def _place(self, words: int) -> int:
        if words > self._half:
            rooms = [self._room(0, self._size, words)]
        else:
            order = (1 - self._last_half, self._last_half) if self._size > self._half else (0,)
            rooms = [self._room(h * self._half, (h + 1) * self._half, words) for h in order]
        used, base = min(rooms, key=lambda room: room[0])
        if used >= FOREVER:
            raise TileError(
                f"a tile of {words} words finds no room in a memory of {self._size}, "
                f"where {sum(t.end - t.base for t in self._tiles if t.stays)} must stay"
            )
        return base

    def _room(self, start: int, end: int, words: int) -> tuple[int, int]:
        """Return (last use of what must go, base) of the best place for `words` in [start, end)."""
        oldest = self._oldest(start, end, words)
        if oldest is not None:
            return oldest.used, oldest.base
        first, last = self._between(start, end)
        inside = self._tiles[first:last]
        best: tuple[int, int] | None = None
        first, count = 0, len(inside)
        # Places behind a tile, or at the start; `first` is the first tile that reaches into one.
        for base in [start, *[t.end for t in inside], end - words]:
            stop = base + words
            if base < start or stop > end:
                continue
            while first < count and inside[first].end <= base:
                first += 1
            gone, index = -1, first
            while index < count:
                tile = inside[index]
                if tile.base >= stop:
                    break
                if tile.used > gone:
                    gone = tile.used
                index += 1
            if gone < 0:
                return gone, base
            if best is None or gone < best[0]:
                best = gone, base
        return best or (FOREVER, start)

    def _oldest(self, start: int, end: int, words: int) -> _Resident | None:
        """Return the tile of a half that was used longest ago, if nothing can be a better place.

        It is as large as what is wanted, and there is no room beside the tiles.
        """
        half = start // self._half
        if self._in_both or end - start > self._half:
            return None
        if self._taken[half] + words <= self._half:
            return None
        tile = next(iter(self._recent[half].values()), None)
        if tile is None or tile.end - tile.base != words or tile.end > end:
            return None
        before = bisect_left(self._bases, tile.base) - 1
        limit = self._tiles[before].end if before >= 0 else 0
        return tile if max(limit, start) == tile.base else None


class Results:
    """Places for results: one half of the output memory after the other, the oldest place in each.

    So a result is stored from one half while the next is computed in the other, and a place is
    written again only when all others of its half have been: by then it has been stored.
    """

    def __init__(self, half: int) -> None:
        self._half = half
        self._next, self._starts = 0, [0, 0]

    def get(self, words: int) -> int:
        """Return the first word for a tile of results.

        Raises
        ------
        TileError
            The tile is larger than the memory.
        """
        if words > 2 * self._half:
            raise TileError(f"a tile of {words} words in a memory of {2 * self._half}")
        if words > self._half:
            self._next, self._starts = 0, [0, 0]
            return 0
        half = self._next
        start = self._starts[half]
        if start + words > self._half:
            start = 0
        self._starts[half] = start + words
        self._next = 1 - half
        return half * self._half + start

    def get_all(self, sizes: Sequence[int]) -> list[int] | None:
        """Return the first words for tiles that are there together, or None if they do not fit."""
        if len(sizes) == 1:
            return [self.get(sizes[0])]
        starts, bases = [0, 0], []
        for words in sizes:
            half = min((self._next, 1 - self._next), key=lambda h: starts[h] + words > self._half)
            if starts[half] + words > self._half:
                return None
            bases.append(half * self._half + starts[half])
            starts[half] += words
            self._next = 1 - half
        self._starts = starts
        return bases
