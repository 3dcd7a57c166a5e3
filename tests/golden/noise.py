"""Golden noise: the random bits of an element of a matrix, from its place and a seed alone."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ROUNDS", "mix", "noise"]

ROUNDS = 8
WORD = 1 << 16
KEY_STEP = 40_503


def mix(x: Tensor, y: Tensor, key: int) -> tuple[Tensor, Tensor]:
    """Return the two 16-bit words after one round: that of the block cipher Speck32.

    Rotations are written as what they are for numbers: to the right by 7 is a division by 2^7
    whose remainder becomes the leading bits.
    """
    x = x // 128 + x % 128 * 512
    x = ((x + y) % WORD) ^ key
    y = y * 4 % WORD + y // 16_384
    return x, y ^ x


def noise(seed: int, rows: Tensor | int, columns: Tensor | int) -> Tensor:
    """Return 32 random bits for each place.

    Parameters
    ----------
    seed : int, 0 to 2^32 - 1
    rows, columns : int64 tensors that broadcast against one another
        Places in the matrix, counted modulo 2^16.

    Returns
    -------
    int64 tensor, 0 to 2^32 - 1

    Raises
    ------
    ValueError
        The seed does not fit 32 bits.
    """
    if not 0 <= seed < WORD * WORD:
        raise ValueError(f"a seed must be from 0 to {WORD * WORD - 1}, not {seed}")
    x, y = torch.broadcast_tensors(
        torch.as_tensor(rows, dtype=torch.int64), torch.as_tensor(columns, dtype=torch.int64)
    )
    x, y = x % WORD, y % WORD
    halves = seed % WORD, seed // WORD
    for turn in range(ROUNDS):
        x, y = mix(x, y, (halves[turn % 2] + KEY_STEP * turn) % WORD)
    return x * WORD + y
