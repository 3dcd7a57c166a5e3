"""Results as rows: for JSON and CSV with stable keys in base units, for people in readable ones."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..models import TrainingStep
from .point import Point
from .run import Result
from .workload import PLAIN

__all__ = [
    "csv_text",
    "front_numbers",
    "json_rows",
    "label",
    "readable",
    "scale",
    "table_rows",
    "title",
]

FIGURES = (
    "cycles", "seconds", "energy_j", "dram_energy_j", "area_um2", "power_w", "macs",
    "dram_read_bytes", "dram_write_bytes",
)  # fmt: skip
PREFIXES = {0: "", -3: "m", -6: "u", -9: "n", -12: "p", 3: "k", 6: "M"}


def json_rows(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Return a row for each result: swept values, status, figures and configuration.

    Figures of a refused result, and the configuration of one that `Config` refuses, are None.
    """
    rows = []
    for result in results:
        point, outcome = result.candidate.point, result.outcome
        figures = {name: getattr(outcome, name) for name in FIGURES}
        config = None if point is None else point.config
        used = None
        if result.done:
            used = outcome.macs / (outcome.cycles * config.macs_per_cycle)
        rows.append(
            {
                "swept": result.candidate.values,
                **_asked(point),
                "status": outcome.status.value,
                "pareto": result.pareto,
                **figures,
                "utilisation": used,
                "error": outcome.error,
                "config": None if config is None else config.to_mapping(),
            }
        )
    return rows


def _asked(point: Point | None) -> dict[str, Any]:
    if point is None:
        return dict.fromkeys(("workload", "reading", "batch", "rank", "dataflow", "objective"))
    step = point.step
    return {
        "workload": step.name, "reading": step.reading, "batch": step.batch, "rank": step.rank,
        "dataflow": point.dataflow, "objective": point.objective,
    }  # fmt: skip


def csv_text(results: Iterable[Result]) -> str:
    """Return `json_rows` as CSV with a header: swept values first, without the configuration."""
    rows = []
    for row in json_rows(results):
        del row["config"]
        row["pareto"] = str(row["pareto"]).lower()
        rows.append(row.pop("swept") | row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def table_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return rows for people: the results with figures, in units that suit the largest."""
    done = [result for result in results if result.done]
    seconds, chip, dram = (
        scale(values, unit)
        for values, unit in (
            ([result.outcome.seconds for result in done], "s"),
            ([result.outcome.energy_j for result in done], "J"),
            ([result.outcome.dram_energy_j for result in done], "J"),
        )
    )
    rows = []
    for result, number in zip(done, front_numbers(done), strict=True):
        outcome = result.outcome
        rows.append(
            {
                "workload": title(result.candidate.point.step),
                **{key: readable(key, value) for key, value in result.candidate.values.items()},
                "cycles": outcome.cycles,
                f"latency {seconds[0]}": outcome.seconds / seconds[1],
                f"chip {chip[0]}": outcome.energy_j / chip[1],
                f"dram {dram[0]}": outcome.dram_energy_j / dram[1],
                "area mm2": outcome.area_um2 / 1e6,
                "power W": outcome.power_w,
                "pareto": number,
            }
        )
    return rows


def title(step: TrainingStep) -> str:
    """Return what a step is, for a heading."""
    if step.name.startswith(PLAIN):
        return step.name
    trained = "full" if step.rank is None else f"rank {step.rank}"
    return f"{step.name}, {step.reading}, batch {step.batch}, {trained}"


def scale(values: Iterable[float], unit: str) -> tuple[str, float]:
    """Return the unit with a prefix, and its size, in which the largest value is 1 to 1000."""
    largest = max(values, default=0.0)
    power = 3 * math.floor(math.log10(largest) / 3) if largest > 0 else 0
    power = min(max(power, min(PREFIXES)), max(PREFIXES))
    return f"{PREFIXES[power]}{unit}", 10.0**power


def readable(key: str, value: int | float | str) -> str:
    """Return a swept value as its user would write it."""
    if key == "dram_gbps" and value == 0:
        return "unlimited"
    if key.endswith("_bytes") and isinstance(value, int):
        for suffix, size in (("M", 1 << 20), ("K", 1 << 10)):
            if value % size == 0:
                return f"{value // size}{suffix}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def label(result: Result, keys: Sequence[str]) -> str:
    """Return a short name of a result: rows x columns, then the other of the swept values."""
    values = {key: result.candidate.values[key] for key in keys}
    config = result.candidate.point.config
    parts = []
    if values.keys() & {"rows", "columns"}:
        values = {key: values[key] for key in values if key not in ("rows", "columns")}
        parts.append(f"{config.rows}\N{MULTIPLICATION SIGN}{config.columns}")
    return ", ".join(parts + [f"{key} {readable(key, value)}" for key, value in values.items()])


def front_numbers(results: Sequence[Result]) -> list[int | None]:
    """Number the results on a front, fastest first, workload by workload; None for the others."""
    workloads = list(dict.fromkeys(each.candidate.point.step for each in results if each.pareto))
    front = sorted(
        (workloads.index(each.candidate.point.step), each.outcome.costs, index)
        for index, each in enumerate(results)
        if each.pareto
    )
    numbers: list[int | None] = [None] * len(results)
    for number, (_, _, index) in enumerate(front, start=1):
        numbers[index] = number
    return numbers
