"""The cycles of many tilings at once: a bound that none goes below, and an estimate.

`docs/choice.md` derives the terms. Constants are of the machine, but for `OVERLAP`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from hw.isa.instructions import Axis, Dataflow
from hw.isa.pipeline import LOADS_AHEAD

from .dataflow import fold_cycles
from .job import Copy, Job, Maxima, Output, Sums
from .tile_counts import Counts, Cut, Matrix, blocks

__all__ = ["Cycles"]

START = 20
"""Cycles at least from START to a first load's request, beside the latency of the fetch."""
ROUND_TRIP = 5
"""Cycles of a burst from its request to the place that it makes for another, beside the latency."""
LOAD_GAP, STORE_GAP = 2, 8
"""Cycles between the transfers of two instructions that follow one another, about."""
HANDOVER = 30
"""Cycles from a tile's last beat in DRAM to the first fold that takes its place, about, beside the
latency."""
OVERLAP, STEEP = 0.2, 4
"""Part of the second longest of array, loads and stores that does not hide under the longest if it
takes as long, and how steeply that falls where it is shorter: what fits best, over the products of
a training step (`docs/choice.md`)."""


class Cycles:
    """Cycles of candidates: arrays of one element for each.

    Parameters
    ----------
    counts : Counts
    job : Job
        What is made of the sums; its tiling does not matter.
    """

    def __init__(self, counts: Counts, job: Job) -> None:
        self.counts, self.config = counts, counts.config
        rate = self.config.dram_bytes_per_cycle
        self._beat = max(1.0, self.config.bus_bytes / rate) if rate else 1.0
        self._outputs, self._late = (*job.outputs, *job.late), job.late
        self._prompt = job.outputs
        self._fill = self.config.rows + self.config.columns

    @cached_property
    def array(self) -> np.ndarray:
        """Cycles of all folds, the last as if one more followed."""
        c, config = self.counts, self.config
        if c.is_ws:
            folds = c.k.run(lambda size: blocks(size, config.fold_reduction))
        else:
            folds = c.m.run(lambda size: blocks(size, config.rows))
        streams = self._cut.run(lambda size: self._fold(self._waves(size)))
        return streams * folds * c.run_blocks + self._update()

    @property
    def _cut(self) -> Cut:
        """The axis that streams."""
        return self.counts.m if self.counts.is_ws else self.counts.k

    def _fold(self, waves: np.ndarray) -> np.ndarray:
        """Return the cycles of a fold of so many waves."""
        return fold_cycles(self.config, self.counts.problem.dataflow, waves)

    def _waves(self, size: np.ndarray) -> np.ndarray:
        """Return the waves of so much of the axis that streams."""
        return size if self.counts.is_ws else blocks(size, self.config.macs_per_element)

    def _update(self) -> np.ndarray | int:
        """Return the cycles of the folds of the product that is scaled and accumulated."""
        c, config, demand = self.counts, self.config, self.counts.problem.demand
        reduction, flow = demand.update_reduction, demand.update_dataflow
        if not reduction:
            return 0
        if flow is Dataflow.WS:
            folds = -(-reduction // config.fold_reduction)
            streams = c.m.run(lambda size: fold_cycles(config, flow, size)) * folds
        else:
            fold = fold_cycles(config, flow, -(-reduction // config.macs_per_element))
            streams = c.m.run(lambda size: blocks(size, config.rows)) * fold
        return streams * c.run_blocks

    @cached_property
    def _behind(self) -> np.ndarray:
        """Cycles of the last fold behind its last wave, at most: for them nobody waits."""
        waves, demand = self._waves(self._cut.rest), self.counts.problem.demand
        behind = self._fold(waves) - waves
        if not demand.update_reduction:
            return behind
        if demand.update_dataflow is Dataflow.WS:
            waves = self.counts.m.rest
        else:
            waves = -(-demand.update_reduction // self.config.macs_per_element)
        return np.maximum(behind, fold_cycles(self.config, demand.update_dataflow, waves) - waves)

    @cached_property
    def bound(self) -> np.ndarray:
        """Cycles that no run of a candidate goes below.

        Work of one kind is summed before the longest kind is taken: beats of one operand may come
        under words of the other. A DRAM that was idle has saved a beat, so n beats take n - 1.
        """
        c, start = self.counts, START + 2 * self.config.dram_latency
        pair = (c.left, c.right)
        beats = sum(each.beats * each.least_times for each in pair)
        loads = self._longer(beats, sum(each.writes * each.least_times for each in pair))
        first = start + self._longer(
            sum(each.first_beats for each in pair), sum(each.first_writes for each in pair)
        )
        last = self._fill + self._least_last()
        ways = [
            first + self.array - self._behind + last,
            start + loads + last,
            first + self._first_tile + self._fill + self._least_stores(),
        ]
        if self._beat > 1:
            ways.append(start + (beats + self._written - 1) * self._beat)
        return np.maximum.reduce(ways)

    def _longer(self, beats: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Return the least cycles of so many beats on the bus and words on the chip."""
        return np.maximum((beats - 1) * self._beat, words)

    @cached_property
    def estimate(self) -> np.ndarray:
        """Cycles about as many as a run of a candidate takes, for an order among candidates."""
        c, latency = self.counts, self.config.dram_latency
        stores = self._stores(latency + ROUND_TRIP) + STORE_GAP * len(self._outputs) * c.tiles
        # A sum that is added to an old one keeps its half of the output memory from stores.
        deep = self.config.fold_reduction
        adds = c.k.total(lambda size: blocks(size, deep)) if c.is_ws else c.k.count
        kept = (1 - 1 / adds) * self.array / 2
        stores = stores + np.where(stores > self.array, kept, 0)
        shared = self._written * self._beat if self._beat > 1 else 0
        ways = [
            self._first + self.array + self._fill + self._last,
            START + 2 * latency + self._likely_loads() + shared + self._fill + self._last,
            self._first + self._first_tile + self._fill + stores + latency,
            self._first + self._turns(stores),
        ]
        longest, second = np.sort(ways, 0)[:-3:-1]
        return longest + OVERLAP * second * (second / longest) ** STEEP

    @cached_property
    def instructions(self) -> np.ndarray:
        """Instructions of a candidate, without tables."""
        c = self.counts
        loads = c.left.loads * c.left.times + c.right.loads * c.right.times
        tiles = c.m.run(np.ones_like) * c.n.run(np.ones_like)
        return loads + tiles * c.k.count + c.tiles * len(self._outputs)

    # Loads

    def _loads(self, matrix: Matrix) -> np.ndarray:
        """Return the cycles of loads of an operand, each tile once: beats, or words."""
        return np.maximum(matrix.beats * self._beat, matrix.writes)

    def _likely_loads(self) -> np.ndarray:
        """Return the cycles of all loads, with what bursts and instructions wait for DRAM."""
        config, trip = self.config, self.config.dram_latency + ROUND_TRIP
        total = jobs = 0
        for each in (self.counts.left, self.counts.right):
            waits = each.bursts * (trip / config.read_outstanding)
            total = total + np.maximum(self._loads(each), waits) * each.times
            jobs = jobs + each.loads * each.times
        return np.maximum(total + LOAD_GAP * jobs, jobs * trip / LOADS_AHEAD)

    @cached_property
    def _first(self) -> np.ndarray:
        """Cycles to the first fold: fetch, and the operands of the first instruction."""
        c = self.counts
        loads = [np.maximum(self._beat * m.first_beats, m.first_writes) for m in (c.left, c.right)]
        return START + 2 * self.config.dram_latency + sum(loads)

    @cached_property
    def _first_tile(self) -> np.ndarray:
        """Cycles of the folds of the first tile."""
        c, config = self.counts, self.config

        def folds(size: np.ndarray) -> np.ndarray:
            if c.is_ws:
                waves, folds = c.m.size, blocks(size, config.fold_reduction)
            else:
                waves, folds = self._waves(size), blocks(c.m.size, config.rows)
            return folds * self._fold(waves)

        least = c.k.total(folds) * blocks(c.n.size, config.columns)
        last = self._waves(c.m.size if c.is_ws else c.k.rest)
        return least - (self._fold(last) - last)

    # Stores

    def _sizes(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield each size of a tile: how many there are, rows and columns."""
        m, n = self.counts.m, self.counts.n
        for rows, row_tiles in ((m.size, m.count - 1), (m.rest, 1)):
            for columns, column_tiles in ((n.size, n.count - 1), (n.rest, 1)):
                yield row_tiles * column_tiles, rows, columns

    def _store(self, output: Output, m: np.ndarray, n: np.ndarray, trip: int) -> np.ndarray:
        """Return the cycles of the store engine for an output of a tile.

        A word a cycle, a beat a cycle, and in the time that a burst takes, `trip`, no more of them
        than may wait for DRAM. A tile that has no whole rows of the result writes bursts of its own
        for each row.
        """
        config = self.config
        words = self.counts.words_of(m, n)
        if isinstance(output, Maxima):
            return words
        beats, bursts = self._traffic(output, m, n)
        waits = bursts * (trip / config.write_outstanding)
        return np.maximum(np.maximum(words, self._beat * beats), waits)

    def _traffic(
        self, output: Sums | Copy, m: np.ndarray, n: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return beats and bursts of an output of a tile."""
        row = blocks((4 if isinstance(output, Sums) else 1) * n, self.config.bus_bytes)
        longest = self.config.burst_beats
        whole = n >= self.counts.n.extent
        bursts = np.where(whole, blocks(m * row, longest), m * blocks(row, longest))
        return m * row, bursts

    def _work(
        self, outputs: tuple[Output, ...], m: np.ndarray, n: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return words, beats and bursts of outputs of a tile."""
        words, beats, bursts = np.zeros((3, *self.counts.tiles.shape))
        for output in outputs:
            words = words + self.counts.words_of(m, n)
            if not isinstance(output, Maxima):
                ours, more = self._traffic(output, m, n)
                beats, bursts = beats + ours, bursts + more
        return words, beats, bursts

    def _least_stores(self) -> np.ndarray:
        """Return the least cycles of the store engine for all outputs of all tiles."""
        config = self.config
        total = np.zeros((3, *self.counts.tiles.shape))
        for tiles, rows, columns in self._sizes():
            total += tiles * np.array(self._work(self._outputs, rows, columns))
        words, beats, bursts = total
        answers = bursts * (config.dram_latency / config.write_outstanding)
        return np.maximum(self._longer(beats, words), answers)

    def _least_last(self) -> np.ndarray:
        """Return the least cycles from the last result to the end, as `_last` counts them."""
        c, latency = self.counts, self.config.dram_latency
        words, beats, _ = self._work(self._prompt, c.m.rest, c.n.rest)
        if self._late:
            stays, tall, wide = self._group()
            more, ours, _ = self._work(self._late, tall, wide)
            words, beats = np.where(stays, words, 0) + more, np.where(stays, beats, 0) + ours
        return self._longer(beats, words) + latency

    def _stores(self, trip: int) -> np.ndarray:
        """Return the cycles of the store engine for all outputs of all tiles."""
        total = np.zeros(self.counts.tiles.shape)
        for output in self._outputs:
            for tiles, rows, columns in self._sizes():
                total += tiles * self._store(output, rows, columns, trip)
        return total

    @cached_property
    def _written(self) -> np.ndarray:
        """Beats of all matrices written."""
        c, total = self.counts, 0
        for output in self._outputs:
            if not isinstance(output, Maxima):
                size = 4 if isinstance(output, Sums) else 1
                total = total + c.m.extent * c.n.total(
                    lambda extent, size=size: blocks(size * extent, self.config.bus_bytes)
                )
        return total

    @cached_property
    def _last(self) -> np.ndarray:
        """Cycles from the last result to the end: what can only be stored behind it.

        That is the last tile; and where it completes maxima, all tiles of its group, if they are on
        the chip.
        """
        c, latency = self.counts, self.config.dram_latency
        m, n = c.m.rest, c.n.rest
        first = sum(self._store(output, m, n, 0) for output in self._prompt)
        if not self._late:
            return first + latency
        stays, tall, wide = self._group()
        late = sum(self._store(output, tall, wide, 0) for output in self._late)
        return np.where(stays, first, 0) + late + latency

    def _group(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return whether the last group's sums stay, and rows and columns stored at its end."""
        c = self.counts
        again = {Axis.ROW: c.m.rest_runs, Axis.COLUMN: c.n.rest_runs}.get(c.group, c.m.runs)
        stays = again == 1
        tall = np.where(stays & (c.group is Axis.COLUMN), c.m.extent, c.m.rest)
        wide = np.where(stays & (c.group is Axis.ROW), c.n.extent, c.n.rest)
        return stays, tall, wide

    def _turns(self, stores: np.ndarray) -> np.ndarray:
        """Return the cycles in which tiles take turns with the places of the output memory.

        A place is free when what was there is in DRAM. Groups of many tiles, whose sums wait for
        their maxima, have the whole memory by turns.
        """
        c, config = self.counts, self.config
        tiles = c.m.run(np.ones_like) * c.n.run(np.ones_like)
        places = 2 * (config.output_depth // c.words_of(c.m.size, c.n.size))
        array, store = self.array / tiles, stores / tiles
        trip = store + self._fill + config.dram_latency + HANDOVER
        alone = tiles * (array + trip) / np.maximum(places, 1)
        if not self._late:
            return alone
        group = {Axis.ROW: c.n.count, Axis.COLUMN: c.m.count}.get(c.group, c.tiles)
        return np.where(group > 1, c.tiles / group * (array * group + trip), alone)
