"""Write tables of docs/table1.md, docs/flexibility.md and README: ``python docs/silicon_pages.py``.

Areas, periods and prices of events are those of `sim/data/silicon.json`; steps are compiled and
timed for each design, which takes some minutes; ``--recorded`` leaves tables of steps as they are.
Tests hold the pages to the file, and nightly to the steps.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from silicon_goals import goals_table

from sim.activity import Activity, activity
from sim.area import area
from sim.energy import energy, full_use
from sim.silicon import Chip, Element, silicon
from sim.synth.design import DERATE
from sw.graph.compile import compile_step
from sw.graph.fusions import Fusions
from sw.graph.timing import time_step
from sw.markdown import table
from sw.models import load_model
from sw.parallel import spread

FOLDER = Path(__file__).parent
PAGES = [FOLDER / "table1.md", FOLDER / "flexibility.md", FOLDER.parent / "README.md"]
MARK = re.compile(r"(<!-- (\w+) from docs/silicon_pages\.py -->).*?<!-- end -->", re.DOTALL)
RANK = 4
STEPS = {"kv": 1, "xattn": 2}
"""Steps of SD 1.5 and their batches."""
ARRAYS = {
    "paper": "WS and OS",
    "overlap": "WS and OS, drains overlapped",
    "ws_only": "WS only",
    "os_only": "OS only",
    "os_only_overlap": "OS only, drains overlapped",
}
"""Designs of the page on flexibility, and what it calls them."""
FUSIONS = ("all", "-update")
"""A step is compiled with each, and the one of fewer cycles counts."""
CANNOT = {"ws_only": "all"}
"""What a design cannot do: sums of a fused update are longer than a fold, which only OS scales."""
OURS = {
    "paper": "ours",
    "overlap": "drains overlapped",
    "fast": "product register",
    "four": "4 MACs a PE",
}
"""Designs of Table I."""
AT_400 = ("paper", "overlap", "four")
"""Those of the README, and whose whole step is timed."""
WHOLE = "xattn"
"""The step whose power stands beside that of full use."""
DRAM = ("LPDDR4, least", "LPDDR4, most")
"""Classes of DRAM whose energy stands beside the chip's."""
PAPER_CLOCK = 400
PAPER_ROW = (
    "CDM-QTA, as published",
    "45 nm",
    "-",
    "400",
    "15.07",
    "3.49",
    "3.28",
    "0.94\\*",
    "0.94\\*",
    "0.22",
)
"""Of the paper's Table I; TOPS from 4096 MACs at that clock, W from TOPS over TOPS/W. It does not
say what its power holds, so that stands in both columns, with a note under the tables."""


@dataclass(frozen=True)
class Run:
    """A step on a design at the paper's clock.

    Members
    -------
    fusions : str
        One of `FUSIONS`.
    cycles, macs : int
    joules, joules_zero_delay : float
        On the chip: all that is charged, loads and stores included, with and without glitches.
    dram : mapping of str to float
        Joules of DRAM, which are not among them, by its class.
    """

    fusions: str
    cycles: int
    macs: int
    joules: float
    joules_zero_delay: float
    dram: Mapping[str, float]

    def seconds(self, clock_mhz: float) -> float:
        """Return the time it takes."""
        return self.cycles / (clock_mhz * 1e6)


def clocks(chip: Chip) -> tuple[float, float]:
    """Return the fastest clock of a design in MHz, and with the derate."""
    return 1e3 / chip.period_ns, 1e3 / (chip.period_ns * DERATE)


def table1() -> str:
    """Return the paper's Table I with ours."""
    rows: list[Sequence[str]] = [PAPER_ROW]
    for name, called in OURS.items():
        chip = silicon().chips[name]
        best, derated = clocks(chip)
        at = [(PAPER_CLOCK, "the paper's clock"), (best, "best clock"),
              (derated, f"best clock / {DERATE:g}")]  # fmt: skip
        rows += [_row(chip, f"{called}, {what}", mhz) for mhz, what in at]
    return table(
        ("design", "technology", "V", "MHz", "mm2", "W, WS / OS", "TOPS",
         "TOPS/W zero-delay, WS / OS", "TOPS/W timed, WS / OS", "TOPS/mm2"),
        rows,
    )  # fmt: skip


