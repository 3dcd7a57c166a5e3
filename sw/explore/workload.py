"""Workloads by name: a model's training step, a LoRA site or a single product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

import click

from ..lora import Site, site_products
from ..workload import parse_sizes

if TYPE_CHECKING:
    from ..models import TrainingStep

__all__ = ["Workload", "workload_options"]

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
        click.UsageError, InputError
            The name, or an option of it, is not known.
        """
        return _load(self)


@lru_cache
def _load(workload: Workload) -> TrainingStep:
    from ..models import load_step

    kind = workload.name.partition(":")[0]
    chosen = {key: getattr(workload, key) for key in DEFAULTS}
    if kind not in ("gemm", "lora"):
        filled = {key: DEFAULTS[key] if value is None else value for key, value in chosen.items()}
        return load_step(workload.name, **filled, full=workload.full)
    given = [key for key, value in (chosen | {"full": workload.full or None}).items() if value]
    if given:
        raise click.UsageError(f"{given[0]} is of a model, and {workload.name} is none")
    _, sizes = parse_sizes(workload.name)
    return _product(workload.name, *sizes) if kind == "gemm" else _site(workload.name, *sizes)


def _product(name: str, m: int, k: int, n: int) -> TrainingStep:
    from ..models import Product, Role, TrainingStep

    product = Product(name, Role.FORWARD, m, k, n, gradient=True)  # as `compile` has it: sums
    return TrainingStep(name, "gemm", 1, None, (product,), k * n, 0)


def _site(name: str, n: int, d1: int, d2: int, r: int) -> TrainingStep:
    from ..models import Product, Role, TrainingStep

    roles = {
        "H": Role.LORA_H, "dH": Role.DH, "Y": Role.FORWARD, "dX": Role.DX, "dA": Role.DA,
        "dB": Role.DB, "H.B": Role.LORA_UP, "dH.A^T": Role.LORA_DX,
    }  # fmt: skip
    products = []
    for gemm in site_products(Site(n, d1, d2, r)):
        for each in (gemm, gemm.update):
            if each is not None:
                role = roles[each.name]
                gradient = role in (Role.DA, Role.DB)
                products.append(Product(name, role, each.m, each.k, each.n, gradient=gradient))
    return TrainingStep(name, "lora", 1, r, tuple(products), d1 * d2, (d1 + d2) * r)


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
