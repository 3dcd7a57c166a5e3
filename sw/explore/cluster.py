"""Points computed by the workers of a Dask cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from .local import Evaluate, Runner
from .point import ExploreError, Outcome, Point

if TYPE_CHECKING:
    from dask.distributed import Client, Future

__all__ = ["cluster"]

CONNECT = 5
"""Seconds within which the scheduler must answer."""
APPEAR = 30
"""Seconds within which a first worker must be there."""
WAITING = 1
"""Points that wait for each thread of the workers."""


async def _knock(address: str) -> None:
    """Connect to an address, and leave again.

    Raises
    ------
    OSError, ValueError
        Nobody answers; it is no address.
    """
    from distributed.comm import connect

    comm = await connect(address, timeout=CONNECT)
    await comm.close()


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
    logging.getLogger("distributed.client").setLevel(
        logging.CRITICAL
    )  # the errors below say it all
    try:
        # First by hand: a client that cannot be made complains again when it is thrown away.
        asyncio.run(_knock(address))
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
        yield partial(_run, client, evaluate, address)


def _run(
    client: Client, evaluate: Evaluate, address: str, points: Sequence[Point]
) -> Iterator[tuple[Point, Outcome]]:
    from dask.distributed import as_completed

    left = iter(points)
    asked: dict[str, Point] = {}

    def room() -> int:
        """Return how many points may be asked for; workers come and go."""
        return max(0, sum(client.nthreads().values()) * (1 + WAITING) - len(asked))

    def submit(count: int) -> list[Future]:
        futures = []
        for point in islice(left, count):
            future = client.submit(evaluate, point, pure=False)
            asked[future.key] = point
            futures.append(future)
        return futures

    try:
        completed = as_completed(submit(max(1, room())), loop=client.loop)
        for future in completed:
            outcome = _result(future, address)
            yield asked.pop(future.key), outcome
            completed.update(submit(room() if asked else max(1, room())))
    except OSError:
        if client.status == "running":  # it came from a worker
            raise
        raise ExploreError(f"--scheduler {address}: the scheduler was lost") from None


def _result(future: Future, address: str) -> Outcome:
    """Return the outcome of a point, or say in a line why there is none."""
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
