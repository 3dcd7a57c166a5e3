"""Bursts cover their rows once, in order, within the rules of the bus."""

from __future__ import annotations

import random

import pytest

from hw.bursts import Bursts
from hw.isa.config import Config

from .bench import get, put, simulate


@pytest.mark.parametrize("bus, longest", [(8, 16), (8, 1), (64, 64), (4, 256)])
def test_bursts_cover_rows(bus: int, longest: int) -> None:
    config = Config(bus_bytes=bus, burst_beats=longest)
    rng = random.Random(bus)
    dut = Bursts(config)
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
