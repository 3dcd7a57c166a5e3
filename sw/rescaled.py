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
    weight_bits: int = 8,
    rounding: Rounding = "nearest",
    objective: Objective = "latency",
) -> Program:
    """Compile C = A . B and its column copy, rows brought to one unit before.

    Inputs are ``A`` (M, K) and ``B`` (K, N), int8, and the entries ``unit_scales`` (1, M), by which
    rows come to the unit of the largest. Outputs are ``C``, int32 (M, N), ``C.column``, int8
    (M, N), and ``C.column_maxima``, uint32 (1, N).

    Parameters
    ----------
    weight_bits : 8 or 4
        Of an element of B in DRAM. Four bits are values from -8 to 7, unpacked as they are loaded.

    Raises
    ------
    ValueError
        `weight_bits` is neither.
    TileError, PlacementError
        The product does not fit the memories, or DRAM.
    """
    if weight_bits not in (4, 8):
        raise ValueError(f"weight_bits must be 4 or 8, not {weight_bits}")
    packed = weight_bits == 4
    gemm = Gemm("C", View("A", m, k), View("B", k, n, packed=packed))
    unit, scales, stochastic = "unit_scales", "C.column_scales", rounding == "stochastic"
    outputs = Maxima(Axis.COLUMN, "C.column_maxima", scales, unit=unit), Sums("C")
    late = (Copy("C.column", Axis.COLUMN, scales, unit=unit, stochastic=stochastic),)
    job = decide(
        config, "auto", partial(draft_gemm, config, gemm, outputs, late), objective=objective
    ).job
    meta: dict[str, int | str] = {"kind": "rescaled", "m": m, "k": k, "n": n,
                                  "weight_bits": weight_bits, "rounding": rounding}  # fmt: skip
    inputs = [input_matrix("A", (m, k)), input_matrix("B", (k, n), packed=packed)]
    return compile_jobs(config, "rescaled", [job], [*inputs, *output_requests(job)], meta)
