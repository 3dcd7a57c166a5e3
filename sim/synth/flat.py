"""One module of a netlist with everything below it, as arrays: no hierarchy but in names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .netlist import ONE, OPEN, ZERO, Child, Kind, Module, Netlist, NetlistError, Port

__all__ = ["Flat", "flatten"]


@dataclass(frozen=True, eq=False)
class _Template:
    """A module with all below it; instances are its own first, then those of each child."""

    module: Module
    nets: int
    kinds: NDArray[np.int32]
    pins: NDArray[np.int32]
    ports: Mapping[str, NDArray[np.int32]]
    below: tuple[_Template, ...]
    starts: NDArray[np.int64]
    """First instance of each child."""


@dataclass(frozen=True, eq=False)
class Flat:
    """A flattened module.

    Members
    -------
    name : str
    kinds : tuple of Kind
    kind : array of int32, shape (instances,)
        Into `kinds`.
    first : array of int64, shape (instances + 1,)
        First pin of each instance.
    net : array of int32, shape (pins,)
        Net of each pin; `OPEN` if there is none, `ZERO` and `ONE` if it is tied.
    nets : int
        Number of nets; some have neither driver nor load.
    ports : mapping of str to Port
        Of the module, with nets as they are here.
    """

    name: str
    kinds: tuple[Kind, ...]
    kind: NDArray[np.int32]
    first: NDArray[np.int64]
    net: NDArray[np.int32]
    nets: int
    ports: Mapping[str, Port]
    _template: _Template

    @cached_property
    def places(self) -> tuple[list[tuple[str, str]], NDArray[np.int32]]:
        """Places of modules as module and instance, and the one that each instance fills."""
        names: list[tuple[str, str]] = []
        known: dict[int, NDArray[np.int32]] = {}
        first: dict[str, int] = {}

        def fill(at: _Template) -> NDArray[np.int32]:
            if id(at) not in known:
                module = at.module
                if module.name not in first:
                    first[module.name] = len(names)
                    names.extend((module.name, name) for name in module.keys)
                own = first[module.name] + np.arange(len(module.names), dtype=np.int32)
                known[id(at)] = np.concatenate([own, *(fill(inside) for inside in at.below)])
            return known[id(at)]

        return names, fill(self._template)

    def marked(self, mark: Callable[[str, str | None], str]) -> tuple[list[str], NDArray[np.int16]]:
        """Return marks, and which of them each instance has: that of the module it is in.

        Parameters
        ----------
        mark : callable
            From a module's name and the mark of the one above it, None at the top.
        """
        names: dict[str, int] = {}

        def fill(at: _Template, above: str | None) -> list[NDArray[np.int16]]:
            own = mark(at.module.name, above)
            number = names.setdefault(own, len(names))
            parts = [np.full(len(at.module.names), number, np.int16)]
            return parts + [part for inside in at.below for part in fill(inside, own)]

        parts = fill(self._template, None)
        return list(names), np.concatenate(parts)

    def copies(self, module: str) -> tuple[NDArray[np.int64], int]:
        """Return the first instance of each copy of a module, and how many a copy has."""
        size = 0

        def find(at: _Template, start: int) -> list[int]:
            nonlocal size
            if at.module.name == module:
                size = len(at.kinds)
                return [start]
            pairs = zip(at.below, at.starts.tolist(), strict=True)
            return [each for inside, offset in pairs for each in find(inside, start + offset)]

        return np.array(find(self._template, 0), np.int64), size

    def _owner(self, instance: int) -> tuple[list[str], _Template, int]:
        """Return the path to the module that holds an instance, and its number there."""
        path, at = [], self._template
        while instance >= len(at.module.names):
            child = int(np.searchsorted(at.starts, instance, side="right")) - 1
            # Children without instances start where the next one does.
            path.append(at.module.children[child].name)
            instance -= int(at.starts[child])
            at = at.below[child]
        return path, at, instance

    def module_name(self, instance: int) -> str:
        """Return the path of the module that holds an instance; empty for the module itself."""
        return ".".join(self._owner(instance)[0])

    def instance_name(self, instance: int) -> str:
        """Return the path of an instance."""
        path, at, local = self._owner(instance)
        return ".".join([*path, at.module.names[local]])

    def net_name(self, instance: int, pin: int) -> str | None:
        """Return the design's name of the net on a pin, where the instance stands; None if none.

        Parameters
        ----------
        instance, pin : int
            The pin counts within the instance.
        """
        path, at, local = self._owner(instance)
        module = at.module
        sizes = np.array([len(kind.pins) for kind in self.kinds])
        before = int(sizes[module.kinds[:local]].sum())
        name = module.net_names.get(int(module.pins[before + pin]))
        return name and ".".join([*path, name])


def flatten(netlist: Netlist, module: str | None = None) -> Flat:
    """Return a module (the top if None is named) with all that is below it.

    Raises
    ------
    NetlistError
        There is no such module, or it contains itself.
    """
    top = netlist.module(module or netlist.top)
    sizes = np.array([len(kind.pins) for kind in netlist.kinds], dtype=np.int64)
    made: dict[str, _Template] = {}
    template = _template(netlist, top.name, made, sizes, ())
    first = np.zeros(len(template.kinds) + 1, dtype=np.int64)
    np.cumsum(sizes[template.kinds], out=first[1:])
    ports = {name: Port(top.ports[name].direction, nets) for name, nets in template.ports.items()}
    return Flat(
        name=top.name,
        kinds=netlist.kinds,
        kind=template.kinds,
        first=first,
        net=template.pins,
        nets=template.nets,
        ports=ports,
        _template=template,
    )


def _template(
    netlist: Netlist,
    name: str,
    made: dict[str, _Template],
    sizes: NDArray[np.int64],
    above: tuple[str, ...],
) -> _Template:
    """Return a module's template; each is made once."""
    if name in made:
        return made[name]
    if name in above:
        raise NetlistError(f"module {name} contains itself")
    module = netlist.module(name)
    below = tuple(
        _template(netlist, child.module, made, sizes, (*above, name)) for child in module.children
    )
    # Nets of this module that a child makes one, or ties.
    same = _Joined(module.nets)
    maps, nets = [], module.nets
    for child, inside in zip(module.children, below, strict=True):
        to, nets = _inward(child, inside, nets, same)
        maps.append(to)
    root = same.roots(nets)
    pins = [module.pins, *(to[inside.pins] for to, inside in zip(maps, below, strict=True))]
    kinds = [module.kinds, *(inside.kinds for inside in below)]
    lengths = [len(each) for each in kinds]
    flat = np.concatenate(pins)
    made[name] = _Template(
        module,
        nets,
        np.concatenate(kinds),
        np.where(flat == OPEN, OPEN, root[flat]).astype(np.int32),
        {
            port: np.where(entry.nets == OPEN, OPEN, root[entry.nets])
            for port, entry in module.ports.items()
        },
        below,
        np.cumsum(lengths, dtype=np.int64)[:-1],
    )
    return made[name]


