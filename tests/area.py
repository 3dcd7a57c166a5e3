"""What transposed loads cost: ``python -m tests.area [preset]`` prints estimated transistors.

Yosys maps each unit to NAND, NOR and NOT gates of two inputs and simple flip-flops, and counts the
transistors of static CMOS. Memories are left out and listed with their bits. The numbers compare
units; they are no prediction of silicon.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.emit import convert_all
from hw.isa.config import Config
from hw.load import LoadEngine
from hw.pe import ProcessingElement
from hw.shared import Builder
from hw.sram import verilog
from hw.transpose import Transpose
from sim.toolchain import yosys_environment

SCRIPT = """
read_verilog -lib memories.v
read_verilog unit.v
synth -flatten -noabc -top unit
dfflegalize -cell $_DFF_P_ 01
abc -g cmos2
opt_clean
tee -q -o report.txt stat -tech cmos
"""


@dataclass(frozen=True)
class Area:
    """Transistors of a unit's gates and flip-flops, and how often it uses each memory."""

    transistors: int
    memories: Counter[str]
    bits: int


def measure(unit: Any, builder: Builder) -> Area:
    """Return the area of a unit.

    Raises
    ------
    RuntimeError
        Yosys failed, or met a cell whose transistors it does not know.
    """
    text = "\n".join(convert_all(unit, "unit", builder).values())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "unit.v").write_text(text)
        models = [verilog(macro) for macro in builder.memories.values()]
        (folder / "memories.v").write_text("\n".join(models))
        # Yosys under WebAssembly has a /tmp of its own, so files are named relative to its folder.
        (folder / "area.ys").write_text(SCRIPT)
        program = os.environ.get("YOSYS", "yosys")
        done = subprocess.run(
            [program, "-q", "-s", "area.ys"], cwd=folder, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"yosys: {(done.stderr or done.stdout).strip()[-500:]}")
        report = (folder / "report.txt").read_text()
    memories: Counter[str] = Counter()
    bits = 0
    for macro in builder.memories.values():
        count = int(_found(rf"^\s+(\d+)\s+(?:\S+\s+)?{macro.name}$", report))
        memories[macro.name] = count
        bits += count * macro.depth * macro.width
    return Area(int(_found(r"number of transistors:\s+(\d+)", report)), memories, bits)


def _found(pattern: str, report: str) -> str:
    match = re.search(pattern, report, re.MULTILINE)
    if match is None:
        raise RuntimeError(f"yosys counts otherwise than expected: no {pattern!r} in\n{report}")
    return match[1]


def areas(config: Config) -> dict[str, Area]:
    """Return the areas of an element, of the transposer, and of the load engine with it."""
    element = measure(ProcessingElement(config), Builder(emit=True, share=False))
    builder = Builder(emit=True)
    transposer = measure(Transpose(config.bus_bytes, config.transpose_columns, builder), builder)
    builder = Builder(emit=True)
    return {
        "element": element,
        "transposer": transposer,
        "load engine": measure(LoadEngine(config, builder), builder),
    }


def main(preset: str = "paper") -> None:
    """Print the areas for a preset, and their shares of the array's."""
    config = Config.preset(preset)
    found = areas(config)
    elements = config.rows * config.columns
    array = elements * found["element"].transistors
    load, transposer = found["load engine"], found["transposer"]
    rows = [
        ("element", found["element"].transistors),
        (f"{elements} elements", array),
        ("transposer", transposer.transistors),
        ("load engine without it", load.transistors - transposer.transistors),
    ]
    print(f"{preset}: {config.rows}x{config.columns}, bus of {config.bus_bytes} bytes")
    for name, transistors in rows:
        print(f"{name:24}{transistors:14,} transistors{transistors / array:10.3%} of the elements")
    bits = 8 * config.transpose_columns**2
    print(f"the transposer's words are registers, {bits:,} bits in all")


if __name__ == "__main__":
    yosys_environment()
    main(*sys.argv[1:])
