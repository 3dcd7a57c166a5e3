"""The units of a design that reports speak of, and which modules are theirs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from .netlist import Netlist

__all__ = ["UNITS", "owned", "owned_in", "unit_of"]

_OWNERS = {
    "cdmqta_pe": "elements",
    "cdmqta_row": "elements",
    "cdmqta.execute.array": "array foot",
    "cdmqta.execute.edge": "array edges",
    "cdmqta.execute": "feed",
    "cdmqta.execute.left": "operand buffers",
    "cdmqta.execute.right": "operand buffers",
    "cdmqta.execute.scales": "operand buffers",
    "cdmqta.execute.accumulate": "accumulate",
    "cdmqta_lane": "accumulate",
    "cdmqta.store": "requantise and store",
    "cdmqta_post_lane": "requantise and store",
    "cdmqta.load": "load",
    "cdmqta": "controller",
    "cdmqta.reader": "AXI",
    "cdmqta.writer": "AXI",
}
"""Modules, and the unit that they and those below them belong to, if nothing nearer is named."""

UNITS = tuple(dict.fromkeys(_OWNERS.values()))


def unit_of(module: str) -> str | None:
    """Return the unit of a module, by its name in the emitted Verilog; None if it is of no one."""
    # A number behind $ only keeps names apart.
    path = re.sub(r"\$\d+", "", module).split(".")
    for length in range(len(path), 0, -1):
        if (owner := _OWNERS.get(".".join(path[:length]))) is not None:
            return owner
    return None


def owned(netlist: Netlist) -> Counter[tuple[str, str]]:
    """Return how often each module is in each unit of an accelerator, by unit and module.

    A module that no unit names, such as a multiplier, belongs to the unit it lies in; so a module
    may be part of several.

    Raises
    ------
    ValueError
        The top is no accelerator.
    """
    below = {
        name: Counter(child.module for child in module.children)
        for name, module in netlist.modules.items()
    }
    return owned_in(netlist.top, below)


def owned_in(top: str, below: Mapping[str, Mapping[str, int]]) -> Counter[tuple[str, str]]:
    """Do as `owned`, for a top and how often modules are right below modules."""
    found: Counter[tuple[str, str]] = Counter()

    def walk(module: str, above: str, times: int) -> None:
        unit = unit_of(module) or above
        found[unit, module] += times
        for child, each in below[module].items():
            walk(child, unit, times * each)

    unit = unit_of(top)
    if unit is None:
        raise ValueError(f"{top} is no accelerator: it belongs to no unit")
    walk(top, unit, 1)
    return found
