"""What the golden LoRA site holds: operands, products and INT8 copies, each with its scale."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Gain", "LoraSite", "Operand", "Product", "Requantised"]


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
