"""The space of tilings of a product, and what each is worth at best and about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Axis
from sim.activity import Activity

from .job import Job
from .tile import Tiling
from .tile_cost import Cycles
from .tile_counts import Counts
from .tile_events import Events, events, rates
from .tile_problem import Problem

__all__ = ["GOALS", "Goal", "Space", "fitting", "worth"]

Goal = Literal["latency", "energy", "edp"]
GOALS: tuple[Goal, ...] = get_args(Goal)
"""Cycles; joules on the chip and in DRAM; joules times seconds."""

ALIKE = 0.005
"""Part by which estimates differ that tell nothing."""


def fitting(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return M, K and N of every candidate that fits the memories; of whole words, if any does."""
    axes = np.meshgrid(*problem.candidates(), indexing="ij")
    tm, tk, tn = (axis.ravel() for axis in axes)
    words, capacities = problem.words(tm, tk, tn), problem.capacities()
    fits = np.logical_and.reduce([words[memory] <= capacities[memory] for memory in words])
    if problem.whole_words and not fits.any():
        return fitting(replace(problem, whole_words=False))
    return tm[fits], tk[fits], tn[fits]


def worth(
    config: Config, goal: Goal, found: Events | Activity, cycles: np.ndarray | int
) -> np.ndarray | float:
    """Return what events and cycles are worth for a goal of energy: less is better."""
    joules = rates(config).joules(found, cycles)
    return joules if goal == "energy" else joules * cycles / (config.clock_mhz * 1e6)


@dataclass(frozen=True, eq=False)
class Space:
    """Every tiling of a product in some dataflows and orientations: a flat list of candidates.

    Members
    -------
    drafts : sequence of (Job, Problem)
        A job for each dataflow and orientation.
    draft, tm, tk, tn, rows_outer : array
        Of each candidate: which draft, sizes of a tile, order of tiles.
    estimate, bound : float64
        What each is worth, about, and what it is not worth less than.
    instructions, cycles : float64
        How many it has and takes, about.
    """

    drafts: Sequence[tuple[Job, Problem]]
    draft: np.ndarray
    tm: np.ndarray
    tk: np.ndarray
    tn: np.ndarray
    rows_outer: np.ndarray
    estimate: np.ndarray
    bound: np.ndarray
    instructions: np.ndarray
    cycles: np.ndarray

    @classmethod
    def of(cls, drafts: Sequence[tuple[Job, Problem]], goal: Goal) -> Space:
        """Return the space of some drafts."""
        parts = [_part(index, *draft, goal) for index, draft in enumerate(drafts)]
        return cls(drafts, *map(np.concatenate, zip(*parts, strict=True)))

    @property
    def size(self) -> int:
        """Number of candidates."""
        return len(self.draft)

    def order(self) -> np.ndarray:
        """Return the candidates, the most promising first, and of those alike the shortest."""
        alike = np.floor(np.log(self.estimate / self.estimate.min(initial=np.inf)) / ALIKE)
        return np.lexsort((self.bound, self.instructions, alike))

    def job(self, index: int) -> Job:
        """Return the job of a candidate."""
        job, problem = self.drafts[self.draft[index]]
        sizes = (int(each[index]) for each in (self.tm, self.tk, self.tn))
        tiling = Tiling(
            problem.dataflow, problem.m, problem.k, problem.n, *sizes, bool(self.rows_outer[index])
        )
        return replace(job, tiling=tiling)


def _part(index: int, job: Job, problem: Problem, goal: Goal) -> tuple[np.ndarray, ...]:
    """Return the candidates of one draft, as `Space` lists them."""
    sizes = fitting(problem)
    orders = {Axis.ROW: (True,), Axis.COLUMN: (False,)}.get(problem.demand.group, (True, False))
    outer = np.repeat(orders, len(sizes[0]))
    tm, tk, tn = (np.tile(size, len(orders)) for size in sizes)
    # The order of tiles along one axis is the same both ways.
    kept = (tm < problem.m) & (tn < problem.n) | (outer == orders[0])
    tm, tk, tn, outer = (each[kept] for each in (tm, tk, tn, outer))
    counts = Counts(problem, tm, tk, tn, outer)
    cycles = Cycles(counts, job)
    estimate, bound = cycles.estimate, cycles.bound
    if goal != "latency":
        estimate = worth(problem.config, goal, events(counts, job), estimate)
        bound = worth(problem.config, goal, events(counts, job, least=True), bound)
    draft = np.full(len(tm), index)
    return draft, tm, tk, tn, outer, estimate, bound, cycles.instructions, cycles.estimate
