"""The lowering's own view of the on-chip memories: who wrote each word last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from hw.isa.config import Config
from sim.footprint import Space, words_in

from .case import Misfit, Place

__all__ = ["Region", "Words"]


@dataclass(frozen=True)
class Region:
    """A matrix of rows by blocks in an on-chip memory."""

    base: int
    rows: int
    blocks: int
    row_stride: int
    block_stride: int

    def word(self, row: int, block: int) -> int:
        """Return the word of a row's block."""
        return self.base + row * self.row_stride + block * self.block_stride

    def words(self) -> list[int]:
        """Return all words."""
        return [self.word(r, b) for r in range(self.rows) for b in range(self.blocks)]


class Words:
    """Chooses regions, and finds programs that would read what is not theirs.

    A place in a case is a wish; whether two things that must be there together are is checked
    here, word by word, so that only meaningful programs are tried.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._owners: dict[Space, dict[int, object]] = defaultdict(dict)

    def claim(self, space: Space, words: Iterable[int], owner: object) -> None:
        """Note that `owner` writes these words."""
        self._owners[space].update(dict.fromkeys(words, owner))

    def expect(self, space: Space, words: Iterable[int], owner: object) -> None:
        """Check that these words hold what `owner` wrote.

        Raises
        ------
        Misfit
            One does not.
        """
        owners = self._owners[space]
        for word in words:
            if owners.get(word) != owner:
                raise Misfit(f"{space.title} word {word} is of {owners.get(word)}, not of {owner}")

    def region(self, space: Space, place: Place, rows: int, blocks: int, turn: int = 0) -> Region:
        """Return a region at a place; every other `turn` lies half a memory further."""
        row_stride, block_stride = place.strides(rows, blocks)
        extent = (rows - 1) * row_stride + (blocks - 1) * block_stride + 1
        shift = turn % 2 * (words_in(self._config, space) // 2)
        base = self.run(space, place.base + shift, extent)
        return Region(base, rows, blocks, row_stride, block_stride)

    def operand(
        self, space: Space, place: Place, rows: int, blocks: int, turn: int, by_row: bool
    ) -> Region:
        """Return a region for an operand: words that are read at once, side by side.

        They are those along the reduction: of a row if it is `by_row`, else of a block.
        """
        together = self._config.macs_per_element
        if together == 1:
            return self.region(space, place, rows, blocks, turn)
        along, across = (blocks, rows) if by_row else (rows, blocks)
        stride = (-(-along // together) + place.gap) * together
        strides = (stride, 1) if by_row else (1, stride)
        shift = turn % 2 * (words_in(self._config, space) // 2)
        extent = (across - 1) * stride + -(-along // together) * together
        base = self.run(space, place.base + shift, extent)
        return Region(base - base % together, rows, blocks, *strides)

    def run(self, space: Space, wish: int, count: int) -> int:
        """Return the first of `count` consecutive words.

        Raises
        ------
        Misfit
            The memory has not that many.
        """
        room = words_in(self._config, space) - count + 1
        if room <= 0:
            raise Misfit(f"{count} words in {space.title}")
        return wish % room
