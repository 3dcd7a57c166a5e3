"""The tables of docs/step.md and its section of the README: ``python docs/fusion_table.py``.

It compiles and times a step with all fusions, with each one off and with none, which takes some
minutes a step. A test holds the tables to what is said of them, another one, nightly, to the code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hw.isa.config import Config
from sim.result import DramTiming
from sw.compare.analytic import analytic_cost
from sw.compare.text import bandwidth
from sw.cost import step_cost
from sw.graph.compile import compile_step
from sw.graph.figures import step_figures, time_figures
from sw.graph.fusions import Fusions
from sw.graph.program import StepProgram
from sw.graph.timing import time_step
from sw.markdown import table
from sw.models import load_model, load_step
from sw.models.layers import Model
from sw.parallel import spread
from sw.prices import Prices

PAGE = Path(__file__).parent / "step.md"
README = PAGE.parent.parent / "README.md"
MARK = re.compile(r"(<!-- (\w+) from docs/fusion_table\.py -->).*?<!-- end -->", re.DOTALL)
PAPER = Config.preset("paper")
RANK = 4
SWITCHES = ["all", *(f"-{name}" for name in Fusions.names()), "none"]
COUNTED = ("cycles", "programs", "product_count", "dram_read_bytes", "dram_write_bytes",
           "instruction_bytes")  # fmt: skip
GROWS = {
    "-stream": ("product_count",),
    "-low-rank": ("product_count", "dram_read_bytes"),
    "-update": ("product_count", "dram_write_bytes"),
    "-sum-dx": ("product_count", "dram_write_bytes"),
    "-drain": ("programs",),
    "-heads": ("programs", "product_count"),
    "none": ("programs", "product_count", "dram_write_bytes"),
}
"""What each fusion saves, by how it is written where it is off."""
SLOWER = ("-stream", "-low-rank", "-sum-dx", "-drain", "-heads", "none")
"""What costs cycles on the page: what `update` saves is the work of the host."""


@dataclass(frozen=True)
class Task:
    """A step that the tables are about, of SD 1.5."""

    reading: str
    batch: int

    def __str__(self) -> str:
        return f"{self.reading}, batch {self.batch}"


TASKS = (Task("kv", 1), Task("xattn", 2))
LIMITED = 51.2
"""GB/s at which kv is timed, too."""
Measured = Mapping[str, Mapping[str, Any]]
"""Figures of a step, by how fusions are written."""


def measure(config: Config, model: Model, task: Task, fusions: str) -> dict[str, Any]:
    """Return the figures of a step with some fusions: those of `figures_of`."""
    step = compile_step(
        config, model, reading=task.reading, batch=task.batch, rank=RANK,
        fusions=Fusions.parse(fusions),
    )  # fmt: skip
    return figures_of(step, limited=fusions == "all")


def figures_of(step: StepProgram, *, limited: bool = False) -> dict[str, Any]:
    """Return the figures of a step.

    They are those of `step_figures` and `time_figures` with `product_count`, and with `limited`
    also `limited_cycles`, those at `LIMITED` GB/s.
    """
    figures = step_figures(step) | time_figures(step, time_step(step))
    names = {(program.name, span.name) for program in step.programs for span in program.products}
    figures["product_count"] = len(names)
    if limited:
        slow = DramTiming.of(step.config.replace(dram_gbps=LIMITED))
        results = time_step(step, slow)
        figures["limited_cycles"] = sum(result.counters["cycles"] for result in results)
    return figures


def broken(found: Measured) -> list[str]:
    """Return what `GROWS` says and a step's figures do not bear out."""
    return [
        f"{fusions}: {name} {found[fusions][name]:,}, {found['all'][name]:,} with all fusions"
        for fusions, names in GROWS.items()
        for name in names
        if fusions in found and not found[fusions][name] > found["all"][name]
    ]


def switches(task: Task) -> list[str]:
    """Return the fusions that are switched in a step: without modules there are no heads."""
    return [each for each in SWITCHES if each != "-heads" or task.reading != "kv"]


def fusion_table(found: Mapping[Task, Measured]) -> str:
    """Return the table of fusions, the steps below one another."""
    rows = []
    for task, measured in found.items():
        for fusions, figures in measured.items():
            ratio = figures["cycles"] / measured["all"]["cycles"]
            numbers = (f"{figures[name]:,}" for name in COUNTED)
            rows.append([str(task), f"`{fusions}`", *numbers, f"{ratio:.3f}"])
    headings = [
        "step", "`--fusions`", "cycles", "programs", "products", "DRAM read",
        "written", "instructions, bytes", "of `all`",
    ]  # fmt: skip
    return table(headings, rows, words=2)


