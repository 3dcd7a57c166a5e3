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
from sim.result import MachineError, RunResult
from sw.driver import Device
from sw.gemm import run_gemm

CONFIGS = {bus: Config.preset("tiny").replace(bus_bytes=bus) for bus in (8, 64)}
"""Four beats to an instruction, and two instructions to a beat."""
PROGRAM = 0x1000
DATA = 0x100

LOAD = Load(
    memory=Memory.INPUT, dram=DATA, rows=4, columns=4, pitch=64, row_stride=1, block_stride=1
)
WEIGHTS = Load(
    memory=Memory.WEIGHT, dram=DATA, rows=4, columns=4, pitch=64, row_stride=1, block_stride=1,
    signal_execute=1,
)  # fmt: skip
MULTIPLY = Execute(
    dataflow=Dataflow.WS,
    rows=4, reduction=4, columns=4, left_row_stride=1, left_block_stride=1, right_row_stride=1,
    right_block_stride=1, out_row_stride=1, out_block_stride=4, wait_load=1, signal_store=1,
)  # fmt: skip
STORE = Store(
    format=Format.INT32, dram=0x800, pitch=64, rows=4, columns=4, row_stride=1, block_stride=4,
    wait_execute=1,
)  # fmt: skip
GOOD = [LOAD, WEIGHTS, MULTIPLY, STORE, Halt()]


def code(*instructions) -> bytes:
    return b"".join(each if isinstance(each, bytes) else encode(each) for each in instructions)


@pytest.fixture(params=CONFIGS, ids=lambda bus: f"bus {bus}")
def config(request) -> Config:
    return CONFIGS[request.param]


def run(config: Config, program: bytes, faults: tuple[Fault, ...] = ()) -> RunResult:
    """Run on the RTL with every AXI rule checked, to a clean end with nothing outstanding."""
    dram = np.arange(0x2000, dtype=np.uint32).astype(np.uint8)
    return rtl.run(
        config, program, dram, program_address=PROGRAM, faults=faults, check_protocol=True
    )


def test_a_good_program_ends_without_error(config: Config) -> None:
    result = run(config, code(*GOOD))
    assert result.error is ErrorCode.NONE
    assert result.counters["instructions"] == len(GOOD)


@pytest.mark.parametrize(
    "bad", [bytes(32), bytes([9]) + bytes(31), encode(Halt())[:-1] + b"\x80", b"\xff" * 32]
)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_illegal_instruction(config: Config, bad: bytes, place: int) -> None:
    """Unknown opcodes and bits past the fields, at the start, between and at the end."""
    program = [*GOOD[:place], bad, *GOOD[place:]]
    result = run(config, code(*program))
    assert result.error is ErrorCode.ILLEGAL_INSTRUCTION
    assert result.error_instruction == place
    model = functional.run(
        config, code(*program), np.zeros(0x2000, np.uint8), program_address=PROGRAM
    )
    assert (model.error, model.error_instruction) == (result.error, place), "functional = RTL"


@pytest.mark.parametrize("length", [1, 4])
def test_a_program_that_runs_past_its_end(config: Config, length: int) -> None:
    result = run(config, code(*GOOD[:length]))
    assert result.error is ErrorCode.PROGRAM_END


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
def test_error_on_read_of_data(config: Config, response: Response) -> None:
    result = run(config, code(*GOOD), (Fault(DATA, DATA + 8, response, reads=True, writes=False),))
    assert result.error is ErrorCode.READ_RESPONSE


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
def test_error_on_fetch(config: Config, response: Response) -> None:
    fault = Fault(PROGRAM + 32, PROGRAM + 64, response, reads=True, writes=False)
    result = run(config, code(*GOOD), (fault,))
    assert result.error is ErrorCode.READ_RESPONSE


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
def test_error_on_write(config: Config, response: Response) -> None:
    result = run(config, code(*GOOD), (Fault(0x800, 0x900, response, reads=False, writes=True),))
    assert result.error is ErrorCode.WRITE_RESPONSE


def test_the_driver_reports_a_fault(config: Config) -> None:
    """A product whose operands lie where the bus answers with an error."""
    fault = Fault(0, 0x40, Response.SLVERR, reads=True, writes=False)
    device = Device(config, "rtl", options={"faults": (fault,)})
    a, b = np.ones((4, 4), np.int8), np.ones((4, 4), np.int8)
    with pytest.raises(MachineError, match=r"stopped with READ_RESPONSE \(code 3\) after \d"):
        run_gemm(device, a, b)