def _inward(
    child: Child, inside: _Template, nets: int, same: _Joined
) -> tuple[NDArray[np.int32], int]:
    """Return which net each net of a child is, and how many nets there are then.

    The last entry of the map is that of `OPEN`.
    """
    to = np.full(inside.nets + 1, OPEN, dtype=np.int32)
    to[[ZERO, ONE]] = ZERO, ONE
    for port, outer in child.connections.items():
        if port not in inside.ports:
            raise NetlistError(f"instance {child.name}: {child.module} has no port {port}")
        inner = inside.ports[port]
        if len(inner) != len(outer):
            raise NetlistError(
                f"instance {child.name}: port {port} of {child.module} has {len(inner)} bits, "
                f"not {len(outer)}"
            )
        for bit, net in zip(inner.tolist(), outer.tolist(), strict=True):
            if OPEN in (bit, net):
                continue
            if to[bit] == OPEN:
                to[bit] = net
            else:
                same.join(int(to[bit]), net)
    fresh = np.flatnonzero(to[:-1] == OPEN)
    to[fresh] = nets + np.arange(len(fresh), dtype=np.int32)
    return to, nets + len(fresh)


class _Joined:
    """Nets that are one; the lowest number stands for them, so that tied ones stay tied."""

    def __init__(self, nets: int) -> None:
        self.nets = nets
        self.parent: dict[int, int] = {}

    def find(self, net: int) -> int:
        while net in self.parent:
            net = self.parent[net]
        return net

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.find(one), self.find(other)))
        if low != high:
            if high == ONE:
                raise NetlistError("a net is tied to 0 and to 1")
            self.parent[high] = low

    def roots(self, nets: int) -> NDArray[np.int32]:
        root = np.arange(nets, dtype=np.int32)
        for net in self.parent:
            root[net] = self.find(net)
        return root
