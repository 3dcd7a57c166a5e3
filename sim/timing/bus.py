"""The AXI masters and the DRAM: `hw.axi.ReadMaster`, `hw.axi.WriteMaster`, `sim.dram.AxiDram`.

Times at which data and answers are there are cycle numbers; `relative` turns them into waits.
"""

from __future__ import annotations

from hw.isa.pipeline import ADDRESSES_DEPTH, BEATS_DEPTH, WRITE_DEPTH

from . import fifo
from .compiled import compiled
from .fifo import BUFFERED
from .record import record

__all__ = ["BUS", "MOST", "absolute", "finish", "offer", "relative"]

FETCH, LOAD = 0, 1
"""Owners of read bursts, as the AXI ID."""
MOST = 64
"""Greatest `Config.read_outstanding` and `Config.write_outstanding`."""

_READ = record(
    addresses=BUFFERED, bursts=ADDRESSES_DEPTH, pending=1, beats=BUFFERED, owners=BEATS_DEPTH,
    first=1, count=1, left=MOST, owner=MOST, ready=MOST, held=1, held_owner=1, held_last=1,
)  # fmt: skip
"""`bursts` are ``2 * beats + owner``. Of the DRAM: `count` bursts with beats left, owner, and the
cycle from which their first beat may come, from place `first` on, around the end; a beat that is
held at the output."""
_WRITE = record(
    addresses=BUFFERED, bursts=ADDRESSES_DEPTH, lengths=BUFFERED, beats=MOST + 2, pending=1, sent=1,
    out=BUFFERED, first=1, count=1, left=MOST, first_answer=1, answers=1, ready=MOST,
)  # fmt: skip
"""Of the DRAM: `count` bursts with beats to come, from place `first` on, and `answers` that wait,
with their cycles, from `first_answer` on; around the end, too."""

BUS = record(read=_READ, write=_WRITE, saved=1, write_next=1)
"""`saved` is the DRAM's budget, and `write_next` the direction that goes first, see `sim.dram`."""


@compiled
def offer(s, h, w, now, fetch_valid):
    """Put what the bus has and takes on the wires; return whether it takes a burst of fetch."""
    read, write = s.read, s.write
    free = read.pending != h.read_outstanding and fifo.has_room(read.addresses, ADDRESSES_DEPTH)
    w.read_burst_ready = 1 if free and not fetch_valid else 0
    w.beat_valid = 1 if read.beats.out and read.owners[0] == LOAD else 0
    w.write_burst_ready = (
        1
        if write.pending != h.write_outstanding
        and fifo.has_room(write.addresses, ADDRESSES_DEPTH)
        and fifo.has_room(write.lengths, h.write_outstanding + 1)
        else 0
    )
    w.write_beat_ready = 1 if write.lengths.out and fifo.has_room(write.out, WRITE_DEPTH) else 0
    w.answered = 1 if write.answers and write.ready[write.first_answer] <= now else 0
    return free


@compiled
def _place(first, count):
    """Return the place of the entry behind `count` others, around the end."""
    return (first + count) & (MOST - 1)


@compiled
def _spend(s, h, read, write):
    """Return which of two beats the budget allows, as bits 0 and 1, and pay for them."""
    if not h.rate:
        return (1 if read else 0) | (2 if write else 0)
    read, write = bool(read), bool(write)
    budget = min(s.saved, h.cost) + h.rate
    if read and write and budget < 2 * h.cost:
        read, write = not s.write_next, bool(s.write_next)
    if budget < h.cost:
        read = write = False
    if read != write:
        s.write_next = 1 if read else 0
    s.saved = budget - h.cost * ((1 if read else 0) + (1 if write else 0))
    return (1 if read else 0) | (2 if write else 0)


