"""Fourth pass: from tiled products to steps, each with its place in the on-chip memories.

A step becomes one instruction, which `sw.lower` writes.
"""

from __future__ import annotations

from collections.abc import Iterable

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow, Memory

from .job import Copy, Job, Maxima, Operand, Output, Sums
from .lying import Lying, lying
from .residency import Residency, Results
from .step import Emit, Fetch, Measure, Multiply, Step, Table
from .tile import Span, Tile

__all__ = ["Stager"]


_TABLES = {
    Axis.ROW: Memory.ROW_SCALE,
    Axis.COLUMN: Memory.COLUMN_SCALE,
    Axis.TENSOR: Memory.ROW_SCALE,
}
ONE = Span(0, 1)


class Stager:
    """Knows what the on-chip memories hold after the steps so far."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._resident = {
            Memory.INPUT: Residency(config.input_depth),
            Memory.WEIGHT: Residency(config.weight_depth),
            Memory.ACCUMULATE_SCALE: Residency(config.accumulate_scale_depth, halves=1),
            Memory.ROW_SCALE: Residency(config.row_scale_depth, halves=1),
            Memory.COLUMN_SCALE: Residency(config.column_scale_depth, halves=1),
        }
        self._results = Results(config.output_depth)
        self._steps: list[Step] = []

    def steps(self, job: Job) -> list[Step]:
        """Return the steps of a job."""
        self._steps = []
        for tiles in _groups(job):
            self._group(job, tiles)
        for table in job.frees:
            self._free(table)
        return _held(self._steps, job.tiling.ahead)

    def _group(self, job: Job, tiles: list[Tile]) -> None:
        """Compute tiles, make their outputs, and then those that need the maxima of all.

        For these, sums that do not all fit the output memory are computed again.
        """
        sizes = [tile.m.size * self._blocks(tile.n) for tile in tiles]
        stay = self._results.get_all(sizes) if job.late else None
        if stay is not None:
            for tile, base in zip(tiles, stay, strict=True):
                self._sums(job, tile, base)
                self._outputs(job, job.outputs, tile, base)
            for tile, base in zip(tiles, stay, strict=True):
                self._outputs(job, job.late, tile, base)
        else:
            for outputs in (job.outputs, job.late):
                for tile, size in zip(tiles, sizes, strict=True) if outputs else ():
                    base = self._results.get(size)
                    self._sums(job, tile, base)
                    self._outputs(job, outputs, tile, base)
        for output in job.outputs:
            if isinstance(output, Maxima) and not output.kept:
                self._free(output.scales)

    def _blocks(self, columns: Span) -> int:
        return -(-columns.size // self._config.columns)

    def _sums(self, job: Job, tile: Tile, base: int) -> None:
        """Compute one tile of the result."""
        dataflow = job.tiling.dataflow
        if job.diagonal:
            # Transposed, a tile on the diagonal is the same.
            part = tile.m, Span(0, tile.m.size)
            self._multiply(dataflow, job.left, part, job.right, tile, tile.m, base, 0)
            return
        for piece in tile.reduction:
            part = _left_part(dataflow, tile, piece)
            accumulates = int(piece.start > 0)
            self._multiply(dataflow, job.left, part, job.right, tile, piece, base, accumulates)
        if job.update_left is not None and job.update_right is not None:
            whole = Span(0, job.gemm.update.k)
            scales = self._made(Memory.ACCUMULATE_SCALE, job.update_scales, job.tiling.rows)
            part = _left_part(job.update_dataflow, tile, whole)
            self._multiply(
                job.update_dataflow, job.update_left, part, job.update_right, tile, whole, base,
                1, 1,
                scales + tile.m.start - job.tiling.first_row,
            )  # fmt: skip

    def _multiply(
        self,
        dataflow: Dataflow,
        left: Operand,
        left_part: tuple[Span, Span],
        right: Operand,
        tile: Tile,
        piece: Span,
        base: int,
        *fields: int,
    ) -> None:
        """Fetch the operands of one piece of the reduction unless they are there, and multiply.

        `left_part` are the rows and columns of the left operand, as the dataflow wants it.
        """
        by_row = dataflow is Dataflow.WS
        *left_place, lies = self._operand(Memory.INPUT, left, *left_part, by_row)
        *right_place, other = self._operand(Memory.WEIGHT, right, piece, tile.n, False)
        self._steps.append(
            Multiply(
                dataflow, tile.m.size, piece.size, tile.n.size, *left_place, *right_place,
                base, tile.m.size, *fields,
                left_stride=lies.block_stride, right_stride=other.block_stride,
                left_row_stride=lies.row_stride,
            )
        )  # fmt: skip

    def _operand(
        self, memory: Memory, operand: Operand, rows: Span, columns: Span, by_row: bool
    ) -> tuple[int, int, Lying]:
        """Have a piece of a matrix on the chip; return first word, blocks, and how it lies."""
        lanes = self._config.rows if memory is Memory.INPUT else self._config.columns
        blocks = -(-columns.size // lanes)
        lies = self._lying(memory, operand, rows.size, columns.size, blocks, by_row)
        key = operand, rows, columns, lies.row_stride
        base, missing = self._resident[memory].get(key, lies.words)
        if missing:
            self._steps.append(
                Fetch(
                    memory, operand, rows, columns, base, blocks, lies.words, lies.block_stride,
                    lies.row_stride,
                )
            )  # fmt: skip
        return base, blocks, lies

    def _lying(
        self,
        memory: Memory,
        operand: Operand,
        rows: int,
        columns: int,
        blocks: int,
        by_row: bool,
    ) -> Lying:
        """Return how a piece lies.

        A load writes the blocks of a row one after the other. If they lie in the banks by turns, it
        passes under the array, which reads row after row; with a gap they do. There is one if that
        leaves room for as many pieces. Loads that transpose write row after row themselves.
        """
        plain = lying(self._config, rows, blocks, by_row=by_row)
        if operand.transposed or blocks <= 2 or plain.row_stride != 1:
            return plain
        spread = lying(self._config, rows, blocks, spread=True)
        pieces = -(-operand.rows // rows) * -(-operand.columns // columns)
        room = self._resident[memory].room
        return spread if min(pieces, room(plain.words)) <= room(spread.words) else plain

    def _outputs(self, job: Job, outputs: tuple[Output, ...], tile: Tile, base: int) -> None:
        for output in outputs:
            if isinstance(output, Maxima):
                self._measure(job, output, tile, base)
            else:
                self._emit(job, output, tile, base)

    def _emit(self, job: Job, output: Sums | Copy, tile: Tile, base: int) -> None:
        """Store a tile, with its scales on the chip."""
        places = {Memory.ROW_SCALE: 0, Memory.COLUMN_SCALE: 0}
        if isinstance(output, Copy):
            if output.unit:
                places[Memory.ROW_SCALE] = self._loaded(
                    Memory.ROW_SCALE, output.unit, tile.m, output.unit_row
                )
            memory, part = _TABLES[output.axis], _part(output.axis, tile)
            places[memory] = (
                self._loaded(memory, output.scales, part, output.scales_row)
                if output.loaded
                else self._made(memory, output.scales, part)
            )
        self._steps.append(Emit(output, tile, base, tile.m.size, *places.values()))

    def _measure(self, job: Job, output: Maxima, tile: Tile, base: int) -> None:
        """Take the maxima of a tile, with what that needs on the chip."""
        unit = updates = factor = 0
        place = self._made(_TABLES[output.axis], output.scales, _part(output.axis, tile))
        if output.unit:
            unit = self._loaded(Memory.ROW_SCALE, output.unit, tile.m, output.unit_row)
        if output.updates:
            factor = self._loaded(Memory.ROW_SCALE, output.factor, ONE)
            updates = self._made(Memory.ACCUMULATE_SCALE, output.updates, job.tiling.rows)
            updates += tile.m.start - job.tiling.first_row
        first, last = _ends(job, output.axis, tile)
        self._steps.append(
            Measure(
                output, tile, base, tile.m.size, place, first, last, unit, updates, factor
            )
        )  # fmt: skip

    def _loaded(self, memory: Memory, buffer: str, part: Span, row: int = 0) -> int:
        """Have a part of a table of a buffer on the chip; return its first word."""
        words = self._words(memory, part)
        base, missing = self._resident[memory].get((buffer, part, row), words)
        if missing:
            self._steps.append(Table(memory, buffer, part, base, words, row))
        return base

    def _made(self, memory: Memory, name: str, part: Span) -> int:
        """Return the first word of a table that is made on the chip, and stays until it is free."""
        base, _ = self._resident[memory].get((name, part), self._words(memory, part), stays=True)
        return base

    def _words(self, memory: Memory, part: Span) -> int:
        return self._blocks(part) if memory is Memory.COLUMN_SCALE else part.size

    def _free(self, name: str) -> None:
        for memory in (Memory.ACCUMULATE_SCALE, Memory.ROW_SCALE, Memory.COLUMN_SCALE):
            self._resident[memory].free(lambda key: key[0] == name)


def _left_part(dataflow: Dataflow, tile: Tile, piece: Span) -> tuple[Span, Span]:
    """Return the rows and columns of the left operand of a piece, as the dataflow wants it."""
    return (tile.m, piece) if dataflow is Dataflow.WS else (piece, tile.m)


def _groups(job: Job) -> list[list[Tile]]:
    """Return the tiles of each group, in order."""
    tiles = list(job.tiling.tiles())
    if job.group is Axis.TENSOR:
        return [tiles]
    found: dict[Span, list[Tile]] = {}
    for tile in tiles:
        found.setdefault(_part(job.group, tile), []).append(tile)
    return list(found.values())


def _part(axis: Axis, tile: Tile) -> Span:
    """Return the part of a table of this axis that a tile uses."""
    return {Axis.ROW: tile.m, Axis.COLUMN: tile.n, Axis.TENSOR: ONE}[axis]


def _ends(job: Job, axis: Axis, tile: Tile) -> tuple[bool, bool]:
    """Return whether a tile is the first, and the last, across an axis of maxima."""
    tiling = job.tiling
    first, last = True, True
    if axis is not Axis.ROW:
        first &= tile.m.start == 0
        last &= tile.m.start + tile.m.size == tiling.all_rows
    if axis is not Axis.COLUMN:
        first &= tile.n.start == 0
        last &= tile.n.start + tile.n.size == tiling.n
    return first, last


def _held(steps: list[Step], ahead: int) -> list[Step]:
    """Return the steps with up to `ahead` fetches moved before the first product, which waits.

    Loads that go ahead must not touch what a product they overtake reads.
    """
    first = next(i for i, step in enumerate(steps) if isinstance(step, Multiply))
    ahead -= sum(isinstance(step, Fetch) for step in steps[:first])
    read: dict[Memory, list[tuple[int, int]]] = {Memory.INPUT: [], Memory.WEIGHT: []}
    moved, stays = [], []
    for index in range(first, len(steps)):
        step = steps[index]
        if len(moved) >= ahead or not _free(step, read):
            stays += steps[index:]
            break
        if isinstance(step, Fetch):
            moved.append(step)
            continue
        stays.append(step)
        if isinstance(step, Multiply):
            for memory, base, words in _operands(step):
                read[memory].append((base, base + words))
    if moved:
        stays[0] = stays[0]._replace(held=True)
    return [*steps[:first], *moved, *stays]


def _free(step: Step, read: dict[Memory, list[tuple[int, int]]]) -> bool:
    """Return whether a step is no fetch into words that are read before it."""
    if not isinstance(step, Fetch):
        return True
    start, stop = step.base, step.base + step.words
    return all(end <= start or stop <= base for base, end in read[step.memory])


def _operands(step: Multiply) -> Iterable[tuple[Memory, int, int]]:
    """Return memory, first word and words of both operands."""
    return (
        (Memory.INPUT, step.left, step.left_words),
        (Memory.WEIGHT, step.right, step.right_words),
    )
