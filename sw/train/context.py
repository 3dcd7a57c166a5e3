"""What all layers of a model share while it trains."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .engine import Engine, TorchEngine
from .monitor import Monitor
from .precision import Precision
from .times import Times

__all__ = ["Context", "Range"]


class Context:
    """An engine, how operands are quantised, and the step that noise depends on.

    Parameters
    ----------
    precision : Precision
    engine : Engine, optional
        By default torch.
    seed : int
        Of stochastic rounding.
    schedule : sequence of (float, Precision)
        For samples of times below each limit, in ascending order from 0 to 1; `precision` is for
        the others.
    times : Times, optional
        Of the samples, if there is a schedule.

    Members
    -------
    step : int
        Number of the optimiser step; the training loop counts it.
    monitor : Monitor
        What it is told is logged.
    """

    def __init__(
        self,
        precision: Precision,
        engine: Engine | None = None,
        seed: int = 0,
        *,
        schedule: Sequence[tuple[float, Precision]] = (),
        times: Times | None = None,
    ) -> None:
        self.precision, self.engine, self.seed = precision, engine or TorchEngine(), seed
        self.step = 0
        self.monitor = Monitor()
        self.times = times or Times()
        self._limits = [limit for limit, _ in schedule]
        listed = [each for _, each in schedule] + [precision]
        self.ranges = [Range(self, each, index) for index, each in enumerate(listed)]

    def keys(self, x: Tensor, name: str) -> Tensor | None:
        """Return which of `ranges` each sample of x (samples, ...) is in; None if there is one.

        Raises
        ------
        ValueError
            As `Times.of`.
        """
        if not self._limits:
            return None
        times = self.times.of(x, name)
        limits = torch.tensor(self._limits, dtype=torch.float64, device=times.device)
        return torch.searchsorted(limits, times, right=True)

    def noise_seed(self, layer: str, direction: str) -> int:
        """Return the seed of a layer's rounding in this step: 32 bits of the names and numbers.

        Copies of one shape would share their noise under one seed.
        """
        text = f"{layer}/{direction}".encode()
        return zlib.crc32(text + struct.pack("<QQ", self.seed & (1 << 64) - 1, self.step))

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"seed": self.seed, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.seed, self.step = state["seed"], state["step"]


class Range:
    """A context for samples of a range of times.

    Members
    -------
    precision : Precision
    """

    def __init__(self, context: Context, precision: Precision, index: int) -> None:
        self.precision, self._context, self._index = precision, context, index

    @property
    def engine(self) -> Engine:
        """That of the context."""
        return self._context.engine

    @property
    def monitor(self) -> Monitor:
        """That of the context."""
        return self._context.monitor

    def noise_seed(self, layer: str, direction: str) -> int:
        """Return the seed of a layer's rounding for these samples in this step."""
        name = f"{layer}@{self._index}" if self._index else layer
        return self._context.noise_seed(name, direction)
