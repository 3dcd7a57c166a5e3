"""Stronger cells where a path is too long, or where a cell carries more than it may.

Technology mapping takes the smallest cells; one that drives thirty others is then slow. In passes
over the whole design, cells on late paths are exchanged for stronger ones of the same function:
those that gain most for their area, none beside another, and all copies of a module alike. What
does not help is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .netlist import Kind
from .slack import Slack

__all__ = ["Sized", "carry", "strengthen"]

_PASSES = 60
"""Passes at most."""
_VAIN = 6
"""Exchanges, each by itself, that do not help, before the end; passes in vain get smaller."""
_SAME = 1e-9
_LEAST_NS = 1e-3
"""What an exchange must seem to gain."""
_LEAST_UM2 = 0.1
"""What it is taken to cost at least."""
_PART = 0.3
"""Part of what seems worth an exchange that a pass exchanges."""
_EARLY_NS, _ROUNDS = 0.05, 10
"""What has to be left before a cell is made weak again, and how often that is tried."""
_FULL = 0.9
"""Part of its largest load that a cell may carry."""


@dataclass(frozen=True)
class Sized:
    """What sizing did: the period it came to, in ns, and the places that have other cells."""

    period_ns: float
    exchanged: int


def strengthen(modules: dict[str, dict[str, Any]], timed: Slack) -> Sized:
    """Exchange cells until a design is fast enough, or no exchange makes it faster.

    Parameters
    ----------
    modules : dict
        As yosys writes them in JSON; types of cells are changed.
    timed : Slack
        Of the same design.
    """
    start = timed.kinds.copy()
    carry(timed)
    carrying = timed.kinds.copy()
    best, kinds, most = _cost(timed), timed.kinds.copy(), len(timed.kinds)
    vain: set[tuple[int, int]] = set()
    for _ in range(_PASSES):
        chosen = _choose(timed, most, vain)
        if not chosen or len(vain) == _VAIN:
            break
        for place, kind in chosen:
            timed.exchange(place, kind)
        timed.update()
        # Of two paths that are equally late the first exchange shortens but one.
        if (cost := _cost(timed)) <= best + _SAME:
            if cost < best - _SAME:
                vain.clear()
                most = 2 * len(chosen)
            best, kinds = min(best, cost), timed.kinds.copy()
            continue
        _put(timed, kinds)
        most = len(chosen) // 8 + 1
        if len(chosen) == 1:
            vain.update(chosen)
    _put(timed, kinds)
    # Nothing needs to be faster than what is slowest in the end.
    timed.period_ns = max(timed.period_ns, timed.reached_ns)
    kinds = _relaxed(timed, carrying, kinds)
    changed = np.flatnonzero(kinds != start)
    for place in changed.tolist():
        module, name = timed.places[place]
        modules[module]["cells"][name]["type"] = timed.flat.kinds[kinds[place]].name
    return Sized(timed.reached_ns, len(changed))


def _relaxed(timed: Slack, weak: NDArray[np.int32], kinds: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return kinds, but weak ones again where the period leaves time for them."""
    margin = _EARLY_NS
    for _ in range(_ROUNDS):
        _put(timed, kinds)
        nets = np.flatnonzero(timed.graph.driver >= 0)
        left = np.full(len(timed.places), np.inf)
        at = timed.graph.driver[nets]
        at, nets = at[timed.active[at]], nets[timed.active[at]]
        np.minimum.at(left, timed.place[at], timed.slack_ns[nets])
        early = (kinds != weak) & (left > margin) & (left < np.inf)
        if not early.any():
            break
        trial = np.where(early, weak, kinds)
        _put(timed, trial)
        if timed.late_ns.max(initial=0.0) <= _SAME:
            kinds = trial
        else:
            margin *= 1.5
    _put(timed, kinds)
    return kinds


def _cost(timed: Slack) -> float:
    """Return by how much all ends are late; the worst counts as much as a hundred others."""
    return float(timed.late_ns.sum() + 100 * timed.late_ns.max(initial=0.0))


def _put(timed: Slack, kinds: NDArray[np.int32]) -> None:
    """Exchange cells until they are of the kinds given."""
    for place in np.flatnonzero(kinds != timed.kinds).tolist():
        timed.exchange(place, int(kinds[place]))
    timed.update()


