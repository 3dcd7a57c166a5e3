"""``cdmqta firmware``."""

from __future__ import annotations

from pathlib import Path

import click

from hw.isa.config import Config

from ..console import Report
from ..options import config_options
from ..program_file import write_files
from .header import HEADER, SOURCE, header, source

__all__ = ["firmware_command"]


@click.command("firmware")
@config_options("paper")
@click.option("-o", "--output", required=True, metavar="DIR", help="Made if it is not there.")
def firmware_command(config: Config, report: Report, output: str) -> None:
    """Write cdmqta.h and cdmqta.c: registers, instructions and a runtime in C99.

    Options are those that `generate` was given for the accelerator.
    """
    folder = Path(output)
    report.keep_clear({f"output {name}": folder / name for name in (HEADER, SOURCE)})
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--output: cannot make {folder}: {error.strerror}") from None
    texts = {HEADER: header(config), SOURCE: source()}
    contents = {folder / name: text.encode() for name, text in texts.items()}
    write_files(contents)
    for path, data in contents.items():
        report.line(f"{path}: {len(data):,} bytes")
    report.json({"files": [str(path) for path in contents], "digest": config.digest()})
