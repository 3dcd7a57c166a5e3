"""Does not walk again what it has walked: runs of the machine that start alike go on alike.

The machine's next cycles depend on its state and on the instructions and folds it meets, on nothing
else. So at some of the folds that the array takes, the state is written down in a form that leaves
out where in the program and in time it is, and what followed the last such state is kept: which
instructions and folds were met, and cycles and counters that they took. When a state comes again
with the same instructions and folds ahead, the machine jumps. The result is the same to the cycle;
only what is new is walked.
"""

from __future__ import annotations

import numpy as np

from . import bus
from .compiled import compiled
from .core import RUN, step
from .gate import EXECUTE, LOAD, STORE
from .known import COUNTERS, FAR, MACHINE_WORDS, NONE, find, forget, jump, keep, match

__all__ = ["advance"]

FIRST_COUNTER = RUN.fields["counts"][1] // 8
LEAST, MOST = 256, 4096
"""Cycles between two states that are written down, at least: shorter runs are as soon walked. Where
nothing repeats, they become more, up to `MOST`, so that looking costs little."""
PATIENCE = 16
"""New states one after the other after which there is less to expect."""

assert RUN.fields["machine"][1] == 0


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
    limit = h.fetch_burst
    cutter = control.cutter
    if cutter.active and cutter.row_left > FAR * limit:
        cutter.row_left = cutter.row_beats = FAR * limit + 1
        if h.page % limit == 0 and cutter.beat % limit == 0:
            cutter.beat = cutter.row_start = 0


@compiled
def _is_far(s, h):
    """Return whether fetch has so much to ask for that it does not matter how much."""
    cutter = s.control.cutter
    return cutter.active and cutter.row_left > FAR * h.fetch_burst


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
    limit = h.fetch_burst
    counts = words[FIRST_COUNTER : FIRST_COUNTER + COUNTERS]
    before = counts.copy()
    mark = np.zeros(4, np.int64)
    source, source_far = NONE, False
    gap, new = LEAST, 0
    cutter = r.machine.control.cutter
    kept, room = np.zeros(2, np.int64), np.zeros(bus.MOST, np.int64)
    for _ in range(cycles):
        if not r.machine.control.running:
            return False
        step(r, h, code, folds)
        if not jumps or not r.wires.fold_taken or not r.fed or r.now - mark[0] < gap:
            continue
        scratch_words[:MACHINE_WORDS] = words[:MACHINE_WORDS]
        far = _is_far(r.machine, h)
        _place_free(s, h, p, r.now, room)
        target = find(k, scratch_words[:MACHINE_WORDS])
        if target == NONE:
            forget(k)
            source = NONE
            continue
        if source != NONE and far == source_far:
            keep(k, p, source, target, mark, counts, before, r)
        left, beat = (cutter.row_left if far else NONE), cutter.beat
        kept[0], kept[1] = cutter.row_start, cutter.row_beats
        source, source_far = target, far
        jumped = False
        while True:
            run = match(k, p, source, r, left, limit)
            if run == NONE:
                break
            jump(k, run, r, counts)
            if far:
                left -= k.beats[run]
                beat = (beat + k.beats[run]) & (h.page - 1)
            source = k.target[run]
            jumped = True
        if jumped:
            _put(k, p, source, r, words, h, far, kept, left, beat)
            gap, new = LEAST, 0
        else:
            new += 1
            if new == PATIENCE:
                gap, new = min(2 * gap, MOST), 0
        mark[0], mark[1], mark[2] = r.now, r.machine.control.dispatched, r.folds
        mark[3] = r.beats
        before[:] = counts
    return r.machine.control.running != 0
