"""The example's U-Net as `cdmqta workload` and the timing of steps take it."""

from __future__ import annotations

import torch

from .shapes import SIDE
from .size import Size
from .unet import UNet
from .words import TOKENS

__all__ = ["example"]


def example() -> tuple[UNet, dict[str, torch.Tensor]]:
    """Return the U-Net, untrained, and inputs of one sample."""
    size = Size()
    with torch.device("meta"):
        inputs = {
            "images": torch.empty(1, 3, SIDE, SIDE),
            "times": torch.empty(1, dtype=torch.long),
            "text": torch.empty(1, TOKENS, size.text),
        }
        return UNet(size), inputs
