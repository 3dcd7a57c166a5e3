"""The processing element against its specification, register by register."""

from __future__ import annotations

import random

import pytest

from hw.isa.numerics import wrap32
from hw.pe import ProcessingElement

from .bench import simulate

EDGES = (-128, -127, -1, 0, 1, 127)


class Model:
    """The registers of a processing element, as the protocol page describes them."""

    def __init__(self) -> None:
        self.a = self.b = self.w = self.acc = self.p = 0
        self.control = dict.fromkeys(("valid", "os", "first", "last", "shift_b", "shift_p"), 0)

    def step(self, a_in: int, b_in: int, p_in: int, control_in: dict[str, int]) -> None:
        now, a, b, w, acc = self.control, self.a, self.b, self.w, self.acc
        base = (0 if now["first"] else acc) if now["os"] else p_in
        total = wrap32(base + a * w)
        if now["valid"] and now["os"]:
            self.acc = total
        if now["valid"] and (not now["os"] or now["last"]):
            self.p = total
        elif now["shift_p"]:
            self.p = p_in
        if control_in["valid"]:
            self.a = a_in
            if control_in["os"] or control_in["first"]:
                self.w = b
        if control_in["shift_b"]:
            self.b = b_in
        self.control = dict(control_in)


@pytest.mark.parametrize("seed", range(4))
def test_registers_follow_the_specification(seed: int) -> None:
    rng = random.Random(seed)
    dut, model = ProcessingElement(), Model()

    async def bench(ctx):
        for cycle in range(500):
            a = rng.choice(EDGES) if seed % 2 else rng.randrange(-128, 128)
            b = rng.choice(EDGES) if seed % 2 else rng.randrange(-128, 128)
            p = rng.choice((-(1 << 31), (1 << 31) - 1, 0, rng.randrange(-(1 << 20), 1 << 20)))
            control = {name: rng.randrange(2) for name in model.control}
            ctx.set(dut.a_in, a)
            ctx.set(dut.b_in, b)
            ctx.set(dut.p_in, p)
            ctx.set(dut.control_in, control)
            model.step(a, b, p, control)
            await ctx.tick()
            seen = (ctx.get(dut.a_out), ctx.get(dut.b_out), ctx.get(dut.p_out))
            assert seen == (model.a, model.b, model.p), f"seed {seed}, cycle {cycle}"

    simulate(dut, bench)
