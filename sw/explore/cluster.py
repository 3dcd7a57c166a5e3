"""Points computed by the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from .local import Evaluate, Runner
from .point import ExploreError, Outcome, Point

__all__ = ["cluster"]

CONNECT = 5
"""Seconds within which the scheduler must answer."""
APPEAR = 30
"""Seconds within which a first worker must be there."""
WAITING = 1
"""Points that wait for each thread of the workers."""


@contextmanager
def cluster(evaluate: Evaluate, address: str) -> Iterator[Runner]:
    """Give a runner on the cluster whose scheduler listens at `address`.

    The workers need this package, of the same version, installed.

    Raises
    ------
    ExploreError
        Dask is missing, the scheduler does not answer, has no worker, or is lost.
    """
    try:
        from dask.distributed import Client
    except ImportError:
        raise ExploreError(
            "--scheduler needs dask.distributed: pip install 'cdmqta[cluster]'"
        ) from None
    try:
        client = Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, ValueError) else "no answer"
        raise ExploreError(
            f"--scheduler {address}: {reason}; accepted is the address of a running Dask "
            "scheduler, such as tcp://127.0.0.1:8786"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=APPEAR)
        except TimeoutError:
            raise ExploreError(f"--scheduler {address} has no workers") from None
        yield lambda points: _run(client, evaluate, points, address)


def _run(client, evaluate: Evaluate, points: Sequence[Point], address: str):
    from dask.distributed import as_completed

    left = iter(points)
    asked = {}

    def submit(count: int) -> list:
        futures = []
        for point in islice(left, count):
            future = client.submit(evaluate, point, pure=False)
            asked[future.key] = point
            futures.append(future)
        return futures

    threads = sum(client.nthreads().values())
    completed = as_completed(submit(threads * (1 + WAITING)), loop=client.loop)
    for future in completed:
        yield asked.pop(future.key), _result(future, address)
        # Workers may have come since.
        room = sum(client.nthreads().values()) * (1 + WAITING) - len(asked)
        completed.update(submit(max(room, 0)))


def _result(future, address: str) -> Outcome:
    from dask.distributed import CancelledError, KilledWorker

    try:
        return future.result()
    except KilledWorker:
        raise ExploreError(f"--scheduler {address}: workers died computing a point") from None
    except CancelledError:
        raise ExploreError(f"--scheduler {address}: the scheduler was lost") from None
    except ImportError as error:
        raise ExploreError(
            f"--scheduler {address}: a worker cannot compute a point ({error}): it needs the same "
            "cdmqta installed"
        ) from None
