"""Integer arithmetic of the accelerator, on plain Python integers.

These functions are the definition in code: the hardware and the functional model are held to
them, and they are held to the torch golden model. The reasons are in ``docs/numerics.md``.
"""

from __future__ import annotations

from fractions import Fraction

__all__ = [
    "INT8_MAX",
    "INT32_MAX",
    "INT32_MIN",
    "MAX_REDUCTION",
    "SHIFT_MAX",
    "SHIFT_MIN",
    "accumulate",
    "clamp",
    "decode_scale",
    "dot",
    "encode_factor",
    "encode_scale",
    "fresh_entry",
    "multiplier",
    "noise",
    "requantise",
    "requantise8",
    "requantise32",
    "scale_accumulate",
    "stochastic8",
    "update_entry",
    "wrap32",
]

INT8_MAX = 127
"""Quantised values lie in [-127, 127]; the array is also correct for -128 at its inputs."""
INT32_MAX = (1 << 31) - 1
INT32_MIN = -(1 << 31)
MAX_REDUCTION = INT32_MAX // (128 * 128)
"""Longest reduction whose sum fits in int32 for any INT8 operands, -128 included: 131 071."""
SHIFT_MIN, SHIFT_MAX = -16, 63
"""Shifts the hardware keeps. For a multiplier in [2^15, 2^16), a smaller shift saturates int32 for
every sum but 0, and a larger one rounds every sum to 0, so nothing is lost by clamping to these."""


def wrap32(value: int) -> int:
    """Return `value` modulo 2^32 as a signed 32-bit integer."""
    return ((value + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def clamp(value: int, low: int, high: int) -> int:
    """Return `value` limited to [low, high]."""
    return max(low, min(high, value))


def accumulate(total: int, left: int, right: int) -> int:
    """Return one multiply-accumulate of the array: int32 total plus int8 times int8."""
    return wrap32(total + left * right)


def dot(left: list[int], right: list[int]) -> int:
    """Return the int32 sum of products of two INT8 vectors of equal length."""
    total = 0
    for a, b in zip(left, right, strict=True):
        total = accumulate(total, a, b)
    return total


def multiplier(ratio: Fraction) -> tuple[int, int]:
    """Return (m, s) with ``m = round_half_up(ratio * 2^s)`` and ``2^15 <= m < 2^16``.

    Where rounding lets two pairs qualify, (2^15, s) and (2^16 - 1, s + 1), it is the one with the
    larger s, which is the closer. A ratio of zero gives (0, 0): every output is 0, and so is the
    recorded scale.

    Raises
    ------
    ValueError
        The ratio is negative.
    """
    if ratio < 0:
        raise ValueError(f"a scale ratio must not be negative, but is {ratio}")
    if ratio == 0:
        return 0, 0
    num, den = ratio.numerator, ratio.denominator
    # 2^s * num/den lies in (2^14, 2^16) for this first guess; at most two steps correct it.
    shift = 15 - (num.bit_length() - den.bit_length())
    while True:
        scaled_num, scaled_den = num << max(shift, 0), den << max(-shift, 0)
        m = (2 * scaled_num + scaled_den) // (2 * scaled_den)
        if 4 * scaled_num < ((1 << 17) - 1) * scaled_den:  # one more shift keeps m below 2^16
            shift += 1
        elif m >= 1 << 16:
            shift -= 1
        else:
            return m, shift


def encode_scale(m: int, s: int) -> int:
    """Return the 32-bit entry of a scale memory: m in bits 0-15, signed s, clamped, in 16-23."""
    if not 0 <= m < 1 << 16:
        raise ValueError(f"a scale multiplier must be from 0 to 65535, not {m}")
    return m | (clamp(s, SHIFT_MIN, SHIFT_MAX) & 0xFF) << 16


def decode_scale(entry: int) -> tuple[int, int]:
    """Return (m, s) of a scale entry, s clamped to what the hardware keeps."""
    s = (entry >> 16) & 0xFF
    return entry & 0xFFFF, clamp(s - 256 if s >= 128 else s, SHIFT_MIN, SHIFT_MAX)


def fresh_entry(absmax: int) -> int:
    """Return the entry that brings sums of this absolute maximum to [-127, 127]: 127 / absmax."""
    return encode_scale(*multiplier(Fraction(INT8_MAX, absmax) if absmax else Fraction(0)))


def encode_factor(ratio: Fraction) -> int:
    """Return the entry of a factor of `update_entry`: as `encode_scale`, but s from -128 to 127.

    Raises
    ------
    ValueError
        The ratio is negative, or s does not fit: it is below 2^-112 or above 2^143.
    """
    m, s = multiplier(ratio)
    if not -128 <= s <= 127:
        raise ValueError(f"a factor must be 0 or from 2^-112 to 2^143, not {float(ratio):.3g}")
    return m | (s & 0xFF) << 16


def update_entry(absmax: int, factor: int) -> int:
    """Return the entry of ``absmax * factor``, `factor` being an entry of `encode_factor`."""
    s = (factor >> 16) & 0xFF
    s -= 256 if s >= 128 else 0
    product = absmax * (factor & 0xFFFF)
    return encode_scale(*multiplier(product / Fraction(2) ** s))


def requantise(acc: int, m: int, s: int, low: int, high: int) -> int:
    """Return ``acc * m / 2^s`` rounded half away from zero, once, and limited to [low, high]."""
    product = acc * m
    if s <= 0:
        return clamp(product << -s, low, high)
    return clamp((product + (1 << (s - 1)) - (product < 0)) >> s, low, high)


def requantise8(acc: int, m: int, s: int) -> int:
    """Return a sum requantised to INT8, in [-127, 127]."""
    return requantise(acc, m, s, -INT8_MAX, INT8_MAX)


def noise(seed: int, row: int, column: int) -> int:
    """Return the 32 random bits of an element: a function of its place and a 32-bit seed alone.

    Eight rounds of the add-rotate-xor step of the block cipher Speck32 (Beaulieu et al., 2013) on
    the words row and column modulo 2^16, under keys made of the seed. Two places never share
    their bits under one seed. It is not meant to keep secrets.
    """
    x, y = row & 0xFFFF, column & 0xFFFF
    halves = seed & 0xFFFF, seed >> 16 & 0xFFFF
    for turn in range(8):
        key = halves[turn & 1] + 0x9E37 * turn & 0xFFFF
        x = (((x >> 7 | x << 9) & 0xFFFF) + y & 0xFFFF) ^ key
        y = (y << 2 & 0xFFFF | y >> 14) ^ x
    return x << 16 | y


def stochastic8(acc: int, m: int, s: int, bits: int) -> int:
    """Return a sum requantised to INT8, its magnitude rounded up with the probability of its rest.

    `bits` are 32 random bits, such as those of `noise`: ``floor(bits * 2^s / 2^32)``, uniform in
    [0, 2^s), takes the place of the half that rounding to nearest adds.
    """
    product = abs(acc) * m
    if s <= 0:
        magnitude = product << -s
    else:
        magnitude = (product + ((bits << s) >> 32)) >> s
    return clamp(-magnitude if acc < 0 else magnitude, -INT8_MAX, INT8_MAX)


def requantise32(acc: int, m: int, s: int) -> int:
    """Return a sum rescaled to int32, saturating."""
    return requantise(acc, m, s, INT32_MIN, INT32_MAX)


def scale_accumulate(total: int, acc: int, m: int, s: int) -> int:
    """Return ``total + requantise32(acc, m, s)`` saturated to int32: the LoRA sum."""
    return clamp(total + requantise32(acc, m, s), INT32_MIN, INT32_MAX)
