"""The hardware requantiser against the integer definition."""

from __future__ import annotations

import random

import pytest

from hw.isa.numerics import INT32_MAX, INT32_MIN, requantise8, requantise32
from hw.requantise import Requantise

from .bench import simulate

EDGE_VALUES = (INT32_MIN, INT32_MIN + 1, -(1 << 23), -3, -1, 0, 1, 3, 1 << 23, INT32_MAX)
EDGE_MULTIPLIERS = (0, 1, 1 << 15, (1 << 15) + 1, (1 << 16) - 1)
EDGE_SHIFTS = (-16, -15, -1, 0, 1, 2, 15, 16, 17, 31, 32, 47, 48, 49, 62, 63)


def cases(seed: int) -> list[tuple[int, int, int]]:
    """Return (value, m, s): all edges, ties of both signs, and random ones."""
    rng = random.Random(seed)
    found = [(v, m, s) for v in EDGE_VALUES for m in EDGE_MULTIPLIERS for s in EDGE_SHIFTS]
    # value * 2^15 / 2^16 is a tie for every odd value.
    found += [(value, 1 << 15, 16) for value in range(-260, 260)]
    for _ in range(1500):
        bits = rng.randrange(1, 32)
        value = rng.randrange(-(1 << bits), 1 << bits)
        found.append((value, rng.randrange(1 << 15, 1 << 16), rng.randrange(-16, 64)))
    return found


@pytest.mark.parametrize("bits, definition", [(8, requantise8), (32, requantise32)])
def test_equals_the_definition(bits: int, definition) -> None:
    dut = Requantise(bits)
    inputs = cases(seed=bits)

    async def bench(ctx):
        for index in range(len(inputs) + Requantise.LATENCY):
            if index < len(inputs):
                value, m, s = inputs[index]
                ctx.set(dut.value, value)
                ctx.set(dut.scale, {"m": m, "s": s & 0xFF})
            await ctx.tick()
            done = index - Requantise.LATENCY + 1
            if 0 <= done < len(inputs):
                assert ctx.get(dut.result) == definition(*inputs[done]), inputs[done]

    simulate(dut, bench)


@pytest.mark.parametrize("raw, acts_as", [(-17, -16), (-128, -16), (64, 63), (127, 63)])
def test_shifts_beyond_the_range_act_as_its_ends(raw: int, acts_as: int) -> None:
    dut = Requantise(32)

    async def bench(ctx):
        for value in (-70000, -1, 0, 1, 70000):
            ctx.set(dut.value, value)
            ctx.set(dut.scale, {"m": 40000, "s": raw & 0xFF})
            await ctx.tick().repeat(Requantise.LATENCY)
            assert ctx.get(dut.result) == requantise32(value, 40000, acts_as)

    simulate(dut, bench)


def test_bypass_passes_every_value() -> None:
    dut = Requantise(32)

    async def bench(ctx):
        ctx.set(dut.bypass, 1)
        ctx.set(dut.scale, {"m": 12345, "s": 7})
        for value in EDGE_VALUES:
            ctx.set(dut.value, value)
            await ctx.tick().repeat(Requantise.LATENCY)
            assert ctx.get(dut.result) == value

    simulate(dut, bench)
