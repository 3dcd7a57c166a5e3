"""Small torch models with attention to the sample and to a text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CHANNELS", "SIDE", "TEXT", "TOKENS", "Attention", "Net", "example"]

SIDE, CHANNELS, TOKENS, TEXT, TIME = 6, 8, 5, 12, 10


class Attention(nn.Module):
    """With two heads, in one of three forms that are usual."""

    def __init__(self, width: int, source: int, form: str = "sdpa") -> None:
        super().__init__()
        self.form = form
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(source, width, bias=False)
        self.to_v = nn.Linear(source, width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        source = x if source is None else source
        q, k, v = (
            layer(each).unflatten(-1, (2, -1)).transpose(1, 2)
            for layer, each in ((self.to_q, x), (self.to_k, source), (self.to_v, source))
        )
        if self.form == "sdpa":
            values = F.scaled_dot_product_attention(q, k, v)
        elif self.form == "matmul":
            values = (q @ k.transpose(-1, -2) / 2).softmax(-1) @ v
        else:
            q, k, v = q[0], k[0], v[0]
            start = torch.zeros(2, q.shape[1], k.shape[1], device=q.device)
            scores = torch.baddbmm(start, q, k.transpose(1, 2), beta=0, alpha=0.5)
            values = torch.bmm(F.softmax(scores, dim=-1), v)[None]
        return self.to_out(values.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A transformer of one block, between projections."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.proj_in = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.norm = nn.LayerNorm(CHANNELS)
        self.own = Attention(CHANNELS, CHANNELS, form)
        self.cross = Attention(CHANNELS, TEXT, form)
        self.widen = nn.Linear(CHANNELS, 16)
        self.narrow = nn.Linear(16, CHANNELS)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        tokens = self.proj_in(x).flatten(2).transpose(1, 2)
        tokens = tokens + self.own(self.norm(tokens))
        tokens = tokens + self.cross(self.norm(tokens), text)
        tokens = tokens + self.narrow(F.gelu(self.widen(tokens)))
        return x + tokens.transpose(1, 2).unflatten(2, x.shape[2:])


class Net(nn.Module):
    """conv_in, time projection, a transformer, a downsampler."""

    def __init__(self, form: str = "sdpa") -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.time = nn.Linear(TIME, CHANNELS)
        self.block = Block(form)
        self.down = nn.Conv2d(CHANNELS, 4, 3, stride=2, padding=1, bias=False)

    def forward(self, sample: Tensor, step: Tensor, text: Tensor) -> Tensor:
        x = self.conv_in(sample) + self.time(step)[:, :, None, None]
        return self.down(self.block(x, text))


def example() -> tuple[Any, ...]:
    """Return a sample, a time step and a text."""
    return torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, TIME), torch.zeros(1, TOKENS, TEXT)
