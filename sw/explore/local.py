"""Points computed by processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice

from ..parallel import workers
from .point import ExploreError, Outcome, Point

__all__ = ["Evaluate", "Runner", "processes"]

Evaluate = Callable[[Point], Outcome]
"""What computes a point: importable by name, for it runs elsewhere."""
Runner = Callable[[Sequence[Point]], Iterator[tuple[Point, Outcome]]]
"""Computes points, and yields each with its outcome as it is done, in any order."""

WAITING = 1
"""Points that wait for each process: one, so that none is idle between two."""


@contextmanager
def processes(evaluate: Evaluate, jobs: int) -> Iterator[Runner]:
    """Give a runner with `jobs` processes; when it is left early, they are ended at once.

    Raises
    ------
    ExploreError
        A process died.
    """
    try:
        with workers(jobs) as pool:
            yield partial(_run, pool, evaluate, jobs * (1 + WAITING))
    except BrokenProcessPool:
        raise ExploreError(
            "a process that computed a point died, perhaps for want of memory: fewer --jobs need "
            "less"
        ) from None


def _run(
    pool: Executor, evaluate: Evaluate, window: int, points: Sequence[Point]
) -> Iterator[tuple[Point, Outcome]]:
    """Compute points, `window` of them handed out at a time."""
    left = iter(points)
    running = {pool.submit(evaluate, point): point for point in islice(left, window)}
    while running:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future.result()
            for point in islice(left, 1):
                running[pool.submit(evaluate, point)] = point
