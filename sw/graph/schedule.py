"""The order of all work of a segment: pieces of tiles, and what is made of finished tiles.

Engines run ahead of one another, but each keeps its order. So the order decides what overlaps: a
product that reads what another one makes must come so long after it that the copy has gone to DRAM
and back; products that load much go between those that load little; and a tile is stored while the
array adds up the next one in the other half of the output memory.

The order is found by walking through time: a clock for the array, and one for the store engine.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from hw.isa.config import Config
from hw.isa.instructions import Axis

from ..tile import Span, TileError
from . import ir
from .form import form
from .ir import Copy, Maxima, Output, Product, Segment, Updates, View
from .memory import Sums
from .tile import SLOTS, Tile, Tiled, term_part

__all__ = ["Policy", "Scheduled", "Work", "schedule", "schedule_segment", "windows"]


@dataclass(frozen=True)
class Policy:
    """What the order is made by. Times are in cycles of the array.

    Members
    -------
    even : bool
        Products that can go on advance together; otherwise the one comes next whose operands are
        there first.
    whole : bool
        Large tiles are not interrupted, so that what others store need not wait for them.
    chunk : int
        How long one stays at work before another takes over.
    ahead : int
        How long before it is needed what others wait for is made.
    lead : int
        How much earlier pieces stand in the program than outputs that start with them.
    run : int
        How far loads run ahead of the array, as the memories allow, about.
    latency : int
        From the last read of a store to the data being an operand again, about.
    """

    even: bool = True
    whole: bool = True
    chunk: int = 2000
    ahead: int = 4000
    lead: int = 1500
    run: int = 2500
    latency: int = 700


@dataclass(frozen=True)
class Work:
    """A piece of a tile, or some outputs of a tile.

    Members
    -------
    product, tile : int
        Place of the product in its segment, of the tile in its product.
    piece : int
        Place of the piece in its tile; -1 for outputs.
    outputs : tuple of int
        Places of the outputs in their product.
    base : int
        First word of the tile in the output memory.
    """

    product: int
    tile: int
    piece: int = -1
    outputs: tuple[int, ...] = ()
    base: int = 0


@dataclass(frozen=True)
class Scheduled:
    """The work of every segment in order, by name."""

    tiled: Tiled
    works: Mapping[str, tuple[Work, ...]]

    def __str__(self) -> str:
        lines = [f"schedule of {self.tiled.chosen.fused.name}"]
        for segment in self.tiled.chosen.fused.segments:
            lines.append(f"segment {segment.name}: {len(self.works[segment.name])} works")
            lines += [f"  {run}" for run in _runs(segment, self.works[segment.name])]
        return "\n".join(lines)


def _runs(segment: Segment, works: Sequence[Work]) -> Iterator[str]:
    """Yield a line for each run of works of one product and sort."""
    start = 0
    for i, work in enumerate(works):
        last = i + 1 == len(works)
        if last or (works[i + 1].product, works[i + 1].piece < 0) != (work.product, work.piece < 0):
            what = "outputs" if work.piece < 0 else "pieces"
            name = segment.products[work.product].name
            yield f"{what} of {name}: tiles {works[start].tile} to {work.tile}, {i + 1 - start}"
            start = i + 1


def schedule(config: Config, tiled: Tiled, policies: Mapping[Hashable, Policy]) -> Scheduled:
    """Return the order of each segment's work; `policies` by the segments' forms."""
    known: dict[Hashable, tuple[Work, ...]] = {}
    works = {}
    for segment in tiled.chosen.fused.segments:
        key = form(segment, tiled.chosen.fused.values)
        if key not in known:
            known[key] = schedule_segment(config, tiled, segment, policies.get(key, Policy()))
        works[segment.name] = known[key]
    return Scheduled(tiled, works)


def schedule_segment(
    config: Config, tiled: Tiled, segment: Segment, policy: Policy
) -> tuple[Work, ...]:
    """Return the order of the work of a segment."""
    return tuple(_Scheduler(config, tiled, segment, policy).works())


def windows(output: Output, tile: Tile) -> tuple[Span, Span] | None:
    """Return the part of a tile that an output is made of, in the product, or None."""
    rows, columns = _common(output.rows, tile.rows), _common(output.columns, tile.columns)
    return None if rows is None or columns is None else (rows, columns)


def _common(one: Span, other: Span) -> Span | None:
    start = max(one.start, other.start)
    stop = min(one.start + one.size, other.start + other.size)
    return Span(start, stop - start) if start < stop else None


@dataclass
class _Queue:
    """What is left of a product."""

    product: Product
    tiles: tuple[Tile, ...]
    order: list[int]
    cycles: int
    works: list[tuple[int, int]] = field(default_factory=list)
    next: int = 0
    spent: int = 0

    @property
    def left(self) -> bool:
        return self.next < len(self.works)

    def cost(self, place: int) -> int:
        tile, piece = self.works[place]
        return self.tiles[tile].pieces[piece].cycles


class _Scheduler:
    """Walks through the time of a segment."""

    def __init__(self, config: Config, tiled: Tiled, segment: Segment, policy: Policy) -> None:
        self._config, self._policy = config, policy
        self._queues = [_queue(p, tiled.of(segment, p)) for p in segment.products]
        self._made = _makers(segment)
        self._needs = _Needs(self._queues, self._made)
        for queue in self._queues:
            self._sort(queue)
        self._done: dict[tuple[int, int], dict[int, int]] = {}  # outputs of tiles: when ready
        self._waiting: list[tuple[int, int, list[int]]] = []  # tiles with outputs to be made
        self._due: deque[tuple[int, int, int, int]] = deque()  # outputs: when, and which
        self._left_of: dict[tuple[int, int], int] = {}  # outputs of tiles that are not yet out
        self._sums = Sums(config.output_depth)
        self._loads = _Loads(config, self._queues)
        self._array = self._store = self._load = 0
        self._out: list[Work] = []

    def works(self) -> list[Work]:
        """Return all work in order."""
        last, since = -1, 0
        while any(queue.left for queue in self._queues):
            index = self._choose(last, since)
            since = 0 if index != last else since
            since += self._emit(index)
            last = index
        self._flush(everything=True)
        self._release(inf)
        return self._out

    def _sort(self, queue: _Queue) -> None:
        """Put the tiles of a product into the order in which what they read is made."""
        index = self._queues.index(queue)
        queue.order.sort(key=lambda tile: self._needs.first(index, tile))
        queue.works = [(t, p) for t in queue.order for p in range(len(queue.tiles[t].pieces))]

    def _choose(self, last: int, since: int) -> int:
        """Return the product whose next piece comes next."""
        ready = {}
        for index, queue in enumerate(self._queues):
            if queue.left:
                ready[index] = self._ready(index, queue.next)
        urgent = self._urgent()
        for index in urgent:
            if ready.get(index, None) is not None and ready[index] <= self._array:
                return index
        now = [index for index, when in ready.items() if when is not None and when <= self._array]
        if not now:
            known = {index: when for index, when in ready.items() if when is not None}
            if known:
                index = min(known, key=lambda i: (known[i], i))
                self._array = max(self._array, known[index])
                return index
            waiting = bool(self._waiting or self._due)
            self._flush(everything=True)
            self._release(inf)
            if not waiting:
                self._refuse()
            return self._choose(last, since)
        waits = {index: self._waits(index) for index in now}
        if self._policy.whole and last in now and self._in_large(last):
            return last
        if last in now and since < self._policy.chunk and waits[last] <= PATIENCE:
            return last
        return min(now, key=lambda i: self._rank(i, waits[i]))

    def _in_large(self, index: int) -> bool:
        """Tell whether a product is in a large tile that others would keep from being stored."""
        queue = self._queues[index]
        tile, piece = queue.works[queue.next]
        whole = queue.tiles[tile]
        return piece > 0 and self._large(whole) and sum(p.cycles for p in whole.pieces) < LONG

    def _waits(self, index: int) -> int:
        """Return how long the array would wait for the operands of a product's next piece."""
        tile, piece = self._queues[index].works[self._queues[index].next]
        beats = sum(words for _, words in self._loads.missing(index, tile, piece))
        return max(self._load, self._array - self._policy.run) + beats - self._array

    def _refuse(self) -> None:
        """Raise TileError: nothing can go on."""
        queue = next(queue for queue in self._queues if queue.left)
        tile = queue.tiles[queue.works[queue.next][0]]
        raise TileError(
            f"{queue.product.name}: a tile of {self._words(tile)} words of sums finds no room in "
            f"an output memory of {2 * self._config.output_depth} beside {self._sums.taken} that "
            f"others of its segment keep"
        )

    def _rank(self, index: int, waits: int) -> tuple[float, int]:
        """Return how far a product is, and how dear it would be to go on: the least comes next."""
        queue = self._queues[index]
        free = not self._needs.reads(index) and not self._needs.is_read(index)
        part = queue.spent / queue.cycles / (FILLER if free else 1.0)
        dear = max(0, waits - PATIENCE)
        if self._policy.even:
            return part + dear / queue.cycles, index
        return dear + part, index

    def _urgent(self) -> list[int]:
        """Return the products that others will soon wait for, the first needed first."""
        found = []
        for index, queue in enumerate(self._queues):
            place, cycles = queue.next, 0
            while place < len(queue.works) and cycles <= self._policy.ahead:
                for maker, tile in self._needs.of(index, *queue.works[place]):
                    if self._left(maker, tile) and maker not in found:
                        found.append(maker)
                cycles += queue.cost(place)
                place += 1
        return [i for i in found if i not in {m for j in found for m in self._blockers(j)}] or found

    def _blockers(self, index: int) -> list[int]:
        queue = self._queues[index]
        if not queue.left:
            return []
        needs = self._needs.of(index, *queue.works[queue.next])
        return [maker for maker, tile in needs if self._left(maker, tile)]

    def _left(self, index: int, tile: int) -> bool:
        """Tell whether pieces of a tile are still to come."""
        queue = self._queues[index]
        return any(t == tile for t, _ in queue.works[queue.next :]) if queue.left else False

    def _ready(self, index: int, place: int) -> int | None:
        """Return when what a piece reads is there; None if it has not all been computed."""
        queue = self._queues[index]
        when = 0
        if not self._has_room(queue):
            return None
        for maker, tile in self._needs.of(index, *queue.works[place]):
            if self._left(maker, tile):
                return None
            for output in self._needs.outputs(index, *queue.works[place], maker):
                if self._queues[maker].tiles[tile] and windows(
                    self._queues[maker].product.outputs[output], self._queues[maker].tiles[tile]
                ):
                    when = max(when, self._made_by(maker, tile, output))
        return when

    def _has_room(self, queue: _Queue) -> bool:
        """Tell whether the next piece has a tile, or there is room for one."""
        tile, piece = queue.works[queue.next]
        words = self._words(queue.tiles[tile])
        if piece or self._sums.fits(words):
            return True
        self._flush()
        while self._due and not self._sums.fits(words):
            self._release(self._due[0][0])
        return self._sums.fits(words)

    def _words(self, tile: Tile) -> int:
        return tile.rows.size * -(-tile.columns.size // self._config.columns)

    def _made_by(self, product: int, tile: int, output: int) -> int:
        """Return when an output of a tile is in DRAM; make it now if it has not been."""
        done = self._done.get((product, tile), {})
        if output not in done:
            self._flush(upto=(product, tile), wanted=output)
            done = self._done[product, tile]
        return done[output]

    def _emit(self, index: int) -> int:
        """Let a product go on by a piece; return the cycles of the array."""
        queue = self._queues[index]
        tile, piece = queue.works[queue.next]
        pieces = queue.tiles[tile].pieces
        cycles = pieces[piece].cycles
        self._release(self._array - self._policy.lead)
        for maker, other in self._needs.of(index, tile, piece):
            for output in self._needs.outputs(index, tile, piece, maker):
                if (maker, other, output) in {each[1:] for each in self._due}:
                    self._release(-inf, (maker, other, output))
        if piece == 0:
            large = self._large(queue.tiles[tile])
            self._flush(only=None if large else index)
            self._sums.get((index, tile), self._words(queue.tiles[tile]), large, self._array)
        self._out.append(Work(index, tile, piece, base=self._sums.place((index, tile))))
        queue.next += 1
        queue.spent += cycles
        beats = sum(words for _, words in self._loads.missing(index, tile, piece))
        self._load = max(self._load, self._array - self._policy.run) + beats
        self._loads.take(index, tile, piece)
        self._array = max(self._array, self._load) + cycles
        if piece + 1 == len(pieces):
            outputs = [
                i for i, o in enumerate(queue.product.outputs) if windows(o, queue.tiles[tile])
            ]
            self._waiting.append((index, tile, outputs))
            self._left_of[index, tile] = len(outputs)
            if not self._large(queue.tiles[tile]):
                self._flush(upto=(index, tile))
        return cycles

    def _large(self, tile: Tile) -> bool:
        """Tell whether few tiles of this size fit the output memory."""
        return self._words(tile) * SLOTS > self._config.output_depth

    def _flush(
        self,
        everything: bool = False,
        upto: tuple[int, int] | None = None,
        wanted: int = -1,
        only: int | None = None,
    ) -> None:
        """Make outputs of tiles that are done: all, or of one tile, or of one product.

        Update scales are made when they are wanted, since many of them do not fit the memory.
        """
        kept = []
        for product, tile, outputs in self._waiting:
            made = outputs
            other = only is not None and product != only
            if other or (upto is not None and (product, tile) != upto):
                kept.append((product, tile, outputs))
                continue
            kinds = self._queues[product].product.outputs
            late = [i for i in outputs if isinstance(kinds[i], Updates)]
            if len(late) > 1 and not everything:
                made = [i for i in outputs if i not in late or i == wanted]
            left = [i for i in outputs if i not in made]
            if left:
                kept.append((product, tile, left))
            if made:
                self._make(product, tile, made)
        self._waiting = kept

    def _make(self, product: int, tile: int, outputs: list[int]) -> None:
        """Put outputs into the store engine's queue, and note when they will be there."""
        queue = self._queues[product]
        start = max(self._store, self._array)
        self._store = start
        for index in outputs:
            output = queue.product.outputs[index]
            rows, columns = windows(output, queue.tiles[tile])
            self._due.append((self._store, product, tile, index))
            self._store += self._store_cycles(output, rows.size, columns.size)
        for index in outputs:
            self._done.setdefault((product, tile), {})[index] = self._store + self._policy.latency

    def _store_cycles(self, output: Output, rows: int, columns: int) -> int:
        """Return how long the store engine works on an output, about."""
        words = rows * -(-columns // self._config.columns)
        if isinstance(output, Maxima) and output.axis is Axis.COLUMN:
            return max(words, columns) + 20  # maxima are written one a cycle
        if isinstance(output, ir.Sums):
            words *= max(1, 4 * self._config.columns // self._config.bus_bytes)
        return words + words // 8 + 20

    def _release(self, time: float, wanted: tuple[int, int, int] | None = None) -> None:
        """Write down outputs that start until a time, or until one that is wanted is among them.

        Each engine has a queue of a few instructions, filled in the order of the program: one full
        queue holds up the others. So outputs stand where the store engine comes to them.
        """
        while self._due and (self._due[0][0] <= time or wanted is not None):
            _, product, tile, index = self._due.popleft()
            key = product, tile
            self._out.append(Work(product, tile, -1, (index,), self._sums.place(key)))
            self._left_of[key] -= 1
            if not self._left_of[key]:
                self._sums.free(key, self._done[key][index] - self._policy.latency)
            if wanted == (product, tile, index):
                wanted = None


LONG = 20000
"""Cycles of a tile that does not wait for others."""
PATIENCE = 100
"""Cycles for which the array may wait for operands before another product takes over."""
FILLER = 0.9
"""How far independent products keep behind the others, to have work left at the end."""


def _queue(product: Product, tiles: tuple[Tile, ...]) -> _Queue:
    cycles = sum(piece.cycles for tile in tiles for piece in tile.pieces)
    return _Queue(product, tiles, list(range(len(tiles))), cycles)


def _makers(segment: Segment) -> dict[str, list[tuple[int, int]]]:
    """Return, by the names of values and tables, the products and outputs that make them."""
    made: dict[str, list[tuple[int, int]]] = {}
    for p, product in enumerate(segment.products):
        for o, output in enumerate(product.outputs):
            name = output.table if isinstance(output, Updates) else output.to.value
            made.setdefault(name, []).append((p, o))
    return made


class _Loads:
    """What pieces load, and what of it is still on the chip, about."""

    def __init__(self, config: Config, queues: list[_Queue]) -> None:
        self._config, self._queues = config, queues
        self._held: tuple[OrderedDict[View, int], ...] = OrderedDict(), OrderedDict()
        self._known: dict[tuple[int, int, int], tuple[tuple[View, int], ...]] = {}

    def missing(self, product: int, tile: int, piece: int) -> list[tuple[View, int]]:
        """Return the operands of a piece that must be loaded, with their beats."""
        pairs = zip(self._held, self._operands(product, tile, piece), strict=True)
        return [each for held, each in pairs if each[0] not in held]

    def take(self, product: int, tile: int, piece: int) -> None:
        """Note that a piece's operands are on the chip, and drive out the oldest."""
        depths = self._config.input_depth, self._config.weight_depth
        operands = self._operands(product, tile, piece)
        for held, (view, beats), depth in zip(self._held, operands, depths, strict=True):
            held[view] = beats
            held.move_to_end(view)
            while sum(held.values()) > 2 * depth and len(held) > 1:
                held.popitem(last=False)

    def _operands(self, product: int, tile: int, piece: int) -> tuple[tuple[View, int], ...]:
        key = product, tile, piece
        if key not in self._known:
            queue = self._queues[product]
            own = queue.tiles[tile]
            term = queue.product.terms[own.pieces[piece].term]
            views = term_part(term, own, own.pieces[piece].k)
            self._known[key] = tuple((view, self._beats(view)) for view in views)
        return self._known[key]

    def _beats(self, view: View) -> int:
        """Return the cycles of a load: a beat, or a word where it is transposed, in each."""
        bus = self._config.bus_bytes
        beats = view.rows.size * -(-view.columns.size // bus)
        if not view.transposed:
            return beats
        lanes = min(self._config.rows, self._config.columns)
        return max(beats, view.columns.size * -(-view.rows.size // lanes))


class _Needs:
    """Which tiles, of which products, a piece reads."""

    def __init__(self, queues: list[_Queue], made: dict[str, list[tuple[int, int]]]) -> None:
        self._queues, self._made = queues, made
        self._known: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}

    def of(self, product: int, tile: int, piece: int) -> list[tuple[int, int]]:
        """Return product and tile of all that a piece reads."""
        return [(p, t) for p, t, _ in self._all(product, tile, piece)]

    def outputs(self, product: int, tile: int, piece: int, maker: int) -> set[int]:
        """Return the outputs of a product that a piece reads."""
        return {o for p, _, o in self._all(product, tile, piece) if p == maker}

    def first(self, product: int, tile: int) -> tuple[int, ...]:
        """Return the place of a tile among those of its product: after what its pieces need."""
        needs = [n for p in range(len(self._queues[product].tiles[tile].pieces))
                 for n in self._all(product, tile, p)]  # fmt: skip
        orders = [self._queues[p].order.index(t) for p, t, _ in needs]
        return (max(orders, default=-1), tile)

    def reads(self, product: int) -> bool:
        """Tell whether a product reads what others of the segment make."""
        queue = self._queues[product]
        names = {v.value for t in queue.product.terms for v in (t.left, t.right)}
        return any(name in self._made for name in names)

    def is_read(self, product: int) -> bool:
        """Tell whether others of the segment read what a product makes."""
        names = {
            name for name, makers in self._made.items() if any(p == product for p, _ in makers)
        }
        return any(
            names & {t.left.value, t.right.value, t.updates}
            for i, queue in enumerate(self._queues)
            if i != product
            for t in queue.product.terms
        )

    def _all(self, product: int, tile: int, piece: int) -> list[tuple[int, int, int]]:
        key = product, tile, piece
        if key not in self._known:
            self._known[key] = self._find(*key)
        return self._known[key]

    def _find(self, product: int, tile: int, piece: int) -> list[tuple[int, int, int]]:
        queue = self._queues[product]
        own = queue.tiles[tile]
        term = queue.product.terms[own.pieces[piece].term]
        found = []
        for view in term_part(term, own, own.pieces[piece].k):
            for p, o in self._made.get(view.value, ()):
                found += [(p, t, o) for t in _tiles_of(self._queues[p], o, view)]
        for p, o in self._made.get(term.updates, ()):
            found += [(p, t, o) for t in range(len(self._queues[p].tiles))]
        return found


def _tiles_of(queue: _Queue, output: int, view: View) -> Iterator[int]:
    """Yield the tiles from which an output makes a part of a view."""
    made = queue.product.outputs[output]
    if isinstance(made, Maxima | Updates):
        return
    assert isinstance(made, ir.Sums | Copy)
    row = made.rows.start - made.to.rows.start
    column = made.columns.start - made.to.columns.start
    rows = Span(view.rows.start + row, view.rows.size)
    columns = Span(view.columns.start + column, view.columns.size)
    for index, tile in enumerate(queue.tiles):
        inside = windows(made, tile)
        if inside and _common(inside[0], rows) and _common(inside[1], columns):
            yield index
