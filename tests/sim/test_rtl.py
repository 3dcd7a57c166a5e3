"""Programs on the real hardware description, against the functional model."""

from __future__ import annotations

from collections.abc import Sequence

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
from sim.axi import Fault, Hang, Response, Stalls
from sim.compare_events import first_difference
from sim.result import BackendError, DramTiming, RunResult, describe_waiting

from .tools import needs_icarus, needs_verilator

CONFIG = Config.preset("tiny")
LEFT, RIGHT, OUT, PROGRAM = 0x000, 0x100, 0x200, 0x800
ROWS, REDUCTION, COLUMNS = 5, 7, 9


def product(
    *, halt: bool = True, wait: int = 1, left: int = LEFT, out: int = OUT
) -> list[Instruction]:
    """Return a weight-stationary product of 5x7 and 7x9; `wait` tokens come from the loads."""
    program: list[Instruction] = [
        Load(
            memory=Memory.INPUT, dram=left, pitch=8, rows=ROWS, columns=REDUCTION,
            row_stride=2, block_stride=1,
        ),
        Load(
            memory=Memory.WEIGHT, dram=RIGHT, pitch=16, rows=REDUCTION, columns=COLUMNS,
            row_stride=3, block_stride=1, signal_execute=1,
        ),
        Execute(
            wait_load=wait, signal_store=1, dataflow=Dataflow.WS,
            rows=ROWS, reduction=REDUCTION, columns=COLUMNS,
            left_row_stride=2, left_block_stride=1, right_row_stride=3, right_block_stride=1,
            out_row_stride=3, out_block_stride=1,
        ),
        Store(
            wait_execute=1, format=Format.INT32, dram=out, pitch=40, rows=ROWS, columns=COLUMNS,
            row_stride=3, block_stride=1,
        ),
    ]  # fmt: skip
    return [*program, Halt()] if halt else program


def memory() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, 4096, dtype=np.uint8)


def run(program: Sequence[Instruction], dram: np.ndarray, **options) -> RunResult:
    code = b"".join(map(encode, program))
    return rtl.run(CONFIG, code, dram, program_address=PROGRAM, **options)


def expected() -> np.ndarray:
    dram = memory()
    code = b"".join(map(encode, product()))
    functional.run(CONFIG, code, dram, program_address=PROGRAM)
    return dram


@needs_verilator
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
def test_result_is_the_functional_models_whatever_the_bus_does(stall, seed):
    dram = memory()
    stalls = Stalls.everywhere(stall)
    result = run(product(), dram, stalls=stalls, seed=seed, check_protocol=True)
    assert (result.error, result.error_instruction) == (ErrorCode.NONE, None)
    assert result.backend == "rtl-verilator"
    np.testing.assert_array_equal(dram, expected())


@needs_icarus
def test_nothing_undefined_reaches_the_result():
    """Icarus keeps what has no initial value undefined."""
    dram = memory()
    run(product(), dram, simulator="icarus", check_protocol=True)
    np.testing.assert_array_equal(dram, expected())


@needs_verilator
@needs_icarus
def test_simulators_agree_in_every_event():
    options = {"stalls": Stalls.everywhere(0.4), "seed": 3, "timeline": True}
    verilator, icarus = (
        run(product(), memory(), simulator=name, **options) for name in ("verilator", "icarus")
    )
    assert verilator.activity
    assert first_difference(verilator, icarus, product()) is None


