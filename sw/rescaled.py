"""A product whose sums are wanted, and an INT8 copy of them in whose use the rows are reduced."""

from __future__ import annotations

from functools import partial

from hw.isa.config import Config
from hw.isa.instructions import Axis

from .compile import compile_jobs, input_matrix, output_requests
from .decide import Objective, decide
from .gemm import Rounding, draft_gemm
from .job import Copy, Maxima, Sums
from .lora import Gemm, View
from .program import Program

__all__ = ["compile_rescaled"]


def compile_rescaled(
    config: Config,
    m: int,
    k: int,
    n: int,
    *,
    rounding: Rounding = "nearest",
    objective: Objective = "latency",
) -> Program:
    """Compile C = A . B and its column copy, rows brought to one unit before.

    Inputs are ``A`` (M, K) and ``B`` (K, N), int8, and the entries ``unit_scales`` (1, M), by which
    rows come to the unit of the largest. Outputs are ``C``, int32 (M, N), ``C.column``, int8
    (M, N), and ``C.column_maxima``, uint32 (1, N).

    Raises
    ------
    TileError, PlacementError
        The product does not fit the memories, or DRAM.
    """
    gemm = Gemm("C", View("A", m, k), View("B", k, n))
    unit, scales, stochastic = "unit_scales", "C.column_scales", rounding == "stochastic"
    outputs = Maxima(Axis.COLUMN, "C.column_maxima", scales, unit=unit), Sums("C")
    late = (Copy("C.column", Axis.COLUMN, scales, unit=unit, stochastic=stochastic),)
    job = decide(
        config, "auto", partial(draft_gemm, config, gemm, outputs, late), objective=objective
    ).job
    meta: dict[str, int | str] = {"kind": "rescaled", "m": m, "k": k, "n": n, "rounding": rounding}
    requests = {name: input_matrix(name, shape) for name, shape in (("A", (m, k)), ("B", (k, n)))}
    requests |= {request.name: request for request in output_requests(job)}
    return compile_jobs(config, "rescaled", [job], requests.values(), meta)
