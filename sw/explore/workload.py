"""Workloads by name: a model's training step, a LoRA site or a single product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any

import click

from ..models import (
    DESCRIPTIONS,
    Product,
    Reading,
    Role,
    TrainingStep,
    load_step,
    training_step,
)
from ..models.layers import Dense, Model
from ..workload import parse_sizes

__all__ = ["PLAIN", "Workload", "workload_options"]

PLAIN = ("gemm:", "lora:")
"""How names of workloads begin that are no models."""
DEFAULTS = {"reading": "xattn", "batch": 2, "rank": 4}
"""Of models: the step that the paper's Figure 6 shows."""


@dataclass(frozen=True)
class Workload:
    """What is run, as the command line has it.

    Members
    -------
    name : str
        A model, ``gemm:MxKxN`` or ``lora:NxD1xD2:rR``.
    reading : str or None
    batch, rank : int or None
        Of a model; None for `DEFAULTS`.
    full : bool
        Every weight of the model is trained, not LoRA.
    """

    name: str
    reading: str | None = None
    batch: int | None = None
    rank: int | None = None
    full: bool = False

    def load(self) -> TrainingStep:
        """Return the products of a step.

        Raises
        ------
        click.UsageError, ModelError
            The name, or an option of it, is not known.
        """
        return _load(self)


@lru_cache
def _load(workload: Workload) -> TrainingStep:
    chosen = {key: getattr(workload, key) for key in DEFAULTS}
    if not workload.name.startswith(PLAIN):
        if workload.name not in DESCRIPTIONS and ":" not in workload.name:
            raise click.UsageError(
                f"workload must be a model ({', '.join(DESCRIPTIONS)}, module:function), "
                f"gemm:MxKxN or lora:NxD1xD2:rR, not {workload.name!r}"
            )
        filled = {key: DEFAULTS[key] if value is None else value for key, value in chosen.items()}
        return load_step(workload.name, **filled, full=workload.full)
    given = [key for key, value in (chosen | {"full": workload.full or None}).items()
             if value is not None]  # fmt: skip
    if given:
        raise click.UsageError(f"{given[0]} is of a model, and {workload.name} is none")
    kind, sizes = parse_sizes(workload.name)
    return _product(workload.name, *sizes) if kind == "gemm" else _site(workload.name, *sizes)


def _product(name: str, m: int, k: int, n: int) -> TrainingStep:
    """Return one product, as a forward pass has it: INT8, with a scale for each row."""
    return TrainingStep(
        name, "gemm", 1, None, (Product(name, Role.FORWARD, m, k, n),), k * n, k * n
    )


def _site(name: str, n: int, d1: int, d2: int, r: int) -> TrainingStep:
    """Return the step of a model that is one linear layer with LoRA."""
    layer = Dense(name, n, d1, d2, Reading.KV, bias=False)
    return training_step(Model(name, (layer,)), Reading.KV, 1, r)


def workload_options(command: Callable) -> Callable:
    """Add WORKLOAD, --reading, --batch, --rank and --full; the command gets `workload`."""

    @click.argument("workload", default="sd15")
    @click.option("--reading", metavar="NAME", help="Of a model's step; xattn by default.")
    @click.option("--batch", type=int, help="Of a model; 2 by default.")
    @click.option("--rank", type=int, help="Of a model's LoRA; 4 by default.")
    @click.option("--full", is_flag=True, help="Train every weight of the model, not LoRA.")
    @wraps(command)
    def run(workload: str, **options: Any) -> None:
        chosen = {key: options.pop(key) for key in ("reading", "batch", "rank", "full")}
        command(workload=Workload(workload, **chosen), **options)

    return run