@needs_verilator
def test_events_tell_the_steps_of_each_instruction():
    result = run(product(), memory())
    steps = [(event.engine, event.kind, event.index) for event in result.events]
    assert sorted(steps) == sorted(
        [
            *((Engine.LOAD, kind, index) for index in (0, 1) for kind in ("start", "done")),
            *((Engine.EXECUTE, kind, 2) for kind in ("start", "read", "done")),
            *((Engine.STORE, kind, 3) for kind in ("start", "done")),
        ]
    )
    when = {step: event.cycle for step, event in zip(steps, result.events, strict=True)}
    chain = [
        (Engine.LOAD, "start", 0),
        (Engine.LOAD, "done", 1),
        (Engine.EXECUTE, "start", 2),
        (Engine.EXECUTE, "read", 2),
        (Engine.EXECUTE, "done", 2),
        (Engine.STORE, "start", 3),
        (Engine.STORE, "done", 3),
    ]
    cycles = [0, *(when[step] for step in chain), result.counters["cycles"]]
    assert cycles == sorted(set(cycles))


@needs_verilator
def test_latency_and_bandwidth_count_in_cycles():
    quick, late, slow = (
        run(product(), memory(), timing=timing).counters["cycles"]
        for timing in (DramTiming(1), DramTiming(101), DramTiming(1, 1.0))
    )
    # The program and its operands are read one after the other: at least two latencies.
    assert late >= quick + 200
    assert slow >= quick + 7 * 20  # 39 beats read and 25 written, of eight cycles each


@needs_verilator
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(RIGHT + 16, RIGHT + 17), ErrorCode.READ_RESPONSE),
        (Fault(OUT + 40, OUT + 41, Response.DECERR), ErrorCode.WRITE_RESPONSE),
    ],
    ids=["load", "store"],
)
def test_a_bus_error_stops_the_machine(fault, error):
    result = run(product(), memory(), faults=[fault])
    assert result.error is error
    assert 0 <= result.error_instruction <= 4


@needs_verilator
def test_a_program_without_an_end_is_an_error():
    result = run(product(halt=False), memory())
    assert result.error is ErrorCode.PROGRAM_END


@needs_verilator
def test_an_illegal_instruction_is_an_error():
    dram = memory()
    code = encode(product()[0]) + bytes(32)
    result = rtl.run(CONFIG, code, dram, program_address=PROGRAM)
    assert result.error is ErrorCode.ILLEGAL_INSTRUCTION
    assert result.error_instruction == 1


@needs_verilator
def test_a_hang_ends_with_the_machines_own_error(monkeypatch):
    """Without a word about a watchdog: it waits for longer than any instruction takes."""
    monkeypatch.setattr(rtl, "_QUIET_CYCLES", 2000)
    result = run(product(wait=2), memory())
    assert result.error is ErrorCode.TOKEN_DEADLOCK
    assert describe_waiting(result.waiting) == "EXECUTE waits for LOAD, STORE waits for EXECUTE"
    assert 2000 < result.counters["execute_stalled_on_load"] < result.counters["cycles"] < 8000
    result = run(product(), memory(), faults=[Hang("w", OUT, OUT + 1)])
    assert result.error is ErrorCode.WRITE_TIMEOUT


@needs_verilator
def test_a_deadlock_is_given_up(monkeypatch):
    monkeypatch.setattr(rtl, "_QUIET_CYCLES", 2000)
    with pytest.raises(BackendError) as caught:
        run(product(wait=2), memory(), watchdog=0)
    assert str(caught.value).startswith("no interrupt: nothing moved for ")
    assert str(caught.value).endswith(
        "instructions done: load 2 of 2, execute 0 of 1, store 0 of 1"
    )


@needs_verilator
@pytest.mark.parametrize("reset", [False, True])
def test_programs_run_one_after_the_other(reset):
    """Each has its own result, as if it were alone; the second reads what the first wrote."""
    first, second = product(), product(left=OUT, out=0x400)
    dram, expected = memory(), memory()
    jobs = [
        rtl.Job(b"".join(map(encode, program)), address)
        for program, address in ((first, PROGRAM), (second, 0xC00), (first, PROGRAM))
    ]
    results = rtl.run_sequence(CONFIG, jobs, dram, reset=reset, timeline=True)
    for job in jobs:
        place = slice(job.address, job.address + len(job.program))
        expected[place] = dram[place] = np.frombuffer(job.program, np.uint8)
    for job in jobs:
        functional.run(CONFIG, job.program, expected, program_address=job.address)
    np.testing.assert_array_equal(dram, expected)
    alone = run(first, memory(), timeline=True)
    assert [result.error for result in results] == [ErrorCode.NONE] * 3
    for result in (results[0], results[2]):
        assert first_difference(alone, result, first) is None


