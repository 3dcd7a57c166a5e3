"""All passes in a row: from decided products to a program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow

from .dataflow import Choice, choose
from .lora import Gemm
from .lower import Copy, Job, Maxima, Output, Sums, lower
from .place import Request, Role, check_fits, place
from .program import Program
from .tile import Demand, TileError, Tiling, tile
from .tokens import add_tokens

__all__ = ["compile_jobs", "decide", "input_matrix", "input_table", "output_requests"]


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
        Every buffer the jobs name.

    Raises
    ------
    PlacementError
        DRAM is too small.
    """
    layout = place(config, requests)
    lowered = lower(config, jobs, layout)
    tokened = add_tokens(config, lowered.instructions)
    return Program(name, config, tokened.instructions, layout, lowered.products, meta)


def decide(config: Config, choice: Choice, gemm: Gemm, demand: Demand) -> Tiling:
    """Choose a product's dataflow and tiles.

    With ``auto`` the other dataflow is taken where the tiles of the better one do not fit.

    Raises
    ------
    ValueError
        `choice` is unknown.
    TileError, PlacementError
        The product does not fit the memories, or DRAM.
    """
    sizes = m, k, n = gemm.m, gemm.k, gemm.n
    # Before the search for tiles, whose space grows with the sizes.
    check_fits(config, m * k + k * n + m * n * demand.out_bytes, f"the matrices of {gemm.name}")
    first = choose(config, choice, *sizes)
    try:
        return tile(config, first, *sizes, demand)
    except TileError:
        if choice != "auto":
            raise
        other = next(dataflow for dataflow in Dataflow if dataflow is not first)
        try:
            return tile(config, other, *sizes, demand)
        except TileError:
            pass
        raise


def input_matrix(source: str, shape: tuple[int, int], transposed: bool = False) -> Request:
    """Return the request for an INT8 matrix of the host, of `shape` there, perhaps transposed."""
    rows, columns = shape[::-1] if transposed else shape
    name = f"{source}.T" if transposed else source
    return Request(name, "int8", rows, columns, Role.INPUT, source, transposed)


def input_table(name: str, entries: int) -> Request:
    """Return the request for a table of scale entries."""
    return Request(name, "uint32", 1, entries, Role.INPUT, name)


def output_requests(job: Job, sources: dict[str, tuple[str, bool]] | None = None) -> list[Request]:
    """Return the requests for a job's outputs.

    Parameters
    ----------
    sources : dict
        By buffer name: the host's name and whether the buffer is the transpose of what the host
        gets; by default the buffer's own.
    """
    requests = []
    for output in job.outputs:
        dtype, rows, columns = _shape(job, output)
        source, transposed = (sources or {}).get(output.buffer, (output.buffer, False))
        requests.append(
            Request(output.buffer, dtype, rows, columns, Role.OUTPUT, source, transposed)
        )
    return requests


def _shape(job: Job, output: Output) -> tuple[str, int, int]:
    m, n = job.gemm.m, job.gemm.n
    tiles_m, _, tiles_n = job.tiling.counts
    match output:
        case Sums():
            return "int32", m, n
        case Copy():
            return "int8", m, n
        case Maxima(axis=Axis.ROW):
            return "uint32", tiles_n, m
        case Maxima(axis=Axis.COLUMN):
            return "uint32", tiles_m, n
        case Maxima():
            return "uint32", tiles_m * tiles_n, 1
