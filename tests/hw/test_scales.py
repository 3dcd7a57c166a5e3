"""Scale entries made by the hardware against exact rationals."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from hw.isa.numerics import encode_factor, fresh_entry, update_entry
from hw.scales import FreshEntry, UpdateEntry

from .bench import simulate

NEAR = (-1, 0, 1)
EDGES = sorted(
    {
        value
        for power in range(33)
        for base in (1 << power, 127 << max(power - 7, 0), 3 << max(power - 2, 0))
        for step in NEAR
        if 0 <= (value := base + step) < 1 << 32
    }
)


def carrying() -> list[int]:
    """Return maxima whose ratio rounds to 2^16: 127 * 2^k a little under a power of two.

    ``127 / a * 2^s`` is 2^16 less at most a half where a is just above ``127 * 2^(s - 16)``.
    """
    found = []
    for power in range(10, 25):
        center = 127 << power
        found += [center + (center >> 17) + step for step in range(-3, 4)]
    return found


def stream(dut, inputs, drive, expected) -> None:
    """Give inputs, some of which do not count, and compare what comes out LATENCY later."""
    rng = random.Random(len(inputs))
    counts = [rng.random() < 0.8 for _ in inputs]

    async def bench(ctx):
        last = None
        for index in range(len(inputs) + dut.LATENCY):
            if index < len(inputs):
                drive(ctx, inputs[index])
            ctx.set(dut.valid, index < len(inputs) and counts[index])
            await ctx.tick()
            done = index - dut.LATENCY + 1
            if 0 <= done < len(inputs):
                last = inputs[done] if counts[done] else last
                if last is not None:
                    assert ctx.get(dut.entry.as_value()) == expected(last), last

    simulate(dut, bench)


@pytest.mark.parametrize("seed", [1, 2])
def test_fresh_entries(seed: int) -> None:
    rng = random.Random(seed)
    inputs = EDGES + carrying() + list(range(1, 600))
    inputs += [rng.randrange(1 << rng.randint(1, 32)) for _ in range(4000)]
    rng.shuffle(inputs)
    dut = FreshEntry()
    stream(dut, inputs, lambda ctx, a: ctx.set(dut.maximum, a), fresh_entry)


def test_some_maxima_take_the_smaller_shift() -> None:
    """The inputs above contain both of two pairs that qualify."""
    entries = [fresh_entry(a) & 0xFFFF for a in carrying()]
    assert (1 << 15) in entries and (1 << 16) - 1 in entries


@pytest.mark.parametrize("seed", [3, 4])
def test_update_entries(seed: int) -> None:
    rng = random.Random(seed)
    factors = [0, 1, 1 << 15, (1 << 16) - 1, 0x8000 | 0x7F << 16, 0xFFFF | 0x80 << 16]
    factors += [encode_factor(Fraction(1, 3)), encode_factor(Fraction(1 << 40, 7))]
    factors += [rng.randrange(1 << 16) | s & 0xFF << 16 for s in (-16 << 16, 63 << 16, -17 << 16)]
    inputs = [(a, factor) for a in EDGES for factor in factors]
    # Products of sixteen ones and a half or more below them round up to 2^16.
    inputs += [(a, 0xFFFF | 20 << 16) for a in range((1 << 16) - 8, (1 << 16) + 8)]
    inputs += [((1 << 17) - 1 << power, 1 << 15 | 20 << 16) for power in range(15)]
    for _ in range(3000):
        entry = rng.randrange(1 << 15, 1 << 16) | rng.randrange(256) << 16
        inputs.append((rng.randrange(1 << rng.randint(1, 32)), entry))
    dut = UpdateEntry()

    def drive(ctx, item) -> None:
        ctx.set(dut.maximum, item[0])
        ctx.set(dut.factor, {"m": item[1] & 0xFFFF, "s": item[1] >> 16})

    stream(dut, inputs, drive, lambda item: update_entry(*item))


def test_shifts_of_updates_are_limited() -> None:
    """The definition limits at both ends, so the inputs above do reach them."""
    assert update_entry(1, 1 << 15 | 127 << 16) >> 16 == 63
    assert update_entry(1 << 31, 1 << 15 | 0x80 << 16) >> 16 == 0x100 - 16
