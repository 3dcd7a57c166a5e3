"""The loops of sizing over all instances, compiled: when signals are needed, and what a stronger
cell would gain.

Edges are 0 for a rise and 1 for a fall, as in `sim.synth.kernels`.
"""

from __future__ import annotations

import numpy as np

from ..timing.compiled import compiled
from .kernels import _lookup

__all__ = ["demand", "gains", "needed"]

_STEEP = 0.3
"""Delay further on for each ns of slew, about."""
_BESIDE = 0.3
"""How much the delay counts that other loads of a late net suffer."""
_PINS = 32


@compiled
def demand(
    instances, variant, first, net, starts, checks, data, tables, wire, arrival, slew, period, need
):
    """Let checks say when their nets have to arrive for a period: `need` is lowered."""
    for at in instances:
        for each in range(starts[variant[at]], starts[variant[at] + 1]):
            rule = checks[each]
            into = net[first[at] + rule.pin]
            if into < 0 or arrival[into, rule.edge] == -np.inf:
                continue
            time = period - wire[into, 0] * (wire[into, 1] + rule.pin_ff)
            time -= _lookup(data, tables, rule.table, slew[into, rule.edge], 0.0)
            need[into, rule.edge] = min(need[into, rule.edge], time)


@compiled
def needed(
    instances, variant, first, net, starts, arcs, data, tables, load, wire, arrival, slew, need
):
    """Take what is needed back through combinational instances; `instances` in forward order."""
    for k in range(len(instances) - 1, -1, -1):
        at = instances[k]
        for arc in range(starts[variant[at]], starts[variant[at] + 1]):
            way = arcs[arc]
            into, out = net[first[at] + way.source], net[first[at] + way.target]
            if into < 0 or out < 0 or arrival[into, way.source_edge] == -np.inf:
                continue
            steep = slew[into, way.source_edge]
            time = need[out, way.target_edge]
            time -= wire[into, 0] * (wire[into, 1] + way.source_ff)
            time -= _lookup(data, tables, way.delay, steep, load[out, way.target_edge])
            need[into, way.source_edge] = min(need[into, way.source_edge], time)


@compiled
def _driven_later(
    wired, edge, more, variant, first, net, driver, t_starts, through, l_starts, launches, data,
    tables, load, slew, by,
):  # fmt: skip
    """Return how much later an edge of a net comes with more load, and how much slower."""
    at = driver[wired]
    if at < 0 or by[wired, edge] < 0 or more == 0.0:
        return 0.0, 0.0
    if t_starts[variant[at]] < t_starts[variant[at] + 1]:
        way = through[by[wired, edge]]
        steep = slew[net[first[at] + way.source], way.source_edge]
    else:
        way = launches[by[wired, edge]]
        steep = 0.0
    before, after = load[wired, edge], load[wired, edge] + more
    later = _lookup(data, tables, way.delay, steep, after)
    later -= _lookup(data, tables, way.delay, steep, before)
    slower = _lookup(data, tables, way.slew, steep, after)
    slower -= _lookup(data, tables, way.slew, steep, before)
    return later, slower


@compiled
def gains(
    instances, others, variant, kind_of, pins, inputs, caps, first, net, driver, t_starts, through,
    l_starts, launches, data, tables, load, wire, arrival, slew, by, need,
):  # fmt: skip
    """Return what slack instances would gain as another variant each, as far as one can see there.

    Counted are the delay of the instance, that of those that drive it, and a part of what others
    suffer that these drive.

    Parameters
    ----------
    instances, others : arrays of int32, shape (N,)
    kind_of : array of int32, shape (variants,)
    pins : array of int64, shape (kinds + 1,)
        First pin of each kind in `inputs` and `caps`.
    inputs : array of bool
    caps : array of float64, shape (pins of kinds, 2)
    """
    found = np.zeros(len(instances))
    later, slower = np.zeros((_PINS, 2)), np.zeros((_PINS, 2))
    came, steeper = np.zeros((_PINS, 2)), np.zeros((_PINS, 2))
    for k in range(len(instances)):
        at, other = instances[k], others[k]
        now = variant[at]
        count = first[at + 1] - first[at]
        here, there = pins[kind_of[now]], pins[kind_of[other]]
        beside = 0.0
        for pin in range(count):
            wired = net[first[at] + pin]
            for edge in range(2):
                came[pin, edge], steeper[pin, edge] = -np.inf, 0.0
                later[pin, edge] = slower[pin, edge] = 0.0
                if wired < 2 or not inputs[here + pin]:
                    continue
                more = caps[there + pin, edge] - caps[here + pin, edge]
                late, slow = _driven_later(
                    wired, edge, more, variant, first, net, driver, t_starts, through, l_starts,
                    launches, data, tables, load, slew, by,
                )  # fmt: skip
                later[pin, edge], slower[pin, edge] = late, slow
                if need[wired, edge] - arrival[wired, edge] < 0.0:
                    beside += max(late, 0.0)
        launched = l_starts[other] < l_starts[other + 1]
        begin, end = t_starts[other], t_starts[other + 1]
        if launched:
            begin, end = l_starts[other], l_starts[other + 1]
        for arc in range(begin, end):
            way = launches[arc] if launched else through[arc]
            into, out = net[first[at] + way.source], net[first[at] + way.target]
            if into < 0 or out < 0:
                continue
            edge, time, steep = way.source_edge, 0.0, 0.0
            if not launched:
                if arrival[into, edge] == -np.inf:
                    continue
                time = arrival[into, edge] + later[way.source, edge]
                time += wire[into, 0] * (wire[into, 1] + way.source_ff)
                steep = slew[into, edge] + slower[way.source, edge]
            pin, to = way.target, way.target_edge
            time += _lookup(data, tables, way.delay, steep, load[out, to])
            came[pin, to] = max(came[pin, to], time)
            slow = _lookup(data, tables, way.slew, steep, load[out, to])
            steeper[pin, to] = max(steeper[pin, to], slow)
        old, new = np.inf, np.inf
        for pin in range(count):
            out = net[first[at] + pin]
            if out < 2 or inputs[here + pin]:
                continue
            for edge in range(2):
                if came[pin, edge] > -np.inf:
                    old = min(old, need[out, edge] - arrival[out, edge])
                    slow = _STEEP * (steeper[pin, edge] - slew[out, edge])
                    new = min(new, need[out, edge] - came[pin, edge] - slow)
        if old < np.inf:
            # The latest input's own part of what is suffered is in the arrival already.
            found[k] = new - old - _BESIDE * beside
    return found
