"""The inner loops of gate-level simulation, compiled.

A cell is a small table: its *state* holds the values of its inputs, the first lowest, and above
them what it stores, and each output is a table of states. Whatever happens to a cell is one of its
inputs flipping in a state, so everything that costs energy is counted by (cell or output, input,
state before), at ``begin + (input << bits | state)``.

The clock is ideal: all flip-flops and clock gates see its edges at once. In one cycle

- at 0 it rises: flip-flops whose gates are open take their next state, and clock gates close;
- outputs of flip-flops and the circuit's inputs change;
- at half a cycle it falls: clock gates follow their enables again;
- whatever still moves, settles.

All of this is in one file, since what is compiled is kept by the file it is in.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..timing.compiled import compiled

__all__ = ["FLIP_FLOP", "GATE", "LOGIC", "Counts", "Wires", "run_timed", "run_zero_delay"]

LOGIC, FLIP_FLOP, GATE = 0, 1, 2
"""Kinds of cells: without a state, edge-triggered, clock gates with a latch."""
ROOT = -1
"""The clock itself, as what clocks a cell; else the number of a clock gate."""


class Wires(NamedTuple):
    """A circuit as arrays; `sim.synth.gates.Circuit` makes it.

    Members
    -------
    kind, inputs, bits, clock_pin, clocked_by : int32 (cells,)
        Kind, number of inputs, bits of a state, the input that is the clock, and what drives that.
    enable_pin : int32 (cells,)
        The input a clock gate follows.
    next_state : uint64 (cells,)
        What a flip-flop takes, by the values of its inputs.
    flips : int32 (cells,)
        Where the counts of flips of a cell's inputs begin.
    states : int32 (cells,)
        Where the counts of a cell's states begin.
    outputs : int32 (cells + 1,)
        The outputs of cell c are those from ``outputs[c]`` to ``outputs[c + 1]``.
    table : uint64 (outputs,), arcs : int32 (outputs,), net : int32 (outputs + inputs,)
        Value by state, where the counts of an output's changes begin, and the net that is driven.
        After the outputs of cells come the circuit's inputs.
    pins : int32 (cells, most inputs)
        The net of each input.
    fan : int32 (nets + 1,), fan_cell, fan_pin : int32
        Inputs on a net, clocks left out.
    order : int32
        Cells without a state, each after those it depends on.
    edge_order : int32
        Cells with a state, each after the gate that clocks it.
    shown : int32
        Nets whose values are kept in every cycle.
    """

    kind: np.ndarray
    inputs: np.ndarray
    bits: np.ndarray
    clock_pin: np.ndarray
    clocked_by: np.ndarray
    enable_pin: np.ndarray
    next_state: np.ndarray
    flips: np.ndarray
    states: np.ndarray
    outputs: np.ndarray
    table: np.ndarray
    arcs: np.ndarray
    net: np.ndarray
    pins: np.ndarray
    fan: np.ndarray
    fan_cell: np.ndarray
    fan_pin: np.ndarray
    order: np.ndarray
    edge_order: np.ndarray
    shown: np.ndarray


class Counts(NamedTuple):
    """What is counted, int64, in rows: one for each phase.

    Members
    -------
    toggles : (phases, nets)
    arcs, flips : (phases, ...)
        Changes of outputs, and flips of inputs, as `Wires` says where.
    states : (phases, ...)
        Half cycles spent in each state of each cell.
    swallowed : (phases, ...)
        Changes of outputs that did not come to pass, at the places of `arcs`: the one that was
        coming, and the one that took it back.
    """

    toggles: np.ndarray
    arcs: np.ndarray
    flips: np.ndarray
    states: np.ndarray
    swallowed: np.ndarray


@compiled
def _bit(table, index):
    """Return a bit of a table."""
    return (table >> np.uint64(index)) & np.uint64(1)


@compiled
def _start(w, value, state):
    """Settle from the values of inputs and of what is stored, without counting."""
    for cell in w.edge_order:
        for output in range(w.outputs[cell], w.outputs[cell + 1]):
            value[w.net[output]] = _bit(w.table[output], state[cell])
    for cell in w.order:
        for pin in range(w.inputs[cell]):
            state[cell] |= np.int64(value[w.pins[cell, pin]]) << pin
        for output in range(w.outputs[cell], w.outputs[cell + 1]):
            value[w.net[output]] = _bit(w.table[output], state[cell])
    for cell in w.edge_order:
        for pin in range(w.inputs[cell]):
            if pin != w.clock_pin[cell]:
                state[cell] |= np.int64(value[w.pins[cell, pin]]) << pin
        if w.kind[cell] == GATE:
            _follow(w, state, cell)


@compiled
def _follow(w, state, cell):
    """Let the latch of a clock gate take its enable."""
    stored = np.int64(1) << w.inputs[cell]
    if state[cell] >> w.enable_pin[cell] & 1:
        state[cell] |= stored
    else:
        state[cell] &= ~stored


@compiled
def _edge(w, counts, phase, state, value, opened, cell):
    """Flip the clock of a cell, and count it.

    A clock gate drives its output at once; outputs of a flip-flop are left to the caller.
    """
    before = state[cell]
    clock = w.clock_pin[cell]
    flip = clock << w.bits[cell] | before
    counts.flips[phase, w.flips[cell] + flip] += 1
    state[cell] = before ^ (np.int64(1) << clock)
    if w.kind[cell] == GATE:
        output = w.outputs[cell]
        after = _bit(w.table[output], state[cell])
        if after != value[w.net[output]]:
            value[w.net[output]] = after
            counts.toggles[phase, w.net[output]] += 1
            counts.arcs[phase, w.arcs[output] + flip] += 1
        opened[cell] = after
    elif state[cell] > before:
        stored = np.int64(1) << w.inputs[cell]
        state[cell] &= ~stored
        if _bit(w.next_state[cell], before & (stored - 1)):
            state[cell] |= stored


@compiled
def _is_clocked(w, opened, cell):
    """Tell whether a cell sees this cycle's clock."""
    source = w.clocked_by[cell]
    return source == ROOT or opened[source]


