"""`hw.isa.numerics` on whole arrays; a test holds the two to the same bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hw.isa.numerics import (
    INT8_MAX,
    INT32_MAX,
    INT32_MIN,
    SHIFT_MAX,
    SHIFT_MIN,
    fresh_entry,
    update_entry,
)

__all__ = [
    "decode_scales",
    "fresh_entries",
    "limit8",
    "magnitudes",
    "matmul",
    "noise",
    "pack4",
    "requantise",
    "requantise8",
    "requantise32",
    "rescale",
    "rescale_stochastic",
    "scale_accumulate",
    "unpack4",
    "update_entries",
]


def pack4(values: np.ndarray) -> np.ndarray:
    """Return int8 (rows, columns) from -8 to 7 as bytes, uint8 (rows, ceil(columns / 2)).

    A byte is two elements, the first in its lower half; the half that a row does not need is 0.
    """
    even = values if values.shape[1] % 2 == 0 else np.pad(values, ((0, 0), (0, 1)))
    halves = even.view(np.uint8) & 15
    return halves[:, ::2] | halves[:, 1::2] << 4


def unpack4(packed: np.ndarray, columns: int) -> np.ndarray:
    """Return so many columns of what `pack4` packed, int8."""
    signed = packed.view(np.int8)
    values = np.stack((signed << 4 >> 4, signed >> 4), -1)
    return values.reshape(len(packed), -1)[:, :columns]


def decode_scales(entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return m and s (int64) of uint32 scale entries, s clamped to what the hardware keeps."""
    m = (entries & 0xFFFF).astype(np.int64)
    s = (entries >> 16).astype(np.uint8).view(np.int8).astype(np.int64)
    return m, np.clip(s, SHIFT_MIN, SHIFT_MAX)


def matmul(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the int32 product of int8 matrices (M, K) and (K, N), modulo 2^32.

    Products are integers of at most 2^14, so float64 holds every partial sum, in any order,
    exactly up to K = 2^39: the fast floating-point multiplication loses nothing.
    """
    sums = left.astype(np.float64) @ right.astype(np.float64)
    return sums.astype(np.int64).astype(np.int32)


def rescale(acc: np.ndarray, m: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Return ``acc * m / 2^s`` rounded half away from zero, without a limit.

    Parameters
    ----------
    acc : int32
    m, s : int64, broadcast against `acc`
        From `decode_scales`: m in [0, 2^16), s in [-16, 63].

    Returns
    -------
    int64
    """
    # |product| <= 2^31 (2^16 - 1): shifted left by 16 it is at most 2^63 - 2^47, and half of the
    # largest divisor added to it is below 2^62 + 2^47. Both fit int64: nothing saturates early.
    product = acc.astype(np.int64) * m
    right = np.maximum(s, 1)
    rounded = (product + (np.int64(1) << (right - 1)) - (product < 0)) >> right
    shifted = product << np.maximum(-s, 0)
    return np.where(s > 0, rounded, shifted)


def rescale_stochastic(
    acc: np.ndarray, m: np.ndarray, s: np.ndarray, bits: np.ndarray
) -> np.ndarray:
    """Return ``acc * m / 2^s``, its magnitude rounded up with the probability of its rest.

    As `rescale`, with 32 random `bits` (uint32, from `noise`) for each sum.
    """
    # What is added is below 2^63, and the product below 2^47: their sum needs all 64 bits.
    product = (np.abs(acc.astype(np.int64)) * m).astype(np.uint64)
    bits = bits.astype(np.uint64)
    right, left = (np.maximum(each, 0).astype(np.uint64) for each in (s, -s))
    over, under = (np.maximum(each, 0).astype(np.uint64) for each in (s - 32, 32 - s))
    magnitude = ((product + (bits >> under << over) >> right) << left).astype(np.int64)
    return np.where(acc < 0, -magnitude, magnitude)


def noise(seed: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the random bits (uint32) of elements at `rows` and `columns`, broadcast together."""
    mask = np.uint32(0xFFFF)
    x, y = (np.asarray(each).astype(np.uint32) & mask for each in (rows, columns))
    halves = seed & 0xFFFF, seed >> 16 & 0xFFFF
    for turn in range(8):
        key = np.uint32(halves[turn & 1] + 0x9E37 * turn & 0xFFFF)
        x = ((x >> 7 | x << 9) & mask) + y & mask ^ key
        y = (y << 2 & mask | y >> 14) ^ x
    return x << 16 | y


def limit8(exact: np.ndarray) -> tuple[np.ndarray, int]:
    """Return rescaled sums limited to int8 in [-127, 127], and how many the limit changed."""
    limited = np.clip(exact, -INT8_MAX, INT8_MAX)
    return limited.astype(np.int8), int(np.count_nonzero(limited != exact))


def requantise(acc: np.ndarray, m: np.ndarray, s: np.ndarray, low: int, high: int) -> np.ndarray:
    """Return ``acc * m / 2^s`` rounded half away from zero, once, and limited to [low, high].

    Takes and returns what `rescale` does.
    """
    return np.clip(rescale(acc, m, s), low, high)


def requantise8(acc: np.ndarray, m: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Return sums requantised to int8, in [-127, 127]."""
    return requantise(acc, m, s, -INT8_MAX, INT8_MAX).astype(np.int8)


def requantise32(acc: np.ndarray, m: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Return sums rescaled to int32, saturating."""
    return requantise(acc, m, s, INT32_MIN, INT32_MAX).astype(np.int32)


def scale_accumulate(
    total: np.ndarray | int, acc: np.ndarray, m: np.ndarray, s: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``total + requantise32(acc, m, s)`` saturated to int32, and where it was limited.

    The second is True where the addend, the sum or both were limited.
    """
    addend = rescale(acc, m, s)
    limited = np.clip(addend, INT32_MIN, INT32_MAX)
    exact = total + limited
    sums = np.clip(exact, INT32_MIN, INT32_MAX)
    return sums.astype(np.int32), (limited != addend) | (sums != exact)


def magnitudes(sums: np.ndarray) -> np.ndarray:
    """Return absolute values of int32 sums as uint32: that of -2^31 is 2^31."""
    return np.abs(sums.astype(np.int64)).astype(np.uint32)


def fresh_entries(maxima: np.ndarray) -> np.ndarray:
    """Return `hw.isa.numerics.fresh_entry` of each maximum, as uint32."""
    return _each(fresh_entry, maxima)


def update_entries(maxima: np.ndarray, factor: int) -> np.ndarray:
    """Return `hw.isa.numerics.update_entry` of each maximum and one factor, as uint32."""
    return _each(lambda absmax: update_entry(absmax, factor), maxima)


def _each(function: Callable[[int], int], maxima: np.ndarray) -> np.ndarray:
    values, places = np.unique(maxima, return_inverse=True)
    entries = np.array([function(value) for value in values.tolist()], np.uint32)
    return entries[places].reshape(maxima.shape)
