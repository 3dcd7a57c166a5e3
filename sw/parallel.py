"""Work side by side, in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import connection

__all__ = ["cores", "spread", "workers"]

Spread = Callable[..., Iterable]
"""Works as `map`; what it calls is importable by name."""


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of processes; when it is left early, they are ended at once."""
    others = set(multiprocessing.active_children())
    # Started anew, not forked: threads of the parent, of compiled code for one, do no harm then.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    pool.shutdown()


@contextmanager
def spread(jobs: int | None = None) -> Iterator[Spread]:
    """Give what works as `map`, with a process for each core; with one core, `map` itself.

    Parameters
    ----------
    jobs : int, optional
        Processes.
    """
    jobs = jobs or cores()
    if jobs == 1:
        yield map
        return
    with workers(jobs) as pool:
        yield partial(_map, pool)


def _map(pool: Executor, function: Callable, *iterables: Iterable) -> Iterator:
    """Do as `Executor.map`, but leave it to the pool to cancel what is left when it is left early.

    `map` cancels futures behind the pool's back, whose thread then finds them in no state it knows.
    """
    futures = [pool.submit(function, *arguments) for arguments in zip(*iterables, strict=False)]
    return (future.result() for future in futures)


def cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
