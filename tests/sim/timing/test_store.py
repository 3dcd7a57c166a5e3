"""The store engine of the timing model against that of the hardware, cycle by cycle."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode, to_text
from hw.isa.instructions import Absmax, Axis, Instruction
from sim.result import DramTiming
from sim.timing.code import table
from sim.timing.flags import lines, shift
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


@pytest.mark.parametrize("seed", range(4))
def test_random_instructions(seed) -> None:
    rng = random.Random(seed)
    config = random_config(rng)
    program = random_program(config, rng, 40)
    compare(config, program, trace(config, program, rng, limit=20_000))


SMALL = Config(rows=2, columns=8, bus_bytes=4, output_depth=16, burst_beats=4)
STRIDES = {"row_stride": 1, "block_stride": 1}


def test_maxima_of_rows_come_while_a_block_of_columns_leaves() -> None:
    """Rows of one word, of which the last is read just before the only one of a block."""
    rows = Absmax(axis=Axis.ROW, rows=6, columns=8, **STRIDES)
    columns = Absmax(axis=Axis.COLUMN, rows=1, columns=8, **STRIDES)
    program = [rows, columns] * 10
    compare(SMALL, program, trace(SMALL, program, random.Random(0), limit=5000))


def test_maxima_of_columns_wait_for_room_on_their_way_to_dram() -> None:
    program = [Absmax(axis=Axis.COLUMN, to_dram=1, rows=1, columns=16, **STRIDES)] * 10
    cycles = trace(SMALL, program, random.Random(0), limit=20_000)
    assert max(seen["store_stalled_on_dram"] for _, seen in cycles) == 1
    compare(SMALL, program, cycles)


def test_lines_side_by_side_keep_their_lengths() -> None:
    first, last, keep = lines(2, 3)
    line, seen = 0, []
    for cycle in range(5):
        seen.append([bool(line & bit) for bit in last])
        line = shift(line, keep, 0 if cycle else sum(first))
    assert [flags.index(True) for flags in zip(*seen, strict=True)] == [2, 3]
    assert sum(map(sum, seen)) == 2
    with pytest.raises(ValueError, match="64 stages do not fit into 63 bits"):
        lines(60, 4)
