"""The search for the sizes of tiles: which fit the memories, and which of these is fastest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Dataflow

__all__ = ["Demand", "Problem", "best_sizes"]

LONGEST = (1 << 16) - 1
"""Largest extent that an instruction field holds."""
MOST_ENTRIES = LONGEST // 4
"""Most scale entries a load moves: it counts bytes."""
TILE_BYTES = 4 * 32
"""Instructions fetched for a tile, about."""
ROUND_TRIP = 12
"""Cycles that the machine adds to the latency of the DRAM, about."""


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
class Problem:
    """A product with its demand on one configuration, and the granules of its tiles.

    A tile's first column in DRAM must be a multiple of the bus width, so axes that lie along DRAM
    rows are cut at multiples of it; and if `whole_words`, at multiples of the lanes as well, so
    that no lanes are wasted.
    """

    config: Config
    dataflow: Dataflow
    m: int
    k: int
    n: int
    demand: Demand
    whole_words: bool = True

    @property
    def granules(self) -> tuple[int, int, int]:
        config, demand = self.config, self.demand
        left = right = config.bus_bytes
        if self.whole_words:
            left, right = math.lcm(left, config.rows), math.lcm(right, config.columns)
        is_ws = self.dataflow is Dataflow.WS
        granule_m = 1 if is_ws else left
        if demand.row_table:
            granule_m = math.lcm(granule_m, max(1, config.bus_bytes // 4))
        if demand.update_reduction and demand.update_dataflow is Dataflow.OS:
            granule_m = math.lcm(granule_m, left)
        return granule_m, left if is_ws else 1, right

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

    @property
    def smallest(self) -> tuple[int, int, int]:
        """The smallest tile."""
        return tuple(map(min, self.granules, (self.m, self.k, self.n)))

    def half(self, memory: str) -> int:
        """Return the words of half a memory."""
        depth = getattr(self.config, f"{memory}_depth")
        return depth if memory in ("input", "weight", "output") else depth // 2

    def capacities(self) -> dict[str, int]:
        """Return the words a tile may take: half of each memory, or all if half is too small."""
        smallest = self.words(*self.smallest)
        halves = {memory: self.half(memory) for memory in smallest}
        return {m: half if smallest[m] <= half else 2 * half for m, half in halves.items()}

    def complaint(self) -> str:
        """Return why nothing fits."""
        product = f"the {self.dataflow.name} product {self.m}x{self.k}x{self.n} does not fit"
        loosest = replace(self, whole_words=False)
        smallest = "x".join(map(str, loosest.smallest))
        for memory, words in loosest.words(*loosest.smallest).items():
            if words > 2 * self.half(memory):
                return (
                    f"{product}: its smallest tile {smallest} takes {words} words of the "
                    f"{memory.replace('_', '-')} memory, which has {2 * self.half(memory)}"
                )
        return f"{product}: its smallest tile {smallest} is too large for an instruction"

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
    """Return the sizes of the largest of equal tiles, one for each number of tiles."""
    units = -(-extent // granule)
    # Up to the root the number of tiles tells the size, beyond it the size the number.
    small = range(1, math.isqrt(units) + 2)
    counts = {*small, *(-(-units // size) for size in small)}
    sizes = {min(extent, granule * -(-units // count)) for count in counts}
    return sorted(size for size in sizes if size <= longest)


def _fitting(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return M, K and N of every candidate that fits the memories."""
    axes = np.meshgrid(*problem.candidates(), indexing="ij")
    tm, tk, tn = (axis.ravel() for axis in axes)
    words, capacities = problem.words(tm, tk, tn), problem.capacities()
    fits = np.logical_and.reduce([words[memory] <= capacities[memory] for memory in words])
    return tm[fits], tk[fits], tn[fits]


def best_sizes(problem: Problem) -> tuple[int, int, int, bool] | None:
    """Return (tile M, tile K, tile N, rows outer) of the best tiling, or None if nothing fits."""
    sizes = _fitting(problem)
    if not sizes[0].size:
        problem = replace(problem, whole_words=False)
        sizes = _fitting(problem)
    if not sizes[0].size:
        return None
    best = None
    for rows_outer in (True, False):
        cost = _cost(problem, *sizes, rows_outer)
        index = np.lexsort(cost[::-1])[0]
        key = tuple(int(term[index]) for term in cost)
        if best is None or key < best[0]:
            best = key, (*(int(axis[index]) for axis in sizes), rows_outer)
    return best[1]


