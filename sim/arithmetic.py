"""`hw.isa.numerics` on whole arrays; a test holds the two to the same bits."""

from __future__ import annotations

import numpy as np

from hw.isa.numerics import INT8_MAX, INT32_MAX, INT32_MIN, SHIFT_MAX, SHIFT_MIN

__all__ = [
    "decode_scales",
    "magnitudes",
    "matmul",
    "requantise",
    "requantise8",
    "requantise32",
    "scale_accumulate",
]


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


def requantise(acc: np.ndarray, m: np.ndarray, s: np.ndarray, low: int, high: int) -> np.ndarray:
    """Return ``acc * m / 2^s`` rounded half away from zero, once, and limited to [low, high].

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
    return np.clip(np.where(s > 0, rounded, shifted), low, high)


def requantise8(acc: np.ndarray, m: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Return sums requantised to int8, in [-127, 127]."""
    return requantise(acc, m, s, -INT8_MAX, INT8_MAX).astype(np.int8)


def requantise32(acc: np.ndarray, m: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Return sums rescaled to int32, saturating."""
    return requantise(acc, m, s, INT32_MIN, INT32_MAX).astype(np.int32)


def scale_accumulate(
    total: np.ndarray | int, acc: np.ndarray, m: np.ndarray, s: np.ndarray
) -> np.ndarray:
    """Return ``total + requantise32(acc, m, s)`` saturated to int32."""
    exact = total + requantise(acc, m, s, INT32_MIN, INT32_MAX)
    return np.clip(exact, INT32_MIN, INT32_MAX).astype(np.int32)


def magnitudes(sums: np.ndarray) -> np.ndarray:
    """Return absolute values of int32 sums as uint32: that of -2^31 is 2^31."""
    return np.abs(sums.astype(np.int64)).astype(np.uint32)
