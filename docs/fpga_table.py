"""The table of FPGAs in docs/synthesis.md: ``python docs/fpga_table.py``.

It maps two accelerators to each family, which takes a quarter of an hour. A test holds the table to
what is said of it, another one, nightly, to the code.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

from hw.isa.config import Config
from sim.synth.fpga import TARGETS, estimate

__all__ = ["CASES", "PAGE", "measure", "rows_of", "with_table"]

PAGE = Path(__file__).parent / "synthesis.md"
CASES = {
    "8x8": Config.preset("small").replace(rows=8, columns=8),
    "16x16": Config.preset("small"),
}
"""The preset `small`, and a quarter of its array."""
_MARK = re.compile(r"(<!-- from docs/fpga_table\.py -->).*?<!-- end -->", re.DOTALL)
_HEADING = ("array", "target", "LUTs", "as memory", "carry cells", "flip-flops", "DSPs", "BRAMs")

Row = dict[str, str | int]


def measure() -> list[Row]:
    """Return a row for each accelerator and family, by the names of `_HEADING`."""
    found = []
    for name, config in CASES.items():
        for target in TARGETS:
            resources = asdict(estimate(config, "top", target).total)
            values = (name, f"`{target}`", *resources.values())
            found.append(dict(zip(_HEADING, values, strict=True)))
    return found


def with_table(page: str, rows: list[Row]) -> str:
    """Return the text of the page with its table made anew."""
    lines = [f"| {' | '.join(_HEADING)} |", "|---|---" + "|--:" * (len(_HEADING) - 2) + "|"]
    lines += ["| " + " | ".join(map(_text, row.values())) + " |" for row in rows]
    text = "\n".join(lines)
    return _MARK.sub(lambda match: f"{match[1]}\n\n{text}\n\n<!-- end -->", page)


def rows_of(page: str) -> list[Row]:
    """Return the rows of the table that is on the page."""
    lines = _MARK.search(page)[0].splitlines()[4:-2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [
        dict(zip(_HEADING, (*row[:2], *(int(n.replace(",", "")) for n in row[2:])), strict=True))
        for row in rows
    ]


def _text(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(), measure()))
