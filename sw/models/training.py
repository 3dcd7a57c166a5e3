"""Second pass: from a model's layers to the products of one training step.

The rule behind all products: C = A.B needs dA = dC.B^T where A needs a gradient, and dB = A^T.dC
where B does. docs/workloads.md says which do, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .layers import Dense, Model, Pair, Reading
from .product import ModelError, Product, Role, TrainingStep

__all__ = ["RANK", "training_step"]

RANK = 4
"""Of LoRA, unless said otherwise."""
_NEEDED = {
    Reading.KV: "cross-attention",
    Reading.XATTN: "cross-attention",
    Reading.TRANSFORMER: "attention",
    Reading.UNET: "linear layers or convolutions",
}


def training_step(
    model: Model,
    reading: str = Reading.XATTN,
    batch: int = 1,
    rank: int | None = None,
    full: bool = False,
) -> TrainingStep:
    """Return the products of one step.

    Parameters
    ----------
    model : Model
    reading : str
        Which layers run, one of `Reading`.
    batch : int
        Samples of a step. They lengthen the rows of layers, and so the sums of weight gradients;
        products of attention run that many times more.
    rank : int or None
        Of LoRA on K and V of cross-attention; None is `RANK`. A model that has LoRA layers keeps
        them where they are, with the ranks they have.
    full : bool
        Train all weights of the reading instead.

    Raises
    ------
    ModelError
        A value is out of range, or the model has nothing that the reading asks for.
    """
    kept = _read(model, reading)
    if batch < 1:
        raise ModelError(f"batch must be at least 1, not {batch}")
    layers = _without_lora(kept) if full else _with_lora(model, kept, reading, rank)
    products = [product for layer in layers for product in _forward(layer, batch)]
    for layer in reversed(layers):
        products += _backward(layer, batch, full, _needs_dx(layer, layers, full))
    ranks = [layer.rank for layer in layers if isinstance(layer, Dense) and layer.rank]
    return TrainingStep(
        model.name, str(reading), batch, max(ranks, default=None), tuple(products),
        model.parameters, model.weights,
    )  # fmt: skip


def _read(model: Model, reading: str) -> list[Dense | Pair]:
    """Return the layers of a reading that have products."""
    if reading not in set(Reading):
        raise ModelError(f"reading must be one of {', '.join(Reading)}, not {reading!r}")
    reading = Reading(reading)
    kept = [layer for layer in model.layers
            if isinstance(layer, Dense | Pair) and reading.holds(layer.reading)]  # fmt: skip
    if not kept:
        raise ModelError(f"model {model.name} has no {_NEEDED[reading]} for reading {reading}")
    return kept


def _without_lora(layers: list[Dense | Pair]) -> list[Dense | Pair]:
    return [replace(layer, rank=None) if isinstance(layer, Dense) else layer for layer in layers]


def _with_lora(
    model: Model, layers: list[Dense | Pair], reading: str, rank: int | None
) -> list[Dense | Pair]:
    """Put LoRA of a rank on K and V of cross-attention, unless the model has LoRA of its own."""
    own = [layer for layer in model.dense if layer.rank]
    if own:
        if rank is not None and {layer.rank for layer in own} != {rank}:
            ranks = ", ".join(str(each) for each in sorted({layer.rank for layer in own}))
            raise ModelError(f"rank {rank} is not that of the model's own LoRA layers, {ranks}")
        if not any(isinstance(layer, Dense) and layer.rank for layer in layers):
            raise ModelError(f"reading {reading} holds none of the model's {len(own)} LoRA layers")
        return layers
    sites = [layer for layer in layers if layer.reading is Reading.KV]
    if not sites:
        raise ModelError(f"model {model.name} has no cross-attention to put LoRA on")
    rank = RANK if rank is None else rank
    least = min(sites, key=lambda site: min(site.reduction, site.columns))
    limit = min(least.reduction, least.columns)
    if not 1 <= rank <= limit:
        raise ModelError(
            f"rank must be 1 to {limit}, the smaller side of {least.path} "
            f"({least.reduction} x {least.columns}), not {rank}"
        )
    return [replace(layer, rank=rank) if layer in sites else layer for layer in layers]


def _needs_dx(layer: Dense | Pair, layers: list[Dense | Pair], full: bool) -> bool:
    """Tell whether the input of a layer needs a gradient.

    What is made of the time step alone leads to nothing trained, unless that has LoRA, or all
    weights are trained. For all others the answer is yes: the gradient passes the whole reading.
    """
    if full or isinstance(layer, Pair) or not layer.conditioning:
        return True
    return any(isinstance(each, Dense) and each.conditioning and each.rank for each in layers)


def _forward(layer: Dense | Pair, batch: int) -> Iterator[Product]:
    if isinstance(layer, Pair):
        role = Role.QK if layer.scores else Role.PV
        yield Product(layer.path, role, layer.m, layer.k, layer.n, layer.count * batch)
        return
    m, k, n, count = layer.rows * batch, layer.reduction, layer.columns, layer.groups
    yield Product(layer.path, Role.FORWARD, m, k, n, count)
    if layer.rank:
        yield Product(layer.path, Role.LORA_H, m, k, layer.rank, count)
        yield Product(layer.path, Role.LORA_UP, m, layer.rank, n, count)


def _backward(layer: Dense | Pair, batch: int, full: bool, dx: bool) -> Iterator[Product]:
    if isinstance(layer, Pair):
        left, right = (Role.DQ, Role.DK) if layer.scores else (Role.DP, Role.DV)
        count = layer.count * batch
        yield Product(layer.path, left, layer.m, layer.n, layer.k, count)
        yield Product(layer.path, right, layer.k, layer.m, layer.n, count)
        return
    m, k, n, count = layer.rows * batch, layer.reduction, layer.columns, layer.groups
    if dx:
        yield from _dx(layer, Role.DX, m, n)
    if full:
        yield Product(layer.path, Role.DW, k, m, n, count)
    if layer.rank:
        yield Product(layer.path, Role.DH, m, n, layer.rank, count)
        yield Product(layer.path, Role.DB, n, m, layer.rank, count)
        yield Product(layer.path, Role.DA, k, m, layer.rank, count)
        if dx:
            yield from _dx(layer, Role.LORA_DX, m, layer.rank)


def _dx(layer: Dense, role: Role, rows: int, outputs: int) -> Iterator[Product]:
    """Yield dX of a layer: for a convolution, one of dY with the kernel turned, in phases.

    Each phase of a stride has as many places as the output, and sees some taps of the kernel; all
    phases together see each tap once.
    """
    inputs = layer.inputs // layer.groups
    for taps in layer.taps():
        yield Product(layer.path, role, rows, outputs * taps, inputs, layer.groups)
