"""Golden model of a cross-attention module: what a chip makes in its four segments.

A module has b samples of n latent tokens and t text tokens, h heads of width d, C = h d. Latent
matrices are channel-major, (C, b n): a column is a token, sample after sample. What belongs to
heads is stacked by sample, then by head: keys and values (b h t, d), scores (b h t, n). So heads
are windows of matrices, and every reduction runs along a window's own axis.

Each function takes what a segment reads and returns what it writes, by the names of
docs/numerics.md: int8, int32, and int64 for maxima and entries. What the host does between them
is in attention_host.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .numerics import absmax, fresh_entry, gemm, requantise, requantise8
from .scales import parts

__all__ = ["Sizes", "Window", "dscores", "gradients", "scores", "values"]

Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Window:
    """Where a head of a sample lies: in stacked matrices, in latent ones, in tables of heads."""

    sample: int
    head: int
    stacked: slice
    channels: slice
    tokens: slice


@dataclass(frozen=True)
class Sizes:
    """b `batch`, t `text` tokens, n `tokens` of the latent, h `heads`, d `width` of a head."""

    batch: int
    text: int
    tokens: int
    heads: int
    width: int

    @property
    def channels(self) -> int:
        """C, of all heads."""
        return self.heads * self.width

    @property
    def columns(self) -> int:
        """Columns of a latent matrix."""
        return self.batch * self.tokens

    @property
    def stacked(self) -> int:
        """Rows of keys, values and scores."""
        return self.batch * self.heads * self.text

    @property
    def windows(self) -> Iterator[Window]:
        """Every head of every sample, as they are stacked."""
        t, n, d = self.text, self.tokens, self.width
        for s in range(self.batch):
            for k in range(self.heads):
                first = (s * self.heads + k) * t
                yield Window(
                    s, k, slice(first, first + t), slice(k * d, k * d + d), slice(s * n, s * n + n)
                )


def scores(given: Values, sizes: Sizes) -> dict[str, Tensor]:
    """Return queries and scores: ``Q = Wq X``, ``S = K Q`` by head.

    Parameters
    ----------
    given : X.token int8 (C, b n), Wq int8 (C, C), K.row int8 (b h t, d), S.entry (1, 1)
    sizes : Sizes

    Returns
    -------
    Q.maxima (h, b n), Q.token int8 (C, b n), S int8 (b h t, n)
    """
    made = _by_head("Q", gemm(given["Wq"], given["X.token"]), sizes)
    sums = _stacked(given["K.row"], made["Q.token"], sizes)
    return made | {"S": requantise8(sums, *parts(given["S.entry"]))}


def values(given: Values, sizes: Sizes) -> dict[str, Tensor]:
    """Return the attended values and the module's output: ``O = V^T P`` by head, ``Y = Wo O``.

    Parameters
    ----------
    given : V.column int8 (b h t, d), P.token int8 (b h t, n), O.entries (h, b n), V.unit (b, C),
        Wo int8 (C, C)
    sizes : Sizes

    Returns
    -------
    O.token int8 (C, b n), out int32 (C, b n)
    """
    token = _latent(given, ("V.column", "P.token", "V.unit", "O.entries"), sizes)
    return {"O.token": token, "out": gemm(given["Wo"], token)}


def dscores(given: Values, sizes: Sizes) -> dict[str, Tensor]:
    """Return gradients of O and of probabilities: ``dO = Wo^T dY``, ``dP = V dO`` by head.

    Parameters
    ----------
    given : dY.token int8 (C, b n), Wo int8 (C, C), V.row int8 (b h t, d), dP.entry (1, 1)
    sizes : Sizes

    Returns
    -------
    dO.maxima (h, b n), dO.token int8 (C, b n), dP int8 (b h t, n)
    """
    made = _by_head("dO", gemm(given["Wo"].T, given["dY.token"]), sizes)
    sums = _stacked(given["V.row"], made["dO.token"], sizes)
    return made | {"dP": requantise8(sums, *parts(given["dP.entry"]))}


def gradients(given: Values, sizes: Sizes) -> dict[str, Tensor]:
    """Return ``dQ = K^T dS``, ``dX = Wq^T dQ``, ``dK = dS Q^T``, ``dV = P dO^T``, by head.

    Parameters
    ----------
    given : K.column int8 (b h t, d), dS.token int8 (b h t, n), K.unit (b, C), dQ.entries (h, b n),
        Wq int8 (C, C), dS.text, P.text int8 (b h t, n), Q.token, dO.token int8 (C, b n)
    sizes : Sizes

    Returns
    -------
    dQ.token int8 (C, b n), dX int32 (C, b n), dK, dV int32 (b h t, d)
    """
    token = _latent(given, ("K.column", "dS.token", "K.unit", "dQ.entries"), sizes)
    made = {"dQ.token": token, "dX": gemm(given["Wq"].T, token)}
    for name, left, right in (("dK", "dS.text", "Q.token"), ("dV", "P.text", "dO.token")):
        made[name] = torch.cat(
            [
                gemm(given[left][w.stacked], given[right][w.channels, w.tokens].T)
                for w in sizes.windows
            ]
        )
    return made


def _by_head(name: str, sums: Tensor, sizes: Sizes) -> dict[str, Tensor]:
    """Return maxima over the channels of each head, and the INT8 copy by them."""
    heads = sums.reshape(sizes.heads, sizes.width, sizes.columns)
    maxima = torch.cat([absmax(head, "column") for head in heads])
    copies = [
        requantise8(head, *parts(fresh_entry(largest)))
        for head, largest in zip(heads, maxima, strict=True)
    ]
    return {f"{name}.maxima": maxima, f"{name}.token": torch.cat(copies)}


def _stacked(text: Tensor, latent: Tensor, sizes: Sizes) -> Tensor:
    """Return the sums of text times latent tokens, (b h t, n)."""
    return torch.cat([gemm(text[w.stacked], latent[w.channels, w.tokens]) for w in sizes.windows])


def _latent(given: Values, names: tuple[str, str, str, str], sizes: Sizes) -> Tensor:
    """Return the INT8 copy of text^T times probabilities: rows by unit, columns by entries."""
    text, weights, unit, entries = (given[name] for name in names)
    token = torch.zeros(sizes.channels, sizes.columns, dtype=torch.int8)
    for w in sizes.windows:
        sums = gemm(text[w.stacked].T, weights[w.stacked])
        sums = requantise(sums, *parts(unit[w.sample, w.channels, None]))
        token[w.channels, w.tokens] = requantise8(sums, *parts(entries[w.head, w.tokens]))
    return token
