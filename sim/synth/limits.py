"""Outputs that drive more than the library has answers for: what is said of them is a guess."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .graph import Graph
from .netlist import ONE

__all__ = ["Overload", "overloads"]


@dataclass(frozen=True)
class Overload:
    """An output with more load than the library has an answer for.

    Members
    -------
    instance, pin, cell : str
    net : str or None
        What the design calls the net, if it has a name.
    load_ff, limit_ff : float
    fanout : int
    """

    instance: str
    pin: str
    cell: str
    net: str | None
    load_ff: float
    limit_ff: float
    fanout: int


def overloads(graph: Graph, count: int | None = None) -> list[Overload]:
    """Return outputs beyond their ``max_capacitance``, the worst first, at most `count`.

    The clock is left out: it is ideal.
    """
    flat = graph.flat
    found = []
    for number, kind in enumerate(flat.kinds):
        instances = np.flatnonzero(flat.kind == number)
        for pin, name in enumerate(kind.pins):
            limit = kind.cell and kind.cell.pins[name].max_capacitance_ff
            if kind.inputs[pin] or not limit:
                continue
            nets = flat.net[flat.first[instances] + pin]
            load = graph.load_ff[nets].max(axis=1)
            over = (load > limit) & (nets > ONE) & ~graph.clock[nets]
            found += [
                (load[k] / limit, int(instances[k]), pin, float(load[k]), limit, int(nets[k]))
                for k in np.flatnonzero(over)
            ]
    found.sort(key=lambda each: (-each[0], each[1]))
    return [
        Overload(
            instance=flat.instance_name(at),
            pin=flat.kinds[flat.kind[at]].pins[pin],
            cell=flat.kinds[flat.kind[at]].name,
            net=flat.net_name(at, pin),
            load_ff=load,
            limit_ff=limit,
            fanout=int(graph.fanout[net]),
        )
        for _, at, pin, load, limit, net in found[:count]
    ]
