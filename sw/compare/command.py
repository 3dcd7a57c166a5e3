"""``cdmqta compare``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from hw.isa.config import Config

from ..console import Report, progress
from ..models import load_step
from ..options import config_options, dram_values
from ..parallel import spread
from ..plotting import FigureFile
from ..prices import Prices
from ..program_file import write_files
from ..workload import naming
from .plot import draw_bars
from .roofline import draw_roofline, roofline_rows
from .step import OURS, PAPER, Comparison, compare
from .text import assumptions, bandwidth, cycle_rows, edp_rows, heading

__all__ = ["compare_command"]


@click.command("compare")
@config_options("paper")
@click.option("--model", default="sd15", show_default=True, metavar="NAME|module:function")
@click.option("--reading", default="xattn", show_default=True, help="What a step means.")
@click.option("--batch", type=int, default=2, show_default=True)
@click.option(
    "--rank", type=int, show_default="4, or that of the model's own LoRA layers", help="Of LoRA."
)
@click.option(
    "--dram-gbps", multiple=True, metavar="X|unlimited",
    default=("unlimited", "51.2", "25.6", "12.8"), show_default=True,
    help="DRAM bandwidth; repeatable.",
)  # fmt: skip
@click.option("--dram-latency", type=int, metavar="CYCLES")
@click.option(
    "--optimizer-bytes", type=float, default=16, show_default=True, metavar="N",
    help="DRAM traffic of the optimiser for each trained weight: 16 to 28 are usual.",
)  # fmt: skip
@click.option("--plot", type=FigureFile(), metavar="FILE.svg|png", help="Grouped bars.")
@click.option(
    "--roofline", type=FigureFile(), metavar="FILE.svg|png",
    help="Each product of LoRA-hybrid against the bounds of array and DRAM.",
)  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), help="Processes; as many as cores by default.")
def compare_command(
    config: Config,
    report: Report,
    model: str,
    reading: str,
    batch: int,
    rank: int | None,
    dram_gbps: tuple[str, ...],
    dram_latency: int | None,
    optimizer_bytes: float,
    plot: str | None,
    roofline: str | None,
    jobs: int | None,
) -> None:
    """Compare full training, LoRA-OS, LoRA-WS and LoRA-hybrid, in latency and EDP.

    Under the cycle models scalesim, overlap, ideal and ours, beside the paper's Figure 6.
    """
    report.keep_clear({"--plot": plot, "--roofline": roofline})
    if not 0 <= optimizer_bytes < float("inf"):
        raise click.UsageError(f"--optimizer-bytes must be 0 or more, not {optimizer_bytes:g}")
    bandwidths = list(dict.fromkeys(map(_bandwidth, dram_gbps)))
    config = config.replace(**dram_values(None, dram_latency))
    full = load_step(model, reading, batch, None, full=True)
    lora = load_step(model, reading, batch, rank)
    with progress() as show, naming(f"model {model}"), spread(jobs) as side_by_side:
        found = compare(
            config, full, lora, bandwidths=bandwidths, optimiser_bytes=optimizer_bytes,
            progress=None if show is None else lambda stage: show(stage, 0),
            prices=partial(Prices, spread=side_by_side),
        )  # fmt: skip
    assumed = assumptions(config, full, lora, optimizer_bytes)
    title = heading(config, lora)
    _print(report, assumed, found)
    own = [each for each in found if each.model == OURS]
    files = {}
    if plot is not None:
        files[Path(plot)] = draw_bars(found, title, Path(plot).suffix)
    if roofline is not None:
        files[Path(roofline)] = draw_roofline(own, f"LoRA-hybrid, {title}", Path(roofline).suffix)
    write_files(files)
    for path in files:
        report.line(f"figure: {path}")
    report.json(_figures(config, assumed, found, own))


def _bandwidth(text: str) -> float | None:
    return dram_values(text, None)["dram_gbps"] or None


def _print(report: Report, assumed: list[str], found: list[Comparison]) -> None:
    for line in assumed:
        report.line(line)
    for gbps in dict.fromkeys(each.dram_gbps for each in found):
        some = [each for each in found if each.dram_gbps == gbps]
        report.line(f"\nDRAM {bandwidth(gbps)}: million cycles; /h in multiples of LoRA-hybrid's")
        report.table(cycle_rows(some), section="dram")
        report.line(
            "LoRA-hybrid's energy; EDP in multiples of LoRA-hybrid's, without DRAM under /c"
        )
        report.table(edp_rows(some), section="dram")


def _figures(
    config: Config, assumed: list[str], found: list[Comparison], own: list[Comparison]
) -> dict[str, Any]:
    rows = [each.row() for each in found]
    products = [
        {"dram_gbps": each.row()["dram_gbps"]} | row
        for each in own
        for row in roofline_rows(each.hybrid)
    ]
    return {
        "configuration": config.to_mapping(),
        "assumptions": assumed,
        "paper": PAPER,
        "rows": rows,
        "products": products,
    }
