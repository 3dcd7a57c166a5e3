"""One INT8 product: compile it, run it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow
from hw.isa.numerics import INT8_MAX
from sim.result import RunResult

from .compile import compile_jobs, input_matrix, output_requests
from .dataflow import Choice
from .decide import Objective, decide
from .driver import Device
from .image import InputError
from .job import Copy, Job, Maxima, Operand, Output, Sums, swapped
from .lora import Gemm, View
from .program import Program
from .quantise import Group, fresh_scales
from .tile import Tiling
from .tile_problem import Demand, Problem

__all__ = [
    "ROUNDINGS",
    "SCALINGS",
    "GemmResult",
    "Rounding",
    "Scaling",
    "compile_gemm",
    "run_gemm",
    "run_gemm_program",
]

Scaling = Literal["fresh", "delayed"]
"""Scales of a requantised result: made on the chip of its own maxima, or by the host of those of an
earlier step."""
SCALINGS: tuple[str, ...] = get_args(Scaling)
Rounding = Literal["nearest", "stochastic"]
ROUNDINGS: tuple[str, ...] = get_args(Rounding)
_AXES = {Group.ROW: Axis.ROW, Group.COLUMN: Axis.COLUMN, Group.TENSOR: Axis.TENSOR}


@dataclass(frozen=True, eq=False)
class GemmResult:
    """Result of a product.

    Members
    -------
    c : int32 (M, N), or int8 if requantised
    maxima : uint32 or None
        Absolute maxima of the sums' rows (M,), columns (N,), or of all (1,).
    scales : float64 or None
        What a step of `c` is worth in units of the sums, shaped as `maxima`: maximum / 127, with
        delayed scaling that of the earlier step times the margin.
    programs : tuple of Program
    results : tuple of RunResult
        Of each program.
    """

    c: np.ndarray
    maxima: np.ndarray | None
    scales: np.ndarray | None
    programs: tuple[Program, ...]
    results: tuple[RunResult, ...]


def compile_gemm(
    config: Config,
    m: int,
    k: int,
    n: int,
    *,
    dataflow: Choice = "auto",
    transpose_a: bool = False,
    transpose_b: bool = False,
    requantise: Group | str | None = None,
    scaling: Scaling = "fresh",
    rounding: Rounding = "nearest",
    objective: Objective = "latency",
) -> tuple[Program, ...]:
    """Compile C = A . B, A of M x K, B of K x N.

    Inputs are ``A`` and ``B``, int8, and lie in DRAM as they are given: with `transpose_a`, A is
    given as K x M, with `transpose_b`, B as N x K. The output is ``C``, and with `requantise`,
    ``maxima``. With delayed scaling there is an input ``scales``, see `run_gemm_program`.

    Returns
    -------
    tuple of one Program

    Raises
    ------
    ValueError
        A size is below 1, or an option is unknown.
    TileError, PlacementError
        The product does not fit the memories, or DRAM.
    """
    for name, value in (("M", m), ("K", k), ("N", n)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    group = None if requantise is None else Group(requantise)
    _check_options(group, scaling, rounding)
    meta = {
        "kind": "gemm", "m": m, "k": k, "n": n,
        "transpose_a": int(transpose_a), "transpose_b": int(transpose_b),
        "requantise": "" if group is None else str(group),
        "scaling": scaling, "rounding": rounding,
    }  # fmt: skip
    gemm = Gemm("C", View("A", m, k, transpose_a), View("B", k, n, transpose_b))
    outputs = _outputs(group, scaling, rounding == "stochastic")
    # Noise depends on the place in C, so a stochastic product is computed as it is.
    drafts = [
        partial(draft_gemm, config, gemm, *outputs, swap=swap)
        for swap in ((False, True) if rounding == "nearest" else (False,))
    ]
    job = decide(config, dataflow, *drafts, objective=objective).job
    shapes = {"A": (k, m) if transpose_a else (m, k), "B": (n, k) if transpose_b else (k, n)}
    requests = [input_matrix(name, shape) for name, shape in shapes.items()]
    program = compile_jobs(config, "gemm", [job], [*requests, *output_requests(job)], meta)
    return (program,)


def _check_options(group: Group | None, scaling: str, rounding: str) -> None:
    for name, value, accepted in (
        ("scaling", scaling, SCALINGS),
        ("rounding", rounding, ROUNDINGS),
    ):
        if value not in accepted:
            raise ValueError(f"{name} must be one of {'|'.join(accepted)}, not {value!r}")
        if group is None and value != accepted[0]:
            raise ValueError(f"{name} {value} needs requantise: int32 sums are exact")


def _outputs(
    group: Group | None, scaling: str, stochastic: bool
) -> tuple[tuple[Output, ...], tuple[Output, ...]]:
    """Return what is made of each tile, and what when the maxima are known."""
    if group is None:
        return (Sums("C"),), ()
    axis = _AXES[group]
    if scaling == "delayed":
        copy = Copy("C", axis, "scales", loaded=True, stochastic=stochastic)
        return (copy, Maxima(axis, "maxima", "maxima", makes=False)), ()
    return (Maxima(axis, "maxima", "fresh"),), (Copy("C", axis, "fresh", stochastic=stochastic),)


def draft_gemm(
    config: Config,
    gemm: Gemm,
    outputs: tuple[Output, ...],
    late: tuple[Output, ...],
    dataflow: Dataflow,
    *,
    swap: bool = False,
) -> tuple[Job, Problem]:
    """Return a job for a product of host matrices, its tiles still to be found, and their problem.

    Parameters
    ----------
    swap : bool
        Compute the transpose.
    """
    if swap:
        gemm = Gemm(gemm.name, gemm.right.T, gemm.left.T)
        outputs, late = (tuple(map(swapped, each)) for each in (outputs, late))
    left, right = operands(gemm, dataflow)
    every = (*outputs, *late)
    axes = [output.axis for output in every if isinstance(output, Maxima)]
    tables = [o.axis for o in every if isinstance(o, Maxima) or (isinstance(o, Copy) and o.loaded)]
    sizes = [4 if isinstance(o, Sums) else 1 for o in every if not isinstance(o, Maxima)]
    units = any(output.unit for output in every if not isinstance(output, Sums))
    demand = Demand(
        row_tables=tables.count(Axis.ROW) + units, column_tables=tables.count(Axis.COLUMN),
        row_vectors=units or Axis.ROW in tables, column_vectors=Axis.COLUMN in tables,
        group=axes[0] if axes else None, late=bool(late),
        out_bytes=sum(sizes), narrowest=min(sizes),
        left_transposed=left.transposed, right_transposed=right.transposed,
        right_packed=right.packed,
    )  # fmt: skip
    tiling = Tiling(dataflow, gemm.m, gemm.k, gemm.n, 1, 1, 1)
    job = Job(
        gemm, tiling, left, right, outputs, late, axes[0] if axes else Axis.TENSOR, swapped=swap
    )
    return job, Problem(config, dataflow, gemm.m, gemm.k, gemm.n, demand)


def operands(gemm: Gemm, dataflow: Dataflow) -> tuple[Operand, Operand]:
    """Return a product's operands as they lie, and whether the dataflow wants them transposed."""
    views = (gemm.left if dataflow is Dataflow.WS else gemm.left.T), gemm.right
    left, right = (Operand(view.tensor, *view.lies, view.transposed, view.packed) for view in views)
    return left, right


