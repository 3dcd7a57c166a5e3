"""The state of quantisation while a model trains: maxima, saturations, and noise of products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Measure", "Monitor", "snr_db"]


class Measure(NamedTuple):
    """One value of one layer.

    `kind` is ``absmax``, of a tensor that is quantised, or ``snr_db``, of a product against the
    same product in floating point.
    """

    layer: str
    kind: str
    tensor: str
    value: float


class Monitor:
    """Takes measures while it listens, which costs a floating-point copy of every product.

    Members
    -------
    listening : bool
    """

    def __init__(self) -> None:
        self.listening = False
        self._measures: list[Measure] = []

    def absmax(self, layer: str, tensor: str, value: Tensor) -> None:
        """Note the absolute maximum of a tensor, given those of its groups."""
        if self.listening:
            self._measures.append(Measure(layer, "absmax", tensor, float(value.max())))

    def product(self, layer: str, name: str, found: Tensor, exact: Callable[[], Tensor]) -> None:
        """Note how well a product equals that of the unquantised tensors, if that is not zero."""
        if self.listening:
            value = snr_db(found, exact())
            if not math.isnan(value):
                self._measures.append(Measure(layer, "snr_db", name, value))

    def take(self) -> list[Measure]:
        """Return what was measured since the last call."""
        found, self._measures = self._measures, []
        return found


def snr_db(found: Tensor, exact: Tensor) -> float:
    """Return the ratio of the power of `exact` to that of the error, in dB.

    It is infinite where there is no error, and where there is no signal NaN.
    """
    signal = torch.linalg.vector_norm(exact.double()).item()
    error = torch.linalg.vector_norm(found.double() - exact.double()).item()
    if signal == 0:
        return math.nan
    return math.inf if error == 0 else 20 * math.log10(signal / error)
