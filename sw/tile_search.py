"""The search for the sizes of tiles: which fit the memories, and which of these is fastest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow

__all__ = ["Demand", "Problem", "Sizes", "ranked"]

LONGEST = (1 << 16) - 1
"""Largest extent that an instruction field holds."""
MOST_ENTRIES = LONGEST // 4
"""Most scale entries a load moves: it counts bytes."""
TILE_BYTES = 4 * 32
"""Instructions fetched for a tile, about."""
BURSTY = 1.2
"""How much longer loads take that all come at once, about."""
CROWDED = 64
"""Part of its time that the array loses where streams are as short as it has rows, about."""
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
    row_tables, column_tables : int
        Tables of scales or maxima that a tile needs along its rows, along its columns.
    row_fixed, column_fixed : int
        Words of these memories that are taken in any case.
    row_vectors, column_vectors : bool
        Whether 32-bit vectors along the rows, along the columns, lie in DRAM.
    whole_rows : bool
        Whether a tile has all columns.
    group : Axis or None
        Tiles that share maxima, see `sw.job.Job`; None without maxima.
    late : bool
        Whether the sums of a group are needed again when its maxima are known.
    out_bytes, narrowest : int
        Bytes stored for each element in all, and in the smallest format.
    left_transposed, right_transposed, update_left_transposed, update_right_transposed : bool
        Operands that loads transpose.
    """

    update_reduction: int = 0
    update_dataflow: Dataflow = Dataflow.WS
    row_tables: int = 0
    column_tables: int = 0
    row_fixed: int = 0
    column_fixed: int = 0
    row_vectors: bool = False
    column_vectors: bool = False
    whole_rows: bool = False
    group: Axis | None = None
    late: bool = False
    out_bytes: int = 4
    narrowest: int = 4
    left_transposed: bool = False
    right_transposed: bool = False
    update_left_transposed: bool = False
    update_right_transposed: bool = False


