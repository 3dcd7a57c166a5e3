"""What is made of finished tiles, and when the store engine makes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import inf

from hw.isa.config import Config
from hw.isa.instructions import Axis

from .ir import Maxima, Output, Product, Sums, Updates
from .needs import Key, windows
from .tiles import Tile

__all__ = ["Outputs"]

LATENCY = 700
"""Cycles from the last read of a store to the data being an operand again, about."""
LEAD = 1500
"""Cycles by which pieces stand in the program before outputs that start with them."""

Place = tuple[int, int]
"""Places of a product in its segment, and of a tile in its product."""


class Outputs:
    """Outputs of a segment's tiles, from the end of a tile to their place in the program.

    A tile that is done waits until its outputs are wanted, or until another one wants its half of
    the memory. Then they are due, at times by a clock of the store engine. Each engine has a queue
    of a few instructions, filled in the order of the program, and one full queue holds up the
    others: so outputs are written down where the store engine comes to them.

    Parameters
    ----------
    config : Config
    products : sequence of Product
    tiles : sequence of sequence of Tile
        Of each product.
    write : callable
        Called with product, tile and output of what is written down.
    free : callable
        Called with a tile whose outputs all have been, and when the last one will be stored.
    """

    def __init__(
        self,
        config: Config,
        products: Sequence[Product],
        tiles: Sequence[Sequence[Tile]],
        write: Callable[[int, int, int], None],
        free: Callable[[Place, int], None],
    ) -> None:
        self._config, self._products, self._tiles = config, products, tiles
        self._write, self._free = write, free
        self._waiting: dict[Place, list[int]] = {}
        self._due: deque[tuple[int, Key]] = deque()
        self._done: dict[Key, int] = {}
        self._left: dict[Place, int] = {}
        self._tables: dict[Key, int] = {}
        self._clock = 0

    def __bool__(self) -> bool:
        return bool(self._waiting or self._due)

    @property
    def due(self) -> int | None:
        """When the next output is due."""
        return self._due[0][0] if self._due else None

    def finish(self, place: Place) -> None:
        """Take up a tile that is done."""
        product, tile = place
        own = self._tiles[product][tile]
        made = [i for i, o in enumerate(self._products[product].outputs) if windows(o, own)]
        self._waiting[place] = made
        self._left[place] = len(made)

    def ready(self, key: Key, now: int) -> int | None:
        """Return when an output will be in DRAM, or on the chip; make it due if it is not.

        None if it is a table of update scales, and those that are in use leave no room for it.
        """
        if key not in self._done:
            product, tile, output = key
            kind = self._products[product].outputs[output]
            if isinstance(kind, Updates):
                rows = kind.rows.size
                if sum(self._tables.values()) + rows > self._config.accumulate_scale_depth:
                    return None
                self._tables[key] = rows
            self.make(now, [(product, tile)], wanted=output)
        return self._done[key] + LATENCY

    def used(self, key: Key) -> None:
        """Forget a table of update scales that nobody wants any more."""
        self._tables.pop(key, None)

    def make(
        self,
        now: int,
        places: Sequence[Place] | None = None,
        *,
        wanted: int = -1,
        all: bool = False,
    ) -> None:
        """Make outputs of tiles due: of all that wait, or of some.

        Update scales are made when they are wanted, since many of them do not fit the memory.
        """
        for place in [p for p in self._waiting if places is None or p in places]:
            outputs = self._waiting.pop(place)
            kinds = self._products[place[0]].outputs
            late = [i for i in outputs if isinstance(kinds[i], Updates)]
            if len(late) > 1 and not all:
                stay = [i for i in late if i != wanted]
                if stay:
                    self._waiting[place] = stay
                outputs = [i for i in outputs if i not in stay]
            self._schedule(now, place, outputs)

    def of_product(self, product: int) -> list[Place]:
        """Return the tiles of a product that wait."""
        return [place for place in self._waiting if place[0] == product]

    def release(self, time: float, wanted: Key | None = None) -> None:
        """Write down outputs that are due until a time, or until one that is wanted is."""
        if wanted is not None and all(key != wanted for _, key in self._due):
            wanted = None
        while self._due and (self._due[0][0] <= time - LEAD or wanted is not None):
            _, key = self._due.popleft()
            self._write(*key)
            place = key[:2]
            self._left[place] -= 1
            if not self._left[place]:
                self._free(place, self._done[key])
            if wanted == key:
                wanted = None

    def release_one(self) -> None:
        """Write down the next output."""
        self.release(-inf, self._due[0][1])

    def _schedule(self, now: int, place: Place, outputs: Sequence[int]) -> None:
        product, tile = place
        self._clock = max(self._clock, now)
        for index in outputs:
            output = self._products[product].outputs[index]
            rows, columns = windows(output, self._tiles[product][tile])
            self._due.append((self._clock, (product, tile, index)))
            self._clock += self._cycles(output, rows.size, columns.size)
        for index in outputs:
            self._done[product, tile, index] = self._clock

    def _cycles(self, output: Output, rows: int, columns: int) -> int:
        """Return how long the store engine works on an output, about."""
        words = rows * -(-columns // self._config.columns)
        if isinstance(output, Maxima) and output.axis is Axis.COLUMN:
            return max(words, columns) + 20  # maxima are written one a cycle
        if isinstance(output, Sums):
            words *= max(1, 4 * self._config.columns // self._config.bus_bytes)
        return words + words // 8 + 20
