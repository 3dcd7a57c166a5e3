"""What the host does for the products of the text: copies, factors, gradients.

Scales in `HostState.scales`, S for short: ``text.X.row`` (rows, 1), ``text.dY.row`` (rows, 1),
``text.X.column`` (1, width), ``text.dY.column`` (1, columns); of each site ``<path>.W``,
``<path>.A`` and ``<path>.B``, one number.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from hw.isa.numerics import INT8_MAX, encode_factor

from ..image import InputError
from ..quantise import Group, Quantised, quantise, symmetric, update_factor
from .host import HostState
from .shape import Site
from .tensors import TEXT_INPUT, lora_names, weight_name

__all__ = [
    "collect_text",
    "site_outputs",
    "text_gradients",
    "text_inputs",
    "text_loss",
    "text_weights",
]

DETACHED = 0
"""The token of each sample through which no gradient of K and V flows: the first."""


def text_weights(state: HostState) -> None:
    """Make ``text.W``, the weights of all sites side by side, each with a scale of its own.

    Raises
    ------
    InputError
        A weight is all zero: its scale is the unit of Y and dX.
    """
    shape = state.shape
    joint = np.zeros((shape.text_width, shape.columns), np.int8)
    for site in shape.sites:
        copy = quantise(state.tensors[weight_name(site.path)].T, Group.TENSOR)
        if not copy.absmax.item():
            raise InputError(
                f"tensor {weight_name(site.path)!r} must not be all zero: its scale is the unit of "
                "its outputs"
            )
        joint[:, _columns(site)] = copy.values
        state.scales[f"{site.path}.W"] = copy.scale
    state.values["text.W"] = joint


def text_inputs(state: HostState) -> None:
    """Make what forward products of the text read: rows of X, A, B^T and the factors of updates."""
    shape = state.shape
    x = state.tensors[TEXT_INPUT].reshape(shape.rows, shape.text_width)
    rows = quantise(x, Group.ROW)
    state.real["text.X"] = x
    state.values["text.X.row"], state.scales["text.X.row"] = rows.values, rows.scale
    down = np.zeros((shape.text_width, shape.ranks), np.int8)
    lora = [site for site in shape.sites if site.rank]
    up = np.zeros((max(site.width for site in shape.sites), shape.columns), np.int8)
    alone = np.zeros((shape.text_width, sum(site.width for site in lora)), np.int8)
    factors = np.zeros((1, len(shape.sites)), np.uint32)
    start = 0  # of a site in `alone`, where each has columns of its own, as wide as its group
    for index, site in enumerate(shape.sites):
        if not site.rank:
            continue
        a, b = (quantise(state.tensors[name].T, Group.TENSOR) for name in lora_names(site.path))
        down[:, _ranks(site)] = a.values
        alone[:, start + site.row : start + site.row + site.rank] = a.values
        start += site.width
        up[_rows(site), _columns(site)] = b.values
        factors[0, index] = _factor(state, site, a, b)
        state.scales[f"{site.path}.A"], state.scales[f"{site.path}.B"] = a.scale, b.scale
    state.values |= {"text.A": down, "text.Bt": up, "text.Y.factor": factors}
    state.values["text.A.alone"] = alone


def _factor(state: HostState, site: Site, a: Quantised, b: Quantised) -> int:
    weight = quantise(state.tensors[weight_name(site.path)], Group.TENSOR)
    try:
        return update_factor(a, b, weight, state.scaling).item()
    except ValueError as error:
        raise InputError(f"LoRA of {site.path}: {error}") from None


def _columns(site: Site) -> slice:
    """Return the columns of a site among those of all sites."""
    return slice(site.first, site.first + site.outputs)


def _ranks(site: Site) -> slice:
    """Return the columns of a site on the axis of ranks."""
    return slice(site.column, site.column + site.rank)


def _rows(site: Site) -> slice:
    """Return the rows of a site in B^T."""
    return slice(site.row, site.row + site.rank)


def site_outputs(state: HostState, index: int) -> np.ndarray:
    """Return real Y of a site, (rows, outputs): ``sums S_X[row] S_W``."""
    site = state.shape.sites[index]
    sums = state.values["text.Y"][:, _columns(site)]
    return sums * state.scales["text.X.row"] * state.scales[f"{site.path}.W"]


def text_loss(state: HostState) -> None:
    """Take the gradients of the sites from the loss: no layer is behind them."""
    shape = state.shape
    gradients = []
    for index, site in enumerate(shape.sites):
        output = site_outputs(state, index).reshape(shape.batch, shape.text_tokens, -1)
        gradients.append(state.gradient(site.path, output).reshape(shape.rows, -1))
    _gradient_copies(state, gradients)


def text_gradients(state: HostState) -> None:
    """Make dY of the sites of dK and dV of all modules; that of the first token is detached."""
    gradients: list[np.ndarray] = [np.zeros(0)] * len(state.shape.sites)
    for module in state.shape.modules:
        for index, name in ((module.key, "dK"), (module.value, "dV")):
            heads = state.real[f"{module.path}.{name}"]  # (batch, heads, tokens, width of a head)
            merged = heads.transpose(0, 2, 1, 3).copy()
            merged[:, DETACHED] = 0
            gradients[index] = merged.reshape(state.shape.rows, -1)
    _gradient_copies(state, gradients)


def _gradient_copies(state: HostState, gradients: list[np.ndarray]) -> None:
    """Make what backward products of the text read.

    The sums of dX run over all sites, those of dB^T and dA over tokens, so what has a scale of its
    own there is folded into an operand: S_W[site] into dY.row, the row scales of X and dY.row into
    each other's column copies.
    """
    shape = state.shape
    joint = np.zeros((shape.rows, shape.columns))
    folded = np.zeros_like(joint)
    for site, gradient in zip(shape.sites, gradients, strict=True):
        joint[:, _columns(site)] = gradient
        folded[:, _columns(site)] = gradient * state.scales[f"{site.path}.W"]
    rows = quantise(folded, Group.ROW)
    column_copies = {
        "dY": quantise(joint * state.scales["text.X.row"], Group.COLUMN),
        "X": quantise(state.real["text.X"] * rows.scale, Group.COLUMN),
    }
    state.values["text.dY.row"], state.scales["text.dY.row"] = rows.values, rows.scale
    for name, copy in column_copies.items():
        state.values[f"text.{name}.column"] = copy.values
        state.scales[f"text.{name}.column"] = copy.scale
    _update_copy(state)


def _update_copy(state: HostState) -> None:
    """Make Au, A^T of all sites in one unit, and the factor of the updates of dX."""
    shape = state.shape
    joint = np.zeros((shape.ranks, shape.text_width))
    for site in shape.sites:
        if site.rank:
            down, _ = lora_names(site.path)
            unit = float(state.scaling) * _up_unit(state, site)
            joint[_ranks(site)] = state.tensors[down] * unit
    values, absmax = symmetric(joint, (0, 1))
    state.values["text.Au"] = values
    try:
        entry = encode_factor(Fraction(absmax.item()) / (INT8_MAX * INT8_MAX))
    except ValueError as error:
        raise InputError(f"LoRA of all sites: {error}") from None
    state.values["text.dX.factor"] = np.array([[entry]], np.uint32)


def _up_unit(state: HostState, site: Site) -> float:
    """Return S_B / S_W of a site: what one step of dH is worth, besides its row's scale."""
    return (state.scales[f"{site.path}.B"] / state.scales[f"{site.path}.W"]).item()


def collect_text(state: HostState) -> None:
    """Make the real gradients of the text and of LoRA."""
    shape, values, scales = state.shape, state.values, state.scales
    text = values["text.dX"] * scales["text.dY.row"]
    state.gradients[TEXT_INPUT] = text.reshape(shape.batch, shape.text_tokens, -1)
    scaling = float(state.scaling)
    for site in shape.sites:
        if not site.rank:
            continue
        down, up = lora_names(site.path)
        ranks, columns = _ranks(site), _columns(site)
        # Column copies of H and dH: their row scales are folded into the other operands.
        h, dh = (values[f"text.{name}.column_maxima"][0, ranks] / INT8_MAX for name in ("H", "dH"))
        sums = values["text.dBt"][: site.rank, columns]
        step = scaling * scales[f"{site.path}.A"] * h[:, None]
        state.gradients[up] = (sums * step * scales["text.dY.column"][:, columns]).T
        step = scaling * _up_unit(state, site) * dh
        state.gradients[down] = (values["text.dA"][:, ranks] * step * scales["text.X.column"].T).T
