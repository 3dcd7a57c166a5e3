"""Work for tests of sweeps, importable by the processes that do it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from hw.isa.config import Config
from hw.isa.registers import ErrorCode
from sim.result import MachineError, RunResult
from sw.explore.local import processes
from sw.explore.point import Outcome, Point, Status
from sw.explore.run import Result, explore
from sw.explore.store import Store
from sw.explore.sweep import Candidate, Plan, grid, parse_axis
from sw.explore.workload import Workload

JOBS = 2


def plan(workload: str = "gemm:12x10x9", **settings: int | float) -> Plan:
    """Return a small plan."""
    return Plan(Config().replace(**settings), Workload(workload), "auto", "latency")


def candidates(*sweeps: str, **settings: int | float) -> tuple[Candidate, ...]:
    """Return the grid of some sweeps over a small plan."""
    return grid(map(parse_axis, sweeps), plan(**settings))


def invented(point: Point) -> Outcome:
    """Return figures that tell the points apart, at once."""
    latency, cells = point.config.dram_latency, point.config.rows * point.config.columns
    seconds = (latency + 1000 // cells) / point.config.clock_mhz * 1e-6
    return Outcome(Status.DONE, latency, seconds, 1e-9 * cells, 1e-9, 100.0 * cells, 1, 2, 3)


def logged(point: Point) -> Outcome:
    """Do as `invented`, taking time, and append process and key to the file EXPLORE_LOG."""
    with Path(os.environ["EXPLORE_LOG"]).open("a") as log:
        log.write(f"{os.getpid()} {point.key}\n")
    time.sleep(0.1)
    return invented(point)


def dying(point: Point) -> Outcome:
    """End the process, as a system without memory does."""
    os._exit(9)


def failing(point: Point) -> Outcome:
    """Fail as a bug does."""
    raise ZeroDivisionError("bug")


def stopping(point: Point) -> Outcome:
    """Fail as a program does that the machine cannot finish."""
    raise MachineError(RunResult("timing", ErrorCode.TOKEN_DEADLOCK, 3, {}, 0.0, waiting=2))


def sweep(database: Path) -> tuple[Result, ...]:
    """Run the sweep that is killed."""
    found = candidates("dram_latency=" + ",".join(map(str, range(1, 31))))
    with processes(logged, JOBS) as run, Store(database) as store:
        return explore(found, store, run)


if __name__ == "__main__":
    sweep(Path(sys.argv[1]))
