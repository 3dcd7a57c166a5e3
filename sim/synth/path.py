"""The way to an end, in the design's own names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .graph import Graph
from .liberty import Direction
from .netlist import OPEN

__all__ = ["Path", "Point", "Trace", "describe"]

_EDGES = ("rise", "fall")


@dataclass(frozen=True)
class Point:
    """A place on a path.

    Members
    -------
    module : str
        Path of the module that the place is in; empty for the one that is timed.
    instance : str
        Path of the instance; empty for a port.
    pin : str
        Output that the path leaves the instance by; at the end, the input; or the port.
    net : str or None
        What the design calls the net there, where it has a name.
    cell : str
        Empty for a port.
    edge : str
        ``rise`` or ``fall``.
    arrival_ns, delay_ns, slew_ns : float
        Since the clock's edge, since the place before, and of the edge.
    load_ff : float
        What an output drives; 0 at the end.
    fanout : int
    """

    module: str
    instance: str
    pin: str
    net: str | None
    cell: str
    edge: str
    arrival_ns: float
    delay_ns: float
    slew_ns: float
    load_ff: float = 0.0
    fanout: int = 0


@dataclass(frozen=True)
class Path:
    """A path.

    Members
    -------
    start, end : str
        Registers by the names of what they hold, ports, or pins of macros and clock gates.
    check : str
        What ends it: ``setup``, ``recovery``, ``clock gating setup`` or ``output``.
    period_ns : float
        Period it needs.
    setup_ns : float
        Part of it that the end needs before the edge.
    points : tuple of Point
    """

    start: str
    end: str
    check: str
    period_ns: float
    setup_ns: float
    points: tuple[Point, ...]


def describe(path: Path) -> str:
    """Return a path as text, a line for each place; nets without a name have a dash."""
    lines = [
        f"{path.start} -> {path.end}: {path.period_ns:.3f} ns ({path.check})",
        f"{'arrival':>8} {'delay':>7} {'slew':>7} {'load fF':>8} {'fanout':>6}  {'cell':<12} net",
    ]
    for point in path.points:
        edge = "/" if point.edge == "rise" else "\\"
        unnamed = f"{point.module}.-".lstrip(".")
        place = f"{point.cell or 'port':<12} {edge} {point.net or unnamed}"
        figures = f"{point.arrival_ns:8.3f} {point.delay_ns:7.3f} {point.slew_ns:7.3f}"
        lines.append(f"{figures} {point.load_ff:8.2f} {point.fanout:6d}  {place}")
    if path.setup_ns:
        lines.append(f"{path.period_ns:8.3f} {path.setup_ns:7.3f}  {path.check}")
    return "\n".join(lines)


class Trace:
    """Follows arrivals back to where they began."""

    def __init__(
        self,
        graph: Graph,
        arrival: NDArray[np.float64],
        slew: NDArray[np.float64],
        by: NDArray[np.int32],
    ) -> None:
        self.graph, self.flat = graph, graph.flat
        self.arrival, self.slew, self.by = arrival, slew, by

    def to_check(self, instance: int, check: int, period: float) -> Path:
        """Return the path to a check of an instance."""
        rule = self.graph.checks[check]
        pin, edge = int(rule["pin"]), int(rule["edge"])
        net = int(self.flat.net[self.flat.first[instance] + pin])
        wire = self._wire(net, float(rule["pin_ff"]))
        arrival = float(self.arrival[net, edge]) + wire
        kind = self.flat.kinds[self.flat.kind[instance]]
        last = Point(
            module=self.flat.module_name(instance),
            instance=self.flat.instance_name(instance),
            pin=kind.pins[pin],
            net=self.flat.net_name(instance, pin),
            cell=kind.name,
            edge=_EDGES[edge],
            arrival_ns=arrival,
            delay_ns=wire,
            slew_ns=float(self.slew[net, edge]),
        )
        start, points = self._back(net, edge)
        label = self.graph.labels[check]
        end = self._holder(instance, pin)
        return Path(start, end, label, float(period), period - arrival, (*points, last))

    def to_output(self, bit: int) -> Path:
        """Return the path to a bit of the output ports, one after another."""
        bits = [
            (f"{name}[{k}]" if len(port.nets) > 1 else name, int(net))
            for name, port in self.flat.ports.items()
            if port.direction is not Direction.INPUT
            for k, net in enumerate(port.nets)
        ]
        title, net = bits[bit]
        edge = int(np.argmax(self.arrival[net]))
        start, points = self._back(net, edge)
        arrival = float(self.arrival[net, edge])
        last = Point(
            "", "", title, title, "", _EDGES[edge], arrival, 0.0, float(self.slew[net, edge])
        )
        return Path(start, title, "output", arrival, 0.0, (*points, last))

    def _wire(self, net: int, pin_ff: float) -> float:
        return float(self.graph.wire[net, 0] * (self.graph.wire[net, 1] + pin_ff))

    def _back(self, net: int, edge: int) -> tuple[str, list[Point]]:
        """Return the start's name, and the points from it to a net's driver."""
        places = []
        while (instance := int(self.graph.driver[net])) >= 0:
            starts, variant = self.graph.through_starts, self.graph.variant[instance]
            through = starts[variant] < starts[variant + 1]
            arcs = self.graph.through if through else self.graph.launches
            arc = arcs[self.by[net, edge]]
            places.append((net, edge, instance, int(arc["target"])))
            if not through:
                break
            net = int(self.flat.net[self.flat.first[instance] + arc["source"]])
            edge = int(arc["source_edge"])
        points, before = [], 0.0
        if instance < 0:
            start = self._input(net)
            points.append(self._point(net, edge, 0.0, pin=start, called=start))
        else:
            start = self._holder(instance, int(arc["target"]))
        for net, edge, instance, pin in reversed(places):
            points.append(self._at(net, edge, before, instance, pin))
            before = points[-1].arrival_ns
        return start, points

    def _at(self, net: int, edge: int, before: float, instance: int, pin: int) -> Point:
        """Return the point at an instance's output."""
        kind = self.flat.kinds[self.flat.kind[instance]]
        return self._point(
            net,
            edge,
            before,
            pin=kind.pins[pin],
            called=self.flat.net_name(instance, pin),
            module=self.flat.module_name(instance),
            name=self.flat.instance_name(instance),
            cell=kind.name,
        )

    def _point(
        self,
        net: int,
        edge: int,
        before: float,
        *,
        pin: str,
        called: str | None,
        module: str = "",
        name: str = "",
        cell: str = "",
    ) -> Point:
        arrival = float(self.arrival[net, edge])
        return Point(
            module=module,
            instance=name,
            pin=pin,
            net=called,
            cell=cell,
            edge=_EDGES[edge],
            arrival_ns=arrival,
            delay_ns=arrival - before,
            slew_ns=float(self.slew[net, edge]),
            load_ff=float(self.graph.load_ff[net, edge]),
            fanout=int(self.graph.fanout[net]),
        )

    def _input(self, net: int) -> str:
        """Return the name of an input port's bit."""
        for name, port in self.flat.ports.items():
            bits = np.flatnonzero(port.nets == net)
            if port.direction is not Direction.OUTPUT and len(bits):
                return f"{name}[{bits[0]}]" if len(port.nets) > 1 else name
        return "a net without a driver"

    def _holder(self, instance: int, pin: int) -> str:
        """Return what a register holds, by the design's name, or else the instance and its pin."""
        kind = self.flat.kinds[self.flat.kind[instance]]
        if kind.cell is not None and kind.cell.register:
            for number, into in enumerate(kind.inputs):
                net = self.flat.net[self.flat.first[instance] + number]
                if not into and net != OPEN:
                    name = self.flat.net_name(instance, number)
                    if name:
                        return name
        return f"{self.flat.instance_name(instance)}/{kind.pins[pin]}"
