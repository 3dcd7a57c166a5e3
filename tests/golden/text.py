"""Golden model of a group of LoRA sites that share their input: K and V of all cross-attention.

Site i computes ``Y_i = X W_i + c (X A_i) B_i`` of the same text X. Its gradients are

    dH_i = dY_i B_i^T,  dA_i = c X^T dH_i,  dB_i = c (X A_i)^T dY_i,
    dX = sum over i of (dY_i W_i^T + c dH_i A_i^T)

Sites stand side by side: their outputs along one axis, their ranks along another, where those of
one group fill as much as an array is wide. So all sites share one copy of X, of H and of dY, and
the scales of their weights are folded into what the host quantises: see docs/numerics.md.

Values have the names of that page; those a chip reads and writes are int8, int32, or int64 for
maxima and entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from torch import Tensor

from .layout import Layout, TextSite
from .numerics import (
    Axis,
    absmax,
    factor_entry,
    fresh_entry,
    gemm,
    quantise,
    requantise8,
    scale_accumulate,
    update_entry,
)
from .scales import parts
from .site import Operand

__all__ = [
    "TextBackward",
    "TextForward",
    "backward_inputs",
    "backward_products",
    "forward_inputs",
    "forward_products",
    "text_backward",
    "text_forward",
]

LEVELS = 127


@dataclass(frozen=True)
class TextForward:
    """Everything up to Y.

    Members
    -------
    layout : Layout
    scaling : Fraction
        alpha / r.
    x : float64 (nt, D)
    sites : tuple of TextSite
    w, a, b : tuple of Operand
        Weights by site, quantised.
    x_row : Operand
    values : dict of Tensor
        X.row, W, A, Bt, Y.factor; H.row_maxima, H.row, H.column_maxima, H.column, Y.
    """

    layout: Layout
    scaling: Fraction
    x: Tensor
    sites: tuple[TextSite, ...]
    w: tuple[Operand, ...]
    a: tuple[Operand, ...]
    b: tuple[Operand, ...]
    x_row: Operand
    values: dict[str, Tensor] = field(default_factory=dict)

    def y(self, site: int) -> Tensor:
        """Return the real Y of a site, float64 (nt, C)."""
        sums = self.values["Y"][:, self.layout.columns(site)].double()
        return sums * self.x_row.scale * self.w[site].scale


@dataclass(frozen=True)
class TextBackward:
    """Everything from dY on.

    Members
    -------
    forward : TextForward
    dy_row, dy_column, x_column, au : Operand
        Of all sites together.
    values : dict of Tensor
        dY.row, dY.column, X.column, Au, dX.factor; dH.row_maxima, dH.row, dH.column_maxima,
        dH.column, dX, dBt, dA.
    """

    forward: TextForward
    dy_row: Operand
    dy_column: Operand
    x_column: Operand
    au: Operand
    values: dict[str, Tensor] = field(default_factory=dict)

    @property
    def dx(self) -> Tensor:
        """The real dX, summed over the sites, float64 (nt, D)."""
        return self.values["dX"].double() * self.dy_row.scale

    def da(self, site: int) -> Tensor:
        """Return the real dA of a site, float64 (D, r)."""
        forward, ranks = self.forward, self.forward.layout.ranks(site)
        step = self.values["dH.column_maxima"][:, ranks].double() / LEVELS * self._weight(site)
        return (
            self.values["dA"][:, ranks].double()
            * self.x_column.scale.T
            * (step * float(forward.scaling))
        )

    def db(self, site: int) -> Tensor:
        """Return the real dB of a site, float64 (r, C)."""
        forward, layout = self.forward, self.forward.layout
        columns = layout.columns(site)
        step = forward.values["H.column_maxima"][:, layout.ranks(site)].T.double() / LEVELS
        return (
            self.values["dBt"][:, columns].double()
            * self.dy_column.scale[:, columns]
            * (step * forward.a[site].scale * float(forward.scaling))
        )

    def _weight(self, site: int) -> Tensor:
        return self.forward.b[site].scale / self.forward.w[site].scale


def text_forward(
    x: Tensor, sites: Sequence[TextSite], *, scaling: int | float | Fraction = 1, unit: int
) -> TextForward:
    """Run Y of all sites in INT8.

    Parameters
    ----------
    x : float (nt, D)
    sites : sequence of TextSite
    scaling : number, above 0
        alpha / r.
    unit : int, above 0
        U: the smallest common multiple of the array's rows and columns. No result depends on it.

    Raises
    ------
    ValueError
        A weight W is all zero: its scale is the unit of Y; or a factor does not fit an entry.
    """
    forward = forward_inputs(x, sites, scaling=scaling, unit=unit)
    forward.values.update(forward_products(forward.values, forward.layout))
    return forward


def text_backward(forward: TextForward, dy: Sequence[Tensor]) -> TextBackward:
    """Run the gradients of all sites in INT8.

    Parameters
    ----------
    forward : TextForward
    dy : sequence of float tensors, (nt, C) of each site
    """
    backward = backward_inputs(forward, dy)
    known = forward.values | backward.values
    backward.values.update(backward_products(known, forward.layout))
    return backward


def forward_inputs(
    x: Tensor, sites: Sequence[TextSite], *, scaling: int | float | Fraction = 1, unit: int
) -> TextForward:
    """Return the host's part of `text_forward`: operands, their scales, and factors."""
    if any(not bool(site.w.any()) for site in sites):
        raise ValueError("w must not be all zero: its scale is the unit of Y and dX")
    layout = Layout(tuple(s.w.shape[1] for s in sites), sites[0].a.shape[1], unit)
    w, a, b = (tuple(_operand(getattr(site, name), "tensor") for site in sites) for name in "wab")
    x_row = _operand(x, "row")
    stacked_w = torch.zeros(x.shape[1], layout.outputs, dtype=torch.int8)
    stacked_a = torch.zeros(x.shape[1], layout.places, dtype=torch.int8)
    stacked_b = torch.zeros(layout.group_places, layout.outputs, dtype=torch.int8)
    factors = []
    for i in layout.sites:
        stacked_w[:, layout.columns(i)] = w[i].values
        stacked_a[:, layout.ranks(i)] = a[i].values
        first = layout.ranks(i).start - layout.group(i).start
        stacked_b[first : first + layout.rank, layout.columns(i)] = b[i].values
        a_a, a_b, a_w = (Fraction(float(each[i].absmax)) for each in (a, b, w))
        factors.append(factor_entry(Fraction(scaling) * a_a * a_b / (LEVELS * LEVELS * a_w)))
    values = {
        "X.row": x_row.values,
        "W": stacked_w,
        "A": stacked_a,
        "Bt": stacked_b,
        "Y.factor": torch.tensor([factors]),
    }
    return TextForward(layout, Fraction(scaling), x.double(), tuple(sites), w, a, b, x_row, values)


