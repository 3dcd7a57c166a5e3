"""The store engine of the timing model against that of the hardware, cycle by cycle."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode, to_text
from hw.isa.instructions import Instruction
from sim.result import DramTiming
from sim.timing.code import table
from sim.timing.shape import shape_of
from sim.timing.store import STORE, step
from sim.timing.wires import WIRES

from .store_trace import OUTPUTS, Cycle, random_config, random_program, trace


def compare(config: Config, program: list[Instruction], cycles: list[Cycle]) -> None:
    """Hold the model to a trace of the hardware, and to the rule that it forgets what is over."""
    code = table(b"".join(encode(item) for item in program))
    state, wires = np.zeros(1, STORE), np.zeros(1, WIRES)
    shape = shape_of(config, DramTiming(latency=1))
    for number, (given, seen) in enumerate(cycles):
        for name, value in given.items():
            wires[name][0] = value
        step(state[0], shape[0], wires[0], code)
        for name in OUTPUTS:
            value = int(wires[name][0])
            assert value == seen[name], (
                f"cycle {number}: {name} is {value}, in the hardware {seen[name]}; the next "
                f"instruction is {given['store_index']}: {to_text(program[given['store_index']])}"
            )
        if not seen["store_busy"] and not (given["store_valid"] and seen["store_ready"]):
            assert state.tobytes() == bytes(STORE.itemsize), f"cycle {number}: not all forgotten"


def run(seed: int, count: int = 40) -> int:
    """Compare on random instructions; return the cycles."""
    rng = random.Random(seed)
    config = random_config(rng)
    program = random_program(config, rng, count)
    cycles = trace(config, program, rng, limit=500 * count)
    compare(config, program, cycles)
    return len(cycles)


@pytest.mark.parametrize("seed", range(4))
def test_random_instructions(seed) -> None:
    run(seed)
