"""Places in the on-chip memories for a program whose whole course is known."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
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
        best: tuple[float, ...] = (math.inf,)
        self._forget()
        for start, end in halves:
            inside = [
                (h.base, h.end, self._loss(h)) for h in self._held if h.base < end and start < h.end
            ]
            edges = {start, end - words}
            for first, behind, _ in inside:
                edges |= {first, behind, first - words}
            reading = int(start // self._half == self._last_half)
            for base in edges:
                stop = base + words
                if base < start or stop > end:
                    continue
                used = again = recent = last = 0
                for first, behind, (use, want, near, latest) in inside:
                    if first < stop and base < behind:
                        # Written out: this is most of what a place takes to be found.
                        if use > used:
                            used = use
                        if want > again:
                            again = want
                        if near > recent:
                            recent = near
                        if latest > last:
                            last = latest
                # In use, wanted soon, in the half being read, just used, not long ago.
                best = min(best, (used, again, reading, recent, last, base))
        return int(best[-1])

    def _forget(self) -> None:
        """Give up operands that were used long ago, and never will be again."""
        for held in [h for h in self._held if self._time - h.last > LONG]:
            times = self._times[held.key]
            if times[-1] < self._time:
                self._held.remove(held)
                del self._by_key[held.key]

    def _loss(self, held: _Held) -> tuple[int, int, int, int]:
        """Return what speaks against driving an operand out."""
        times = self._times[held.key]
        place = bisect_right(times, self._time)
        again = FAR - (times[place] - self._time) if place < len(times) else 0
        age = self._time - held.last
        return max(0, NEAR + 1 - age), again, max(0, RECENT - age), held.last + 1


FAR = 1 << 40
NEAR = 2
"""Operands of so many pieces before are still in use when the next is to be loaded."""
OFTEN = 8
"""What is wanted so often stays in the memory, if it can."""
LONG = 40
"""Since so many pieces an operand need not be thought of, if it is not wanted again."""
RECENT = 6
"""Those of so many may be, if loads are far ahead."""


class Sums:
    """Tiles of sums in the output memory, from their first piece to their last output.

    Times are estimates, in cycles of the array.
    """

    def __init__(self, half: int) -> None:
        self._half = half
        self._taken: dict[Hashable, tuple[int, int]] = {}
        self._stored: list[tuple[int, int, float]] = []  # places, and when they will be stored
        self._turn = 0

    def get(self, key: Hashable, words: int, large: bool, now: float) -> int:
        """Return the first word for a tile.

        Large tiles take turns with the halves, so that one is stored while the next is made; other
        tiles go where the last of these lies. A place is best that has been stored.

        Raises
        ------
        TileError
            There is no room beside the tiles that are there.
        """
        if large:
            self._turn = 1 - self._turn
        base = self._best(words, large, now)
        if base is None:
            raise TileError(
                f"a tile of {words} words of sums finds no room in an output memory of "
                f"{2 * self._half}, where {self.taken} hold tiles that are not stored yet"
            )
        self._stored = [
            s for s in self._stored if s[2] > now and (s[1] <= base or base + words <= s[0])
        ]
        self._taken[key] = base, base + words
        return base

    @property
    def taken(self) -> int:
        """Words of the tiles that are there."""
        return sum(end - start for start, end in self._taken.values())

    def fits(self, words: int) -> bool:
        """Tell whether a tile finds room."""
        return next(self._places(words, 0, 0), None) is not None

    def place(self, key: Hashable) -> int:
        """Return the first word of a tile that is there."""
        return self._taken[key][0]

    def free(self, key: Hashable, when: float) -> None:
        """Forget a tile that will be stored at a time."""
        self._stored.append((*self._taken.pop(key), when))

    def _best(self, words: int, large: bool, now: float) -> int | None:
        return min(self._places(words, self._turn, now), default=(0, 0, None))[-1]

    def _places(self, words: int, turn: int, now: float) -> Iterator[tuple[float, int, int]]:
        """Yield places for a tile: how long each waits, whether it is in the other half, where."""
        if words > self._half:
            spans = [(0, 2 * self._half, 0)]
        else:
            spans = [(h * self._half, (h + 1) * self._half, int(h != turn)) for h in (0, 1)]
        edges = {e for place in self._taken.values() for e in place}
        edges |= {e for place in self._stored for e in place[:2]}
        found = False
        for start, end, other in spans:
            bases = {start, end - words, *edges, *(e - words for e in edges)}
            for base in sorted(b for b in bases if start <= b and b + words <= end):
                if not self._meets(base, base + words):
                    found = True
                    yield self._wait(base, base + words, now), other, base
        if not found and words <= self._half:
            for base in sorted({*edges, *(e - words for e in edges)}):
                if 0 <= base and base + words <= 2 * self._half:
                    if not self._meets(base, base + words):
                        yield self._wait(base, base + words, now), 1, base

    def _meets(self, base: int, end: int) -> bool:
        return any(start < end and base < stop for start, stop in self._taken.values())

    def _wait(self, base: int, end: int, now: float) -> float:
        """Return how long from now a place is not stored yet."""
        times = [when for start, stop, when in self._stored if start < end and base < stop]
        return max(0.0, max(times, default=0.0) - now)
