"""Delay lines of the timing model."""

from __future__ import annotations

import random

import numpy as np
import pytest

from sim.timing.lines import put, shift, words_of


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 128, 129, 518])
def test_what_enters_leaves_after_the_length_of_the_line(length: int) -> None:
    rng = random.Random(length)
    words = words_of(length)
    assert words == -(-length // 64)
    line = np.zeros(words + 1, np.int64)
    bits = [rng.random() < 0.6 for _ in range(400)] + [False] * length
    left = []
    for bit in bits:
        left.append(shift(line, words))
        if bit:
            put(line, length - 1)
    assert left == [0] * length + bits[:-length]
    assert not line.any()
