"""What all commands share: JSON, tables, progress and one-line errors."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from hw.isa.config import ConfigError
from hw.isa.instructions import InstructionError
from sim.compiled import is_kept
from sim.result import BackendError
from sim.synth.errors import SynthError

from .dataflow import DataflowError
from .graph.ir import GraphError
from .graph.tensors import WeightsError
from .image import InputError
from .models import ModelError
from .place import PlacementError
from .program_file import ProgramFileError, write_file
from .tile import TileError

__all__ = ["BAD_INPUT", "Report", "fail", "keep_clear", "progress"]

BAD_INPUT = (
    BackendError,
    ConfigError,
    DataflowError,
    GraphError,
    InputError,
    InstructionError,
    ModelError,
    PlacementError,
    ProgramFileError,
    SynthError,
    TileError,
    WeightsError,
)
"""Errors that are one line for the user, exit code 2."""


Files = Mapping[str, str | os.PathLike[str] | None]
"""Files to write, by the option or the word that stands for each; None for those not wanted."""


def keep_clear(outputs: Files, inputs: Sequence[str | None]) -> None:
    """Refuse, before any work, outputs that are one file with an input or with each other."""
    seen: list[tuple[str, str]] = []
    for option, file in outputs.items():
        if file is None:
            continue
        name = os.fspath(file)
        for read in inputs:
            if read is not None and _one_file(name, read):
                raise click.UsageError(f"{option} {name} would overwrite the input {read}")
        for other, written in seen:
            if _one_file(name, written):
                raise click.UsageError(f"{other} {written} and {option} {name} are one file")
        seen.append((option, name))


def _one_file(first: str, second: str) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:  # one of them is not there yet
        return os.path.realpath(first) == os.path.realpath(second)


class Report:
    """Where figures go: tables for people, JSON for programs."""

    def __init__(self, json_file: str | None, config_file: str | None = None) -> None:
        self._json_file, self._config_file = json_file, config_file
        file = sys.stderr if json_file == "-" else sys.stdout
        # Only a terminal has an edge to cut columns at.
        self.console = Console(file=file, width=None if file.isatty() else 1000)

    def keep_clear(self, outputs: Files, inputs: Sequence[str | None] = ()) -> None:
        """Do as `keep_clear`, with what --json and --config name among the files."""
        json_file = None if self._json_file == "-" else self._json_file
        keep_clear({**outputs, "--json": json_file}, (*inputs, self._config_file))

    def table(self, rows: Sequence[dict[str, Any]], section: str | None = None) -> None:
        """Print rows of equal keys; columns without a value are left out.

        `section` is the key of a text that, where it is not the same in all rows, heads those it
        is the same in.
        """
        if not rows:
            return
        filled = {key for row in rows for key, value in row.items() if value is not None}
        keys = [key for key in rows[0] if key in filled - {section}]
        headed = section is not None and len({row[section] for row in rows}) > 1
        table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, collapse_padding=True)
        for key in keys:
            justify = "left" if isinstance(rows[0][key], str) else "right"
            table.add_column(key, justify=justify, no_wrap=True)
        before = None
        for row in rows:
            if headed and row[section] != before:
                before = row[section]
                table.add_row(f"{before}:")
            table.add_row(*(_text(row[key]) for key in keys))
        self.console.print(table)

    def line(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def json(self, figures: dict[str, Any]) -> None:
        """Write the figures where --json says, whole or not at all."""
        text = json.dumps(figures, indent=2) + "\n"
        if self._json_file == "-":
            click.echo(text, nl=False)
        elif self._json_file is not None:
            write_file(self._json_file, text.encode())


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


_STAGES = {
    "compile": "compile",
    "emit": "generate Verilog",
    "build": "build the simulation",
    "run": "simulate",
}


@contextmanager
def progress() -> Iterator[Callable[[str, int], None] | None]:
    """Give a callback for `sim.rtl.run`, and show what it says; nothing where no one looks."""
    if not sys.stderr.isatty():
        yield None
        return
    first = "" if is_kept() else " (the first time the timing model is compiled: up to a minute)"
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"start{first}", total=None)

        def show(stage: str, cycle: int) -> None:
            text = _STAGES.get(stage, stage)
            bar.update(task, description=f"{text}, cycle {cycle:,}" if cycle else text + first)

        yield show


def fail(message: str) -> NoReturn:
    """End with exit code 1: a result is wrong."""
    click.echo(f"cdmqta: {message}", err=True)
    sys.exit(1)
