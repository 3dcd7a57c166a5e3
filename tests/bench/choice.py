"""How long it takes to choose the tilings of the products of a training step, and how well."""

from __future__ import annotations

import statistics
import time

from sw.gemm import compile_gemm
from sw.models import load_step
from sw.prices import LEFT_TRANSPOSED, RIGHT_TRANSPOSED

from .rates import PAPER
from .speed import Rows

__all__ = ["decisions"]

STEPS = (("xattn", 2), ("unet", 1))
GOAL = 50
"""Milliseconds a product."""


def decisions() -> Rows:
    """Return the milliseconds of one core that decisions take, for all distinct products."""
    from sw import decide, gemm

    took: list[float] = []

    def timed(*arguments, **options) -> decide.Decision:
        start = time.process_time()
        decision = decide.decide(*arguments, **options)
        took.append(1e3 * (time.process_time() - start))
        found.append(decision)
        return decision

    found: list[decide.Decision] = []
    rows: Rows = []
    compile_gemm(PAPER, 64, 64, 64)  # the timing model is compiled
    before, gemm.decide = gemm.decide, timed
    try:
        for reading, batch in STEPS:
            took.clear(), found.clear()
            start = time.process_time()
            for shape, options in _products(reading, batch).items():
                compile_gemm(PAPER, *shape[:3], **options)
            each = 1e3 * (time.process_time() - start) / len(took)
            proven = sum(decision.proven for decision in found)
            gap = max(decision.gap for decision in found)
            rows += [
                (
                    f"choose tilings, {reading} batch {batch}, {len(took)} distinct products",
                    f"{statistics.median(took):.0f} ms in the median, {max(took):.0f} ms at most",
                    f"{GOAL} ms",
                    None,
                ),
                ("compile one, choice included", f"{each:.0f} ms in the mean", "", None),
                (
                    "proven to be the best",
                    f"{proven}; the others within {gap:.1%} of the best",
                    "",
                    None,
                ),
            ]
    finally:
        gemm.decide = before
    return rows


def _products(reading: str, batch: int) -> dict[tuple, dict[str, object]]:
    """Return sizes and options of `compile_gemm` of each distinct product."""
    found = {}
    for each in load_step("sd15", reading, batch, 4).products:
        options = {
            "transpose_a": each.role in LEFT_TRANSPOSED,
            "transpose_b": each.role in RIGHT_TRANSPOSED,
            "requantise": None if each.gradient else "row",
        }
        found[(each.m, each.k, each.n, *options.values())] = options
    return found