def run_gemm(
    device: Device,
    a: np.ndarray,
    b: np.ndarray,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    maxima: np.ndarray | None = None,
    margin: Fraction | float = 1,
    noise_seed: int = 0,
    **options: Any,
) -> GemmResult:
    """Compile and run C = A . B on int8 matrices.

    Parameters
    ----------
    maxima : uint32, (M,), (N,) or (1,), optional
        With ``scaling="delayed"``: those of an earlier step.
    margin : number
        By how much the maxima may have grown.
    noise_seed : int
        Of ``rounding="stochastic"``.
    **options
        As in `compile_gemm`.

    Raises
    ------
    ValueError
        An operand is no matrix, or they do not multiply; `margin` is not above 0.
    InputError
        An operand is not int8; the maxima are missing, not wanted, or not as above.
    """
    for name, operand in (("A", a), ("B", b)):
        if operand.ndim != 2:
            raise ValueError(f"{name} must be a matrix, not of shape {operand.shape}")
    (m, k), (kb, n) = a.shape[:: -1 if transpose_a else 1], b.shape[:: -1 if transpose_b else 1]
    if k != kb:
        raise ValueError(f"A is {m}x{k} and B is {kb}x{n}: K must be the same, not {k} and {kb}")
    (program,) = compile_gemm(
        device.config, m, k, n, transpose_a=transpose_a, transpose_b=transpose_b, **options
    )
    return run_gemm_program(
        device, program, a, b, maxima=maxima, margin=margin, noise_seed=noise_seed
    )


def run_gemm_program(
    device: Device,
    program: Program,
    a: np.ndarray,
    b: np.ndarray,
    *,
    maxima: np.ndarray | None = None,
    margin: Fraction | float = 1,
    noise_seed: int = 0,
) -> GemmResult:
    """Run what `compile_gemm` returned; parameters and exceptions as in `run_gemm`."""
    inputs = {"A": a, "B": b}
    if "scales" in program.inputs:
        entries = program.inputs["scales"].columns
        inputs["scales"] = _delayed_scales(maxima, entries, margin)
    elif maxima is not None:
        raise InputError("maxima of an earlier step are for delayed scaling only")
    run = device.run(program, inputs, noise_seed=noise_seed)
    found = run.outputs.get("maxima")
    scales = None
    if found is not None:
        found = found.ravel()
        scales = found / INT8_MAX
        if maxima is not None:
            scales = np.asarray(maxima, np.float64) * float(margin) / INT8_MAX
    return GemmResult(run.outputs["C"], found, scales, (program,), (run.result,))


def _delayed_scales(
    maxima: np.ndarray | None, entries: int, margin: Fraction | float
) -> np.ndarray:
    """Return the table that brings sums of `margin` times these maxima to 127, (1, entries)."""
    if maxima is None:
        raise InputError("delayed scaling needs the maxima of an earlier step")
    if not margin > 0:
        raise ValueError(f"margin must be above 0, not {margin}")
    if maxima.dtype != np.uint32 or maxima.shape != (entries,):
        shape = "x".join(map(str, maxima.shape))
        raise InputError(
            f"the maxima must be uint32 of shape {entries}, not {maxima.dtype} {shape}"
        )
    return fresh_scales(maxima, Fraction(margin))[None, :]
