"""From a case to instructions, straight from the page of instructions: not the way `sw` does it."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from sim.footprint import Space, blocks
from sw.tokens import add_tokens

from .case import Case, Maxima, Misfit, Operand, Output, Product, Step
from .layout import Layout, Matrix, spans
from .order import gathered, shuffled
from .words import Region, Words

__all__ = ["lower", "plain"]

Span = tuple[int, int]
Tile = tuple[int, int]

_FORMATS = {
    "int32": Format.INT32,
    "row": Format.INT8_ROW,
    "column": Format.INT8_COLUMN,
    "row_column": Format.INT8_ROW_COLUMN,
    "tensor": Format.INT8_TENSOR,
}
_BY_ROW = ("row", "row_column", "tensor")
_BY_COLUMN = ("column", "row_column")
_LONGEST = 500


def plain(case: Case, layout: Layout) -> list[Instruction]:
    """Return the instructions in the order of the case, without tokens and halt.

    Raises
    ------
    Misfit
        Something does not fit a memory, or would be overwritten while it is needed.
    """
    lowering = _Lowering(layout)
    for number, step in enumerate(case.steps):
        lowering.step(number, step)
    if len(lowering.instructions) > _LONGEST:
        raise Misfit(f"{len(lowering.instructions)} instructions")
    return lowering.instructions


def lower(case: Case, layout: Layout) -> tuple[Instruction, ...]:
    """Return the program, tokens included; raises what `plain` does."""
    program = plain(case, layout)
    if case.order is not None:
        program = shuffled(layout.config, program, case.order)
    tokened = add_tokens(layout.config, [*program, Halt()]).instructions
    return gathered(layout.config, tokened) if case.gather else tokened


@dataclass(frozen=True)
class _Scales:
    """Entries in a scale memory: their first word, how many, and who wrote them."""

    base: int
    count: int
    owner: object


class _Lowering:
    """Instructions so far, and what is where on the chip."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.config = layout, layout.config
        self.instructions: list[Instruction] = []
        self.words = Words(self.config)
        self.updates = _Scales(0, 0, None)
        self._tiles: dict[Tile, Region] = {}
        self._of_tiles: tuple[tuple[int, ...], tuple[int, ...]] = (), ()
        self._turn = 0

    def step(self, number: int, step: Step) -> None:
        """Lower one matrix of sums."""
        if not step.keep:
            self._place_tiles(step)
        elif self._of_tiles != (step.m, step.n):
            raise Misfit(f"step {number} keeps sums of other tiles")
        if not step.keep and not (
            isinstance(step.actions[0], Product) and not step.actions[0].accumulate
        ):
            raise Misfit(f"step {number} starts from sums that are not there")
        for turn, action in enumerate(step.actions):
            if isinstance(action, Product):
                self._multiply((number, turn), step, action)
            else:
                _Outputs(self, (number, turn), step, action, self._tiles).lower()

    def _place_tiles(self, step: Step) -> None:
        """Put the tiles of the sums one behind the other."""
        shapes = {
            (i, j): (m, blocks(n, self.config.columns))
            for i, m in enumerate(step.m)
            for j, n in enumerate(step.n)
        }
        regions, used = {}, 0
        for tile, (rows, count) in shapes.items():
            row_stride, block_stride = step.place.strides(rows, count)
            regions[tile] = Region(used, rows, count, row_stride, block_stride)
            used = regions[tile].word(rows - 1, count - 1) + 1
        base = self.words.run(Space.OUTPUT, step.place.base, used)
        self._tiles = {t: replace(each, base=base + each.base) for t, each in regions.items()}
        self._of_tiles = step.m, step.n

    def _multiply(self, where: Tile, step: Step, product: Product) -> None:
        scales = self._accumulate_scales(where, step, product)
        k = sum(product.parts)
        for i, m in enumerate(spans(step.m)):
            for j, n in enumerate(spans(step.n)):
                if product.whole:
                    operands = self._operands(where, product, m, (0, k), n)
                for part, (start, stop) in enumerate(spans(product.parts)):
                    if product.whole:
                        at = start
                    else:
                        operands, at = self._operands(where, product, m, (start, stop), n), 0
                    accumulate = product.accumulate or part > 0
                    execute = self._execute(product, operands, at, stop - start, n)
                    out = self._tiles[i, j]
                    if scales is not None:
                        self.words.expect(
                            Space.ACCUMULATE_SCALE, range(scales.base, scales.base + scales.count),
                            scales.owner,
                        )  # fmt: skip
                    self.emit(
                        replace(
                            execute, accumulate=int(accumulate), rows=m[1] - m[0],
                            out_base=out.base, out_row_stride=out.row_stride,
                            out_block_stride=out.block_stride, scale=int(scales is not None),
                            scale_base=scales.base + m[0] if scales else 0,
                        )
                    )  # fmt: skip

    def _accumulate_scales(self, where: Tile, step: Step, product: Product) -> _Scales | None:
        count = sum(step.m)
        if product.made:
            if self.updates.count != count:
                raise Misfit(f"{self.updates.count} updates for {count} rows")
            return self.updates
        if product.scale is None:
            return None
        base = self.words.run(Space.ACCUMULATE_SCALE, product.scale_place, count)
        return self.table(Memory.ACCUMULATE_SCALE, self.layout.matrices[*where, "scale"], base)

    def table(self, memory: Memory, matrix: Matrix, base: int, span: Span | None = None) -> _Scales:
        """Load scale entries; a word of the column scales holds many."""
        start, stop = span or (0, matrix.columns)
        lanes = self.config.columns if memory is Memory.COLUMN_SCALE else 1
        words = blocks(stop - start, lanes)
        self.emit(
            Load(
                memory=memory, dram=matrix.at(0, (start, stop)), rows=1, columns=4 * (stop - start),
                base=base, block_stride=1,
            )
        )  # fmt: skip
        self.words.claim(Space(memory), range(base, base + words), matrix.name)
        return _Scales(base, words, matrix.name)

    def _operands(
        self, where: Tile, product: Product, m: Span, k: Span, n: Span
    ) -> tuple[Region, Region]:
        """Load both operands of a tile's part, by turns into either half."""
        self._turn += 1
        lanes, rows = (k, m) if product.dataflow == "ws" else (m, k)
        left = self.layout.matrices[*where, "left"]
        right = self.layout.matrices[*where, "right"]
        return (
            self._load(Memory.INPUT, left, product.left, rows, lanes),
            self._load(Memory.WEIGHT, right, product.right, k, n),
        )

    def _load(
        self, memory: Memory, matrix: Matrix, operand: Operand, rows: Span, lanes: Span
    ) -> Region:
        width = self.config.rows if memory is Memory.INPUT else self.config.columns
        high, wide = rows[1] - rows[0], lanes[1] - lanes[0]
        region = self.words.region(
            Space(memory), operand.place, high, blocks(wide, width), self._turn
        )
        first, across = (lanes, rows) if operand.transpose else (rows, lanes)
        self.emit(
            Load(
                memory=memory, transpose=int(operand.transpose),
                dram=matrix.at(first[0], across), pitch=matrix.pitch,
                rows=first[1] - first[0], columns=across[1] - across[0],
                base=region.base, row_stride=region.row_stride, block_stride=region.block_stride,
            )
        )  # fmt: skip
        return region

    def _execute(
        self, product: Product, operands: tuple[Region, Region], at: int, k: int, n: Span
    ) -> Execute:
        """Return the EXECUTE of a part that starts `at` this index of the reduction loaded."""
        left, right = operands
        stationary = product.dataflow == "ws"
        if stationary and at % self.config.rows:
            raise Misfit(f"the reduction is cut at {at}, inside a word")
        corner = left.word(0, at // self.config.rows) if stationary else left.word(at, 0)
        return Execute(
            dataflow=Dataflow[product.dataflow.upper()], rows=1, reduction=k, columns=n[1] - n[0],
            left_base=corner, left_row_stride=left.row_stride, left_block_stride=left.block_stride,
            right_base=right.word(at, 0), right_row_stride=right.row_stride,
            right_block_stride=right.block_stride, out_row_stride=0, out_block_stride=0,
        )  # fmt: skip

    def emit(self, instruction: Instruction) -> None:
        """Add an instruction."""
        self.instructions.append(instruction)


class _Outputs:
    """The maxima and the copy of one output."""

    def __init__(
        self, lowering: _Lowering, where: Tile, step: Step, output: Output,
        tiles: dict[Tile, Region],
    ) -> None:  # fmt: skip
        self.lowering, self.where, self.step, self.output = lowering, where, step, output
        self.tiles, self.words = tiles, lowering.words
        self.m, self.n = spans(step.m), spans(step.n)
        counts = tuple(blocks(n, lowering.config.columns) for n in step.n)
        self.column_words = spans(counts)
        self._row_end, self._column_end = self._rooms(sum(step.m), sum(counts))
        self._rows: _Scales | None = None
        self._columns: _Scales | None = None

    def _rooms(self, rows: int, words: int) -> tuple[int, int]:
        """Return first words of row and of column scales, with room for all that may come."""
        maxima = self.output.maxima
        by_column = sum(each.axis == "column" for each in maxima)
        height = rows * (1 + len(maxima) - by_column) + sum(each.to_updates for each in maxima)
        run, output = self.words.run, self.output
        return (
            run(Space.ROW_SCALE, output.row_place, height),
            run(Space.COLUMN_SCALE, output.column_place, words * (1 + by_column)),
        )

    def lower(self) -> None:
        for index, maxima in enumerate(self.output.maxima):
            self._find(index, maxima)
        if self.output.form is not None:
            self._store()

    def _take_rows(self, count: int) -> int:
        """Return the first of so many new words of row scales and maxima."""
        self._row_end += count
        return self._row_end - count

    def _take_columns(self) -> int:
        self._column_end += self.column_words[-1][1]
        return self._column_end - self.column_words[-1][1]

    def _row_scales(self, count: int) -> _Scales:
        """Return row scales that hold now: those made last, or else those of the table."""
        if self._rows is None:
            matrix = self.lowering.layout.matrices[*self.where, "rows"]
            base = self._take_rows(matrix.columns)
            self._rows = self.lowering.table(Memory.ROW_SCALE, matrix, base)
        found = self._rows
        if found.count < count:
            raise Misfit(f"{found.count} row scales for {count} rows")
        self.words.expect(Space.ROW_SCALE, range(found.base, found.base + found.count), found.owner)
        return found

    def _column_scales(self) -> _Scales:
        if self._columns is None:
            matrix, base = self.lowering.layout.matrices[*self.where, "columns"], 0
            base = self._take_columns()
            for n, (first, _) in zip(self.n, self.column_words, strict=True):
                self.lowering.table(Memory.COLUMN_SCALE, matrix, base + first, n)
            self._columns = _Scales(base, self.column_words[-1][1], matrix.name)
        found = self._columns
        words = range(found.base, found.base + found.count)
        self.words.expect(Space.COLUMN_SCALE, words, found.owner)
        return found

    def _groups(self, axis: str) -> list[list[Tile]]:
        """Return the tiles of each group that is merged, in order."""
        rows, columns = range(len(self.m)), range(len(self.n))
        match axis:
            case "row":
                return [[(i, j) for j in columns] for i in rows]
            case "column":
                return [[(i, j) for i in rows] for j in columns]
        return [[(i, j) for i in rows for j in columns]]

    def _find(self, index: int, maxima: Maxima) -> None:
        """Find one group of maxima over all tiles."""
        rows, owner = self.step_rows, (*self.where, index)
        scaled = self._row_scales(rows) if maxima.scaled else None
        factor = self._factor(index) if maxima.to_updates else 0
        if maxima.axis == "column":
            made = _Scales(self._take_columns(), self.column_words[-1][1], owner)
        else:
            count = rows if maxima.axis == "row" else 1
            made = _Scales(self._take_rows(count), count, owner)
        updates = self._place_updates(maxima, made) if maxima.to_updates else 0
        for group in self._groups(maxima.axis):
            for turn, tile in enumerate(group):
                self._absmax(
                    index, maxima, tile, made, updates=updates, factor=factor, scaled=scaled,
                    merge=turn > 0, last=turn == len(group) - 1,
                )  # fmt: skip
        if maxima.to_scales:
            space = Space.COLUMN_SCALE if maxima.axis == "column" else Space.ROW_SCALE
            self.words.claim(space, range(made.base, made.base + made.count), owner)
            if maxima.axis == "column":
                self._columns = made
            else:
                self._rows = made

    @property
    def step_rows(self) -> int:
        return sum(self.step.m)

    def _factor(self, index: int) -> int:
        matrix = self.lowering.layout.matrices[*self.where, f"factor {index}"]
        return self.lowering.table(Memory.ROW_SCALE, matrix, self._take_rows(1)).base

    def _place_updates(self, maxima: Maxima, made: _Scales) -> int:
        if maxima.axis == "column":
            raise Misfit("columns make no updates")
        base = self.words.run(Space.ACCUMULATE_SCALE, maxima.update_place, made.count)
        self.lowering.updates = _Scales(base, made.count, made.owner)
        self.words.claim(Space.ACCUMULATE_SCALE, range(base, base + made.count), made.owner)
        return base

    def _absmax(
        self, index: int, maxima: Maxima, tile: Tile, made: _Scales, *, updates: int, factor: int,
        scaled: _Scales | None, merge: bool, last: bool,
    ) -> None:  # fmt: skip
        (top, _), n = self.m[tile[0]], self.n[tile[1]]
        asked = last or maxima.eager
        down = top if maxima.axis == "row" else 0
        across = self.column_words[tile[1]][0] if maxima.axis == "column" else 0
        to_dram = maxima.to_dram and asked
        dram = 0
        if to_dram:
            matrix = self.lowering.layout.matrices[*self.where, f"maxima {index}"]
            groups = {"row": self.m[tile[0]], "column": n, "tensor": (0, 1)}
            dram = matrix.at(0, groups[maxima.axis])
        self.lowering.emit(
            Absmax(
                axis=Axis[maxima.axis.upper()], scaled=int(maxima.scaled), merge=int(merge),
                to_dram=int(to_dram), to_scales=int(maxima.to_scales and asked),
                to_updates=int(maxima.to_updates and asked), dram=dram, **self._sums(tile),
                row_scale=scaled.base + top if scaled else 0, scale_base=made.base + down + across,
                update_base=updates + down if maxima.to_updates else 0, factor=factor,
            )
        )  # fmt: skip

    def _sums(self, tile: Tile) -> dict[str, int]:
        region, (left, right) = self.tiles[tile], self.n[tile[1]]
        return {
            "rows": region.rows, "columns": right - left, "base": region.base,
            "row_stride": region.row_stride, "block_stride": region.block_stride,
        }  # fmt: skip

    def _store(self) -> None:
        form, output = self.output.form, self.output
        rows = columns = None
        if form in _BY_ROW:
            rows = self._row_scales(1 if form == "tensor" else self.step_rows)
        if form in _BY_COLUMN:
            columns = self._column_scales()
        matrix = self.lowering.layout.matrices[*self.where, "copy"]
        for (i, j), tile in ((tile, self._sums(tile)) for tile in self.tiles):
            top, (left, right) = self.m[i][0], self.n[j]
            origin = {
                "origin_row": (output.origin[0] + top) % (1 << 16),
                "origin_column": (output.origin[1] + left) % (1 << 16),
            }
            down = 0 if form == "tensor" else top
            self.lowering.emit(
                Store(
                    format=_FORMATS[form], dram=matrix.at(top, (left, right)), pitch=matrix.pitch,
                    row_scale=rows.base + down if rows else 0,
                    column_scale=columns.base + self.column_words[j][0] if columns else 0,
                    stochastic=int(output.stochastic), **(origin if output.stochastic else {}),
                    **tile,
                )
            )  # fmt: skip
