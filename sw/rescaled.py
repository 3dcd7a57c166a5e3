"""A product whose sums are wanted, and an INT8 copy of them in whose use the rows are reduced."""

from __future__ import annotations

from functools import partial

from hw.isa.config import Config
from hw.isa.instructions import Axis

from .compile import compile_jobs, input_matrix, output_requests
from .decide import Objective, decide
from .gemm import Rounding, draft_gemm
from .job import Copy, Maxima, Output, Sums
from .lora import Gemm, View
from .place import Request, Role
from .program import Program

__all__ = ["compile_rescaled"]


def compile_rescaled(
    config: Config,
    m: int,
    k: int,
    n: int,
    *,
    weight_bits: int = 8,
    transpose_b: bool = False,
    experts: int = 0,
    expert: int = 0,
    rounding: Rounding = "nearest",
    objective: Objective = "latency",
) -> Program:
    """Compile C = A . B and its column copy, rows brought to one unit before.

    Inputs are ``A`` (M, K) and ``B`` (K, N), int8, and the entries ``unit_scales`` (1, M), by which
    rows come to the unit of the largest. Outputs are ``C``, int32 (M, N), ``C.column``, int8
    (M, N), and ``C.column_maxima``, uint32 (1, N).

    With `experts`, there is another copy for the product that takes this one, on the chip, too:
    ``C.scaled``, int8 (M, N), made with the entries ``out_scales``, uint32 (experts, N), of which
    one row is used. Its rows have the same unit, so that all of it has one scale if the entries are
    of one, or of trained scales of output channels times one.

    Parameters
    ----------
    weight_bits : 8 or 4
        Of an element of B in DRAM. Four bits are values from -8 to 7, unpacked as they are loaded.
    transpose_b : bool
        Whether B lies in DRAM as its transpose, and is given so: (N, K).
    experts, expert : int
        Rows of the table, and the row at which this program's loads begin.

    Raises
    ------
    ValueError
        `weight_bits` is neither, or there is no such expert.
    TileError, PlacementError
        The product does not fit the memories, or DRAM.
    """
    if weight_bits not in (4, 8):
        raise ValueError(f"weight_bits must be 4 or 8, not {weight_bits}")
    if experts < 0 or not 0 <= expert < max(experts, 1):
        raise ValueError(f"expert {expert} is none of {experts}")
    packed = weight_bits == 4
    gemm = Gemm("C", View("A", m, k), View("B", k, n, transpose_b, packed=packed))
    unit, scales, stochastic = "unit_scales", "C.column_scales", rounding == "stochastic"
    outputs: tuple[Output, ...] = (
        Maxima(Axis.COLUMN, "C.column_maxima", scales, unit=unit),
        Sums("C"),
    )
    tables = []
    if experts:
        tables = [Request("out_scales", "uint32", experts, n, Role.INPUT)]
        outputs += (
            Copy("C.scaled", Axis.COLUMN, "out_scales", loaded=True, scales_row=expert, unit=unit,
                 stochastic=stochastic),
        )  # fmt: skip
    late = (Copy("C.column", Axis.COLUMN, scales, unit=unit, stochastic=stochastic),)
    job = decide(
        config, "auto", partial(draft_gemm, config, gemm, outputs, late), objective=objective
    ).job
    meta: dict[str, int | str] = {"kind": "rescaled", "m": m, "k": k, "n": n,
                                  "weight_bits": weight_bits, "transpose_b": int(transpose_b),
                                  "rounding": rounding, "experts": experts,
                                  "expert": expert}  # fmt: skip
    lies = (n, k) if transpose_b else (k, n)
    inputs = [input_matrix("A", (m, k)), input_matrix("B", lies, packed=packed)]
    # The whole table, not only the row that is used.
    requests = [*inputs, *tables, *output_requests(job)]
    return compile_jobs(config, "rescaled", [job], requests, meta)
