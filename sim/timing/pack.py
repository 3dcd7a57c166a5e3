"""What the store engine produces as beats of the bus: `hw.pack.Pack` and its gearboxes.

Words of a kind follow one another as their instructions say: their queues hold numbers of words
only, and each gearbox counts through the rows of the instruction whose words it takes.
"""

from __future__ import annotations

from hw.isa.pipeline import MAXIMUM_BYTES, STORES, Kind

from . import fifo, gearbox
from .compiled import compiled
from .gearbox import GEARBOX
from .record import record

__all__ = ["MAXIMA", "NARROW", "PACK", "WIDE", "order_of", "step"]

WIDE, NARROW, MAXIMA = (int(kind) for kind in (Kind.WIDE, Kind.NARROW, Kind.MAXIMA))

BOX = record(
    used=1, queue=fifo.BUFFERED, gearbox=GEARBOX,
    rows=1, row_words=1, row_left=1, word_bytes=1, last_bytes=1,
)  # fmt: skip
"""A kind. `used` places of its queue are claimed; a gearbox follows it. Below, the rows that the
gearbox has not taken whole of its instruction, zero behind the last: words in a row, those left of
this one, and bytes of a word and of the last."""

PACK = record(orders=fifo.BUFFERED, order=STORES, boxes=(BOX, len(Kind)))
"""What instructions write, in program order, as `order_of` packs it; and the kinds."""

_KIND, _ROWS, _WORDS = 2, 16, 16
"""Bits of an order's fields; the bytes of a row's last word are above."""


@compiled
def order_of(kind, rows, row_words, last_bytes):
    """Return the order of an instruction, which is not 0."""
    return ((last_bytes << _WORDS | row_words) << _ROWS | rows) << _KIND | kind + 1


@compiled
def _kind_of(order):
    """Return the kind of an order, -1 for none."""
    return (order & ((1 << _KIND) - 1)) - 1


@compiled
def _start(p, h, box, kind):
    """Start the first instruction of a kind that is in the queue."""
    place = 0
    while _kind_of(p.order[place]) != kind:
        place += 1
    order = p.order[place] >> _KIND
    box.rows = order & ((1 << _ROWS) - 1)
    box.row_words = box.row_left = (order >> _ROWS) & ((1 << _WORDS) - 1)
    box.last_bytes = order >> _ROWS + _WORDS
    if kind == MAXIMA:
        box.word_bytes = MAXIMUM_BYTES
    else:
        box.word_bytes = 4 * h.columns if kind == WIDE else h.columns


@compiled
def _take(box):
    """Take a word into the gearbox."""
    box.used -= 1
    if box.row_left > 1:
        gearbox.take(box.gearbox, box.word_bytes, 0)
        box.row_left -= 1
        return
    gearbox.take(box.gearbox, box.last_bytes, 1)
    box.rows -= 1
    box.row_left = box.row_words
    if not box.rows:
        box.row_words = box.row_left = box.word_bytes = box.last_bytes = 0


@compiled
def _advance(p, h, kind, comes, emits):
    """End a cycle of a kind: a word `comes` into its queue, and its gearbox `emits` a beat."""
    box = p.boxes[kind]
    if emits:
        gearbox.give(box.gearbox, h.bus)
    takes = gearbox.ready(box.gearbox, h.bus) and box.queue.out != 0
    if takes:
        if not box.rows:
            _start(p, h, box, kind)
        _take(box)
    fifo.advance(box.queue, comes, takes)


@compiled
def step(p, h, w, wide, narrow, maxima):
    """Offer a beat, and end a cycle in which words of these kinds come."""
    head = _kind_of(p.order[0])
    emits, ended = False, False
    w.write_beat = 0
    if head >= 0:
        box = p.boxes[head]
        if gearbox.offers(box.gearbox, h.bus):
            w.write_beat = 1
            emits = w.write_beat_ready != 0
            # Rows are counted when they are taken: behind the last of the instruction none is left.
            ended = emits and gearbox.ends(box.gearbox, h.bus) and not box.rows
    # An instruction starts when the one before has ended: first the orders, then the words.
    fifo.advance_with(p.orders, p.order, False, 0, ended)
    if wide or p.boxes[WIDE].used or head == WIDE:
        _advance(p, h, WIDE, wide, emits and head == WIDE)
    if narrow or p.boxes[NARROW].used or head == NARROW:
        _advance(p, h, NARROW, narrow, emits and head == NARROW)
    if maxima or p.boxes[MAXIMA].used or head == MAXIMA:
        _advance(p, h, MAXIMA, maxima, emits and head == MAXIMA)
