"""What the machine does with bad programs and bad answers: it stops, says why, and interrupts.

After each, a reset and a good program, whose result is that of a machine that never saw the bad.
"""

from __future__ import annotations

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import (
    Dataflow,
    Engine,
    Execute,
    Format,
    Halt,
    Instruction,
    Load,
    Memory,
    Store,
)
from hw.isa.registers import ErrorCode
from sim import functional, rtl
from sim.dram import Fault, Hang, Response, Stalls
from sim.result import BackendError, MachineError, RunResult
from sw.driver import Device
from sw.gemm import run_gemm
from tests.sim.tools import needs_icarus

from .random_programs.case import CONFIGS as CASES

CONFIGS = {8: Config.preset("tiny"), 64: CASES["8x4"]}
"""Four beats to an instruction, and two instructions to a beat."""
ROWS, REDUCTION, COLUMNS = 9, 7, 6
LEFT, RIGHT, OUT, PROGRAM, OTHER = 0x0, 0x400, 0x800, 0x2000, 0xC00
"""Where the operands, the result and the program lie, and how far behind those of the good
program, where it has its own."""
SIZE = 0x4000
LIMIT = 500
"""Of the watchdog, in cycles."""


def product(config: Config, offset: int = 0, wait: int = 1) -> list[Instruction]:
    """Return a product that lies `offset` bytes into DRAM; `wait` tokens come from the loads."""
    blocks = -(-COLUMNS // config.columns)

    def pitch(size: int) -> int:
        return -(-size // config.bus_bytes) * config.bus_bytes

    return [
        Load(
            memory=Memory.INPUT, dram=LEFT + offset, pitch=pitch(REDUCTION), rows=ROWS,
            columns=REDUCTION, row_stride=2, block_stride=1,
        ),
        Load(
            memory=Memory.WEIGHT, dram=RIGHT + offset, pitch=pitch(COLUMNS), rows=REDUCTION,
            columns=COLUMNS, row_stride=blocks, block_stride=1, signal_execute=1,
        ),
        Execute(
            dataflow=Dataflow.WS, rows=ROWS, reduction=REDUCTION, columns=COLUMNS,
            left_row_stride=2, left_block_stride=1, right_row_stride=blocks, right_block_stride=1,
            out_row_stride=1, out_block_stride=ROWS, wait_load=wait, signal_store=1,
        ),
        Store(
            format=Format.INT32, dram=OUT + offset, pitch=pitch(4 * COLUMNS), rows=ROWS,
            columns=COLUMNS, row_stride=1, block_stride=ROWS, wait_execute=1,
        ),
        Halt(),
    ]  # fmt: skip


def code(*instructions: Instruction | bytes) -> bytes:
    return b"".join(each if isinstance(each, bytes) else encode(each) for each in instructions)


def memory() -> np.ndarray:
    return np.random.default_rng(11).integers(0, 256, SIZE, dtype=np.uint8)


@pytest.fixture(params=CONFIGS, ids=lambda bus: f"bus {bus}")
def config(request) -> Config:
    return CONFIGS[request.param]


@pytest.fixture(params=[0.0, 0.5], ids=lambda stall: f"stalls {stall}")
def stalls(request) -> Stalls:
    return Stalls.everywhere(request.param)


def fail(config: Config, program: bytes, *, again: bytes | None = None, **options) -> RunResult:
    """Run a program that fails and one that must not, in one simulation; check all of DRAM.

    The second is `again`, in the place of the first, or else a product with its own operands and
    program. Every AXI rule is checked, and that a reset leaves nothing outstanding. Returns the
    result of the first.
    """
    offset = 0 if again else OTHER
    good = again or code(*product(config, offset))
    dram = memory()
    jobs = [rtl.Job(program, PROGRAM), rtl.Job(good, PROGRAM + offset)]
    first, second = rtl.run_sequence(
        config, jobs, dram, watchdog=LIMIT, check_protocol=True, seed=4, **options
    )
    assert first.error is not ErrorCode.NONE
    assert second.error is ErrorCode.NONE and second.waiting == 0

    expected = memory()
    for job in jobs:
        expected[job.address : job.address + len(job.program)] = list(job.program)
    before = expected.copy()
    model = functional.run(config, good, expected, program_address=PROGRAM + offset)
    for name in ("instructions", "macs", "dram_read_bytes", "dram_write_bytes"):
        assert second.counters[name] == model.counters[name], name
    # What the first wrote of its result is old or right, byte by byte.
    whole = before.copy()
    functional.run(config, code(*product(config)), whole, program_address=PROGRAM)
    place = slice(OUT, OUT + 0x400)
    if offset:
        assert ((dram[place] == before[place]) | (dram[place] == whole[place])).all()
        dram[place] = expected[place]
    np.testing.assert_array_equal(dram, expected)
    return first


def test_good_programs_end_without_error(config: Config, stalls: Stalls) -> None:
    """Also one after the other, without a reset and with one."""
    good = code(*product(config))
    for reset in (False, True):
        dram, expected = memory(), memory()
        jobs = [rtl.Job(good, PROGRAM)] * 2
        results = rtl.run_sequence(
            config, jobs, dram, reset=reset, stalls=stalls, check_protocol=True
        )
        functional.run(config, good, expected, program_address=PROGRAM)
        np.testing.assert_array_equal(dram, expected)
        assert [each.error for each in results] == [ErrorCode.NONE] * 2
        if stalls == Stalls():
            assert results[0].counters == results[1].counters


@pytest.mark.parametrize(
    "bad", [bytes(32), bytes([9]) + bytes(31), encode(Halt())[:-1] + b"\x80", b"\xff" * 32]
)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_illegal_instruction(config: Config, stalls: Stalls, bad: bytes, place: int) -> None:
    """Unknown opcodes and bits past the fields, at the start, between and at the end."""
    good = product(config)
    program = code(*good[:place], bad, *good[place:])
    result = fail(config, program, stalls=stalls)
    assert result.error is ErrorCode.ILLEGAL_INSTRUCTION
    assert result.error_instruction == place
    model = functional.run(config, program, memory(), program_address=PROGRAM)
    assert (model.error, model.error_instruction) == (result.error, place), "functional = RTL"


@pytest.mark.parametrize("length", [1, 4])
def test_a_program_that_runs_past_its_end(config: Config, stalls: Stalls, length: int) -> None:
    result = fail(config, code(*product(config)[:length]), stalls=stalls)
    assert result.error is ErrorCode.PROGRAM_END


FAULTS = {
    "data": (Fault(LEFT + 16, LEFT + 24, writes=False), ErrorCode.READ_RESPONSE),
    "fetch": (Fault(PROGRAM + 32, PROGRAM + 64, writes=False), ErrorCode.READ_RESPONSE),
    "write": (Fault(OUT, OUT + 8, reads=False), ErrorCode.WRITE_RESPONSE),
}


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
@pytest.mark.parametrize("what", FAULTS)
def test_an_error_on_the_bus(config: Config, stalls: Stalls, what: str, response: Response) -> None:
    fault, error = FAULTS[what]
    fault = Fault(fault.start, fault.stop, response, reads=fault.reads, writes=fault.writes)
    assert fail(config, code(*product(config)), faults=[fault], stalls=stalls).error is error


HANGS = {
    "address of a program": (("ar", PROGRAM), ErrorCode.READ_TIMEOUT),
    "program": (("r", PROGRAM + 32), ErrorCode.READ_TIMEOUT),
    "address of data": (("ar", RIGHT), ErrorCode.READ_TIMEOUT),
    "first data": (("r", LEFT), ErrorCode.READ_TIMEOUT),
    "data in the middle": (("r", LEFT + 40), ErrorCode.READ_TIMEOUT),
    "address of a result": (("aw", OUT), ErrorCode.WRITE_TIMEOUT),
    "first beat of a result": (("w", OUT), ErrorCode.WRITE_TIMEOUT),
    "result in the middle": (("w", OUT + 72), ErrorCode.WRITE_TIMEOUT),
    "answer": (("b", OUT), ErrorCode.WRITE_TIMEOUT),
}


@pytest.mark.parametrize("what", HANGS)
def test_a_dram_that_hangs(config: Config, stalls: Stalls, what: str) -> None:
    """It answers long after the watchdog's limit; the same program then runs."""
    (channel, start), error = HANGS[what]
    program = code(*product(config))
    hang = Hang(channel, start, start + 1, cycles=4 * LIMIT)
    result = fail(config, program, again=program, faults=[hang], stalls=stalls)
    assert result.error is error
    assert LIMIT < result.counters["cycles"] < 4 * LIMIT
    assert result.waiting == 0 or error is ErrorCode.READ_TIMEOUT


def test_a_dram_that_hangs_for_less_than_the_limit(config: Config, stalls: Stalls) -> None:
    program, dram, expected = code(*product(config)), memory(), memory()
    hangs = [
        Hang(channel, start, start + 1, cycles=LIMIT - 100)
        for channel, start in (("ar", RIGHT), ("r", LEFT), ("aw", OUT), ("w", OUT), ("b", OUT))
    ]
    result = rtl.run(
        config, program, dram, program_address=PROGRAM, faults=hangs, watchdog=LIMIT,
        stalls=stalls, check_protocol=True,
    )  # fmt: skip
    assert result.error is ErrorCode.NONE
    assert result.counters["cycles"] > 3 * (LIMIT - 100)
    functional.run(config, program, expected, program_address=PROGRAM)
    np.testing.assert_array_equal(dram, expected)


@pytest.mark.parametrize("channel, start", [("r", LEFT), ("b", OUT)])
def test_a_dram_that_never_answers(config: Config, channel: str, start: int, monkeypatch) -> None:
    """The machine stops and says so; a reset waits for ever."""
    monkeypatch.setattr(rtl, "_QUIET_CYCLES", 2000)
    jobs = [rtl.Job(code(*product(config)), PROGRAM)]
    options = {"faults": [Hang(channel, start, start + 1)], "watchdog": LIMIT}
    (result,) = rtl.run_sequence(config, jobs, memory(), **options)
    assert result.error in (ErrorCode.READ_TIMEOUT, ErrorCode.WRITE_TIMEOUT)
    with pytest.raises(BackendError, match="^no end of the reset: nothing moved for "):
        rtl.run_sequence(config, jobs * 2, memory(), **options)


def test_a_token_that_never_comes(config: Config, stalls: Stalls) -> None:
    result = fail(config, code(*product(config, wait=2)), stalls=stalls)
    assert result.error is ErrorCode.TOKEN_DEADLOCK
    bits = {(Engine.EXECUTE, Engine.LOAD), (Engine.STORE, Engine.EXECUTE)}
    assert result.waiting == sum(1 << 4 * engine + peer for engine, peer in bits)
    message = "TOKEN_DEADLOCK (code 7) after 4 instructions: EXECUTE waits for LOAD, STORE waits"
    assert message in str(MachineError(result))
    for name in ("execute_stalled_on_load", "store_stalled_on_execute"):
        assert LIMIT <= result.counters[name] < result.counters["cycles"]
    assert result.counters["load_stalled_on_token"] == 0


@needs_icarus
@pytest.mark.parametrize("what", ["data in the middle", "result in the middle"])
def test_a_reset_leaves_nothing_undefined(what: str) -> None:
    """In a simulator that knows X, with bursts half done when the reset comes."""
    (channel, start), error = HANGS[what]
    hang, config = Hang(channel, start, start + 1, cycles=4 * LIMIT), CONFIGS[8]
    result = fail(config, code(*product(config)), faults=[hang], simulator="icarus")
    assert result.error is error


def test_the_driver_reports_a_fault(config: Config) -> None:
    """A product whose operands lie where the bus answers with an error."""
    fault = Fault(0, 0x40, Response.SLVERR, reads=True, writes=False)
    device = Device(config, "rtl", options={"faults": (fault,)})
    a, b = np.ones((4, 4), np.int8), np.ones((4, 4), np.int8)
    with pytest.raises(MachineError, match=r"stopped with READ_RESPONSE \(code 3\) after \d"):
        run_gemm(device, a, b)