def _row(chip: Chip, called: str, mhz: float) -> Sequence[str]:
    config, mm2 = chip.config, area(chip.config).total
    uses = [full_use(config, dataflow) for dataflow in config.dataflows]
    tops = 2 * config.macs_per_cycle * mhz * 1e-6
    watts = [use.power(mhz) for use in uses]
    settled = [use.power(mhz, timed=False) for use in uses]
    best, derated = clocks(chip)
    slow = "" if mhz <= derated or mhz > PAPER_CLOCK else f" (derated: {derated:.0f} MHz)"
    slow = slow if mhz <= best else " (its paths allow less)"
    return (
        called + slow, "45 nm", "1.1", f"{mhz:.0f}", f"{mm2:.2f}", _pair(watts), f"{tops:.2f}",
        _pair(tops / each for each in settled), _pair(tops / each for each in watts),
        f"{tops / mm2:.3f}",
    )  # fmt: skip


def _pair(values: Iterable[float]) -> str:
    return " / ".join(f"{value:.2f}" for value in values)


def summary_table() -> str:
    """Return the rows of Table I at the paper's clock."""
    rows = [(PAPER_ROW[0], *PAPER_ROW[3:5], *PAPER_ROW[7:])]
    for name in AT_400:
        made = _row(silicon().chips[name], OURS[name], PAPER_CLOCK)
        rows.append((made[0], *made[3:5], *made[7:]))
    heading = ("design", "MHz", "mm2", "TOPS/W zero-delay, WS / OS", "TOPS/W timed, WS / OS",
               "TOPS/mm2")  # fmt: skip
    return table(heading, rows)


def units_table() -> str:
    """Return area and period of each unit of the designs of Table I."""
    chips = {name: silicon().chips[name] for name in OURS}
    units = silicon().chips["paper"].units
    rows = [
        (unit, *(f"{chip.units[unit].area_um2 * 1e-6:.3f} / {chip.units[unit].period_ns:.2f}"
                 for chip in chips.values()))
        for unit in units
    ]  # fmt: skip
    found = [area(chip.config) for chip in chips.values()]
    rows.append(("memories", *(f"{each.memories:.3f}" for each in found)))
    rows.append(("all", *(f"{each.total:.2f} / {chip.period_ns:.2f}"
                          for each, chip in zip(found, chips.values(), strict=True))))  # fmt: skip
    return table(("mm2 / ns", *OURS.values()), rows)


def limits_table() -> str:
    """Return what bounds the clock of each design."""
    rows = []
    for name, called in OURS.items():
        chip = silicon().chips[name]
        best, derated = clocks(chip)
        rows.append((called, f"{chip.period_ns:.3f}", f"{best:.0f}", f"{derated:.0f}",
                     f"`{chip.start}`", f"`{chip.end}`"))  # fmt: skip
    heading = ("design", "ns", "MHz", f"MHz / {DERATE:g}", "longest path from", "to")
    return table(heading, rows)


def arrays_table() -> str:
    """Return what elements of each dataflow take."""
    rows = []
    for name, called in ARRAYS.items():
        chip = silicon().chips[name]
        element: Element = silicon().element(chip.config)
        macs = [
            (f"{price.zero_delay:.3f}", f"{price.timed:.3f}") if price.timed else ("-", "-")
            for price in (element.mac_ws, element.mac_os)
        ]
        cells = [cell for pair in macs for cell in pair]
        rows.append(
            (called, f"{element.area_um2:.0f}", f"{element.period_ns:.2f}", *cells,
             f"{chip.units['elements'].area_um2 * 1e-6:.2f}", f"{area(chip.config).total:.2f}",
             f"{chip.period_ns:.2f}")
        )  # fmt: skip
    heading = ("array", "um2 a PE", "ns of a PE", "pJ a MAC, WS, zero-delay", "timed",
               "OS, zero-delay", "timed", "mm2 of elements", "mm2 in all",
               "ns in all")  # fmt: skip
    return table(heading, rows)


def steps_table(found: Mapping[str, Mapping[str, Run]]) -> str:
    """Return what each design wins on whole steps."""
    rows = []
    for step, batch in STEPS.items():
        first = found["paper"][step]
        mm2_first = area(silicon().chips["paper"].config).total
        for name, called in ARRAYS.items():
            run, mm2 = found[name][step], area(silicon().chips[name].config).total
            seconds = run.seconds(PAPER_CLOCK)
            product, first_product = run.joules * seconds, first.joules * first.seconds(PAPER_CLOCK)
            effective = 2e-12 * run.macs / seconds / mm2
            of = 2e-12 * first.macs / first.seconds(PAPER_CLOCK) / mm2_first
            rows.append(
                (f"{step}, batch {batch}", called, f"`{run.fusions}`", f"{run.cycles:,}",
                 f"{run.cycles / first.cycles:.3f}", f"{run.joules * 1e3:.3f}",
                 f"{product / first_product:.3f}", f"{effective:.4f}", f"{effective / of:.3f}")
            )  # fmt: skip
    heading = ("step", "array", "fusions", "cycles", "of the first", "mJ on the chip",
               "EDP, of the first", "effective TOPS/mm2", "of the first")  # fmt: skip
    return table(heading, rows, words=3)


