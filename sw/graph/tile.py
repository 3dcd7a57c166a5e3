"""Products in tiles that fit the memories, and the pieces of each tile's sums."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow

from ..place import align
from ..tile import Span, TileError, spans
from .choose import Chosen
from .form import form
from .ir import Copy, Maxima, Product, Segment, Sums, Term, Updates

__all__ = ["Piece", "Tile", "Tiled", "cut", "term_columns", "term_part", "tile_products"]


@dataclass(frozen=True)
class Piece:
    """One instruction's part of a tile's sums: some of the reduction of a term."""

    term: int
    dataflow: Dataflow
    k: Span
    cycles: int


@dataclass(frozen=True)
class Tile:
    """A rectangle of a product whose sums are in the output memory together."""

    rows: Span
    columns: Span
    pieces: tuple[Piece, ...]


SLOTS = 5
"""See `Rule.slots`."""


@dataclass(frozen=True)
class Rule:
    """How tiles are chosen, where more than one way may be best.

    Members
    -------
    slots : int
        Tiles of quick products that should fit a half of the output memory: they come fast, and
        wait for the store engine.
    quick : bool
        Tiles of sums that go to DRAM are small: each is stored soon.
    tapered : bool
        The last tile of every product is cut, not only of those whose sums go to DRAM.
    """

    slots: int = SLOTS
    quick: bool = False
    tapered: bool = False


RULES = (Rule(), Rule(tapered=True), Rule(quick=True), Rule(slots=7, tapered=True))
"""The ways that are tried."""

Tiles = tuple[tuple[Tile, ...], ...]
"""The tiles of each product of a segment, in order."""


@dataclass(frozen=True)
class Tiled:
    """A step with the tiles of every product.

    Members
    -------
    chosen : Chosen
    candidates : dict
        By the names of segments: ways to cut its products, those of `RULES` that differ. Which is
        best, their order tells.
    """

    chosen: Chosen
    candidates: Mapping[str, tuple[Tiles, ...]]

    def __str__(self) -> str:
        lines = [f"tiles of {self.chosen.fused.name}"]
        for segment in self.chosen.fused.segments:
            for number, candidate in enumerate(self.candidates[segment.name]):
                for product, tiles in zip(segment.products, candidate, strict=True):
                    first = tiles[0]
                    pieces = ", ".join(str(piece.k.size) for piece in first.pieces)
                    lines.append(
                        f"{segment.name} {product.name}, {number}: {len(tiles)} tiles, the first "
                        f"{first.rows.size}x{first.columns.size}, sums in pieces of {pieces}"
                    )
        return "\n".join(lines)


def tile_products(config: Config, chosen: Chosen) -> Tiled:
    """Return the tiles of every product.

    Raises
    ------
    TileError
        A product does not fit the memories; the message names it and the sizes.
    """
    known: dict[Hashable, tuple[Tiles, ...]] = {}
    candidates = {}
    for segment in chosen.fused.segments:
        key = form(segment, chosen.fused.values)
        if key not in known:
            made = [_tile_segment(config, chosen, segment, rule) for rule in RULES]
            known[key] = tuple(dict.fromkeys(made))
        candidates[segment.name] = known[key]
    return Tiled(chosen, candidates)


def _tile_segment(config: Config, chosen: Chosen, segment: Segment, rule: Rule) -> Tiles:
    """Return the tiles of a segment's products; those that read the same have the same pieces."""
    made = [
        tuple(_tiles(config, product, chosen.of(segment, product), rule, {}, set()))
        for product in segment.products
    ]
    # The array waits for the first piece of the first product, and of those that share with it.
    early = {term.left.value for term in segment.products[0].terms if not term.updates}
    longest: dict[str, int] = {}
    for product, tiles in zip(segment.products, made, strict=True):
        for tile in tiles:
            for piece in tile.pieces:
                left = product.terms[piece.term].left.value
                length = max(p.k.size for p in tile.pieces if p.term == piece.term)
                longest[left] = min(length, longest.get(left, length))
    found = []
    for product in segment.products:
        flows = chosen.of(segment, product)
        tiles = _in_order(_tiles(config, product, flows, rule, longest, early))
        if rule.tapered or any(isinstance(output, Sums) for output in product.outputs):
            tiles = _taper(config, tiles)
        found.append(tiles)
    return tuple(found)


