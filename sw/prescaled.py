"""Columns of an operand scaled on the chip, and the row copy of the result: what a trained scale of
input channels asks for.

The array brings the operand into the output memory by a product with a diagonal of 1 and -1, which
leaves every element as it is, or its negative. Sums are rescaled by row, so it is the transpose
that is made: columns of the operand are then rows, and its rows share scales as columns::

    P^T = requantise(rescale(D . X^T))
"""

from __future__ import annotations

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Axis

from .compile import compile_jobs, input_matrix, output_requests
from .dataflow import available
from .job import Copy, Job, Maxima, Operand
from .lora import Gemm, View
from .place import Request, Role, align
from .program import Program
from .tile import TileError, Tiling
from .tile_problem import Demand, Problem

__all__ = ["compile_prescaled", "diagonal", "diagonal_columns"]


def diagonal_columns(config: Config) -> int:
    """Return the columns of what `diagonal` makes: channels that are scaled at a time."""
    return align(config.rows, config.bus_bytes)


def diagonal(config: Config, signs: np.ndarray) -> np.ndarray:
    """Return the diagonal of 1 and -1 as it lies in DRAM: its tiles below one another.

    Parameters
    ----------
    signs : int8 (K,)

    Returns
    -------
    int8 (K, diagonal_columns)
    """
    found = np.zeros((len(signs), diagonal_columns(config)), np.int8)
    rows = np.arange(len(signs))
    found[rows, rows % found.shape[1]] = signs
    return found


def compile_prescaled(
    config: Config, m: int, k: int, *, experts: int = 1, expert: int = 0
) -> Program:
    """Compile P, the row copy of ``X o d``: columns of X times scales.

    Inputs are ``X`` (M, K), int8, ``signs``, what `diagonal` makes of those of d, and the entries
    ``scales`` of what d is without them, uint32 (experts, K), of which one row is used. Outputs
    are ``P``, int8 (M, K), and ``maxima``, uint32 (1, M).

    Parameters
    ----------
    experts, expert : int
        Rows of the table, and the row at which this program's loads begin.

    Raises
    ------
    ValueError
        A size is below 1, or there is no such expert.
    TileError, PlacementError
        The operand does not fit the memories, or DRAM.
    """
    for name, value in (("M", m), ("K", k), ("experts", experts)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if not 0 <= expert < experts:
        raise ValueError(f"expert must be from 0 to {experts - 1}, not {expert}")
    job = _job(config, m, k, expert)
    meta: dict[str, int | str] = {"kind": "prescaled", "m": m, "k": k, "expert": expert}
    requests = [
        input_matrix("X", (m, k)),
        input_matrix("signs", (k, diagonal_columns(config)), packed=True),
        Request("scales", "uint32", experts, k, Role.INPUT),  # of all experts, not of one
        *output_requests(job),
    ]
    return compile_jobs(config, "prescaled", [job], requests, meta)


def _job(config: Config, m: int, k: int, expert: int) -> Job:
    """Return the job: tiles are as high as the diagonal's, and as wide as there is room for."""
    dataflow, side = available(config, "auto")[0], min(k, diagonal_columns(config))
    gemm = Gemm("P", View("signs", k, side), View("X", side, m, True))
    unit = {"unit": "scales", "unit_row": expert}
    demand = Demand(
        row_tables=1, row_vectors=True, column_tables=1, column_vectors=True, group=Axis.COLUMN,
        late=True, out_bytes=1, narrowest=1, right_transposed=True,
    )  # fmt: skip
    problem = Problem(config, dataflow, k, side, m, demand)
    return Job(
        gemm,
        Tiling(dataflow, k, side, m, side, side, _width(problem, side), rows_outer=False),
        Operand("signs", k, diagonal_columns(config), packed=True),
        Operand("X", m, k, transposed=True),
        (Maxima(Axis.COLUMN, "maxima", "fresh", **unit),),
        (Copy("P", Axis.COLUMN, "fresh", **unit),),
        Axis.COLUMN,
        diagonal=True,
        swapped=True,
    )  # fmt: skip


def _width(problem: Problem, side: int) -> int:
    """Return the rows of X that are worked on together: all, or as many as find room."""
    widths = problem.candidates()[2].tolist()
    words = [problem.words(side, side, width) for width in widths]
    depths = {memory: problem.depth(memory) for memory in words[0]}
    for room in (problem.capacities(), depths):
        fitting = [
            width
            for width, taken in zip(widths, words, strict=True)
            if all(taken[memory] <= room[memory] for memory in taken)
        ]
        if fitting:
            return max(fitting)
    least = words[widths.index(min(widths))]
    memory = max(least, key=lambda each: least[each] / depths[each])
    raise TileError(
        f"columns of {problem.n}x{problem.m} cannot be scaled: {side} at a time take "
        f"{least[memory]} words of the {memory.replace('_', '-')} memory, "
        f"which has {depths[memory]}"
    )
