"""Figures of a synthesis as rows and lines."""

from __future__ import annotations

from typing import Any

from sim.synth.path import Path, describe
from sim.synth.synthesis import Synthesis

__all__ = ["figures", "path_text", "summary"]


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
    lines = [
        f"{found['cells']:,} cells {found['cells_mm2']:.3f} mm2, memories "
        f"{found['memories_mm2']:.3f} mm2, in all {found['total_mm2']:.3f} mm2; no place and route",
        f"period {found['period_ns']:.3f} ns, {found['fmax_mhz']:.0f} MHz; with a derate of "
        f"{found['derate']:g} {found['derated_fmax_mhz']:.0f} MHz (wire load {found['wire_load']})",
    ]
    if found["critical_path"] is not None:
        path = found["critical_path"]
        lines.append(f"longest path from {path['from']} to {path['to']}")
    return lines


def path_text(path: Path) -> str:
    """Return a path, a line for each cell."""
    return describe(path)
