"""The hardware requantiser against the integer definition."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.isa.numerics import INT32_MAX, INT32_MIN, requantise8, requantise32, stochastic8
from hw.layout import SCALE
from hw.multiply import ScaleProduct, recoded
from hw.requantise import Requantise

from .bench import simulate

EDGE_VALUES = (INT32_MIN, INT32_MIN + 1, -(1 << 23), -3, -1, 0, 1, 3, 1 << 23, INT32_MAX)
EDGE_MULTIPLIERS = (0, 1, 1 << 15, (1 << 15) + 1, (1 << 16) - 1)
EDGE_NOISE = (0, 1, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, (1 << 32) - 2, (1 << 32) - 1)
EDGE_SHIFTS = (-16, -15, -1, 0, 1, 2, 15, 16, 17, 31, 32, 47, 48, 49, 62, 63)
ALL = (1 << Requantise.LATENCY) - 1
"""Every stage takes what stands before it."""


class Scaled(wiring.Component):
    """The unit, the multiplier in front of it, and the digits of its scale."""

    def __init__(self, bits: int) -> None:
        self._unit = Requantise(bits)
        members = dict(self._unit.signature.members)
        super().__init__(members | {"scale": In(SCALE), "value": In(signed(32))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = unit = self._unit
        m.submodules.multiply = multiply = ScaleProduct()
        scale = recoded(m, self.scale, "recoded")
        m.d.comb += [multiply.value.eq(self.value), multiply.digits.eq(scale.digits)]
        for name, member in unit.signature.members.items():
            made = {"product": multiply.product, "s": scale.s}
            inside, here = getattr(unit, name), made.get(name, getattr(self, name))
            m.d.comb += inside.eq(here) if member.flow is In else here.eq(inside)
        return m


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
    dut = Scaled(bits)
    inputs = cases(seed=bits)

    async def bench(ctx):
        ctx.set(dut.takes, ALL)
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


@pytest.mark.parametrize("bits, definition", [(8, requantise8), (32, requantise32)])
def test_a_result_stands_until_the_next_that_counts(bits: int, definition) -> None:
    """With values that do not count in between, for which no stage moves."""
    rng = random.Random(bits)
    dut = Scaled(bits)
    inputs = [(case, rng.random() < 0.5) for case in rng.sample(cases(seed=bits), 600)]

    async def bench(ctx):
        line, last = 0, None
        for index in range(len(inputs) + Requantise.LATENCY - 1):
            counts = index < len(inputs) and inputs[index][1]
            if index < len(inputs):
                value, m, s = inputs[index][0]
                ctx.set(dut.value, value)
                ctx.set(dut.scale, {"m": m, "s": s & 0xFF})
            line = line << 1 & ALL | counts
            ctx.set(dut.takes, line)
            await ctx.tick()
            done = index - Requantise.LATENCY + 1
            if 0 <= done and inputs[done][1]:
                last = definition(*inputs[done][0])
            if last is not None:
                assert ctx.get(dut.result) == last, (done, inputs[done])

    simulate(dut, bench)


def beyond(value: int, m: int, s: int, added: int, high: int) -> bool:
    """Tell whether the rounded magnitude exceeds a limit, `added` going in before the shift."""
    return (abs(value) * m + added << 16 >> s + 16) > high


@pytest.mark.parametrize("bits", [8, 32])
def test_tells_what_it_limits(bits: int) -> None:
    dut = Scaled(bits)
    inputs = cases(seed=bits + 1)
    # The last value within the limits and the first beyond them, of both signs.
    inputs += [(value, 1 << 15, 15) for value in (-128, -127, 127, 128, INT32_MIN, INT32_MAX)]
    inputs += [(value, 1 << 15, 16) for value in (-256, -255, -254, 254, 255, 256)]
    inputs += [(sign << 30, 1 << 15, 14) for sign in (-1, 1)]

    async def bench(ctx):
        ctx.set(dut.takes, ALL)
        for value, m, s in inputs:
            ctx.set(dut.value, value)
            ctx.set(dut.scale, {"m": m, "s": s & 0xFF})
            await ctx.tick().repeat(Requantise.LATENCY)
            high = 127 if bits == 8 else INT32_MAX + (value < 0)
            added = 1 << s - 1 if s > 0 else 0
            assert ctx.get(dut.limited) == beyond(value, m, s, added, high), (value, m, s)

    simulate(dut, bench)


@pytest.mark.parametrize("shifts", [range(-16, 24), range(24, 64)], ids=["left", "right"])
def test_stochastic_equals_the_definition(shifts: range) -> None:
    """Every shift, with noise that just carries, just does not, and any."""
    rng = random.Random(shifts[0])
    dut = Scaled(8)
    inputs = []
    for s in shifts:
        for _ in range(30):
            # A quotient of about seven bits where the shift allows it.
            m = rng.choice((1, 1 << 15, (1 << 16) - 1, rng.randrange(1 << 15, 1 << 16)))
            value = min(max((rng.randrange(1, 256) << max(s, 0)) // m, 1), INT32_MAX)
            value = rng.choice((-1, 1)) * rng.choice((value, rng.randrange(1, 1 << 31)))
            rest = (abs(value) * m << 32 >> s) & 0xFFFFFFFF if s > 0 else 0
            carry = (1 << 32) - rest
            for bits in (*EDGE_NOISE, carry, carry - 1, rng.getrandbits(32)):
                inputs.append((value, m, s, min(bits, 0xFFFFFFFF)))

    async def bench(ctx):
        ctx.set(dut.takes, ALL)
        ctx.set(dut.stochastic, 1)
        for index in range(len(inputs) + Requantise.LATENCY):
            if index < len(inputs):
                value, m, s, _ = inputs[index]
                ctx.set(dut.value, value)
                ctx.set(dut.scale, {"m": m, "s": s & 0xFF})
            if 0 < index <= len(inputs):
                value, _, _, bits = inputs[index - 1]
                ctx.set(dut.noise, bits ^ 0xFFFFFFFF if value < 0 else bits)
            await ctx.tick()
            done = index - Requantise.LATENCY + 1
            if 0 <= done < len(inputs):
                value, m, s, bits = inputs[done]
                assert ctx.get(dut.result) == stochastic8(*inputs[done]), inputs[done]
                added = bits << s >> 32 if s > 0 else 0
                assert ctx.get(dut.limited) == beyond(value, m, s, added, 127), inputs[done]

    simulate(dut, bench)


@pytest.mark.parametrize("raw, acts_as", [(-17, -16), (-128, -16), (64, 63), (127, 63)])
def test_shifts_beyond_the_range_act_as_its_ends(raw: int, acts_as: int) -> None:
    dut = Scaled(32)

    async def bench(ctx):
        ctx.set(dut.takes, ALL)
        for value in (-70000, -1, 0, 1, 70000):
            ctx.set(dut.value, value)
            ctx.set(dut.scale, {"m": 40000, "s": raw & 0xFF})
            await ctx.tick().repeat(Requantise.LATENCY)
            assert ctx.get(dut.result) == requantise32(value, 40000, acts_as)

    simulate(dut, bench)


@pytest.mark.parametrize("s", [-128, -16, 0, 63])
def test_a_plain_value_is_not_scaled(s: int) -> None:
    dut = Scaled(32)

    async def bench(ctx):
        ctx.set(dut.takes, ALL)
        ctx.set(dut.scale, {"m": 40000, "s": s & 0xFF})
        ctx.set(dut.plain, 1)
        for value in EDGE_VALUES:
            ctx.set(dut.value, value)
            await ctx.tick().repeat(Requantise.LATENCY)
            assert ctx.get(dut.result) == value and not ctx.get(dut.limited)

    simulate(dut, bench)
