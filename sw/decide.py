"""Third pass: dataflow, orientation and tiles of a product, by estimated time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal, get_args

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from hw.isa.numerics import MAX_REDUCTION

from .dataflow import CHOICES, Choice, array_cycles
from .estimate import Estimate, estimate
from .job import Job
from .place import check_fits
from .steps import Stager
from .tile import TileError, Tiling
from .tile_problem import Problem
from .tile_search import Sizes, ranked

__all__ = ["OBJECTIVES", "Draft", "Objective", "decide", "predict"]

Objective = Literal["latency", "array"]
"""What a plan is to make short: the time from start to end, or, at the price of a later start, that
from the first operand fed to the last result. The second is for measuring the array: a product
that DRAM cannot bring as fast as the array takes it then starts when enough of it is there."""
OBJECTIVES: tuple[str, ...] = get_args(Objective)

Draft = Callable[[Dataflow], tuple[Job, Problem]]
"""Makes the job and the problem of a product in a dataflow."""

TRIALS = 4
"""Tilings of each dataflow and orientation whose steps are timed."""
MOST_STEPS = 2500
"""Steps that are timed for all trials together, about."""
REFINED = 2
"""Of these, the best, for which a later start of the array is tried."""
AT_WORK = 0.97
"""Part of its time, from first operand to last result, that an array with a short time works."""
IDLE = 4
"""What a cycle counts that the array waits beyond that."""


def decide(
    config: Config,
    choice: Choice,
    *drafts: Draft,
    objective: Objective = "latency",
) -> Job:
    """Return the job estimated fastest, loads, array and stores overlapping as they do.

    Parameters
    ----------
    choice : "auto", "ws" or "os"
    *drafts : Draft
        The product as it is and, if it may be computed instead, as its transpose.
    objective : "latency" or "array"
        See `Objective`.

    Raises
    ------
    ValueError
        `choice` or `objective` is unknown.
    TileError, PlacementError
        The reduction could overflow, the product does not fit the memories, or DRAM.
    """
    if choice not in CHOICES:
        raise ValueError(f"dataflow must be one of {'|'.join(CHOICES)}, not {choice!r}")
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {'|'.join(OBJECTIVES)}, not {objective!r}")
    dataflows = list(Dataflow) if choice == "auto" else [Dataflow[choice.upper()]]
    drawn = [draft(flow) for flow in dataflows for draft in drafts]
    _check(config, drawn[0][1], drawn[0][0].gemm.name)
    trials = []
    for job, problem in drawn:
        trials += [(cost, sizes, job, problem) for cost, sizes in ranked(problem, TRIALS)]
    if not trials:
        raise TileError(drawn[0][1].complaint())
    trials.sort(key=lambda trial: trial[0])
    timed = _timed(config, [replace(job, tiling=_tiling(p, sizes)) for _, sizes, job, p in trials])
    if objective == "latency":
        return min(timed, key=lambda each: each[1].cycles)[0]
    best = min(_ideal(config, problem) for _, problem in drawn)
    allowed = int(best / AT_WORK) + 2 * config.rows + config.columns
    for job, at in sorted(timed, key=lambda each: _cost(each[1], allowed))[:REFINED]:
        timed += _later(config, job, at, allowed)
    return min(timed, key=lambda each: _cost(each[1], allowed))[0]


def _timed(config: Config, jobs: list[Job]) -> list[tuple[Job, Estimate]]:
    """Return the jobs with their times, as many as the number of steps allows, one at least."""
    timed, left, error = [], MOST_STEPS, None
    for job in jobs:
        m, k, n = job.tiling.counts
        left -= m * n * (2 * k + 1)
        if left < 0 and timed:
            break
        try:
            timed.append((job, predict(config, job)))
        except TileError as found:  # tables that stay leave no room
            error = found
    if not timed and error is not None:
        raise error
    return timed


def _check(config: Config, problem: Problem, name: str) -> None:
    """Refuse what is out of reach before the search, whose space grows with the sizes."""
    m, k, n = problem.m, problem.k, problem.n
    check_fits(config, m * k + k * n + m * n * problem.demand.out_bytes, f"the matrices of {name}")
    if k > MAX_REDUCTION:
        raise TileError(f"a reduction of {k} could leave int32: it must be at most {MAX_REDUCTION}")


def _tiling(problem: Problem, sizes: Sizes) -> Tiling:
    return Tiling(problem.dataflow, problem.m, problem.k, problem.n, *sizes)


def _ideal(config: Config, problem: Problem) -> int:
    return array_cycles(config, problem.dataflow, problem.m, problem.k, problem.n)


def _cost(timed: Estimate, allowed: int) -> int:
    return timed.cycles + IDLE * max(0, timed.array_cycles - allowed)


def _later(
    config: Config, job: Job, timed: Estimate, allowed: int
) -> Iterator[tuple[Job, Estimate]]:
    """Yield the job with the array started so late that it need not wait longer than allowed."""
    waits = timed.array_cycles - allowed
    if waits <= 0:
        return
    before = timed.loads_by(timed.first)
    pace = min(1.0, allowed / max(timed.loads[-1] - timed.loads[0], 1))
    starts = {timed.loads_by(timed.first + int(waits * part)) for part in (1, 1.2, 1.5, 2)}
    for ahead in sorted(starts):
        for each in (0.0, 0.7 * pace, pace) if ahead > before else ():
            held = replace(job, tiling=replace(job.tiling, ahead=ahead, pace=each))
            yield held, predict(config, held)


def predict(config: Config, job: Job) -> Estimate:
    """Return the time a job alone would take."""
    return estimate(config, Stager(config).steps(job))
