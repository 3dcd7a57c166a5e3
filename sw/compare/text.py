"""The comparison as text: what is assumed, and the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hw.isa.config import Config

from ..models import TrainingStep
from ..prices import DRAM_CLASS
from .step import PAPER, Comparison

__all__ = ["assumptions", "bandwidth", "cycle_rows", "edp_rows", "heading"]

FACTORS = ("full", "lora_os", "lora_ws")
"""Schemes whose multiples of LoRA-hybrid are printed."""


def bandwidth(gbps: float | None) -> str:
    """Return a bandwidth in words."""
    return "unlimited" if gbps is None else f"{gbps:g} GB/s"


def heading(config: Config, lora: TrainingStep) -> str:
    """Return what is compared, in one line."""
    return (
        f"{lora.name}, reading {lora.reading}, batch {lora.batch}, rank {lora.rank}; "
        f"{config.rows}x{config.columns} array at {config.clock_mhz} MHz"
    )


def assumptions(
    config: Config, full: TrainingStep, lora: TrainingStep, optimiser_bytes: float
) -> list[str]:
    """Return what the figures assume, a line each."""
    kilobytes = (config.input_bytes, config.weight_bytes, config.output_bytes)
    memories = ", ".join(
        f"{size / 1024:g} KB {name}"
        for size, name in zip(kilobytes, ("input", "weight", "output"), strict=True)
    )
    return [
        f"step: {heading(config, lora)}; full {full.macs / 1e9:.2f} GMAC and {full.trained:,} "
        f"trained weights, LoRA {lora.macs / 1e9:.2f} GMAC and {lora.trained:,}",
        f"memories: {memories}; bus {config.bus_bytes} bytes a cycle each way",
        "scalesim: SCALE-Sim 3.0.0, a fold of T waves takes T + R + C - 2 (OS) or T + 2R + C - 2 "
        "(WS) cycles, folds never overlap",
        "overlap: max(T, R) a fold, and 2R + C - 2 once a product; ideal: MACs / (R.C)",
        f"ours: every product a program of its own, start to interrupt, in the timing model that "
        f"equals the RTL; DRAM latency {config.dram_latency} cycles; INT8 results with fresh row "
        "scales, int32 weight gradients; operands transposed by loads",
        "operand swap (computing the transpose): ours where it is faster, under OS and WS too; "
        "the other models never",
        "DRAM traffic: scalesim and overlap load operands as often as the best tiling for the "
        "memories must, ideal once, ours as its programs do; a product takes the longer of "
        "compute and bytes / bandwidth (ours: as simulated)",
        "WS partial sums: read, added to and written back on the chip in every model but the "
        "paper's; charged as energy, no cycles",
        f"optimiser: {optimiser_bytes:g} bytes of DRAM traffic a trained weight, dense gradients "
        "read included, after the products at the bandwidth; no time where that is unlimited",
        "unlimited DRAM: bytes take no time (ours: a beat a cycle each way)",
        f"EDP: (chip + DRAM energy) x latency; DRAM of class {DRAM_CLASS}",
        "Full: all products OS, under which the paper's 1.81 comes out; Full-h: hybrid",
    ]


def cycle_rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return the rows of a table of latency at one bandwidth, the paper's factors last.

    Millions of cycles of each scheme, milliseconds of LoRA-hybrid, and multiples of it (h).
    """
    rows = []
    for each in comparisons:
        row: dict[str, Any] = {"dram": each.dram_gbps, "model": each.model}
        row |= {_SHORT[name]: entry.cycles / 1e6 for name, entry in each.entries.items()}
        row["ms"] = each.entries["lora_hybrid"].seconds * 1e3
        rows.append(row | _factors(each, "seconds", "h"))
    return rows + _paper_row(rows[0], "latency")


def edp_rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return the rows of a table of energy and EDP at one bandwidth, the paper's factors last.

    Millijoules of LoRA-hybrid on the chip and in DRAM, its EDP in mJ.s, and multiples of that with
    DRAM energy (h) and without (c).
    """
    rows = []
    for each in comparisons:
        hybrid = each.entries["lora_hybrid"]
        row = {
            "dram": each.dram_gbps,
            "model": each.model,
            "chip mJ": hybrid.energy * 1e3,
            "DRAM mJ": hybrid.dram_energy * 1e3,
            "EDP mJ.s": hybrid.edp * 1e3,
        }
        rows.append(row | _factors(each, "edp", "h") | _factors(each, "edp_chip", "c"))
    return rows + _paper_row(rows[0], "edp")


_SHORT = {
    "full": "Full",
    "full_hybrid": "Full-h",
    "lora_os": "OS",
    "lora_ws": "WS",
    "lora_hybrid": "hybrid",
}


def _factors(each: Comparison, figure: str, mark: str) -> dict[str, float]:
    return {f"{_SHORT[scheme]}/{mark}": each.ratio(figure, scheme) for scheme in FACTORS}


def _paper_row(like: dict[str, Any], figure: str) -> list[dict[str, Any]]:
    """Return the paper's row, with the keys of the others."""
    row: dict[str, Any] = dict.fromkeys(like)
    row |= {"dram": like["dram"], "model": "paper"}
    return [row | {f"{_SHORT[scheme]}/h": PAPER[figure][scheme] for scheme in FACTORS}]
