"""Golden model of what the host does for a cross-attention module: softmax, scales and copies.

In float64; names and layouts as in attention.py. A copy's scale is the real value of one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from .attention import Sizes
from .numerics import quantise
from .scales import entry, multipliers, parts

__all__ = [
    "TextCopies",
    "by_head",
    "by_window",
    "largest_seen",
    "largest_sum",
    "latent_entries",
    "latent_scale",
    "merge_heads",
    "softmax",
    "softmax_backward",
    "split_heads",
    "tensor_entry",
    "text_copies",
    "windows_by_column",
]

LEVELS = 127


@dataclass(frozen=True)
class TextCopies:
    """Copies of keys or values, stacked by head.

    Members
    -------
    row : int8 (b h t, d); row_scale : float64 (b h t, 1)
    column : int8 (b h t, d); column_scale : float64 (b, C)
        By column of each head of each sample.
    unit : entries (b, C)
        Of ``column_scale / top``.
    top : float64 (b, 1)
        The largest column scale of a sample.
    """

    row: Tensor
    row_scale: Tensor
    column: Tensor
    column_scale: Tensor
    unit: Tensor
    top: Tensor


def split_heads(real: Tensor, sizes: Sizes) -> Tensor:
    """Return (b t, C), a row for each token, as (b h t, d)."""
    split = real.reshape(sizes.batch, sizes.text, sizes.heads, sizes.width)
    return split.transpose(1, 2).reshape(sizes.stacked, sizes.width)


def merge_heads(stacked: Tensor, sizes: Sizes) -> Tensor:
    """Undo `split_heads`."""
    split = stacked.reshape(sizes.batch, sizes.heads, sizes.text, sizes.width)
    return split.transpose(1, 2).reshape(sizes.batch * sizes.text, sizes.channels)


def windows_by_column(stacked: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Return the copy of each window by column, and its scales: (b h, columns)."""
    pairs = [quantise(stacked[w.stacked], "column") for w in sizes.windows]
    copies, scales = zip(*pairs, strict=True)
    return torch.cat(copies), torch.cat(scales)


def text_copies(stacked: Tensor, sizes: Sizes) -> TextCopies:
    """Return the copies of real keys or values, float64 (b h t, d)."""
    row, row_scale = quantise(stacked, "row")
    column, scale = windows_by_column(stacked, sizes)
    scale = scale.reshape(sizes.batch, sizes.channels)
    top = scale.amax(dim=1, keepdim=True)
    unit = _entries(scale, top.expand_as(scale))
    return TextCopies(row, row_scale, column, scale, unit, top)


def largest_sum(text_row: Tensor) -> int:
    """Return what no sum of a row copy and a latent copy exceeds: 127 times the largest row sum.

    It stands in for the maximum of an earlier step where there is none.
    """
    return LEVELS * int(text_row.long().abs().sum(dim=1).max())


def tensor_entry(largest: Fraction | int, margin: Fraction | int = 1) -> Tensor:
    """Return the one entry, (1, 1), of a copy by tensor that `margin` times `largest` fills."""
    return entry(*multipliers([LEVELS], [Fraction(largest) * margin])).reshape(1, 1)


def largest_seen(copy: Tensor, made_by: Tensor) -> Fraction:
    """Return the largest sum of an earlier step, as its copy by tensor tells: within half a step.

    Parameters
    ----------
    copy : int8 (b h t, n)
    made_by : entry (1, 1)
    """
    m, s = (int(part) for part in parts(made_by))
    return Fraction(int(copy.long().abs().max())) / m * Fraction(2) ** s if m else Fraction(0)


def softmax(s: Tensor, s_entry: Tensor, keys: Tensor, queries: Tensor, sizes: Sizes) -> Tensor:
    """Return the softmax of scores over the text tokens, float64 (b h t, n).

    Parameters
    ----------
    s : int8 (b h t, n)
    s_entry : entry (1, 1)
        By which `s` was made of sums.
    keys : float64 (b h t, 1)
        Scales of K.row.
    queries : float64 (h, b n)
        Scales of Q.token.
    sizes : Sizes
    """
    real = _real(s, s_entry, keys, queries, sizes) / sizes.width**0.5
    return torch.cat([torch.softmax(real[w.stacked], dim=0) for w in sizes.windows])


