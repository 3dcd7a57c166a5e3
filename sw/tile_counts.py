"""What many tilings of a product do, at once: tiles, words, loads and beats in closed form.

An axis of length E in tiles of t is cut into ``ceil(E / t) - 1`` tiles of t and one of the rest, so
a sum over all tiles of what depends on their size has two terms an axis. `sw.steps` makes the same
things one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hw.isa.instructions import Axis, Dataflow

from .residency import Results
from .tile_problem import Problem

__all__ = ["Counts", "Cut", "Matrix", "blocks", "operand_loads"]

Of = Callable[[np.ndarray], np.ndarray]


def blocks(extent: np.ndarray, lanes: int) -> np.ndarray:
    """Return how many words of `lanes` elements hold so many."""
    return -(-extent // lanes)


class Cut:
    """An axis of the product as candidates cut it: number of tiles, their size, that of the last.

    `large` of the tiles have the full size. Each is computed `runs` times, the last `rest_runs`.
    """

    def __init__(self, extent: int, size: np.ndarray) -> None:
        self.extent, self.size = extent, np.minimum(size, extent)
        self.count = -(-extent // self.size)
        self.rest = extent - (self.count - 1) * self.size
        self.large = self.count - (self.rest < self.size)
        self.runs = self.rest_runs = np.ones_like(self.size)

    def total(self, of: Of) -> np.ndarray:
        """Return the sum of a function of the size over all tiles."""
        return (self.count - 1) * of(self.size) + of(self.rest)

    def run(self, of: Of) -> np.ndarray:
        """Return the same with each tile as often as it is computed."""
        return (self.count - 1) * self.runs * of(self.size) + self.rest_runs * of(self.rest)


@dataclass(frozen=True)
class Matrix:
    """An operand, each of its tiles loaded once; `times` is how often they are.

    Members
    -------
    loads, words, writes, beats, bursts : int64
        Instructions, words on the chip, the cycles in which they are written, and what they ask of
        the bus. Bursts are counted as if no
        boundary cut them.
    turned : bool
        Whether loads transpose it.
    first_beats, first_writes : int64
        Of the first tile.
    times, least_times : float64
        `least_times` holds for whatever is kept: a round that has more words than the memory finds
        no more of them than the memory has.
    """

    loads: np.ndarray
    words: np.ndarray
    writes: np.ndarray
    beats: np.ndarray
    bursts: np.ndarray
    turned: bool
    first_beats: np.ndarray
    first_writes: np.ndarray
    times: np.ndarray
    least_times: np.ndarray


class Counts:
    """Counts of candidates for the tiles of a product: arrays of one element for each.

    Parameters
    ----------
    problem : Problem
    tm, tk, tn : int64
        Sizes of tiles.
    rows_outer : bool
        Order of the tiles.

    Members
    -------
    m, k, n : Cut
    """

    def __init__(
        self,
        problem: Problem,
        tm: np.ndarray,
        tk: np.ndarray,
        tn: np.ndarray,
        rows_outer: np.ndarray,
    ) -> None:
        self.problem, self.config = problem, problem.config
        self.group = problem.demand.group
        self.rows_outer = rows_outer
        self.is_ws = problem.dataflow is Dataflow.WS
        self.m, self.k, self.n = Cut(problem.m, tm), Cut(problem.k, tk), Cut(problem.n, tn)
        self.tiles = self.m.count * self.n.count
        if problem.demand.late:
            self._compute_again()

    def words_of(self, m: np.ndarray, n: np.ndarray) -> np.ndarray:
        """Return the words of sums of a tile."""
        return m * blocks(n, self.config.columns)

    @cached_property
    def blocks(self) -> np.ndarray:
        """Words of `columns` in a row of the result, all tiles."""
        return self.n.total(lambda size: blocks(size, self.config.columns))

    @cached_property
    def run_blocks(self) -> np.ndarray:
        """The same, each tile as often as it is computed."""
        return self.n.run(lambda size: blocks(size, self.config.columns))

    def _compute_again(self) -> None:
        """Note which tiles are computed twice: where the sums of their group do not stay.

        Groups of the last tile of an axis are smaller, and may stay where others do not.
        """
        m, n = self.m, self.n
        whole = np.where(self._stays(m.size, n.size), 1, 2)
        match self.group:
            case Axis.ROW:
                m.runs, m.rest_runs = whole, np.where(self._stays(m.rest, n.size), 1, 2)
            case Axis.COLUMN:
                n.runs, n.rest_runs = whole, np.where(self._stays(m.size, n.rest), 1, 2)
            case _:
                m.runs = m.rest_runs = whole

    def _stays(self, m: np.ndarray, n: np.ndarray) -> np.ndarray:
        """Return whether the sums of a group of tiles up to m x n stay until its maxima are known.

        They go to the halves of the output memory by turns, see `sw.residency.Results`.
        """
        group, half = self.group, self.config.output_depth
        count = {Axis.ROW: self.n.count, Axis.COLUMN: self.m.count}.get(group, self.tiles)
        size = self.words_of(m, n)
        last = self.words_of(
            m if group is Axis.ROW else self.m.rest, n if group is Axis.COLUMN else self.n.rest
        )
        fit = (count - 1 <= 2 * (half // size)) & (half - (count - 1) // 2 * size >= last)
        fit |= count == 1
        if group is Axis.TENSOR:
            self._try_all(fit)
        return fit

    def _try_all(self, fit: np.ndarray) -> None:
        """Correct whether all tiles stay where they have more than two sizes: by placing them."""
        half, lanes = self.config.output_depth, self.config.columns
        several = (self.m.count > 1) & (self.n.count > 1)
        fit[several] = False
        small = self.m.extent * self.blocks <= 2 * half
        for index in np.flatnonzero(several & small):
            rows, columns = (
                [int(cut.size[index])] * int(cut.count[index] - 1) + [int(cut.rest[index])]
                for cut in (self.m, self.n)
            )
            if not self.rows_outer[index]:
                sizes = [m * -(-n // lanes) for n in columns for m in rows]
            else:
                sizes = [m * -(-n // lanes) for m in rows for n in columns]
            fit[index] = Results(half).get_all(sizes) is not None

    @cached_property
    def left(self) -> Matrix:
        """The left operand."""
        rows, columns = (self.m, self.k) if self.is_ws else (self.k, self.m)
        return self._matrix("input", self.m, self.n, rows, columns, self.rows_outer)

    @cached_property
    def right(self) -> Matrix:
        """The right operand."""
        return self._matrix("weight", self.n, self.m, self.k, self.n, ~self.rows_outer)

    def _rounds(self, own: Cut, other: Cut, near: np.ndarray) -> np.ndarray:
        """Return how often all tiles of an operand are asked for, on average.

        Once for each tile along the axis `other` that the operand does not have, and again where
        they are computed twice. `near` is whether those of one tile along its own axis, `own`,
        stay as long as the tiles of the other axis follow one another.
        """
        again = self.m.runs if self.group is Axis.TENSOR else 1
        far = other.run(np.ones_like) * (own.run(lambda size: size) / own.extent)
        return np.where(near, again, far)

    def _matrix(
        self, memory: str, own: Cut, other: Cut, rows: Cut, columns: Cut, own_outer: np.ndarray
    ) -> Matrix:
        """Return the counts of an operand whose rows and columns on the chip are cut so.

        Tiles that have been loaded stay if all that is used until they are used again has room.
        What was used longest ago goes first, so where a round has no room nothing is found again.
        All have room if the largest find places in both halves, and there are words enough for the
        smaller.
        """
        config = self.config
        lanes = config.rows if memory == "input" else config.columns
        transposed = getattr(
            self.problem.demand, "left_transposed" if memory == "input" else "right_transposed"
        )
        # Words of a row of the left operand of WS are written as many at once as they are read.
        wide = memory == "input" and self.is_ws and not transposed
        at_once = lanes * config.macs_per_element if wide else lanes
        size = self.problem.words(self.m.size, self.k.size, self.n.size)[memory]
        depth = self.problem.depth(memory)
        room = np.maximum(2 * (depth // 2 // size), 1)
        words = rows.extent * columns.total(lambda extent: blocks(extent, lanes))
        all_stay = (self.k.large * own.large <= room) & (words <= depth)
        near = own_outer & np.where(own.count == 1, all_stay, self.k.count <= room)
        times = np.where(all_stay, 1, self._rounds(own, other, near))
        # A round is one tile of the own axis, of which the last is the smallest, or all.
        part = np.where(own_outer, own.rest / own.extent, 1.0)
        lost = np.maximum(0.0, 1 - depth / (words * part))
        outer, inner = (columns, rows) if transposed else (rows, columns)
        packed = memory == "weight" and self.problem.demand.right_packed
        # Where columns are turned a beat at a time, both halves of a packed one are read apart.
        apart = transposed and config.transpose_columns == config.bus_bytes
        beat = config.bus_bytes * (2 if packed and not apart else 1)
        beats = outer.extent * inner.total(lambda extent: blocks(extent, beat))
        # A packed beat is two beats on its way to the memory.
        paces = (at_once, config.bus_bytes) if packed else (at_once,)
        writes, first_writes = (
            rows.extent * columns.total(lambda extent: _slowest(extent, paces)),
            rows.size * _slowest(columns.size, paces),
        )
        return Matrix(
            loads=rows.count * columns.count,
            words=words,
            writes=writes,
            beats=beats,
            bursts=self._bursts(outer, inner, transposed, beats, beat),
            turned=transposed,
            first_beats=outer.size * blocks(inner.size, beat),
            first_writes=first_writes,
            times=times,
            least_times=1 + (times - 1) * lost,
        )

    def _bursts(
        self, outer: Cut, inner: Cut, transposed: bool, beats: np.ndarray, beat: int
    ) -> np.ndarray:
        """Return the bursts of a matrix that lies in rows of `inner`, `beat` elements a beat.

        A tile that has whole rows of it is one piece of DRAM; else each row is a burst or more, and
        so is each part of it that the transposer takes at a time.
        """
        longest = self.config.burst_beats
        part = np.minimum(inner.size, self.config.transpose_columns) if transposed else inner.size
        pieces = -(-inner.extent // part) * blocks(blocks(part, beat), longest)
        return np.where(part >= inner.extent, blocks(beats, longest), outer.extent * pieces)


def _slowest(extent: np.ndarray, paces: tuple[int, ...]) -> np.ndarray:
    """Return the cycles of an extent at the slowest of some paces."""
    return np.maximum.reduce([blocks(extent, pace) for pace in paces])


def operand_loads(
    problem: Problem, tm: np.ndarray, tk: np.ndarray, tn: np.ndarray, rows_outer: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each candidate loads the left operand, and the right one."""
    counts = Counts(problem, tm, tk, tn, np.full(len(tm), rows_outer))
    return counts.left.times, counts.right.times
