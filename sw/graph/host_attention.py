"""What the host does inside a cross-attention module: heads, softmax, loss, and softmax backward.

Latent matrices are channel-major with a column for each token, sample by sample; here they are
arrays of (channels, batch, tokens) or (heads, batch, tokens). Matrices of heads are stacked by
sample and head; here they are (batch, heads, text tokens, width). `S` stands for the scales in
`HostState.scales`: real values of one step.
"""

from __future__ import annotations

import math

import numpy as np

from hw.isa.numerics import INT8_MAX

from ..quantise import symmetric
from .host import HostState, delayed_limit, ratio_of, table
from .host_text import site_outputs
from .shape import Module
from .tensors import latent_input, weight_name

__all__ = [
    "collect_module",
    "latent",
    "module_loss",
    "module_weights",
    "softmax",
    "softmax_backward",
    "split_heads",
]

_TEXT, _TOKEN = 2, 3
"""Axes of (batch, heads, text tokens, tokens), and of K and V with the width as the last."""


def module_weights(state: HostState, module: Module) -> None:
    """Make the weights of q and out, as torch has them."""
    for name, path in (("Wq", module.query), ("Wo", module.out)):
        values, absmax = symmetric(state.tensors[weight_name(path)], (0, 1))
        state.values[f"{module.path}.{name}"] = values
        state.scales[f"{module.path}.{name}"] = absmax / INT8_MAX


def latent(state: HostState, module: Module) -> None:
    """Make the copy of the module's input, a scale for each token."""
    x = state.tensors[latent_input(module.path)].transpose(2, 0, 1)
    values, absmax = symmetric(x, 0)
    state.values[f"{module.path}.X.token"] = values.reshape(module.inputs, -1)
    state.scales[f"{module.path}.X.token"] = absmax[0] / INT8_MAX  # (batch, tokens)


def split_heads(state: HostState, module: Module) -> None:
    """Make the copies of K and V by text token, for the scores, and by channel, for the values."""
    shape, path = state.shape, module.path
    width = module.channels // module.heads
    for name, index in (("K", module.key), ("V", module.value)):
        y = site_outputs(state, index)
        heads = y.reshape(shape.batch, shape.text_tokens, module.heads, width).transpose(0, 2, 1, 3)
        for copy, axis in (("row", 3), ("column", _TEXT)):
            values, absmax = symmetric(heads, axis)
            state.values[f"{path}.{name}.{copy}"] = values.reshape(-1, width)
            state.scales[f"{path}.{name}.{copy}"] = absmax / INT8_MAX
        columns = state.scales[f"{path}.{name}.column"]
        top = columns.max(axis=(1, 2, 3), keepdims=True)  # of each sample
        state.scales[f"{path}.{name}.unit"] = top[:, 0, 0, 0]
        units = columns / np.where(top > 0, top, 1)
        state.values[f"{path}.{name}.unit"] = table(units, shape.batch)
    state.values[f"{path}.S.entry"] = _score_entry(state, module, "S", "K")


def _score_entry(state: HostState, module: Module, name: str, left: str) -> np.ndarray:
    """Return the entry of all scores: 127 by what their sums will not be above, as far as known.

    A sum of products with the row k of INT8 values is at most ``127 |k|_1``.
    """
    rows = state.values[f"{module.path}.{left}.row"].astype(np.float64)
    bound = INT8_MAX * np.abs(rows).sum(1).max()
    limit = float(delayed_limit(state, f"{module.path}.{name}", bound))
    return table(np.array(INT8_MAX / limit if limit else 0.0), 1)


def _scores(state: HostState, module: Module, name: str) -> tuple[np.ndarray, float]:
    """Return an INT8 copy of scores and the value of one step in sums; record their maximum."""
    copy = state.values[f"{module.path}.{name}"]
    ratio = ratio_of(state.values[f"{module.path}.{name}.entry"])
    unit = 1 / ratio if ratio else 0.0
    state.maxima[f"{module.path}.{name}"] = np.abs(copy.astype(np.int16)).max() * unit
    shape = state.shape.batch, module.heads, state.shape.text_tokens, module.tokens
    return copy.reshape(shape), unit


def _head_scales(state: HostState, module: Module, maxima: str, *others: str) -> np.ndarray:
    """Return the scales of a latent copy by head: ``maximum / 127`` in the unit of its sums.

    Returns
    -------
    float64, (batch, heads, 1, tokens)
    """
    found = state.values[f"{module.path}.{maxima}"].reshape(module.heads, state.shape.batch, -1)
    scale = found / INT8_MAX
    for other in others:
        scale = scale * state.scales[f"{module.path}.{other}"]
    return scale.transpose(1, 0, 2)[:, :, None]