def softmax_backward(
    p: Tensor,
    dp: Tensor,
    dp_entry: Tensor,
    text_scale: Tensor,
    do_scale: Tensor,
    sizes: Sizes,
) -> Tensor:
    """Return gradients of the products K Q, float64 (b h t, n).

    ``dS = P (dP - sum of P dP over the text tokens) / sqrt(d)``

    Parameters
    ----------
    p : float64 (b h t, n)
    dp : int8 (b h t, n)
    dp_entry : entry (1, 1)
        By which `dp` was made of sums.
    text_scale : float64 (b h t, 1)
        Scales of V.row.
    do_scale : float64 (h, b n)
        Scales of dO.token.
    sizes : Sizes
    """
    real = _real(dp, dp_entry, text_scale, do_scale, sizes)
    made = []
    for w in sizes.windows:
        mean = (p[w.stacked] * real[w.stacked]).sum(dim=0, keepdim=True)
        made.append(p[w.stacked] * (real[w.stacked] - mean) / sizes.width**0.5)
    return torch.cat(made)


def latent_scale(weights: Tensor, text: Tensor, sizes: Sizes) -> Tensor:
    """Return the scales of a latent copy of text^T times weights: no element leaves it.

    ``max over heads of sum over t of |weights[t, i]| max_d |text[t, d]|``, over 127.

    Parameters
    ----------
    weights : float64 (b h t, n)
        Probabilities, or the gradients dS.
    text : float64 (b h t, d)
        Values, or keys.
    sizes : Sizes

    Returns
    -------
    float64 (1, b n)
    """
    bound = weights.abs() * text.abs().amax(dim=1, keepdim=True)
    windows = torch.stack([bound[w.stacked].sum(dim=0) for w in sizes.windows])
    return by_head(windows, sizes).amax(dim=0, keepdim=True) / LEVELS


def latent_entries(weights: Tensor, text: TextCopies, scale: Tensor, sizes: Sizes) -> Tensor:
    """Return the entries, (h, b n), of a latent copy made of text^T times `weights`.

    Parameters
    ----------
    weights : float64 (h, b n)
        Scales of P.token or dS.token.
    text : TextCopies
        Of V or K.
    scale : float64 (1, b n)
        What a step of the copy shall be, by latent token.
    sizes : Sizes
    """
    top = text.top.repeat_interleave(sizes.tokens, dim=0).T
    return _entries(weights * top, scale.expand_as(weights))


def by_head(windows: Tensor, sizes: Sizes) -> Tensor:
    """Return numbers of windows, (b h, n), as a table of heads, (h, b n)."""
    split = windows.reshape(sizes.batch, sizes.heads, sizes.tokens)
    return split.transpose(0, 1).reshape(sizes.heads, sizes.columns)


def by_window(heads: Tensor, sizes: Sizes) -> Tensor:
    """Return a table of heads, (h, b n), spread over the windows' text tokens: (b h t, n)."""
    split = heads.reshape(sizes.heads, sizes.batch, sizes.tokens).transpose(0, 1)
    return split.reshape(-1, sizes.tokens).repeat_interleave(sizes.text, dim=0)


def _real(copy: Tensor, made_by: Tensor, text: Tensor, latent: Tensor, sizes: Sizes) -> Tensor:
    m, s = parts(made_by)
    ratio = m.double() / torch.exp2(s.double())
    step = torch.where(ratio > 0, 1 / ratio, torch.zeros_like(ratio))
    return copy.double() * step * text * by_window(latent, sizes)


def _entries(numerators: Tensor, denominators: Tensor) -> Tensor:
    """Return the entries of quotients of floats, as exact rationals."""
    m, s = multipliers(numerators.flatten().tolist(), denominators.flatten().tolist())
    return entry(m, s).reshape(numerators.shape)
