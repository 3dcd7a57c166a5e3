"""A mapped netlist, as yosys writes it in JSON: modules of library cells, macros and modules."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import SynthError
from .liberty import Cell, Direction, Library

__all__ = [
    "ONE",
    "OPEN",
    "ZERO",
    "Child",
    "Kind",
    "Macro",
    "Module",
    "Netlist",
    "NetlistError",
    "Port",
    "cell_kind",
    "instances_in",
    "parse_modules",
    "parse_netlist",
    "read_netlist",
]

OPEN = -1
"""Net of a pin that is not connected."""
ZERO, ONE = 0, 1
"""Nets of every module that are tied."""


class NetlistError(SynthError):
    """A netlist cannot be used; the message is one line that names the module and the cell."""


@dataclass(frozen=True)
class Macro:
    """A block that is in the netlist by name only, such as a memory.

    Parameters
    ----------
    outputs : tuple of str
        Its outputs; all other ports are inputs.
    clock : str or None
        Port of the clock.
    access_ns, setup_ns : float
        From the clock's edge to the outputs, and from the inputs to the edge.
    input_ff : float
        Capacitance of an input.
    """

    outputs: tuple[str, ...] = ("read_data",)
    clock: str | None = "clk"
    access_ns: float = 0.0
    setup_ns: float = 0.0
    input_ff: float = 0.0


@dataclass(frozen=True, eq=False)
class Kind:
    """What an instance is: a cell of the library or a macro, with its pins bit by bit.

    Members
    -------
    name : str
    pins : tuple of str
        A macro's buses are ``name[bit]``.
    inputs : tuple of bool
        For each pin, whether it is driven from outside.
    cell : Cell or None
    macro : Macro or None
    """

    name: str
    pins: tuple[str, ...]
    inputs: tuple[bool, ...]
    cell: Cell | None = None
    macro: Macro | None = None


@dataclass(frozen=True, eq=False)
class Port:
    """A port of a module, and the nets of its bits (int32, lowest first)."""

    direction: Direction
    nets: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Child:
    """An instance of a module, and the nets on its ports (int32, lowest bit first)."""

    name: str
    module: str
    connections: Mapping[str, NDArray[np.int32]]


@dataclass(frozen=True, eq=False)
class Module:
    """A module.

    Members
    -------
    ports : mapping of str to Port
    nets : int
        Number of nets; 0 and 1 are tied.
    names, keys : tuple of str
        Instances of cells and macros, as the design calls them and as the file does.
    kinds : array of int32, shape (instances,)
        Into `Netlist.kinds`.
    pins : array of int32
        Nets of the pins of all instances, those of an instance in the order of its kind.
    children : tuple of Child
    """

    name: str
    ports: Mapping[str, Port]
    nets: int
    names: tuple[str, ...]
    keys: tuple[str, ...]
    kinds: NDArray[np.int32]
    pins: NDArray[np.int32]
    children: tuple[Child, ...]
    _netnames: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _bits: Mapping[Any, int] = field(default_factory=dict, repr=False)

    @cached_property
    def net_names(self) -> Mapping[int, str]:
        """Names that the design gives to nets; of several, a short one without ``$``."""
        best: dict[int, tuple[tuple[bool, int, str], str]] = {}
        for name, entry in self._netnames.items():
            if entry.get("hide_name"):
                continue
            name = _plain(name, entry)
            rank = ("$" in name, len(name), name)
            bits, start = entry["bits"], entry.get("offset", 0)
            for place, bit in enumerate(bits):
                net = self._bits.get(bit, OPEN)
                if net > ONE and (net not in best or rank < best[net][0]):
                    best[net] = rank, f"{name}[{start + place}]" if len(bits) > 1 else name
        return {net: name for net, (_, name) in best.items()}


@dataclass(frozen=True, eq=False)
class Netlist:
    """A design: its modules, and the kinds that their instances are of."""

    library: Library
    modules: Mapping[str, Module]
    kinds: tuple[Kind, ...]
    top: str

    def module(self, name: str) -> Module:
        """Return a module.

        Raises
        ------
        NetlistError
            There is none of this name.
        """
        if name not in self.modules:
            some = ", ".join(sorted(self.modules, key=len)[:8])
            raise NetlistError(f"the netlist has no module {name!r}; it has {some}, ...")
        return self.modules[name]

    def instances(self, top: str | None = None) -> dict[str, int]:
        """Return how often each module is in a module (the top if None is named), itself first."""
        return instances_in(
            top or self.top,
            lambda name: Counter(child.module for child in self.module(name).children),
        )


def instances_in(top: str, below: Callable[[str], Mapping[str, int]]) -> dict[str, int]:
    """Return how often each module is in a top, itself first, from what is right below modules."""
    inside: dict[str, Mapping[str, int]] = {}
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in inside:
            inside[name] = below(name)
            for child in inside[name]:
                visit(child)
            order.append(name)

    visit(top)
    counts = dict.fromkeys(reversed(order), 0)
    counts[top] = 1
    for name, count in counts.items():
        for child, times in inside[name].items():
            counts[child] += count * times
    return counts


def read_netlist(
    path: Path | str, library: Library, macros: Mapping[str, Macro] | None = None
) -> Netlist:
    """Return the design in a file that yosys' ``write_json`` wrote after mapping.

    Parameters
    ----------
    library : Library
    macros : mapping of str to Macro, optional
        Blocks that are neither cells nor modules, by name.

    Raises
    ------
    NetlistError
        The file is no such netlist, or holds a cell that is unknown.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise NetlistError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse_netlist(text, library, macros, origin=str(path))


