"""Timing of a flat module whose cells are exchanged again and again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from . import kernels, size_kernels
from .flat import Flat
from .graph import graph
from .liberty import Cell, Direction, Library, WireLoad
from .netlist import ONE, Kind, cell_kind
from .strength import families

__all__ = ["Slack"]


class Slack:
    """Arrivals and what is needed, again after each exchange.

    Instances of one place in the same module are exchanged together. Of copies of a module between
    equal neighbours only one is timed, where the module is named as one that stands often.

    Members
    -------
    places : list of (str, str)
        Module and instance.
    place : array of int32, shape (instances,)
        The place each instance fills.
    copies : array of int64, shape (places,)
        How many instances fill each place.
    kinds : array of int32, shape (places,)
        Kind now in each place.
    active : array of bool, shape (instances,)
        Whether an instance is timed.
    reached_ns : float
        The period it takes now.
    late_ns : array of float64, shape (places + bits of output ports,)
        By how much each place where paths end is late, and each output; 0 where in time.
    slack_ns : array of float64, shape (nets,)
        What is left of the period at each net; inf where nothing comes or is needed.
    """

    def __init__(
        self,
        flat: Flat,
        library: Library,
        wire_load: WireLoad | None,
        period_ns: float,
        often: Collection[str] = (),
    ) -> None:
        kinds, self.family = _widened(flat.kinds, library)
        self.flat = replace(flat, kinds=kinds)
        self.period_ns = period_ns
        groups = list(dict.fromkeys(self.family.values()))
        self.graph = g = graph(self.flat, "clk", wire_load, groups)
        self.variant, self.load_ff = g.variant.copy(), g.load_ff.copy()
        self.places, self.place = flat.places
        self.kinds = np.zeros(len(self.places), np.int32)
        self.kinds[self.place] = flat.kind
        self._order = np.argsort(self.place, kind="stable")
        self.copies = np.bincount(self.place, minlength=len(self.places))
        self._starts = np.concatenate([[0], np.cumsum(self.copies)])
        self.pins = np.cumsum([0, *(len(kind.pins) for kind in kinds)])
        self.inputs = np.array([into for kind in kinds for into in kind.inputs], np.bool_)
        self.caps = np.array([farads for kind in kinds for farads in _farads(kind)])
        made = [g.delays.of(v) for v in range(len(g.delays.through))]
        self.kind_of = np.array([kind for kind, _ in made], np.int32)
        self._variant_of = {key: number for number, key in enumerate(made)}
        self._tied = [tied for _, tied in made]
        self.active = self._active(often)
        self.order = g.order[self.active[g.order]]
        self.checked = g.checked[self.active[g.checked]]
        self.update()

    def _active(self, often: Collection[str]) -> NDArray[np.bool_]:
        """Return which instances are timed: all, but of equal copies of a module one each.

        Copies are equal if what drives them has the same places, and what they drive the same load.
        Signals between them have to go through registers, which all begin at once.
        """
        active = np.ones(len(self.place), np.bool_)
        above = np.where(self.graph.driver >= 0, self.place[self.graph.driver], -1)
        rng = np.random.default_rng(0)
        for module in often:
            starts, size = self.flat.copies(module)
            if not len(starts) or not size:
                continue
            begin = self.flat.first[starts]
            nets = self.flat.net[
                begin[:, None] + np.arange(self.flat.first[starts[0] + size] - begin[0])
            ]
            tied = np.where(nets <= ONE, nets, ONE + 1)
            load = np.where(nets > ONE, np.rint(self.load_ff[nets].sum(axis=-1) * 1e6), 0)
            # One number for each copy, equal if all of these are, and hardly ever else.
            marks = np.zeros(len(starts), np.int64)
            for what in (np.where(nets > ONE, above[nets], -2), tied, load.astype(np.int64)):
                marks += what @ rng.integers(1, 1 << 40, nets.shape[1])
            _, one = np.unique(marks, return_index=True)
            inside = starts[:, None] + np.arange(size)
            active[inside] = False
            active[inside[one]] = True
        return active

    def update(self) -> None:
        """Find arrivals and needs anew."""
        g, flat = self.graph, self.flat
        arrival = np.full((flat.nets, 2), -np.inf)
        slew, by = np.zeros((flat.nets, 2)), np.full((flat.nets, 2), -1, np.int32)
        outputs = []
        for port in flat.ports.values():
            if port.direction is not Direction.OUTPUT:
                arrival[port.nets] = 0.0
            if port.direction is not Direction.INPUT:
                outputs.append(port.nets)
        arrival[g.clock | (g.value >= 0)] = -np.inf
        of, nldm = (self.variant, flat.first, flat.net), (g.data, g.tables)
        time = (arrival, slew)
        kernels.launch(
            g.registers, *of, g.launch_starts, g.launches, *nldm, self.load_ff, *time, by
        )
        arrival[: ONE + 1] = -np.inf
        ways = (*of, g.through_starts, g.through, *nldm, self.load_ff, g.wire)
        kernels.propagate(self.order, *ways, *time, by)
        need = np.full((flat.nets, 2), np.inf)
        bits = np.concatenate([*outputs, np.zeros(0, np.int32)]).astype(np.int64)
        need[bits] = self.period_ns
        checks = (*of, g.check_starts, g.checks, *nldm, g.wire, *time)
        size_kernels.demand(self.checked, *checks, self.period_ns, need)
        size_kernels.needed(self.order, *ways, *time, need)
        self.arrival, self.slew, self.by, self.need = arrival, slew, by, need
        with np.errstate(invalid="ignore"):
            left = np.where(arrival > -np.inf, need - arrival, np.inf)
        self.slack_ns = left.min(axis=1)
        self.ends = np.full(len(self.checked), -np.inf)
        kernels.check(self.checked, *checks, self.ends)
        self.late_ns = self._late(bits)
        last = (self.ends.max(initial=0.0), arrival[bits].max(initial=0.0))
        self.reached_ns = float(max(last))

    def _late(self, bits: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return by how much each place where paths end is late, and each output; 0 if not."""
        worst = np.zeros(len(self.places))
        np.maximum.at(worst, self.place[self.checked], self.ends - self.period_ns)
        outputs = np.maximum(self.arrival[bits].max(axis=1) - self.period_ns, 0.0)
        return np.concatenate([worst, outputs])

    def exchange(self, place: int, kind: int) -> None:
        """Put cells of another kind of the family into a place; `update` is left to be called."""
        instances = self._order[self._starts[place] : self._starts[place + 1]]
        before, self.kinds[place] = self.kinds[place], kind
        for v in np.unique(self.variant[instances]).tolist():
            alike = instances[self.variant[instances] == v]
            self.variant[alike] = self._variant_of[kind, self._tied[v]]
        old, new = self.pins[before], self.pins[kind]
        for pin in range(self.pins[before + 1] - old):
            nets = self.flat.net[self.flat.first[instances] + pin]
            more = self.caps[new + pin] - self.caps[old + pin]
            if more.any():
                np.add.at(self.load_ff, nets[nets >= 0], more)

    def instances(self, place: int) -> NDArray[np.int64]:
        """Return the instances in a place."""
        return self._order[self._starts[place] : self._starts[place + 1]]

    def variants(self, instances: NDArray, kinds: NDArray) -> NDArray[np.int32]:
        """Return the variants of instances as other kinds."""
        return np.array(
            [
                self._variant_of[kind, self._tied[v]]
                for kind, v in zip(kinds.tolist(), self.variant[instances].tolist(), strict=True)
            ],
            np.int32,
        )

    def gains(self, instances: NDArray, kinds: NDArray) -> NDArray[np.float64]:
        """Return what slack instances would gain as other kinds, in ns; an estimate."""
        g, flat = self.graph, self.flat
        return size_kernels.gains(
            instances.astype(np.int32), self.variants(instances, kinds), self.variant,
            self.kind_of, self.pins, self.inputs, self.caps, flat.first, flat.net, g.driver,
            g.through_starts, g.through, g.launch_starts, g.launches, g.data, g.tables,
            self.load_ff, g.wire, self.arrival, self.slew, self.by, self.need,
        )  # fmt: skip


def _widened(
    kinds: Sequence[Kind], library: Library
) -> tuple[tuple[Kind, ...], Mapping[int, tuple[int, ...]]]:
    """Return kinds with all that could stand for them, and the family of each that has one."""
    found, known = list(kinds), {kind.name: k for k, kind in enumerate(kinds) if kind.cell}
    family: dict[int, tuple[int, ...]] = {}
    for cells in families(library):
        if len(cells) < 2 or not any(cell.name in known for cell in cells):
            continue
        numbers = tuple(_number(cell, found, known) for cell in cells)
        family.update(dict.fromkeys(numbers, numbers))
    return tuple(found), family


def _number(cell: Cell, found: list[Kind], known: dict[str, int]) -> int:
    if cell.name not in known:
        known[cell.name] = len(found)
        found.append(cell_kind(cell))
    return known[cell.name]


def _farads(kind: Kind) -> list[tuple[float, float]]:
    """Return the capacitance of each pin, for a rise and for a fall."""
    if kind.macro is not None:
        return [(kind.macro.input_ff * into,) * 2 for into in kind.inputs]
    pins = [kind.cell.pins[name] for name in kind.pins]
    return [(pin.rise_ff, pin.fall_ff) for pin in pins]
