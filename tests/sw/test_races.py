"""`sim.races` and the independent replay see the same: races and overflows that a timing shows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Engine, Instruction
from sim.races import find_overflows, find_races
from sw.gemm import compile_gemm
from sw.layer import compile_layer
from sw.tokens import add_tokens

from .interleave import Deadlock, Overflow, conflicting, races, replay
from .samples import SMALL, delays, random_program, tokens_of, without

Pairs = list[tuple[int, int, bool]]


def shown(config: Config, program: Sequence[Instruction], pairs: Pairs) -> set[tuple[int, int]]:
    """Return all races that the replay can show: each first instruction slow, all others quick."""
    found = set()
    for slow in sorted({first for first, _, _ in pairs}):
        times = replay(config, program, lambda index, slow=slow: 10**6 if index == slow else 0)
        found |= {pair for pair in races(pairs, times) if pair[0] == slow}
    return found


def assert_same(config: Config, program: Sequence[Instruction], pairs: Pairs) -> int:
    """Assert that checker and replay find the same; return how many races the checker finds.

    The checker tells of each word only the last of an engine, so the replay may show more pairs,
    but none whose second instruction would pass.
    """
    told = {(race.first, race.second) for race in find_races(config, program)}
    seen = shown(config, program, pairs)
    assert told <= seen
    assert {second for _, second in told} == {second for _, second in seen}
    return len(told)


def overflows(config: Config, program: Sequence[Instruction]) -> bool:
    """Return whether a counter overflows when some instruction does not start in time."""
    for held in (i for i, each in enumerate(program) if each.engine is not None):
        try:
            replay(config, program, lambda index: 1, held)
        except Overflow:
            return True
        except Deadlock:
            pass
    return False


def overflows_by_delays(config: Config, program: Sequence[Instruction], seed: int) -> bool:
    """Return whether a counter overflows under some random delays."""
    try:
        for trial in range(4):
            replay(config, program, delays(100 * seed + trial))
    except Overflow:
        return True
    return False


@pytest.mark.parametrize("seed", range(30))
def test_right_programs_pass(seed):
    program = add_tokens(SMALL, random_program(seed, 60)).instructions
    assert assert_same(SMALL, program, conflicting(SMALL, program)) == 0


@pytest.mark.parametrize("seed", range(30))
def test_some_tokens_missing(seed):
    rng = random.Random(seed)
    program = list(add_tokens(SMALL, random_program(seed, 50)).instructions)
    pairs = conflicting(SMALL, program)
    for token in rng.sample(tokens_of(program), 5):
        program = without(program, token)
    assert assert_same(SMALL, program, pairs) > 0


def random_tokens(program: Sequence[Instruction], count: int, seed: int) -> list[Instruction]:
    """Return a program with tokens from anywhere to anywhere behind; some waits are for several."""
    rng = random.Random(seed)
    given = list(program)
    for _ in range(count):
        sender, taker = sorted(rng.sample(range(len(given) - 1), 2))
        first, second = given[sender].engine, given[taker].engine
        signal, wait = f"signal_{second.name.lower()}", f"wait_{first.name.lower()}"
        if first is not second and not getattr(given[sender], signal):
            given[sender] = replace(given[sender], **{signal: 1})
            given[taker] = replace(given[taker], **{wait: getattr(given[taker], wait) + 1})
    return given


@pytest.mark.parametrize("seed", range(40))
def test_tokens_anywhere(seed):
    program = random_tokens(random_program(seed, 50), 40 + 2 * seed, seed)
    assert any(getattr(e, f"wait_{p.name.lower()}") > 1 for e in program for p in Engine)
    assert_same(SMALL, program, conflicting(SMALL, program))


@pytest.mark.parametrize("bits", [2, 3])
@pytest.mark.parametrize("seed", range(40))
def test_overflows_are_what_some_timing_shows(seed, bits):
    config = SMALL.replace(token_bits=bits)
    program = random_tokens(random_program(seed, 50), 20 + 2 * seed, seed)
    refused = bool(find_overflows(config, program))
    assert refused == overflows(config, program)
    assert refused or not overflows_by_delays(config, program, seed)


def test_random_tokens_are_of_both_kinds():
    """Of the programs of the test before; so it can fail either way."""
    found = [
        bool(find_overflows(SMALL.replace(token_bits=bits), random_tokens(
            random_program(seed, 50), 20 + 2 * seed, seed)))
        for seed in range(40) for bits in (2, 3)
    ]  # fmt: skip
    assert 15 < sum(found) < 65


@pytest.mark.parametrize("seed", range(40))
def test_what_the_compiler_holds_back_never_overflows(seed):
    """Its programs pass; less one token, both see an overflow or neither does."""
    config, rng = SMALL.replace(token_bits=2), random.Random(seed)
    program = add_tokens(config, random_program(seed, 60)).instructions
    assert not find_overflows(config, program) and not overflows(config, program)
    less = without(program, rng.choice(tokens_of(program)))
    assert bool(find_overflows(config, less)) == overflows(config, less)


def compiled(bits: int) -> list[tuple[Config, tuple[Instruction, ...]]]:
    config = Config(rows=2, columns=3, token_bits=bits, input_depth=32, weight_depth=32,
                    output_depth=8)  # fmt: skip
    programs = [
        *compile_gemm(config, 11, 20, 13, dataflow="ws"),
        *compile_gemm(config, 7, 9, 8, dataflow="os", requantise="row"),
        compile_layer(config, 5, 9, 7, 2).program,
    ]
    return [(config, program.instructions) for program in programs]


@pytest.mark.parametrize("bits", [2, 8])
def test_every_token_of_a_compiled_program(bits):
    """Without it there is a race, or no timing shows one: it kept a counter from overflowing."""
    spare, needed = 0, set()
    for config, program in compiled(bits):
        assert not find_races(config, program) and not find_overflows(config, program)
        pairs, wide = conflicting(config, program), config.replace(token_bits=8)
        for token in tokens_of(program):
            less = without(program, token)
            found = find_races(config, less)
            slow = found[0].first if found else token[0]
            times = replay(wide, less, lambda index, slow=slow: 10**6 if index == slow else 0)
            if found:
                assert (slow, found[0].second) in races(pairs, times)
                needed.add((program[token[0]].engine, program[token[1]].engine))
                continue
            spare += 1
            assert find_overflows(config, less) and overflows(config, less)
            assert not races(pairs, times)
            for trial in range(3):
                assert not races(pairs, replay(wide, less, delays(trial)))
    assert len(needed) == 6, "all pairs of engines"
    assert bool(spare) == (bits == 2)