def measure(work: tuple[str, str]) -> Run:
    """Compile and time a step of SD 1.5 for a recorded design, as it takes the fewest cycles."""
    name, step = work
    runs = [_run(name, step, each) for each in FUSIONS if each != CANNOT.get(name)]
    return min(runs, key=lambda run: run.cycles)


def _run(name: str, step: str, fusions: str) -> Run:
    config = silicon().chips[name].config
    made = compile_step(
        config, load_model("sd15"), reading=step, batch=STEPS[step], rank=RANK,
        fusions=Fusions.parse(fusions),
    )  # fmt: skip
    cycles = sum(result.counters["cycles"] for result in time_step(made))
    events = sum((activity(config, p.instructions) for p in made.programs), Activity())
    macs = sum(program.macs for program in made.programs)
    spent = energy(config, events, cycles)
    return Run(fusions, cycles, macs, spent.chip, spent.chip_zero_delay, spent.dram)


def whole_table(found: Mapping[str, Mapping[str, Run]]) -> str:
    """Return the power of a whole step beside that of full use, at the paper's clock."""
    rows = [(PAPER_ROW[0], *PAPER_ROW[5:8:2], "-", "-", "-", "-", "-")]
    for name in AT_400:
        chip, run = silicon().chips[name], found[name][WHOLE]
        config, seconds = chip.config, run.seconds(PAPER_CLOCK)
        uses = [full_use(config, dataflow) for dataflow in config.dataflows]
        full = [use.power(PAPER_CLOCK) for use in uses]
        tops = 2e-12 * config.macs_per_cycle * PAPER_CLOCK * 1e6
        work = 2e-12 * run.macs
        rows.append(
            (OURS[name], _pair(full), _pair(tops / watts for watts in full),
             f"{run.macs / (run.cycles * config.macs_per_cycle):.3f}",
             f"{run.joules / seconds:.2f}", f"{work / run.joules_zero_delay:.2f}",
             f"{work / run.joules:.2f}",
             " to ".join(f"{run.dram[kind] / seconds:.2f}" for kind in DRAM))
        )  # fmt: skip
    heading = ("at 400 MHz", "W, full use, WS / OS", "TOPS/W, WS / OS", "utilisation",
               "W, step", "TOPS/W zero-delay", "TOPS/W timed", "W of DRAM beside")  # fmt: skip
    return table(heading, rows)


def works() -> list[tuple[str, str]]:
    """Return designs and the steps that are compiled and timed on them."""
    listed = [(name, step) for step in STEPS for name in ARRAYS]
    return listed + [(name, WHOLE) for name in AT_400 if name not in ARRAYS]


def measured(spread_map: Callable = map) -> dict[str, dict[str, Run]]:
    """Return all steps on all designs."""
    found: dict[str, dict[str, Run]] = {name: {} for name, _ in works()}
    for (name, step), run in zip(works(), spread_map(measure, works()), strict=True):
        found[name][step] = run
    return found


def step_tables(found: Mapping[str, Mapping[str, Run]]) -> dict[str, str]:
    """Return the tables of what `measured` returns, by the names in their marks."""
    return {"steps": steps_table(found), "whole": whole_table(found)}


def recorded_tables() -> dict[str, str]:
    """Return the tables that need no step, by the names in their marks."""
    return {
        "table1": table1(), "units": units_table(), "limits": limits_table(),
        "arrays": arrays_table(), "summary": summary_table(), "goals": goals_table(OURS),
    }  # fmt: skip


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    """Return a page with some of its tables made anew."""

    def section(match: re.Match[str]) -> str:
        made = tables.get(match[2])
        return match[0] if made is None else f"{match[1]}\n\n{made}\n\n<!-- end -->"

    return MARK.sub(section, page)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recorded", action="store_true", help="leave tables of steps")
    tables = recorded_tables()
    if not parser.parse_args().recorded:
        with spread() as side_by_side:
            tables |= step_tables(measured(side_by_side))
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        path.write_text(with_tables(text, tables), encoding="utf-8")