def _cost(
    problem: Problem, tm: np.ndarray, tk: np.ndarray, tn: np.ndarray, rows_outer: bool
) -> tuple[np.ndarray, ...]:
    """Return (cycles, beats, tiles) for each candidate, to be compared in this order."""
    config = problem.config
    left, right, beats, tiles = _reads(problem, tm, tk, tn, rows_outer)
    m, n, out_bytes = problem.m, problem.n, problem.demand.out_bytes
    bus = config.bus_bytes
    stores = -(-m // tm) * -(-n // tn)
    writes = _transfer(config, m, n * out_bytes, tn * out_bytes, config.write_outstanding)
    writes = writes + stores * config.dram_latency  # a store ends with its last answer
    array = _array(problem, tm, tk)
    reads = left + right + TILE_BYTES * tiles // bus
    first = left // np.maximum(-(-m // tm) * -(-problem.k // tk), 1)
    first = first + right // np.maximum(-(-problem.k // tk) * -(-n // tn), 1)
    exposed = first + writes // stores
    # Of what overlaps, nothing overlaps perfectly: a quarter is charged in any case.
    cycles = exposed + np.maximum(np.maximum(reads, writes), array) + (reads + writes + array) // 4
    return cycles, beats, tiles


def _transfer(
    config: Config, rows: int, whole: int, piece: np.ndarray, outstanding: int
) -> np.ndarray:
    """Return the cycles that a matrix takes on the bus in pieces of rows.

    Parameters
    ----------
    rows, whole : int
        Rows of the matrix, and bytes in each.
    piece : int64
        Bytes of each piece of a row. Pieces shorter than the row are bursts of their own, and of
        bursts only so many may wait for the DRAM.
    """
    bus, longest = config.bus_bytes, config.burst_beats
    beats = rows * -(-whole // bus)
    pieces = rows * -(-whole // piece) * -(-piece // (bus * longest))
    bursts = np.where(piece < whole, pieces, -(-beats // longest))
    return np.maximum(beats, bursts * (config.dram_latency + ROUND_TRIP) // outstanding)


def _reads(
    problem: Problem, tm: np.ndarray, tk: np.ndarray, tn: np.ndarray, rows_outer: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return (cycles for the left, cycles for the right operand, beats, tiles).

    The memory keeps the operand tiles it has room for: an operand is loaded again for each tile
    along the axis it does not have, unless all tiles needed in between stay.
    """
    config, (m, k, n) = problem.config, (problem.m, problem.k, problem.n)
    nm, nk, nn = -(-m // tm), -(-k // tk), -(-n // tn)
    words = problem.words(tm, tk, tn)
    left_room = np.maximum(2 * (problem.half("input") // words["input"]), 1)
    right_room = np.maximum(2 * (problem.half("weight") // words["weight"]), 1)
    left_stays = (nk if rows_outer else nk * nm) <= left_room
    right_stays = (nk * nn if rows_outer else nk) <= right_room
    left_times, right_times = np.where(left_stays, 1, nn), np.where(right_stays, 1, nm)
    rows, whole, piece = (m, k, tk) if problem.dataflow is Dataflow.WS else (k, m, tm)
    left = _transfer(config, rows, whole, piece, config.read_outstanding)
    right = _transfer(config, k, n, tn, config.read_outstanding)
    bus = config.bus_bytes
    beats = rows * -(-whole // bus) * left_times + k * -(-n // bus) * right_times
    return left * left_times, right * right_times, beats, nm * nk * nn


def _array(problem: Problem, tm: np.ndarray, tk: np.ndarray) -> np.ndarray:
    """Return the cycles of the array: folds times the streamed length, at least the rows."""
    rows, columns = problem.config.rows, problem.config.columns
    if problem.dataflow is Dataflow.WS:
        folded, cut, streamed = problem.k, tm, problem.m
    else:
        folded, cut, streamed = problem.m, tk, problem.k
    whole, rest = streamed // cut, streamed % cut
    streams = whole * np.maximum(cut, rows) + np.where(rest > 0, np.maximum(rest, rows), 0)
    return -(-folded // rows) * -(-problem.n // columns) * streams
