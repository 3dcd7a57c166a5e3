"""Matrices in files, and what a product of two must give."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np

from sim.arithmetic import (
    decode_scales,
    limit8,
    magnitudes,
    matmul,
    noise,
    rescale,
    rescale_stochastic,
)

from .image import InputError
from .quantise import fresh_scales

__all__ = ["expected_gemm", "load_matrix", "load_maxima", "maxima_of", "npy"]


def load_matrix(file: str) -> np.ndarray:
    """Return an int8 matrix of a .npy file.

    Raises
    ------
    InputError
        The file cannot be read, or holds something else.
    """
    array = _load(file)
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{file}: must hold a matrix, not an array of shape {array.shape}")
    if array.dtype != np.int8:
        raise InputError(f"{file}: must be int8, not {array.dtype}")
    return array


def load_maxima(file: str, entries: int) -> np.ndarray:
    """Return the maxima that an earlier step left in a .npy file: uint32, (entries,).

    Raises
    ------
    InputError
        The file cannot be read, or holds something else.
    """
    array = _load(file)
    if array.dtype != np.uint32 or array.shape != (entries,):
        raise InputError(
            f"{file}: must be uint32 of shape ({entries},), not {array.dtype} {array.shape}"
        )
    return array


def _load(file: str) -> np.ndarray:
    try:
        with open(file, "rb") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    except (MemoryError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{file}: is not a .npy file of numbers: {error}") from None


def npy(array: np.ndarray) -> bytes:
    """Return the contents of a .npy file."""
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def expected_gemm(
    left: np.ndarray,
    right: np.ndarray,
    *,
    transpose_a: bool,
    transpose_b: bool,
    requantise: str | None,
    rounding: str,
    noise_seed: int,
    maxima: np.ndarray | None,
    margin: Fraction,
    **_: Any,
) -> dict[str, np.ndarray]:
    """Return what `gemm` must give, without a program: int32 sums, or these requantised."""
    sums = matmul(left.T if transpose_a else left, right.T if transpose_b else right)
    if requantise is None:
        return {"C": sums}
    found = maxima_of(sums, requantise)
    entries = fresh_scales(found) if maxima is None else fresh_scales(maxima, margin)
    shape = {"row": (-1, 1), "column": (1, -1), "tensor": (1, 1)}[requantise]
    m, s = decode_scales(entries.reshape(shape))
    exact = rescale(sums, m, s)
    if rounding == "stochastic":
        rows, columns = (np.arange(size) for size in sums.shape)
        exact = rescale_stochastic(sums, m, s, noise(noise_seed, rows[:, None], columns))
    return {"C": limit8(exact)[0], "maxima": found}


def maxima_of(sums: np.ndarray, requantise: str) -> np.ndarray:
    """Return the absolute maxima of rows, columns, or of all."""
    axes = {"row": 1, "column": 0, "tensor": (0, 1)}[requantise]
    return magnitudes(sums).max(axis=axes).reshape(-1)
