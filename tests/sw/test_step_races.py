"""Tokens of a step's programs: none too few, none too many, and no engine waits for ever."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Instruction
from sim.races import find_overflows, find_races
from sw.graph.compile import compile_step
from sw.graph.fusions import Fusions
from sw.graph.program import StepProgram

from .golden_step import modules_model
from .interleave import Deadlock, Overflow, conflicting, races, replay
from .samples import delays, tokens_of, without

DEPTHS = {"input_depth": 128, "weight_depth": 128, "output_depth": 128}
CONFIG = Config(rows=4, columns=4, bus_bytes=4, **DEPTHS)
SITES = modules_model([(1, 10, 5), (1, 6, 1), (1, 17, 1)], text_tokens=7, text_width=19)
MODULE = modules_model([(8, 16, 2)], text_tokens=5, text_width=12)

cases = pytest.mark.parametrize(
    "reading, fusions", [(r, f) for r in ("kv", "xattn") for f in ("all", "none")]
)


@cache
def compiled(reading: str, fusions: str) -> StepProgram:
    """Return a step whose tiles take the memories by turns."""
    model = SITES if reading == "kv" else MODULE
    return compile_step(
        CONFIG, model, reading=reading, batch=2, rank=3, fusions=Fusions.parse(fusions)
    )


@cases
def test_no_races_and_no_overflows(reading: str, fusions: str) -> None:
    for program in compiled(reading, fusions).programs:
        assert not find_races(CONFIG, program.instructions), program.name
        assert not find_overflows(CONFIG, program.instructions), program.name


@cases
def test_no_deadlock_whatever_is_slow(reading: str, fusions: str) -> None:
    """Nor do engines meet in a word, says a checker that knows nothing of the compiler's."""
    for program in compiled(reading, fusions).programs:
        pairs = conflicting(CONFIG, program.instructions)
        assert pairs, program.name
        for seed in range(4):
            times = replay(CONFIG, program.instructions, delays(seed))  # raises Deadlock, Overflow
            assert not races(pairs, times), program.name


@cases
def test_few_tokens_can_be_left_out(reading: str, fusions: str) -> None:
    """The checker looks at such programs: most of their tokens are needed."""
    needed = tried = 0
    for program in compiled(reading, fusions).programs:
        tokens = tokens_of(program.instructions)
        for token in tokens[:: max(1, len(tokens) // 6)]:
            less = without(list(program.instructions), token)
            tried += 1
            needed += bool(find_races(CONFIG, less))
    assert tried >= 10 and needed > tried / 2, f"{needed} of {tried}"


def test_a_signal_that_is_lost_is_a_deadlock() -> None:
    program = next(iter(compiled("kv", "all").programs))

    def silent(each: Instruction) -> Instruction:
        return replace(each, signal_execute=0) if hasattr(each, "memory") else each

    with pytest.raises((Deadlock, Overflow)):
        replay(CONFIG, [silent(each) for each in program.instructions], lambda index: 1)
