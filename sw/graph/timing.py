"""How long a step takes: every program by the timing model, without data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.result import DramTiming, MachineError, RunResult

from .program import StepProgram

__all__ = ["time_step"]


def time_step(
    step: StepProgram,
    timing: DramTiming | None = None,
    *,
    timeline: bool = False,
    progress: Callable[[str, int], Any] | None = None,
) -> tuple[RunResult, ...]:
    """Return cycles, counters and events of each program: none of them depends on data.

    Programs of equal shapes are timed each: where their buffers lie decides how bursts are cut.

    Parameters
    ----------
    timing : DramTiming, optional
        That of the step's configuration by default.
    timeline : bool
        Record the activity of every cycle, too.
    progress : callable, optional
        Called with "run" and the cycles so far, before each program.

    Raises
    ------
    MachineError
        The machine stopped with an error.
    BackendError
        A program does not end.
    """
    from sim.timing import run

    results: list[RunResult] = []
    cycles = 0
    for program in step.programs:
        if progress is not None:
            progress("run", cycles)
        result = run(
            step.config, program.encode(), program_address=program.layout.program_address,
            timing=timing, events=True, timeline=timeline,
        )  # fmt: skip
        if result.error:
            raise MachineError(result)
        cycles += result.counters["cycles"]
        results.append(result)
    return tuple(results)
