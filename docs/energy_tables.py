"""The tables of docs/energy.md, from the table of costs: ``python docs/generate.py``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hw.isa.config import Config
from hw.isa.instructions import Dataflow
from sim.area import area
from sim.costs import DRIVERS, ORIGINS, costs_of
from sim.energy import full_use
from sim.macros import memories
from sim.silicon import silicon

__all__ = ["PAGE", "with_tables"]

PAGE = Path(__file__).parent / "energy.md"
PAPER = Config.preset("paper")
NAMES = {
    "paper": "as built",
    "overlap": "drains overlapped",
    "four": "4 MACs a PE",
}
"""Recorded designs of both dataflows, and what tables call them."""


def with_tables(page: str) -> str:
    """Return the text of the page with its tables made anew."""

    def section(match: re.Match[str]) -> str:
        return f"{match[1]}\n\n{_TABLES[match[2]]()}\n\n<!-- end -->"

    return re.sub(
        r"(<!-- (\w+) from docs/generate\.py -->).*?<!-- end -->", section, page, flags=re.DOTALL
    )


def _table(*rows: tuple[object, ...]) -> str:
    heading, *body = [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join([heading, "|" + "---|" * len(rows[0]), *body])


def _costs() -> str:
    rows = [
        (
            f"`{name}`",
            f"{cost.value:.4g} {cost.unit}",
            "" if cost.zero_delay is None else f"{cost.zero_delay:.4g}",
            doc,
            cost.source,
        )
        for name, doc, cost in costs_of(PAPER).entries()
    ]
    return _table(("entry", "value", "zero-delay", "of what", "source"), *rows)


def _origins() -> str:
    return "\n".join(f"- *{word}*: {text}" for word, text in ORIGINS.items())


def _units() -> str:
    small, large = (silicon().chips[name] for name in ("quarter", "paper"))
    rows = []
    for name, (driver, count) in DRIVERS.items():
        sizes = [f"{count(chip.config)}" for chip in (small, large)]
        units = [chip.units[name] for chip in (small, large)]
        rows.append(
            (
                name, driver, " / ".join(sizes), *(f"{unit.area_um2:,.0f}" for unit in units),
                *(f"{unit.clock_pj:.2f}" for unit in units), f"{units[1].leakage_mw:.2f}",
            )
        )  # fmt: skip
    heading = ("unit", "grows with", "16x16 / 64x64", "um2, 16x16", "um2, 64x64",
               "pJ a cycle, 16x16", "64x64", "mW, 64x64")  # fmt: skip
    return _table(heading, *rows)


def _memories() -> str:
    rows = []
    for memory in memories(PAPER):
        banks = memory.banks()
        point, macro = banks.point, f"{memory.copies} of {memory.depth} x {memory.width} bits"
        size = f"{point.size_bytes // 1024} KB x {point.width_bytes} B {point.ports}"
        rows.append(
            (
                memory.name.replace("_", " "), macro, f"{banks.across} x {banks.deep} of {size}",
                f"{memory.copies * banks.area_mm2:.3f}", f"{banks.read_pj:.1f}",
                f"{banks.write_pj:.1f}", f"{point.access_ns:.2f}",
            )
        )  # fmt: skip
    heading = ("memory", "macros", "banks of a macro", "mm2", "pJ a read", "pJ a write", "ns")
    return _table(heading, *rows)


def _efficiency() -> str:
    rows = []
    for name, called in NAMES.items():
        for dataflow in Dataflow:
            found = full_use(silicon().chips[name].config, dataflow)
            rows.append(
                (
                    called, dataflow.name, f"{found.tops_per_watt_zero_delay:.2f}",
                    f"{found.tops_per_watt:.2f}", f"{found.power():.2f}",
                )
            )  # fmt: skip
    return _table(("hardware", "dataflow", "TOPS/W zero-delay", "TOPS/W timed", "W timed"), *rows)


def _parts() -> str:
    ws, os = (full_use(PAPER, dataflow) for dataflow in Dataflow)
    rows = []
    for name in ws.components:
        # Leakage is the same with and without delays.
        each = [
            (found.components[name], found.zero_delay.get(name, found.components[name]))
            for found in (ws, os)
        ]
        if any(timed for timed, _ in each):
            cells = [f"{joules / ws.macs * 1e12:.3f}" for pair in each for joules in pair]
            rows.append((name, *cells))
    return _table(("pJ a MAC", "WS", "zero-delay", "OS", "zero-delay"), *rows)


def _area() -> str:
    found = {called: area(silicon().chips[name].config) for name, called in NAMES.items()}
    names = area(PAPER).components
    rows = [(name, *(f"{each.components[name]:.3f}" for each in found.values())) for name in names]
    totals = ("total", *(f"{each.total:.2f}" for each in found.values()))
    return _table(("mm2", *found), *rows, totals)


_TABLES: dict[str, Callable[[], str]] = {
    "origins": _origins,
    "costs": _costs,
    "units": _units,
    "memories": _memories,
    "efficiency": _efficiency,
    "parts": _parts,
    "area": _area,
}
