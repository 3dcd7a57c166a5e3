"""Points computed by processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import connection

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
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin)

    def run(points: Sequence[Point]) -> Iterator[tuple[Point, Outcome]]:
        left = iter(points)
        window = jobs * (1 + WAITING)
        running = {pool.submit(evaluate, point): point for point in islice(left, window)}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
                for point in islice(left, 1):
                    running[pool.submit(evaluate, point)] = point

    try:
        yield run
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise ExploreError(
                "a process that computed a point died, perhaps for want of memory: "
                "fewer --jobs need less"
            ) from None
        raise
    pool.shutdown()


def _begin() -> None:
    """Leave Ctrl-C to the parent, which ends this process, and do not outlive it.

    A process of the pool does not notice by itself that its parent was killed: it holds both ends
    of the queue that it waits for.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
