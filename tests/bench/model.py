"""How fast the timing model is, beside the RTL that it equals, and on whole training steps."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from sim import rtl
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

LATENCY = 60
_RUN = f"""
import json, sys
from hw.isa.config import Config
from sim import timing
from sim.result import DramTiming
from sw.gemm import compile_gemm
config, shape = Config.preset("paper"), map(int, sys.argv[1:])
(program,) = compile_gemm(config, *shape)
runs = [
    timing.run(
        config, program.encode(), program_address=program.layout.program_address,
        timing=DramTiming({LATENCY}),
    )
    for _ in range(3)
]
best = min(runs, key=lambda run: run.seconds)
print(json.dumps(best.counters | {{"seconds": best.seconds}}))
"""
_STEP = """
import json, re, sys, time
from hw.isa.config import Config
from sw.cost import step_cost
from sw.models import load_step
config, reading, batch = Config.preset("paper"), sys.argv[1], int(sys.argv[2])
step_cost(config, load_step("sd15", "kv", 1, 4))  # what is compiled once is compiled
start = time.perf_counter()
step = load_step("sd15", reading, batch, 4)
cost = step_cost(config, step)
took = time.perf_counter() - start
# Of getrusage, the peak of a child is no less than what its parent held when it was started.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
print(json.dumps([took, cost.cycles, len(step.products), peak * 1024]))
"""


def timed(shape: tuple[int, int, int]) -> dict[str, int | float]:
    """Return counters and seconds of a product, from a process that finds compiled code."""
    for _ in range(2):  # the first one may have to compile
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *map(str, shape)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    return json.loads(done.stdout)


def against_rtl() -> Rows:
    """Return simulated cycles a second of both, on the same product; their counters are equal."""
    name, repeated = LARGEST
    (program,) = compile_gemm(PAPER, *PRODUCTS[name])
    rtl.build(PAPER)
    expected = rtl.run(
        PAPER, program.encode(), np.zeros(program.dram_bytes, np.uint8),
        program_address=program.layout.program_address, timing=DramTiming(LATENCY),
    )  # fmt: skip
    found = timed(PRODUCTS[name])
    wrong = [key for key, value in expected.counters.items() if found.get(key, value) != value]
    assert not wrong, f"{name}: {', '.join(wrong)} differ"
    rate = expected.counters["cycles"] / expected.seconds
    rows: Rows = [(f"RTL on {name}", f"{rate:,.0f} cycles/s", "", None)]
    for what, run in ((name, found), ("x".join(map(str, repeated)), timed(repeated))):
        fast = run["cycles"] / run["seconds"]
        rows.append(
            (
                f"timing model on {what}, {run['cycles']:,} cycles",
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
