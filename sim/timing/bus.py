"""The AXI masters and the DRAM: `hw.axi.ReadMaster`, `hw.axi.WriteMaster`, `sim.dram.AxiDram`.

Times at which data and answers are there are cycle numbers, which `relative` turns into waits.
"""

from __future__ import annotations

from hw.isa.pipeline import ADDRESSES_DEPTH, BEATS_DEPTH, WRITE_DEPTH

from . import fifo
from .compiled import compiled
from .fifo import BUFFERED
from .record import record

__all__ = ["BUS", "finish", "offer", "relative"]

FETCH, LOAD = 0, 1
"""Owners of read bursts, as the AXI ID."""
MOST = 64
"""Greatest `Config.read_outstanding` and `Config.write_outstanding`."""

_READ = record(
    addresses=BUFFERED, bursts=ADDRESSES_DEPTH, pending=1, beats=BUFFERED, owners=BEATS_DEPTH,
    count=1, left=MOST, owner=MOST, ready=MOST, held=1, held_owner=1, held_last=1,
)  # fmt: skip
"""`bursts` are ``2 * beats + owner``. Of the DRAM: `count` bursts with beats left, owner, and the
cycle from which their first beat may come, oldest first; a beat that is held at the output."""
_WRITE = record(
    addresses=BUFFERED, bursts=ADDRESSES_DEPTH, lengths=BUFFERED, beats=MOST + 2, pending=1, sent=1,
    out=BUFFERED, count=1, left=MOST, answers=1, ready=MOST,
)  # fmt: skip
"""Of the DRAM: `count` bursts with beats to come, and `answers` that wait, with their cycles."""

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
    w.answered = 1 if write.answers and write.ready[0] <= now else 0
    return free


@compiled
def _drop(values, count):
    """Remove the first of `count` values; the place that becomes free is zero."""
    for place in range(count - 1):
        values[place] = values[place + 1]
    values[count - 1] = 0


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
        write.left[write.count] = write.bursts[0]
        write.count += 1
    offers = not read.held and read.count > 0 and read.ready[0] <= now
    granted = _spend(s, h, offers, sends and write.count > 0)
    shakes = (1 if asks else 0) | (4 if addresses else 0) | (16 if w.answered else 0)
    if w.answered:
        _drop(write.ready, write.answers)
        write.answers -= 1

    # Read data: a beat that is offered stays until it is taken.
    valid, owner, last = read.held, read.held_owner, read.held_last
    if granted & 1:
        valid, owner = 1, read.owner[0]
        read.left[0] -= 1
        last = 1 if read.left[0] == 0 else 0
        if last:
            _drop(read.left, read.count)
            _drop(read.owner, read.count)
            _drop(read.ready, read.count)
            read.count -= 1
    taken = valid and fifo.has_room(read.beats, BEATS_DEPTH)
    read.held = 1 if valid and not taken else 0
    read.held_owner = owner if read.held else 0
    read.held_last = last if read.held else 0
    if taken:
        shakes |= 2
        n.dram_read_bytes += h.bus
    if asks:
        read.left[read.count] = read.bursts[0] >> 1
        read.owner[read.count] = read.bursts[0] & 1
        read.ready[read.count] = now + h.latency
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
        write.left[0] -= 1
        if write.left[0] == 0:
            _drop(write.left, write.count)
            write.count -= 1
            write.ready[write.answers] = now + h.latency
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
def relative(s, now):
    """Turn cycle numbers into waits from cycle `now` on, or back with ``-now``."""
    for place in range(s.read.count):
        s.read.ready[place] = max(s.read.ready[place] - now, 0)
    for place in range(s.write.answers):
        s.write.ready[place] = max(s.write.ready[place] - now, 0)
