"""Third pass: dataflow, orientation, tiles and their order, by exact time and energy.

Every candidate has an estimate and a bound in closed form (`sw.tile_cost`, `sw.tile_events`). In
the order of the estimates they are compiled and timed to the cycle (`sw.trial`), until no bound of
the rest is below the best found, which then is the best of the space, or until that is too much
work; then the decision tells how far below the best the rest could be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from hw.isa.numerics import MAX_REDUCTION

from .dataflow import Choice, array_cycles, available
from .job import Job
from .place import PlacementError, check_fits
from .tile import TileError
from .tile_problem import Problem
from .tile_search import GOALS, Goal, Space, worth
from .trial import Trial

__all__ = ["OBJECTIVES", "Decision", "Draft", "Objective", "check_reduction", "decide"]

Objective = Literal[Goal, "array"]
"""What a plan is to make small: the time from start to end, the energy of chip and DRAM, their
product; or, at the price of a later start, the time from the first operand fed to the last result.
The last is for measuring the array: a product that DRAM cannot bring as fast as the array takes it
then starts when enough of it is there."""
OBJECTIVES: tuple[str, ...] = (*GOALS, "array")

Draft = Callable[[Dataflow], tuple[Job, Problem]]
"""Makes the job and the problem of a product in a dataflow."""

WORK = 32_000
"""Work that all trials of a product may be, in microseconds, about."""
EACH, INSTRUCTION, CYCLE = 1500, 45, 0.11
"""Microseconds of a trial, of one of its instructions and of one of its cycles, about."""
TRUST = 0.05
"""By how much an estimate must be below what was timed to be taken instead."""
MOST = 40
"""Trials of a product."""
TRIALS = 8
"""Candidates timed if the array is to be measured."""
REFINED = 2
"""Of these, the best, for which a later start of the array is tried."""
AT_WORK = 0.97
"""Part of its time, from first operand to last result, that an array with a short time works."""
IDLE = 4
"""What a cycle counts that the array waits beyond that."""


@dataclass(frozen=True)
class Decision:
    """A job, and how good it is known to be.

    Members
    -------
    job : Job
    objective : str
    candidates : int
        Tilings, in all dataflows and orientations, that there are.
    timed : int
        How many of these were compiled and timed to the cycle.
    value : float
        What the job is worth: cycles, joules or joule seconds.
    bound : float
        What nothing in the space is worth less than; equal to `value` if that is the best.
    estimated : bool
        Whether `value` is an estimate: the job itself was too much work to time.
    """

    job: Job
    objective: Objective
    candidates: int
    timed: int
    value: float
    bound: float
    estimated: bool = False

    @property
    def proven(self) -> bool:
        """Whether nothing in the space is better."""
        return not self.estimated and self.value <= self.bound

    @property
    def gap(self) -> float:
        """Part of the value that another candidate could be better, at most."""
        return max(0.0, 1 - self.bound / self.value)

    def __str__(self) -> str:
        how = "the best" if self.proven else f"within {self.gap:.1%} of the best"
        about = "about " if self.estimated else ""
        return f"{about}{how} of {self.candidates} tilings, {self.timed} timed"


def decide(
    config: Config,
    choice: Choice,
    *drafts: Draft,
    objective: Objective = "latency",
) -> Decision:
    """Choose among all tilings of a product, in each dataflow, as it is and transposed.

    The same work is done wherever it runs: how many are timed depends on their sizes, not on
    clocks.

    Parameters
    ----------
    choice : "auto", "ws" or "os"
    *drafts : Draft
        The product as it is and, if it may be computed instead, as its transpose.
    objective : "latency", "energy", "edp" or "array"
        See `Objective`.

    Raises
    ------
    ValueError
        `choice` or `objective` is unknown.
    TileError, PlacementError
        The reduction could overflow, the product does not fit the memories, or DRAM.
    """
    dataflows = available(config, choice)
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {'|'.join(OBJECTIVES)}, not {objective!r}")
    drawn = [draft(flow) for flow in dataflows for draft in drafts]
    _check(config, drawn[0][1], drawn[0][0].gemm.name)
    space = Space.of(drawn, "latency" if objective == "array" else objective)
    if not space.size:
        raise TileError(drawn[0][1].complaint())
    found = _busiest(config, space) if objective == "array" else _best(config, space, objective)
    return replace(found, job=replace(found.job, choice=str(found)))


def _check(config: Config, problem: Problem, name: str) -> None:
    """Refuse what is out of reach before the search, whose space grows with the sizes."""
    m, k, n = problem.m, problem.k, problem.n
    check_fits(config, m * k + k * n + m * n * problem.demand.out_bytes, f"the matrices of {name}")
    check_reduction(k)


def check_reduction(k: int) -> None:
    """Refuse a product whose sums could leave int32, by the length of its reduction."""
    if k > MAX_REDUCTION:
        raise TileError(f"a reduction of {k} could leave int32: it must be at most {MAX_REDUCTION}")


def _best(config: Config, space: Space, goal: Goal) -> Decision:
    """Return the best of a space, as far as work allows."""
    order = space.order()
    work = EACH + INSTRUCTION * space.instructions + CYCLE * space.cycles
    left, most = WORK, MOST
    best: tuple[float, Job] | None = None
    error: ValueError | None = None
    left_out, timed = np.ones(space.size, bool), 0
    for index in order:
        if most == 0 or work[index] > left:
            continue
        if best is not None and space.bound[index] >= best[0]:
            continue
        left_out[index], left, most = False, left - work[index], most - 1
        job = space.job(index)
        try:
            value = _value(config, Trial(config, job), goal)
        except (TileError, PlacementError) as found:  # tables that stay, or a long program
            error = found
            continue
        timed += 1
        if best is None or value < best[0]:
            best = value, job
    unknown = space.estimate[left_out].min(initial=np.inf) * (1 + TRUST)
    estimated = best is None or unknown < best[0]
    if estimated:
        best = _untimed(config, space, order[left_out[order]], error)
    value, job = best
    rest = float(space.bound[left_out].min(initial=np.inf))
    return Decision(job, goal, space.size, timed, value, min(rest, value), estimated)


def _untimed(
    config: Config, space: Space, order: np.ndarray, error: ValueError | None
) -> tuple[float, Job]:
    """Return the most promising job that can be placed, with its estimate."""
    for index in order:
        job = space.job(index)
        try:
            Trial(config, job).check()
        except TileError as found:
            error = found
            continue
        return float(space.estimate[index]), job
    raise error or TileError("nothing fits")


def _value(config: Config, trial: Trial, goal: Goal) -> float:
    """Return what a job is worth."""
    cycles = trial.counters["cycles"]
    if goal == "latency":
        return cycles
    return worth(config, goal, trial.activity, cycles)


def _busiest(config: Config, space: Space) -> Decision:
    """Return the job whose array has the least time from first operand to last result, about."""
    folds = np.array([
        array_cycles(config, problem.dataflow, problem.m, problem.k, problem.n)
        for _, problem in space.drafts
    ])  # fmt: skip
    best = int(folds.min())
    allowed = int(best / AT_WORK) + 2 * config.rows + config.columns
    order = space.order()
    timed = []
    # A dataflow of more folds may end as soon, but its array is at work for longer.
    for index in order[folds[space.draft[order]] <= allowed][:TRIALS]:
        trial = Trial(config, space.job(index))
        try:
            timed.append((trial.counters, trial))
        except (TileError, PlacementError):
            continue
    if not timed:
        raise TileError(space.drafts[0][1].complaint())

    def cost(each: tuple[dict[str, int], Trial]) -> int:
        counters = each[0]
        return counters["cycles"] + IDLE * max(0, counters["array_cycles"] - allowed)

    for _, trial in sorted(timed, key=cost)[:REFINED]:
        timed += [(later.counters, later) for later in _later(config, trial, allowed)]
    counters, trial = min(timed, key=cost)
    cycles = counters["array_cycles"]
    return Decision(trial.job, "array", space.size, len(timed), cycles, min(best, cycles))


def _later(config: Config, trial: Trial, allowed: int) -> Iterator[Trial]:
    """Yield a job with the array started so late that it need not wait longer than allowed."""
    waits = trial.counters["array_cycles"] - allowed
    if waits <= 0:
        return
    first, loads = trial.first, trial.loads
    before = int(np.searchsorted(loads, first, "right"))
    parts = (first + int(waits * part) for part in (1, 1.2, 1.5, 2))
    for ahead in sorted({int(np.searchsorted(loads, cycle, "right")) for cycle in parts}):
        if ahead > before:
            tiling = replace(trial.job.tiling, ahead=ahead)
            yield Trial(config, replace(trial.job, tiling=tiling))
