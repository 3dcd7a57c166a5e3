"""Trees of buffers where an output drives more than it carries well.

Technology mapping leaves a net as it is however much hangs on it. Here a net with too much load
gets a balanced tree: loads are taken in groups behind buffers of the library, those again, until
what is left is fit for the driver. The load of a module's port is what it drives inside, so modules
go from the innermost to the outermost, each once, however often it stands. An output that a module
uses itself leaves a share of what its driver carries to those outside. What goes through a module
by a wire alone is a net of its own on either side.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .liberty import Cell, Direction, Library
from .netlist import Macro, NetlistError
from .strength import stronger

__all__ = ["Buffer", "Sink", "add_buffer", "buffers_of", "limit_loads", "next_bit"]

_FULL = 0.5
"""Part of its largest load, by the library, beyond which an output gets a tree."""
_FILL = 0.3
"""Part of it that outputs and buffers carry in a tree: about four times their own input."""
_MOST_FF = 150.0
"""Most that any output carries: beyond that wires would need repeaters."""
FANOUT = 64
"""Most loads of a net, for the same reason."""

_OUTSIDE = 0.25
"""Part of what a driver carries that is left to each port of its module that it drives."""

Described = dict[str, Any]


@dataclass(frozen=True)
class Buffer:
    """A buffer: its pins, the load of its input, and what it carries well, in fF."""

    name: str
    input: str
    output: str
    input_ff: float
    carries_ff: float
    area_um2: float


@dataclass(frozen=True)
class Sink:
    """A place in a list of connections, and what hangs there."""

    bits: list[Any]
    place: int
    load_ff: float


@dataclass
class _Net:
    """What a net drives, what its driver carries at the utmost and well, and its ports outwards."""

    sinks: list[Sink] = field(default_factory=list)
    full_ff: float = math.inf
    carries_ff: float = math.inf
    leaves: int = 0

    @property
    def load_ff(self) -> float:
        return sum(sink.load_ff for sink in self.sinks)

    @property
    def share(self) -> float:
        """Part of what the driver carries that is for what is here; the rest is for outside."""
        return 1 - min(_OUTSIDE * self.leaves, 0.5)

    def left(self) -> tuple[float, float]:
        """Return what each port has left, at the utmost and well."""
        limits = self.full_ff, self.carries_ff
        return tuple(max(limit - self.load_ff, 0.0) / max(self.leaves, 1) for limit in limits)


@dataclass(frozen=True)
class _Ports:
    """What a module's ports are to those that stand outside, bit by bit.

    Members
    -------
    loads : dict of str to list of float
        Of inputs, in fF.
    left : dict of str to list of (float, float)
        Of outputs: what the driver inside carries beside what hangs on it there, at the utmost
        and well.
    """

    loads: dict[str, list[float]]
    left: dict[str, list[tuple[float, float]]]


def buffers_of(library: Library) -> tuple[Buffer, ...]:
    """Return the buffers of a library that are worth using, the weakest first."""
    found = []
    for cell in library.cells.values():
        pins = None if cell.dont_use else cell.repeats(inverted=False)
        if pins is None or not pins[1].max_capacitance_ff:
            continue
        into, out = pins
        farads = max(into.rise_ff, into.fall_ff)
        carries = min(_FILL * out.max_capacitance_ff, _MOST_FF)
        found.append(Buffer(cell.name, into.name, out.name, farads, carries, cell.area_um2))
    found.sort(key=lambda each: (each.area_um2, -each.carries_ff, each.input_ff))
    kept: list[Buffer] = []
    for each in found:
        if not kept or each.carries_ff > kept[-1].carries_ff:
            kept.append(each)
    return tuple(kept)


def next_bit(module: Described) -> int:
    """Return the lowest number that no net of a module has."""
    ends = [port["bits"] for port in module["ports"].values()]
    ends += [bits for cell in module["cells"].values() for bits in cell["connections"].values()]
    ends += [entry["bits"] for entry in module.get("netnames", {}).values()]
    return 1 + max((bit for bits in ends for bit in bits if isinstance(bit, int)), default=1)


def add_buffer(module: Described, buffer: Buffer, source: Any, bit: int) -> Sink:
    """Put a buffer into a module; it drives a new net, `bit`. Return its input."""
    connections = {buffer.input: [source], buffer.output: [bit]}
    module["cells"][f"$buffer${bit}"] = {
        "hide_name": 1,
        "type": buffer.name,
        "parameters": {},
        "attributes": {},
        "port_directions": {buffer.input: "input", buffer.output: "output"},
        "connections": connections,
    }
    return Sink(connections[buffer.input], 0, buffer.input_ff)


def limit_loads(
    modules: dict[str, Described],
    library: Library,
    kept: Collection[str] = (),
    macros: Mapping[str, Macro] | None = None,
) -> int:
    """Put trees of buffers where nets have too much load; return how many buffers they took.

    Parameters
    ----------
    modules : dict
        As yosys writes them in JSON, of cells, macros and one another; changed.
    kept : collection of str
        Modules that stay as they are.
    macros : mapping of str to Macro, optional
        Black boxes; they carry whatever any output may.

    Raises
    ------
    NetlistError
        A cell is unknown.
    """
    buffers = buffers_of(library)
    if not buffers:
        return 0
    gardener = _Gardener(modules, library, buffers, frozenset(kept), macros or {})
    return sum(gardener.module(name) for name in _innermost_first(modules))


def _innermost_first(modules: dict[str, Described]) -> list[str]:
    """Return the modules with cells, each after those inside it."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in modules and name not in order and not _closed(modules[name]):
            for cell in modules[name]["cells"].values():
                visit(cell["type"])
            order[name] = None

    for name in modules:
        visit(name)
    return list(order)


