"""Fetch, dispatch and interlock: `hw.fetch.Fetch` and `hw.controller.Controller`."""

from __future__ import annotations

from hw.isa.instructions import INSTRUCTION_BYTES
from hw.isa.registers import ErrorCode

from . import bursts, fifo, gate
from .bursts import CUTTER
from .code import HALT, ILLEGAL
from .compiled import compiled
from .fifo import BUFFERED
from .gate import EXECUTE, GATE, LOAD, STORE
from .record import record

__all__ = ["CONTROL", "finish", "offer", "start"]

_ILLEGAL, _PROGRAM_END = int(ErrorCode.ILLEGAL_INSTRUCTION), int(ErrorCode.PROGRAM_END)
_BYTES = INSTRUCTION_BYTES
END = ILLEGAL + 1
"""What stands for the engine behind the program's last instruction."""
NONE = -1

CONTROL = record(
    cutter=CUTTER, queue=BUFFERED, level=1, asked=1,
    dispatched=1, engine=1, running=1, ending=1, error=1, load=GATE, execute=GATE, store=GATE,
)  # fmt: skip
"""`queue` holds beats of the program, `level` the bytes in the gearbox behind it; `asked` is beats
on their way to it. `dispatched` is the index of the next instruction, and `engine` its engine."""


@compiled
def start(s, h, beat, code):
    """Begin a program that lies at a beat of DRAM; the next cycle is its first."""
    s.running = 1
    length = len(code)
    s.engine = code[0].engine if length else END
    if length:
        s.cutter.waiting = 1
        s.cutter.next_beat = beat & (h.page - 1)
        s.cutter.next_rows = 1
        s.cutter.next_row_beats = (length * _BYTES + h.bus - 1) >> h.bus_bits


@compiled
def fetch_offers(s, h):
    """Return the beats of the burst that fetch offers, 0 for none: there must be room for them."""
    limit = h.fetch_burst
    beats = bursts.offer(s.cutter, h, limit)
    return beats if s.asked + beats <= 4 * limit else 0


@compiled
def fetch_has_room(s, h):
    """Return whether fetch takes a beat of data."""
    return fifo.has_room(s.queue, 4 * h.fetch_burst)


@compiled
def offer(s, w):
    """Put the instructions whose tokens are there on the wires."""
    works = s.error == 0
    w.load_valid = 1 if works and gate.is_open(s.load) else 0
    w.execute_valid = 1 if works and gate.is_open(s.execute) else 0
    w.store_valid = 1 if works and gate.is_open(s.store) else 0
    w.load_index, w.execute_index = gate.head(s.load), gate.head(s.execute)
    w.store_index = gate.head(s.store)


@compiled
def _waits(s, w):
    """Return which engine, ready for its next instruction, waits for tokens of which."""
    if s.error:
        return 0
    return (
        (s.load.lacks if w.load_ready else 0)
        | (s.execute.lacks << 4 if w.execute_ready else 0)
        | (s.store.lacks << 8 if w.store_ready else 0)
    )


@compiled
def _has_room(s, h):
    """Return whether the queue of the next instruction's engine takes it."""
    if s.engine == LOAD:
        return fifo.has_room(s.load.queue, h.queue_depth)
    if s.engine == EXECUTE:
        return fifo.has_room(s.execute.queue, h.queue_depth)
    return fifo.has_room(s.store.queue, h.queue_depth)


@compiled
def _is_empty(s):
    return not (
        fifo.level(s.load.queue) or fifo.level(s.execute.queue) or fifo.level(s.store.queue)
    )


@compiled(inline="always")
def _pass(s, w, code, engine):
    """End a cycle of the queues and tokens; `engine` takes the next instruction, -1 for none."""
    gate.advance(
        s.load, code, w.load_valid and w.load_ready, engine == LOAD, s.dispatched,
        0, w.execute_to_load, w.store_to_load,
    )  # fmt: skip
    gate.advance(
        s.execute, code, w.execute_valid and w.execute_ready, engine == EXECUTE, s.dispatched,
        w.load_to_execute, 0, w.store_to_execute,
    )  # fmt: skip
    gate.advance(
        s.store, code, w.store_valid and w.store_ready, engine == STORE, s.dispatched,
        w.load_to_store, w.execute_to_store, 0,
    )  # fmt: skip


@compiled
def _fetch(s, h, w, leaves, comes):
    """End a cycle of fetch: an instruction leaves the gearbox, a beat comes from the bus."""
    # What leaves makes room in the same cycle.
    left = s.level - _BYTES if leaves else s.level
    takes = left < _BYTES
    taken = 1 if takes and s.queue.out else 0
    s.level = left + h.bus * taken
    s.asked += (w.fetch_burst if w.fetch_taken else 0) - taken
    if s.cutter.waiting or s.cutter.active:
        limit = h.fetch_burst
        bursts.advance(s.cutter, h, limit, w.fetch_taken, False, 0, 0, 0, 0)
    if comes or s.queue.inner or taken:
        fifo.advance(s.queue, comes, takes)


@compiled
def _is_idle(s):
    """Return whether fetch has asked for nothing, and holds nothing."""
    return not (s.cutter.waiting or s.cutter.active or s.asked or s.level >= _BYTES)


@compiled(inline="always")
def finish(s, h, w, code, comes, idle):
    """End a cycle; return who waits for whom, as Register.WAITING has it a cycle later.

    Parameters
    ----------
    comes : bool
        A beat of the program comes.
    idle : bool
        Engines and write master are idle.
    """
    waits = _waits(s, w)
    valid = s.level >= _BYTES
    decoding = s.running and not s.ending
    moves, engine, error = False, NONE, 0
    if decoding:
        if s.engine == END:
            error = _PROGRAM_END
        elif valid and s.engine == ILLEGAL:
            error = _ILLEGAL
        elif valid and s.engine == HALT:
            moves = _is_empty(s) and idle
        elif valid and _has_room(s, h):
            moves, engine = True, s.engine
    elif s.ending and idle and _is_idle(s):
        s.running = s.ending = 0
    _pass(s, w, code, engine)
    _fetch(s, h, w, valid and (moves or not decoding), comes)
    w.retired = 1 if moves else 0
    if moves:
        if s.engine == HALT:
            s.ending = 1
        s.dispatched += 1
        s.engine = code[s.dispatched].engine if s.dispatched < len(code) else END
    if error:
        s.error, s.ending = error, 1
    return waits
