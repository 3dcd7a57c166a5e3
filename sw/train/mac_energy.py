"""What MACs of fewer bits take in the array's elements, as modelled from recorded netlists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from hw.isa.config import Config
from sim.silicon import silicon

from .adapt import Adapted
from .modules import FullLinear, LoraLinear, QuantisedLinear
from .precision import Precision
from .tune import TuneLinear

__all__ = ["mac_pj", "products"]

_COPIES = 8
"""Bits of copies that the chip makes itself."""

_Bits = tuple[int, int]


def products(layer: QuantisedLinear, precision: Precision) -> Counter[_Bits]:
    """Return the MACs that a layer's step takes for a row of X, by the bits of both operands.

    Those of TuneQDM that pass a diagonal are counted as the array of the preset ``paper`` does
    them.
    """
    d1, d2 = layer.in_features, layer.out_features
    found: Counter[_Bits] = Counter()
    for bits, macs in _products(layer, d1, d2, precision):
        found[bits] += macs
    return found


def _products(
    layer: QuantisedLinear, d1: int, d2: int, precision: Precision
) -> Iterator[tuple[_Bits, int]]:
    x, dy, w = precision.activation_bits, precision.gradient_bits, precision.weight_bits
    if isinstance(layer, TuneLinear):
        side = Config.preset("paper").columns
        yield (_COPIES, layer.bits), 2 * d1 * d2
        # A diagonal of 1 and -1 in front, and diagonals of products for the scales' gradients: of
        # both an array's columns are made at a time.
        yield (x, 4), d1 * side
        yield (dy, 4), d2 * side
        yield (x, _COPIES), d1 * side
        yield (dy, _COPIES), d2 * side
        return
    yield (x, w), d1 * d2
    yield (dy, w), d1 * d2
    if isinstance(layer, FullLinear):
        yield (x, dy), d1 * d2
    if isinstance(layer, LoraLinear):
        r = layer.rank
        yield (x, w), d1 * r
        yield (dy, w), d2 * r
        yield (_COPIES, w), (d1 + d2) * r
        yield (x, _COPIES), d1 * r
        yield (dy, _COPIES), d2 * r


def mac_pj(adapted: Adapted) -> float | None:
    """Return pJ a MAC in the elements, the mean of all that the trained layers' products take.

    Times of samples are taken to be spread evenly. It is the element of the preset ``paper`` in WS,
    with glitches, clock and leakage; None where products are in floating point.
    """
    method = adapted.method
    if method.precision is None:
        return None
    limits = [0.0, *(limit for limit, _ in method.schedule), 1.0]
    listed = [each for _, each in method.schedule] + [method.precision]
    recorded = silicon().narrow
    energy = macs = 0.0
    for (low, high), precision in zip(pairwise(limits), listed, strict=True):
        for layer in adapted.trained.values():
            for bits, count in products(layer, precision).items():
                energy += (high - low) * count * recorded[bits].mac_ws.timed
                macs += (high - low) * count
    return energy / macs
