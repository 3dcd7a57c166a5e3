"""What the work of a segment reads: products of other work, and operands from DRAM."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from hw.isa.config import Config

from ..tile import Span
from .ir import Copy, Maxima, Output, Product, Segment, Sums, Updates, View
from .tiles import Tile, term_part

__all__ = ["Loads", "Needs", "common", "windows"]

Key = tuple[int, int, int]
"""Places of a product in its segment, a tile in its product, a piece in its tile."""


def windows(output: Output, tile: Tile) -> tuple[Span, Span] | None:
    """Return the part of a tile that an output is made of, in the product, or None."""
    rows, columns = common(output.rows, tile.rows), common(output.columns, tile.columns)
    return None if rows is None or columns is None else (rows, columns)


def common(one: Span, other: Span) -> Span | None:
    """Return what two spans share, or None."""
    start = max(one[0], other[0])
    stop = min(one[0] + one[1], other[0] + other[1])
    return Span(start, stop - start) if start < stop else None


@dataclass
class Needs:
    """Which tiles, of which products, a piece of a segment reads.

    Members
    -------
    segment : Segment
    tiles : sequence of sequence of Tile
        Of each product.
    """

    segment: Segment
    tiles: Sequence[Sequence[Tile]]

    def __post_init__(self) -> None:
        self._known: dict[Key, list[Key]] = {}
        self._made: dict[str, list[tuple[int, int]]] = {}
        for p, product in enumerate(self.segment.products):
            for o, output in enumerate(product.outputs):
                name = output.table if isinstance(output, Updates) else output.to.value
                self._made.setdefault(name, []).append((p, o))
        self._parts: dict[tuple[int, int], list[tuple[int, Span, Span]]] = {}

    def of(self, key: Key) -> list[Key]:
        """Return product, tile and output of all that a piece reads."""
        if key not in self._known:
            self._known[key] = self._find(*key)
        return self._known[key]

    @cached_property
    def orders(self) -> list[list[int]]:
        """The tiles of each product in the order in which what they read is made."""
        places: list[dict[int, int]] = []
        for product, tiles in enumerate(self.tiles):
            firsts = {tile: self._first(places, product, tile) for tile in range(len(tiles))}
            order = sorted(firsts, key=lambda tile: (firsts[tile], tile))
            places.append({tile: place for place, tile in enumerate(order)})
        return [list(each) for each in places]

    def _first(self, places: list[dict[int, int]], product: int, tile: int) -> int:
        needs = (n for p in range(len(self.tiles[product][tile].pieces))
                 for n in self.of((product, tile, p)))  # fmt: skip
        return max((places[p][t] for p, t, _ in needs if p < len(places)), default=-1)

    @cached_property
    def free(self) -> list[bool]:
        """Whether each product reads nothing of the others, and they nothing of it."""
        read = [
            {v for t in p.terms for v in (t.left.value, t.right.value, t.updates)} & set(self._made)
            for p in self.segment.products
        ]
        makers = [{p for name in names for p, _ in self._made[name]} for names in read]
        used = set().union(*makers)
        return [not names and p not in used for p, names in enumerate(read)]

    @cached_property
    def reads(self) -> list[bool]:
        """Whether each product reads what another one makes piece by piece."""
        return [
            any(
                p != product and len(self.tiles[p]) > 1
                for t in self.segment.products[product].terms
                for v in (t.left.value, t.right.value)
                for p, _ in self._made.get(v, ())
            )
            for product in range(len(self.tiles))
        ]

    def _find(self, product: int, tile: int, piece: int) -> list[Key]:
        own = self.tiles[product][tile]
        term = self.segment.products[product].terms[own.pieces[piece].term]
        found = []
        for view in term_part(term, own, own.pieces[piece].k):
            for p, o in self._made.get(view.value, ()):
                found += [(p, t, o) for t in self._tiles_of(p, o, view)]
        for p, o in self._made.get(term.updates, ()):
            found += [(p, t, o) for t in range(len(self.tiles[p]))]
        return found

    def _tiles_of(self, product: int, place: int, view: View) -> Iterator[int]:
        """Yield the tiles from which an output makes a part of a view."""
        output = self.segment.products[product].outputs[place]
        if isinstance(output, Maxima | Updates):
            return
        assert isinstance(output, Sums | Copy)
        if (product, place) not in self._parts:
            self._parts[product, place] = [
                (index, *inside)
                for index, tile in enumerate(self.tiles[product])
                if (inside := windows(output, tile)) is not None
            ]
        row = view.rows.start + output.rows.start - output.to.rows.start
        column = view.columns.start + output.columns.start - output.to.columns.start
        for index, rows, columns in self._parts[product, place]:
            if (
                rows[0] < row + view.rows.size
                and row < rows[0] + rows[1]
                and columns[0] < column + view.columns.size
                and column < columns[0] + columns[1]
            ):
                yield index


class Loads:
    """What pieces load, and what of it is still on the chip, about."""

    def __init__(
        self, config: Config, products: Sequence[Product], tiles: Sequence[Sequence[Tile]]
    ) -> None:
        self._config, self._products, self._tiles = config, products, tiles
        self._known: dict[Key, tuple[tuple[View, int], ...]] = {}
        self.clear()

    def clear(self) -> None:
        """Forget what is on the chip."""
        self._held: tuple[OrderedDict[View, int], ...] = OrderedDict(), OrderedDict()
        self._words = [0, 0]

    def missing(self, key: Key) -> int:
        """Return the cycles of the loads of a piece's operands."""
        pairs = zip(self._held, self._operands(key), strict=True)
        return sum(cycles for held, (view, cycles) in pairs if view not in held)

    def take(self, key: Key) -> None:
        """Note that a piece's operands are on the chip, and drive out the oldest."""
        depths = self._config.input_depth, self._config.weight_depth
        for place, (view, words) in enumerate(self._operands(key)):
            held = self._held[place]
            if view not in held:
                self._words[place] += words
            held[view] = words
            held.move_to_end(view)
            while self._words[place] > 2 * depths[place] and len(held) > 1:
                self._words[place] -= held.popitem(last=False)[1]

    def _operands(self, key: Key) -> tuple[tuple[View, int], ...]:
        if key not in self._known:
            product, tile, piece = key
            own = self._tiles[product][tile]
            term = self._products[product].terms[own.pieces[piece].term]
            views = term_part(term, own, own.pieces[piece].k)
            self._known[key] = tuple((view, self._cycles(view)) for view in views)
        return self._known[key]

    def _cycles(self, view: View) -> int:
        """Return the cycles of a load: a beat, or a word where it is transposed, in each."""
        beats = view.rows.size * -(-view.columns.size // self._config.bus_bytes)
        if not view.transposed:
            return beats
        lanes = min(self._config.rows, self._config.columns)
        return max(beats, view.columns.size * -(-view.rows.size // lanes))
