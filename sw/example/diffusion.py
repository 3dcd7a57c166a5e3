"""Noise: its schedule, the loss of a denoiser, and the sampler that makes images of noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .shapes import SIDE
from .size import Size
from .text import TextEncoder
from .unet import UNet
from .words import tokenise

__all__ = ["TIMES", "WEIGHT", "Diffusion", "even_times", "loss_by_range", "losses", "sample"]

TIMES = 1000
"""Steps of noise: 0 is nearly the image, the last nearly noise alone."""


WEIGHT = 10.0
"""Highest weight of an image's squared error."""


class Diffusion(nn.Module):
    """Text encoder and U-Net: predicts the image in ``alpha image + sigma noise``.

    An image of few flat colours is easier to tell than its noise, or than v.

    Parameters
    ----------
    size : Size
        Sizes of both.
    """

    alpha: Tensor
    sigma: Tensor

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.text = TextEncoder(size.text, size.layers)
        self.unet = UNet(size)
        # The cosine schedule of Nichol and Dhariwal: alpha^2 + sigma^2 = 1.
        angle = (torch.arange(TIMES, dtype=torch.float64) + 1) / TIMES
        angle = (angle + 0.008) / 1.008 * math.pi / 2
        self.register_buffer("alpha", angle.cos().clamp(min=0.004).float(), persistent=False)
        self.register_buffer("sigma", (1 - self.alpha.double() ** 2).sqrt().float(), False)

    def forward(
        self, images: Tensor, times: Tensor, tokens: Tensor, *, detach_first: bool = False
    ) -> Tensor:
        """Return images (n, 3, 32, 32) as they are told from noisy ones.

        Times are int64 (n,), token ids int64 (n, tokens), `detach_first` is as for `UNet`.
        """
        return self.unet(images, times, self.text(tokens), detach_first=detach_first)

    def level(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shares (n, 1, 1, 1) of image and noise at times (n,)."""
        return self.alpha[times][:, None, None, None], self.sigma[times][:, None, None, None]


def losses(
    model: Diffusion,
    images: Tensor,
    tokens: Tensor,
    times: Tensor,
    noise: Tensor,
    *,
    detach_first: bool = False,
) -> Tensor:
    """Return the weighted mean squared error of every image.

    The weight is 1 / sigma^2, with which it is the error of v (Salimans and Ho, 2022), but at
    most `WEIGHT`: nearly clean images are not all that counts.

    Parameters
    ----------
    model : Diffusion
        The denoiser.
    images, noise : Tensor
        float32 (n, 3, 32, 32).
    tokens : Tensor
        int64 (n, tokens).
    times : Tensor
        int64 (n,).
    detach_first : bool
        As for `UNet`.

    Returns
    -------
    Tensor
        float32 (n,).
    """
    alpha, sigma = model.level(times)
    predicted = model(alpha * images + sigma * noise, times, tokens, detach_first=detach_first)
    weight = (1 / sigma**2).clamp(max=WEIGHT)
    return (weight * (predicted - images).square()).mean((1, 2, 3))


def even_times(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return times int64 (count,), in random order, one drawn from each of `count` equal ranges."""
    return (TIMES * (rng.permutation(count) + rng.random(count)) / count).astype(np.int64)


def loss_by_range(losses: np.ndarray, times: np.ndarray, ranges: int = 5) -> list[float]:
    """Return the mean loss in each of `ranges` equal ranges of time, least noise first.

    A range without an image is NaN.
    """
    place = times * ranges // TIMES
    counts = np.bincount(place, minlength=ranges)
    sums = np.bincount(place, weights=losses, minlength=ranges)
    pairs = zip(sums, counts, strict=True)
    return [float(total / count) if count else math.nan for total, count in pairs]


@torch.no_grad()
def sample(
    model: Diffusion,
    captions: Sequence[str],
    *,
    seed: int,
    steps: int = 20,
    guidance: float = 3.0,
    batch: int = 64,
) -> np.ndarray:
    """Make images of captions by DDIM with classifier-free guidance.

    Equal seeds give every model the same noise to begin with, so that images of two models can
    be compared one by one.

    Parameters
    ----------
    model : Diffusion
        The denoiser.
    captions : sequence of str
        One an image.
    seed : int
        Of the noise.
    steps : int
        Evaluations of the model an image, each with and without the caption.
    guidance : float
        How far to go from the prediction without caption to the one with it; 1 is that one.
    batch : int
        Images at once.

    Returns
    -------
    ndarray
        float32 (captions, 3, 32, 32) in [-1, 1].
    """
    noise = np.random.default_rng(seed).standard_normal((len(captions), 3, SIDE, SIDE), np.float32)
    parts = [
        _sample(
            model, captions[first : first + batch], noise[first : first + batch], steps, guidance
        )
        for first in range(0, len(captions), batch)
    ]
    return np.concatenate(parts) if parts else noise


def _sample(
    model: Diffusion, captions: Sequence[str], noise: np.ndarray, steps: int, guidance: float
) -> np.ndarray:
    device = model.alpha.device
    x = torch.from_numpy(noise).to(device)
    texts = model.text(torch.from_numpy(tokenise([*captions, *[""] * len(x)])).to(device))
    times = torch.linspace(TIMES - 1, 0, steps, device=device).long()
    image = x
    for index, time in enumerate(times):
        at = time.expand(len(x))
        with_text, without = model.unet(torch.cat([x, x]), at.repeat(2), texts).chunk(2)
        # Guidance leaves the range of images; without the clamp the error grows step by step.
        image = (without + guidance * (with_text - without)).clamp(-1, 1)
        alpha, sigma = model.level(at)
        noise_left = (x - alpha * image) / sigma
        if index + 1 < len(times):
            alpha, sigma = model.level(times[index + 1].expand(len(x)))
            x = alpha * image + sigma * noise_left
    return image.cpu().numpy()
