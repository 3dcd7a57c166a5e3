"""Quantisation on the host: INT8 copies of float tensors, and the scale entries of the chip."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Literal, get_args

import numpy as np

from hw.isa.numerics import (
    INT8_MAX,
    SHIFT_MAX,
    SHIFT_MIN,
    encode_factor,
    encode_scale,
    multiplier,
)

__all__ = [
    "COLUMN_COPIES",
    "ColumnCopies",
    "Group",
    "Quantised",
    "entries",
    "fresh_scales",
    "quantise",
    "symmetric",
    "unit_scales",
    "update_factor",
]

ColumnCopies = Literal["weighted", "rescaled"]
"""How row scales leave the column copies of H and dH, in whose use the rows are reduced.

weighted: they go into the other operand (dY or X) before that is quantised, on the host. rescaled:
the sums' rows are brought to the unit of the largest on the chip, before the column scale.
"""
COLUMN_COPIES: tuple[str, ...] = get_args(ColumnCopies)


class Group(StrEnum):
    """What shares one scale."""

    ROW = "row"
    COLUMN = "column"
    TENSOR = "tensor"

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes over which the absolute maximum is taken."""
        return {Group.ROW: (1,), Group.COLUMN: (0,), Group.TENSOR: (0, 1)}[self]


@dataclass(frozen=True, eq=False)
class Quantised:
    """An INT8 copy of a float matrix.

    Members
    -------
    values : int8 (M, N)
    absmax : float64, (M, 1), (1, N) or (1, 1)
        Absolute maximum of each group.
    group : Group
    """

    values: np.ndarray
    absmax: np.ndarray
    group: Group

    @property
    def scale(self) -> np.ndarray:
        """Real value of one step, float64, shaped as `absmax`; zero for a group of zeros."""
        return self.absmax / INT8_MAX

    def __str__(self) -> str:
        rows, columns = self.values.shape
        return f"int8 {rows}x{columns}, a scale for each {self.group}"


def quantise(x: np.ndarray, group: Group) -> Quantised:
    """Quantise a float matrix symmetrically: ``clamp(round(127 x / a))``, a the group's absmax.

    Ties round away from zero. The arithmetic is float64, in which 127 x is exact for float32 x.

    Raises
    ------
    ValueError
        `x` is no matrix, or a value is not finite.
    """
    exact = np.asarray(x, np.float64)
    if exact.ndim != 2:
        raise ValueError(f"a matrix has two axes, not {exact.ndim}")
    return Quantised(*symmetric(exact, group.axes), group)


def symmetric(x: np.ndarray, axes: int | tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Quantise as `quantise`, values along `axes` sharing a scale.

    Parameters
    ----------
    x : float64

    Returns
    -------
    values : int8, shaped as `x`
    absmax : float64
        Shaped as `x` but for `axes`, along which it has one element.

    Raises
    ------
    ValueError
        A value is not finite.
    """
    if not np.isfinite(x).all():
        raise ValueError("values to quantise must be finite")
    absmax = np.abs(x).max(axis=axes, keepdims=True)
    quotient = x * INT8_MAX / np.where(absmax > 0, absmax, 1)
    # Not floor(|q| + 0.5): that addition itself rounds, and lifts 0.5 - 2^-54 to 1.
    whole = np.trunc(np.abs(quotient))
    rounded = whole + (np.abs(quotient) - whole >= 0.5)
    values = np.clip(np.copysign(rounded, quotient), -INT8_MAX, INT8_MAX).astype(np.int8)
    return values, absmax


def entries(ratios: np.ndarray) -> np.ndarray:
    """Return the scale entries of ratios, as `hw.isa.numerics.multiplier` makes them of each.

    Parameters
    ----------
    ratios : float64, finite and not negative

    Returns
    -------
    uint32, shaped as `ratios`
    """
    fraction, exponent = np.frexp(ratios)  # fraction is 0 or from 1/2 on, below 1
    # Exact: 2^16 leaves a float64 its digits, and what adding 1/2 rounds off lies above 2^16.
    m = np.floor(np.ldexp(fraction, 16) + 0.5).astype(np.int64)
    s = 16 - exponent.astype(np.int64) - (m >> 16)
    m = np.where(m >> 16, 1 << 15, m)
    s = np.where(m > 0, np.clip(s, SHIFT_MIN, SHIFT_MAX), 0)
    return (m | (s & 0xFF) << 16).astype(np.uint32)


def fresh_scales(maxima: np.ndarray, margin: Fraction = Fraction(1)) -> np.ndarray:
    """Return the scale entries that bring sums of maximum ``margin a`` to 127: 127 / (margin a).

    Parameters
    ----------
    maxima : uint32 or int64, (count,)

    Returns
    -------
    uint32, (count,)
        The entry of a = 0 is 0: every output is 0.
    """
    top = INT8_MAX / margin
    return _entries([top / a if a else Fraction(0) for a in maxima.ravel().tolist()])


def unit_scales(left: Quantised) -> np.ndarray:
    """Return the entries that bring the rows of sums to the unit of the largest row scale.

    Parameters
    ----------
    left : Quantised, per row
        The left operand of the product.

    Returns
    -------
    uint32, (rows,)
    """
    rows = [Fraction(a) for a in left.absmax.ravel().tolist()]
    top = max(rows)
    return _entries([a / top if top else Fraction(0) for a in rows])


def update_factor(
    down: Quantised,
    up: Quantised,
    weight: Quantised,
    scaling: int | float | Fraction = 1,
) -> np.ndarray:
    """Return the entry by which the chip turns maxima into the scales of a LoRA update.

    Row i of the low-rank copy has scale ``S_left[i] S_down a[i] / 127``, the sums it is added to
    have ``S_left[i] S_weight``: the ratio ``S_down S_up a[i] / (127 S_weight)`` is free of S_left,
    and all but the maximum a[i] is the same in all rows. Every float counts as the exact rational
    it holds.

    Parameters
    ----------
    down, up, weight : Quantised, per tensor
        A, B, W for Y; B, A, W for dX.
    scaling : number
        alpha / r.

    Returns
    -------
    uint32, (1, 1)

    Raises
    ------
    ValueError
        The weight is all zero, so that the sums have no unit; `scaling` is not above 0; or the
        factor is too small or too large for an entry.
    """
    if not scaling > 0:
        raise ValueError(f"scaling must be above 0, not {scaling}")
    a_down, a_up, a_weight = (Fraction(q.absmax.item()) for q in (down, up, weight))
    if not a_weight:
        raise ValueError("the weight must not be all zero: its scale is the unit of Y and dX")
    factor = Fraction(scaling) * a_down * a_up / (INT8_MAX * INT8_MAX * a_weight)
    return np.array([[encode_factor(factor)]], np.uint32)


def _entries(ratios: list[Fraction]) -> np.ndarray:
    return np.array([encode_scale(*multiplier(ratio)) for ratio in ratios], np.uint32)
