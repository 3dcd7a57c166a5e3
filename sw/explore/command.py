"""``cdmqta explore``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hw.isa.config import Config

from ..console import Report
from ..dataflow import CHOICES
from ..options import OutputFile, config_options, dram_values
from ..plotting import FigureFile
from ..program_file import write_files
from ..tile_search import GOALS
from .cluster import cluster
from .evaluate import evaluate
from .local import processes
from .plot import draw
from .point import ExploreError
from .rows import csv_text, json_rows, readable, table_rows
from .run import Result, explore
from .store import Store
from .sweep import Candidate, Plan, grid, parse_axis, read_axes
from .workload import workload_options

__all__ = ["explore_command"]


@click.command("explore")
@workload_options
@config_options("paper")
@click.option(
    "--sweep", "sweeps", multiple=True, metavar="KEY=VALUE,...",
    help="Values of one key, or of several set alike (rows=columns=16,32); repeatable.",
)  # fmt: skip
@click.option("--sweep-file", metavar="FILE.toml", help="The same as lists: rows = [16, 32].")
@click.option("--dataflow", type=click.Choice(CHOICES), default="auto", show_default=True)
@click.option(
    "--objective", type=click.Choice(GOALS), default="latency", show_default=True,
    help="What dataflows are chosen for.",
)  # fmt: skip
@click.option("--dram-gbps", metavar="X|unlimited", help="DRAM bandwidth; as --set dram_gbps=X.")
@click.option("--dram-latency", type=int, metavar="CYCLES")
@click.option(
    "--database", default="explore.sqlite", show_default=True, type=OutputFile(), metavar="FILE",
    help="Where finished points are kept, and found again.",
)  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), help="Processes; as many as cores by default.")
@click.option("--scheduler", metavar="ADDRESS", help="Compute on a Dask cluster instead.")
@click.option(
    "--plot", type=FigureFile(), metavar="FILE.svg|png", help="Latency, energy and area as a plot."
)
@click.option("--csv", "csv_file", type=OutputFile(), metavar="FILE", help="The rows as CSV.")
def explore_command(
    config: Config,
    report: Report,
    workload: Any,
    sweeps: tuple[str, ...],
    sweep_file: str | None,
    database: str,
    plot: str | None,
    csv_file: str | None,
    **options: Any,
) -> None:
    """Sweep configurations against WORKLOAD: a model (sd15), gemm:MxKxN or lora:NxD1xD2:rR.

    Prints a row for each point, and which are on the Pareto front of latency, energy (chip and
    DRAM) and area. Points that are in the database already are not computed again.
    """
    outputs = {"--plot": plot, "--csv": csv_file, "--database": database}
    report.keep_clear(outputs, (sweep_file,))
    axes = [parse_axis(text) for text in sweeps]
    if sweep_file is not None:
        axes += read_axes(sweep_file)
    config = config.replace(**dram_values(options["dram_gbps"], options["dram_latency"]))
    candidates = grid(axes, Plan(config, workload, options["dataflow"], options["objective"]))
    _some_left(candidates, [each.refused for each in candidates])
    with _runner(options["jobs"], options["scheduler"]) as run, Store(Path(database)) as store:
        with _bar() as show:
            results = explore(candidates, store, run, show)
    _some_left(candidates, [result.outcome.error for result in results])
    files = {}
    if plot is not None:
        keys = [key for axis in axes for key in axis.keys]
        files[Path(plot)] = draw(results, keys, Path(plot).suffix)
    if csv_file is not None:
        files[Path(csv_file)] = csv_text(results).encode()
    write_files(files)
    _print(report, results)
    for path in files:
        report.line(f"written: {path}")
    report.json({"database": database, "points": json_rows(results)})


def _some_left(candidates: Sequence[Candidate], reasons: Sequence[str | None]) -> None:
    """Refuse a grid without any point that can be computed."""
    if None not in reasons:
        which = f"all {len(reasons)} points are refused; the first, {_named(candidates[0])}"
        if len(reasons) == 1:
            which = f"{_named(candidates[0])} is refused"
        raise ExploreError(f"{which}: {reasons[0]}")


def _named(candidate: Candidate) -> str:
    pairs = (f"{key}={readable(key, value)}" for key, value in candidate.values.items())
    return " ".join(pairs) or "the only point"


def _runner(jobs: int | None, scheduler: str | None) -> Any:
    if scheduler is None:
        return processes(evaluate, jobs or os.cpu_count() or 1)
    if jobs is not None:
        raise click.UsageError("--jobs is for processes of this machine, not with --scheduler")
    return cluster(evaluate, scheduler)


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None] | None]:
    """Give a callback that shows how many points are done; nothing where no one looks."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = TextColumn("points"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("points", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show


def _print(report: Report, results: Sequence[Result]) -> None:
    report.table(table_rows(results), "workload")
    done = sum(result.done for result in results)
    pareto = sum(result.pareto for result in results)
    report.line(f"{done} points, {pareto} of them on the front of latency, energy and area")
    for result in results:
        if not result.done:
            report.line(f"refused: {_named(result.candidate)}: {result.outcome.error}")
