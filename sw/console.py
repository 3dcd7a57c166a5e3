"""What all commands share: configuration options, JSON, tables, progress and one-line errors."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from hw.isa.config import PRESETS, Config, ConfigError
from hw.isa.instructions import InstructionError
from sim.result import BackendError, DramTiming

from .driver import BACKENDS, Device, InputError
from .place import PlacementError
from .program_file import ProgramFileError, write_file
from .tile import TileError

__all__ = ["BAD_INPUT", "Report", "backend_options", "config_options", "device", "progress"]

BAD_INPUT = (
    BackendError,
    ConfigError,
    InputError,
    InstructionError,
    PlacementError,
    ProgramFileError,
    TileError,
)
"""Errors that are one line for the user, exit code 2."""


def config_options(default: str) -> Callable:
    """Add --preset, --config, --set and --json; the command gets `config` and `report`."""

    def decorate(command: Callable) -> Callable:
        @click.option(
            "--preset", default=default, show_default=True, metavar="|".join(PRESETS),
            help="Configuration to start from.",
        )  # fmt: skip
        @click.option(
            "--config", "file", metavar="FILE.toml", help="Values laid over the preset."
        )
        @click.option(
            "--set", "settings", multiple=True, metavar="KEY=VALUE",
            help="One value laid over both; repeatable.",
        )  # fmt: skip
        @click.option(
            "--json", "json_file", metavar="FILE",
            help="Write every figure as JSON; - for standard output.",
        )  # fmt: skip
        @wraps(command)
        def run(
            preset: str, file: str | None, settings: tuple[str, ...], json_file: str | None,
            **options: Any,
        ) -> None:  # fmt: skip
            config = _configuration(preset, file, settings)
            command(config=config, report=Report(json_file), **options)

        return run

    return decorate


def _configuration(preset: str, file: str | None, settings: Sequence[str]) -> Config:
    try:
        config = Config.preset(preset)
    except ConfigError as error:
        raise ConfigError(f"--preset: {error}") from None
    if file is not None:
        config = _overlay(config, Path(file))
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set takes KEY=VALUE, not {setting!r}")
        try:
            config = config.parse(key, value)
        except ConfigError as error:
            raise ConfigError(f"--set {setting}: {error}") from None
    return config


def _overlay(config: Config, file: Path) -> Config:
    try:
        values = tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"--config: cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config: {file} is not TOML: {error}") from None
    try:
        return config.replace(**values)
    except ConfigError as error:
        raise ConfigError(f"--config {file}: {error}") from None


def backend_options(default: str) -> Callable:
    """Add --backend, --dram-gbps and --dram-latency; the command gets `target`, see `device`."""

    def decorate(command: Callable) -> Callable:
        @click.option(
            "--backend", default=default, show_default=True, metavar="|".join(BACKENDS),
            help="What runs the program.",
        )  # fmt: skip
        @click.option(
            "--dram-gbps", metavar="X|unlimited", help="DRAM bandwidth; unlimited is the bus width."
        )
        @click.option("--dram-latency", type=click.IntRange(1), metavar="CYCLES")
        @wraps(command)
        def run(
            config: Config, backend: str, dram_gbps: str | None, dram_latency: int | None,
            **options: Any,
        ) -> None:  # fmt: skip
            if backend not in BACKENDS:
                raise click.UsageError(
                    f"--backend must be one of {', '.join(BACKENDS)}, not {backend!r}"
                )
            timing = _timing(config, dram_gbps, dram_latency)
            command(config=config, target=(backend, timing), **options)

        return run

    return decorate


def _timing(config: Config, gbps: str | None, latency: int | None) -> DramTiming:
    timing = DramTiming.of(config)
    if latency is not None:
        timing = replace(timing, latency=latency)
    if gbps == "unlimited":
        return replace(timing, bytes_per_cycle=None)
    if gbps is None:
        return timing
    try:
        rate = float(gbps)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise click.UsageError(f"--dram-gbps must be a positive number or unlimited, not {gbps!r}")
    return replace(timing, bytes_per_cycle=rate * 1000 / config.clock_mhz)


class Report:
    """Where figures go: tables for people, JSON for programs."""

    def __init__(self, json_file: str | None) -> None:
        self._json_file = json_file
        self.console = Console(file=sys.stderr if json_file == "-" else sys.stdout)

    def table(self, title: str, rows: Sequence[dict[str, Any]]) -> None:
        """Print rows of equal keys."""
        table = Table(title=title, title_justify="left")
        for key in rows[0]:
            table.add_column(key, justify="left" if isinstance(rows[0][key], str) else "right")
        for row in rows:
            table.add_row(*(_text(value) for value in row.values()))
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


_STAGES = {"emit": "generate Verilog", "build": "build the simulation", "run": "simulate"}


@contextmanager
def progress(report: Report) -> Iterator[Callable[[str, int], None] | None]:
    """Give a callback for `sim.rtl.run`, and show what it says; nothing where no one looks."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("start", total=None)

        def show(stage: str, cycle: int) -> None:
            text = _STAGES.get(stage, stage)
            bar.update(task, description=f"{text}, cycle {cycle:,}" if cycle else text)

        yield show


def device(config: Config, target: tuple[str, DramTiming], show: Any, **options: Any) -> Device:
    """Return the device that --backend and the DRAM options ask for."""
    backend, timing = target
    if backend == "rtl":
        options["progress"] = show
    elif options:
        raise click.UsageError(f"--{next(iter(options))} needs --backend rtl, not {backend}")
    return Device(config, backend, timing, options)
