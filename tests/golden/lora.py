"""Golden model of one LoRA key/value site: all six products in INT8, all intermediates kept.

The site computes ``Y = X W + c (X A) B`` and, from dY, the gradients of X, A and B. Matrices are
oriented as they multiply (W d1 x d2, A d1 x r, B r x d2), so the numerics page's B is this B
transposed. Scales leave a sum only along axes that are not reduced, hence two INT8 copies of every
activation and gradient: row-scaled for Y, H, dX, dH and column-scaled for dA, dB.

Column copies of H and dH
-------------------------
The sums H = X.A carry a scale for each row (that of X's row copy). In dB = dY^T.H the rows are the
reduction, so these scales must go before the column copy can be used. Two ways are kept here:

"weighted"
    H's column copy is made of the plain sums, and dY's column copy is made of dY with each row
    multiplied by the row scale of X, on the host, in float. The sum is then exact in its scales.
    Likewise X's column copy is weighted by the row scales of dY.
"rescaled"
    H's rows are first brought to the unit of the largest, ``requant32`` by S_X[i] / max S_X, and
    the column copy is made of the result: two roundings. X and dY have plain column copies.

Scales of the updates
---------------------
Two ways too, to bring H_row.B to the unit of X.W (dH_row.A^T to that of dY.W^T):

"chip"
    The host rounds the factor that all rows share to one entry, and the chip multiplies it by the
    maximum of each row and rounds once more.
"exact"
    The whole ratio of each row, in exact rationals, rounded once: what the chip's way is held to.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .numerics import (
    Axis,
    absmax,
    factor_entry,
    fresh_entry,
    gemm,
    multipliers,
    noise,
    quantise,
    requantise,
    requantise8,
    scale_accumulate,
    stochastic8,
    update_entry,
)
from .scales import parts
from .site import Gain, LoraSite, Operand, Product, Requantised

__all__ = [
    "ColumnCopies",
    "Gain",
    "LoraSite",
    "Operand",
    "Product",
    "Requantised",
    "Rounding",
    "UpdateScales",
    "lora_site",
]

ColumnCopies = Literal["weighted", "rescaled"]
UpdateScales = Literal["chip", "exact"]
Rounding = Literal["nearest", "stochastic"]
LEVELS = 127


@dataclass(frozen=True)
class _Options:
    """How a site is computed; see `lora_site`."""

    scaling: int | float | Fraction
    column_copies: ColumnCopies
    update_scales: UpdateScales
    rounding: Rounding
    seed: int

    def __post_init__(self) -> None:
        if not self.scaling > 0:
            raise ValueError(f"scaling must be above 0, not {self.scaling}")
        for name, kind in (
            ("column_copies", ColumnCopies),
            ("update_scales", UpdateScales),
            ("rounding", Rounding),
        ):
            value: Any = getattr(self, name)
            if value not in get_args(kind):
                raise ValueError(f"{name} must be one of {get_args(kind)}, not {value!r}")


def lora_site(
    x: Tensor,
    w: Tensor,
    a: Tensor,
    b: Tensor,
    dy: Tensor,
    *,
    scaling: int | float | Fraction = 1,
    column_copies: ColumnCopies = "weighted",
    update_scales: UpdateScales = "chip",
    rounding: Rounding = "nearest",
    seed: int = 0,
) -> LoraSite:
    """Run one training step's products of a LoRA site in INT8.

    Parameters
    ----------
    x : float32 (n, d1)
    w : float32 (d1, d2), not all zero
    a : float32 (d1, r)
    b : float32 (r, d2)
    dy : float32 (n, d2)
    scaling : number, above 0
        alpha / r. It enters the multipliers of Y and dX and the scales of dA and dB.
    column_copies : "weighted" or "rescaled"
        How row scales leave the column copies; see the module.
    update_scales : "chip" or "exact"
        How the multipliers of Y and dX are made; see the module.
    rounding : "nearest" or "stochastic"
        Of the four INT8 copies made of sums. By chance, an element of a copy takes the noise of its
        row (token) and column (of the rank); what the copies are rescaled by is rounded to nearest.
    seed : int, 0 to 2^32 - 1
        Of the noise.

    Raises
    ------
    ValueError
        W is all zero (its unit, that of Y and dX, is then undefined); an option is not as above; or
        the factor of the updates is too small or too large for an entry.
    """
    if not bool(w.any()):
        raise ValueError("w must not be all zero: its scale is the unit of Y and dX")
    options = _Options(scaling, column_copies, update_scales, rounding, seed)
    weighted = column_copies == "weighted"
    x_row, dy_row = _operand(x, "row"), _operand(dy, "row")
    x_column = _operand(x.double() * dy_row.scale if weighted else x, "column")
    dy_column = _operand(dy.double() * x_row.scale if weighted else dy, "column")
    qw, qa, qb = (_operand(weight, "tensor") for weight in (w, a, b))

    h = _product(x_row, qa)
    h_row = _copy(h, "row", options)
    h_column = _column_copy(h, x_row, qa, options)
    y_base, y_update, y_gain, y = _scaled_sum(x_row, qw, h_row, qa, qb, options)

    dh = _product(dy_row, _transposed(qb))
    dh_row = _copy(dh, "row", options)
    dh_column = _column_copy(dh, dy_row, qb, options)
    dx_base, dx_update, dx_gain, dx = _scaled_sum(
        dy_row, _transposed(qw), dh_row, qb, _transposed(qa), options
    )

    da = _product(_transposed(x_column), dh_column, float(scaling))
    db = _product(_transposed(dy_column), h_column, float(scaling))
    return LoraSite(
        x_row=x_row, dy_row=dy_row, x_column=x_column, dy_column=dy_column, w=qw, a=qa, b=qb,
        h=h, h_row=h_row, h_column=h_column,
        y_base=y_base, y_update=y_update, y_gain=y_gain, y=y,
        dh=dh, dh_row=dh_row, dh_column=dh_column,
        dx_base=dx_base, dx_update=dx_update, dx_gain=dx_gain, dx=dx,
        da=da, db=db,
    )  # fmt: skip


def _operand(x: Tensor, axis: Axis) -> Operand:
    values, scale = quantise(x, axis)
    return Operand(values, scale, absmax(x, axis))


def _transposed(operand: Operand) -> Operand:
    return Operand(operand.values.T, operand.scale.T, operand.absmax.T)


def _product(left: Operand, right: Operand | Requantised, factor: float = 1.0) -> Product:
    return Product(gemm(left.values, right.values), left.scale * right.scale * factor)


def _copy(source: Product, axis: Axis, options: _Options, unit: Gain | None = None) -> Requantised:
    """Return the INT8 copy of sums, scaled by the maximum of each group."""
    largest = absmax(source.sums, axis)
    gain = Gain(*parts(fresh_entry(largest)))
    if options.rounding == "stochastic":
        rows, columns = (torch.arange(size) for size in source.sums.shape)
        bits = noise(options.seed, rows[:, None], columns)
        values = stochastic8(source.sums, gain.m, gain.s, bits)
    else:
        values = requantise8(source.sums, gain.m, gain.s)
    return Requantised(values, source.scale * largest / LEVELS, largest, gain, source, unit)


def _column_copy(product: Product, left: Operand, right: Operand, options: _Options) -> Requantised:
    """Return the column-scaled INT8 copy of sums, free of the row scales of `left`."""
    unit, source = None, Product(product.sums, right.scale)
    if options.column_copies == "rescaled":
        rows = _rationals(left.absmax)
        top = max(rows)
        m, s = multipliers(rows, [top] * len(rows))
        unit = Gain(m[:, None], s[:, None])
        source = Product(requantise(product.sums, unit.m, unit.s), left.scale.amax() * right.scale)
    return _copy(source, "column", options, unit)


def _scaled_sum(
    left: Operand,
    weight: Operand,
    low_rank: Requantised,
    down: Operand,
    up: Operand,
    options: _Options,
) -> tuple[Product, Product, Gain, Product]:
    """Return left.weight, low_rank.up, the row gains of the second, and the saturating total.

    Row i of `low_rank` has scale S_left[i] S_down a[i] / 127 and the total has S_left[i] S_weight,
    so the gain S_down S_up a[i] / (127 S_weight) is free of S_left. With S = absmax / 127 it is
    rational: a_down a_up a[i] / (127^2 a_weight).
    """
    base, update = _product(left, weight), _product(low_rank, up)
    (a_down,), (a_up,), (a_weight,) = (_rationals(o.absmax) for o in (down, up, weight))
    factor = Fraction(options.scaling) * a_down * a_up / (LEVELS * LEVELS * a_weight)
    largest = low_rank.absmax
    if options.update_scales == "chip":
        gain = Gain(*parts(update_entry(largest, factor_entry(factor))))
    else:
        ratios = [factor * value for value in largest.flatten().tolist()]
        m, s = multipliers(ratios, [1] * len(ratios))
        gain = Gain(m[:, None], s[:, None])
    total = scale_accumulate(base.sums, update.sums, gain.m, gain.s)
    return base, update, gain, Product(total, base.scale)


def _rationals(values: Tensor) -> list[Fraction]:
    """Return the elements of a float tensor as the exact rationals they hold."""
    return [Fraction(value) for value in values.flatten().tolist()]
