"""Workloads by name, as `cdmqta compile` takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import click

from hw.isa.config import Config

from .dataflow import Choice
from .decide import Objective
from .gemm import compile_gemm
from .layer import compile_layer
from .models import DESCRIPTIONS
from .place import PlacementError
from .program import Program
from .tile import TileError

__all__ = ["compile_workload", "naming", "parse_sizes"]

_FORMS = {
    "gemm": (re.compile(r"gemm:(\d+)x(\d+)x(\d+)"), "gemm:MxKxN"),
    "lora": (re.compile(r"lora:(\d+)x(\d+)x(\d+):r(\d+)"), "lora:NxD1xD2:rR"),
}


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Put the name of what is compiled in front of why it cannot be."""
    try:
        yield
    except (PlacementError, TileError) as error:
        raise type(error)(f"{what}: {error}") from None


def compile_workload(
    config: Config, workload: str, dataflow: Choice, objective: Objective = "latency"
) -> tuple[Program, ...]:
    """Return the programs of ``gemm:MxKxN`` or ``lora:NxD1xD2:rR`` (tokens, widths, rank).

    Raises
    ------
    click.UsageError
        It is neither, or a size is 0.
    TileError, PlacementError
        It does not fit the memories, or DRAM.
    """
    kind, sizes = parse_sizes(workload)
    with naming(f"workload {workload}"):
        if kind == "gemm":
            return compile_gemm(config, *sizes, dataflow=dataflow, objective=objective)
        layer = compile_layer(
            config, *sizes, dataflow=dataflow, column_copies="rescaled", objective=objective
        )
        return (layer.program,)


def parse_sizes(workload: str) -> tuple[str, list[int]]:
    """Return "gemm" with M, K, N, or "lora" with N, D1, D2, R.

    Raises
    ------
    click.UsageError
        It is neither, or a size is 0.
    """
    for kind, (pattern, _) in _FORMS.items():
        if found := pattern.fullmatch(workload):
            sizes = [int(text) for text in found.groups()]
            if min(sizes) < 1:
                raise click.UsageError(f"workload {workload}: sizes must be at least 1")
            return kind, sizes
    models, forms = ", ".join(DESCRIPTIONS), " or ".join(form for _, form in _FORMS.values())
    raise click.UsageError(
        f"workload must be a model ({models}, module:function), {forms}, not {workload!r}"
    )
