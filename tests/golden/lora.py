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
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

import torch
from torch import Tensor

from .numerics import (
    Axis,
    absmax,
    gemm,
    multiplier,
    multipliers,
    quantise,
    requantise,
    requantise8,
    scale_accumulate,
)

__all__ = ["ColumnCopies", "Gain", "LoraSite", "Operand", "Product", "Requantised", "lora_site"]

ColumnCopies = Literal["weighted", "rescaled"]
LEVELS = 127


@dataclass(frozen=True)
class Operand:
    """A float matrix quantised on the host.

    Members
    -------
    values : int8 (M, N)
    scale : float64, (M, 1), (1, N) or (1, 1)
        Real value of one step.
    absmax : float64, shaped as `scale`
        The exact ``127 * scale``; ratios are made of it, as rationals.
    """

    values: Tensor
    scale: Tensor
    absmax: Tensor


@dataclass(frozen=True)
class Gain:
    """Multipliers of a requantisation: m and s, int64, (M, 1) or (1, N)."""

    m: Tensor
    s: Tensor


@dataclass(frozen=True)
class Product:
    """Sums that left the array: int32 `sums` (M, N), float64 `scale` that broadcasts."""

    sums: Tensor
    scale: Tensor

    @property
    def real(self) -> Tensor:
        """The values the sums stand for, float64 (M, N)."""
        return self.sums.double() * self.scale


@dataclass(frozen=True)
class Requantised:
    """An INT8 copy made of sums.

    Members
    -------
    values : int8 (M, N)
    scale : float64, (M, 1) or (1, N)
        Real value of one step: ``S_acc * absmax / 127``, S_acc the scale of `source`.
    absmax : int64, (M, 1) or (1, N)
        Absolute maximum of the sums the copy was made of.
    gain : Gain
        Of the ratio 127 / absmax.
    source : Product
        The sums the copy was made of: the product; its rows in a common unit ("rescaled"); or the
        product with its row scales left out, because the other operand carries them ("weighted").
    unit : Gain or None
        Row multipliers that brought the product to the common unit, if they did.
    """

    values: Tensor
    scale: Tensor
    absmax: Tensor
    gain: Gain
    source: Product
    unit: Gain | None = None


@dataclass(frozen=True)
class LoraSite:
    """Every value of one site, in the order of the numerics page.

    Members
    -------
    x_row, dy_row, x_column, dy_column, w, a, b : Operand
        The INT8 copies made on the host; x_column and dy_column as `column_copies` says.
    h : Product, (n, r); h_row, h_column : Requantised
        X.A, and its two copies.
    y_base : Product, (n, d2); y_update : Product; y_gain : Gain, (n, 1); y : Product
        X.W; H_row.B; the multipliers that bring the second to the unit of the first; the total.
    dh, dh_row, dh_column, dx_base, dx_update, dx_gain, dx
        The same for dH = dY.B^T (n, r) and dX = dY.W^T + dH_row.A^T (n, d1).
    da : Product, (d1, r)
        X_column^T . dH_column.
    db : Product, (d2, r)
        dY_column^T . H_column: the gradient of B transposed.
    """

    x_row: Operand
    dy_row: Operand
    x_column: Operand
    dy_column: Operand
    w: Operand
    a: Operand
    b: Operand
    h: Product
    h_row: Requantised
    h_column: Requantised
    y_base: Product
    y_update: Product
    y_gain: Gain
    y: Product
    dh: Product
    dh_row: Requantised
    dh_column: Requantised
    dx_base: Product
    dx_update: Product
    dx_gain: Gain
    dx: Product
    da: Product
    db: Product


