"""What the RTL's timeline says is what its counters, its program and its DRAM say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Absmax, Engine, Instruction, Load, Memory, Store
from hw.isa.registers import ACTIVITY
from sim import rtl
from sim.compare_events import first_difference
from sim.result import DramTiming, RunResult
from sw.gemm import compile_gemm

from ..hw.machine import CODE, image, mixed_program

TINY = Config.preset("tiny")
CRAMPED = Config(rows=4, columns=4, input_depth=16, weight_depth=16, output_depth=16)
"""A product of some size takes many tiles, which use both banks or halves of every memory."""
LATENCY = 23
RUNS = ("mixed", "ws", "os", "ws slow")


@cache
def run(name: str, timeline: bool = True) -> tuple[Config, tuple[Instruction, ...], RunResult]:
    """Run a program of every memory, dataflow and format, or a product of many tiles."""
    if name == "mixed":
        config, program, address = TINY, tuple(mixed_program(TINY, 9, 11, 7)), CODE
        dram = image(TINY, 1)
    else:
        config = CRAMPED
        (compiled,) = compile_gemm(CRAMPED, 29, 31, 27, dataflow=name[:2])
        program, address = compiled.instructions, compiled.layout.program_address
        dram = np.zeros(compiled.dram_bytes, np.uint8)
    timing = DramTiming(LATENCY, 1.6 if name.endswith("slow") else None)
    code = b"".join(map(encode, program))
    options = {"timing": timing, "timeline": timeline}
    return config, program, rtl.run(config, code, dram, program_address=address, **options)


def cycles(result: RunResult, *signals: str) -> list[int]:
    """Return the cycles in which signals are 1, those of each on their own."""
    return [
        cycle
        for each in result.activity
        if each.signal in signals
        for cycle in range(each.start, each.stop)
    ]


def parts(what: str) -> tuple[str, str]:
    return f"{what}_0", f"{what}_1"


def words(program: Iterable[Instruction], width: int, counts: Callable[[Instruction], bool]) -> int:
    """Return how many words the matrices of some instructions are."""
    found = 0
    for each in program:
        if counts(each):
            rows, columns = each.rows, each.columns
            if isinstance(each, Load) and each.transpose:
                rows, columns = columns, rows
            found += rows * -(-columns // width)
    return found


@pytest.mark.parametrize("name", RUNS)
def test_stalls_are_as_long_as_their_counters_say(name):
    _, _, result = run(name)
    stalls = [signal for signal in ACTIVITY if "_stalled_on_" in signal]
    found = {signal: len(cycles(result, signal)) for signal in stalls}
    assert found == {signal: result.counters[signal] for signal in stalls}
    assert sum(map(bool, found.values())) >= 4


@pytest.mark.parametrize("name", RUNS)
def test_engines_are_busy_between_start_and_done(name):
    """The cycle in which an instruction is taken is not yet one of work.

    An EXECUTE that scales leaves its queue in the cycle after its last result.
    """
    _, program, result = run(name)
    for engine in Engine:
        at = {kind: {e.index: e.cycle for e in result.events if e.engine is engine
                     and e.kind == kind} for kind in ("start", "done")}  # fmt: skip
        assert at["start"].keys() == at["done"].keys()
        busy = {
            cycle
            for n, start in at["start"].items()
            for cycle in range(start + 1, at["done"][n] + 1 + getattr(program[n], "scale", 0))
        }
        assert len(busy) == result.counters[f"{engine.name.lower()}_busy"]


@pytest.mark.parametrize("name", RUNS)
def test_every_word_of_the_program_moves_once(name):
    config, program, result = run(name)
    for memory, width, signal in (
        (Memory.INPUT, config.rows, "input_write"),
        (Memory.WEIGHT, config.columns, "weight_write"),
    ):
        expected = words(program, width, lambda i, m=memory: isinstance(i, Load) and i.memory is m)
        assert len(cycles(result, *parts(signal))) == expected
    read = words(program, config.columns, lambda i: isinstance(i, Store | Absmax))
    assert len(cycles(result, *parts("output_store"))) == read
    assert len(cycles(result, *parts("input_read"))) == result.counters["array_fed"]


@pytest.mark.parametrize("name", RUNS)
def test_the_array_works_from_first_operand_to_last_result(name):
    _, _, result = run(name)
    fed = cycles(result, *parts("input_read"), *parts("weight_read"))
    written = cycles(result, "output_write")
    assert max(written) + 1 - min(fed) == result.counters["array_cycles"]
    done = [event.cycle for event in result.events
            if event.engine is Engine.EXECUTE and event.kind == "done"]  # fmt: skip
    read = [event.cycle for event in result.events if event.kind == "read"]
    assert set(done) <= set(written) and max(done) == max(written)
    assert set(read) <= set(fed)


@pytest.mark.parametrize("name", RUNS)
def test_a_load_ends_with_its_last_word(name):
    _, program, result = run(name)
    written = {
        Memory.INPUT: cycles(result, *parts("input_write")),
        Memory.WEIGHT: cycles(result, *parts("weight_write")),
    }
    ends = [event for event in result.events
            if event.engine is Engine.LOAD and event.kind == "done"
            and program[event.index].memory in written]  # fmt: skip
    assert len(ends) >= 3
    for event in ends:
        assert event.cycle in written[program[event.index].memory]


@pytest.mark.parametrize("name", RUNS)
def test_a_bank_or_half_does_one_thing_at_a_time(name):
    _, _, result = run(name)
    for first, second in (
        ("input_write", "input_read"),
        ("weight_write", "weight_read"),
        ("output_add", "output_store"),
    ):
        for one, other in zip(parts(first), parts(second), strict=True):
            assert not set(cycles(result, one)) & set(cycles(result, other))
    if name != "mixed":
        for what in ("input_write", "input_read", "weight_write", "weight_read", "output_store"):
            assert all(cycles(result, part) for part in parts(what)), "both parts are used"


@pytest.mark.parametrize("name", RUNS)
def test_handshakes_are_those_of_the_dram(name):
    """Each direction moves what the counters say; DRAM answers after its latency."""
    config, _, result = run(name)
    beats = {channel: cycles(result, f"axi_{channel}") for channel in ("ar", "r", "aw", "w", "b")}
    assert len(beats["r"]) * config.bus_bytes == result.counters["dram_read_bytes"]
    assert len(beats["w"]) * config.bus_bytes == result.counters["dram_write_bytes"]
    assert len(beats["aw"]) == len(beats["b"]) < len(beats["w"])
    assert len(beats["ar"]) < len(beats["r"])
    assert beats["r"][0] == beats["ar"][0] + LATENCY
    assert beats["b"][-1] == beats["w"][-1] + LATENCY
    assert beats["b"][-1] < result.counters["cycles"]


@pytest.mark.parametrize("name", ["mixed", "ws"])
def test_recording_changes_nothing(name):
    _, program, recorded = run(name)
    _, _, plain = run(name, timeline=False)
    assert plain.activity == ()
    assert (recorded.counters, recorded.events) == (plain.counters, plain.events)
    assert first_difference(recorded, plain, program).startswith("cycle ")
