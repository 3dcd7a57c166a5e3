"""The tables of docs/energy.md, from the table of costs: ``python docs/generate.py``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hw.isa.config import Config
from hw.isa.instructions import Dataflow, Execute
from sim.activity import activity
from sim.area import area
from sim.costs import COSTS, MULTIPLIER_TREE, ORIGINS, CostTable
from sim.energy import Energy, energy
from sim.macros import memories

__all__ = ["PAGE", "with_tables"]

PAGE = Path(__file__).parent / "energy.md"
PAPER = Config.preset("paper")
STUDY = MULTIPLIER_TREE


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
        (f"`{name}`", f"{cost.value:g} {cost.unit}", doc, cost.source)
        for name, doc, cost in COSTS.entries()
    ]
    return _table(("entry", "value", "of what", "source"), *rows)


def _origins() -> str:
    return "\n".join(f"- *{word}*: {text}" for word, text in ORIGINS.items())


def _tree() -> str:
    rows = [
        (f"`{name}`", f"{tree.value:g} {tree.unit}", tree.source)
        for (name, _, cost), (_, _, tree) in zip(
            COSTS.entries(), MULTIPLIER_TREE.entries(), strict=True
        )
        if cost != tree
    ]
    return _table(("entry", "value", "source"), *rows)


def _memories() -> str:
    rows = []
    for memory in memories(PAPER):
        banks = memory.banks(COSTS)
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


def _full_use(dataflow: Dataflow, costs: CostTable) -> Energy:
    """Return the energy of a 64x64 array that is fed in every cycle."""
    strides = {f"{m}_{w}_stride": 1 for m in ("left", "right", "out") for w in ("row", "block")}
    execute = Execute(dataflow=dataflow, rows=1024, reduction=640, columns=64, **strides)
    found = activity(PAPER, [execute] * 20)
    return energy(PAPER, found, found.waves, costs)


def _efficiency() -> str:
    rows = []
    for name, costs in (("as built", COSTS), ("the study's", STUDY)):
        for dataflow in Dataflow:
            found = _full_use(dataflow, costs)
            rows.append(
                (
                    name, dataflow.name, f"{found.tops_per_watt_zero_delay:.2f}",
                    f"{found.tops_per_watt:.2f}", f"{found.power():.2f}",
                )
            )  # fmt: skip
    return _table(("hardware", "dataflow", "TOPS/W zero-delay", "TOPS/W timed", "W timed"), *rows)


def _parts() -> str:
    ws, os = (_full_use(dataflow, COSTS) for dataflow in Dataflow)
    rows = [
        (name, f"{joules / ws.macs * 1e12:.3f}", f"{os.components[name] / os.macs * 1e12:.3f}")
        for name, joules in ws.components.items()
        if joules
    ]
    return _table(("pJ a MAC, timed", "WS", "OS"), *rows)


def _area() -> str:
    built = area(PAPER).components
    study = area(PAPER, STUDY).components
    rows = [(name, f"{mm2:.3f}", f"{study[name]:.3f}") for name, mm2 in built.items()]
    totals = ("total", f"{sum(built.values()):.2f}", f"{sum(study.values()):.2f}")
    return _table(("mm2", "as built", "the study's"), *rows, totals)


_TABLES: dict[str, Callable[[], str]] = {
    "origins": _origins,
    "costs": _costs,
    "tree": _tree,
    "memories": _memories,
    "efficiency": _efficiency,
    "parts": _parts,
    "area": _area,
}