def _in_order(tiles: Iterable[Tile]) -> tuple[Tile, ...]:
    """Return tiles with those of the same columns together: others read them by columns."""
    return tuple(sorted(tiles, key=lambda tile: (tile.columns.start, tile.rows.start)))


def _taper(config: Config, tiles: tuple[Tile, ...]) -> tuple[Tile, ...]:
    """Return the tiles with the last one in smaller ones.

    Others wait for the last tile, or the end of the program does.
    """
    last = tiles[-1]
    words = last.rows.size * -(-last.columns.size // config.columns)
    if words <= TAIL or len(tiles) == 1:
        return tiles
    step = math.lcm(config.columns, config.bus_bytes)
    parts = min(-(-words // TAIL), -(-last.columns.size // step))
    size = -(-last.columns.size // (parts * step)) * step
    small = []
    for columns in cut(last.columns, size):
        cycles = [
            replace(p, cycles=_cycles(config, p.dataflow, last.rows.size, p.k.size, columns.size))
            for p in last.pieces
        ]
        small.append(Tile(last.rows, columns, tuple(cycles)))
    return *tiles[:-1], *small


def _tiles(
    config: Config,
    product: Product,
    flows: tuple[Dataflow, ...],
    rule: Rule,
    longest: Mapping[str, int],
    early: Set[str],
) -> Iterator[Tile]:
    """Yield the tiles of all cells."""
    cells = list(_cells(product))
    for rows, columns, terms in cells:
        tile_m, tile_n = _sizes(config, product, rows, columns, terms, flows, rule, len(cells))
        for n in cut(columns, tile_n):
            for m in cut(rows, tile_m):
                yield Tile(
                    m, n, tuple(_pieces(config, product, terms, flows, m, n, longest, early))
                )


def _cells(product: Product) -> Iterator[tuple[Span, Span, list[int]]]:
    """Yield the rectangles between the edges of terms, with the terms that reach over each.

    Where maxima are those of whole rows, all columns are one cell, and terms may be narrower.
    """
    if _joins_columns(product):
        edges = sorted({e for t in product.terms for e in _ends(t.rows)})
        for top, bottom in pairwise(edges):
            rows = Span(top, bottom - top)
            terms = [i for i, t in enumerate(product.terms) if _holds(t.rows, rows)]
            yield rows, Span(0, product.n), terms
        return
    row_edges = sorted({e for t in product.terms for e in _ends(t.rows)})
    column_edges = sorted({e for t in product.terms for e in _ends(t.columns)})
    for left, right in pairwise(column_edges):
        columns = Span(left, right - left)
        inside = [i for i, t in enumerate(product.terms) if _holds(t.columns, columns)]
        for top, bottom in pairwise(row_edges):
            rows = Span(top, bottom - top)
            terms = [i for i in inside if _holds(product.terms[i].rows, rows)]
            if terms:
                yield rows, columns, terms


def _joins_columns(product: Product) -> bool:
    """Tell whether rows have maxima over columns of several terms."""
    axes = {
        output.axis if isinstance(output, Maxima) else Axis.ROW
        for output in product.outputs
        if isinstance(output, Maxima | Updates)
    }
    return bool(axes - {Axis.COLUMN}) and len({term.columns for term in product.terms}) > 1


def _ends(span: Span) -> tuple[int, int]:
    return span.start, span.start + span.size


def _holds(outer: Span, inner: Span) -> bool:
    return outer.start <= inner.start and _ends(inner)[1] <= _ends(outer)[1]


def _sizes(
    config: Config,
    product: Product,
    rows: Span,
    columns: Span,
    terms: list[int],
    flows: tuple[Dataflow, ...],
    rule: Rule,
    cells: int,
) -> tuple[int, int]:
    """Return rows and columns of a tile: those of the fewest cycles of array and bus."""
    unit_m, unit_n = _units(config, product, rows, columns)
    found: list[tuple[float, int, int, int]] = []
    alone = cells == 1
    # A tile that takes the array little longer than the store engine must not wait for its turn.
    folds = sum(_cycles(config, flows[i], config.rows, product.terms[i].k, 1) for i in terms)
    slow = folds >= SLOW * config.rows
    half = config.output_depth * 15 // 16
    least = unit_m * -(-unit_n // config.columns)
    most = half if slow else max(config.output_depth // rule.slots, min(least, half))
    if slow and rule.quick and any(isinstance(output, Sums) for output in product.outputs):
        most = min(most, config.output_depth // 2)
    for tile_m in _multiples(unit_m, rows.size):
        for tile_n in _multiples(unit_n, columns.size):
            words = tile_m * -(-tile_n // config.columns)
            whole = alone and tile_m == rows.size and tile_n == columns.size
            if words > most and not (whole and words <= 2 * half):
                continue
            cost = _cost(config, product, rows, columns, terms, flows, tile_m, tile_n)
            if cost is not None:
                found.append((cost, words, tile_m, tile_n))
    if not found:
        raise TileError(
            f"{product.name}: a tile of {unit_m}x{unit_n}, the least that its outputs allow, does "
            f"not fit the memories: {config.output_depth} words of {config.columns} sums, "
            f"{config.input_depth} and {config.weight_depth} words of operands a half"
        )
    best = min(found)[0]
    # Of those that cost about the same, the smallest that keeps the array long enough at work, and
    # of such the one whose rows make long bursts.
    near = [each for each in found if each[0] <= 1.01 * best]
    enough = [each for each in near if each[1] >= (ENOUGH if slow else 0.75) * most]
    burst = BURST * config.bus_bytes
    _, _, tile_m, tile_n = (
        min(enough, key=lambda each: (each[1], abs(each[3] - burst)))
        if enough
        else max(near, key=lambda each: each[1])
    )
    return tile_m, tile_n


TAIL = 256
"""Words of the last tile of sums that go to DRAM, about."""
BURST = 4
"""Beats of a row of a tile, about, that make a good burst."""
ENOUGH = 0.25
"""Part of a half that a tile should take whose sums are added up, to hide what starts and ends."""
SLOW = 4
"""Cycles a word of sums takes the array, at least, where tiles may be large."""


def _units(config: Config, product: Product, rows: Span, columns: Span) -> tuple[int, int]:
    """Return the least rows and columns of a tile of a cell."""
    beat = math.lcm(config.columns, config.bus_bytes)
    unit_m, unit_n = 1, min(beat, columns.size)
    if any(term.left.transposed for term in product.terms):
        unit_m = min(config.bus_bytes, rows.size)  # loads start at whole beats
    for output in product.outputs:
        if isinstance(output, Sums):
            continue
        axis = output.axis if isinstance(output, Copy | Maxima) else Axis.ROW
        if isinstance(output, Updates | Maxima):
            if axis is not Axis.ROW:
                unit_m = max(unit_m, min(output.rows.size, rows.size))
            if axis is not Axis.COLUMN:
                unit_n = columns.size
    if any(isinstance(output, Updates) for output in product.outputs):
        unit_m = rows.size
    return unit_m, unit_n


def _multiples(unit: int, size: int) -> list[int]:
    """Return the multiples of a unit that cut a size into equal parts, about."""
    count = -(-size // unit)
    found = {unit * -(-count // parts) for parts in range(1, count + 1)}
    return sorted(min(each, size) for each in found)


def _cost(
    config: Config,
    product: Product,
    rows: Span,
    columns: Span,
    terms: list[int],
    flows: tuple[Dataflow, ...],
    tile_m: int,
    tile_n: int,
) -> float | None:
    """Return about the cycles of a cell, or None if its operands do not fit."""
    array = loads = 0.0
    tiles_m, tiles_n = -(-rows.size // tile_m), -(-columns.size // tile_n)
    for index in terms:
        k, flow = product.terms[index].k, flows[index]
        width = min(tile_n, product.terms[index].columns.size)
        whole = product.terms[index].updates  # which is rounded once, so it is no sum of pieces
        if piece_length(config, flow, k, tile_m, width) < 1 or (
            whole and not _fits(config, flow, tile_m, k, width)
        ):
            return None
        array += tiles_m * tiles_n * _cycles(config, flow, tile_m, k, width)
        left, right = _words(config, flow, tile_m, k, width)
        # Columns outer: the left operand stays for all columns if it fits, the right one for a row.
        stays = tiles_m * left <= config.input_depth * 3 // 2
        loads += tiles_m * left * (1 if stays else tiles_n)
        loads += tiles_n * right * (1 if right <= config.weight_depth else tiles_m)
    beats = loads * max(config.rows, config.columns) / config.bus_bytes
    return max(array, 1.1 * beats) + 0.1 * array + 0.3 * beats


def _cycles(config: Config, flow: Dataflow, m: int, k: int, n: int) -> int:
    rows, columns = config.rows, config.columns
    folded, streamed = (k, m) if flow is Dataflow.WS else (m, k)
    return -(-folded // rows) * -(-n // columns) * max(streamed, rows)


def _words(config: Config, flow: Dataflow, m: int, k: int, n: int) -> tuple[int, int]:
    """Return the words of both operands."""
    left = m * -(-k // config.rows) if flow is Dataflow.WS else k * -(-m // config.rows)
    return left, k * -(-n // config.columns)


def _fits(config: Config, flow: Dataflow, m: int, k: int, n: int) -> bool:
    """Tell whether the operands of an instruction fit half of each memory."""
    left, right = _words(config, flow, m, k, n)
    return left <= config.input_depth and right <= config.weight_depth


def piece_length(config: Config, flow: Dataflow, k: int, m: int, n: int) -> int:
    """Return how much of a reduction one instruction takes: pieces that are equal, about.

    Two of a piece's operands fit half of their memory, so that one is loaded under the other. Where
    loads take longer than the array, pieces are short, so that others come between them.
    """
    whole = k
    step = _step(config, flow)
    count = 1
    while True:
        left, right = _words(config, flow, m, k, n)
        slow = left + right > 0.8 * _cycles(config, flow, m, k, n)
        most = SHORT if slow else 2
        if most * left <= config.input_depth and most * right <= config.weight_depth:
            return k
        if k <= step:
            return k if _fits(config, flow, m, k, n) else 0
        count += 1
        k = -(-whole // count)
        k = -(-k // step) * step


def _step(config: Config, flow: Dataflow) -> int:
    """Return what a reduction is cut at: beats of the bus and, in WS, whole folds of the array."""
    if flow is Dataflow.WS:
        return math.lcm(config.rows, config.bus_bytes)
    return align(config.rows, config.bus_bytes)


GRAIN = 1300
"""Cycles of a piece, about: so long may others have to wait for their turn."""
SHORT = 4
"""Operands of how many pieces fit half of a memory, where loads are slow."""


def _pieces(
    config: Config,
    product: Product,
    terms: list[int],
    flows: tuple[Dataflow, ...],
    m: Span,
    n: Span,
    longest: Mapping[str, int],
    early: Set[str],
) -> Iterator[Piece]:
    for index in sorted(terms, key=lambda i: bool(product.terms[i].updates)):
        term, flow = product.terms[index], flows[index]
        width = term_columns(term, n).size
        length = piece_length(config, flow, term.k, m.size, width)
        length = min(length, longest.get(term.left.value, length))
        if flow is Dataflow.WS:
            fold = _cycles(config, flow, m.size, config.rows, width)
            length = min(length, max(1, GRAIN // fold) * config.rows)
        if term.updates:
            length = term.k
        elif length < term.k:  # maybe that of a term with fewer
            step = _step(config, flow)
            length = max(step, length // step * step)
        parts = _ramp if term.left.value in early and flow is Dataflow.WS else _even
        for k in parts(config, term.k, length):
            yield Piece(index, flow, k, _cycles(config, flow, m.size, k.size, width))


def _ramp(config: Config, whole: int, length: int) -> Iterator[Span]:
    """Yield pieces of a reduction, short ones first; in all tiles, since they share operands."""
    start, size = 0, _step(config, Dataflow.WS)
    while start < whole:
        size = min(size, length, whole - start)
        yield Span(start, size)
        start += size
        size = start


def _even(_: Config, whole: int, length: int) -> Iterator[Span]:
    yield from spans(whole, length)


def cut(span: Span, size: int) -> Iterator[Span]:
    """Yield the parts of a span, each of a size but the last."""
    for part in spans(span.size, size):
        yield Span(span.start + part.start, part.size)


def term_columns(term: Term, columns: Span) -> Span:
    """Return the columns of a tile that a term reaches over, as those of the product."""
    start = max(term.columns.start, columns.start)
    return Span(start, min(_ends(term.columns)[1], _ends(columns)[1]) - start)


def term_part(term: Term, tile: Tile, k: Span) -> tuple:
    """Return the views of a tile's operands in a piece of a term."""
    m = Span(tile.rows.start - term.rows.start, tile.rows.size)
    columns = term_columns(term, tile.columns)
    n = Span(columns.start - term.columns.start, columns.size)
    return term.left.part(m, k), term.right.part(k, n)
