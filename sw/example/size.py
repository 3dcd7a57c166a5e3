"""How large the example is: one value, of which the tests take a tiny one."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Size"]


@dataclass(frozen=True)
class Size:
    """Sizes of the model and of its training.

    Members
    -------
    channels : (int, int)
        Of the U-Net at 16x16 and at 8x8, multiples of 8.
    text : int
        Width of the text encoder, a multiple of 4.
    layers : int
        Transformer layers of the text encoder.
    steps, batch : int
        Of pretraining.
    rate : float
        Highest learning rate of pretraining.
    judge_steps : int
        Steps of 64 images in which the judge learns.
    """

    channels: tuple[int, int] = (32, 64)
    text: int = 64
    layers: int = 2
    steps: int = 3000
    batch: int = 32
    rate: float = 2e-3
    judge_steps: int = 600

    @classmethod
    def tiny(cls) -> Size:
        """Return a size that pretrains in seconds, for tests."""
        return cls(
            channels=(8, 16), text=16, layers=1, steps=60, batch=16, rate=1e-2, judge_steps=100
        )
