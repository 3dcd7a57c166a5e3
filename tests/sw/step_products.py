"""The products of a step as plain numpy, as the array computes them: stands in for its programs."""

from __future__ import annotations

import numpy as np

from hw.isa.numerics import decode_scale, fresh_entry, update_entry
from sim.arithmetic import decode_scales, matmul, requantise8, requantise32, scale_accumulate
from sw.graph.shape import Module, Shape

__all__ = ["backward", "forward", "text_backward", "text_forward"]

Values = dict[str, np.ndarray]


def fresh(sums: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return maxima along an axis, and the copy that they scale."""
    maxima = np.abs(sums.astype(np.int64)).max(axis=axis, keepdims=True)
    entries = np.array([fresh_entry(int(a)) for a in maxima.ravel()], np.uint32)
    return maxima.astype(np.uint32), loaded(sums, entries.reshape(maxima.shape))


def loaded(sums: np.ndarray, entries: np.ndarray) -> np.ndarray:
    return requantise8(sums, *decode_scales(entries))


def updated(base: np.ndarray, left: np.ndarray, right: np.ndarray, entries: list[int]):
    """Add an update whose rows have scales."""
    m, s = (np.array(each)[:, None] for each in zip(*map(decode_scale, entries), strict=True))
    return scale_accumulate(base, matmul(left, right), m, s)[0]


def text_forward(shape: Shape, v: Values) -> None:
    h = matmul(v["text.X.row"], v["text.A"])
    maxima, v["text.H.row"] = fresh(h, 1)
    v["text.H.row_maxima"] = maxima.T
    v["text.H.column_maxima"], v["text.H.column"] = fresh(h, 0)
    y = matmul(v["text.X.row"], v["text.W"])
    for index, site in enumerate(shape.sites):
        if site.rank:
            columns = slice(site.first, site.first + site.outputs)
            factor = int(v["text.Y.factor"][0, index])
            left = v["text.H.row"][:, site.group : site.group + site.width]
            entries = [update_entry(int(a), factor) for a in maxima.ravel()]
            y[:, columns] = updated(
                y[:, columns], left, v["text.Bt"][: site.width, columns], entries
            )
    v["text.Y"] = y


def text_backward(shape: Shape, v: Values) -> None:
    dh = np.zeros((shape.rows, shape.ranks), np.int32)
    for site in shape.sites:
        if site.rank:
            columns = slice(site.first, site.first + site.outputs)
            group = slice(site.group, site.group + site.width)
            up = v["text.Bt"][: site.width, columns]
            dh[:, group] += matmul(v["text.dY.row"][:, columns], up.T)
    maxima, v["text.dH.row"] = fresh(dh, 1)
    v["text.dH.row_maxima"] = maxima.T
    v["text.dH.column_maxima"], dh_column = fresh(dh, 0)
    dx = matmul(v["text.dY.row"], v["text.W"].T)
    factor = int(v["text.dX.factor"].item())
    entries = [update_entry(int(a), factor) for a in maxima.ravel()]
    v["text.dX"] = updated(dx, v["text.dH.row"], v["text.Au"], entries)
    v["text.dA"] = matmul(v["text.X.column"].T, dh_column)
    deepest = max(site.rank for site in shape.sites)
    v["text.dBt"] = np.zeros((deepest, shape.columns), np.int32)
    for site in shape.sites:
        columns = slice(site.first, site.first + site.outputs)
        h = v["text.H.column"][:, site.column : site.column + site.rank]
        v["text.dBt"][: site.rank, columns] = matmul(h.T, v["text.dY.column"][:, columns])


def windows(shape: Shape, m: Module):
    """Yield the sample, the head, and the slices of text rows, channels and tokens of each."""
    width = m.channels // m.heads
    for s in range(shape.batch):
        for k in range(m.heads):
            start = (s * m.heads + k) * shape.text_tokens
            yield (s, k, slice(start, start + shape.text_tokens),
                   slice(k * width, (k + 1) * width),
                   slice(s * m.tokens, (s + 1) * m.tokens))  # fmt: skip


def heads_copied(m: Module, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return maxima (heads, tokens) and the copy by token of each head."""
    made = [fresh(part, 0) for part in np.split(sums, m.heads)]
    return np.concatenate([a for a, _ in made]), np.concatenate([copy for _, copy in made])


def rescaled(sums: np.ndarray, unit: np.ndarray) -> np.ndarray:
    return requantise32(sums, *decode_scales(unit[:, None]))


def forward(shape: Shape, m: Module, v: Values, part: str) -> None:
    p = m.path
    stacked, latents = shape.rows * m.heads, shape.batch * m.tokens
    if part == "scores":
        q = matmul(v[f"{p}.Wq"], v[f"{p}.X.token"])
        v[f"{p}.Q.maxima"], v[f"{p}.Q.token"] = heads_copied(m, q)
        v[f"{p}.S"] = np.zeros((stacked, m.tokens), np.int8)
        for _, _, text, channels, tokens in windows(shape, m):
            sums = matmul(v[f"{p}.K.row"][text], v[f"{p}.Q.token"][channels, tokens])
            v[f"{p}.S"][text] = loaded(sums, v[f"{p}.S.entry"])
        return
    o = np.zeros((m.channels, latents), np.int8)
    for s, k, text, channels, tokens in windows(shape, m):
        sums = matmul(v[f"{p}.V.column"][text].T, v[f"{p}.P.token"][text])
        sums = rescaled(sums, v[f"{p}.V.unit"][s, channels])
        o[channels, tokens] = loaded(sums, v[f"{p}.O.entries"][k, tokens][None])
    v[f"{p}.O.token"] = o
    v[f"{p}.out"] = matmul(v[f"{p}.Wo"], o)


def backward(shape: Shape, m: Module, v: Values, part: str) -> None:
    p, width = m.path, m.channels // m.heads
    stacked, latents = shape.rows * m.heads, shape.batch * m.tokens
    if part == "dscores":
        do = matmul(v[f"{p}.Wo"].T, v[f"{p}.dY.token"])
        v[f"{p}.dO.maxima"], v[f"{p}.dO.token"] = heads_copied(m, do)
        v[f"{p}.dP"] = np.zeros((stacked, m.tokens), np.int8)
        for _, _, text, channels, tokens in windows(shape, m):
            sums = matmul(v[f"{p}.V.row"][text], v[f"{p}.dO.token"][channels, tokens])
            v[f"{p}.dP"][text] = loaded(sums, v[f"{p}.dP.entry"])
        return
    dq = np.zeros((m.channels, latents), np.int8)
    v[f"{p}.dK"], v[f"{p}.dV"] = (np.zeros((stacked, width), np.int32) for _ in range(2))
    for s, k, text, channels, tokens in windows(shape, m):
        sums = matmul(v[f"{p}.K.column"][text].T, v[f"{p}.dS.token"][text])
        sums = rescaled(sums, v[f"{p}.K.unit"][s, channels])
        dq[channels, tokens] = loaded(sums, v[f"{p}.dQ.entries"][k, tokens][None])
        v[f"{p}.dK"][text] = matmul(v[f"{p}.dS.text"][text], v[f"{p}.Q.token"][channels, tokens].T)
        v[f"{p}.dV"][text] = matmul(v[f"{p}.P.text"][text], v[f"{p}.dO.token"][channels, tokens].T)
    v[f"{p}.dQ.token"] = dq
    v[f"{p}.dX"] = matmul(v[f"{p}.Wq"].T, dq)
