"""Third pass: cut a product into tiles that fit the memories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from hw.isa.numerics import MAX_REDUCTION

from .tile_search import Demand, Problem, best_sizes

__all__ = ["Demand", "Span", "Tile", "TileError", "Tiling", "spans", "tile"]


class TileError(ValueError):
    """A product that cannot be tiled; the message gives the sizes."""


@dataclass(frozen=True)
class Span:
    """Indices `start` to ``start + size - 1`` of one axis; `index` counts the spans."""

    index: int
    start: int
    size: int


@dataclass(frozen=True)
class Tile:
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
        Sizes of the product.
    tile_m, tile_k, tile_n : int
        Sizes of a tile; the last of an axis may be smaller.
    rows_outer : bool
        Whether tiles of one row of tiles follow one another, rather than those of one column.
    """

    dataflow: Dataflow
    m: int
    k: int
    n: int
    tile_m: int
    tile_k: int
    tile_n: int
    rows_outer: bool = True

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
        rows, columns = spans(self.m, self.tile_m), spans(self.n, self.tile_n)
        reduction = spans(self.k, self.tile_k)
        if self.rows_outer:
            return (Tile(m, n, reduction) for m in rows for n in columns)
        return (Tile(m, n, reduction) for n in columns for m in rows)

    def __str__(self) -> str:
        m, k, n = self.counts
        return (
            f"{self.dataflow.name} {self.m}x{self.k}x{self.n} in {m}x{k}x{n} tiles of "
            f"{self.tile_m}x{self.tile_k}x{self.tile_n}, {'rows' if self.rows_outer else 'columns'}"
            " outer"
        )


def spans(extent: int, size: int) -> tuple[Span, ...]:
    """Cut an axis into spans of `size`, the last one smaller."""
    starts = range(0, extent, size)
    return tuple(Span(i, s, min(size, extent - s)) for i, s in enumerate(starts))


@lru_cache(maxsize=4096)
def tile(
    config: Config, dataflow: Dataflow, m: int, k: int, n: int, demand: Demand | None = None
) -> Tiling:
    """Return the tiling estimated fastest: loads, array and stores overlapping, ends exposed.

    Raises
    ------
    TileError
        The reduction could overflow, or no tile fits the memories.
    """
    if k > MAX_REDUCTION:
        raise TileError(f"a reduction of {k} could leave int32: it must be at most {MAX_REDUCTION}")
    problem = Problem(config, dataflow, m, k, n, demand or Demand())
    best = best_sizes(problem)
    if best is None:
        raise TileError(problem.complaint())
    return Tiling(dataflow, m, k, n, *best)
