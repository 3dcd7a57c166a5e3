"""What a product asks of its tiles: the memories they must fit, where they may be cut."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow

from .lying import left_words, right_words

__all__ = ["Demand", "Problem"]

LONGEST = (1 << 16) - 1
"""Largest extent that an instruction field holds."""
MOST_ENTRIES = LONGEST // 4
"""Most scale entries a load moves: it counts bytes."""


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
    right_packed : bool
        Whether the right operand lies in DRAM with four bits an element.
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
    right_packed: bool = False


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
            (left, demand.left_transposed, self._left_lanes(self.dataflow), bus),
            ("kn", demand.right_transposed, config.columns, bus * (1 + demand.right_packed)),
        ]
        if demand.update_reduction:
            # Its reduction, r, is never cut.
            left = "mr" if demand.update_dataflow is Dataflow.WS else "rm"
            lanes = self._left_lanes(demand.update_dataflow)
            operands.append((left, demand.update_left_transposed, lanes, bus))
            operands.append(("rn", demand.update_right_transposed, config.columns, bus))
        for (rows, columns), transposed, lanes, elements in operands:
            along = rows if transposed else columns
            found[along] = math.lcm(found.get(along, 1), elements)
            if self.whole_words:
                found[columns] = math.lcm(found.get(columns, 1), lanes)
        if self.whole_words and self.dataflow is Dataflow.OS:
            found["k"] = math.lcm(found["k"], config.macs_per_element)
        if demand.row_vectors:
            found["m"] = math.lcm(found["m"], max(1, bus // 4))
        if demand.column_vectors:
            found["n"] = math.lcm(found["n"], max(1, bus // 4))
        return found["m"], found["k"], found["n"]

    def _left_lanes(self, dataflow: Dataflow) -> int:
        """Return the lanes of the left operand that the array reads at once from a row of it."""
        return self.config.fold_reduction if dataflow is Dataflow.WS else self.config.rows

    def words(self, m: object, k: object, n: object) -> dict[str, object]:
        """Return the words a tile takes in each memory; sizes may be arrays."""
        config, reduction = self.config, self.demand.update_reduction
        column_blocks = -(-n // config.columns)
        left = left_words(config, self.dataflow, m, k)
        if reduction:
            left = left + left_words(config, self.demand.update_dataflow, m, reduction)
        words = {
            "input": left,
            "weight": right_words(config, k, n) + right_words(config, reduction, n),
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