def parse_netlist(
    text: bytes | str,
    library: Library,
    macros: Mapping[str, Macro] | None = None,
    *,
    origin: str = "netlist",
) -> Netlist:
    """Return the design in JSON text, as `read_netlist` does."""
    try:
        described = json.loads(text)["modules"]
    except (ValueError, KeyError, TypeError) as error:
        raise NetlistError(f"{origin} is no netlist in yosys' JSON: {error!r}") from error
    return parse_modules(described, library, macros, origin=origin)


def parse_modules(
    described: Mapping[str, Any],
    library: Library,
    macros: Mapping[str, Macro] | None = None,
    *,
    origin: str = "netlist",
) -> Netlist:
    """Return the design of modules as yosys describes them, by name, as `read_netlist` does."""
    described = {
        name: module
        for name, module in described.items()
        if not int(module.get("attributes", {}).get("blackbox", "0"), 2)
    }
    reader = _Reader(library, macros or {}, described)
    modules = {name: reader.module(name, module) for name, module in described.items()}
    tops = [name for name, m in described.items() if "top" in m.get("attributes", {})]
    if not modules:
        raise NetlistError(f"{origin} holds no module")
    return Netlist(library, modules, tuple(reader.kinds), (tops or list(modules))[0])


class _Reader:
    """Collects kinds while it reads modules."""

    def __init__(
        self, library: Library, macros: Mapping[str, Macro], described: Mapping[str, Any]
    ) -> None:
        self.library, self.macros, self.described = library, macros, described
        self.kinds: list[Kind] = []
        self.known: dict[Any, int] = {}

    def module(self, name: str, described: Mapping[str, Any]) -> Module:
        """Return a module."""
        # A bit without a value may have any: 0.
        bits: dict[Any, int] = {"0": ZERO, "1": ONE, "x": ZERO, "z": OPEN}
        names, keys, kinds, children = [], [], [], []
        pins: list[int] = []
        for key, cell in described["cells"].items():
            connections = {
                pin: [bits.setdefault(bit, len(bits) - 2) for bit in ends]
                for pin, ends in cell["connections"].items()
            }
            each = _plain(key, cell)
            if cell["type"] in self.described and cell["type"] not in self.library.cells:
                nets = {port: np.array(ends, np.int32) for port, ends in connections.items()}
                children.append(Child(each, cell["type"], nets))
                continue
            kind, pin_nets = self.instance(name, each, cell["type"], connections)
            names.append(each)
            keys.append(key)
            kinds.append(kind)
            pins += pin_nets
        ports = {
            port: Port(
                Direction(entry["direction"]),
                np.array([bits.setdefault(b, len(bits) - 2) for b in entry["bits"]], np.int32),
            )
            for port, entry in described["ports"].items()
        }
        return Module(
            name=name,
            ports=ports,
            nets=len(bits) - 2,
            names=tuple(names),
            keys=tuple(keys),
            kinds=np.array(kinds, np.int32),
            pins=np.array(pins, np.int32),
            children=tuple(children),
            _netnames=described.get("netnames", {}),
            _bits=bits,
        )

    def instance(
        self, module: str, name: str, of: str, connections: Mapping[str, list[int]]
    ) -> tuple[int, list[int]]:
        """Return the kind of an instance and the nets of its pins."""
        if of in self.library.cells:
            kind = self.known.get(of)
            if kind is None:
                kind = self.add(of, cell_kind(self.library.cells[of]))
            pins = self.kinds[kind].pins
            nets = [connections[pin][0] if connections.get(pin) else OPEN for pin in pins]
            if strange := set(connections) - set(pins):
                raise NetlistError(
                    f"module {module}: cell {name} has a pin {min(strange)}, which {of} of "
                    f"{self.library.name} has not"
                )
            return kind, nets
        if of in self.macros:
            widths = tuple((port, len(nets)) for port, nets in connections.items())
            kind = self.known.get((of, widths))
            if kind is None:
                kind = self.add((of, widths), _macro_kind(of, self.macros[of], widths))
            return kind, [net for nets in connections.values() for net in nets]
        raise NetlistError(
            f"unmappable cell: module {module}, cell {name} is of type {of}, which is neither in "
            f"{self.library.name} nor a module of the design nor a declared macro"
        )

    def add(self, key: Any, kind: Kind) -> int:
        """Keep a new kind."""
        self.known[key] = len(self.kinds)
        self.kinds.append(kind)
        return self.known[key]


def _plain(name: str, entry: Mapping[str, Any]) -> str:
    """Return a name as the design has it, also where yosys undid the hierarchy."""
    # A name that begins with $ in Verilog has a backslash here, to tell it from yosys' own.
    return entry.get("attributes", {}).get("hdlname", name).replace(" ", ".").removeprefix("\\")


def cell_kind(cell: Cell) -> Kind:
    """Return a cell as what an instance is."""
    pins = [pin for pin in cell.pins.values() if pin.direction is not Direction.INTERNAL]
    return Kind(
        cell.name,
        tuple(pin.name for pin in pins),
        tuple(pin.direction is Direction.INPUT for pin in pins),
        cell=cell,
    )


def _macro_kind(name: str, macro: Macro, widths: tuple[tuple[str, int], ...]) -> Kind:
    pins, inputs = [], []
    for port, width in widths:
        pins += [f"{port}[{bit}]" if width > 1 else port for bit in range(width)]
        inputs += [port not in macro.outputs] * width
    return Kind(name, tuple(pins), tuple(inputs), macro=macro)
