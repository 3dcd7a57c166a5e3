"""The accelerator's integer arithmetic on torch tensors: whole matrices at once, on any device.

The definition is `hw.isa.numerics`; tests hold the two to the same bits. Sums are int32, maxima and
the products of a requantisation int64.
"""

from __future__ import annotations

import math
from functools import reduce
from operator import add

import torch
from torch import Tensor

from hw.isa.numerics import (
    INT8_MAX,
    INT32_MAX,
    INT32_MIN,
    MAX_REDUCTION,
    SHIFT_MAX,
    SHIFT_MIN,
)

__all__ = [
    "PRESCALE",
    "absmax",
    "add_half_",
    "column_entries",
    "fresh_entries",
    "gemm",
    "noise",
    "ratio_entries",
    "requantise8",
    "requantise32",
    "scale_accumulate",
    "stochastic8",
    "unit_entries",
    "update_entries",
]

PRESCALE = 1 << 16
"""What the largest scale of columns becomes on the chip: INT8 elements keep their digits then."""

_EXPONENT_BIAS, _FRACTION_BITS = 1023, 52
"""Of a float64, for powers of two that are exact by construction."""
_HALF = math.nextafter(0.5, 0)
"""Half, less one unit in its last place: that added to 0.5 gives 1, but to nothing below it."""

_EXACT_REDUCTION = 1 << 10
"""Longest reduction whose sums a float32 holds exactly: 2^10 products of at most 2^14 are at most
2^24, and every partial sum, in whatever order and fused or not, is an integer below that."""


def gemm(left: Tensor, right: Tensor) -> Tensor:
    """Multiply two INT8 matrices exactly, at the speed of a float32 product.

    Parameters
    ----------
    left : int8 (..., M, K)
    right : int8 (..., K, N)
        As many matrices as there are of `left`.

    Returns
    -------
    int32 (..., M, N)

    Raises
    ------
    ValueError
        The reduction is so long that a sum could leave int32.
    """
    k, device = left.shape[-1], left.device.type
    if k > MAX_REDUCTION:
        raise ValueError(f"a reduction may be {MAX_REDUCTION} long at most, not {k}")
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return gemm(left, right)
    if not _float32_is_whole():
        # Then torch may multiply with fewer bits than a float32 has. Float64 is left alone.
        return (left.double() @ right.double()).to(torch.int32)
    if k <= _EXACT_REDUCTION:
        return (left.float() @ right.float()).to(torch.int32)
    lefts, rights = left.split(_EXACT_REDUCTION, -1), right.split(_EXACT_REDUCTION, -2)
    parts = (a.float() @ b.float() for a, b in zip(lefts, rights, strict=True))
    return reduce(add, (part.to(torch.int32) for part in parts))


def _float32_is_whole() -> bool:
    """Return whether torch multiplies matrices of float32 with all their bits."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set for some backends by the newer way, which the older cannot tell
        return False


def absmax(sums: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return absolute maxima of int32 sums along `axes`, int64, which are kept with one element.

    That of -2^31 is 2^31.
    """
    low, high = sums.amin(axes, keepdim=True).long(), sums.amax(axes, keepdim=True).long()
    return torch.maximum(-low, high)


def ratio_entries(ratios: Tensor) -> tuple[Tensor, Tensor]:
    """Return m and s (int64) of ratios: m = round(ratio 2^s), 2^15 <= m < 2^16.

    Parameters
    ----------
    ratios : float64, finite and not negative
        As they are: a ratio that was rounded to a float64 must not have been rounded onto, or
        over, half a step of m.
    """
    fraction, exponent = torch.frexp(ratios)  # fraction is 0 or from 1/2 on, below 1
    # Exact: 2^16 leaves a float64 its digits, and what adding 1/2 rounds off lies above 2^16.
    m = torch.floor(fraction * 2.0**16 + 0.5).long()
    over = m >> 16
    s = (16 - exponent.long() - over).clamp(SHIFT_MIN, SHIFT_MAX)
    return m >> over, torch.where(m > 0, s, 0)


def unit_entries(maxima: Tensor) -> tuple[Tensor, Tensor]:
    """Return m and s that bring rows of these maxima to the unit of the largest.

    Parameters
    ----------
    maxima : float64, values of float32
        Their ratios are as far from half a step as those of integers of 24 bits can be.
    """
    top = maxima.max()
    return ratio_entries(maxima / torch.where(top > 0, top, 1.0))


def column_entries(scales: Tensor) -> tuple[Tensor, Tensor]:
    """Return m and s of columns' scales, each set of them brought to `PRESCALE` for its largest.

    Parameters
    ----------
    scales : float32 (sets, columns)
        Without a sign; as with `unit_entries`, their ratios are told exactly.
    """
    top = scales.double().amax(-1, keepdim=True)
    return ratio_entries(scales.double() / torch.where(top > 0, top, 1.0) * PRESCALE)