@needs_verilator
def test_the_last_programs_failure_is_told(monkeypatch):
    monkeypatch.setattr(rtl, "_QUIET_CYCLES", 2000)
    jobs = [
        rtl.Job(b"".join(map(encode, program)), address)
        for program, address in ((product(), PROGRAM), (product(wait=2), 0xC00))
    ]
    with pytest.raises(BackendError, match="nothing moved .*: load 2 of 2, execute 0 of 1"):
        rtl.run_sequence(CONFIG, jobs, memory(), watchdog=0)


def test_programs_that_cannot_be_a_sequence_are_refused():
    job = rtl.Job(encode(Halt()), PROGRAM)
    with pytest.raises(ValueError, match="^there is no program to run$"):
        rtl.run_sequence(CONFIG, [], memory())
    with pytest.raises(ValueError, match="^the program at 0x800 overlaps another$"):
        rtl.run_sequence(CONFIG, [job, rtl.Job(bytes(64), PROGRAM - 32)], memory())


@needs_verilator
def test_a_run_has_a_limit():
    with pytest.raises(BackendError, match="no interrupt after 1024 cycles; instructions done"):
        run(product(), memory(), timing=DramTiming(5000), max_cycles=1000)


@needs_verilator
def test_a_build_is_kept_and_told_of():
    told: list[tuple[str, int]] = []
    folder = rtl.build(CONFIG)
    before = folder.stat().st_mtime_ns
    run(
        product(),
        memory(),
        timing=DramTiming(20000),
        progress=lambda *step: told.append(step),
    )
    assert rtl.build(CONFIG, progress=lambda *step: told.append(step)) == folder
    assert folder.stat().st_mtime_ns == before
    assert {stage for stage, _ in told} == {"run"}
    assert [count for _, count in told] == sorted(count for _, count in told)


@pytest.mark.parametrize(
    "simulator",
    [
        pytest.param("verilator", marks=needs_verilator),
        pytest.param("icarus", marks=needs_icarus),
    ],
)
def test_waves_are_written(simulator, tmp_path):
    file = tmp_path / "run.vcd"
    dram = memory()
    run(product(), dram, simulator=simulator, waves=file)
    np.testing.assert_array_equal(dram, expected())
    text = file.read_text(errors="replace")
    assert "$enddefinitions" in text
    assert "m_axi_arvalid" in text


def test_waves_are_vcd(tmp_path):
    with pytest.raises(ValueError, match="waves must be a .vcd file, not '.*run.fst'"):
        run(product(), memory(), waves=tmp_path / "run.fst")


def test_an_unknown_simulator_is_refused():
    with pytest.raises(ValueError, match="unknown simulator 'vcs'; accepted: verilator, icarus"):
        run(product(), memory(), simulator="vcs")


@pytest.mark.parametrize(
    ("address", "code", "message"),
    [
        (4, bytes(32), "program_address 0x4 must be a multiple of 8 with 32 bytes behind it"),
        (4096, bytes(32), "in a DRAM of 4096"),
        (0, b"", "a program is a multiple of 32 bytes, not 0"),
        (0, bytes(33), "a program is a multiple of 32 bytes, not 33"),
    ],
)
def test_a_program_that_does_not_fit_is_refused(address, code, message):
    with pytest.raises(ValueError, match=message):
        rtl.run(CONFIG, code, memory(), program_address=address)


def test_another_memory_is_refused():
    with pytest.raises(ValueError, match="dram must be 1-D uint8, not 1-D int64"):
        rtl.run(CONFIG, bytes(32), np.zeros(4096, np.int64), program_address=0)
