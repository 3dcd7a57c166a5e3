"""The random bits of a lane against their definition."""

import random

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.isa.numerics import noise
from hw.noise import Keys, Noise

from .bench import simulate


class Pair(wiring.Component):
    """Keys and a lane, as the store engine connects them."""

    seed: In(32)
    start: In(1)
    column: In(16)
    lane: In(16)
    row: In(16)
    bits: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.keys = keys = Keys()
        m.submodules.noise = lane = Noise()
        m.d.comb += [
            keys.seed.eq(self.seed),
            lane.keys.eq(keys.keys),
            lane.start.eq(self.start),
            lane.column.eq(self.column),
            lane.lane.eq(self.lane),
            lane.row.eq(self.row),
            self.bits.eq(lane.bits),
        ]
        return m


@pytest.mark.parametrize("seed", [0, 1, 0xFFFFFFFF, 0x80000001, 0xDEADBEEF])
def test_equals_the_definition(seed: int) -> None:
    rng = random.Random(seed)
    edges = (0, 1, 0x7FFF, 0x8000, 0xFFFF)
    places = [(row, column) for row in edges for column in edges]
    places += [(rng.randrange(1 << 16), rng.randrange(1 << 16)) for _ in range(400)]
    dut = Pair()

    async def bench(ctx):
        ctx.set(dut.seed, seed)
        ctx.set(dut.lane, 5)
        ctx.set(dut.start, 1)
        await ctx.tick()
        for index in range(len(places) + Noise.LATENCY):
            if index < len(places):
                ctx.set(dut.column, (places[index][1] - 5) & 0xFFFF)
            if 0 < index <= len(places):
                ctx.set(dut.row, places[index - 1][0])
            await ctx.tick()
            done = index - Noise.LATENCY + 1
            if 0 <= done < len(places):
                assert ctx.get(dut.bits) == noise(seed, *places[done]), places[done]

    simulate(dut, bench)


def test_nothing_moves_that_is_not_started() -> None:
    dut = Pair()

    async def bench(ctx):
        ctx.set(dut.seed, 7)
        ctx.set(dut.start, 1)
        ctx.set(dut.column, 9)
        ctx.set(dut.row, 3)
        await ctx.tick()
        ctx.set(dut.start, 0)
        ctx.set(dut.column, 1234)
        await ctx.tick().repeat(Noise.LATENCY)
        for _ in range(5):
            await ctx.tick()
            assert ctx.get(dut.bits) == noise(7, 3, 9)

    simulate(dut, bench)
