"""The processing element against its specification, register by register, in every variant."""

from __future__ import annotations

import itertools
import random

import pytest

from hw.isa.config import Config
from hw.isa.numerics import wrap32
from hw.pe import BIAS, ProcessingElement, control_layout

from .bench import simulate

EDGES = (-128, -127, -1, 0, 1, 127)
VARIANTS = {
    f"{'ws' * ws}{'os' * os}-overlap{overlap}-register{register}": Config(
        weight_stationary=ws,
        output_stationary=os,
        drain_overlap=overlap,
        product_register=register,
    )
    for (ws, os), overlap, register in itertools.product(((1, 1), (1, 0), (0, 1)), (0, 1), (0, 1))
}


class Model:
    """The registers of a processing element, as the protocol page describes them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.a = self.b = self.w = self.acc = self.p = self.product = 0
        names = ("valid", "os", "first", "last", "shift_b", "shift_p")
        self.control = dict.fromkeys(names, 0)
        self.late = dict(self.control)

    def step(self, a_in: int, b_in: int, p_in: int, given: dict[str, int]) -> None:
        config = self.config
        arriving = dict.fromkeys(self.control, 0)
        # An array of one dataflow needs no bit for it, unless sums leave as waves of the other.
        arriving["os"] = int(not config.weight_stationary)
        arriving |= given
        factor = self.w if config.weight_stationary else self.b
        now, product = self.control, self.a * factor
        if config.product_register:
            now, product = self.late, self.product
            if self.control["valid"]:
                self.product = self.a * factor
        self._sums(now, product, p_in)
        self._operands(arriving, a_in, b_in)
        self.late, self.control = self.control, arriving

    def _sums(self, now: dict[str, int], product: int, p_in: int) -> None:
        overlap = self.config.drain_overlap and self.config.output_stationary
        held = self.acc if overlap else self.p
        total = wrap32((BIAS if now["first"] else held) + product if now["os"] else p_in + product)
        if not now["valid"]:
            if now["shift_p"]:
                self.p = p_in
        elif not overlap:
            self.p = total
        else:
            if now["os"]:
                self.acc = total
            if not now["os"] or now["last"]:
                self.p = total
            elif now["shift_p"]:
                self.p = p_in

    def _operands(self, arriving: dict[str, int], a_in: int, b_in: int) -> None:
        if arriving["valid"]:
            self.a = a_in
            if arriving["os"] or arriving["first"]:
                self.w = self.b
        if self.config.weight_stationary:
            shifts = arriving["shift_b"]
        else:
            shifts = arriving["valid"] and arriving["os"]
        if shifts:
            self.b = b_in


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("variant", VARIANTS)
def test_registers_follow_the_specification(variant: str, seed: int) -> None:
    config = VARIANTS[variant]
    rng = random.Random(seed)
    dut, model = ProcessingElement(config), Model(config)
    fields = list(control_layout(config).members)

    async def bench(ctx):
        for cycle in range(300):
            a = rng.choice(EDGES) if seed % 2 else rng.randrange(-128, 128)
            b = rng.choice(EDGES) if seed % 2 else rng.randrange(-128, 128)
            p = rng.choice((-(1 << 31), (1 << 31) - 1, 0, rng.randrange(-(1 << 20), 1 << 20)))
            control = {name: rng.randrange(2) for name in fields}
            ctx.set(dut.a_in, a)
            ctx.set(dut.b_in, b)
            ctx.set(dut.p_in, p)
            ctx.set(dut.control_in, control)
            model.step(a, b, p, control)
            await ctx.tick()
            seen = (ctx.get(dut.a_out), ctx.get(dut.b_out), ctx.get(dut.p_out))
            assert seen == (model.a, model.b, model.p), f"seed {seed}, cycle {cycle}"

    simulate(dut, bench)


def test_an_element_has_the_control_it_needs() -> None:
    """Fewer bits are fewer flip-flops in every element."""
    found = {name: len(control_layout(config).members) for name, config in VARIANTS.items()}
    assert {name: size for name, size in found.items() if name.endswith("register0")} == {
        "wsos-overlap0-register0": 4,
        "wsos-overlap1-register0": 6,
        "ws-overlap0-register0": 3,
        "ws-overlap1-register0": 3,
        "os-overlap0-register0": 3,
        "os-overlap1-register0": 4,
    }
