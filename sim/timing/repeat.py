"""Does not walk again what it has walked: runs of the machine that start alike go on alike.

The machine's next cycles depend on its state and on the instructions and folds it meets, on nothing
else. So at each fold that the array takes, the state is written down in a form that leaves out
where in the program and in time it is, and what followed the last such state is kept: which
instructions and folds were met, and cycles and counters that they took. When a state comes again
with the same instructions and folds ahead, the machine jumps. The result is the same to the cycle;
only what is new is walked.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hw.isa.instructions import Engine
from hw.isa.pipeline import FETCH_BURST

from . import bus
from .compiled import compiled
from .core import COUNTS, MACHINE, RUN, step
from .gate import EXECUTE, LOAD, STORE
from .kinds import instruction_kinds, kinds_of

__all__ = ["Known", "Program", "advance", "known", "program"]

ENGINES = len(Engine)
MACHINE_WORDS = MACHINE.itemsize // 8
COUNTERS = len(COUNTS.names)
FIRST_COUNTER = RUN.fields["counts"][1] // 8
ARRAY_CYCLES = COUNTS.names.index("array_cycles")
LEAST = 40
"""Cycles between two states that are written down, at least: shorter runs are as soon walked."""
FAR = 1
"""Bursts of fetch to the end of the program from which on it does not matter how many there are:
while more than one is left, each is as long as bursts get."""
RUNS_A_STATE = 2
WINDOW = 64
"""Instructions, and folds, that a kept run may meet."""
STATES = 2048
NONE = -1

assert RUN.fields["machine"][1] == 0


class Program(NamedTuple):
    """What the machine meets, by kind: equal kinds take equal time.

    Members
    -------
    kinds, fold_kinds : int64, one more than instructions, than folds
        Kind of each; the last stands for the end.
    before : int64, (engines, instructions + 1)
        Instructions of each engine before each one.
    places : int64, (engines, instructions + 1)
        Where each engine's instructions are.
    folds_left : int64
        Folds from each one to the last of its instruction.
    """

    kinds: np.ndarray
    fold_kinds: np.ndarray
    before: np.ndarray
    places: np.ndarray
    folds_left: np.ndarray


class Known(NamedTuple):
    """States that have been met, and the runs that followed them.

    Members
    -------
    words : int64, (states, words of a machine)
    hashes : uint64
    table : int64
        State of each hash, by open addressing.
    first, following : int64
        First run that starts in a state; the next one that starts in the same.
    target, cycles, beats, instructions, folds, written : int64
        Of each run: the state in which it ends, its cycles, beats of the program asked for,
        instructions dispatched, folds taken, and the cycle of its last result, or NONE.
    counts : int64, (runs, counters)
    window : int64, (runs, 2 * WINDOW)
        Kinds of the instructions, and of the folds, that it met.
    sizes : int64, (2,)
        States and runs.
    """

    words: np.ndarray
    hashes: np.ndarray
    table: np.ndarray
    first: np.ndarray
    following: np.ndarray
    target: np.ndarray
    cycles: np.ndarray
    beats: np.ndarray
    instructions: np.ndarray
    folds: np.ndarray
    written: np.ndarray
    counts: np.ndarray
    window: np.ndarray
    sizes: np.ndarray


def program(code: np.ndarray, folds: np.ndarray) -> Program:
    """Return the kinds of a settled program."""
    engines = code["engine"]
    before = np.zeros((ENGINES, len(code) + 1), np.int64)
    places = np.zeros((ENGINES, len(code) + 1), np.int64)
    for engine in range(ENGINES):
        own = np.flatnonzero(engines == engine)
        before[engine, 1:] = np.cumsum(engines == engine)
        places[engine, : len(own)] = own
    ends = np.flatnonzero(folds["end"])
    last = np.searchsorted(ends, np.arange(len(folds)))
    left = ends[np.minimum(last, len(ends) - 1)] - np.arange(len(folds)) + 1 if len(ends) else last
    return Program(
        np.append(instruction_kinds(code), NONE), np.append(kinds_of(folds), NONE),
        before, places, left.astype(np.int64),
    )  # fmt: skip


def known(states: int = STATES) -> Known:
    """Return a store of states that is empty."""
    runs = RUNS_A_STATE * states
    return Known(
        words=np.empty((states, MACHINE_WORDS), np.int64),
        hashes=np.empty(states, np.uint64),
        table=np.full(4 * states, NONE, np.int64),
        first=np.full(states, NONE, np.int64),
        following=np.empty(runs, np.int64),
        target=np.empty(runs, np.int64),
        cycles=np.empty(runs, np.int64),
        beats=np.empty(runs, np.int64),
        instructions=np.empty(runs, np.int64),
        folds=np.empty(runs, np.int64),
        written=np.empty(runs, np.int64),
        counts=np.empty((runs, COUNTERS), np.int64),
        window=np.empty((runs, 2 * WINDOW), np.int64),
        sizes=np.zeros(2, np.int64),
    )


@compiled
def _name_kinds(gate, p):
    """Put the kinds of instructions in the place of their indices."""
    for place in range(gate.queue.inner + 1):
        if gate.items[place]:
            gate.items[place] = p.kinds[gate.items[place] - 1] + 1


@compiled
def _name_places(gate, p, engine, dispatched):
    """Put the last instructions of an engine that are dispatched into its queue."""
    held = gate.queue.inner + gate.queue.out
    first = p.before[engine, dispatched] - held
    shift = 0 if gate.queue.out else 1
    for place in range(held):
        gate.items[place + shift] = p.places[engine, first + place] + 1


@compiled
def _place_free(s, h, p, now, room):
    """Take out of a machine where it is in time and in the program.

    `s` is changed: waits instead of cycles, kinds instead of places. Of what fetch has still to ask
    for, only that it is far is left if it is.
    """
    bus.relative(s.bus, now, room)
    control = s.control
    control.dispatched = 0
    _name_kinds(control.load, p)
    _name_kinds(control.execute, p)
    _name_kinds(control.store, p)
    s.execute.next_fold = 0
    s.execute.folds = 1 if s.execute.folds else 0
    limit = min(h.burst_beats, FETCH_BURST)
    cutter = control.cutter
    if cutter.active and cutter.row_left > FAR * limit:
        cutter.row_left = cutter.row_beats = FAR * limit + 1
        if h.page % limit == 0 and cutter.beat % limit == 0:
            cutter.beat = cutter.row_start = 0


@compiled
def _equal(first, second):
    for place in range(len(first)):
        if first[place] != second[place]:
            return False
    return True


@compiled
def _find(k, words):
    """Return the state of these words, writing it down if it is new; NONE if there is no room."""
    mixed = np.uint64(14695981039346656037)
    for word in words:
        mixed = (mixed ^ np.uint64(word)) * np.uint64(1099511628211)
        mixed ^= mixed >> np.uint64(29)
    mask = len(k.table) - 1
    slot = np.int64(mixed & np.uint64(mask))
    while k.table[slot] != NONE:
        state = k.table[slot]
        if k.hashes[state] == mixed and _equal(k.words[state], words):
            return state
        slot = (slot + 1) & mask
    if k.sizes[0] == len(k.words):
        return NONE
    state = k.sizes[0]
    k.sizes[0] += 1
    k.table[slot] = state
    k.hashes[state] = mixed
    k.words[state] = words
    return state


@compiled
def _is_far(s, h):
    """Return whether fetch has so much to ask for that it does not matter how much."""
    cutter = s.control.cutter
    return cutter.active and cutter.row_left > FAR * min(h.burst_beats, FETCH_BURST)


@compiled
def _same(window, first, kinds, start, count):
    """Return whether the kinds from `start` on are those of a window; behind the end comes NONE."""
    for place in range(count):
        index = min(start + place, len(kinds) - 1)
        if window[first + place] != kinds[index]:
            return False
    return True


@compiled
def _match(k, p, state, r, left, limit):
    """Return the run that starts in a state and meets what lies ahead, or NONE.

    `left` is how much fetch has still to ask for, if it is far.
    """
    run = k.first[state]
    while run != NONE:
        near = left != NONE and left - k.beats[run] <= FAR * limit
        if (
            not near
            and _same(
                k.window[run], 0, p.kinds, r.machine.control.dispatched, k.instructions[run] + 1
            )
            and _same(k.window[run], WINDOW, p.fold_kinds, r.folds, k.folds[run] + 1)
        ):
            return run
        run = k.following[run]
    return NONE


@compiled
def _keep(k, p, source, target, mark, counts, before, r):
    """Write down the run from the state at `mark` to the present one."""
    run = k.sizes[1]
    instructions, folds = r.machine.control.dispatched - mark[1], r.folds - mark[2]
    if run == len(k.cycles) or instructions >= WINDOW or folds >= WINDOW:
        return
    k.sizes[1] += 1
    k.following[run] = k.first[source]
    k.first[source] = run
    k.target[run] = target
    k.cycles[run], k.beats[run] = r.now - mark[0], r.beats - mark[3]
    k.instructions[run], k.folds[run] = instructions, folds
    k.written[run] = r.written - mark[0] if r.written >= mark[0] else NONE
    for counter in range(COUNTERS):
        k.counts[run, counter] = counts[counter] - before[counter]
    for place in range(instructions + 1):
        index = min(mark[1] + place, len(p.kinds) - 1)
        k.window[run, place] = p.kinds[index]
    for place in range(folds + 1):
        index = min(mark[2] + place, len(p.fold_kinds) - 1)
        k.window[run, WINDOW + place] = p.fold_kinds[index]


@compiled
def _jump(k, run, r, counts):
    """Do all that a run does, but for the state in which it ends."""
    array_cycles = counts[ARRAY_CYCLES]
    for counter in range(COUNTERS):
        counts[counter] += k.counts[run, counter]
    if k.written[run] != NONE:
        r.written = r.now + k.written[run]
        counts[ARRAY_CYCLES] = r.written - r.first + 1
    else:
        counts[ARRAY_CYCLES] = array_cycles
    r.now += k.cycles[run]
    r.beats += k.beats[run]
    r.folds += k.folds[run]
    r.machine.control.dispatched += k.instructions[run]


@compiled
def _put(k, p, state, r, words, h, far, cutter_before, left, beat):
    """Put the machine into a state, here and now: the opposite of `_place_free`."""
    s = r.machine
    dispatched = s.control.dispatched
    words[:MACHINE_WORDS] = k.words[state]
    bus.absolute(s.bus, r.now)
    control = s.control
    control.dispatched = dispatched
    _name_places(control.load, p, LOAD, dispatched)
    _name_places(control.execute, p, EXECUTE, dispatched)
    _name_places(control.store, p, STORE, dispatched)
    if s.execute.folds:
        s.execute.next_fold = r.folds
        s.execute.folds = p.folds_left[r.folds]
    if far:
        control.cutter.row_left, control.cutter.beat = left, beat
        control.cutter.row_start, control.cutter.row_beats = cutter_before[0], cutter_before[1]


@compiled
def advance(state, shape, code, folds, words, scratch, scratch_words, p, k, jumps, cycles):
    """Go on for some cycles or more, or to the end; return whether the program still runs.

    Parameters
    ----------
    state, scratch : array of one RUN
        The run, and room for another; `words` and `scratch_words` are the same as int64.
    jumps : bool
        Jump at all, or walk through each cycle.
    cycles : int
        Cycles to walk; those that are jumped over do not count.
    """
    r, h, s = state[0], shape[0], scratch[0].machine
    limit = min(h.burst_beats, FETCH_BURST)
    counts = words[FIRST_COUNTER : FIRST_COUNTER + COUNTERS]
    before = counts.copy()
    mark = np.zeros(4, np.int64)
    source, source_far = NONE, False
    cutter = r.machine.control.cutter
    kept, room = np.zeros(2, np.int64), np.zeros(bus.MOST, np.int64)
    for _ in range(cycles):
        if not r.machine.control.running:
            return False
        step(r, h, code, folds)
        if not jumps or not r.wires.fold_taken or not r.fed or r.now - mark[0] < LEAST:
            continue
        scratch_words[:MACHINE_WORDS] = words[:MACHINE_WORDS]
        far = _is_far(r.machine, h)
        _place_free(s, h, p, r.now, room)
        target = _find(k, scratch_words[:MACHINE_WORDS])
        if target == NONE:
            k.table[:] = NONE
            k.first[:] = NONE
            k.sizes[:] = 0
            source = NONE
            continue
        if source != NONE and far == source_far:
            _keep(k, p, source, target, mark, counts, before, r)
        left, beat = (cutter.row_left if far else NONE), cutter.beat
        kept[0], kept[1] = cutter.row_start, cutter.row_beats
        source, source_far = target, far
        jumped = False
        while True:
            run = _match(k, p, source, r, left, limit)
            if run == NONE:
                break
            _jump(k, run, r, counts)
            if far:
                left -= k.beats[run]
                beat = (beat + k.beats[run]) & (h.page - 1)
            source = k.target[run]
            jumped = True
        if jumped:
            _put(k, p, source, r, words, h, far, kept, left, beat)
        mark[0], mark[1], mark[2] = r.now, r.machine.control.dispatched, r.folds
        mark[3] = r.beats
        before[:] = counts
    return r.machine.control.running != 0
