"""The random bits of a lane against their definition."""

import random

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from hw.isa.config import Config
from hw.isa.numerics import noise
from hw.noise import Keys, Noise

from .bench import simulate


class Pair(wiring.Component):
    """Keys and a lane, as the store engine connects them."""

    def __init__(self, columns: int) -> None:
        self._config = Config(columns=columns)
        self.lane_bits = bits_for(columns - 1)
        super().__init__(
            {
                "seed": In(32),
                "column": In(16),
                "lane": In(self.lane_bits),
                "row": In(16),
                "takes": In(Noise.LATENCY),
                "makes_keys": In(1),
                "complement": In(1),
                "bits": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.keys = keys = Keys()
        m.submodules.noise = lane = Noise(self._config)
        m.d.comb += [
            keys.seed.eq(self.seed),
            keys.takes.eq(self.makes_keys),
            lane.takes.eq(self.takes),
            lane.keys.eq(keys.keys),
            lane.place.row.eq(self.row),
            lane.place.column.eq(self.column),
            lane.place.above.eq((self.column >> self.lane_bits) + 1),
            lane.lane.eq(self.lane),
            lane.complement.eq(self.complement),
            self.bits.eq(lane.bits),
        ]
        return m


@pytest.mark.parametrize("columns", [2, 5, 64, 256])
@pytest.mark.parametrize("seed", [0, 1, 0xFFFFFFFF, 0x80000001, 0xDEADBEEF])
def test_equals_the_definition(seed: int, columns: int) -> None:
    """Any column of lane 0, any lane of the array, with and without the complement.

    Not all places count, and bits stand until those of the next that does.
    """
    rng = random.Random(seed)
    edges = (0, 1, 0x7FFF, 0x8000, 0xFFFF)
    places = [(row, column) for row in edges for column in edges]
    places += [(rng.randrange(1 << 16), rng.randrange(1 << 16)) for _ in range(200)]
    lanes = [rng.choice((0, columns - 1, rng.randrange(columns))) for _ in places]
    complements = [rng.getrandbits(1) for _ in places]
    counts = [rng.random() < 0.8 for _ in places]
    dut = Pair(columns)

    async def bench(ctx):
        ctx.set(dut.seed, seed)
        ctx.set(dut.makes_keys, 1)
        await ctx.tick()
        ctx.set(dut.seed, ~seed & 0xFFFFFFFF)
        ctx.set(dut.makes_keys, 0)
        line, last = 0, None
        for index in range(len(places) + Noise.LATENCY):
            line = line << 1 & (1 << Noise.LATENCY) - 1 | (index < len(places) and counts[index])
            ctx.set(dut.takes, line)
            if index < len(places):
                # The lane is a constant in hardware: it counts with the place.
                ctx.set(dut.lane, lanes[index])
                ctx.set(dut.row, places[index][0])
                ctx.set(dut.column, (places[index][1] - lanes[index]) & 0xFFFF)
            asked = index - Noise.LATENCY + 1
            if 0 <= asked < len(places):
                ctx.set(dut.complement, complements[asked])
            await ctx.tick()
            if 0 <= asked < len(places) and counts[asked]:
                last = noise(seed, *places[asked]) ^ (0xFFFFFFFF * complements[asked])
            if last is not None:
                assert ctx.get(dut.bits) == last, places[asked]

    simulate(dut, bench)