@compiled
def _stay(w, counts, phase, state):
    """Count half a cycle in the state in which every cell is."""
    for cell in range(state.size):
        counts.states[phase, w.states[cell] + state[cell]] += 1


@compiled
def _fall(w, counts, phase, state, value, opened, ticked):
    """Let the clock fall, wherever it rose."""
    for cell in w.edge_order:
        if ticked[cell]:
            _edge(w, counts, phase, state, value, opened, cell)
            ticked[cell] = 0
        if w.kind[cell] == GATE:
            opened[cell] = 0
            _follow(w, state, cell)


@compiled
def _settle(w, counts, phase, state, value, last):
    """Let all gates take their inputs, each once; `last` has room for the outputs of a cell."""
    for cell in w.order:
        new = np.int64(0)
        for pin in range(w.inputs[cell]):
            new |= np.int64(value[w.pins[cell, pin]]) << pin
        if new == state[cell]:
            continue
        begin, end = w.outputs[cell], w.outputs[cell + 1]
        for pin in range(w.inputs[cell]):
            before = state[cell]
            if (before ^ new) >> pin & 1:
                flip = pin << w.bits[cell] | before
                counts.flips[phase, w.flips[cell] + flip] += 1
                state[cell] = before ^ (np.int64(1) << pin)
                for output in range(begin, end):
                    if _bit(w.table[output], before) != _bit(w.table[output], state[cell]):
                        last[output - begin] = flip
        for output in range(begin, end):
            _drive(w, counts, phase, state, value, cell, output, last[output - begin])


@compiled
def _drive(w, counts, phase, state, value, cell, output, flip):
    """Give an output its value at once."""
    net, after = w.net[output], _bit(w.table[output], state[cell])
    if after != value[net]:
        value[net] = after
        counts.toggles[phase, net] += 1
        counts.arcs[phase, w.arcs[output] + flip] += 1


