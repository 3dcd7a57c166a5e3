"""Whole training steps of Stable Diffusion 1.5: cycles, compile time, size of the stream."""

from __future__ import annotations

import json
import subprocess
import sys

from .speed import Rows

__all__ = ["compiled"]

GOALS = {
    ("kv", 1, None, 0): (None, None),
    ("kv", 1, None, 1): (840_000, None),
    ("kv", 1, 51.2, 0): (950_000, None),
    ("xattn", 2, None, 0): (None, 20),
    ("xattn", 2, None, 1): (18_400_000, 20),
    ("unet", 1, None, 0): (None, 180),
}
"""Cycles at most and seconds of compiling at most, by reading, batch, gigabytes a second of DRAM,
None for what the bus takes, and whether drains overlap: the goals without a limit of DRAM are of an
array that does, the preset has a smaller one instead."""
STREAM = 2_000_000
"""Bytes of the instructions of `xattn`, at most, where drains overlap."""

_STEP = """
import json, sys, time
from hw.isa.config import Config
from sim import timing
from sim.result import DramTiming
from sw.graph.compile import compile_step
from sw.models import load_model
reading, batch, gbps, overlap = sys.argv[1], *map(json.loads, sys.argv[2:])
config = Config.preset("paper").replace(drain_overlap=overlap)
if gbps is not None:
    config = config.replace(dram_gbps=gbps)
compile_step(config, load_model("sd15"), reading="kv", rank=4)  # what is compiled once is compiled
start = time.perf_counter()
step = compile_step(config, load_model("sd15"), reading=reading, batch=batch, rank=4)
took = time.perf_counter() - start
cycles = 0
for program in step.programs:
    cycles += timing.run(
        config, program.encode(), program_address=program.layout.program_address,
        timing=DramTiming.of(config),
    ).counters["cycles"]
print(json.dumps([took, cycles, 32 * sum(len(p.instructions) for p in step.programs)]))
"""


def compiled() -> Rows:
    """Yield what each step takes."""
    for (reading, batch, gbps, overlap), (most, seconds) in GOALS.items():
        done = subprocess.run(
            [sys.executable, "-c", _STEP, reading, *map(json.dumps, (batch, gbps, overlap))],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        took, cycles, stream = json.loads(done.stdout)
        dram = "" if gbps is None else f", DRAM {gbps} GB/s"
        name = f"{reading}, batch {batch}{dram}{', drains overlapped' if overlap else ''}"
        goal, met = ("", None) if most is None else (f"<= {most:,}", cycles <= most)
        yield f"{name}: cycles", f"{cycles:,}", goal, met
        goal, met = ("", None) if seconds is None else (f"<= {seconds} s", took <= seconds)
        yield f"{name}: compiling", f"{took:.1f} s", goal, met
        if reading == "xattn":
            goal, met = (f"<= {STREAM:,}", stream <= STREAM) if overlap else ("", None)
            yield f"{name}: instructions", f"{stream:,} bytes", goal, met
