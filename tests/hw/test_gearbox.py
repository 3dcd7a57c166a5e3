"""Rows of bytes keep their bytes and their ends through every change of width."""

from __future__ import annotations

import random

import pytest

from hw.gearbox import Gearbox

from .bench import simulate


def words(row: list[int], size: int, fill: int) -> list[tuple[list[int], int, bool]]:
    """Return a row as (bytes, count, last) of `size`-byte words."""
    cut = [row[start : start + size] for start in range(0, len(row), size)]
    ends = [False] * (len(cut) - 1) + [True]
    return [
        (word + [fill] * (size - len(word)), len(word), end)
        for word, end in zip(cut, ends, strict=True)
    ]


@pytest.mark.parametrize("offered, taken", [(1.0, 1.0), (0.5, 0.5), (1.0, 0.3), (0.3, 1.0)])
@pytest.mark.parametrize(
    "size_in, size_out",
    [(8, 8), (8, 4), (4, 8), (8, 3), (3, 8), (12, 8), (5, 8), (8, 2), (64, 64), (64, 4), (4, 64)],
)
def test_rows_pass_unchanged(size_in: int, size_out: int, offered: float, taken: float) -> None:
    rng = random.Random(size_in * 1000 + size_out)
    dut = Gearbox(size_in, size_out)
    longest = 3 * max(size_in, size_out)
    rows = [[rng.randrange(256) for _ in range(rng.randint(1, longest))] for _ in range(20)]
    expected = [word for row in rows for word in words(row, size_out, fill=0)]
    seen = []

    async def feed(ctx):
        # Bytes past the count are garbage on purpose.
        for data, count, last in (word for row in rows for word in words(row, size_in, fill=255)):
            while rng.random() > offered:
                await ctx.tick()
            value = int.from_bytes(bytes(data), "little")
            ctx.set(dut.i.p, {"data": value, "count": count, "last": last})
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def drain(ctx):
        while len(seen) < len(expected):
            ready = rng.random() < taken
            ctx.set(dut.o.ready, ready)
            _, _, valid, word = await ctx.tick().sample(dut.o.valid, dut.o.p)
            if valid and ready:
                data = list(word.data.to_bytes(size_out, "little"))
                seen.append((data, word.count, bool(word.last)))

    simulate(dut, feed, drain)
    assert seen == expected


@pytest.mark.parametrize("size_in, size_out", [(64, 64), (8, 8), (64, 32)])
def test_full_rate(size_in: int, size_out: int) -> None:
    """As many output words as cycles, once the first is there."""
    dut = Gearbox(size_in, size_out)
    count = 40

    async def bench(ctx):
        ctx.set(dut.i.p, {"data": 1, "count": size_in, "last": 0})
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        for _ in range(count):
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            assert valid

    simulate(dut, bench)