def gap_table(found: Mapping[Task, Measured]) -> str:
    """Return cycles, ideal and what is between by kind of program and of product."""
    rows = []
    for task, measured in found.items():
        total = [0.0] * 5
        names = "cycles", "ideal_cycles", "gap_cycles", "fold_cycles"
        for row in measured["all"]["parts"]:
            if row["cycles"]:
                numbers = [row[name] for name in names]
                numbers.append(row["gap_cycles"] - row["fold_cycles"])
                total = [a + b for a, b in zip(total, numbers, strict=True)]
                rows.append([str(task), row["program"], row["product"], *map(_rounded, numbers)])
        rows.append([str(task), "**all**", "", *map(_rounded, total)])
    headings = ["step", "program", "product", "cycles", "ideal", "gap", "folds", "waits"]
    return table(headings, rows, words=3)


def _rounded(number: float) -> str:
    return f"{round(number):,}"


@dataclass(frozen=True)
class Baselines:
    """Millions of cycles of a step computed product by product: under models, and as programs."""

    models: Mapping[str, float]
    ours: float


def models(task: Task) -> dict[str, float]:
    """Return millions of cycles under the models that need no program."""
    lora = load_step("sd15", task.reading, task.batch, RANK)
    return {
        name: analytic_cost(PAPER, name, lora, "auto").cycles / 1e6
        for name in ("ideal", "overlap", "scalesim")
    }


def baselines(task: Task, spread_map: Callable = map) -> Baselines:
    """Return what a step takes product by product."""
    lora = load_step("sd15", task.reading, task.batch, RANK)
    ours = step_cost(PAPER, lora, prices=Prices(PAPER, spread=spread_map))
    return Baselines(models(task), ours.cycles / 1e6)


def figure_table(found: Mapping[Task, Measured], others: Mapping[Task, Baselines]) -> str:
    """Return millions of cycles: of models, of ours product by product, and of whole steps."""
    rows = []
    for task, measured in found.items():
        other = others[task]
        whole = measured["all"]["cycles"] / 1e6
        limited = measured["all"]["limited_cycles"] / 1e6
        none = measured["none"]["cycles"] / 1e6
        numbers = [*other.models.values(), other.ours, none, whole, limited]
        rows.append([str(task), *(f"{each:.3f}" for each in numbers)])
    headings = [
        "step", "ideal", "`overlap`", "`scalesim`", "product by product", "`--fusions none`",
        "**whole step**", f"at {bandwidth(LIMITED)}",
    ]  # fmt: skip
    return table(headings, rows, words=1)


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    """Return a page with its tables replaced, by the names in their marks."""
    return MARK.sub(lambda match: f"{match[1]}\n\n{tables[match[2]]}\n\n<!-- end -->", page)


def rows_of(page: str, name: str) -> list[list[str]]:
    """Return the cells of a page's table, without its headings."""
    text = next(match[0] for match in MARK.finditer(page) if match[2] == name)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def written(page: str) -> dict[str, dict[str, dict[str, int]]]:
    """Return the figures of the page's table of fusions, by step and fusions."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for step, fusions, *numbers, _ in rows_of(page, "fusions"):
        values = (int(number.replace(",", "")) for number in numbers)
        found.setdefault(step, {})[fusions.strip("`")] = dict(zip(COUNTED, values, strict=True))
    return found


def results(spread_map: Callable = map) -> dict[Task, dict[str, dict[str, Any]]]:
    """Return the figures of all steps with all fusions and without."""
    model = load_model("sd15")
    works = [(task, fusions) for task in TASKS for fusions in switches(task)]
    found: dict[Task, dict[str, dict[str, Any]]] = {task: {} for task in TASKS}
    measured = spread_map(partial(_measured, model), works)
    for (task, fusions), figures in zip(works, measured, strict=True):
        found[task][fusions] = figures
    return found


def _measured(model: Model, work: tuple[Task, str]) -> dict[str, Any]:
    return measure(PAPER, model, *work)


def tables(found: Mapping[Task, Measured], others: Mapping[Task, Baselines]) -> dict[str, str]:
    """Return the tables by the names in their marks."""
    return {
        "figures": figure_table(found, others),
        "fusions": fusion_table(found),
        "gaps": gap_table(found),
    }


def write(found: Mapping[Task, Measured], others: Mapping[Task, Baselines]) -> None:
    """Write the tables of the page and of the README."""
    made = tables(found, others)
    for path in (PAGE, README):
        path.write_text(with_tables(path.read_text(encoding="utf-8"), made), encoding="utf-8")


if __name__ == "__main__":
    with spread() as side_by_side:
        write(results(side_by_side), {task: baselines(task, side_by_side) for task in TASKS})
