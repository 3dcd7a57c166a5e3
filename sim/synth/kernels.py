"""The loops of timing analysis over all instances, compiled.

Edges are 0 for a rise and 1 for a fall. A net without an arrival has -inf.
"""

from __future__ import annotations

import numpy as np

from ..timing.compiled import compiled

__all__ = ["check", "launch", "order", "propagate"]

_UNSEEN, _BEGUN, _DONE = 0, 1, 2


@compiled
def _lookup(data, tables, table, row, column):
    """Return a table's value; `tables` holds places in `data`: rows, columns, values.

    The bilinear form of the four entries around the point, also outside.
    """
    rows, height, columns, width, values = tables[table]
    i, across = 0, 0.0
    if height > 1:
        while i < height - 2 and row >= data[rows + i + 1]:
            i += 1
        across = (row - data[rows + i]) / (data[rows + i + 1] - data[rows + i])
    j, along = 0, 0.0
    if width > 1:
        while j < width - 2 and column >= data[columns + j + 1]:
            j += 1
        along = (column - data[columns + j]) / (data[columns + j + 1] - data[columns + j])
    place = values + i * width + j
    result = data[place]
    if width > 1:
        result += along * (data[place + 1] - result)
    if height > 1:
        place += width
        high = data[place]
        if width > 1:
            high += along * (data[place + 1] - high)
        result += across * (high - result)
    return result


@compiled
def order(instances, variant, first, net, driver, starts, source):
    """Return instances so that each comes after those that drive it.

    Parameters
    ----------
    instances : array of int32
        The combinational ones.
    variant, first, net : arrays
        Of instances and pins.
    driver : array of int32, shape (nets,)
        Combinational instance that drives a net, or -1.
    starts, source : arrays
        First arc of a variant, and the pin that an arc comes from.

    Returns
    -------
    array of int32, int
        The order, and an instance on a loop, or -1.
    """
    state = np.zeros(len(variant), np.uint8)
    result = np.empty(len(instances), np.int32)
    count = 0
    stack = np.empty(len(instances) + 1, np.int32)
    arcs = np.empty(len(instances) + 1, np.int32)
    for root in instances:
        if state[root] != _UNSEEN:
            continue
        depth = 0
        stack[0], arcs[0] = root, starts[variant[root]]
        state[root] = _BEGUN
        while depth >= 0:
            at = stack[depth]
            arc = arcs[depth]
            if arc == starts[variant[at] + 1]:
                state[at] = _DONE
                result[count] = at
                count += 1
                depth -= 1
                continue
            arcs[depth] += 1
            wire = net[first[at] + source[arc]]
            before = driver[wire] if wire >= 0 else -1
            if before < 0 or state[before] == _DONE:
                continue
            if state[before] == _BEGUN:
                return result[:count], before
            depth += 1
            stack[depth], arcs[depth] = before, starts[variant[before]]
            state[before] = _BEGUN
    return result[:count], -1


@compiled
def launch(instances, variant, first, net, starts, arcs, data, tables, load, arrival, slew, by):
    """Let registers begin: their clock's edge is at 0, with a slew of 0."""
    for at in instances:
        for arc in range(starts[variant[at]], starts[variant[at] + 1]):
            out = net[first[at] + arcs[arc].target]
            if out < 0:
                continue
            edge = arcs[arc].target_edge
            time = _lookup(data, tables, arcs[arc].delay, 0.0, load[out, edge])
            if time > arrival[out, edge]:
                arrival[out, edge] = time
                by[out, edge] = arc
            steep = _lookup(data, tables, arcs[arc].slew, 0.0, load[out, edge])
            slew[out, edge] = max(slew[out, edge], steep)


@compiled
def propagate(
    instances, variant, first, net, starts, arcs, data, tables, load, wire, arrival, slew, by
):
    """Let arrivals and slews go through combinational instances, in order.

    Of several arcs to an edge the latest arrival counts, and the largest slew, whichever arc
    either is of. `wire` is the resistance of a net's branches and their capacitance.
    """
    for at in instances:
        for arc in range(starts[variant[at]], starts[variant[at] + 1]):
            way = arcs[arc]
            into, out = net[first[at] + way.source], net[first[at] + way.target]
            if into < 0 or out < 0:
                continue
            time = arrival[into, way.source_edge]
            if time == -np.inf:
                continue
            time += wire[into, 0] * (wire[into, 1] + way.source_ff)
            steep, edge = slew[into, way.source_edge], way.target_edge
            time += _lookup(data, tables, way.delay, steep, load[out, edge])
            if time > arrival[out, edge]:
                arrival[out, edge] = time
                by[out, edge] = arc
            steep = _lookup(data, tables, way.slew, steep, load[out, edge])
            slew[out, edge] = max(slew[out, edge], steep)


@compiled
def check(instances, variant, first, net, starts, checks, data, tables, wire, arrival, slew, end):
    """Fill in when the clock's next edge may come: for each instance, and which check says so."""
    worst = np.full(len(instances), -1, np.int32)
    for k, at in enumerate(instances):
        for each in range(starts[variant[at]], starts[variant[at] + 1]):
            rule = checks[each]
            into = net[first[at] + rule.pin]
            if into < 0 or arrival[into, rule.edge] == -np.inf:
                continue
            time = arrival[into, rule.edge] + wire[into, 0] * (wire[into, 1] + rule.pin_ff)
            time += _lookup(data, tables, rule.table, slew[into, rule.edge], 0.0)
            if time > end[k]:
                end[k] = time
                worst[k] = each
    return worst
