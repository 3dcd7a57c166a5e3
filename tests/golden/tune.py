"""Golden model of a TuneQDM site: ``Y = ((X o d_in).Wq) o d_out``, and gradients of both scales.

Written from docs/numerics.md alone. The chip scales columns of INT8 copies in integers, with 65536
for the largest scale, and makes the row copies that it multiplies; the rows of the sums are brought
to the unit of the largest before column copies are made of them, since tokens are the reduction of
the scales' gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from .numerics import (
    absmax,
    fresh_entry,
    gemm,
    multipliers,
    quantise,
    requantise,
    requantise8,
)
from .scales import parts

__all__ = [
    "Direction", "Prescaled", "TuneSite", "column_copy", "output_copy", "prescaled", "tune_site",
]  # fmt: skip

LEVELS = 127
LARGEST = 65536
"""What the largest scale of a set becomes on the chip."""


@dataclass(frozen=True)
class Prescaled:
    """The row copy of an INT8 matrix whose columns were scaled.

    Members
    -------
    values : int8 (M, K)
    maxima : int64 (M, 1)
        Of the rows of the scaled integers; of real values where no columns were scaled.
    """

    values: Tensor
    maxima: Tensor


@dataclass(frozen=True)
class Direction:
    """A product and what is made of it.

    Members
    -------
    left : Prescaled
    scale : float64 (M, 1)
        Real value of one step of the left operand.
    sums : int32 (M, N)
    column : int8 (M, N)
        Its column copy in the unit of the row with the largest scale.
    maxima : int64 (1, N)
    """

    left: Prescaled
    scale: Tensor
    sums: Tensor
    column: Tensor
    maxima: Tensor

    @property
    def step(self) -> Tensor:
        """Real value of one step of the column copy, float64 (1, N)."""
        return self.scale.amax() * self.maxima / LEVELS


@dataclass(frozen=True)
class TuneSite:
    """Both directions, and results in real values, float64."""

    forward: Direction
    backward: Direction
    y: Tensor
    dx: Tensor
    d_in: Tensor | None
    d_out: Tensor


def prescaled(values: Tensor, scales: Tensor) -> Prescaled:
    """Scale the columns of int8 (M, K) by float32 (K,), and make the row copy."""
    rationals = [Fraction(value) for value in scales.tolist()]
    largest = max(abs(value) for value in rationals)
    m, s = multipliers([LARGEST * abs(value) for value in rationals], [largest] * len(rationals))
    negative = torch.tensor([value < 0 for value in rationals])
    signed = torch.where(negative, -values.int(), values.int())
    sums = requantise(signed, m[None, :], s[None, :])
    maxima = absmax(sums, "row")
    return Prescaled(requantise8(sums, *parts(fresh_entry(maxima))), maxima)


def column_copy(sums: Tensor, weights: list[Fraction]) -> tuple[Tensor, Tensor]:
    """Return the column copy of sums whose rows weigh so much, and its maxima."""
    m, s = multipliers(list(weights), [max(weights)] * len(weights))
    level = requantise(sums, m[:, None], s[:, None])
    maxima = absmax(level, "column")
    return requantise8(level, *parts(fresh_entry(maxima))), maxima


def output_copy(sums: Tensor, weights: list[Fraction], scales: list[Fraction]) -> Tensor:
    """Return sums as int8 for the next product: rows that weigh so much in the unit of the largest,
    columns times scales, of which what is 1 in the result is part."""
    m, s = multipliers(list(weights), [max(weights)] * len(weights))
    level = requantise(sums, m[:, None], s[:, None])
    m, s = multipliers(list(scales), [Fraction(1)] * len(scales))
    return requantise8(level, m[None, :], s[None, :])


def tune_site(
    x: Tensor, weight: Tensor, d_in: Tensor | None, d_out: Tensor, dy: Tensor
) -> TuneSite:
    """Run one training step's products of a site.

    Parameters
    ----------
    x : float32 (n, d1); dy : float32 (n, d2)
    weight : int8 (d1, d2)
    d_in, d_out : float32 (d1,), (d2,)
        Without d_in, X's own row copy is multiplied, and d_in has no gradient.
    """
    forward = _direction(x, d_in, weight)
    backward = _direction(dy, d_out, weight.T)
    return TuneSite(
        forward,
        backward,
        forward.sums.double() * forward.scale * d_out.double(),
        backward.sums.double() * backward.scale * (1.0 if d_in is None else d_in.double()),
        None if d_in is None else _dots(x, backward),
        _dots(dy, forward),
    )


def _direction(real: Tensor, scales: Tensor | None, weight: Tensor) -> Direction:
    values, scale = quantise(real, "row")
    if scales is None:
        maxima = absmax(real, "row")
        return _product(Prescaled(values, maxima), scale, maxima, weight)
    left = prescaled(values, scales)
    step = scale * left.maxima * scales.abs().amax().double() / (LARGEST * LEVELS)
    return _product(left, step, absmax(real, "row") * left.maxima, weight)


def _product(left: Prescaled, step: Tensor, heavy: Tensor, weight: Tensor) -> Direction:
    sums = gemm(left.values, weight)
    # Rows weigh what their scales do without what all share, as float32.
    weights = [Fraction(value) for value in heavy.float().flatten().tolist()]
    column, maxima = column_copy(sums, weights)
    return Direction(left, step, sums, column, maxima)


def _dots(real: Tensor, other: Direction) -> Tensor:
    values, scale = quantise(real, "column")
    dots = (values.long() * other.column.long()).sum(0, keepdim=True)
    return (dots.double() * scale * other.step)[0]
