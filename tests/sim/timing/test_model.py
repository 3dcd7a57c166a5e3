"""Runs of the timing model: what they jump over, how they end, what they record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Dataflow, Execute, Halt, Instruction, Load, Memory
from hw.isa.registers import COUNTERS, DATA_COUNTERS, ErrorCode
from sim import timing
from sim.result import BackendError, DramTiming
from sim.timing import known, model
from sw.gemm import compile_gemm

SMALL = Config.preset("small")
SHAPES = [(96, 640, 48), (300, 64, 200), (20, 1000, 20)]
"""Products of many equal folds."""


def encoded(*instructions: Instruction) -> bytes:
    return b"".join(map(encode, instructions))


LOAD = Load(memory=Memory.WEIGHT, dram=0, rows=16, columns=16, pitch=16, row_stride=1)
EXECUTE = Execute(
    dataflow=Dataflow.WS, rows=16, reduction=16, columns=16, left_row_stride=1,
    left_block_stride=1, right_row_stride=1, right_block_stride=1, out_row_stride=1,
    out_block_stride=1,
)  # fmt: skip


@pytest.mark.parametrize("dram", [DramTiming(1), DramTiming(60), DramTiming(20, 5.0)], ids=str)
@pytest.mark.parametrize("dataflow", ["ws", "os"])
@pytest.mark.parametrize("shape", SHAPES)
def test_jumping_changes_nothing(
    shape: tuple[int, int, int], dataflow: str, dram: DramTiming
) -> None:
    (program,) = compile_gemm(SMALL, *shape, dataflow=dataflow)
    walked, jumped = (
        timing.run(SMALL, program.encode(), timing=dram, repeats=repeats)
        for repeats in (False, True)
    )
    assert jumped.counters == walked.counters


def test_equal_folds_are_jumped_over() -> None:
    """Of a thousand folds that are alike only the first few are walked."""
    left = replace(LOAD, memory=Memory.INPUT, rows=300)
    many = replace(EXECUTE, rows=300, columns=16 * 1000, wait_load=1)
    many = replace(many, right_block_stride=0, out_block_stride=0)
    program = encoded(left, replace(LOAD, signal_execute=1), many, Halt())
    walk = model._Walk(SMALL, DramTiming(1), program, 0, repeats=True)
    while walk.advance(1000):
        pass
    store = walk._known
    walked = store.cycles[: store.sizes[1]].sum()
    assert walk.state["now"][0] > 300 * 1000
    assert walked < 300 * 50


def test_states_that_find_no_room_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = compile_gemm(SMALL, 96, 640, 48)
    expected = timing.run(SMALL, program.encode(), repeats=False)
    few = known.known(states=8)
    monkeypatch.setattr(model, "known", lambda: few)
    assert timing.run(SMALL, program.encode()).counters == expected.counters
    assert few.sizes[0] <= 8


def test_counters() -> None:
    found = timing.run(SMALL, encoded(LOAD, Halt())).counters
    assert set(found) == {item.name for item in COUNTERS} - set(DATA_COUNTERS)


def test_a_program_that_hangs_says_who_waits() -> None:
    stuck = replace(EXECUTE, wait_load=1)
    with pytest.raises(BackendError, match="does not end: EXECUTE waits for LOAD$"):
        timing.run(SMALL, encoded(LOAD, stuck, Halt()))
    with pytest.raises(BackendError, match="EXECUTE waits for LOAD"):
        timing.run(SMALL, encoded(LOAD, stuck, Halt()), timeline=True)


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("dram", [DramTiming(900), DramTiming(30, 0.5)], ids=str)
def test_waiting_for_dram_is_no_hang(
    monkeypatch: pytest.MonkeyPatch, dram: DramTiming, repeats: bool
) -> None:
    """Also if nothing changes in the cycle that is looked at."""
    (program,) = compile_gemm(SMALL, 20, 40, 20)
    expected = timing.run(SMALL, program.encode(), timing=dram)
    monkeypatch.setattr(model, "SLICE", 1)
    found = timing.run(SMALL, program.encode(), timing=dram, repeats=repeats)
    assert found.counters == expected.counters


@pytest.mark.parametrize(
    "program,error,index",
    [
        (encoded(LOAD), ErrorCode.PROGRAM_END, 1),
        (encoded(LOAD) + bytes(32) + encoded(Halt()), ErrorCode.ILLEGAL_INSTRUCTION, 1),
        (encoded(LOAD, LOAD)[:-1] + b"\1" + encoded(Halt()), ErrorCode.ILLEGAL_INSTRUCTION, 1),
    ],
    ids=["end", "opcode", "reserved"],
)
def test_errors(program: bytes, error: ErrorCode, index: int) -> None:
    result = timing.run(SMALL, program)
    assert (result.error, result.error_instruction) == (error, index)


def test_a_timeline_longer_than_a_log_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = compile_gemm(SMALL, 40, 64, 48)
    common = {"timing": DramTiming(9, 7.0), "timeline": True}
    expected = timing.run(SMALL, program.encode(), **common)
    monkeypatch.setattr(model._Log, "ROWS", 50)
    found = timing.run(SMALL, program.encode(), **common)
    assert found.events == expected.events and found.activity == expected.activity
