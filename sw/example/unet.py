"""The U-Net of the example, with cross-attention to the text at 16x16 and 8x8.

Its modules are named as those of diffusers are, so that the same patterns choose layers:
``*.attn2.to_k`` is the K projection of every cross-attention.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .size import Size

__all__ = ["CrossAttention", "UNet"]

_PATCH = 2  # pixels of a side that enter as channels: the finest level is 16x16
_HEADS = 4
_GROUPS = 8


class UNet(nn.Module):
    """Two levels of residual blocks with cross-attention; small enough to train on a CPU.

    Parameters
    ----------
    size : Size
        Its channels, and the width of the text.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        fine, coarse = size.channels
        time = 4 * fine
        self.time_width = fine
        self.time = nn.Sequential(nn.Linear(fine, time), nn.SiLU(), nn.Linear(time, time))
        self.conv_in = nn.Conv2d(3 * _PATCH**2, fine, 3, padding=1)
        self.down = nn.ModuleList(
            [Block(fine, fine, time, size.text), Block(coarse, coarse, time, size.text)]
        )
        self.downsample = nn.Conv2d(fine, coarse, 3, stride=2, padding=1)
        self.middle = Block(coarse, coarse, time, size.text)
        self.up = nn.ModuleList(
            [Block(2 * coarse, coarse, time, size.text), Block(2 * fine, fine, time, size.text)]
        )
        self.upsample = nn.Conv2d(coarse, fine, 3, padding=1)
        self.norm_out = nn.GroupNorm(_GROUPS, fine)
        self.conv_out = nn.Conv2d(fine, 3 * _PATCH**2, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)

    def forward(
        self, images: Tensor, times: Tensor, text: Tensor, *, detach_first: bool = False
    ) -> Tensor:
        """Return what the model predicts of noisy images.

        Parameters
        ----------
        images : Tensor
            float32 (n, 3, 32, 32).
        times : Tensor
            int64 (n,): steps of noise.
        text : Tensor
            float32 (n, tokens, width): rows of the text encoder.
        detach_first : bool
            Keep gradients from K and V of the first token, as Custom Diffusion does.

        Returns
        -------
        Tensor
            As `images`.
        """
        time = self.time(_waves(times, self.time_width))
        fine = self.conv_in(F.pixel_unshuffle(images, _PATCH))
        fine = self.down[0](fine, time, text, detach_first)
        coarse = self.down[1](self.downsample(fine), time, text, detach_first)
        x = self.middle(coarse, time, text, detach_first)
        x = self.up[0](torch.cat([x, coarse], 1), time, text, detach_first)
        x = self.upsample(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        x = self.up[1](torch.cat([x, fine], 1), time, text, detach_first)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), _PATCH)


class Block(nn.Module):
    """A residual block that knows the time, then cross-attention to the text."""

    def __init__(self, channels: int, out: int, time: int, text: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.time = nn.Linear(time, 2 * out)
        self.norm2 = nn.GroupNorm(_GROUPS, out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)
        self.norm = nn.GroupNorm(_GROUPS, out)
        self.attn2 = CrossAttention(out, text)

    def forward(self, x: Tensor, time: Tensor, text: Tensor, detach_first: bool) -> Tensor:
        """Return (n, out, h, w) of x (n, channels, h, w), time (n, width) and text."""
        scale, shift = self.time(F.silu(time))[:, :, None, None].chunk(2, 1)
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.norm2(hidden) * (1 + scale) + shift
        x = self.skip(x) + self.conv2(F.silu(hidden))
        rows = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.attn2(rows, text, detach_first).transpose(1, 2).unflatten(2, x.shape[2:])


class CrossAttention(nn.Module):
    """Multi-head attention of image rows to text rows, with the projections of diffusers."""

    def __init__(self, width: int, text: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(text, width, bias=False)
        self.to_v = nn.Linear(text, width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, rows: Tensor, text: Tensor, detach_first: bool) -> Tensor:
        """Return (n, pixels, width) of rows (n, pixels, width) and text (n, tokens, text width).

        With `detach_first`, K and V of the first token are constants in the backward pass: its
        row is the same for all captions, and what is learnt there would change every image.
        """
        key, value = self.to_k(text), self.to_v(text)
        if detach_first:
            key, value = _without_first(key), _without_first(value)
        q, k, v = (
            each.unflatten(-1, (_HEADS, -1)).transpose(1, 2)
            for each in (self.to_q(rows), key, value)
        )
        return self.to_out(self.attend(q, k, v).transpose(1, 2).flatten(2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return attention (n, heads, pixels, width) of q to k and v (n, heads, tokens, width).

        Its products are in integers where `sw.train.attention.replacement` takes its place.
        """
        return F.scaled_dot_product_attention(q, k, v)


def _without_first(rows: Tensor) -> Tensor:
    return torch.cat([rows[:, :1].detach(), rows[:, 1:]], 1)


def _waves(times: Tensor, width: int) -> Tensor:
    """Return sines and cosines (n, width) of times (n,), slow and fast."""
    half = width // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=times.device) / half)
    angles = times[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)
