"""Fifth pass: from steps and placed buffers to instructions, still without tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from hw.isa.config import Config
from hw.isa.instructions import (
    Absmax,
    Axis,
    Engine,
    Execute,
    Format,
    Halt,
    Instruction,
    Load,
    Store,
)

from .job import Copy, Job, Sums
from .place import Buffer, Layout
from .program import ProductSpan
from .step import Emit, Fetch, Measure, Multiply, Step, Table
from .steps import Stager

__all__ = ["Lowered", "instruction_of", "lower"]

MASK = (1 << 16) - 1
"""Origins of noise count modulo 2^16."""


@dataclass(frozen=True)
class Lowered:
    """Instructions in program order, without tokens, and which product each belongs to.

    `held` gives, by the index of an EXECUTE, the LOAD that it waits for without needing it.
    """

    instructions: tuple[Instruction, ...]
    products: tuple[ProductSpan, ...]
    held: dict[int, int]

    def __str__(self) -> str:
        return "\n".join(str(product) for product in self.products)


def lower(config: Config, jobs: Sequence[Job], layout: Layout) -> Lowered:
    """Return the instructions of the jobs, one after the other, and a halt."""
    stager = Stager(config)
    instructions: list[Instruction] = []
    products, held, loads = [], {}, 0
    for job in jobs:
        start = len(instructions)
        for step in stager.steps(job):
            instruction = instruction_of(layout, step)
            if isinstance(step, Multiply) and step.held:
                held[len(instructions)] = loads - 1
            loads += instruction.engine is Engine.LOAD
            instructions.append(instruction)
        products.append(_span(job, start, len(instructions)))
    return Lowered((*instructions, Halt()), tuple(products), held)


def _span(job: Job, start: int, stop: int) -> ProductSpan:
    gemm = job.gemm
    m, n = (gemm.n, gemm.m) if job.swapped else (gemm.m, gemm.n)
    return ProductSpan(
        gemm.name, m, gemm.k, n, job.dataflow, job.swapped, gemm.macs, start, stop, job.choice
    )  # fmt: skip


def instruction_of(layout: Layout, step: Step) -> Instruction:
    """Return the instruction of a step."""
    match step:
        case Fetch():
            return _fetch(layout[step.operand.buffer], step)
        case Table():
            return Load(
                memory=step.memory, rows=1,
                dram=layout[step.buffer].at(step.row, step.part.start),
                columns=4 * step.part.size, base=step.base, block_stride=1,
            )  # fmt: skip
        case Multiply():
            return Execute(
                dataflow=step.dataflow, accumulate=step.accumulate, scale=step.scale,
                rows=step.rows, reduction=step.reduction, columns=step.columns,
                left_base=step.left, left_row_stride=step.left_row_stride,
                left_block_stride=step.left_stride,
                right_base=step.right, right_row_stride=1, right_block_stride=step.right_stride,
                out_base=step.base, out_row_stride=1, out_block_stride=step.stride,
                scale_base=step.scale_base,
            )  # fmt: skip
        case Emit():
            return _emit(layout[step.output.buffer], step)
        case Measure():
            return _measure(layout, step)
        case _:
            assert_never(step)


def _fetch(buffer: Buffer, step: Fetch) -> Load:
    rows, columns = step.rows, step.columns
    if step.operand.transposed:
        rows, columns = columns, rows
    return Load(
        memory=step.memory, transpose=int(step.operand.transposed),
        dram=buffer.at(rows.start, columns.start), pitch=buffer.pitch,
        rows=rows.size, columns=columns.size,
        base=step.base, row_stride=step.row_stride, block_stride=step.block_stride,
        packed=int(step.operand.packed),
    )  # fmt: skip


def _where(step: Emit | Measure) -> dict[str, int]:
    return dict(
        rows=step.tile.m.size, columns=step.tile.n.size,
        base=step.base, row_stride=1, block_stride=step.stride,
    )  # fmt: skip


def _emit(buffer: Buffer, step: Emit) -> Store:
    tile = step.tile
    where = _where(step) | {
        "dram": buffer.at(tile.m.start, tile.n.start), "pitch": buffer.pitch,
        "row_scale": step.row_table, "column_scale": step.column_table,
    }  # fmt: skip
    match step.output:
        case Sums():
            return Store(format=Format.INT32, **where)
        case Copy(stochastic=True):
            origin = {"origin_row": tile.m.start & MASK, "origin_column": tile.n.start & MASK}
            return Store(format=_format(step.output), stochastic=1, **where, **origin)
        case Copy():
            return Store(format=_format(step.output), **where)
        case _:
            assert_never(step.output)


def _format(copy: Copy) -> Format:
    match copy.axis:
        case Axis.ROW:
            return Format.INT8_ROW
        case Axis.COLUMN:
            return Format.INT8_ROW_COLUMN if copy.unit else Format.INT8_COLUMN
        case Axis.TENSOR:
            return Format.INT8_TENSOR
        case _:
            assert_never(copy.axis)


def _measure(layout: Layout, step: Measure) -> Absmax:
    output, tile = step.output, step.tile
    fields = _where(step) | {
        "axis": output.axis, "scale_base": step.place, "merge": int(not step.first),
        "scaled": int(bool(output.unit)), "row_scale": step.unit,
    }  # fmt: skip
    if step.last:
        fields |= {
            "to_scales": int(output.makes), "to_updates": int(bool(output.updates)),
            "update_base": step.updates, "factor": step.factor,
        }  # fmt: skip
    if step.last and output.buffer:
        start = {Axis.ROW: tile.m.start, Axis.COLUMN: tile.n.start, Axis.TENSOR: 0}[output.axis]
        fields |= {"to_dram": 1, "dram": layout[output.buffer].at(step.row, start)}
    return Absmax(**fields)
