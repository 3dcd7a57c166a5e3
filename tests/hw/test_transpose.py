"""Blocks of bytes come out turned, padded with zeros, one word a cycle."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hw.shared import Builder
from hw.transpose import Transpose

from .bench import simulate

SIZES = [(4, 4), (4, 8), (8, 8), (4, 16), (16, 16)]


def beats(block: np.ndarray, bus: int, tag: int, rng: random.Random) -> list[dict[str, int]]:
    """Return the beats of a block; bytes past a row's end are garbage on purpose."""
    rows, columns = block.shape
    found = []
    for index, row in enumerate(block):
        count = -(-columns // bus)
        line = bytes(row) + rng.randbytes(count * bus - columns)
        for beat in range(count):
            ends = beat == count - 1
            found.append(
                {
                    "data": int.from_bytes(line[beat * bus : (beat + 1) * bus], "little"),
                    "row_ends": ends,
                    "block_ends": index == rows - 1,
                    "columns": columns,
                    # The tag counts in the last beat only.
                    "tag": tag if ends and index == rows - 1 else rng.randrange(4),
                }
            )
    return found


def words(block: np.ndarray, size: int, tag: int) -> list[tuple[bytes, bool, int]]:
    """Return what should come of a block: (data, block ends, tag)."""
    rows, columns = block.shape
    return [
        (bytes(block[:, column]) + bytes(size - rows), column == columns - 1, tag)
        for column in range(columns)
    ]


def run(
    dut: Transpose, sent: list[dict[str, int]], expected: int, offered: float, taken: float
) -> tuple[list[tuple[bytes, bool, int]], int]:
    """Pass beats through; return the words, and the cycles from first beat to last word."""
    rng = random.Random(1)
    seen: list[tuple[bytes, bool, int]] = []
    cycles = 0

    async def feed(ctx):
        for beat in sent:
            while rng.random() >= offered:
                await ctx.tick()
            ctx.set(dut.i.p, beat)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def drain(ctx):
        nonlocal cycles
        while len(seen) < expected:
            ready = rng.random() < taken
            ctx.set(dut.o.ready, ready)
            _, _, valid, word = await ctx.tick().sample(dut.o.valid, dut.o.p)
            cycles += 1
            assert cycles < 100_000, "no more words"
            if valid and ready:
                data = word.data.to_bytes(len(dut.o.p.data) // 8, "little")
                seen.append((data, bool(word.block_ends), word.tag))

    simulate(dut, feed, drain)
    return seen, cycles


@pytest.mark.parametrize("offered, taken", [(1.0, 1.0), (0.5, 0.5), (1.0, 0.3), (0.3, 1.0)])
@pytest.mark.parametrize("bus, size", SIZES)
def test_blocks_of_any_shape_are_turned(bus: int, size: int, offered: float, taken: float) -> None:
    rng = random.Random(100 * bus + size)
    shapes = [(1, 1), (size, size), (1, size), (size, 1), (size, size)]
    shapes += [(rng.randint(1, size), rng.randint(1, size)) for _ in range(20)]
    blocks = [
        (np.frombuffer(rng.randbytes(r * c), np.uint8).reshape(r, c), rng.randrange(4))
        for r, c in shapes
    ]
    sent = [beat for block, tag in blocks for beat in beats(block, bus, tag, rng)]
    expected = [word for block, tag in blocks for word in words(block, size, tag)]
    seen, _ = run(Transpose(bus, size, Builder()), sent, len(expected), offered, taken)
    assert seen == expected


@pytest.mark.parametrize("size", [4, 8, 16])
def test_full_blocks_pass_at_a_word_a_cycle(size: int) -> None:
    """The first block is filled, from then on a word comes in every cycle."""
    rng = random.Random(size)
    blocks = [
        np.frombuffer(rng.randbytes(size * size), np.uint8).reshape(size, size) for _ in range(6)
    ]
    sent = [beat for block in blocks for beat in beats(block, size, 0, rng)]
    expected = [word for block in blocks for word in words(block, size, 0)]
    seen, cycles = run(Transpose(size, size, Builder()), sent, len(expected), 1.0, 1.0)
    assert seen == expected
    assert cycles == (len(blocks) + 1) * size + 1
