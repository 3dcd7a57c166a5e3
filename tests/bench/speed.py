"""How fast the project itself is: encoding, generation, building and running simulations."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hw.isa.config import Config
from hw.isa.encoding import decode, encode
from sw.demo import SHAPE
from sw.layer import compile_layer

__all__ = ["encoding", "generation", "simulation", "synthesis"]

ENCODINGS = 100_000

Rows = list[tuple[str, str, str, bool | None]]
"""As in `rates`. Seconds depend on the machine: they are shown beside their goal, not judged."""


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def command(*arguments: str, cache: Path) -> None:
    """Run the command line in a process of its own, with its own cache of built simulations."""
    environment = os.environ | {"CDMQTA_CACHE": str(cache)}
    subprocess.run(
        [sys.executable, "-m", "sw", *arguments], env=environment, check=True, capture_output=True
    )


def generation() -> Rows:
    """Measure Verilog generation of the 64x64 accelerator, in a process, and its lint."""
    from sim.toolchain import find_verilator

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        took = seconds(lambda: command("generate", "--preset", "paper", "-o", name, cache=folder))
        verilog = folder / "cdmqta.v"
        tool = find_verilator()
        lint = subprocess.run(
            [str(tool.executable), "--lint-only", "-Wall", "--top-module", "cdmqta", str(verilog)],
            env=os.environ | tool.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        size = verilog.stat().st_size
    complaints = sum("%Warning" in line or "%Error" in line for line in lint.stderr.splitlines())
    return [
        ("generate --preset paper", f"{took:.1f} s", "20 s", None),
        ("Verilog of it", f"{size / 1e6:.2f} MB", "3 MB", size <= 3e6),
        ("verilator --lint-only -Wall", f"{complaints} messages", "0", complaints == 0),
    ]


def synthesis() -> Rows:
    """Measure `cdmqta synth` of the 64x64 accelerator where nothing is kept but the library."""
    from sim.synth.library import LibraryError, library_file

    try:
        liberty = str(library_file(None))
    except LibraryError as error:
        return [("synth --preset paper", f"skipped: {error}", "300 s", None)]
    arguments = ("synth", "--preset", "paper", "--liberty", liberty)
    with tempfile.TemporaryDirectory() as name:
        cold = seconds(lambda: command(*arguments, cache=Path(name)))
        warm = seconds(lambda: command(*arguments, cache=Path(name)))
    return [
        ("synth --preset paper, cold", f"{cold:.0f} s", "300 s", None),
        ("synth --preset paper, warm", f"{warm:.0f} s", "", None),
    ]


def encoding() -> Rows:
    """Measure how many instructions a second are encoded and decoded."""
    instructions = compile_layer(Config.preset("paper"), **SHAPE).program.instructions
    many = (instructions * (ENCODINGS // len(instructions) + 1))[:ENCODINGS]
    took = seconds(lambda: [encode(each) for each in many])
    words = [encode(each) for each in many[:10_000]]
    back = seconds(lambda: [decode(word) for word in words])
    compiled = seconds(lambda: compile_layer(Config.preset("paper"), **SHAPE))
    return [
        ("encode", f"{len(many) / took:,.0f} instructions/s", "100,000", None),
        ("decode", f"{len(words) / back:,.0f} instructions/s", "", None),
        ("compile the demo's site", f"{compiled:.2f} s", "", None),
    ]


def simulation() -> Rows:
    """Measure the demo on the 64x64 RTL, cold and warm, and its parts."""
    import json

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = folder / "figures.json"
        arguments = ("demo", "--json", str(figures))
        cold = seconds(lambda: command(*arguments, cache=folder))
        warm = seconds(lambda: command(*arguments, cache=folder))
        run = json.loads(figures.read_text())
    speed = run["cycles"] / run["seconds"]
    return [
        ("demo, cold", f"{cold:.0f} s", "240 s", None),
        ("demo, warm", f"{warm:.1f} s", "60 s", None),
        ("64x64 build for cocotb (cold - warm)", f"{cold - warm:.0f} s", "150 s", None),
        ("64x64 under cocotb", f"{speed:,.0f} cycles/s", "2,000", None),
        ("demo, whole program", f"{run['cycles']:,} cycles", "", None),
        ("demo, utilisation", f"{run['utilisation']:.3f}", "", None),
        ("demo, bit for bit", "yes" if run["exact"] else "NO", "yes", run["exact"]),
    ]
