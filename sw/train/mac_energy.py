"""What MACs of fewer bits take in the array's elements, as modelled from recorded netlists.

Elements only: buffers, DRAM, scales and copies are left out, and so are folds that are not full.
`cdmqta train --backend timing` has the energy of a whole step in INT8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from hw.isa.config import Config
from sim.silicon import silicon

from .adapt import Adapted
from .attention import AttentionSizes, attentions
from .modules import FullLinear, LoraLinear, QuantisedLinear
from .precision import Precision
from .tune import TuneLinear

__all__ = ["MacEnergy", "attention_products", "mac_energy", "products"]

_COPIES = 8
"""Bits of copies that the chip makes itself."""

_Bits = tuple[int, int]


@dataclass(frozen=True)
class MacEnergy:
    """MACs of a training step in integers, and their energy in the elements.

    Members
    -------
    macs : float
        Of the layers that train, of those that are only quantised, and of attention where its
        products are in integers.
    joules : float
    trained_joules : float
        Of it, of the layers that train.
    """

    macs: float
    joules: float
    trained_joules: float

    @property
    def pj(self) -> float:
        """pJ a MAC."""
        return self.joules / self.macs * 1e12


def products(layer: QuantisedLinear, precision: Precision, dx: bool = True) -> Counter[_Bits]:
    """Return the MACs that a layer's step takes for a row of X, by the bits of both operands.

    Those of TuneQDM that pass a diagonal are counted as the array of the preset ``paper`` does
    them.

    Parameters
    ----------
    dx : bool
        Whether X has a gradient; LoRA and TuneQDM make it always.
    """
    found: Counter[_Bits] = Counter()
    for bits, macs in _products(layer, precision, dx):
        found[bits] += macs
    return found


def _products(
    layer: QuantisedLinear, precision: Precision, dx: bool
) -> Iterator[tuple[_Bits, int]]:
    x, dy, w = precision.activation_bits, precision.gradient_bits, precision.weight_bits
    d1, d2 = layer.in_features, layer.out_features
    if isinstance(layer, TuneLinear):
        yield from _tune(layer, x, dy)
        return
    lora = isinstance(layer, LoraLinear)
    yield (x, w), d1 * d2
    if dx or lora:
        yield (dy, w), d1 * d2
    if isinstance(layer, FullLinear):
        yield (x, dy), d1 * d2
    if lora:
        r = layer.rank
        yield (x, w), d1 * r
        yield (dy, w), d2 * r
        yield (_COPIES, w), (d1 + d2) * r
        yield (x, _COPIES), d1 * r
        yield (dy, _COPIES), d2 * r


def _tune(layer: TuneLinear, x: int, dy: int) -> Iterator[tuple[_Bits, int]]:
    d1, d2, side = layer.in_features, layer.out_features, Config.preset("paper").columns
    inputs = layer.gain_in is not None
    yield (_COPIES if inputs else x, layer.bits), d1 * d2
    yield (_COPIES, layer.bits), d1 * d2
    # A diagonal of 1 and -1 in front, and diagonals of products for the scales' gradients: of
    # both an array's columns are made at a time.
    for bits, width in ((x, d1), (dy, d2))[not inputs :]:
        yield (bits, 4), width * side
        yield (bits, _COPIES), width * side


def attention_products(sizes: AttentionSizes, precision: Precision) -> Counter[_Bits]:
    """Return the MACs of a call of attention and its gradients, by the bits of both operands."""
    x, dy = precision.activation_bits, precision.gradient_bits
    found: Counter[_Bits] = Counter()
    # Q.K^T and P.V; dQ and dP have a gradient on their left, dK and dV on their right.
    found[x, x] += 2 * sizes.macs
    found[dy, x] += (sizes.dq + (sizes.dq or sizes.dk)) * sizes.macs
    found[x, dy] += (sizes.dk + sizes.dv) * sizes.macs
    return found


def mac_energy(adapted: Adapted, batch: Callable[[], object]) -> MacEnergy | None:
    """Return the MACs of a step in integers, and what they take; None in floating point.

    Times of samples are taken to be spread evenly. The element is that of the preset ``paper`` in
    WS, with glitches, clock and leakage.

    Parameters
    ----------
    batch : callable
        Computes the losses of a batch as training does: how many rows each layer has, and whether
        they have gradients, is seen there. Nothing is kept of it.
    """
    method = adapted.method
    if method.precision is None:
        return None
    counts = _counts(adapted, batch)
    recorded = silicon().narrow
    limits = [0.0, *(limit for limit, _ in method.schedule), 1.0]
    listed = [each for _, each in method.schedule] + [method.precision]
    macs = joules = trained = 0.0
    for (low, high), precision in zip(pairwise(limits), listed, strict=True):
        for trains, found in counts(precision):
            share = {bits: (high - low) * count for bits, count in found.items()}
            spent = sum(n * recorded[bits].mac_ws.timed * 1e-12 for bits, n in share.items())
            macs += sum(share.values())
            joules += spent
            trained += spent * trains
    return MacEnergy(macs, joules, trained)


def _counts(
    adapted: Adapted, batch: Callable[[], object]
) -> Callable[[Precision], Iterator[tuple[bool, Counter[_Bits]]]]:
    """Return what tells the MACs of each part of a step, and whether it is a layer that trains."""
    seen: list[tuple[QuantisedLinear, int, bool]] = []

    def look(layer: QuantisedLinear, inputs: tuple[Any, ...], _: Any) -> None:
        x = inputs[0]
        seen.append((layer, x.numel() // layer.in_features, x.requires_grad))

    layers = [*adapted.trained.values(), *adapted.frozen.values()]
    hooks = [layer.register_forward_hook(look) for layer in layers]
    attends = attentions(adapted.model)
    for attend in attends:
        attend.calls = []
    try:
        with torch.enable_grad():
            batch()
    finally:
        for hook in hooks:
            hook.remove()
        calls = [sizes for attend in attends for sizes in attend.calls or ()]
        for attend in attends:
            attend.calls = None
    trained = set(adapted.trained.values())

    def counts(precision: Precision) -> Iterator[tuple[bool, Counter[_Bits]]]:
        for layer, rows, dx in seen:
            each = products(layer, precision, dx)
            yield layer in trained, Counter({bits: rows * n for bits, n in each.items()})
        for sizes in calls:
            yield False, attention_products(sizes, precision)

    return counts
