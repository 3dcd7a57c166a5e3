"""Units by themselves in one simulation: RTL and netlists under the same bench."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.builder import build_bench, tail
from sim.harness import HARNESS

from .unit_bench import ORDERS_VARIABLE

__all__ = ["SimulatedUnits", "UnitText"]

_PORT = re.compile(r"^ *(input|output) (?:signed )?(?:\[(\d+):0\] )?(\w+) *;", re.MULTILINE)
_TOPS = {"pe": "cdmqta_pe", "array": "cdmqta_array"}


@dataclass(frozen=True)
class UnitText:
    """An element (``pe``) or an array, as Verilog."""

    unit: str
    verilog: str


class SimulatedUnits:
    """Units that are built into one simulation.

    Parameters
    ----------
    units : sequence of UnitText
        Modules of equal names may differ between them.
    simulator : str
    """

    def __init__(self, units: Sequence[UnitText], simulator: str) -> None:
        self._simulation = build_bench(_together(units), simulator=simulator)

    def run(self, orders: Sequence[dict[str, Any]], folder: Path) -> list[str]:
        """Give orders to `tests.system.unit_bench`; return what came of each."""
        file = folder / "orders.json"
        file.write_text(json.dumps(list(orders)))
        log = self._simulation.run(
            "tests.system.unit_bench", folder=folder, environment={ORDERS_VARIABLE: str(file)}
        )
        done = file.with_suffix(".done")
        assert done.exists(), tail(log)
        return json.loads(done.read_text())


def _together(units: Sequence[UnitText]) -> str:
    """Return the modules of all units, each named after its unit, and the harness around them."""
    texts, ports, instances = [], ["input clk", "input rst"], []
    for number, each in enumerate(units):
        names = re.findall(r"^module (\w+)", each.verilog, re.MULTILINE)
        texts.append(re.sub(rf"\b({'|'.join(names)})\b", rf"\1_{number}", each.verilog))
        links = [".clk(clk)", ".rst(rst)"]
        top = f"{_TOPS[each.unit]}_{number}"
        for name, direction, width in _ports(top, texts[-1]):
            ports.append(f"{direction} [{width - 1}:0] {name}_{number}")
            links.append(f".{name}({name}_{number})")
        instances.append(f"{top} unit_{number} ({', '.join(links)});")
    harness = f"module {HARNESS}({', '.join(ports)});\n" + "\n".join(instances) + "\nendmodule\n"
    return "\n".join([*texts, harness])


def _ports(module: str, text: str) -> list[tuple[str, str, int]]:
    """Return name, direction and width of each port beside clock and reset."""
    body = re.search(rf"^module {module}\b.*?^endmodule", text, re.MULTILINE | re.DOTALL)[0]
    found = re.findall(
        r"^ *(input|output) (?:signed )?(?:\[(\d+):0\] )?(\w+) *;", body, re.MULTILINE
    )
    return [
        (name, direction, int(high or 0) + 1)
        for direction, high, name in found
        if name not in ("clk", "rst")
    ]
