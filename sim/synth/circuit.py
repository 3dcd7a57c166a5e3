"""A flat netlist of library cells, numbered and ordered so that it can be simulated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from . import gate_kernel as kernel
from .cellmodel import CellModel, SimulationError, cell_model
from .flat import Flat
from .liberty import Direction, Library
from .netlist import ONE, OPEN, ZERO, Port

__all__ = ["Circuit"]

_GIVEN = -1
"""Instead of a cell, what drives inputs, the clock and constants."""


class Circuit:
    """A netlist, ready to be simulated.

    Parameters
    ----------
    flat : Flat
    library : Library
    clock : str
        Name of the clock's port. Everything is clocked by its rise, directly or through clock
        gates; the clock is ideal.

    Members
    -------
    name : str
    models : tuple of CellModel
        Of each cell.
    nets : int
        Nets are numbered as in the netlist; open outputs have nets of their own after those.
    inputs, outputs : dict of str to Port
        Without the clock. What macros put out is an input ``<path of the macro>.<port>``.
    clock_net : int
    clock_nets : set of int
        The same, and what clock gates drive.
    pins : int32 (cells, most inputs)
        The net of each input, -1 where a cell has fewer.
    users : list of list of (int, int)
        Of each net, cells and places of the inputs on it.
    first_output : int32 (cells + 1,)
        The outputs of cell c are those from ``first_output[c]`` to ``first_output[c + 1]``.
    macro_ff : dict of int to float
        Capacitance of what macros take from each net.
    driven : int32 (outputs,)
        Net of each output.
    level : int32 (cells,)
        Cells without a state between a cell and what drives it.
    arcs : int32 (outputs + 1,), flips, states : int32 (cells + 1,)
        Where counts begin, of an output's changes and of a cell's flips, by ``input << bits |
        state``, and of half cycles in each of a cell's states.
    wires : Wires
        All of it, for the kernel.

    Raises
    ------
    SimulationError
        Something cannot be simulated: a net with two drivers or none, a loop, a clock that is not
        the clock.
    """

    def __init__(self, flat: Flat, library: Library, clock: str = "clk") -> None:
        self.name, self.library, self._flat = flat.name, library, flat
        if clock not in flat.ports or len(flat.ports[clock].nets) != 1:
            raise SimulationError(f"{flat.name} has no clock port {clock!r} of one bit")
        self.clock_net = int(flat.ports[clock].nets[0])
        self.inputs = {
            name: port
            for name, port in flat.ports.items()
            if port.direction is Direction.INPUT and name != clock
        }
        self.outputs = {
            name: port for name, port in flat.ports.items() if port.direction is Direction.OUTPUT
        }
        self._cells = [n for n, kind in enumerate(flat.kind.tolist()) if flat.kinds[kind].cell]
        self.models = self._models()
        self._open_macros()
        self._connect()
        self._driver = self._drivers()
        self._clocked_by = self._clocks()
        self.level = np.zeros(len(self.models), np.int32)
        self.wires = self._wires(self._edge_order(), self._logic_order())

    def cell_name(self, cell: int) -> str:
        """Return the path of a cell."""
        return self._flat.instance_name(self._cells[cell])

    def _models(self) -> tuple[CellModel, ...]:
        kinds = self._flat.kind[self._cells].tolist()
        known = {kind: cell_model(self._flat.kinds[kind].cell) for kind in dict.fromkeys(kinds)}
        return tuple(known[kind] for kind in kinds)

    def _open_macros(self) -> None:
        """Take what macros put out as inputs, and what they take as loads."""
        flat = self._flat
        self.macro_ff: dict[int, float] = {}
        for number in sorted(set(range(len(flat.kind))) - set(self._cells)):
            kind = flat.kinds[flat.kind[number]]
            on = flat.net[flat.first[number] : flat.first[number + 1]].tolist()
            outputs: dict[str, list[int]] = {}
            for pin, is_input, net in zip(kind.pins, kind.inputs, on, strict=True):
                if is_input and net not in (OPEN, self.clock_net):
                    self.macro_ff[net] = self.macro_ff.get(net, 0.0) + kind.macro.input_ff
                elif not is_input and net != OPEN:
                    outputs.setdefault(pin.partition("[")[0], []).append(net)
            for pin, nets in outputs.items():
                name = f"{flat.instance_name(number)}.{pin}"
                self.inputs[name] = Port(Direction.INPUT, np.array(nets, np.int32))

    def _connect(self) -> None:
        """Find the net of every pin, and lay out the counts."""
        flat = self._flat
        most = max((len(model.inputs) for model in self.models), default=1)
        self.pins = np.full((len(self.models), most), -1, np.int32)
        self.nets, driven = flat.nets, []
        for cell, model in enumerate(self.models):
            at = self._cells[cell]
            names = flat.kinds[flat.kind[at]].pins
            on = dict(zip(names, flat.net[flat.first[at] : flat.first[at + 1]], strict=True))
            for place, name in enumerate(model.inputs):
                if on[name] == OPEN:
                    raise SimulationError(f"{self.cell_name(cell)}: nothing drives its {name}")
                self.pins[cell, place] = on[name]
            for name in model.outputs:
                driven.append(on[name] if on[name] != OPEN else self.nets)
                self.nets += on[name] == OPEN
        self.driven = _ints(driven)
        self.first_output = begins([len(model.outputs) for model in self.models])
        self.flips = begins([model.flips for model in self.models])
        self.states = begins([1 << model.bits for model in self.models])
        self.arcs = begins([model.flips for model in self.models for _ in model.outputs])
        self.users: list[list[tuple[int, int]]] = [[] for _ in range(self.nets)]
        for cell, model in enumerate(self.models):
            for place in range(len(model.inputs)):
                self.users[self.pins[cell, place]].append((cell, place))

    def _drivers(self) -> dict[int, int]:
        """Return the cell that drives each net, or `_GIVEN`."""
        driver = dict.fromkeys((ZERO, ONE, self.clock_net, *bits(self.inputs.values())), _GIVEN)
        owners = np.repeat(np.arange(len(self.models)), np.diff(self.first_output))
        for net, cell in zip(self.driven.tolist(), owners.tolist(), strict=True):
            if net in driver:
                raise SimulationError(
                    f"{self.cell_name(cell)} is not the only one that drives its output"
                )
            driver[net] = cell
        for net, users in enumerate(self.users):
            if users and net not in driver:
                cell, place = users[0]
                raise SimulationError(
                    f"{self.cell_name(cell)}: nothing drives its {self.models[cell].inputs[place]}"
                )
        return driver

    def _clocks(self) -> np.ndarray:
        """Return what clocks each cell; see that the clock is used as one and as nothing else."""
        clocked = np.full(len(self.models), kernel.ROOT, np.int32)
        gates = [cell for cell, model in enumerate(self.models) if model.kind == kernel.GATE]
        self.clock_nets = {self.clock_net, *self.driven[self.first_output[gates]].tolist()}
        for net, users in enumerate(self.users):
            for cell, place in users:
                model = self.models[cell]
                if (net in self.clock_nets) != (place == model.clock):
                    what = "the clock drives" if net in self.clock_nets else "no clock drives"
                    raise SimulationError(
                        f"{self.cell_name(cell)}: {what} {model.inputs[place]} of "
                        f"{model.cell.name}; accepted: clocks from the port or a clock gate"
                    )
                if place == model.clock and net != self.clock_net:
                    clocked[cell] = self._driver[net]
        return clocked

    def _edge_order(self) -> list[int]:
        """Return the cells that are clocked, each after the gate that clocks it."""
        depth = {}
        for cell, model in enumerate(self.models):
            if model.kind == kernel.LOGIC:
                continue
            source, depth[cell] = int(self._clocked_by[cell]), 0
            while source != kernel.ROOT:
                source, depth[cell] = int(self._clocked_by[source]), depth[cell] + 1
                if depth[cell] > len(self.models):
                    raise SimulationError(f"{self.cell_name(cell)} is clocked by a loop of gates")
        return sorted(depth, key=depth.__getitem__)

    def _logic_order(self) -> list[int]:
        """Return cells without a state, each after those it depends on, and note their levels."""
        users: dict[int, list[int]] = {
            cell: [] for cell, model in enumerate(self.models) if model.kind == kernel.LOGIC
        }
        waits = {}
        for cell in users:
            nets = self.pins[cell, : len(self.models[cell].inputs)].tolist()
            sources = {self._driver[net] for net in nets} & users.keys()
            waits[cell] = len(sources)
            for source in sources:
                users[source].append(cell)
        order = [cell for cell, count in waits.items() if not count]
        for cell in order:
            for user in users[cell]:
                self.level[user] = max(self.level[user], self.level[cell] + 1)
                waits[user] -= 1
                if not waits[user]:
                    order.append(user)
        if len(order) < len(users):
            stuck = next(cell for cell, count in waits.items() if count)
            raise SimulationError(f"{self.cell_name(stuck)} is in or behind a loop of gates")
        return order

    def _wires(self, edge_order: Sequence[int], order: Sequence[int]) -> kernel.Wires:
        models = self.models
        moved = [[] if net in self.clock_nets else each for net, each in enumerate(self.users)]
        return kernel.Wires(
            kind=_ints(model.kind for model in models),
            inputs=_ints(len(model.inputs) for model in models),
            bits=_ints(model.bits for model in models),
            clock_pin=_ints(model.clock for model in models),
            clocked_by=self._clocked_by,
            enable_pin=_ints(model.enable for model in models),
            next_state=np.array([model.next_state for model in models], np.uint64),
            flips=self.flips[:-1],
            states=self.states[:-1],
            outputs=self.first_output,
            table=np.array([table for model in models for table in model.tables], np.uint64),
            arcs=self.arcs[:-1],
            net=np.concatenate([self.driven, _ints(bits(self.inputs.values()))]),
            pins=self.pins,
            fan=begins([len(each) for each in moved]),
            fan_cell=_ints(cell for each in moved for cell, _ in each),
            fan_pin=_ints(place for each in moved for _, place in each),
            order=_ints(order),
            edge_order=_ints(edge_order),
            shown=_ints(bits(self.outputs.values())),
        )

    def alike(self) -> Iterator[tuple[np.ndarray, CellModel]]:
        """Return the cells of each kind, as numbers, with their model."""
        names = np.array([model.cell.name for model in self.models])
        for name in np.unique(names):
            cells = np.flatnonzero(names == name)
            yield cells, self.models[cells[0]]


def bits(ports: Iterable[Port]) -> list[int]:
    """Return the nets of ports, one after the other."""
    return [net for port in ports for net in port.nets.tolist()]


def begins(sizes: Sequence[int]) -> np.ndarray:
    """Return where each of several runs begins, and where the last ends, int32."""
    return np.concatenate([[0], np.cumsum(np.asarray(sizes, np.int64))]).astype(np.int32)


def _ints(values: Iterable[int]) -> np.ndarray:
    return np.fromiter(values, np.int32)
