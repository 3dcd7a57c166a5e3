"""Parts of products: tiles of a result, and the pieces of its sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hw.isa.instructions import Dataflow

from ..tile import Span, spans
from .ir import Term

__all__ = ["Piece", "Tile", "Tiles", "cut", "term_columns", "term_part"]


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


Tiles = tuple[tuple[Tile, ...], ...]
"""The tiles of each product of a segment, in order."""


def cut(span: Span, size: int) -> Iterator[Span]:
    """Yield the parts of a span, each of a size but the last."""
    for part in spans(span.size, size):
        yield Span(span.start + part.start, part.size)


def term_columns(term: Term, columns: Span) -> Span:
    """Return the columns of a tile that a term reaches over, as those of the product."""
    start = max(term.columns.start, columns.start)
    stop = min(term.columns.start + term.columns.size, columns.start + columns.size)
    return Span(start, stop - start)


def term_part(term: Term, tile: Tile, k: Span) -> tuple:
    """Return the views of a tile's operands in a piece of a term."""
    m = Span(tile.rows.start - term.rows.start, tile.rows.size)
    columns = term_columns(term, tile.columns)
    n = Span(columns.start - term.columns.start, columns.size)
    return term.left.part(m, k), term.right.part(k, n)
