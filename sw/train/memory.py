"""What the layers that train take in memory while they do."""

from __future__ import annotations

from dataclasses import dataclass

from .adapt import Adapted
from .modules import FullLinear
from .tune import TuneLinear

__all__ = ["Memory", "memory"]

_FLOAT = 4
"""Bytes of what trains, of each of Adam's two moments, and of a scale."""


@dataclass(frozen=True)
class Memory:
    """Bytes of the layers that train.

    Members
    -------
    weights : int
        Frozen weights as they lie in DRAM for the products, with their scales; of full training,
        the copy that the products take, where they are in integers. Weights of four bits are INT8
        there if LoRA trains, whose products have one scale a weight.
    trained : int
        Parameters that train.
    optimiser : int
        Both moments of Adam.
    """

    weights: int
    trained: int
    optimiser: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.trained + self.optimiser


def memory(adapted: Adapted) -> Memory:
    """Return what the trained layers of a model take."""
    method, bits = adapted.method, 0
    trained = _FLOAT * sum(parameter.numel() for parameter in adapted.parameters())
    for layer in adapted.trained.values():
        count = layer.in_features * layer.out_features
        if isinstance(layer, TuneLinear):
            bits += layer.weight_bits + 8 * _FLOAT * layer.out_features
        elif isinstance(layer, FullLinear):
            bits += 8 * count + 8 * _FLOAT if method.precision else 0
        else:
            bits += 8 * count + 8 * _FLOAT if method.precision else 8 * _FLOAT * count
    return Memory(bits // 8, trained, 2 * trained)
