"""Fetch, dispatch and interlock: `hw.fetch.Fetch` and `hw.controller.Controller`."""

from __future__ import annotations

from hw.isa.config import Config
from hw.isa.instructions import INSTRUCTION_BYTES, Engine
from hw.isa.pipeline import FETCH_BURST
from hw.isa.registers import ErrorCode

from . import bursts, fifo
from .bursts import CUTTER
from .code import HALT, ILLEGAL
from .compiled import compiled
from .fifo import BUFFERED
from .record import record

__all__ = ["CONTROL", "finish", "offer", "start"]

LOAD, EXECUTE, STORE = (int(engine) for engine in Engine)
LONGEST_QUEUE = 64
"""Greatest `Config.queue_depth`."""
_ILLEGAL, _PROGRAM_END = int(ErrorCode.ILLEGAL_INSTRUCTION), int(ErrorCode.PROGRAM_END)
_BYTES = INSTRUCTION_BYTES

_GATE = record(queue=BUFFERED, items=LONGEST_QUEUE, tokens=len(Engine))
"""What stands before an engine: its queue, with the index of each instruction and one, so that zero
is none, and the tokens that each engine has sent."""

CONTROL = record(
    cutter=CUTTER, queue=BUFFERED, level=1, asked=1,
    dispatched=1, running=1, ending=1, error=1, gates=(_GATE, len(Engine)),
)  # fmt: skip
"""`queue` holds beats of the program, `level` the bytes in the gearbox behind it; `asked` is beats
on their way to it. `dispatched` is the index of the instruction at the gearbox's output."""

assert max(Config.__dataclass_fields__["queue_depth"].metadata["high"], 1) == LONGEST_QUEUE


@compiled
def start(s, h, beat, length):
    """Begin a program of `length` instructions at a beat of DRAM; the next cycle is its first."""
    s.running = 1
    if length:
        s.cutter.waiting = 1
        s.cutter.next_beat = beat % h.page
        s.cutter.next_rows = 1
        s.cutter.next_row_beats = (length * _BYTES + h.bus - 1) // h.bus


@compiled
def fetch_offers(s, h):
    """Return the beats of the burst that fetch offers, 0 for none: there must be room for them."""
    limit = min(h.burst_beats, FETCH_BURST)
    beats = bursts.offer(s.cutter, h, limit)
    return beats if s.asked + beats <= 4 * limit else 0


@compiled
def fetch_has_room(s, h):
    """Return whether fetch takes a beat of data."""
    return fifo.has_room(s.queue, 4 * min(h.burst_beats, FETCH_BURST))


@compiled(inline="always")
def _enough(gate, word):
    return (
        gate.tokens[LOAD] >= word.wait_load
        and gate.tokens[EXECUTE] >= word.wait_execute
        and gate.tokens[STORE] >= word.wait_store
    )


@compiled(inline="always")
def _offers(s, gate, code):
    """Return the index of the instruction that may go to its engine, or -1."""
    if not gate.queue.out or s.error:
        return -1
    index = gate.items[0] - 1
    return index if _enough(gate, code[index]) else -1


@compiled(inline="always")
def offer(s, w, code):
    """Put the instructions whose tokens are there on the wires."""
    index = _offers(s, s.gates[LOAD], code)
    w.load_valid, w.load_index = 1 if index >= 0 else 0, index
    index = _offers(s, s.gates[EXECUTE], code)
    w.execute_valid, w.execute_index = 1 if index >= 0 else 0, index
    index = _offers(s, s.gates[STORE], code)
    w.store_valid, w.store_index = 1 if index >= 0 else 0, index


@compiled(inline="always")
def _lacking(s, engine, ready, code):
    """Return a bit for each engine whose tokens are lacking for what this one would take."""
    gate = s.gates[engine]
    if not ready or not gate.queue.out or s.error:
        return 0
    word = code[gate.items[0] - 1]
    return (
        (1 if gate.tokens[LOAD] < word.wait_load else 0)
        | (2 if gate.tokens[EXECUTE] < word.wait_execute else 0)
        | (4 if gate.tokens[STORE] < word.wait_store else 0)
    )


