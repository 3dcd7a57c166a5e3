"""Bursts cover their rows once, in order, within the rules of the bus."""

from __future__ import annotations

import random

import pytest

from hw.bursts import Bursts
from hw.chunks import Chunks
from hw.isa.config import Config

from .bench import get, put, simulate


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("bus, longest", [(8, 16), (8, 1), (64, 64), (4, 256)])
def test_bursts_cover_rows(bus: int, longest: int, ahead: bool) -> None:
    config = Config(bus_bytes=bus, burst_beats=longest)
    rng = random.Random(bus)
    dut = Bursts(config, ahead=ahead)
    page = 4096 // bus

    async def bench(ctx):
        for trial in range(40):
            row_beats, rows = rng.randint(1, 40), rng.randint(1, 6)
            gap = rng.choice((0, 0, rng.randint(1, 50)))
            first = rng.randrange(page - 8, 4 * page)
            region = {"beat": first, "pitch": row_beats + gap, "rows": rows, "row_beats": row_beats}
            await put(ctx, dut.i, region)
            wanted = [
                first + row * (row_beats + gap) + beat
                for row in range(rows)
                for beat in range(row_beats)
            ]
            seen: list[int] = []
            bursts = 0
            while len(seen) < len(wanted):
                burst = await get(ctx, dut.o)
                assert 1 <= burst.beats <= longest
                assert burst.beat // page == (burst.beat + burst.beats - 1) // page
                seen += range(burst.beat, burst.beat + burst.beats)
                bursts += 1
            assert seen == wanted, f"trial {trial}"
            if gap == 0 and first % page + len(wanted) <= page:
                assert bursts == -(-len(wanted) // longest), "rows without a gap share bursts"

    simulate(dut, bench)


@pytest.mark.parametrize("ahead", [False, True])
def test_regions_follow_one_another(ahead: bool) -> None:
    """With `ahead` there is a burst in every cycle; without, a ready input means all are out."""
    dut = Bursts(Config(), ahead=ahead)
    regions = 5
    seen: list[tuple[bool, bool]] = []

    async def feed(ctx):
        for number in range(regions):
            region = {"beat": 100 * number, "pitch": 10, "rows": 3, "row_beats": 1}
            await put(ctx, dut.i, region)

    async def drain(ctx):
        ctx.set(dut.o.ready, 1)
        bursts = 0
        while bursts < 3 * regions:
            _, _, valid, ready = await ctx.tick().sample(dut.o.valid, dut.i.ready)
            seen.append((bool(valid), bool(ready)))
            bursts += valid

    simulate(dut, feed, drain)
    first = [valid for valid, _ in seen].index(True)
    assert first == 2
    if ahead:
        assert all(valid for valid, _ in seen[first:])
    else:
        assert not any(valid and ready for valid, ready in seen)
        assert sum(not valid for valid, _ in seen[first:]) == 2 * (regions - 1)


def test_chunks_keep_their_rows_together() -> None:
    """A region that is to be cut comes chunk by chunk, another passes as it is."""
    dut = Chunks(Config(), beats=4)
    region = {"beat": 1000, "pitch": 30, "rows": 7, "row_beats": 10}

    async def bench(ctx):
        for cut, expected in ((1, [(1000, 4), (1004, 4), (1008, 2)]), (0, [(1000, 10)])):
            ctx.set(dut.i.p, {"region": region, "cut": cut})
            ctx.set(dut.i.valid, 1)
            for beat, row_beats in expected:
                assert (await get(ctx, dut.o)) == {
                    **region, "beat": beat, "row_beats": row_beats
                }  # fmt: skip
                ctx.set(dut.i.valid, 0)
            assert not ctx.get(dut.o.valid)

    simulate(dut, bench)
