"""Products in tiles that fit the memories, and the pieces of each tile's sums."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow

from ..dataflow import array_cycles
from ..tile import Span, spans
from .choose import Chosen
from .form import form
from .ir import Maxima, Product, Segment, Sums, Updates
from .tile_size import Rule, piece_length, reduction_step, tile_sizes
from .tiles import Piece, Tile, Tiles, cut, term_columns

__all__ = ["RULES", "Tiled", "tile_products"]


TAIL = 256
"""Words of the last tile of sums that go to DRAM, about."""
GRAIN = 1300
"""Cycles of a piece, about: so long may others have to wait for their turn."""
RULES = (Rule(), Rule(tapered=True), Rule(quick=True), Rule(slots=7, tapered=True))
"""The ways that are tried."""


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
            replace(
                p, cycles=array_cycles(config, p.dataflow, last.rows.size, p.k.size, columns.size)
            )
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
        tile_m, tile_n = tile_sizes(config, product, rows, columns, terms, flows, rule, len(cells))
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
            fold = array_cycles(config, flow, m.size, config.fold_reduction, width)
            length = min(length, max(1, GRAIN // fold) * config.fold_reduction)
        if term.updates:
            length = term.k
        elif length < term.k:  # maybe that of a term with fewer
            step = reduction_step(config, flow)
            length = max(step, length // step * step)
        parts = _ramp if term.left.value in early and flow is Dataflow.WS else _even
        for k in parts(config, term.k, length):
            yield Piece(index, flow, k, array_cycles(config, flow, m.size, k.size, width))


def _ramp(config: Config, whole: int, length: int) -> Iterator[Span]:
    """Yield pieces of a reduction, short ones first; in all tiles, since they share operands."""
    start, size = 0, reduction_step(config, Dataflow.WS)
    while start < whole:
        size = min(size, length, whole - start)
        yield Span(start, size)
        start += size
        size *= 2


def _even(_: Config, whole: int, length: int) -> Iterator[Span]:
    yield from spans(whole, length)
