"""States of the machine that have been met, and the runs that followed them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hw.isa.instructions import Engine

from .compiled import compiled
from .core import COUNTS, MACHINE
from .kinds import instruction_kinds, kinds_of

__all__ = [
    "COUNTERS",
    "ENGINES",
    "FAR",
    "MACHINE_WORDS",
    "NONE",
    "Known",
    "Program",
    "find",
    "forget",
    "jump",
    "keep",
    "known",
    "match",
    "program",
]

ENGINES = len(Engine)
MACHINE_WORDS = MACHINE.itemsize // 8
COUNTERS = len(COUNTS.names)
ARRAY_CYCLES = COUNTS.names.index("array_cycles")
FAR = 1
"""Bursts of fetch to the end of the program from which on it does not matter how many there are:
while more than one is left, each is as long as bursts get."""
RUNS_A_STATE = 2
WINDOW = 64
"""Instructions, and folds, that a kept run may meet."""
STATES = 2048
NONE = -1


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
def _equal(first, second):
    for place in range(len(first)):
        if first[place] != second[place]:
            return False
    return True


@compiled
def find(k, words):
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
def _same(window, first, kinds, start, count):
    """Return whether the kinds from `start` on are those of a window; behind the end comes NONE."""
    for place in range(count):
        index = min(start + place, len(kinds) - 1)
        if window[first + place] != kinds[index]:
            return False
    return True


@compiled
def match(k, p, state, r, left, limit):
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
def keep(k, p, source, target, mark, counts, before, r):
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
def jump(k, run, r, counts):
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
def forget(k):
    """Forget all states and runs."""
    k.table[:] = NONE
    k.first[:] = NONE
    k.sizes[:] = 0
