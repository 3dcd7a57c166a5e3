"""How fast the timing model is, beside the RTL that it equals, and on whole training steps."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from sim import rtl, timing
from sim.result import DramTiming
from sw.gemm import compile_gemm

from .rates import PAPER, PRODUCTS
from .speed import Rows

__all__ = ["against_rtl", "steps"]

TIMES = 1000
"""Simulated cycles a second of the timing model, in those of the RTL, at least."""
STEPS = {("kv", 1): 2, ("xattn", 2): 10, ("unet", 1): 60}
"""Seconds a step may take, by reading and batch, compiling included."""
LARGEST = ("16x16 level", (4096, 2880, 320))
"""A product that is timed on both, and one whose folds repeat, on the model alone."""

_STEP = """
import json, resource, sys, time
from hw.isa.config import Config
from sw.cost import step_cost
from sw.models import load_step
config, reading, batch = Config.preset("paper"), sys.argv[1], int(sys.argv[2])
step_cost(config, load_step("sd15", "kv", 1, 4))  # what is compiled once is compiled
start = time.perf_counter()
step = load_step("sd15", reading, batch, 4)
cost = step_cost(config, step)
took = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([took, cost.cycles, len(step.products), peak * 1024]))
"""


def against_rtl() -> Rows:
    """Return simulated cycles a second of both, on the same product; their counters are equal."""
    name, repeated = LARGEST
    dram = DramTiming(60)
    (program,) = compile_gemm(PAPER, *PRODUCTS[name])
    code, address = program.encode(), program.layout.program_address
    common = {"program_address": address, "timing": dram}
    timing.run(PAPER, code, **common)  # compiles it
    rtl.build(PAPER)
    expected = rtl.run(PAPER, code, np.zeros(program.dram_bytes, np.uint8), **common)
    found = timing.run(PAPER, code, **common)
    wrong = [key for key, value in found.counters.items() if expected.counters[key] != value]
    assert not wrong, f"{name}: {', '.join(wrong)} differ"
    (other,) = compile_gemm(PAPER, *repeated)
    again = timing.run(
        PAPER, other.encode(), program_address=other.layout.program_address, timing=dram
    )
    rate = expected.counters["cycles"] / expected.seconds
    rows: Rows = [(f"RTL on {name}", f"{rate:,.0f} cycles/s", "", None)]
    for what, result in ((name, found), ("x".join(map(str, repeated)), again)):
        fast = result.counters["cycles"] / result.seconds
        rows.append(
            (
                f"timing model on {what}, {result.counters['cycles']:,} cycles",
                f"{fast:,.0f} cycles/s, {fast / rate:,.0f} times the RTL",
                f"{TIMES:,} times",
                None,
            )
        )
    return rows


def steps() -> Rows:
    """Return how long whole LoRA steps of SD 1.5 take, and the memory, each in its own process."""
    rows: Rows = []
    for (reading, batch), goal in STEPS.items():
        done = subprocess.run(
            [sys.executable, "-c", _STEP, reading, str(batch)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        took, cycles, products, peak = json.loads(done.stdout)
        rows.append(
            (
                f"cost of step {reading}, batch {batch}: {products} products, {cycles:,} cycles",
                f"{took:.1f} s, {peak / 1e9:.2f} GB",
                f"{goal} s, 2 GB",
                None,
            )
        )
    return rows