@compiled
def _count_waits(n, load, execute, store):
    """Count a cycle in which engines wait for tokens, given as `_lacking` gives them."""
    if load:
        n.load_stalled_on_token += 1
        n.load_stalled_on_execute += load >> EXECUTE & 1
        n.load_stalled_on_store += load >> STORE & 1
    if execute:
        n.execute_stalled_on_token += 1
        n.execute_stalled_on_load += execute >> LOAD & 1
        n.execute_stalled_on_store += execute >> STORE & 1
    if store:
        n.store_stalled_on_token += 1
        n.store_stalled_on_load += store >> LOAD & 1
        n.store_stalled_on_execute += store >> EXECUTE & 1


@compiled(inline="always")
def _pass(gate, passes, pushes, index, code):
    """End a cycle of a queue and its tokens, which arrive elsewhere."""
    if passes:
        word = code[gate.items[0] - 1]
        gate.tokens[LOAD] -= word.wait_load
        gate.tokens[EXECUTE] -= word.wait_execute
        gate.tokens[STORE] -= word.wait_store
    if passes or pushes or gate.queue.inner:
        fifo.advance_with(gate.queue, gate.items, pushes, index + 1, passes)


@compiled(inline="always")
def finish(s, h, w, n, code, burst_taken, beat_comes, idle):
    """End a cycle; return who waits for whom, as Register.WAITING has it a cycle later.

    Parameters
    ----------
    burst_taken, beat_comes : bool
        The burst that fetch offered is taken; a beat of the program comes.
    idle : bool
        Engines and write master are idle.
    """
    limit = min(h.burst_beats, FETCH_BURST)
    valid = s.level >= _BYTES
    decoding = s.running and not s.ending
    engine = code[s.dispatched].engine if valid and decoding and s.dispatched < len(code) else -1

    load = _lacking(s, LOAD, w.load_ready, code)
    execute = _lacking(s, EXECUTE, w.execute_ready, code)
    store = _lacking(s, STORE, w.store_ready, code)
    _count_waits(n, load, execute, store)

    moves, pushed, error, ends = False, -1, 0, False
    if decoding:
        if s.dispatched == len(code):
            error = _PROGRAM_END
        elif engine == ILLEGAL:
            error = _ILLEGAL
        elif engine == HALT:
            empty = True
            for gate in range(3):
                empty = empty and fifo.level(s.gates[gate].queue) == 0
            moves = empty and idle
        elif engine >= 0 and fifo.has_room(s.gates[engine].queue, h.queue_depth):
            moves, pushed = True, engine
    elif s.ending:
        ends = idle and not s.cutter.waiting and not s.cutter.active and s.asked == 0 and not valid
    _pass(s.gates[LOAD], w.load_valid and w.load_ready, pushed == LOAD, s.dispatched, code)
    _pass(
        s.gates[EXECUTE], w.execute_valid and w.execute_ready, pushed == EXECUTE, s.dispatched, code
    )
    _pass(s.gates[STORE], w.store_valid and w.store_ready, pushed == STORE, s.dispatched, code)
    s.gates[EXECUTE].tokens[LOAD] += w.load_to_execute
    s.gates[STORE].tokens[LOAD] += w.load_to_store
    s.gates[LOAD].tokens[EXECUTE] += w.execute_to_load
    s.gates[STORE].tokens[EXECUTE] += w.execute_to_store
    s.gates[LOAD].tokens[STORE] += w.store_to_load
    s.gates[EXECUTE].tokens[STORE] += w.store_to_execute

    # The gearbox from beats to instructions: what leaves makes room in the same cycle.
    left = s.level - _BYTES if valid and (moves or not decoding) else s.level
    takes = left < _BYTES
    taken = takes and s.queue.out
    s.level = left + (h.bus if taken else 0)
    s.asked += (bursts.offer(s.cutter, h, limit) if burst_taken else 0) - (1 if taken else 0)
    if s.cutter.waiting or s.cutter.active:
        bursts.advance(s.cutter, h, limit, burst_taken, False, 0, 0, 0, 0)
    if beat_comes or s.queue.inner or taken:
        fifo.advance(s.queue, beat_comes, takes)
    if moves:
        n.instructions += 1
        s.dispatched += 1
        if engine == HALT:
            s.ending = 1
    if error:
        s.error, s.ending = error, 1
    if ends:
        s.running = s.ending = 0
    return load | execute << 4 | store << 8