def forward_products(values: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Return what the chip makes of the inputs of `text.forward`."""
    made = _copies("H", gemm(values["X.row"], values["A"]))
    y = gemm(values["X.row"], values["W"])
    for i in layout.sites:
        columns = layout.columns(i)
        update = gemm(made["H.row"][:, layout.group(i)], values["Bt"][:, columns])
        entries = update_entry(made["H.row_maxima"].T, int(values["Y.factor"][0, i]))
        y[:, columns] = scale_accumulate(y[:, columns], update, *parts(entries))
    return made | {"Y": y}


def backward_inputs(forward: TextForward, dy: Sequence[Tensor]) -> TextBackward:
    """Return the host's part of `text_backward`: operands, their scales, and the factor."""
    layout, w = forward.layout, forward.w
    gradients = torch.zeros(2, len(forward.x), layout.outputs, dtype=torch.float64)
    for i in layout.sites:
        gradients[0, :, layout.columns(i)] = dy[i].double() * w[i].scale
        gradients[1, :, layout.columns(i)] = dy[i].double() * forward.x_row.scale
    dy_row, dy_column = _operand(gradients[0], "row"), _operand(gradients[1], "column")
    x_column = _operand(forward.x * dy_row.scale, "column")
    # In units of dX, which are those of dY.row alone: B's and W's scales are made A's.
    up = torch.zeros(layout.places, forward.x.shape[1], dtype=torch.float64)
    for i in layout.sites:
        weight = float(forward.scaling) * forward.b[i].scale / w[i].scale
        up[layout.ranks(i)] = forward.sites[i].a.double().T * weight
    au = _operand(up, "tensor")
    factor = factor_entry(Fraction(float(au.absmax)) / (LEVELS * LEVELS))
    values = {
        "dY.row": dy_row.values,
        "dY.column": dy_column.values,
        "X.column": x_column.values,
        "Au": au.values,
        "dX.factor": torch.tensor([[factor]]),
    }
    return TextBackward(forward, dy_row, dy_column, x_column, au, values)


def backward_products(values: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Return what the chip makes of the inputs of `text.backward`, and of H.column."""
    dy, nt = values["dY.row"], values["dY.row"].shape[0]
    dh = torch.zeros(nt, layout.places, dtype=torch.int32)
    db = torch.zeros(layout.rank, layout.outputs, dtype=torch.int32)
    for i in layout.sites:
        columns, ranks = layout.columns(i), layout.ranks(i)
        # Rows of Bt that are the site's own; the others are zero in its columns.
        dh[:, layout.group(i)] += gemm(dy[:, columns], values["Bt"][:, columns].T)
        db[:, columns] = gemm(values["H.column"][:, ranks].T, values["dY.column"][:, columns])
    made = _copies("dH", dh)
    entries = update_entry(made["dH.row_maxima"].T, int(values["dX.factor"]))
    dx = scale_accumulate(
        gemm(dy, values["W"].T), gemm(made["dH.row"], values["Au"]), *parts(entries)
    )
    da = gemm(values["X.column"].T, made["dH.column"])
    return made | {"dX": dx, "dBt": db, "dA": da}


def _copies(name: str, sums: Tensor) -> dict[str, Tensor]:
    """Return the maxima, (1, groups), and INT8 copies of sums by row and by column."""
    made = {}
    for axis in ("row", "column"):
        largest = absmax(sums, axis)
        made[f"{name}.{axis}_maxima"] = largest.reshape(1, -1)
        made[f"{name}.{axis}"] = requantise8(sums, *parts(fresh_entry(largest)))
    return made


def _operand(x: Tensor, axis: Axis) -> Operand:
    values, scale = quantise(x, axis)
    return Operand(values, scale, absmax(x, axis))
