"""One INT8 product: compile it, run it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow
from hw.isa.numerics import INT8_MAX
from sim.result import RunResult

from .compile import compile_jobs, decide, input_matrix, input_table, output_requests
from .dataflow import Choice
from .driver import Device
from .lora import Gemm, View
from .lower import Copy, Job, Maxima, Output, Sums
from .program import Program
from .quantise import Group, fresh_scales
from .tile import Demand

__all__ = ["GemmResult", "compile_gemm", "run_gemm", "run_gemm_programs"]

_AXES = {Group.ROW: Axis.ROW, Group.COLUMN: Axis.COLUMN, Group.TENSOR: Axis.TENSOR}


@dataclass(frozen=True, eq=False)
class GemmResult:
    """Result of a product.

    Members
    -------
    c : int32 (M, N), or int8 if requantised
    scales : float64 or None
        What a step of `c` is worth in units of the sums: absmax / 127, (M,), (N,) or (1,).
    programs : tuple of Program
    results : tuple of RunResult
        Of each program.
    """

    c: np.ndarray
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
) -> tuple[Program, ...]:
    """Compile C = A . B, A of M x K, B of K x N.

    Inputs are ``A`` and ``B``, int8; with `transpose_a`, A is given as K x M, with `transpose_b`,
    B as N x K. The output is ``C``.

    Returns
    -------
    tuple of Program
        One, or with `requantise` two: the first makes ``maxima``, the second takes
        ``scales`` made of them, see `run_gemm_programs`.

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
    meta = {
        "kind": "gemm", "m": m, "k": k, "n": n,
        "transpose_a": int(transpose_a), "transpose_b": int(transpose_b),
        "requantise": "" if group is None else str(group),
    }  # fmt: skip
    stages: list[tuple[str, Output]] = [("sums", Sums("C"))]
    if group is not None:
        axis = Axis.COLUMN if group is Group.COLUMN else Axis.ROW
        stages = [
            ("maxima", Maxima("maxima", _AXES[group])),
            ("requantise", Copy("C", axis, "scales")),
        ]
    gemm = Gemm("C", View("A", m, k, transpose_a), View("B", k, n, transpose_b))
    return tuple(_compile(config, gemm, dataflow, name, output, meta) for name, output in stages)


def _compile(
    config: Config, gemm: Gemm, choice: Choice, name: str, output: Output, meta: dict
) -> Program:
    per_row = isinstance(output, (Copy, Maxima)) and output.axis is Axis.ROW
    per_column = isinstance(output, (Copy, Maxima)) and output.axis is Axis.COLUMN
    demand = Demand(
        row_table=per_row, column_table=per_column, out_bytes=4 if isinstance(output, Sums) else 1
    )
    tiling = decide(config, choice, gemm, demand)
    left = gemm.left if tiling.dataflow is Dataflow.WS else gemm.left.T
    operands = [
        input_matrix(view.tensor, _host_shape(view), view.transposed) for view in (left, gemm.right)
    ]
    job = Job(gemm, tiling, operands[0].name, operands[1].name, (output,))
    requests = [*operands, *output_requests(job)]
    if isinstance(output, Copy):
        requests.append(input_table(output.scales, gemm.m if per_row else gemm.n))
    return compile_jobs(config, name, [job], requests, meta)


def _host_shape(view: View) -> tuple[int, int]:
    return (view.columns, view.rows) if view.transposed else (view.rows, view.columns)


def run_gemm(
    device: Device,
    a: np.ndarray,
    b: np.ndarray,
    *,
    dataflow: Choice = "auto",
    transpose_a: bool = False,
    transpose_b: bool = False,
    requantise: Group | str | None = None,
) -> GemmResult:
    """Compile and run C = A . B on int8 matrices; options as in `compile_gemm`.

    Raises
    ------
    ValueError
        An operand is no matrix, or they do not multiply.
    InputError
        An operand is not int8.
    """
    for name, operand in (("A", a), ("B", b)):
        if operand.ndim != 2:
            raise ValueError(f"{name} must be a matrix, not of shape {operand.shape}")
    (m, k), (kb, n) = a.shape[:: -1 if transpose_a else 1], b.shape[:: -1 if transpose_b else 1]
    if k != kb:
        raise ValueError(f"A is {m}x{k} and B is {kb}x{n}: K must be the same, not {k} and {kb}")
    programs = compile_gemm(
        device.config, m, k, n, dataflow=dataflow,
        transpose_a=transpose_a, transpose_b=transpose_b, requantise=requantise,
    )  # fmt: skip
    return run_gemm_programs(device, programs, a, b)


def run_gemm_programs(
    device: Device, programs: tuple[Program, ...], a: np.ndarray, b: np.ndarray
) -> GemmResult:
    """Run what `compile_gemm` returned; between two programs, make scales of the maxima."""
    inputs = {"A": a, "B": b}
    if len(programs) == 1:
        run = device.run(programs[0], inputs)
        return GemmResult(run.outputs["C"], None, programs, (run.result,))
    first, second = programs
    before = device.run(first, inputs)
    maxima = before.outputs["maxima"].max(axis=0)
    entries = fresh_scales(maxima)
    table = np.resize(entries, second.inputs["scales"].host_shape)
    after = device.run(second, inputs | {"scales": table})
    scales = maxima / INT8_MAX
    return GemmResult(after.outputs["C"], scales, programs, (before.result, after.result))
