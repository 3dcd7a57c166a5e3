"""All passes in a row: from decided products to a program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hw.isa.config import Config
from hw.isa.instructions import Axis

from .job import Copy, Job, Maxima, Output, Sums
from .lower import lower
from .place import Request, Role, place
from .program import Program
from .tokens import add_tokens

__all__ = ["compile_jobs", "input_matrix", "input_table", "output_requests"]


def compile_jobs(
    config: Config,
    name: str,
    jobs: Sequence[Job],
    requests: Iterable[Request],
    meta: dict[str, int | str],
) -> Program:
    """Place the buffers, lower the jobs and add the tokens.

    Parameters
    ----------
    requests : iterable of Request
        Every buffer the jobs name. Several outputs may take one table: of requests of one name the
        first counts.

    Raises
    ------
    PlacementError
        DRAM is too small.
    """
    named: dict[str, Request] = {}
    for request in requests:
        named.setdefault(request.name, request)
    layout = place(config, named.values())
    lowered = lower(config, jobs, layout)
    tokened = add_tokens(config, lowered.instructions, lowered.held)
    return Program(name, config, tokened.instructions, layout, lowered.products, meta)


def input_matrix(name: str, shape: tuple[int, int], *, packed: bool = False) -> Request:
    """Return the request for an INT8 matrix of the host; `packed` it takes four bits an element."""
    return Request(name, "int4" if packed else "int8", *shape, Role.INPUT)


def input_table(name: str, entries: int) -> Request:
    """Return the request for a table of scale entries."""
    return Request(name, "uint32", 1, entries, Role.INPUT)


def output_requests(job: Job) -> list[Request]:
    """Return the requests for what a job writes to DRAM, and for the tables that it loads."""
    requests = []
    for output in (*job.outputs, *job.late):
        requests.append(_output(job, output))
        if isinstance(output, Copy) and output.loaded:
            requests.append(input_table(output.scales, _entries(job, output.axis)))
        if not isinstance(output, Sums) and output.unit:
            requests.append(input_table(output.unit, job.tiling.all_rows))
        if isinstance(output, Maxima) and output.factor:
            requests.append(input_table(output.factor, 1))
    return requests


def _output(job: Job, output: Output) -> Request:
    if isinstance(output, Maxima):
        return Request(output.buffer, "uint32", 1, _entries(job, output.axis), Role.OUTPUT)
    dtype = "int32" if isinstance(output, Sums) else "int8"
    rows, columns = job.tiling.all_rows, job.gemm.n
    return Request(output.buffer, dtype, rows, columns, Role.OUTPUT, job.swapped)


def _entries(job: Job, axis: Axis) -> int:
    return {Axis.ROW: job.tiling.all_rows, Axis.COLUMN: job.gemm.n, Axis.TENSOR: 1}[axis]
