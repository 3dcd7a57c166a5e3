"""A job tried: compiled by itself, and timed to the cycle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Engine
from hw.isa.registers import ErrorCode
from sim.activity import Activity, activity
from sim.result import DramTiming, Event, MachineError, RunResult

from .compile import compile_jobs, input_matrix, output_requests
from .dataflow import array_cycles
from .job import Job
from .place import Request
from .program import Program
from .steps import Stager

__all__ = ["Trial", "job_requests"]

LONG = 300_000
"""Cycles of the array from which on a run is long."""


def job_requests(job: Job) -> list[Request]:
    """Return the requests for all buffers of a job, its operands in the order of their names."""
    operands = (job.left, job.right, job.update_left, job.update_right)
    shapes = {each.buffer: (each.rows, each.columns) for each in operands if each is not None}
    found = {name: input_matrix(name, shapes[name]) for name in sorted(shapes)}
    for request in output_requests(job):
        found.setdefault(request.name, request)
    return list(found.values())


@dataclass(frozen=True)
class Trial:
    """A job on a configuration, alone in a program."""

    config: Config
    job: Job

    @cached_property
    def program(self) -> Program:
        """The program; raises TileError if tables that stay leave no room for a tile."""
        return compile_jobs(self.config, "trial", [self.job], job_requests(self.job), {})

    @cached_property
    def activity(self) -> Activity:
        """What the program does."""
        return activity(self.config, self.program.instructions)

    @cached_property
    def counters(self) -> dict[str, int]:
        """The counters of its run, with the DRAM of the configuration."""
        # Keeping what has been walked pays where much comes again.
        tiling = self.job.tiling
        folds = array_cycles(self.config, tiling.dataflow, tiling.m, tiling.k, tiling.n)
        return self._run(repeats=folds >= LONG).counters

    @cached_property
    def _events(self) -> tuple[Event, ...]:
        return self._run(events=True).events

    @property
    def first(self) -> int:
        """The cycle in which the first operand is fed."""
        done = max(e.cycle for e in self._events if e.engine is Engine.EXECUTE)
        return done + 1 - self.counters["array_cycles"]

    @property
    def loads(self) -> np.ndarray:
        """The cycles in which loads are done, in order."""
        return np.array(
            [e.cycle for e in self._events if e.engine is Engine.LOAD and e.kind == "done"]
        )

    def check(self) -> None:
        """Raise TileError if tables that stay leave no room for a tile."""
        Stager(self.config).steps(self.job)

    def _run(self, **options: bool) -> RunResult:
        from sim.timing import run  # its compiler takes a second to import

        program = self.program
        result = run(
            self.config, program.encode(), program_address=program.layout.program_address,
            timing=DramTiming.of(self.config), **options,
        )  # fmt: skip
        if result.error is not ErrorCode.NONE:
            raise MachineError(result)
        return result
