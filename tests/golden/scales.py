"""Golden scale entries: ratios as 16-bit multipliers and shifts, on the host and on the chip.

Written from docs/numerics.md alone. An entry is here what a scale memory holds: an integer with m
in its bits 0-15 and s, as a signed byte, in bits 16-23.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

__all__ = [
    "Ratio",
    "delayed_entry",
    "entry",
    "factor_entry",
    "fresh_entry",
    "multiplier",
    "multipliers",
    "parts",
    "update_entry",
]

Ratio = int | float | Fraction

INT8_LIMIT = 127
MULTIPLIER_BITS = 16
LOWEST_SHIFT, HIGHEST_SHIFT = -16, 63
BYTE = 256


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


def entry(m: Tensor, s: Tensor) -> Tensor:
    """Return entries of multipliers and shifts; shifts are limited to those an entry keeps."""
    return m + s.clamp(LOWEST_SHIFT, HIGHEST_SHIFT).remainder(BYTE) * (1 << MULTIPLIER_BITS)


def parts(entries: Tensor) -> tuple[Tensor, Tensor]:
    """Return m and s of entries, int64, in their shape; s as the byte says, unlimited."""
    byte = (entries >> MULTIPLIER_BITS).remainder(BYTE)
    return entries.remainder(1 << MULTIPLIER_BITS), byte - BYTE * (byte >= BYTE // 2).long()


def fresh_entry(largest: Tensor | int) -> Tensor:
    """Return the entries of ``127 / largest``, as the chip makes them of maxima.

    Parameters
    ----------
    largest : int64 tensor of any shape, 0 to 2^31
        Absolute maxima. Of zero, the entry is zero.
    """
    return _entries_of(INT8_LIMIT, torch.as_tensor(largest, dtype=torch.int64), 1)


def delayed_entry(earlier: Tensor | int, margin: Ratio) -> Tensor:
    """Return the entries of ``127 / (margin * earlier)``: delayed scaling.

    Parameters
    ----------
    earlier : int64 tensor of any shape, 0 to 2^31
        Absolute maxima of an earlier step.
    margin : number, above 0
        How many times larger maxima may be now before elements are limited.

    Raises
    ------
    ValueError
        The margin is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"a margin must be above 0, not {margin}")
    return _entries_of(INT8_LIMIT, torch.as_tensor(earlier, dtype=torch.int64), margin)


def _entries_of(numerator: int, largest: Tensor, factor: Ratio) -> Tensor:
    flat = [Fraction(factor) * value for value in largest.flatten().tolist()]
    m, s = multipliers([numerator] * len(flat), flat)
    return entry(m, s).reshape(largest.shape)


def factor_entry(ratio: Ratio) -> int:
    """Return the entry of a factor of `update_entry`: one rounding, by the host.

    Raises
    ------
    ValueError
        The ratio is negative, or its shift does not fit a signed byte.
    """
    m, s = multiplier(ratio)
    if not -BYTE // 2 <= s < BYTE // 2:
        raise ValueError(f"the shift of a factor must fit a signed byte, but is {s}")
    return m + s % BYTE * (1 << MULTIPLIER_BITS)


def update_entry(largest: Tensor | int, factor: int) -> Tensor:
    """Return the entries of ``largest`` times a factor entry, as the chip makes them of maxima.

    The product of the maximum and the factor's multiplier is exact. Its leading 16 bits, rounded
    half up at the bit below them, are the multiplier of the entry.

    Parameters
    ----------
    largest : int64 tensor of any shape, 0 to 2^31
    factor : int
        Of `factor_entry`; its shift counts unlimited.
    """
    m, s = parts(torch.tensor(factor))
    product = torch.as_tensor(largest, dtype=torch.int64) * m
    # Below 2^47, so exact in float64, whose exponent is then the length in bits.
    length = torch.frexp(product.double()).exponent.long()
    surplus = length - MULTIPLIER_BITS
    dropped = surplus.clamp(min=0)
    leading = (2 * product + (1 << dropped)) >> (dropped + 1)
    leading = leading << (-surplus).clamp(min=0)
    carried = leading >> MULTIPLIER_BITS  # all ones, rounded up: one bit more, all but it zero
    made = entry(leading >> carried, s - surplus - carried)
    return made.where(product > 0, torch.zeros_like(made))
