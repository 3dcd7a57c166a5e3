"""The order of a segment's work, found by walking through its time.

There are clocks for the array, the loads and the store engine. A piece is taken up when what it
reads of other products is there again; of several, the one comes next that a policy prefers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from hw.isa.config import Config

from ..tile import TileError
from . import ir
from .ir import Product, Segment
from .memory import Sums
from .needs import Key, Loads, Needs
from .outputs import Outputs
from .tile_size import SLOTS
from .tiles import Tile
from .work import Policy, Work

__all__ = ["Scheduler"]

LONG = 20000
"""Cycles of a tile, from which on it waits for others."""
LOOK = 64
"""Pieces ahead that are looked at for what they wait for."""
PATIENCE = 100
"""Cycles for which the array may wait for operands before another product takes over."""
BEHIND, BEFORE = 0.9, 1.06
"""How far independent products keep behind the others, to have work left at the end; and how far
before them, if they load much more than a word a cycle, and must come between what loads less."""


@dataclass
class _Queue:
    """What is left of a product: `works` are tiles and pieces, in order."""

    product: Product
    tiles: Sequence[Tile]
    works: list[tuple[int, int]]
    pieces: dict[int, int]
    cycles: int
    words: int
    pace: float
    next: int = 0
    spent: int = 0

    @property
    def left(self) -> bool:
        return self.next < len(self.works)

    def cost(self, place: int) -> int:
        tile, piece = self.works[place]
        return self.tiles[tile].pieces[piece].cycles


class Scheduler:
    """Finds orders of the work of one segment, by policies.

    Parameters
    ----------
    config : Config
    segment : Segment
    tiles : sequence of sequence of Tile
        Of each product.
    """

    def __init__(self, config: Config, segment: Segment, tiles: Sequence[Sequence[Tile]]) -> None:
        self._config, self._products, self._tiles = config, segment.products, tiles
        self._needs = Needs(segment, tiles)
        self._loads = Loads(config, segment.products, tiles)
        self._wanted = Counter(
            need
            for product, own in enumerate(tiles)
            for tile, each in enumerate(own)
            for piece in range(len(each.pieces))
            for need in self._needs.of((product, tile, piece))
        )

    def works(self, policy: Policy) -> tuple[Work, ...]:
        """Return all work in order.

        Raises
        ------
        TileError
            Tiles that must stay leave no room for others.
        """
        self._policy = policy
        self._loads.clear()
        self._queues = [self._queue(p) for p in range(len(self._products))]
        self._sums = Sums(self._config.output_depth)
        self._outputs = Outputs(
            self._config, self._products, self._tiles, self._note, self._sums.free
        )
        self._array = self._load = 0
        self._uses = self._wanted.copy()
        self._out: list[Work] = []
        last, since = -1, 0
        while any(queue.left for queue in self._queues):
            index = self._choose(last, since)
            since = 0 if index != last else since
            since += self._go_on(index)
            last = index
        self._outputs.make(self._array, all=True)
        self._outputs.release(inf)
        return tuple(self._out)

    def _queue(self, index: int) -> _Queue:
        tiles = self._tiles[index]
        works = [(t, p) for t in self._needs.orders[index] for p in range(len(tiles[t].pieces))]
        return _Queue(
            self._products[index], tiles, works,
            {t: len(tile.pieces) for t, tile in enumerate(tiles)},
            sum(piece.cycles for tile in tiles for piece in tile.pieces),
            max(map(self._words, tiles)), self._pace(index),
        )  # fmt: skip

    def _pace(self, index: int) -> float:
        if not self._needs.free[index]:
            return 1.0
        tile = self._tiles[index][0]
        loads = sum(self._loads.missing((index, 0, piece)) for piece in range(len(tile.pieces)))
        return BEFORE if loads > 1.3 * sum(piece.cycles for piece in tile.pieces) else BEHIND

    def _note(self, product: int, tile: int, output: int) -> None:
        self._out.append(Work(product, tile, -1, output, self._sums.place((product, tile))))

    def _words(self, tile: Tile) -> int:
        return tile.rows.size * -(-tile.columns.size // self._config.columns)

    def _large(self, queue: _Queue) -> bool:
        """Tell whether few tiles of a product fit the output memory."""
        return queue.words * SLOTS > self._config.output_depth

    def _key(self, index: int) -> Key:
        """Return the next piece of a product."""
        queue = self._queues[index]
        return index, *queue.works[queue.next]

    def _plain(self, queue: _Queue) -> bool:
        """Tell whether all that is made of a product is its sums."""
        return all(isinstance(output, ir.Sums) for output in queue.product.outputs)

    def _choose(self, last: int, since: int) -> int:
        """Return the product whose next piece comes next."""
        ready = {i: self._ready(i) for i, queue in enumerate(self._queues) if queue.left}
        now = [i for i, when in ready.items() if when is not None and when <= self._array]
        for index in self._urgent():
            if index in now:
                return index
        if not now:
            return self._wait({i: when for i, when in ready.items() if when is not None})
        waits = {index: self._waits(index) for index in now}
        if last in now:
            if self._policy.whole and self._in_large(last):
                return last
            if since < self._policy.chunk and waits[last] <= PATIENCE:
                return last
        return min(now, key=lambda i: self._rank(i, waits[i]))

    def _wait(self, ready: dict[int, int]) -> int:
        """Let time pass until a product can go on; return it."""
        if ready:
            index = min(ready, key=lambda i: (ready[i], i))
            self._array = max(self._array, ready[index])
            return index
        if not self._outputs:
            self._refuse()
        self._outputs.make(self._array, all=True)
        self._outputs.release(inf)
        return self._choose(-1, 0)

    def _refuse(self) -> None:
        """Raise TileError: nothing can go on."""
        queue = next(queue for queue in self._queues if queue.left)
        words = self._words(queue.tiles[queue.works[queue.next][0]])
        raise TileError(
            f"{queue.product.name}: a tile of {words} words of sums finds no room in an output "
            f"memory of {2 * self._config.output_depth} beside {self._sums.taken} that others of "
            f"its segment keep"
        )

    def _in_large(self, index: int) -> bool:
        """Tell whether a product is in a large tile that would keep others from being stored."""
        queue = self._queues[index]
        tile, piece = queue.works[queue.next]
        whole = sum(each.cycles for each in queue.tiles[tile].pieces)
        return piece > 0 and self._large(queue) and whole < LONG

    def _waits(self, index: int) -> int:
        """Return how long the array would wait for the operands of a product's next piece."""
        start = max(self._load, self._array - self._policy.run)
        return start + self._loads.missing(self._key(index)) - self._array

    def _rank(self, index: int, waits: int) -> tuple[float, int]:
        """Return how far a product is, and how dear it would be to go on: the least comes next."""
        queue = self._queues[index]
        spent = queue.spent + (self._policy.lag if self._needs.reads[index] else 0)
        part = spent / queue.cycles / queue.pace
        dear = max(0, waits - PATIENCE)
        return part + dear / (queue.cycles if self._policy.even else 1), index

    def _urgent(self) -> list[int]:
        """Return the products that others will soon wait for, those first that wait for none."""
        found: list[int] = []
        for index, queue in enumerate(self._queues):
            place, cycles = queue.next, 0
            end = min(len(queue.works), place + LOOK)
            while place < end and cycles <= self._policy.ahead:
                for maker, tile, _ in self._needs.of((index, *queue.works[place])):
                    # Who needs all of a product can wait until it is there, unless it has begun.
                    waits = not queue.spent and len(self._queues[maker].tiles) == 1
                    if not waits and self._queues[maker].pieces[tile] and maker not in found:
                        found.append(maker)
                cycles += queue.cost(place)
                place += 1
        blocked = {maker for index in found for maker in self._blockers(index)}
        return [index for index in found if index not in blocked] or found

    def _blockers(self, index: int) -> set[int]:
        if not self._queues[index].left:
            return set()
        needs = self._needs.of(self._key(index))
        return {maker for maker, tile, _ in needs if self._queues[maker].pieces[tile]}

    def _ready(self, index: int) -> int | None:
        """Return when what a product's next piece reads is there; None if it is not even made."""
        needs = self._needs.of(self._key(index))
        if any(self._queues[maker].pieces[tile] for maker, tile, _ in needs):
            return None
        if not self._has_room(index):
            return None
        times = [self._outputs.ready(key, self._array) for key in needs]
        return None if None in times else max(times, default=0)

    def _has_room(self, index: int) -> bool:
        """Tell whether a product's next piece has a tile, or there is room for one."""
        _, tile, piece = self._key(index)
        words = self._words(self._tiles[index][tile])
        if piece or self._sums.fits(words):
            return True
        self._outputs.make(self._array)
        while self._outputs.due is not None and not self._sums.fits(words):
            self._outputs.release_one()
        return self._sums.fits(words)

    def _go_on(self, index: int) -> int:
        """Let a product go on by a piece; return the cycles of the array."""
        queue, key = self._queues[index], self._key(index)
        _, tile, piece = key
        place, large = (index, tile), self._large(queue)
        self._outputs.release(self._array)
        for need in self._needs.of(key):
            self._outputs.release(-inf, need)
            self._uses[need] -= 1
            if not self._uses[need]:
                self._outputs.used(need)
        if piece == 0:
            self._outputs.make(self._array, None if large else self._outputs.of_product(index))
            self._sums.get(place, self._words(queue.tiles[tile]), large, self._array)
        self._out.append(Work(index, tile, piece, -1, self._sums.place(place)))
        cycles = queue.cost(queue.next)
        self._load = self._array + self._waits(index)
        self._loads.take(key)
        self._array = max(self._array, self._load) + cycles
        queue.next += 1
        queue.spent += cycles
        queue.pieces[tile] -= 1
        if not queue.pieces[tile]:
            self._outputs.finish(place)
            if not large or not queue.left or self._plain(queue):
                self._outputs.make(self._array, [place])
        return cycles
