"""Maxima of rows by the tree, and of columns by the lanes and their queue."""

import random

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.absmax import LaneMaximum, RowMaximum
from hw.isa.config import Config

from .bench import pack, simulate

LOW, HIGH = -(1 << 31), (1 << 31) - 1


@pytest.mark.parametrize("columns", [2, 3, 8, 9, 20])
def test_rows_of_several_words(columns: int) -> None:
    rng = random.Random(columns)
    dut = RowMaximum(Config(columns=columns))
    words, expected = [], []
    for _ in range(60):
        length = rng.randint(1, 4)
        row = [[rng.randrange(1 << rng.randint(1, 32)) for _ in range(columns)]
               for _ in range(length)]  # fmt: skip
        words += [(word, n == 0, n == length - 1) for n, word in enumerate(row)]
        expected.append(max(map(max, row)))
    found = []

    async def bench(ctx):
        pending = list(words)
        for _ in range(2 * len(words) + 40):
            valid = bool(pending) and rng.random() < 0.8
            ctx.set(dut.valid, valid)
            ctx.set(dut.magnitudes, rng.getrandbits(32 * columns))
            if valid:
                word, first, last = pending.pop(0)
                ctx.set(dut.magnitudes, pack(word, 32))
                ctx.set(dut.first, first)
                ctx.set(dut.last, last)
            await ctx.tick()
            if ctx.get(dut.maximum_valid):
                found.append(ctx.get(dut.maximum))
        assert not pending

    simulate(dut, bench)
    assert found == expected


class Chain(wiring.Component):
    """Two lanes with their queue."""

    left: In(32)
    right: In(32)
    takes: In(1)
    valid: In(1)
    first: In(1)
    load: In(1)
    shift: In(1)
    head: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.one = one = LaneMaximum()
        m.submodules.two = two = LaneMaximum()
        m.d.comb += [one.chain_in.eq(two.chain_out), self.head.eq(one.chain_out)]
        for lane, value in ((one, self.left), (two, self.right)):
            m.d.comb += lane.value.eq(value)
            for name in ("takes", "valid", "first", "load", "shift"):
                m.d.comb += getattr(lane, name).eq(getattr(self, name))
        return m


def test_a_magnitude_stands_until_the_next_is_wanted() -> None:
    dut = LaneMaximum()

    async def bench(ctx):
        held = None
        for value, wanted in ((-5, 1), (9, 0), (LOW, 0), (HIGH, 1), (0, 0), (LOW, 1), (3, 0)):
            ctx.set(dut.value, value)
            ctx.set(dut.takes, wanted)
            await ctx.tick()
            held = abs(value) if wanted else held
            assert ctx.get(dut.magnitude) == held

    simulate(dut, bench)


def test_the_queue_gives_a_block_while_the_next_is_searched() -> None:
    blocks = [
        [(LOW, 5), (3, -6), (HIGH, 0)],
        [(0, 0), (0, -1)],
        [(-7, HIGH), (7, 1)],
    ]
    dut = Chain()
    steps = [
        (word, n == 0, n == len(block) - 1) for block in blocks for n, word in enumerate(block)
    ]
    found = []

    async def bench(ctx):
        loads, shifts = {}, {}
        for cycle in range(len(steps) + 6):
            ctx.set(dut.takes, cycle < len(steps))
            if cycle < len(steps):
                (left, right), _, last = steps[cycle]
                ctx.set(dut.left, left & 0xFFFFFFFF)
                ctx.set(dut.right, right & 0xFFFFFFFF)
                if last:
                    loads[cycle + 2] = True
                    shifts[cycle + 3] = shifts[cycle + 4] = True
            behind = cycle - 1
            ctx.set(dut.valid, 0 <= behind < len(steps))
            if 0 <= behind < len(steps):
                ctx.set(dut.first, steps[behind][1])
            ctx.set(dut.load, loads.get(cycle, False))
            ctx.set(dut.shift, shifts.get(cycle, False))
            if shifts.get(cycle):
                found.append(ctx.get(dut.head))
            await ctx.tick()

    simulate(dut, bench)
    assert found == [max(abs(word[lane]) for word in block) for block in blocks for lane in (0, 1)]