def _closed(module: Described) -> bool:
    """Tell whether a module is a black box."""
    return bool(int(module.get("attributes", {}).get("blackbox", "0"), 2))


class _Gardener:
    """Puts trees into modules, and remembers what their ports are to those outside."""

    def __init__(
        self,
        modules: dict[str, Described],
        library: Library,
        buffers: tuple[Buffer, ...],
        kept: frozenset[str],
        macros: Mapping[str, Macro],
    ) -> None:
        self.modules, self.library, self.buffers, self.kept = modules, library, buffers, kept
        self.macros = macros
        self.larger = stronger(library)
        self.ports: dict[str, _Ports] = {}
        self.clocks = _clocks(modules, library)

    def module(self, name: str) -> int:
        """Put trees into a module, and return how many buffers they have."""
        module = self.modules[name]
        nets = self._nets(module, name in self.kept)
        before = len(module["cells"])
        if name not in self.kept:
            bit = next_bit(module)
            for source, net in nets.items():
                if source not in self.clocks[name] and self._over(net):
                    bit, net.sinks = self._tree(module, source, net, bit)
        self.ports[name] = _Ports(
            {
                port: [nets[bit].load_ff if bit in nets else 0.0 for bit in entry["bits"]]
                for port, entry in module["ports"].items()
                if entry["direction"] == "input"
            },
            {
                port: [nets[bit].left() if bit in nets else (0.0, 0.0) for bit in entry["bits"]]
                for port, entry in module["ports"].items()
                if entry["direction"] != "input"
            },
        )
        return len(module["cells"]) - before

    def _nets(self, module: Described, kept: bool) -> dict[Any, _Net]:
        """Return the nets of a module that are not tied."""
        nets: dict[Any, _Net] = {}
        for port in module["ports"].values():
            for bit in port["bits"]:
                if port["direction"] == "input" and isinstance(bit, int):
                    # Whatever drives it outside can be made as strong as need be.
                    most = max(each.carries_ff for each in self.buffers)
                    nets[bit] = _Net(full_ff=most * _FULL / _FILL, carries_ff=most)
        for cell in module["cells"].values():
            for bits, place, load_ff, limits in self._pins(cell, kept):
                if not isinstance(bit := bits[place], int):
                    continue
                net = nets.setdefault(bit, _Net())
                if limits is None:
                    net.sinks.append(Sink(bits, place, load_ff))
                else:
                    net.full_ff, net.carries_ff = limits
        for port in module["ports"].values():
            for bit in port["bits"] if port["direction"] != "input" else ():
                if bit in nets:
                    nets[bit].leaves += 1
        return nets

    def _pins(
        self, cell: Described, kept: bool
    ) -> Iterator[tuple[list[Any], int, float, tuple[float, float] | None]]:
        """Yield bits, place, load, and if it drives, what it carries, of each end of a cell."""
        kind = self.library.cells.get(cell["type"])
        ports = self.ports.get(cell["type"])
        for pin, bits in cell["connections"].items():
            for place in range(len(bits)):
                if kind is not None:
                    end = kind.pins[pin]
                    into = end.direction is Direction.INPUT
                    limits = None if into else self._limits(kind, pin, kept)
                    yield bits, place, max(end.rise_ff, end.fall_ff), limits
                elif ports is not None:
                    into = pin in ports.loads
                    load = ports.loads[pin][place] if into else 0.0
                    yield bits, place, load, None if into else ports.left[pin][place]
                else:
                    macro = self._macro(cell["type"])
                    into = pin not in macro.outputs
                    yield bits, place, macro.input_ff, None if into else (_MOST_FF, _MOST_FF)

    def _macro(self, name: str) -> Macro:
        if name not in self.macros:
            raise NetlistError(
                f"unmappable cell: {name} is neither in {self.library.name} nor a module of the "
                "design nor a declared macro"
            )
        return self.macros[name]

    def _limits(self, kind: Cell, pin: str, kept: bool) -> tuple[float, float]:
        """Return what an output carries at the utmost, and well, once its cell has its size."""
        names = [kind.name, *(() if kept else self.larger.get(kind.name, ()))]
        most = max(self.library.cells[n].pins[pin].max_capacitance_ff or math.inf for n in names)
        return min(_FULL * most, _MOST_FF), min(_FILL * most, _MOST_FF)

    def _over(self, net: _Net) -> bool:
        least = min(each.input_ff for each in self.buffers)
        heavy = net.load_ff > net.full_ff * net.share and net.load_ff > least
        return heavy or len(net.sinks) > FANOUT

    def _tree(self, module: Described, source: Any, net: _Net, bit: int) -> tuple[int, list[Sink]]:
        """Put the tree of a net into a module; return the next free net and what is left on it."""
        level = net.sinks
        carries = max(net.carries_ff * net.share, self.buffers[0].input_ff)
        usual = min(self.buffers, key=lambda each: each.area_um2 / each.carries_ff)
        while sum(sink.load_ff for sink in level) > carries or len(level) > FANOUT:
            groups = _groups(level, usual.carries_ff)
            above = []
            for group in groups:
                load = sum(sink.load_ff for sink in group)
                fit = [each for each in self.buffers if each.carries_ff >= load]
                buffer = fit[0] if fit else self.buffers[-1]
                for sink in group:
                    sink.bits[sink.place] = bit
                above.append(add_buffer(module, buffer, source, bit))
                bit += 1
            if len(above) == 1 or sum(s.load_ff for s in above) >= sum(s.load_ff for s in level):
                return bit, above
            level = above
        return bit, level


