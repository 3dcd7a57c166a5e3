"""What the machine does with bad programs and bad answers: it stops, says why, and interrupts."""

from __future__ import annotations

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Dataflow, Execute, Format, Halt, Load, Memory, Store
from hw.isa.registers import ErrorCode
from sim import functional, rtl
from sim.dram import Fault, Response
from sim.result import RunResult

CONFIG = Config.preset("tiny")
PROGRAM = 0x1000
DATA = 0x100

LOAD = Load(
    memory=Memory.INPUT, dram=DATA, rows=4, columns=4, pitch=8, row_stride=1, block_stride=1
)
WEIGHTS = Load(
    memory=Memory.WEIGHT, dram=DATA, rows=4, columns=4, pitch=8, row_stride=1, block_stride=1,
    signal_execute=1,
)  # fmt: skip
MULTIPLY = Execute(
    dataflow=Dataflow.WS,
    rows=4, reduction=4, columns=4, left_row_stride=1, left_block_stride=1, right_row_stride=1,
    right_block_stride=1, out_row_stride=1, out_block_stride=4, wait_load=1, signal_store=1,
)  # fmt: skip
STORE = Store(
    format=Format.INT32, dram=0x800, pitch=16, rows=4, columns=4, row_stride=1, block_stride=4,
    wait_execute=1,
)  # fmt: skip
GOOD = [LOAD, WEIGHTS, MULTIPLY, STORE, Halt()]


def code(*instructions) -> bytes:
    return b"".join(each if isinstance(each, bytes) else encode(each) for each in instructions)


def run(program: bytes, faults: tuple[Fault, ...] = ()) -> RunResult:
    """Run on the RTL with every AXI rule checked."""
    dram = np.arange(0x2000, dtype=np.uint32).astype(np.uint8)
    return rtl.run(
        CONFIG, program, dram, program_address=PROGRAM, faults=faults, check_protocol=True
    )


def test_a_good_program_ends_without_error() -> None:
    result = run(code(*GOOD))
    assert result.error is ErrorCode.NONE
    assert result.counters["instructions"] == len(GOOD)


@pytest.mark.parametrize(
    "bad", [bytes(32), bytes([9]) + bytes(31), encode(Halt())[:-1] + b"\x80", b"\xff" * 32]
)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_illegal_instruction(bad: bytes, place: int) -> None:
    """Unknown opcodes and bits past the fields, at the start, between and at the end."""
    program = [*GOOD[:place], bad, *GOOD[place:]]
    result = run(code(*program))
    assert result.error is ErrorCode.ILLEGAL_INSTRUCTION
    assert result.error_instruction == place
    model = functional.run(
        CONFIG, code(*program), np.zeros(0x2000, np.uint8), program_address=PROGRAM
    )
    assert (model.error, model.error_instruction) == (result.error, place), "functional = RTL"


@pytest.mark.parametrize("length", [1, 4])
def test_a_program_that_runs_past_its_end(length: int) -> None:
    result = run(code(*GOOD[:length]))
    assert result.error is ErrorCode.PROGRAM_END


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
def test_error_on_read_of_data(response: Response) -> None:
    result = run(code(*GOOD), (Fault(DATA, DATA + 8, response, reads=True, writes=False),))
    assert result.error is ErrorCode.READ_RESPONSE


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
def test_error_on_fetch(response: Response) -> None:
    fault = Fault(PROGRAM + 32, PROGRAM + 64, response, reads=True, writes=False)
    result = run(code(*GOOD), (fault,))
    assert result.error is ErrorCode.READ_RESPONSE


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
def test_error_on_write(response: Response) -> None:
    result = run(code(*GOOD), (Fault(0x800, 0x900, response, reads=False, writes=True),))
    assert result.error is ErrorCode.WRITE_RESPONSE
