"""Measure everything and print it, a table a subject; exit code 1 if a goal is missed."""

from __future__ import annotations

import os
import platform
import sys

from rich.console import Console
from rich.table import Table

from hw.emit import emit
from hw.isa.config import Config

from . import choice, model, rates, speed, step, train

MARKS = {True: "yes", False: "NO", None: ""}
SUBJECTS = {
    "the project's own speed": (
        speed.encoding,
        speed.generation,
        speed.simulation,
        speed.synthesis,
    ),
    "choosing tilings": (choice.decisions,),
    "whole training steps": (step.compiled,),
    "training in integers: CPU time of a layer": (train.layers,),
    "the timing model": (model.against_rtl, model.steps),
    "array cycles of products on the 64x64 RTL, DRAM unlimited, latency 1": (rates.products,),
    "DRAM at 64 bytes a cycle, latency 60: all cycles, start to interrupt": (rates.hidden_dram,),
    "switching dataflows on the 64x64 RTL": (rates.switching,),
    "loading and requantising on the 64x64 RTL": (rates.transposing, rates.requantising),
}


def main() -> int:
    """Return the exit code."""
    console = Console(width=110)
    config = Config.preset("paper")
    emit(Config())  # the first call of Yosys under WebAssembly compiles it
    console.print(
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"{config.rows}x{config.columns}"
    )
    missed = []
    for subject, measures in SUBJECTS.items():
        table = Table("what", "measured", "goal", "met", title=subject, title_justify="left")
        for measure in measures:
            for what, measured, goal, met in measure():
                table.add_row(what, measured, goal, MARKS[met])
                if met is False:
                    missed.append(what)
        console.print(table)
    for what in missed:
        print(f"goal missed: {what}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
