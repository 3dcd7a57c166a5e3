"""A product in tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hw.isa.instructions import Dataflow

__all__ = ["Span", "Tile", "TileError", "Tiling", "spans"]


class TileError(ValueError):
    """A product that cannot be tiled; the message gives the sizes."""


class Span(NamedTuple):
    """Indices `start` to ``start + size - 1`` of one axis."""

    start: int
    size: int


class Tile(NamedTuple):
    """A tile of the result, and the pieces of its reduction."""

    m: Span
    n: Span
    reduction: tuple[Span, ...]


@dataclass(frozen=True)
class Tiling:
    """An M x K by K x N product in tiles.

    Members
    -------
    dataflow : Dataflow
    m, k, n : int
        Sizes of the product, or of a part that has some of its rows.
    tile_m, tile_k, tile_n : int
        Sizes of a tile; the last of an axis may be smaller.
    rows_outer : bool
        Whether tiles of one row of tiles follow one another, rather than those of one column.
    ahead : int
        Loads of operands that are done before the array starts, so that it need not wait later.
    first_row, all_rows : int
        First row of the part, and rows of the product; as many as `m` if 0.
    """

    dataflow: Dataflow
    m: int
    k: int
    n: int
    tile_m: int
    tile_k: int
    tile_n: int
    rows_outer: bool = True
    ahead: int = 0
    first_row: int = 0
    all_rows: int = 0

    def __post_init__(self) -> None:
        if not self.all_rows:
            object.__setattr__(self, "all_rows", self.m)

    @property
    def rows(self) -> Span:
        """The rows of this part."""
        return Span(self.first_row, self.m)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of tiles along M, K and N."""
        return (
            -(-self.m // self.tile_m),
            -(-self.k // self.tile_k),
            -(-self.n // self.tile_n),
        )

    def tiles(self) -> Iterator[Tile]:
        """Return the tiles of the result in the order in which they are computed."""
        rows = [Span(self.first_row + start, size) for start, size in spans(self.m, self.tile_m)]
        columns = spans(self.n, self.tile_n)
        reduction = spans(self.k, self.tile_k)
        if self.rows_outer:
            return (Tile(m, n, reduction) for m in rows for n in columns)
        return (Tile(m, n, reduction) for n in columns for m in rows)

    def __str__(self) -> str:
        m, k, n = self.counts
        return (
            f"{self.dataflow.name} {self.m}x{self.k}x{self.n} in {m}x{k}x{n} tiles of "
            f"{self.tile_m}x{self.tile_k}x{self.tile_n}, {'rows' if self.rows_outer else 'columns'}"
            f" outer, {self.ahead} loads ahead"
        )


def spans(extent: int, size: int) -> tuple[Span, ...]:
    """Cut an axis into spans of `size`, the last one smaller."""
    return tuple(Span(start, min(size, extent - start)) for start in range(0, extent, size))