def carry(timed: Slack) -> None:
    """Make cells as strong as what they drive needs by the library, wherever they stand."""
    outputs = [
        [pin for pin, into in enumerate(kind.inputs) if not into] for kind in timed.flat.kinds
    ]
    for place in _overloaded(timed, outputs):
        kind = int(timed.kinds[place])
        family = timed.family.get(kind, ())
        at = timed.instances(place)
        loads = {
            pin: timed.load_ff[timed.flat.net[timed.flat.first[at] + pin]].max()
            for pin in outputs[kind]
        }
        for other in family[family.index(kind) + 1 :] if family else ():
            cell = timed.flat.kinds[other]
            if all(loads[pin] <= _FULL * _most(cell, pin) for pin in loads):
                break
        else:
            continue
        timed.exchange(place, other)
    timed.update()


def _most(kind: Kind, pin: int) -> float:
    """Return what an output may carry."""
    return (kind.cell and kind.cell.pins[kind.pins[pin]].max_capacitance_ff) or np.inf


def _overloaded(timed: Slack, outputs: list[list[int]]) -> list[int]:
    """Return places of cells that carry too much in any copy of their module."""
    flat, found = timed.flat, []
    kind = timed.kinds[timed.place]
    for number in np.unique(timed.kinds).tolist():
        at = np.flatnonzero(kind == number)
        for pin in outputs[number]:
            nets = flat.net[flat.first[at] + pin]
            load = timed.load_ff[nets].max(axis=1)
            over = (nets > 1) & (load > _FULL * _most(flat.kinds[number], pin))
            found.append(timed.place[at[over & ~timed.graph.clock[nets]]])
    return np.unique(np.concatenate([*found, np.zeros(0, np.int32)])).tolist()


def _choose(timed: Slack, most: int, vain: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return places and kinds that seem worth an exchange, none of them side by side."""
    instances, late_ns = _late(timed)
    lateness = dict(zip(instances.tolist(), late_ns.tolist(), strict=True))
    who, what, more = [], [], []
    for at in instances.tolist():
        place = int(timed.place[at])
        now = int(timed.kinds[place])
        family = timed.family.get(now, ())
        area = timed.flat.kinds[now].cell.area_um2 if family else 0.0
        for other in family:
            grows = timed.flat.kinds[other].cell.area_um2 - area
            if other != now and grows >= 0 and (place, other) not in vain:
                who.append(at)
                what.append(other)
                more.append(max(grows, _LEAST_UM2) * timed.copies[place])
    who_, what_ = np.array(who, np.int64), np.array(what, np.int64)
    gain = timed.gains(who_, what_)
    late = np.array([lateness[at] for at in who])
    # The latest come first; that it helps matters more than what it costs.
    worth = gain * late / np.sqrt(np.array(more))
    order = np.argsort(-worth, kind="stable")
    order = order[gain[order] > _LEAST_NS]
    most = min(most, 1 + int(_PART * len(np.unique(who_[order]))))
    chosen: list[tuple[int, int]] = []
    touched: set[int] = set()
    flat = timed.flat
    for k in order.tolist():
        at = int(who_[k])
        nets = set(flat.net[flat.first[at] : flat.first[at + 1]].tolist()) - {-1, 0, 1}
        nets = {net for net in nets if not timed.graph.clock[net]}
        if nets & touched:
            continue
        touched |= nets
        chosen.append((int(timed.place[at]), int(what_[k])))
        if len(chosen) == most:
            break
    return chosen


def _late(timed: Slack) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the instances on late paths, of each place the one that is latest, and how late."""
    g = timed.graph
    nets = np.flatnonzero((timed.slack_ns < 0) & (g.driver >= 0))
    at = g.driver[nets]
    fit = timed.active[at]
    nets, at = nets[fit], at[fit]
    order = np.argsort(timed.slack_ns[nets], kind="stable")
    at, late = at[order].astype(np.int64), -timed.slack_ns[nets[order]]
    _, first = np.unique(timed.place[at], return_index=True)
    first.sort()
    return at[first], late[first]
