"""`cdmqta workload`: the products of one training step of a model."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import click

from .console import Report, progress
from .models import Product, Reading, TrainingStep, load_step
from .options import OutputFile
from .program_file import write_files

__all__ = ["step_figures", "workload"]

COLUMNS = ("product", "role", "m", "k", "n", "count", "macs", "gradient")


@click.command()
@click.argument("model")
@click.option(
    "--reading", type=click.Choice([str(each) for each in Reading]), default="xattn",
    show_default=True, help="Which layers a step runs.",
)  # fmt: skip
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True)
@click.option("--rank", type=int, show_default="4, or that of the model's LoRA layers")
@click.option("--full", is_flag=True, help="Train all weights of the reading instead of LoRA.")
@click.option(
    "--csv", "csv_file", type=OutputFile(), metavar="FILE.csv", help="Write a row for each product."
)
@click.option(
    "--json", "json_file", type=OutputFile(dash=True), metavar="FILE",
    help="Write every figure as JSON; - for standard output.",
)  # fmt: skip
def workload(
    model: str,
    reading: str,
    batch: int,
    rank: int | None,
    full: bool,
    csv_file: str | None,
    json_file: str | None,
) -> None:
    """Print the products of one training step of MODEL: sd15, sd21, sdxl or module:function.

    The function takes no arguments and returns a torch module, or a module and its example inputs.
    """
    if full and rank is not None:
        raise click.UsageError(f"--rank {rank} is of LoRA: it cannot go with --full")
    report = Report(json_file)
    report.keep_clear({"--csv": csv_file})
    with progress() as show:
        if show is not None:
            show("derive the products", 0)
        step = load_step(model, reading, batch, rank, full)
    report.table(_by_shape(step), "reading")
    _totals(report, step)
    if csv_file is not None:
        write_files({Path(csv_file): _csv(step)})
        report.line(f"{csv_file}: {len(step.products)} products")
    report.json(step_figures(step))


def step_figures(step: TrainingStep) -> dict[str, Any]:
    """Return the figures of a step, as --json writes them."""
    return {
        "model": step.name,
        "reading": step.reading,
        "batch": step.batch,
        "full": step.rank is None,
        "rank": step.rank,
        "parameters": step.parameters,
        "weights": step.weights,
        "trained": step.trained,
        "sites": step.sites,
        "macs": step.macs,
        "forward_macs": step.forward_macs,
        "products": [_figures(product) for product in step.products],
    }


def _figures(product: Product) -> dict[str, Any]:
    return {
        "product": product.site,
        "role": str(product.role),
        "shape": [product.m, product.k, product.n],
        "count": product.count,
        "macs": product.macs,
        "gradient": product.gradient,
    }


def _csv(step: TrainingStep) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in step.products:
        row = each.site, each.role, each.m, each.k, each.n, each.count, each.macs
        writer.writerow((*row, int(each.gradient)))
    return text.getvalue().encode()


def _by_shape(step: TrainingStep) -> list[dict[str, Any]]:
    """Return a row for each shape, the most work first."""
    shapes: dict[tuple[int, int, int], list[Product]] = {}
    for product in step.products:
        shapes.setdefault((product.m, product.k, product.n), []).append(product)
    rows = []
    for (m, k, n), products in shapes.items():
        macs = sum(product.macs for product in products)
        roles = dict.fromkeys(str(product.role) for product in products)
        rows.append(
            {
                "reading": step.reading,
                "M": m,
                "K": k,
                "N": n,
                "times": sum(product.count for product in products),
                "MMAC": macs / 1e6,
                "share": macs / step.macs,
                "roles": " ".join(roles),
            }
        )
    return sorted(rows, key=lambda row: -row["MMAC"])


def _totals(report: Report, step: TrainingStep) -> None:
    method = "all weights trained" if step.rank is None else f"LoRA of rank {step.rank}"
    report.line(f"{step.name}, reading {step.reading}, batch {step.batch}, {method}")
    report.line(
        f"{len(step.products):,} products: {step.macs / 1e9:,.2f} GMAC, "
        f"{step.forward_macs / 1e9:,.2f} of them forward"
    )
    report.line(
        f"model: {step.parameters:,} parameters, {step.weights:,} of them weights of layers; "
        f"trained: {step.trained:,} in {step.sites:,} layers"
    )
