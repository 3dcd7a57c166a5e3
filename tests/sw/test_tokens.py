"""Tokens: sufficient under any delays, none too many, never more than the counters hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw.isa.config import Config
from hw.isa.instructions import (
    Dataflow,
    Engine,
    Execute,
    Halt,
    Instruction,
    Load,
    Memory,
)
from sim.footprint import footprint
from sw.gemm import compile_gemm
from sw.layer import compile_layer
from sw.tokens import add_tokens

from .interleave import Deadlock, Overflow, conflicting, races, replay, touched
from .samples import SMALL, delays, random_program, tokens_of, without


@pytest.mark.parametrize("seed", range(20))
def test_footprint_is_what_each_instruction_touches(seed):
    """`sim.footprint`, which places the tokens, against the element by element of the replay."""
    for each in random_program(seed, 60)[:-1]:
        reads, writes = set(), set()
        for access in footprint(SMALL, each):
            words = {(access.space.name, word) for word in access.grid.words().tolist()}
            (writes if access.write else reads).update(words)
        expected = touched(SMALL, each)
        assert reads == in_beats(expected.reads | expected.reads_early), each
        assert writes == in_beats(expected.writes), each


def in_beats(words: set[tuple[str, int]]) -> set[tuple[str, int]]:
    """Return words with bytes of DRAM turned into beats."""
    beats = {("DRAM", word // SMALL.bus_bytes) for space, word in words if space == "dram"}
    return beats | {word for word in words if word[0] != "dram"}


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_have_no_races(seed):
    program = add_tokens(SMALL, random_program(seed, 60)).instructions
    pairs = conflicting(SMALL, program)
    assert len(pairs) > 20
    for trial in range(8):
        assert not races(pairs, replay(SMALL, program, delays(trial)))


@pytest.mark.parametrize("seed", range(40))
def test_small_counters_never_overflow(seed):
    config = SMALL.replace(token_bits=2)
    program = add_tokens(config, random_program(seed, 80)).instructions
    pairs = conflicting(config, program)
    for trial in range(8):
        assert not races(pairs, replay(config, program, delays(trial)))
    for slow in Engine:
        by_engine = [1000 if each.engine is slow else 1 for each in program]
        assert not races(pairs, replay(config, program, by_engine.__getitem__))


@pytest.mark.parametrize("seed", range(25))
def test_every_token_is_needed(seed):
    program = add_tokens(SMALL, random_program(seed, 40)).instructions
    pairs = conflicting(SMALL, program)
    tokens = tokens_of(program)
    assert len(tokens) > 10
    for token in tokens:
        less, (sender, taker, _, _) = without(program, token), token
        # Whatever else was waited for is quick; only this sender is not.
        times = replay(SMALL, less, lambda index, slow=sender: 10**6 if index == slow else 0)
        assert (sender, taker) in races(pairs, times), (sender, taker)


def loads_then_executes(count: int) -> list[Instruction]:
    """Return products whose loads all come first, so that tokens pile up."""
    loads = [Load(memory=Memory.INPUT, dram=0, rows=1, columns=2, base=i) for i in range(count)]
    executes = [
        Execute(dataflow=Dataflow.WS, rows=1, reduction=2, columns=3, left_base=i,
                left_row_stride=1, left_block_stride=1, right_row_stride=1, right_block_stride=1,
                out_base=i, out_row_stride=1, out_block_stride=1)
        for i in range(count)
    ]  # fmt: skip
    return [*loads, *executes, Halt()]


@pytest.mark.parametrize("bits,expected", [(8, 16), (5, 16), (4, 15), (3, 7), (2, 3)])
def test_piled_up_tokens_are_merged(bits, expected):
    config = SMALL.replace(token_bits=bits)
    tokened = add_tokens(config, loads_then_executes(16))
    assert tokened.sent == {(Engine.LOAD, Engine.EXECUTE): expected}
    assert str(tokened) == f"tokens: LOAD->EXECUTE {expected}"
    replay(config, tokened.instructions, lambda index: 1)


def test_a_sender_that_runs_ahead_is_held_back():
    loads_and_executes = loads_then_executes(16)
    program = [each for pair in zip(loads_and_executes[:16], loads_and_executes[16:], strict=False)
               for each in pair] + [Halt()]  # fmt: skip
    config = SMALL.replace(token_bits=2)
    free = add_tokens(SMALL, program)

    def slow(index: int) -> int:
        return 100 if program[index].engine is Engine.EXECUTE else 0

    with pytest.raises(Overflow, match="LOAD to EXECUTE"):
        replay(config, free.instructions, slow)
    held = add_tokens(config, program)
    assert held.sent == {(Engine.LOAD, Engine.EXECUTE): 16, (Engine.EXECUTE, Engine.LOAD): 13}
    replay(config, held.instructions, slow)


def test_the_checker_sees_a_deadlock():
    with pytest.raises(Deadlock):
        replay(SMALL, [replace(loads_then_executes(1)[0], wait_execute=1)], lambda index: 1)


def test_a_scale_is_free_only_when_its_results_are_written():
    """A load of scales under an EXECUTE that uses them, with one after it that does not."""
    scales = Load(memory=Memory.ACCUMULATE_SCALE, dram=0, rows=1, columns=4, block_stride=1)
    plain = loads_then_executes(1)[1]
    scaled = replace(plain, scale=1)
    program = add_tokens(SMALL, [scaled, plain, scales, Halt()]).instructions
    pairs = conflicting(SMALL, program)
    assert (0, 2, False) in pairs
    times = replay(SMALL, program, [1000, 1, 1, 0].__getitem__)
    assert not races(pairs, times) and times[2].start == 2000


def test_operands_are_free_when_read():
    left = loads_then_executes(1)[0]
    program = add_tokens(SMALL, [loads_then_executes(1)[1], left, Halt()]).instructions
    times = replay(SMALL, program, [1000, 1, 0].__getitem__)
    assert times[1].start == 1000


def test_tokens_are_added_once():
    program = add_tokens(SMALL, loads_then_executes(2)).instructions
    with pytest.raises(ValueError, match="instruction 0 has tokens already"):
        add_tokens(SMALL, program)


@pytest.mark.parametrize("bits", [2, 8])
def test_compiled_programs_have_no_races(bits):
    config = Config(rows=2, columns=3, token_bits=bits, input_depth=32, weight_depth=32)
    programs = [*compile_gemm(config, 11, 30, 13, dataflow="os"),
                compile_layer(config, 9, 17, 11, 3).program]  # fmt: skip
    for program in programs:
        pairs = conflicting(config, program.instructions)
        assert pairs
        for trial in range(4):
            times = replay(config, program.instructions, delays(trial))
            assert not races(pairs, times)