def lora_site(
    x: Tensor,
    w: Tensor,
    a: Tensor,
    b: Tensor,
    dy: Tensor,
    *,
    scaling: int | float | Fraction = 1,
    column_copies: ColumnCopies = "weighted",
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

    Raises
    ------
    ValueError
        W is all zero (its unit, that of Y and dX, is then undefined), or `scaling` or
        `column_copies` is not as above.
    """
    if not bool(w.any()):
        raise ValueError("w must not be all zero: its scale is the unit of Y and dX")
    if not scaling > 0:
        raise ValueError(f"scaling must be above 0, not {scaling}")
    if column_copies not in get_args(ColumnCopies):
        raise ValueError(
            f"column_copies must be one of {get_args(ColumnCopies)}, not {column_copies!r}"
        )
    weighted = column_copies == "weighted"
    x_row, dy_row = _operand(x, "row"), _operand(dy, "row")
    x_column = _operand(x.double() * dy_row.scale if weighted else x, "column")
    dy_column = _operand(dy.double() * x_row.scale if weighted else dy, "column")
    qw, qa, qb = (_operand(weight, "tensor") for weight in (w, a, b))

    h = _product(x_row, qa)
    h_row = _row_copy(h)
    h_column = _column_copy(h, x_row, qa, column_copies)
    y_base, y_update, y_gain, y = _scaled_sum(x_row, qw, h_row, qa, qb, scaling)

    dh = _product(dy_row, _transposed(qb))
    dh_row = _row_copy(dh)
    dh_column = _column_copy(dh, dy_row, qb, column_copies)
    dx_base, dx_update, dx_gain, dx = _scaled_sum(
        dy_row, _transposed(qw), dh_row, qb, _transposed(qa), scaling
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


def _row_copy(product: Product) -> Requantised:
    """Return the row-scaled INT8 copy of sums."""
    largest = absmax(product.sums, "row")
    gain = _gain([LEVELS] * largest.numel(), largest)
    values = requantise8(product.sums, gain.m, gain.s)
    return Requantised(values, product.scale * largest / LEVELS, largest, gain, product)


def _column_copy(
    product: Product, left: Operand, right: Operand, column_copies: ColumnCopies
) -> Requantised:
    """Return the column-scaled INT8 copy of sums, free of the row scales of `left`."""
    unit, source = None, Product(product.sums, right.scale)
    if column_copies == "rescaled":
        rows = _rationals(left.absmax)
        top = max(rows)
        m, s = multipliers(rows, [top] * len(rows))
        unit = Gain(m[:, None], s[:, None])
        source = Product(requantise(product.sums, unit.m, unit.s), left.scale.amax() * right.scale)
    largest = absmax(source.sums, "column")
    gain = _gain([LEVELS] * largest.numel(), largest)
    values = requantise8(source.sums, gain.m, gain.s)
    return Requantised(values, source.scale * largest / LEVELS, largest, gain, source, unit)


def _scaled_sum(
    left: Operand,
    weight: Operand,
    low_rank: Requantised,
    down: Operand,
    up: Operand,
    scaling: int | float | Fraction,
) -> tuple[Product, Product, Gain, Product]:
    """Return left.weight, low_rank.up, the row gains of the second, and the saturating total.

    Row i of `low_rank` has scale S_left[i] S_down a[i] / 127 and the total has S_left[i] S_weight,
    so the gain S_down S_up a[i] / (127 S_weight) is free of S_left. With S = absmax / 127 it is
    rational: a_down a_up a[i] / (127^2 a_weight).
    """
    base, update = _product(left, weight), _product(low_rank, up)
    (a_down,), (a_up,), (a_weight,) = (_rationals(o.absmax) for o in (down, up, weight))
    factor = Fraction(scaling) * a_down * a_up / (LEVELS * LEVELS * a_weight)
    pairs = [multiplier(factor * largest) for largest in low_rank.absmax.flatten().tolist()]
    gain = Gain(*(column[:, None] for column in torch.tensor(pairs).unbind(1)))
    total = scale_accumulate(base.sums, update.sums, gain.m, gain.s)
    return base, update, gain, Product(total, base.scale)


def _gain(numerators: list[int], denominators: Tensor) -> Gain:
    """Return the multipliers of ``numerators / denominators``, in the shape of the latter."""
    m, s = multipliers(numerators, denominators.flatten().tolist())
    return Gain(m.reshape(denominators.shape), s.reshape(denominators.shape))


def _rationals(values: Tensor) -> list[Fraction]:
    """Return the elements of a float tensor as the exact rationals they hold."""
    return [Fraction(value) for value in values.flatten().tolist()]