def _groups(level: list[Sink], carries_ff: float) -> list[list[Sink]]:
    """Return loads in groups of about the same load, in their order."""
    total = sum(sink.load_ff for sink in level)
    count = max(math.ceil(total / carries_ff), math.ceil(len(level) / FANOUT))
    groups: list[list[Sink]] = [[]]
    share, taken = total / count, 0.0
    for place, sink in enumerate(level):
        full = taken + sink.load_ff / 2 > share * len(groups) or len(groups[-1]) == FANOUT
        if groups[-1] and full and place:
            groups.append([])
        groups[-1].append(sink)
        taken += sink.load_ff
    return groups


def _clocks(modules: dict[str, Described], library: Library) -> dict[str, set[Any]]:
    """Return the nets of each module that the clock is on, as it is or gated."""
    found: dict[str, set[Any]] = {name: set() for name in modules}
    for name in reversed(_innermost_first(modules)):
        own = found[name]
        own.update(modules[name]["ports"].get("clk", {"bits": ()})["bits"])
        for cell in modules[name]["cells"].values():
            kind = library.cells.get(cell["type"])
            if kind is None and cell["type"] in modules:
                ports = modules[cell["type"]]["ports"]
                for port, bits in cell["connections"].items():
                    for outer, inner in zip(bits, ports[port]["bits"], strict=True):
                        if outer in own and isinstance(outer, int):
                            found[cell["type"]].add(inner)
            for pin, bits in cell["connections"].items() if kind else ():
                role = kind.pins[pin]
                if kind.register and pin in kind.register.clocked_on.inputs:
                    own.update(bits)
                elif kind.gating and role.gate_role in ("clock", "out"):
                    own.update(bits)
    return found
