"""What all layers of a model share while it trains."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from .engine import Engine, TorchEngine
from .monitor import Monitor
from .precision import Precision

__all__ = ["Context"]


class Context:
    """An engine, how operands are quantised, and the step that noise depends on.

    Parameters
    ----------
    precision : Precision
    engine : Engine, optional
        By default torch.
    seed : int
        Of stochastic rounding.

    Members
    -------
    step : int
        Number of the optimiser step; the training loop counts it.
    monitor : Monitor
        What it is told is logged.
    """

    def __init__(self, precision: Precision, engine: Engine | None = None, seed: int = 0) -> None:
        self.precision, self.engine, self.seed = precision, engine or TorchEngine(), seed
        self.step = 0
        self.monitor = Monitor()

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