def softmax(state: HostState, module: Module) -> None:
    """Make P of the scores, and the entries of the values' copy."""
    path, width = module.path, module.channels // module.heads
    copy, unit = _scores(state, module, "S")
    scale = _head_scales(state, module, "Q.maxima", "Wq", "X.token")
    state.scales[f"{path}.Q.token"] = scale
    scores = copy * (state.scales[f"{path}.K.row"] * (unit / math.sqrt(width))) * scale
    scores = np.exp(scores - scores.max(axis=_TEXT, keepdims=True))
    p = scores / scores.sum(axis=_TEXT, keepdims=True)
    state.real[f"{path}.P"] = p
    values, absmax = symmetric(p, _TEXT)
    state.values[f"{path}.P.token"] = values.reshape(-1, module.tokens)
    _latent_entries(state, module, ("O", "V"), p, absmax / INT8_MAX)


def _latent_entries(
    state: HostState, module: Module, names: tuple[str, str], real: np.ndarray, step: np.ndarray
) -> None:
    """Make the entries of the copy of O or dQ, one scale for the heads of a token together.

    No element is above ``max over heads of sum over t of |real| max |text|``: that is 127 steps.

    Parameters
    ----------
    names : str, str
        Of the product, and of V or K.
    real, step : float64, (batch, heads, text tokens, tokens), (batch, heads, 1, tokens)
        P or dS, and the scales of its copy.
    """
    path, (name, text) = module.path, names
    rows = state.scales[f"{path}.{text}.row"]  # of each text token and head: its maximum / 127
    scale = (np.abs(real) * rows).sum(axis=_TEXT).max(axis=1)  # (batch, tokens)
    state.scales[f"{path}.{name}.token"] = scale
    top = state.scales[f"{path}.{text}.unit"][:, None, None, None]
    state.values[f"{path}.{name}.entries"] = _latent_table(
        _over(step * top, scale[:, None, None]), module
    )


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return ``above / below``, and zero by zero as zero."""
    return above / np.where(below > 0, below, 1)


def _latent_table(ratios: np.ndarray, module: Module) -> np.ndarray:
    """Return the entries of (batch, heads, 1, tokens) as a value of a row for each head."""
    return table(ratios[:, :, 0].transpose(1, 0, 2), module.heads)


def module_loss(state: HostState, module: Module) -> None:
    """Take the gradient of the module's output from the loss, and make its copy."""
    path = module.path
    shape = module.outputs, state.shape.batch, module.tokens
    step = state.scales[f"{path}.Wo"].item() * state.scales[f"{path}.O.token"]
    out = state.values[f"{path}.out"].reshape(shape) * step
    gradient = state.gradient(path, out.transpose(1, 2, 0)).transpose(2, 0, 1)
    values, absmax = symmetric(gradient, 0)
    state.values[f"{path}.dY.token"] = values.reshape(module.outputs, -1)
    state.scales[f"{path}.dY.token"] = absmax[0] / INT8_MAX
    state.values[f"{path}.dP.entry"] = _score_entry(state, module, "dP", "V")


def softmax_backward(state: HostState, module: Module) -> None:
    """Make dS of dP, ``P (dP - sum P dP) / sqrt(d)``, in the copies that its products read."""
    path, width = module.path, module.channels // module.heads
    copy, unit = _scores(state, module, "dP")
    scale = _head_scales(state, module, "dO.maxima", "Wo", "dY.token")
    state.scales[f"{path}.dO.token"] = scale
    p, dp = state.real.pop(f"{path}.P"), copy * (state.scales[f"{path}.V.row"] * unit) * scale
    ds = p * (dp - (p * dp).sum(axis=_TEXT, keepdims=True)) / math.sqrt(width)
    values, absmax = symmetric(ds, _TEXT)
    state.values[f"{path}.dS.token"] = values.reshape(-1, module.tokens)
    # dK and dV reduce tokens: the scales of Q and dO go into what multiplies them.
    for name, real in (("dS.text", ds * state.scales[f"{path}.Q.token"]), ("P.text", p * scale)):
        text, top = symmetric(real, _TOKEN)
        state.values[f"{path}.{name}"] = text.reshape(-1, module.tokens)
        state.scales[f"{path}.{name}"] = top / INT8_MAX
    _latent_entries(state, module, ("dQ", "K"), ds, absmax / INT8_MAX)


def collect_module(state: HostState, module: Module) -> None:
    """Make real dX of the module, a gradient, and real dK and dV, which the text waits for."""
    path, batch = module.path, state.shape.batch
    step = state.scales[f"{path}.Wq"].item() * state.scales[f"{path}.dQ.token"]
    dx = state.values[f"{path}.dX"].reshape(module.inputs, batch, -1) * step
    state.gradients[latent_input(path)] = dx.transpose(1, 2, 0)
    for name, copy in (("dK", "dS.text"), ("dV", "P.text")):
        sums = state.values[f"{path}.{name}"]
        shape = batch, module.heads, state.shape.text_tokens, sums.shape[1]
        state.real[f"{path}.{name}"] = sums.reshape(shape) * state.scales[f"{path}.{copy}"]