@compiled
def _notice(w, counts, phase, state, value):
    """Let flip-flops and clock gates see their inputs, but for the clock."""
    for cell in w.edge_order:
        for pin in range(w.inputs[cell]):
            before = state[cell]
            if pin != w.clock_pin[cell] and (before >> pin & 1) != value[w.pins[cell, pin]]:
                counts.flips[phase, w.flips[cell] + (pin << w.bits[cell] | before)] += 1
                state[cell] = before ^ (np.int64(1) << pin)


@compiled
def run_zero_delay(w, counts, given, phases, value, state, shown):
    """Run a circuit in which nothing takes time: a net changes once a cycle, or not at all.

    Inputs of a cell that change at once are taken one after the other, the first pin first; of an
    output's changes on the way, only the last counts.

    Parameters
    ----------
    w : Wires
    counts : Counts
        Added to.
    given : uint8 (cycles, inputs)
        Values of the inputs; those of the first cycle only set the stage.
    phases : int64 (cycles,)
        The row of `counts` for a cycle.
    value : uint8 (nets,), state : int64 (cells,)
        Constants and what is stored, at the start; changed.
    shown : uint8 (cycles, nets shown)
        Takes the settled values of each cycle.
    """
    drivers = w.table.size
    opened, ticked = np.zeros(state.size, np.uint8), np.zeros(state.size, np.uint8)
    last = np.zeros(w.table.size, np.int64)
    for number in range(given.shape[1]):
        value[w.net[drivers + number]] = given[0, number]
    _start(w, value, state)
    shown[0] = value[w.shown]
    for cycle in range(1, given.shape[0]):
        phase = phases[cycle]
        for cell in w.edge_order:
            if _is_clocked(w, opened, cell):
                flip = w.clock_pin[cell] << w.bits[cell] | state[cell]
                _edge(w, counts, phase, state, value, opened, cell)
                ticked[cell] = 1
                if w.kind[cell] == FLIP_FLOP:
                    for output in range(w.outputs[cell], w.outputs[cell + 1]):
                        _drive(w, counts, phase, state, value, cell, output, flip)
        for number in range(given.shape[1]):
            net = w.net[drivers + number]
            if value[net] != given[cycle, number]:
                value[net] = given[cycle, number]
                counts.toggles[phase, net] += 1
        _settle(w, counts, phase, state, value, last)
        _notice(w, counts, phase, state, value)
        _stay(w, counts, phase, state)
        _fall(w, counts, phase, state, value, opened, ticked)
        _stay(w, counts, phase, state)
        shown[cycle] = value[w.shown]


class _Queue(NamedTuple):
    """Changes to come, a list for each tick of a ring; an output has one at most.

    Members
    -------
    first, last : int32 (ticks,)
    after, before, when, arc : int32 (outputs and inputs,)
        Neighbours in a list, the tick or NONE, and what to count.
    """

    first: np.ndarray
    last: np.ndarray
    after: np.ndarray
    before: np.ndarray
    when: np.ndarray
    arc: np.ndarray


NONE = -1


@compiled
def _schedule(queue, output, when, arc):
    """Put a change of an output at the end of a tick's list."""
    tail = queue.last[when]
    queue.before[output], queue.after[output] = tail, NONE
    queue.when[output], queue.arc[output] = when, arc
    queue.last[when] = output
    if tail == NONE:
        queue.first[when] = output
    else:
        queue.after[tail] = output


@compiled
def _cancel(queue, output):
    """Take the change of an output out of its list."""
    when, before, after = queue.when[output], queue.before[output], queue.after[output]
    if before == NONE:
        queue.first[when] = after
    else:
        queue.after[before] = after
    if after == NONE:
        queue.last[when] = before
    else:
        queue.before[after] = before
    queue.when[output] = NONE