@dataclass(frozen=True)
class Problem:
    """A product with its demand on one configuration, and the granules of its tiles.

    A tile's first column in DRAM must be a multiple of the bus width, so axes that lie along DRAM
    rows are cut at multiples of it; and if `whole_words`, those that lie along lanes at multiples
    of them, so that no lanes are wasted.
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
        bus = config.bus_bytes
        found = {"m": 1, "k": 1, "n": max(1, bus // demand.narrowest)}
        left = "mk" if self.dataflow is Dataflow.WS else "km"
        operands = [
            (left, demand.left_transposed, config.rows),
            ("kn", demand.right_transposed, config.columns),
        ]
        if demand.update_reduction:
            # Its reduction, r, is never cut.
            left = "mr" if demand.update_dataflow is Dataflow.WS else "rm"
            operands.append((left, demand.update_left_transposed, config.rows))
            operands.append(("rn", demand.update_right_transposed, config.columns))
        for (rows, columns), transposed, lanes in operands:
            along = rows if transposed else columns
            found[along] = math.lcm(found.get(along, 1), bus)
            if self.whole_words:
                found[columns] = math.lcm(found.get(columns, 1), lanes)
        if demand.row_vectors:
            found["m"] = math.lcm(found["m"], max(1, bus // 4))
        if demand.column_vectors:
            found["n"] = math.lcm(found["n"], max(1, bus // 4))
        return found["m"], found["k"], found["n"]

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
        demand = self.demand
        if demand.row_tables:
            words["row_scale"] = demand.row_tables * m + demand.row_fixed
        if demand.column_tables:
            words["column_scale"] = demand.column_tables * column_blocks + demand.column_fixed
        return words

    @property
    def smallest(self) -> tuple[int, int, int]:
        """The smallest tile."""
        m, k, n = map(min, self.granules, (self.m, self.k, self.n))
        return m, k, self.n if self.demand.whole_rows else n

    def depth(self, memory: str) -> int:
        """Return the words of a memory."""
        depth = getattr(self.config, f"{memory}_depth")
        return 2 * depth if memory in ("input", "weight", "output") else depth

    def capacities(self) -> dict[str, int]:
        """Return the words a tile may take: half of a memory that has halves, if that is enough."""
        smallest = self.words(*self.smallest)
        depths = {memory: self.depth(memory) for memory in smallest}
        return {
            memory: depth if "scale" in memory or smallest[memory] > depth // 2 else depth // 2
            for memory, depth in depths.items()
        }

    def complaint(self) -> str:
        """Return why nothing fits."""
        product = f"the {self.dataflow.name} product {self.m}x{self.k}x{self.n} does not fit"
        loosest = replace(self, whole_words=False)
        smallest = "x".join(map(str, loosest.smallest))
        for memory, words in loosest.words(*loosest.smallest).items():
            if words > self.depth(memory):
                return (
                    f"{product}: its smallest tile {smallest} takes {words} words of the "
                    f"{memory.replace('_', '-')} memory, which has {self.depth(memory)}"
                )
        return f"{product}: its smallest tile {smallest} is too large for an instruction"

    def candidates(self) -> list[np.ndarray]:
        """Return the tile sizes worth trying along M, K and N: one for each number of tiles."""
        longest = [LONGEST] * 3
        if self.demand.row_vectors:
            longest[0] = MOST_ENTRIES
        if self.demand.column_vectors:
            longest[2] = MOST_ENTRIES
        sizes = zip((self.m, self.k, self.n), self.granules, longest, strict=True)
        cuts = [_cuts(*size) for size in sizes]
        if self.demand.whole_rows:
            cuts[2] = [size for size in cuts[2] if size == self.n]
        return [np.array(each, np.int64) for each in cuts]


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


Sizes = tuple[int, int, int, bool]
"""Tile M, tile K, tile N, and whether rows are outer."""


def ranked(problem: Problem, most: int) -> list[tuple[float, Sizes]]:
    """Return up to `most` tilings with their estimated cycles, best first; none if nothing fits."""
    sizes = _fitting(problem)
    if not sizes[0].size:
        problem = replace(problem, whole_words=False)
        sizes = _fitting(problem)
    found = []
    orders = {Axis.ROW: (True,), Axis.COLUMN: (False,)}.get(problem.demand.group, (True, False))
    for rows_outer in orders if sizes[0].size else ():
        cost = _cost(problem, *sizes, rows_outer)
        for index in np.lexsort(cost[::-1])[:most]:
            key = tuple(float(term[index]) for term in cost)
            found.append((key, (*(int(axis[index]) for axis in sizes), rows_outer)))
    found.sort(key=lambda item: item[0])
    seen: dict[tuple, tuple[float, Sizes]] = {}
    for key, tiling in found:
        # The order of tiles along one axis is the same both ways.
        alone = tiling[0] >= problem.m or tiling[2] >= problem.n
        same = tiling[:3] if alone else tiling
        seen.setdefault(same, (key[0], tiling))
    return list(seen.values())[:most]


def _cost(
    problem: Problem, tm: np.ndarray, tk: np.ndarray, tn: np.ndarray, rows_outer: bool
) -> tuple[np.ndarray, ...]:
    """Return (cycles, beats, tiles) for each candidate, to be compared in this order."""
    config = problem.config
    left, right, beats, tiles, bursty = _reads(problem, tm, tk, tn, rows_outer)
    m, n, out_bytes = problem.m, problem.n, problem.demand.out_bytes
    bus = config.bus_bytes
    stores = -(-m // tm) * -(-n // tn)
    writes = _transfer(config, m, n * out_bytes, tn * out_bytes, config.write_outstanding)
    array = _array(problem, tm, tk)
    # Short streams leave loads little time in which their half of a memory is not read.
    waves = tm if problem.dataflow is Dataflow.WS else tk
    array = array + array * np.minimum(1, config.rows / waves) ** 2 / CROWDED
    again = _passes(problem, tm, tn)
    array, left, right = array * again, left * again, right * again
    reads = left + right + (TILE_BYTES // bus + 6) * tiles
    first = left // np.maximum(-(-m // tm) * -(-problem.k // tk), 1)
    first = first + right // np.maximum(-(-problem.k // tk) * -(-n // tn), 1)
    exposed = first + writes // stores
    # Of what overlaps, nothing overlaps perfectly: a part is charged in any case.
    together = np.maximum(np.maximum(reads, writes), array)
    cycles = exposed + together + 2 * array + (reads + writes) // 8 + bursty
    return cycles, beats, tiles


def _passes(problem: Problem, tm: np.ndarray, tn: np.ndarray) -> np.ndarray:
    """Return how often each tile is computed: twice where a group's sums do not stay."""
    group, config = problem.demand.group, problem.config
    if not problem.demand.late:
        return np.ones_like(tm)
    m = tm if group is Axis.ROW else np.full_like(tm, problem.m)
    n = tn if group is Axis.COLUMN else np.full_like(tn, problem.n)
    stays = m * (-(-n // tn) * -(-tn // config.columns)) <= 2 * config.output_depth
    return np.where(stays, 1, 2)


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
) -> tuple[np.ndarray, ...]:
    """Return (cycles for the left, for the right operand, beats, tiles, cycles lost to bursts).

    The memory keeps the operand tiles it has room for: an operand is loaded again for each tile
    along the axis it does not have, unless all tiles needed in between stay.
    """
    config, (m, k, n) = problem.config, (problem.m, problem.k, problem.n)
    nm, nk, nn = -(-m // tm), -(-k // tk), -(-n // tn)
    words = problem.words(tm, tk, tn)
    left_room = np.maximum(2 * (problem.config.input_depth // words["input"]), 1)
    right_room = np.maximum(2 * (problem.config.weight_depth // words["weight"]), 1)
    left_stays = (nk if rows_outer else nk * nm) <= left_room
    right_stays = (nk * nn if rows_outer else nk) <= right_room
    left_times, right_times = np.where(left_stays, 1, nn), np.where(right_stays, 1, nm)
    demand = problem.demand
    left_axes = ((m, tm), (k, tk)) if problem.dataflow is Dataflow.WS else ((k, tk), (m, tm))
    left, left_beats = _operand(config, *left_axes, demand.left_transposed, config.rows)
    right, right_beats = _operand(config, (k, tk), (n, tn), demand.right_transposed, config.columns)
    beats = left_beats * left_times + right_beats * right_times
    # Where a tile asks for more than comes while one is computed, only a queue of tiles helps.
    array = _array(problem, tm, tk) / (nm * nn)
    bursty = nm * left_times * np.maximum(0, BURSTY * left / nm - array)
    bursty += nn * right_times * np.maximum(0, BURSTY * right / nn - array)
    return left * left_times, right * right_times, beats, nm * nk * nn, bursty / 2


def _operand(
    config: Config,
    rows: tuple[int, np.ndarray],
    columns: tuple[int, np.ndarray],
    transposed: bool,
    lanes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (cycles, beats) of a matrix on the bus; `rows`, `columns`: extent and tile on chip."""
    if not transposed:
        cycles = _transfer(config, rows[0], columns[0], columns[1], config.read_outstanding)
        return cycles, rows[0] * -(-columns[0] // config.bus_bytes) + 0 * columns[1]
    chunk = max(config.bus_bytes, lanes - lanes % config.bus_bytes)
    piece = np.minimum(rows[1], chunk)
    cycles = _transfer(config, columns[0], rows[0], piece, config.read_outstanding)
    return cycles, columns[0] * -(-rows[0] // config.bus_bytes) + 0 * piece


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
