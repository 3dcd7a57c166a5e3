"""The least limit of the watchdog that Register.WATCHDOG names, on machines at work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Absmax, Axis, Execute, Halt, Instruction, Load, Memory, Store
from hw.isa.registers import Register, Status
from hw.top import Accelerator
from sim.dram import AxiDram
from tests.marks import nightly

from .bench import simulate
from .machine import CODE, LEFT, OUT, RIGHT, Computer, image, mixed_program, serve

BEYOND_DRAM = 32
"""Cycles of Register.WATCHDOG beyond the longest answer of DRAM."""
TOKENS = dict.fromkeys(
    ("wait_load", "wait_execute", "wait_store", "signal_load", "signal_execute", "signal_store"), 0
)


def every_kind(config: Config, m: int, k: int, n: int) -> list[Instruction]:
    """Return instructions of every kind, those that work long on few data among them."""
    blocks = -(-n // config.columns)
    out = {"rows": m, "columns": n, "row_stride": blocks, "block_stride": 1}
    pitch = -(-k // config.bus_bytes) * config.bus_bytes
    *mixed, halt = mixed_program(config, m, k, n)
    return [
        *mixed,
        Load(memory=Memory.INPUT, dram=LEFT, pitch=pitch, rows=m, columns=k, row_stride=1,
             block_stride=8, transpose=1),
        Load(memory=Memory.WEIGHT, dram=RIGHT, pitch=pitch, rows=n, columns=k, row_stride=blocks,
             block_stride=1, transpose=1),
        Absmax(axis=Axis.COLUMN, **out, merge=1, to_scales=1),
        Absmax(axis=Axis.ROW, **out, merge=1, to_scales=1, to_updates=1, scale_base=8, factor=1),
        Absmax(axis=Axis.TENSOR, **out, to_updates=1, factor=1),
        halt,
    ]  # fmt: skip


def alone(instruction: Instruction) -> Instruction:
    """Return an instruction without its tokens."""
    given = {name: TOKENS[name] for name in TOKENS if hasattr(instruction, name)}
    return replace(instruction, **given)


@pytest.mark.parametrize("latency", [1, 60])
@pytest.mark.parametrize(
    "rows, columns, bus, size",
    [(4, 4, 8, (5, 7, 6)), *nightly((2, 40, 4, (3, 5, 60)), (17, 2, 8, (5, 33, 5)))],
)
def test_no_instruction_is_taken_for_a_deadlock(
    rows: int, columns: int, bus: int, size: tuple[int, int, int], latency: int
) -> None:
    """Each instruction alone, and all in one program, with no more than the least limit."""
    config = Config(rows=rows, columns=columns, bus_bytes=bus, row_scale_depth=64)
    dut = Accelerator(config)
    host, dram = Computer(dut), image(config, seed=rows)
    memory = AxiDram(dram, bus_bytes=bus, latency=latency)
    program = every_kind(config, *size)
    kinds = {type(each) for each in program}
    assert kinds == {Load, Execute, Store, Absmax, Halt}

    async def bench(ctx):
        await host.write(ctx, Register.WATCHDOG, latency + BEYOND_DRAM)
        singles = [[alone(each), Halt()] for each in program[:-1]]
        for each in [*singles, program]:
            code = b"".join(map(encode, each))
            dram[CODE : CODE + len(code)] = np.frombuffer(code, np.uint8)
            status = await host.run(ctx, len(each))
            assert status == Status.DONE, f"status {status:#x} of {each}"

    async def answer(ctx):
        await serve(ctx, dut, memory)

    simulate(dut, bench, background=[answer])
    assert dram[OUT:CODE].any()
