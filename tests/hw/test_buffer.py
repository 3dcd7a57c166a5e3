"""Operand memories: what is written passes under what the array reads."""

from __future__ import annotations

import pytest

from hw.isa.instructions import Dataflow

from .bench import pack, simulate
from .execution import LEFT_WORDS, World, plain, small

WAVES, WORDS = 60, 30
FIRST = LEFT_WORDS - 2 * WORDS
"""Of the words that are written; what is read lies before them."""


def cycles_of_writes(read_stride: int, write_stride: int, first: int = FIRST) -> tuple[int, int]:
    """Return the cycles that WORDS writes to the input memory take, and how many see it read.

    The array reads it in every cycle, `read_stride` words apart. All is where it should be then.
    """
    config = small(4, 3)
    world = World(config, seed=first, values=(-127, 128))
    dut = world.dut
    reads = plain(Dataflow.OS, 4, WAVES, 3, config, left_row_stride=read_stride)
    took = under = 0

    async def bench(ctx):
        nonlocal took, under
        await world.fill(ctx)
        world.expect(reads)
        await world.issue(ctx, reads)
        while not ctx.get(dut.array_fed):
            await ctx.tick()
        for number in range(WORDS):
            address, taken = first + number * write_stride, False
            word = world.left[address] = -world.left[address]
            ctx.set(dut.write_left.p.address, address)
            ctx.set(dut.write_left.p.data, pack(word, 8))
            ctx.set(dut.write_left.valid, 1)
            while not taken:
                _, _, taken, fed = await ctx.tick().sample(dut.write_left.ready, dut.array_fed)
                took, under = took + 1, under + fed
        ctx.set(dut.write_left.valid, 0)
        await world.settle(ctx)
        again = plain(Dataflow.WS, 2 * WORDS, 4, 3, config, left_base=FIRST, out_base=64)
        world.expect(again)
        await world.issue(ctx, again)
        await world.settle(ctx)
        await world.check(ctx, first)

    simulate(dut, bench)
    return took, under


@pytest.mark.parametrize("first", [FIRST, FIRST + 1])
def test_words_one_after_the_other_wait_at_most_once(first: int) -> None:
    """Whatever bank they start with: then they lie in the bank that is not read, by turns."""
    took, under = cycles_of_writes(1, 1, first)
    assert took == under <= WORDS + 1


def test_words_of_one_bank_wait_every_other_cycle() -> None:
    took, under = cycles_of_writes(1, 2)
    assert took == under and 2 * WORDS - 1 <= took <= 2 * WORDS


def test_reads_of_one_bank_keep_its_words_out() -> None:
    """The first word in that bank comes only when the array has read the last one."""
    took, under = cycles_of_writes(0, 1)
    assert WAVES - 1 <= under <= WAVES and took >= under + WORDS - 2
