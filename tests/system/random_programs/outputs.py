"""The lowering of maxima and of copies of sums."""

from __future__ import annotations

from hw.isa.instructions import Absmax, Axis, Format, Memory, Store
from sim.footprint import Space, blocks

from .case import Maxima, Misfit, Output, Step
from .emitter import Emitter, Scales, Tile
from .layout import spans
from .words import Region

__all__ = ["Outputs"]

_FORMATS = {
    "int32": Format.INT32,
    "row": Format.INT8_ROW,
    "column": Format.INT8_COLUMN,
    "row_column": Format.INT8_ROW_COLUMN,
    "tensor": Format.INT8_TENSOR,
}
_BY_ROW = ("row", "row_column", "tensor")
_BY_COLUMN = ("column", "row_column")


class Outputs:
    """The maxima and the copy of one output."""

    def __init__(
        self, lowering: Emitter, where: Tile, step: Step, output: Output,
        tiles: dict[Tile, Region],
    ) -> None:  # fmt: skip
        self.lowering, self.where, self.step, self.output = lowering, where, step, output
        self.tiles, self.words = tiles, lowering.words
        self.m, self.n = spans(step.m), spans(step.n)
        counts = tuple(blocks(n, lowering.config.columns) for n in step.n)
        self.column_words = spans(counts)
        self._row_end, self._column_end = self._rooms(sum(step.m), sum(counts))
        self._rows: Scales | None = None
        self._columns: Scales | None = None

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
        """Emit the maxima in order, then the copy."""
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

    def _row_scales(self, count: int) -> Scales:
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

    def _column_scales(self) -> Scales:
        if self._columns is None:
            matrix, base = self.lowering.layout.matrices[*self.where, "columns"], 0
            base = self._take_columns()
            for n, (first, _) in zip(self.n, self.column_words, strict=True):
                self.lowering.table(Memory.COLUMN_SCALE, matrix, base + first, n)
            self._columns = Scales(base, self.column_words[-1][1], matrix.name)
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
            made = Scales(self._take_columns(), self.column_words[-1][1], owner)
        else:
            count = rows if maxima.axis == "row" else 1
            made = Scales(self._take_rows(count), count, owner)
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

    def _place_updates(self, maxima: Maxima, made: Scales) -> int:
        if maxima.axis == "column":
            raise Misfit("columns make no updates")
        base = self.words.run(Space.ACCUMULATE_SCALE, maxima.update_place, made.count)
        self.lowering.updates = Scales(base, made.count, made.owner)
        self.words.claim(Space.ACCUMULATE_SCALE, range(base, base + made.count), made.owner)
        return base

    def _absmax(
        self, index: int, maxima: Maxima, tile: Tile, made: Scales, *, updates: int, factor: int,
        scaled: Scales | None, merge: bool, last: bool,
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
