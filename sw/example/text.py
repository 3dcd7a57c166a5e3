"""The text encoder: captions as rows that the U-Net attends to."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .words import MODIFIER_ID, TOKENS

__all__ = ["TextEncoder"]

_HEADS = 4


class TextEncoder(nn.Module):
    """Embeddings and causal transformer layers, as in CLIP.

    Every token sees those before it only, so the row of the start token is the same for all
    captions. The modifier's embedding is a parameter of its own, `modifier`: fine-tuning trains
    it while all else is frozen.

    Parameters
    ----------
    width : int
        Of the rows, a multiple of 4.
    layers : int
        Transformer layers.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.words = nn.Embedding(MODIFIER_ID, width)
        self.modifier = nn.Parameter(torch.zeros(width))
        self.places = nn.Parameter(torch.randn(TOKENS, width) * 0.5)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return rows, float32 (n, `TOKENS`, width), of token ids, int64 (n, `TOKENS`)."""
        rows = F.embedding(tokens, torch.cat([self.words.weight, self.modifier[None]]))
        rows = rows + self.places
        for layer in self.layers:
            rows = layer(rows)
        return self.norm(rows)


class _Layer(nn.Module):
    """Attention to earlier tokens, then a network of each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, rows: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(rows)).unflatten(-1, (3, _HEADS, -1)).unbind(-3)
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        values = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        rows = rows + self.out(values.transpose(1, 2).flatten(2))
        return rows + self.narrow(F.gelu(self.widen(self.norm2(rows))))