@compiled
def finish(s, h, w, n, now, fetch_room):
    """End a cycle; return its handshakes, bits 0 to 4 for AR, R, AW, W and B.

    Parameters
    ----------
    fetch_room : bool
        Fetch takes a beat.
    """
    read, write = s.read, s.write
    asks = read.addresses.out
    addresses = write.addresses.out
    sends = write.out.out
    if addresses:
        write.left[_place(write.first, write.count)] = write.bursts[0]
        write.count += 1
    offers = not read.held and read.count > 0 and read.ready[read.first] <= now
    granted = _spend(s, h, offers, sends and write.count > 0)
    shakes = (1 if asks else 0) | (4 if addresses else 0) | (16 if w.answered else 0)
    if w.answered:
        write.ready[write.first_answer] = 0
        write.first_answer = _place(write.first_answer, 1)
        write.answers -= 1

    # Read data: a beat that is offered stays until it is taken.
    valid, owner, last = read.held, read.held_owner, read.held_last
    if granted & 1:
        place = read.first
        valid, owner = 1, read.owner[place]
        read.left[place] -= 1
        last = 1 if read.left[place] == 0 else 0
        if last:
            read.owner[place] = read.ready[place] = 0
            read.first = _place(place, 1)
            read.count -= 1
    taken = valid and fifo.has_room(read.beats, BEATS_DEPTH)
    read.held = 1 if valid and not taken else 0
    read.held_owner = owner if read.held else 0
    read.held_last = last if read.held else 0
    if taken:
        shakes |= 2
        n.dram_read_bytes += h.bus
    if asks:
        place = _place(read.first, read.count)
        read.left[place] = read.bursts[0] >> 1
        read.owner[place] = read.bursts[0] & 1
        read.ready[place] = now + h.latency
        read.count += 1

    # Read master.
    takes_load = w.read_burst_ready and w.read_burst
    burst = 2 * w.fetch_burst + FETCH if w.fetch_taken else 2 * w.read_burst + LOAD
    asked = w.fetch_taken or takes_load
    read.pending += (1 if asked else 0) - (1 if taken and last else 0)
    if asked or asks or read.addresses.inner:
        fifo.advance_with(read.addresses, read.bursts, asked, burst, True)
    leaves = fetch_room if read.owners[0] == FETCH else w.beat_ready
    if taken or read.beats.out or read.beats.inner:
        fifo.advance_with(read.beats, read.owners, taken, owner, leaves)

    _finish_write(s.write, h, w, n, now, addresses, granted >> 1)
    return shakes | (8 if granted & 2 else 0)


@compiled
def _finish_write(write, h, w, n, now, addresses, sent):
    """End a cycle of the write master and of the DRAM's side of it."""
    if sent:
        n.dram_write_bytes += h.bus
        write.left[write.first] -= 1
        if write.left[write.first] == 0:
            write.first = _place(write.first, 1)
            write.count -= 1
            write.ready[_place(write.first_answer, write.answers)] = now + h.latency
            write.answers += 1
    takes = w.write_burst_ready and w.write_burst
    write.pending += (1 if takes else 0) - w.answered
    moves = w.write_beat_ready and w.write_beat
    ends = moves and write.sent == write.beats[0] - 1
    if moves:
        write.sent = 0 if ends else write.sent + 1
    if takes or addresses or write.addresses.inner:
        fifo.advance_with(write.addresses, write.bursts, takes, w.write_burst, True)
    if takes or ends or write.lengths.inner:
        fifo.advance_with(write.lengths, write.beats, takes, w.write_burst, ends)
    if moves or sent or write.out.inner:
        fifo.advance(write.out, moves, sent)


@compiled
def _turn(values, first, count, room):
    """Move `count` entries from place `first` on to the beginning."""
    if first:
        for place in range(count):
            room[place] = values[_place(first, place)]
        values[:] = 0
        for place in range(count):
            values[place] = room[place]


@compiled
def relative(s, now, room):
    """Make a state independent of when it is: waits instead of cycles, queues from place 0 on.

    `room` is for `MOST` numbers.
    """
    read, write = s.read, s.write
    _turn(read.left, read.first, read.count, room)
    _turn(read.owner, read.first, read.count, room)
    _turn(read.ready, read.first, read.count, room)
    _turn(write.left, write.first, write.count, room)
    _turn(write.ready, write.first_answer, write.answers, room)
    read.first = write.first = write.first_answer = 0
    absolute(s, -now)


@compiled
def absolute(s, now):
    """Turn waits into cycles again, `now` being the present one."""
    for place in range(s.read.count):
        s.read.ready[place] = max(s.read.ready[place] + now, 0)
    for place in range(s.write.answers):
        s.write.ready[place] = max(s.write.ready[place] + now, 0)
