"""Measure everything and print it, a table a subject."""

from __future__ import annotations

import os
import platform

from rich.console import Console
from rich.table import Table

from hw.emit import emit
from hw.isa.config import Config

from . import rates, speed

SUBJECTS = {
    "the project's own speed": (speed.encoding, speed.generation, speed.simulation),
    "array cycles of products on the 64x64 RTL, DRAM unlimited, latency 1": (rates.products,),
    "DRAM at 64 bytes a cycle, latency 60: all cycles, start to interrupt": (rates.hidden_dram,),
    "switching dataflows on the 64x64 RTL": (rates.switching,),
    "loading and requantising on the 64x64 RTL": (rates.transposing, rates.requantising),
}


def main() -> None:
    console = Console(width=110)
    config = Config.preset("paper")
    emit(Config())  # the first call of Yosys under WebAssembly compiles it
    console.print(
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"{config.rows}x{config.columns}"
    )
    for subject, measures in SUBJECTS.items():
        table = Table("what", "measured", "goal", title=subject, title_justify="left")
        for measure in measures:
            for row in measure():
                table.add_row(*row)
        console.print(table)


if __name__ == "__main__":
    main()
