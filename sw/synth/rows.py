"""Figures of a synthesis as rows and lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sim.synth.limits import overloads
from sim.synth.path import Path, describe
from sim.synth.synthesis import Synthesis

__all__ = [
    "LEAST_MM2", "area_rows", "area_text", "figures", "overload_lines", "path_text", "summary",
]  # fmt: skip

LEAST_MM2 = 0.1
"""Of less than this areas are told in um2: an element would be 0.001 mm2."""


def area_text(mm2: float) -> str:
    """Return an area with its unit."""
    return f"{mm2 * 1e6:,.1f} um2" if mm2 < LEAST_MM2 else f"{mm2:.3f} mm2"


def area_rows(units: Sequence[Mapping[str, Any]], total_mm2: float) -> list[dict[str, Any]]:
    """Return rows of areas to print: where all of it is told in um2, without mm2."""
    if total_mm2 >= LEAST_MM2:
        return [dict(row) for row in units]
    bare = ({key: value for key, value in row.items() if key != "mm2"} for row in units)
    return [
        row if "area_um2" in row else row | {"area_um2": each["mm2"] * 1e6}
        for row, each in zip(bare, units, strict=True)
    ]


def figures(result: Synthesis, derate: float) -> dict[str, Any]:
    """Return everything that is printed, with stable keys."""
    total = result.total_mm2
    path = result.path
    return {
        "unit": result.design.unit,
        "library": result.library.name,
        "wire_load": result.wire_load.name if result.wire_load else "none",
        "units": [
            {
                "unit": share.name,
                "instances": share.instances,
                "cells": share.cells,
                "flip_flops": share.registers,
                "area_um2": share.area_um2,
                "mm2": share.area_um2 * 1e-6,
                "percent": 1e-4 * share.area_um2 / total,
            }
            for share in result.units
        ],
        "memories": [
            {
                "memory": memory.name,
                "macros": memory.instances,
                "words": memory.depth,
                "bits": memory.width,
                "banks": memory.banks.banks,
                "bank_bytes": memory.banks.point.size_bytes,
                "access_ns": memory.banks.point.access_ns,
                "mm2": memory.area_mm2,
                "percent": 100 * memory.area_mm2 / total,
            }
            for memory in result.memories
        ],
        "cells": result.census.cells,
        "area_um2": total * 1e6,
        "cells_mm2": result.cells_mm2,
        "memories_mm2": result.memories_mm2,
        "total_mm2": total,
        "period_ns": result.period_ns,
        "memory_cycle_ns": result.memory_cycle_ns,
        "fmax_mhz": result.fmax_mhz(),
        "derate": derate,
        "derated_fmax_mhz": result.fmax_mhz(derate),
        "critical_path": {"from": path.start, "to": path.end} if path else None,
    }


def summary(found: dict[str, Any]) -> list[str]:
    """Return totals as lines."""
    area = f"{found['cells']:,} cells, {area_text(found['cells_mm2'])}"
    if found["memories"]:
        memories, total = area_text(found["memories_mm2"]), area_text(found["total_mm2"])
        area += f"; memories {memories}; in all {total}"
    lines = [
        f"{area}; no place and route",
        f"period {found['period_ns']:.3f} ns, {found['fmax_mhz']:.0f} MHz; with a derate of "
        f"{found['derate']:g} {found['derated_fmax_mhz']:.0f} MHz (wire load {found['wire_load']})",
    ]
    if found["critical_path"] is not None:
        path = found["critical_path"]
        lines.append(f"longest path from {path['from']} to {path['to']}")
    return lines


def overload_lines(result: Synthesis) -> list[str]:
    """Return a line on outputs with more load than the library has answers for, if there are any.

    Their delays are continued from the last point of its tables.
    """
    found = overloads(result.timing.graph)
    if not found:
        return []
    worst = found[0]
    many = "1 output drives" if len(found) == 1 else f"{len(found):,} outputs drive"
    return [
        f"{many} more than the library allows: delays there are guesses; the worst is "
        f"{worst.instance}.{worst.pin} ({worst.cell}), {worst.load_ff:.1f} fF of "
        f"{worst.limit_ff:.1f}"
    ]


def path_text(path: Path) -> str:
    """Return a path, a line for each cell."""
    return describe(path)
