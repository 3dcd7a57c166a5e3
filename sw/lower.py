"""Fourth pass: from tiled products and placed buffers to instructions, still without tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from hw.isa.config import Config
from hw.isa.instructions import (
    Absmax,
    Axis,
    Dataflow,
    Execute,
    Format,
    Halt,
    Instruction,
    Load,
    Memory,
    Store,
)

from .lora import Gemm
from .place import Buffer, Layout
from .program import ProductSpan
from .residency import Alternating, Residency
from .tile import Span, Tile, Tiling

__all__ = ["Copy", "Job", "Lowered", "Maxima", "Output", "Sums", "lower"]


@dataclass(frozen=True)
class Sums:
    """The int32 sums of a product go to `buffer`, (M, N)."""

    buffer: str


@dataclass(frozen=True)
class Copy:
    """An INT8 copy goes to `buffer`, (M, N), requantised by the entries in `scales`, (1, M or N).

    `axis` says along which axis the entries lie: ROW, one for each row; COLUMN, for each column.
    With COLUMN, sums may first be rescaled by row, with the entries in `unit`, (1, M).
    """

    buffer: str
    axis: Axis
    scales: str
    unit: str = ""


@dataclass(frozen=True)
class Maxima:
    """Absolute maxima go to `buffer`, a row of them from each tile across the axis.

    ROW: (tiles along N, M). COLUMN: (tiles along M, N). TENSOR: (tiles, 1).
    The maxima of the matrix are those over the rows of the buffer. Sums may first be rescaled by
    row, with the entries in `unit`, (1, M).
    """

    buffer: str
    axis: Axis
    unit: str = ""


Output = Sums | Copy | Maxima


@dataclass(frozen=True)
class Job:
    """A product with everything decided.

    Members
    -------
    gemm : Gemm
    tiling : Tiling
    left, right : str
        Buffers of the operands: `left` holds the left matrix in WS, its transpose in OS.
    outputs : tuple of Output
        What is made of each tile of sums.
    update_dataflow : Dataflow
    update_left, update_right, update_scales : str
        Buffers of the update's operands and row scales, empty without one.
    """

    gemm: Gemm
    tiling: Tiling
    left: str
    right: str
    outputs: tuple[Output, ...]
    update_dataflow: Dataflow = Dataflow.WS
    update_left: str = ""
    update_right: str = ""
    update_scales: str = ""

    @property
    def dataflow(self) -> str:
        """Name of the dataflow, both if the update runs in the other one."""
        used = [self.tiling.dataflow]
        if self.gemm.update is not None and self.update_dataflow not in used:
            used.append(self.update_dataflow)
        return "+".join(dataflow.name.lower() for dataflow in used)

    def __str__(self) -> str:
        update = ""
        if self.gemm.update is not None:
            update = f"; update {self.update_dataflow.name}"
        outputs = ", ".join(output.buffer for output in self.outputs)
        return f"{self.gemm.name}: {self.tiling}{update} -> {outputs}"


@dataclass(frozen=True)
class Lowered:
    """Instructions in program order, without tokens, and which product each belongs to."""

    instructions: tuple[Instruction, ...]
    products: tuple[ProductSpan, ...]

    def __str__(self) -> str:
        return "\n".join(str(product) for product in self.products)


def lower(config: Config, jobs: Sequence[Job], layout: Layout) -> Lowered:
    """Return the instructions of the jobs, one after the other, and a halt."""
    writer = _Writer(config, layout)
    products = []
    for job in jobs:
        start = len(writer.instructions)
        for tile in job.tiling.tiles():
            writer.write_tile(job, tile)
        gemm, stop = job.gemm, len(writer.instructions)
        products.append(
            ProductSpan(gemm.name, gemm.m, gemm.k, gemm.n, job.dataflow, gemm.macs, start, stop)
        )
    return Lowered((*writer.instructions, Halt()), tuple(products))


class _Writer:
    """Instructions written so far, and what the on-chip memories hold after them."""

    def __init__(self, config: Config, layout: Layout) -> None:
        self._config, self._layout = config, layout
        self.instructions: list[Instruction] = []
        self._resident = {
            Memory.INPUT: Residency(config.input_depth),
            Memory.WEIGHT: Residency(config.weight_depth),
            Memory.ACCUMULATE_SCALE: Residency(config.accumulate_scale_depth // 2),
            Memory.ROW_SCALE: Residency(config.row_scale_depth // 2),
            Memory.COLUMN_SCALE: Residency(config.column_scale_depth // 2),
        }
        self._output = Alternating(config.output_depth)

    def write_tile(self, job: Job, tile: Tile) -> None:
        """Compute one tile of the result, and make its outputs."""
        blocks = self._blocks(tile.n)
        base = self._output.get(tile.m.size * blocks)
        for piece in tile.reduction:
            self._multiply(
                job.tiling.dataflow, job.left, job.right, tile, piece, base,
                accumulate=int(piece.index > 0),
            )  # fmt: skip
        if job.gemm.update is not None:
            whole = Span(0, 0, job.gemm.update.k)
            scales = self._table(Memory.ACCUMULATE_SCALE, job.update_scales, tile.m)
            self._multiply(
                job.update_dataflow, job.update_left, job.update_right, tile, whole, base,
                accumulate=1, scale=1, scale_base=scales,
            )  # fmt: skip
        for output in job.outputs:
            self._write_output(job, output, tile, base, blocks)

    def _blocks(self, columns: Span) -> int:
        return -(-columns.size // self._config.columns)

    def _multiply(
        self,
        dataflow: Dataflow,
        left_name: str,
        right_name: str,
        tile: Tile,
        piece: Span,
        base: int,
        **fields: int,
    ) -> None:
        """Load the operands of one piece of the reduction unless they are there, and multiply."""
        along, across = (tile.m, piece) if dataflow is Dataflow.WS else (piece, tile.m)
        left_base, left_blocks = self._operand(Memory.INPUT, left_name, along, across)
        right_base, right_blocks = self._operand(Memory.WEIGHT, right_name, piece, tile.n)
        self.instructions.append(
            Execute(
                dataflow=dataflow, rows=tile.m.size, reduction=piece.size, columns=tile.n.size,
                left_base=left_base, left_row_stride=left_blocks, left_block_stride=1,
                right_base=right_base, right_row_stride=right_blocks, right_block_stride=1,
                out_base=base, out_row_stride=right_blocks, out_block_stride=1,
                **fields,
            )
        )  # fmt: skip

    def _operand(self, memory: Memory, name: str, rows: Span, columns: Span) -> tuple[int, int]:
        """Have a piece of a matrix on the chip; return its first word and its blocks a row."""
        lanes = self._config.rows if memory is Memory.INPUT else self._config.columns
        blocks = -(-columns.size // lanes)
        key = name, rows.start, rows.size, columns.start, columns.size
        base, missing = self._resident[memory].get(key, rows.size * blocks)
        if missing:
            buffer = self._layout[name]
            self.instructions.append(
                Load(
                    memory=memory, dram=buffer.at(rows.start, columns.start), pitch=buffer.pitch,
                    rows=rows.size, columns=columns.size,
                    base=base, row_stride=blocks, block_stride=1,
                )
            )  # fmt: skip
        return base, blocks

    def _table(self, memory: Memory, name: str, part: Span) -> int:
        """Have a part of a table of scale entries on the chip; return its first word."""
        words = part.size
        if memory is Memory.COLUMN_SCALE:
            words = self._blocks(part)
        base, missing = self._resident[memory].get((name, part.start, part.size), words)
        if missing:
            self.instructions.append(
                Load(
                    memory=memory, dram=self._layout[name].at(0, part.start), rows=1,
                    columns=4 * part.size, base=base, block_stride=1,
                )
            )  # fmt: skip
        return base

    def _write_output(self, job: Job, output: Output, tile: Tile, base: int, blocks: int) -> None:
        """Write one kind of output of a tile to DRAM."""
        buffer = self._layout[output.buffer]
        where = dict(
            rows=tile.m.size, columns=tile.n.size, base=base, row_stride=blocks, block_stride=1
        )
        match output:
            case Sums():
                where |= self._target(buffer, tile)
                self.instructions.append(Store(format=Format.INT32, **where))
            case Copy():
                where |= self._target(buffer, tile) | self._scales(output, tile)
                self.instructions.append(Store(format=self._format(output), **where))
            case Maxima():
                where |= self._unit(output.unit, tile)
                where["scaled"] = int(bool(output.unit))
                where["to_dram"] = 1
                where["dram"] = self._maxima_address(job, output, buffer, tile)
                self.instructions.append(Absmax(axis=output.axis, **where))
            case _:
                assert_never(output)

    def _scales(self, copy: Copy, tile: Tile) -> dict[str, int]:
        """Have a copy's scales on the chip; return the fields that say where."""
        if copy.axis is Axis.ROW:
            return {"row_scale": self._table(Memory.ROW_SCALE, copy.scales, tile.m)}
        columns = self._table(Memory.COLUMN_SCALE, copy.scales, tile.n)
        return self._unit(copy.unit, tile) | {"column_scale": columns}

    def _unit(self, unit: str, tile: Tile) -> dict[str, int]:
        return {"row_scale": self._table(Memory.ROW_SCALE, unit, tile.m)} if unit else {}

    @staticmethod
    def _format(copy: Copy) -> Format:
        if copy.axis is Axis.ROW:
            return Format.INT8_ROW
        return Format.INT8_ROW_COLUMN if copy.unit else Format.INT8_COLUMN

    @staticmethod
    def _target(buffer: Buffer, tile: Tile) -> dict[str, int]:
        return {"dram": buffer.at(tile.m.start, tile.n.start), "pitch": buffer.pitch}

    @staticmethod
    def _maxima_address(job: Job, output: Maxima, buffer: Buffer, tile: Tile) -> int:
        match output.axis:
            case Axis.ROW:
                return buffer.at(tile.n.index, tile.m.start)
            case Axis.COLUMN:
                return buffer.at(tile.m.index, tile.n.start)
            case Axis.TENSOR:
                return buffer.at(tile.m.index * job.tiling.counts[2] + tile.n.index, 0)
            case _:
                assert_never(output.axis)
