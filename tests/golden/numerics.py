"""Golden integer arithmetic of the accelerator, in torch, written from the numerics page alone.

Nothing here is shared with the code under test: where the page gives a formula (rounding by a
biased arithmetic shift, say), this module computes what the formula is *for* in another way
(sign and magnitude), so that a slip in one is not a slip in both.

Tensors are exact: int64, or float64 holding integers below 2^53.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .noise import noise
from .scales import (
    HIGHEST_SHIFT,
    MULTIPLIER_BITS,
    delayed_entry,
    factor_entry,
    fresh_entry,
    multiplier,
    multipliers,
    update_entry,
)

__all__ = [
    "INT32_MAX",
    "INT32_MIN",
    "Axis",
    "absmax",
    "delayed_entry",
    "factor_entry",
    "fresh_entry",
    "gemm",
    "limited",
    "merged",
    "multiplier",
    "multipliers",
    "noise",
    "quantise",
    "requantise",
    "requantise8",
    "scale_accumulate",
    "stochastic",
    "stochastic8",
    "update_entry",
]

Axis = Literal["row", "column", "tensor"]

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
INT8_LIMIT = 127
NOISE_BITS = 32

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


def merged(before: Tensor | None, values: Tensor, axis: Axis) -> Tensor:
    """Return the maxima of groups that span tiles: those found so far, and one more tile.

    Parameters
    ----------
    before : int64 tensor shaped as the result, or None
        What the tiles before gave.
    values : tensor, (M, N)
        The tile.
    axis : "row", "column" or "tensor"
    """
    found = absmax(values, axis)
    return found if before is None else torch.maximum(before, found)


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
    product, s = _product(acc, m, s, low, high)
    # |product| <= 2^31 * (2^16 - 1) < 2^47. So a shift of 48 or more gives less than one half,
    # hence 0, and may be taken as 48: 2^47 + 2^47 fits int64.
    magnitude = product.abs()
    right = s.clamp(1, 48)
    rounded = (magnitude + (torch.ones_like(right) << (right - 1))) >> right
    return _signed(product, torch.where(s > 0, rounded, _left(magnitude, s)), low, high)


def stochastic(
    acc: Tensor,
    m: Tensor | int,
    s: Tensor | int,
    bits: Tensor,
    low: int = INT32_MIN,
    high: int = INT32_MAX,
) -> Tensor:
    """Multiply sums by ``m / 2^s``, round by chance, and clamp.

    The magnitude is cut to a whole number, and raised by one with the probability of what was cut
    off: when that and a uniform ``u = floor(bits * 2^s / 2^32)`` make a whole step together.

    Parameters
    ----------
    acc, m, low, high : as in `requantise`
    s : int or int64 tensor that broadcasts against `acc`
        At most 63, as an entry keeps it.
    bits : int64 tensor that broadcasts against `acc`
        32 random bits an element, as from `noise`.

    Raises
    ------
    TypeError, ValueError
        As `requantise`; or a shift is above 63.
    """
    product, s = _product(acc, m, s, low, high)
    if bool((s > HIGHEST_SHIFT).any()):
        raise ValueError(f"shifts of stochastic rounding must be at most {HIGHEST_SHIFT}")
    magnitude, right = product.abs(), s.clamp(min=1)
    one = torch.ones_like(right)
    whole = magnitude >> right
    rest = magnitude - (whole << right)
    uniform = (bits >> (NOISE_BITS - right).clamp(min=0)) << (right - NOISE_BITS).clamp(min=0)
    # 2^s - 1 in two halves, for 2^63 is no int64; and u + rest >= 2^s told without the sum.
    largest = ((one << (right - 1)) - 1) + (one << (right - 1))
    raised = whole + (uniform > largest - rest).long()
    return _signed(product, torch.where(s > 0, raised, _left(magnitude, s)), low, high)


def _product(
    acc: Tensor, m: Tensor | int, s: Tensor | int, low: int, high: int
) -> tuple[Tensor, Tensor]:
    """Check the arguments of a requantisation; return the products and shifts, int64."""
    if acc.dtype != torch.int32:
        raise TypeError(f"sums must be int32, not {acc.dtype}")
    if not INT32_MIN <= low <= high <= INT32_MAX:
        raise ValueError(f"bounds must be inside int32: {low}, {high}")
    m, s = torch.as_tensor(m, dtype=torch.int64), torch.as_tensor(s, dtype=torch.int64)
    if bool(((m < 0) | (m >= 1 << MULTIPLIER_BITS)).any()):
        raise ValueError(f"multipliers must be 0 to {(1 << MULTIPLIER_BITS) - 1}")
    return acc.to(torch.int64) * m, s


def _left(magnitude: Tensor, s: Tensor) -> Tensor:
    """Return magnitudes shifted to the left by ``-s``, where s is zero or below."""
    # To the left, 2^31 already reaches both bounds, whatever the shift, and so does 1 << 31:
    # cutting both there changes nothing after the clamp, and 2^31 << 31 fits int64.
    return magnitude.clamp(max=1 << 31) << (-s).clamp(0, 31)


def _signed(product: Tensor, magnitude: Tensor, low: int, high: int) -> Tensor:
    return (product.sign() * magnitude).clamp(low, high).to(torch.int32)


def requantise8(acc: Tensor, m: Tensor | int, s: Tensor | int) -> Tensor:
    """Requantise sums to int8 in [-127, 127]; arguments as in `requantise`."""
    return requantise(acc, m, s, -INT8_LIMIT, INT8_LIMIT).to(torch.int8)


def stochastic8(acc: Tensor, m: Tensor | int, s: Tensor | int, bits: Tensor) -> Tensor:
    """Requantise sums to int8 in [-127, 127] by chance; arguments as in `stochastic`."""
    return stochastic(acc, m, s, bits, -INT8_LIMIT, INT8_LIMIT).to(torch.int8)


def limited(acc: Tensor, m: Tensor | int, s: Tensor | int, bits: Tensor | None = None) -> int:
    """Return how many elements requantising to INT8 limits: rounded, they leave [-127, 127].

    Parameters
    ----------
    acc, m, s : as in `requantise`
    bits : as in `stochastic`, or None if rounding is to nearest
    """
    free = requantise(acc, m, s) if bits is None else stochastic(acc, m, s, bits)
    return int((free.long().abs() > INT8_LIMIT).sum())


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
