"""Places in the on-chip memories for a program whose whole course is known."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ..tile import TileError

__all__ = ["Operands", "Sums"]


@dataclass(slots=True)
class _Held:
    key: Hashable
    base: int
    end: int
    last: int


class Operands:
    """Operands in a memory of two halves, by what the program still wants of them.

    Parameters
    ----------
    half : int
        Words of a half; an operand lies inside one if it fits there.
    uses : sequence of hashable
        What is wanted, in the order in which it is. `get` is called once for each.
    """

    def __init__(self, half: int, uses: Sequence[Hashable]) -> None:
        self._half = half
        self._times: dict[Hashable, list[int]] = defaultdict(list)
        for time, key in enumerate(uses):
            self._times[key].append(time)
        self._often = {key for key, times in self._times.items() if len(times) >= OFTEN}
        self._kept = 0
        self._held: list[_Held] = []
        self._by_key: dict[Hashable, _Held] = {}
        self._time = -1
        self._last_half = 1

    def get(self, key: Hashable, words: int) -> tuple[int, bool]:
        """Return the first word of the next operand wanted, and whether it must be loaded.

        Raises
        ------
        TileError
            It is larger than the memory.
        """
        self._time += 1
        held = self._by_key.get(key)
        new = held is None
        if held is None:
            base = self._place(key, words)
            held = _Held(key, base, base + words, self._time)
            for gone in [h for h in self._held if h.base < held.end and held.base < h.end]:
                self._held.remove(gone)
                del self._by_key[gone.key]
            self._held.append(held)
            self._by_key[key] = held
        held.last = self._time
        self._last_half = held.base // self._half
        return held.base, new

    def _place(self, key: Hashable, words: int) -> int:
        if words > 2 * self._half:
            raise TileError(f"an operand of {words} words in a memory of {2 * self._half}")
        if words > self._half:
            halves = [(0, 2 * self._half)]
        else:
            halves = [(h * self._half, (h + 1) * self._half) for h in (0, 1)]
        # What is wanted often stays in one half, so that others come to the other one under it.
        if key in self._often and self._kept + words <= self._half * 3 // 4:
            self._kept += words
            halves = halves[:1]
        best = None
        for start, end in halves:
            inside = [h for h in self._held if h.base < end and start < h.end]
            places = {start, end - words, *(h.end for h in inside), *(h.base for h in inside),
                      *(h.base - words for h in inside)}  # fmt: skip
            for base in places:
                if start <= base and base + words <= end:
                    rank = (*self._loss(inside, base, base + words, start), base)
                    if best is None or rank < best:
                        best = rank
        return best[-1]

    def _loss(self, inside: list[_Held], base: int, end: int, start: int) -> tuple[int, ...]:
        """Return how bad a place is: in use, wanted again soon, just used, beside what is read."""
        used = again = recent = last = 0
        for held in inside:
            if held.base < end and base < held.end:
                times = self._times[held.key]
                place = bisect_right(times, self._time)
                if place < len(times):
                    again = max(again, FAR - (times[place] - self._time))
                age = self._time - held.last
                used = max(used, NEAR + 1 - age)
                recent = max(recent, RECENT - age)
                last = max(last, held.last + 1)
        return used, again, int(start // self._half == self._last_half), recent, last


FAR = 1 << 40
NEAR = 2
"""Operands of so many pieces before are still in use when the next is to be loaded."""
OFTEN = 8
"""What is wanted so often stays in the memory, if it can."""
RECENT = 6
"""Those of so many may be, if loads are far ahead."""


class Sums:
    """Tiles of sums in the output memory, from their first piece to their last output."""

    def __init__(self, half: int) -> None:
        self._half = half
        self._taken: dict[Hashable, tuple[int, int]] = {}
        self._next = [0, half]
        self._turn = 0

    def get(self, key: Hashable, words: int, large: bool) -> int:
        """Return the first word for a tile.

        Large tiles take turns with the halves, so that one is stored while the next is made; other
        tiles go where the last of these lies.

        Raises
        ------
        TileError
            There is no room beside the tiles that are there.
        """
        if large:
            self._turn = 1 - self._turn
        for half in (self._turn, 1 - self._turn):
            base = self._room(half, words)
            if base is not None:
                self._taken[key] = base, base + words
                self._next[half] = base + words
                return base
        base = self._gap(0, 2 * self._half, 0, words)
        if base is None:
            raise TileError(
                f"a tile of {words} words of sums finds no room in an output memory of "
                f"{2 * self._half}, where {self.taken} hold tiles that are not stored yet"
            )
        self._taken[key] = base, base + words
        return base

    @property
    def taken(self) -> int:
        """Words of the tiles that are there."""
        return sum(end - start for start, end in self._taken.values())

    def fits(self, words: int, anywhere: bool) -> bool:
        """Tell whether a tile finds room, in the half of the last large one or anywhere."""
        if not anywhere:
            return self._room(self._turn, words) is not None
        rooms = [self._room(half, words) for half in (0, 1)]
        return any(room is not None for room in rooms) or (
            self._gap(0, 2 * self._half, 0, words) is not None
        )

    def place(self, key: Hashable) -> int:
        """Return the first word of a tile that is there."""
        return self._taken[key][0]

    def free(self, key: Hashable) -> None:
        """Forget a tile."""
        del self._taken[key]

    def _room(self, half: int, words: int) -> int | None:
        start, end = half * self._half, (half + 1) * self._half
        after = self._gap(start, end, self._next[half], words)
        return after if after is not None else self._gap(start, end, start, words)

    def _gap(self, start: int, end: int, first: int, words: int) -> int | None:
        """Return the first free place from `first` on."""
        base = max(start, first)
        for begin, stop in sorted(self._taken.values()):
            if base + words <= begin:
                break
            if stop > base:
                base = stop
        return base if base + words <= end else None
