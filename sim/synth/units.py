"""The units of a design that reports speak of, and which modules are theirs."""

from __future__ import annotations

import re

__all__ = ["MEMORIES", "UNITS", "unit_of"]

_OWNERS = {
    "cdmqta_pe": "elements",
    "cdmqta_row": "elements",
    "cdmqta.execute.array": "elements",
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

MEMORIES = "memories"
"""What is no unit of cells."""


def unit_of(module: str) -> str:
    """Return the unit of a module, by its name in the emitted Verilog.

    Raises
    ------
    ValueError
        It belongs to none: the table has to follow the design.
    """
    # A number behind $ only keeps names apart.
    path = re.sub(r"\$\d+", "", module).split(".")
    for length in range(len(path), 0, -1):
        if (owner := _OWNERS.get(".".join(path[:length]))) is not None:
            return owner
    raise ValueError(f"module {module} belongs to no unit of {', '.join(UNITS)}")
