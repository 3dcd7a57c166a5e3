"""Golden integer arithmetic of the accelerator, in torch, written from the numerics page alone.

Nothing here is shared with the code under test: where the page gives a formula (rounding by a
biased arithmetic shift, say), this module computes what the formula is *for* in another way
(sign and magnitude), so that a slip in one is not a slip in both.

Tensors are exact: int64, or float64 holding integers below 2^53.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "INT32_MAX",
    "INT32_MIN",
    "absmax",
    "gemm",
    "multiplier",
    "multipliers",
    "quantise",
    "requantise",
    "requantise8",
    "scale_accumulate",
]

Axis = Literal["row", "column", "tensor"]
Ratio = int | float | Fraction

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
INT8_LIMIT = 127
MULTIPLIER_BITS = 16

_DIMENSIONS: dict[str, tuple[int, ...]] = {"row": (1,), "column": (0,), "tensor": (0, 1)}


def gemm(left: Tensor, right: Tensor) -> Tensor:
    """Multiply two INT8 matrices exactly.

    Parameters
    ----------
    left : int8 tensor, (M, K)
    right : int8 tensor, (K, N)

    Returns
    -------
    int32 tensor, (M, N)

    Raises
    ------
    TypeError
        An operand is not int8.
    OverflowError
        A sum leaves int32, which takes K > 131071: nothing is ever clipped silently.
    """
    for name, operand in (("left", left), ("right", right)):
        if operand.dtype != torch.int8:
            raise TypeError(f"{name} operand must be int8, not {operand.dtype}")
    # Every product is an integer of magnitude at most 2^14, so every partial sum, in any order and
    # with or without fused multiply-add, is an integer of magnitude at most K * 2^14. Float64 holds
    # all integers below 2^53: exact for K < 2^39, which is beyond any memory.
    sums = (left.double() @ right.double()).to(torch.int64)
    if bool(((sums < INT32_MIN) | (sums > INT32_MAX)).any()):
        raise OverflowError(f"a sum over K = {left.shape[1]} leaves int32")
    return sums.to(torch.int32)


def absmax(values: Tensor, axis: Axis) -> Tensor:
    """Return the absolute maximum of each row, each column or the whole matrix.

    Parameters
    ----------
    values : tensor, (M, N)
        Integers, or floats.
    axis : "row", "column" or "tensor"

    Returns
    -------
    int64 tensor (float64 for floats), (M, 1), (1, N) or (1, 1)
        Shaped to broadcast against `values`. Int64 because ``|-2^31|`` is not an int32.
    """
    exact = values.double() if values.is_floating_point() else values.to(torch.int64)
    return exact.abs().amax(dim=_DIMENSIONS[axis], keepdim=True)


def multiplier(numerator: Ratio, denominator: Ratio = 1) -> tuple[int, int]:
    """Return the 16-bit multiplier m and shift s whose ``m / 2^s`` stands for a ratio.

    ``m = floor(ratio * 2^s + 1/2)`` and ``2^15 <= m < 2^16``, in exact rationals. Two shifts meet
    that for one ratio in 90 000, those whose m would lie a quarter to a half under 2^15 (127/130049
    is one: 32768 or 65535). Taken is the larger s, the closer of the two.

    Parameters
    ----------
    numerator, denominator : int, float or Fraction, at least 0
        Floats count as the exact rational they hold.

    Returns
    -------
    m, s : int
        (0, 0) for a ratio of zero, and for a denominator of zero (the scale of an empty group).

    Raises
    ------
    ValueError
        A negative argument.
    """
    if numerator < 0 or denominator < 0:
        raise ValueError(f"ratio must not be negative: {numerator} / {denominator}")
    if numerator == 0 or denominator == 0:
        return 0, 0
    ratio = Fraction(numerator) / Fraction(denominator)
    exponent = ratio.numerator.bit_length() - ratio.denominator.bit_length()
    if ratio < Fraction(2) ** exponent:
        exponent -= 1
    # Now 2^exponent <= ratio < 2^(exponent + 1), so ratio * 2^s lies in [2^15, 2^16).
    s = MULTIPLIER_BITS - 1 - exponent
    m = (ratio * Fraction(2) ** s + Fraction(1, 2)).__floor__()
    if m == 1 << MULTIPLIER_BITS:
        # Within half a step of 2^16: one shift less, where the same formula gives 2^15.
        return m >> 1, s - 1
    return m, s


def multipliers(numerators: list[Ratio], denominators: list[Ratio]) -> tuple[Tensor, Tensor]:
    """Return `multiplier` of each pair as two int64 tensors of shape (len,)."""
    pairs = [multiplier(n, d) for n, d in zip(numerators, denominators, strict=True)]
    m, s = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return m, s


def requantise(
    acc: Tensor, m: Tensor | int, s: Tensor | int, low: int = INT32_MIN, high: int = INT32_MAX
) -> Tensor:
    """Multiply sums by ``m / 2^s``, round once, half away from zero, and clamp.

    Parameters
    ----------
    acc : int32 tensor, (M, N)
    m : int or int64 tensor that broadcasts against `acc`
        0 to 2^16 - 1; (M, 1) a row, (1, N) a column.
    s : int or int64 tensor that broadcasts against `acc`
        Any shift; zero and below shift to the left.
    low, high : int
        Bounds of the result, inside int32.

    Returns
    -------
    int32 tensor, (M, N)

    Raises
    ------
    TypeError
        The sums are not int32.
    ValueError
        A multiplier or bound is out of range.
    """
    if acc.dtype != torch.int32:
        raise TypeError(f"sums must be int32, not {acc.dtype}")
    if not INT32_MIN <= low <= high <= INT32_MAX:
        raise ValueError(f"bounds must be inside int32: {low}, {high}")
    m, s = torch.as_tensor(m, dtype=torch.int64), torch.as_tensor(s, dtype=torch.int64)
    if bool(((m < 0) | (m >= 1 << MULTIPLIER_BITS)).any()):
        raise ValueError(f"multipliers must be 0 to {(1 << MULTIPLIER_BITS) - 1}")
    product = acc.to(torch.int64) * m
    # |product| <= 2^31 * (2^16 - 1) < 2^47. So a shift of 48 or more gives less than one half,
    # hence 0, and may be taken as 48: 2^47 + 2^47 fits int64.
    magnitude = product.abs()
    right = s.clamp(1, 48)
    rounded = (magnitude + (torch.ones_like(right) << (right - 1))) >> right
    # To the left, 2^31 already reaches both bounds, whatever the shift, and so does 1 << 31:
    # cutting both there changes nothing after the clamp, and 2^31 << 31 fits int64.
    shifted = magnitude.clamp(max=1 << 31) << (-s).clamp(0, 31)
    return (product.sign() * torch.where(s > 0, rounded, shifted)).clamp(low, high).to(torch.int32)


def requantise8(acc: Tensor, m: Tensor | int, s: Tensor | int) -> Tensor:
    """Requantise sums to int8 in [-127, 127]; arguments as in `requantise`."""
    return requantise(acc, m, s, -INT8_LIMIT, INT8_LIMIT).to(torch.int8)


def scale_accumulate(total: Tensor, acc: Tensor, m: Tensor | int, s: Tensor | int) -> Tensor:
    """Add requantised sums to a running total; both steps saturate to int32.

    Parameters
    ----------
    total, acc : int32 tensors, (M, N)
    m, s : as in `requantise`

    Returns
    -------
    int32 tensor, (M, N)
    """
    if total.dtype != torch.int32:
        raise TypeError(f"total must be int32, not {total.dtype}")
    exact = total.to(torch.int64) + requantise(acc, m, s).to(torch.int64)
    return exact.clamp(INT32_MIN, INT32_MAX).to(torch.int32)


def quantise(x: Tensor, axis: Axis) -> tuple[Tensor, Tensor]:
    """Quantise a float matrix symmetrically to int8 in [-127, 127].

    ``q = (x * 127) / a``, in float64, rounded half away from zero; a is the absolute maximum of
    the group. For float32 input the product is exact and the quotient cannot be rounded onto a
    tie: 254 x - (2k+1) a, if not zero, is over 2^-32 of 254 x, far above float64's 2^-53.

    Parameters
    ----------
    x : float tensor, (M, N)
    axis : "row", "column" or "tensor"

    Returns
    -------
    values : int8 tensor, (M, N)
    scales : float64 tensor, (M, 1), (1, N) or (1, 1)
        ``a / 127``: the real value of one step. Zero, as the values, where the group is all zero.

    Raises
    ------
    ValueError
        A value is not finite.
    """
    exact = x.double()
    if not bool(exact.isfinite().all()):
        raise ValueError("values to quantise must be finite")
    largest = absmax(exact, axis)
    quotient = exact * INT8_LIMIT / largest.where(largest > 0, torch.ones_like(largest))
    # Not floor(|q| + 0.5): that addition itself rounds, and lifts 0.5 - 2^-54 to 1.
    whole = quotient.abs().trunc()
    rounded = whole + ((quotient.abs() - whole) >= 0.5).double()
    values = (quotient.sign() * rounded).clamp(-INT8_LIMIT, INT8_LIMIT)
    return values.to(torch.int8), largest / INT8_LIMIT