@compiled
def _pass_on(w, counts, phase, state, value, queue, delays, now, net):
    """Let a net flip, and schedule what its cells make of it; return the change in scheduled.

    Delays are inertial: an output that would go back before it has moved does not move.
    """
    more = 0
    ring = queue.first.size - 1
    value[net] ^= 1
    counts.toggles[phase, net] += 1
    for place in range(w.fan[net], w.fan[net + 1]):
        cell, pin = w.fan_cell[place], w.fan_pin[place]
        before = state[cell]
        flip = pin << w.bits[cell] | before
        counts.flips[phase, w.flips[cell] + flip] += 1
        state[cell] = before ^ (np.int64(1) << pin)
        if w.kind[cell] != LOGIC:
            if w.kind[cell] == GATE and not state[cell] >> w.clock_pin[cell] & 1:
                _follow(w, state, cell)
            continue
        for output in range(w.outputs[cell], w.outputs[cell + 1]):
            changes = _bit(w.table[output], state[cell]) != value[w.net[output]]
            if queue.when[output] != NONE:
                if not changes:
                    counts.swallowed[phase, queue.arc[output]] += 1
                    counts.swallowed[phase, w.arcs[output] + flip] += 1
                    _cancel(queue, output)
                    more -= 1
            elif changes:
                arc = w.arcs[output] + flip
                _schedule(queue, output, (now + delays[arc]) & ring, arc)
                more += 1
    return more


@compiled
def _rise(w, counts, phase, state, value, opened, ticked, queue, delays):
    """Let the clock rise, and schedule what flip-flops make of it; return how much that is."""
    left = 0
    for cell in w.edge_order:
        if not _is_clocked(w, opened, cell):
            continue
        flip = w.clock_pin[cell] << w.bits[cell] | state[cell]
        _edge(w, counts, phase, state, value, opened, cell)
        ticked[cell] = 1
        if w.kind[cell] == FLIP_FLOP:
            for output in range(w.outputs[cell], w.outputs[cell + 1]):
                if _bit(w.table[output], state[cell]) != value[w.net[output]]:
                    arc = w.arcs[output] + flip
                    _schedule(queue, output, delays[arc], arc)
                    left += 1
    return left


@compiled
def run_timed(w, counts, given, phases, value, state, shown, delays, input_delays, half, ring):
    """Run a circuit with delays, so that glitches are seen; as `run_zero_delay` otherwise.

    Parameters
    ----------
    delays : int32
        From an input's flip to an output's change in ticks, at the places where arcs are counted;
        at least 1 and less than `ring`.
    input_delays : int32 (inputs,)
        When in a cycle the inputs change.
    half : int
        Ticks from a rise of the clock to its fall.
    ring : int
        A power of two.

    Returns
    -------
    int
        Ticks from the clock's rise to the last change, in the cycle in which this was longest.
    """
    drivers = w.table.size
    opened, ticked = np.zeros(state.size, np.uint8), np.zeros(state.size, np.uint8)
    ticks, outputs = np.full((2, ring), NONE, np.int32), np.full((4, w.net.size), NONE, np.int32)
    queue = _Queue(ticks[0], ticks[1], outputs[0], outputs[1], outputs[2], outputs[3])
    longest = 0
    for number in range(given.shape[1]):
        value[w.net[drivers + number]] = given[0, number]
    _start(w, value, state)
    shown[0] = value[w.shown]
    for cycle in range(1, given.shape[0]):
        phase, now = phases[cycle], 0
        left = _rise(w, counts, phase, state, value, opened, ticked, queue, delays)
        for number in range(given.shape[1]):
            if value[w.net[drivers + number]] != given[cycle, number]:
                _schedule(queue, drivers + number, input_delays[number], NONE)
                left += 1
        while left or now <= half:
            if now == half:
                _stay(w, counts, phase, state)
                _fall(w, counts, phase, state, value, opened, ticked)
            place = now & (ring - 1)
            while queue.first[place] != NONE:
                output = queue.first[place]
                if queue.arc[output] != NONE:
                    counts.arcs[phase, queue.arc[output]] += 1
                _cancel(queue, output)
                left += _pass_on(w, counts, phase, state, value, queue, delays, now, w.net[output])
                left -= 1
                longest = max(longest, now)
            now += 1
        _stay(w, counts, phase, state)
        shown[cycle] = value[w.shown]
    return longest
