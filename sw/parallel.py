"""Work side by side, in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import connection

__all__ = ["spread"]

Spread = Callable[..., Iterable]
"""Works as `map`; what it calls is importable by name."""


@contextmanager
def spread(jobs: int | None = None) -> Iterator[Spread]:
    """Give what works as `map`, with a process for each core; with one core, `map` itself.

    Parameters
    ----------
    jobs : int, optional
        Processes.
    """
    jobs = jobs or _cores()
    if jobs == 1:
        yield map
        return
    # Started anew, not forked: threads of the parent, of compiled code for one, do no harm then.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin)
    others = set(multiprocessing.active_children())
    try:
        yield pool.map
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    pool.shutdown()


def _cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _begin() -> None:
    """Leave Ctrl-C to the parent, and end when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
