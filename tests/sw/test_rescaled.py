"""Trained scales of output channels on the chip: Y as INT8, for the product that takes it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from hw.isa.config import Config
from hw.isa.instructions import Load, Memory
from hw.isa.numerics import encode_scale, multiplier
from sim.axi import Stalls
from sw.driver import Device
from sw.program import Program
from sw.rescaled import compile_rescaled
from tests.golden.tune import output_copy, tune_site

from .test_prescaled import CONFIGS, EXPERTS


class Site:
    """A frozen weight of four bits, scales of three experts, and a batch, in the golden model."""

    def __init__(self, m: int, k: int, n: int, expert: int) -> None:
        rng = torch.Generator().manual_seed(m)
        x = torch.randn(m, k, generator=rng)
        self.weight = torch.randint(-8, 8, (k, n), generator=rng, dtype=torch.int8)
        d_in = torch.rand(k, generator=rng) + 0.5
        d_out = (torch.rand(EXPERTS, n, generator=rng) + 0.5) / 100
        golden = tune_site(x, self.weight, d_in, d_out[expert], torch.randn(m, n, generator=rng))
        forward = golden.forward
        self.y, self.left, self.sums = golden.y, forward.left.values, forward.sums
        self.step = golden.y.abs().max().item() / 127
        # What rows weigh has no factor that all share; the largest is the unit of all.
        rows = [Fraction(value) for value in forward.scale.flatten().tolist()]
        self.units = [row / max(rows) for row in rows]
        self.scales = [[Fraction(value) * max(rows) / Fraction(self.step) for value in each]
                       for each in d_out.tolist()]  # fmt: skip
        self.copy = output_copy(self.sums, self.units, self.scales[expert])
        self.given = {
            "A": self.left,
            "B": self.weight,
            "unit_scales": np.array([list(map(entry, self.units))], np.uint32),
            "out_scales": np.array([list(map(entry, each)) for each in self.scales], np.uint32),
        }


def entry(ratio: Fraction) -> int:
    return encode_scale(*multiplier(ratio))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 13, 11), (20, 33, 70)], ids=str)
def test_the_scales_of_an_expert_make_the_output(name, shape):
    expert = sum(shape) % EXPERTS
    site = Site(*shape, expert)
    program = compile_rescaled(CONFIGS[name], *shape, weight_bits=4, experts=EXPERTS, expert=expert)
    found = Device(CONFIGS[name]).run(program, site.given).outputs
    assert np.array_equal(found["C"], site.sums)
    assert np.array_equal(found["C.scaled"], site.copy)
    off = (torch.from_numpy(found["C.scaled"]) - site.y / site.step).abs().max()
    # Rounded twice: once to whole sums in the unit of the largest row.
    assert off <= 0.501 * (1 + float(max(site.scales[expert])))


@pytest.mark.parametrize("stall", [0.0, 0.2])
def test_rtl(stall):
    site, config = Site(9, 13, 11, 2), Config.preset("tiny")
    program = compile_rescaled(config, 9, 13, 11, weight_bits=4, experts=EXPERTS, expert=2)
    options = {"stalls": Stalls.everywhere(stall), "seed": 1, "check_protocol": True}
    found = Device(config, "rtl", None, options).run(program, site.given).outputs
    assert np.array_equal(found["C.scaled"], site.copy)


def tables_loaded(program: Program) -> set[int]:
    """Return where the scales of columns that a program loads lie in their buffer."""
    buffer = program.layout["out_scales"]
    loads = (each for each in program.instructions if isinstance(each, Load))
    return {each.dram - buffer.address for each in loads if each.memory == Memory.COLUMN_SCALE}


def test_an_expert_is_an_address():
    first, last = (
        compile_rescaled(Config(), 9, 13, 11, experts=EXPERTS, expert=each) for each in (0, 2)
    )
    step = first.layout["out_scales"].pitch
    assert {place + 2 * step for place in tables_loaded(first)} == tables_loaded(last)


@pytest.mark.parametrize("experts, expert", [(0, 1), (2, 2), (2, -1), (-1, 0)])
def test_an_expert_that_is_not_there(experts, expert):
    with pytest.raises(ValueError, match=f"^expert {expert} is none of {experts}$"):
        compile_rescaled(Config(), 4, 4, 4, experts=experts, expert=expert)