def fresh_entries(maxima: Tensor) -> tuple[Tensor, Tensor]:
    """Return m and s that bring sums of these maxima (int64) to 127; 0 and 0 for a maximum of 0."""
    # 254 2^s / a is at least 2^-17 / a, relatively 2^-48, from an odd number, if it is none:
    # the rounding of a float64 does not reach that far.
    exact = maxima.double()
    return ratio_entries(torch.where(maxima > 0, INT8_MAX / exact.clamp(min=1), 0.0))


def update_entries(maxima: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Return m and s of maxima (int64) times an entry of `hw.isa.numerics.encode_factor`."""
    s = (factor >> 16) & 0xFF
    s -= 256 if s >= 128 else 0
    product = maxima.double() * (factor & 0xFFFF)  # at most 2^47: exact
    return ratio_entries(product * math.ldexp(1.0, -s))


def add_half_(x: Tensor) -> Tensor:
    """Move a float64 tensor by a half away from zero, in place, and return it.

    As integers, which leave fractions off, its elements are then what they were rounded half away
    from zero: torch takes ten times as long to leave them off in floating point.
    """
    return x.add_(torch.sign(x), alpha=_HALF)


def _rescale(acc: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """Return ``acc m / 2^s``, of which rounding leaves off the fraction, float64.

    All of it is exact: a product has 47 bits at most, and is scaled by a power of two.
    """
    power = ((_EXPONENT_BIAS - s) << _FRACTION_BITS).view(torch.float64)  # 2^-s
    return add_half_(acc.double().mul_(m * power))


def requantise8(acc: Tensor, m: Tensor, s: Tensor) -> tuple[Tensor, int]:
    """Return sums times ``m / 2^s``, rounded half away from zero and limited, int8.

    The second is how many the limit changed.
    """
    return _limit8(_rescale(acc, m, s))


def _limit8(exact: Tensor) -> tuple[Tensor, int]:
    """Return a tensor without its fractions as int8, and how many of it are limited."""
    low, high = torch.aminmax(exact)
    if bool(torch.maximum(-low, high) < INT8_MAX + 1):  # as a fresh scale leaves it
        return exact.to(torch.int8), 0
    limited = int((exact.abs() >= INT8_MAX + 1).sum())
    return exact.clamp(-INT8_MAX, INT8_MAX).to(torch.int8), limited


def requantise32(acc: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """Return sums times ``m / 2^s``, rounded half away from zero and limited, int32."""
    return _limit32_(_rescale(acc, m, s))


def _limit32_(exact: Tensor) -> Tensor:
    return exact.clamp_(INT32_MIN, INT32_MAX).to(torch.int32)


def scale_accumulate(total: Tensor, acc: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """Return ``total + requantise32(acc, m, s)`` limited to int32."""
    return _limit32_(requantise32(acc, m, s).double().add_(total))


def noise(seed: int, rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """Return the 32 random bits of every element of a matrix, int64 (rows, columns)."""
    x = (torch.arange(rows, device=device) & 0xFFFF)[:, None]
    y = (torch.arange(columns, device=device) & 0xFFFF)[None, :]
    halves = seed & 0xFFFF, seed >> 16 & 0xFFFF
    for turn in range(8):
        key = (halves[turn & 1] + 0x9E37 * turn) & 0xFFFF
        x = ((((x >> 7) | (x << 9)) & 0xFFFF) + y & 0xFFFF) ^ key
        y = ((y << 2) & 0xFFFF | (y >> 14)) ^ x
    return x << 16 | y


def stochastic8(acc: Tensor, m: Tensor, s: Tensor, bits: Tensor) -> tuple[Tensor, int]:
    """Return sums times ``m / 2^s``, rounded by chance and limited, int8, and how many were.

    Parameters
    ----------
    acc : int32
    m, s : int64, broadcast against `acc`
    bits : int64, shaped as `acc`
        Of `noise`.
    """
    product = acc.long() * m
    magnitude, right = product.abs(), s.clamp(min=1)
    # uniform + rest may need 64 bits: so what is missing to the next whole number is compared.
    below = (torch.ones_like(right) << (right - 1)) - 1
    largest = below + below + 1
    uniform = torch.where(
        right > 32, bits << (right - 32).clamp(min=0), bits >> (32 - right).clamp(min=0)
    )
    missing = largest - (magnitude & largest)
    raised = (magnitude >> right) + (uniform > missing).long()
    # To the left, anything from 128 on is limited anyway.
    shifted = magnitude.clamp(max=INT8_MAX + 1) << (-s).clamp(min=0)
    exact = torch.where(s > 0, raised, shifted)
    return _limit8(torch.where(product < 0, -exact, exact))
