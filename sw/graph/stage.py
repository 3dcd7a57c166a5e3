"""From the order of a segment's work to steps, each with its place in the on-chip memories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow, Memory

from .. import job, tile
from ..lying import Lying, lying
from ..residency import Residency
from ..step import Emit, Fetch, Measure, Multiply, Step, Table
from ..tile import Span
from . import memory
from .ir import Copy, Maxima, Segment, Sums, Updates, Value, View
from .needs import windows
from .tiles import Tile, term_columns, term_part
from .work import Work

__all__ = ["Stager"]

_TABLES = {
    Axis.ROW: Memory.ROW_SCALE,
    Axis.COLUMN: Memory.COLUMN_SCALE,
    Axis.TENSOR: Memory.ROW_SCALE,
}
ONE = Span(0, 1)


class Stager:
    """Makes the steps of one segment.

    Parameters
    ----------
    config : Config
    values : dict of Value
    segment : Segment
    tiles : sequence of sequence of Tile
        Of each product.
    works : sequence of Work
    """

    def __init__(
        self,
        config: Config,
        values: Mapping[str, Value],
        segment: Segment,
        tiles: Sequence[Sequence[Tile]],
        works: Sequence[Work],
    ) -> None:
        self._config, self._values = config, values
        self._products, self._tiles, self._works = segment.products, tiles, works
        uses = {Memory.INPUT: [], Memory.WEIGHT: []}
        for work in works:
            if work.piece >= 0:
                for where, view, _, lies in self._operands(work):
                    uses[where].append((view, lies.row_stride))
        self._operand_memory = {
            Memory.INPUT: memory.Operands(config.input_depth, uses[Memory.INPUT]),
            Memory.WEIGHT: memory.Operands(config.weight_depth, uses[Memory.WEIGHT]),
        }
        self._tables = {
            Memory.ACCUMULATE_SCALE: Residency(config.accumulate_scale_depth, halves=1),
            Memory.ROW_SCALE: Residency(config.row_scale_depth, halves=1),
            Memory.COLUMN_SCALE: Residency(config.column_scale_depth, halves=1),
        }
        self._table_uses = self._uses_of_tables()

    def steps(self) -> Iterator[tuple[int, Step]]:
        """Yield the steps in order, with the place of the product that each belongs to."""
        for work in self._works:
            made = self._piece(work) if work.piece >= 0 else self._output(work)
            for step in made:
                yield work.product, step

    def _uses_of_tables(self) -> dict[str, int]:
        """Return how often each table of update scales is used."""
        uses: dict[str, int] = {}
        for work in self._works:
            if work.piece >= 0:
                name = self._term(work).updates
                uses[name] = uses.get(name, 0) + 1
        return uses

    def _term(self, work: Work):
        own = self._tiles[work.product][work.tile].pieces[work.piece]
        return self._products[work.product].terms[own.term]

    def _operands(self, work: Work) -> list[tuple[Memory, View, int, Lying]]:
        """Return of both operands of a piece: memory, view as it lies, blocks a row, and where.

        A load writes the blocks of a row one after the other, and the array reads row after row.
        With an odd stride from block to block both have the banks by turns.
        """
        own = self._tiles[work.product][work.tile]
        piece = own.pieces[work.piece]
        left, right = term_part(self._term(work), own, piece.k)
        if piece.dataflow is Dataflow.OS:
            left = left.T
        found = []
        for where, view, lanes, half, by_row in (
            (
                Memory.INPUT, left, self._config.rows, self._config.input_depth,
                piece.dataflow is Dataflow.WS,
            ),
            (Memory.WEIGHT, right, self._config.columns, self._config.weight_depth, False),
        ):  # fmt: skip
            rows, columns = view.shape
            blocks = -(-columns // lanes)
            lies = lying(self._config, rows, blocks, by_row=by_row, spread=not view.transposed)
            if lies.words > half:
                lies = lying(self._config, rows, blocks, by_row=by_row)
            found.append((where, view, blocks, lies))
        return found

    def _piece(self, work: Work) -> Iterator[Step]:
        own = self._tiles[work.product][work.tile]
        piece, term = own.pieces[work.piece], self._term(work)
        places, strides = [], []
        for where, view, count, lies in self._operands(work):
            key = view, lies.row_stride
            first, new = self._operand_memory[where].get(key, lies.words)
            if new:
                yield self._fetch(where, view, first, count, lies)
            places += [first, count]
            strides.append(lies)
        scales = 0
        if term.updates in self._values:
            entries = View.of(self._values[term.updates])
            whole = Span(own.rows.start - term.rows.start, own.rows.size)
            scales = yield from self._loaded(Memory.ACCUMULATE_SCALE, entries, whole)
        elif term.updates:
            table = self._made(Memory.ACCUMULATE_SCALE, term.updates, term.rows)
            scales = table + own.rows.start - term.rows.start
        columns = term_columns(term, own.columns)
        stride = own.rows.size
        base = work.base + (columns.start - own.columns.start) // self._config.columns * stride
        yield Multiply(
            piece.dataflow, own.rows.size, piece.k.size, columns.size, *places,
            base, stride, int(self._adds(work)), int(bool(term.updates)), scales,
            left_stride=strides[0].block_stride, right_stride=strides[1].block_stride,
            left_row_stride=strides[0].row_stride,
        )  # fmt: skip
        if term.updates and term.updates not in self._values:
            self._table_uses[term.updates] -= 1
            if not self._table_uses[term.updates]:
                self._tables[Memory.ACCUMULATE_SCALE].free(lambda k: k[0] == term.updates)

    def _adds(self, work: Work) -> bool:
        """Tell whether a piece before has sums where this one has its own."""
        terms = self._products[work.product].terms
        own = self._tiles[work.product][work.tile]
        columns = term_columns(self._term(work), own.columns)
        before = (terms[piece.term] for piece in own.pieces[: work.piece])
        return any(term_columns(term, columns).size > 0 for term in before)

    def _fetch(self, where: Memory, view: View, base: int, blocks: int, lies: Lying) -> Fetch:
        value = self._values[view.value]
        operand = job.Operand(view.value, value.rows, value.columns, view.transposed)
        rows, columns = view.rows, view.columns
        if view.transposed:
            rows, columns = columns, rows
        return Fetch(
            where, operand, rows, columns, base, blocks, lies.words, lies.block_stride,
            lies.row_stride,
        )  # fmt: skip

    def _blocks(self, columns: Span) -> int:
        return -(-columns.size // self._config.columns)

    def _output(self, work: Work) -> Iterator[Step]:
        output = self._products[work.product].outputs[work.output]
        own = self._tiles[work.product][work.tile]
        rows, columns = windows(output, own)
        stride = own.rows.size
        base = work.base + rows.start - own.rows.start
        base += (columns.start - own.columns.start) // self._config.columns * stride
        inner = (
            Span(rows.start - output.rows.start, rows.size),
            Span(columns.start - output.columns.start, columns.size),
        )
        match output:
            case Sums():
                yield Emit(job.Sums(output.to.value), _at(output.to, *inner), base, stride)
            case Copy():
                yield from self._copy(work, output, inner, base, stride)
            case Maxima():
                yield from self._maxima(work, output, inner, base, stride)
            case Updates():
                yield from self._updates(output, inner, base, stride)

    def _copy(
        self, work: Work, output: Copy, inner: tuple[Span, Span], base: int, stride: int
    ) -> Iterator[Step]:
        rows, columns = inner
        places = {Memory.ROW_SCALE: 0, Memory.COLUMN_SCALE: 0}
        if output.unit is not None:
            place = yield from self._loaded(Memory.ROW_SCALE, output.unit, rows)
            places[Memory.ROW_SCALE] = place
        where = _TABLES[output.axis]
        part = _along(output.axis, rows, columns)
        if output.entries is not None:
            places[where] = yield from self._loaded(where, output.entries, part)
        else:
            name = self._table_name(work, output.axis, output.table)
            places[where] = self._made(where, name, part)
        made = job.Copy(
            output.to.value, output.axis, "", unit="unit" if output.unit else "",
            stochastic=output.stochastic,
        )  # fmt: skip
        yield Emit(made, _at(output.to, rows, columns), base, stride, *places.values())
        if output.entries is None:
            self._tables[where].free(lambda key: key[0] == name)

    def _table_name(self, work: Work, axis: Axis, table: str) -> str:
        """Return the name of a table of one tile."""
        return f"{work.product}.{work.tile}.{table}"

    def _maxima(
        self, work: Work, output: Maxima, inner: tuple[Span, Span], base: int, stride: int
    ) -> Iterator[Step]:
        rows, columns = inner
        unit = 0
        if output.unit is not None:
            unit = yield from self._loaded(Memory.ROW_SCALE, output.unit, rows)
        part = _along(output.axis, rows, columns)
        name = self._table_name(work, output.axis, output.table)
        place = self._made(_TABLES[output.axis], name, part)
        to = _at(output.to, Span(0, 1), part)
        where = tile.Tile(
            Span(to.n.start, rows.size) if output.axis is Axis.ROW else rows,
            Span(to.n.start, columns.size) if output.axis is Axis.COLUMN else columns,
            (),
        )
        made = job.Maxima(
            output.axis, output.to.value, "", unit="unit" if output.unit else "", makes=True
        )
        yield Measure(made, where, base, stride, place, True, True, unit, row=to.m.start)

    def _updates(
        self, output: Updates, inner: tuple[Span, Span], base: int, stride: int
    ) -> Iterator[Step]:
        rows, columns = inner
        factor = yield from self._loaded(Memory.ROW_SCALE, output.factor, ONE)
        updates = self._made(Memory.ACCUMULATE_SCALE, output.table, rows)
        # Its maxima pass through the memory of maxima; nobody reads them there again.
        place = self._made(Memory.ROW_SCALE, f"maxima of {output.table}", rows)
        made = job.Maxima(Axis.ROW, "", "", makes=False, updates=output.table)
        where = tile.Tile(rows, columns, ())
        yield Measure(made, where, base, stride, place, True, True, 0, updates, factor)
        self._tables[Memory.ROW_SCALE].free(lambda key: key[0] == f"maxima of {output.table}")

    def _loaded(self, where: Memory, entries: View, part: Span) -> Iterator[Step]:
        """Have entries of a value on the chip; return the place of the first of a part.

        A load starts at a whole beat, so entries of rows come with those before them.
        """
        step = self._config.bus_bytes // 4
        if where is Memory.COLUMN_SCALE:
            first = entries.columns.start + part.start
            whole = Span(first, part.size)
        else:
            first = entries.columns.start + part.start
            start = first - first % max(step, 1)
            whole = Span(start, first + part.size - start)
        words = self._words(where, whole)
        base, missing = self._tables[where].get((entries.value, entries.rows.start, whole), words)
        if missing:
            yield Table(where, entries.value, whole, base, words, entries.rows.start)
        return base + (0 if where is Memory.COLUMN_SCALE else first - whole.start)

    def _made(self, where: Memory, name: str, part: Span) -> int:
        """Return the first word of a table that is made on the chip, and stays until it is free."""
        base, _ = self._tables[where].get((name, part), self._words(where, part), stays=True)
        return base

    def _words(self, where: Memory, part: Span) -> int:
        return self._blocks(part) if where is Memory.COLUMN_SCALE else part.size


def _at(to: View, rows: Span, columns: Span) -> tile.Tile:
    """Return a window of a view as a tile that counts from its value's first row and column."""
    part = to.part(rows, columns)
    return tile.Tile(part.rows, part.columns, ())


def _along(axis: Axis, rows: Span, columns: Span) -> Span:
    return {Axis.ROW: rows, Axis.COLUMN: columns, Axis.TENSOR: Span(0, 1)}[axis]
