"""Third pass: cut a product into tiles that fit the memories."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from hw.isa.numerics import MAX_REDUCTION

__all__ = ["Demand", "Span", "Tile", "TileError", "Tiling", "tile"]

LONGEST = (1 << 16) - 1
"""Largest extent that an instruction field holds."""
MOST_ENTRIES = LONGEST // 4
"""Most scale entries a load moves: it counts bytes."""


class TileError(ValueError):
    """A product that cannot be tiled; the message gives the sizes."""


@dataclass(frozen=True)
class Demand:
    """What a product asks of its tiles, beside its own operands.

    Members
    -------
    update_reduction : int
        Length of the reduction of the product scaled into each tile; 0 if there is none.
    update_dataflow : Dataflow
    row_table, column_table : bool
        Whether tiles load or store 32-bit vectors along their rows, along their columns.
    out_bytes : int
        Bytes stored for each element.
    """

    update_reduction: int = 0
    update_dataflow: Dataflow = Dataflow.WS
    row_table: bool = False
    column_table: bool = False
    out_bytes: int = 4


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


@dataclass(frozen=True)
class _Problem:
    """A product with its demand on one configuration, and the granules of its tiles.

    A tile's first column in DRAM must be a multiple of the bus width, and tiles of whole words
    waste no lanes: so these axes are cut at multiples of both.
    """

    config: Config
    dataflow: Dataflow
    m: int
    k: int
    n: int
    demand: Demand

    @property
    def granules(self) -> tuple[int, int, int]:
        config, demand = self.config, self.demand
        left = math.lcm(config.rows, config.bus_bytes)
        is_ws = self.dataflow is Dataflow.WS
        granule_m = 1 if is_ws else left
        if demand.row_table:
            granule_m = math.lcm(granule_m, max(1, config.bus_bytes // 4))
        if demand.update_reduction and demand.update_dataflow is Dataflow.OS:
            granule_m = math.lcm(granule_m, left)
        return granule_m, left if is_ws else 1, math.lcm(config.columns, config.bus_bytes)

    def words(self, m: object, k: object, n: object) -> dict[str, object]:
        """Return the words a tile takes in each memory; sizes may be arrays."""
        config, reduction = self.config, self.demand.update_reduction
        row_blocks, column_blocks = -(-m // config.rows), -(-n // config.columns)
        left = m * -(-k // config.rows) if self.dataflow is Dataflow.WS else k * row_blocks
        if reduction and self.demand.update_dataflow is Dataflow.WS:
            update = m * -(-reduction // config.rows)
        else:
            update = reduction * row_blocks
        words = {
            "input": left + update,
            "weight": (k + reduction) * column_blocks,
            "output": m * column_blocks,
        }
        if self.demand.row_table:
            words |= {"row_scale": m, "accumulate_scale": m}
        if self.demand.column_table:
            words["column_scale"] = column_blocks
        return words

    def capacities(self) -> dict[str, int]:
        """Return the words a tile may take: half of each memory, or all if half is too small.

        Raises
        ------
        TileError
            Even the smallest tile takes more than the whole memory.
        """
        smallest = [min(*pair) for pair in zip(self.granules, (self.m, self.k, self.n), strict=True)]
        found = {}
        for memory, words in self.words(*smallest).items():
            depth = getattr(self.config, f"{memory}_depth")
            half = depth if memory in ("input", "weight", "output") else depth // 2
            if words > 2 * half:
                size = "x".join(str(extent) for extent in smallest)
                raise TileError(
                    f"the {self.dataflow.name} product {self.m}x{self.k}x{self.n} does not fit: its "
                    f"smallest tile {size} takes {words} words of the {memory.replace('_', '-')} "
                    f"memory, which has {2 * half}"
                )
            found[memory] = half if words <= half else 2 * half
        return found

    def candidates(self) -> list[np.ndarray]:
        """Return the tile sizes worth trying along M, K and N: one for each number of tiles."""
        longest = [LONGEST] * 3
        if self.demand.row_table:
            longest[0] = MOST_ENTRIES
        if self.demand.column_table:
            longest[2] = MOST_ENTRIES
        sizes = zip((self.m, self.k, self.n), self.granules, longest, strict=True)
        return [np.array(_cuts(*size), np.int64) for size in sizes]


def _cuts(extent: int, granule: int, longest: int) -> list[int]:
    units = -(-extent // granule)
    sizes = {min(extent, granule * -(-units // count)) for count in range(1, units + 1)}
    return sorted(size for size in sizes if size <= longest)


@lru_cache(maxsize=4096)
def tile(
    config: Config, dataflow: Dataflow, m: int, k: int, n: int, demand: Demand = Demand()
) -> Tiling:
    """Return the tiling estimated fastest: loads, array and stores overlapping, ends exposed.

    Raises
    ------
    TileError
        The reduction could overflow, or no tile fits the memories.
    """
    if k > MAX_REDUCTION:
        raise TileError(
            f"a reduction of {k} could leave int32: it must be at most {MAX_REDUCTION}"
        )
    problem = _Problem(config, dataflow, m, k, n, demand)
    capacities = problem.capacities()
    tm, tk, tn = (axis.ravel() for axis in np.meshgrid(*problem.candidates(), indexing="ij"))
    words = problem.words(tm, tk, tn)
    fits = np.logical_and.reduce([words[memory] <= capacities[memory] for memory in words])
    tm, tk, tn = tm[fits], tk[fits], tn[fits]
    if not tm.size:
        raise TileError(
            f"the {dataflow.name} product {m}x{k}x{n} does not fit: a tile must be cut at multiples "
            f"of {'x'.join(map(str, problem.granules))}, and no such tile fits an instruction"
        )
    best = None
    for rows_outer in (True, False):
        cost = _cost(problem, tm, tk, tn, rows_outer)
        index = np.lexsort(cost[::-1])[0]
        key = tuple(float(term[index]) for term in cost)
        if best is None or key < best[0]:
            chosen = (int(axis[index]) for axis in (tm, tk, tn))
            best = key, Tiling(dataflow, m, k, n, *chosen, rows_outer)
    return best[1]


def _cost(
    problem: _Problem, tm: np.ndarray, tk: np.ndarray, tn: np.ndarray, rows_outer: bool
) -> tuple[np.ndarray, ...]:
    """Return (cycles, beats, tiles) for each candidate, to be compared in this order.

    The memory keeps the operand tiles it has room for: an operand is loaded again for each tile
    along the axis it does not have, unless all tiles needed in between stay.
    """
    config, demand, bus = problem.config, problem.demand, problem.config.bus_bytes
    m, k, n = problem.m, problem.k, problem.n
    is_ws = problem.dataflow is Dataflow.WS
    nm, nk, nn = -(-m // tm), -(-k // tk), -(-n // tn)
    words = problem.words(tm, tk, tn)
    left_room = np.maximum(2 * (config.input_depth // words["input"]), 1)
    right_room = np.maximum(2 * (config.weight_depth // words["weight"]), 1)
    left_stays = (nk if rows_outer else nk * nm) <= left_room
    right_stays = (nk * nn if rows_outer else nk) <= right_room
    left = m * -(-k // bus) if is_ws else k * -(-m // bus)
    right = k * -(-n // bus)
    tiles = nm * nk * nn
    reads = (
        left * np.where(left_stays, 1, nn)
        + right * np.where(right_stays, 1, nm)
        + 4 * 32 * tiles // bus  # about four instructions a tile
    )
    writes = np.full_like(tm, m * -(-n * demand.out_bytes // bus))
    folded, cut, streamed = (k, tm, m) if is_ws else (m, tk, k)
    whole, rest = streamed // cut, streamed % cut
    streams = whole * np.maximum(cut, config.rows) + np.where(
        rest > 0, np.maximum(rest, config.rows), 0
    )
    array = -(-folded // config.rows) * -(-n // config.columns) * streams
    first_left = tm * -(-tk // bus) if is_ws else tk * -(-tm // bus)
    last_out = tm * -(-tn * demand.out_bytes // bus)
    exposed = first_left + tk * -(-tn // bus) + last_out
    cycles = exposed + np.maximum(np.maximum(reads, writes), array)
    return cycles, reads + writes, tiles
