"""The race checker: every pair of engines, what a token tells, and how races are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import (
    Absmax,
    Axis,
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
from sim.functional import ProgramError, run
from sim.races import find_races

CONFIG = Config()
LEFT = Load(memory=Memory.INPUT, dram=0, rows=2, columns=4, pitch=8, row_stride=1)
RIGHT = replace(LEFT, memory=Memory.WEIGHT, rows=4, dram=0x100)
ENTRIES = Load(memory=Memory.ACCUMULATE_SCALE, dram=0x200, rows=1, columns=8, block_stride=1)
ROWS = replace(ENTRIES, memory=Memory.ROW_SCALE)
COLUMNS = replace(ENTRIES, memory=Memory.COLUMN_SCALE)
PRODUCT = Execute(
    dataflow=Dataflow.WS, rows=2, reduction=4, columns=4, left_row_stride=1, left_block_stride=1,
    right_row_stride=1, right_block_stride=1, out_row_stride=1, out_block_stride=1,
)  # fmt: skip
SCALED = replace(PRODUCT, scale=1)
ELSEWHERE = replace(PRODUCT, left_base=8, right_base=8, out_base=8)
SUMS = Store(format=Format.INT32, dram=0x300, pitch=16, rows=2, columns=4, row_stride=1,
             block_stride=1)  # fmt: skip
BY_ROW, BY_COLUMN = replace(SUMS, format=Format.INT8_ROW), replace(SUMS, format=Format.INT8_COLUMN)
FIND = Absmax(axis=Axis.ROW, rows=2, columns=4, row_stride=1, block_stride=1, base=32, factor=40,
              scale_base=32, update_base=32)  # fmt: skip

PAIRS = {
    "a left operand loaded, read": (LEFT, PRODUCT, "reads word 0 of the input memory", "write"),
    "a left operand read, loaded": (PRODUCT, LEFT, "writes word 0 of the input memory", "read"),
    "a right operand loaded, read": (RIGHT, PRODUCT, "reads word 0 of the weight memory", "write"),
    "a right operand read, loaded": (
        PRODUCT, replace(RIGHT, base=3), "writes word 3 of the weight memory", "read"),
    "accumulate scales loaded, read": (
        ENTRIES, SCALED, "reads word 0 of the accumulate-scale memory", "write"),
    "accumulate scales read, loaded": (
        SCALED, replace(ENTRIES, base=1), "writes word 1 of the accumulate-scale memory", "read"),
    "accumulate scales made, read": (
        replace(FIND, to_updates=1, update_base=1), SCALED,
        "reads word 1 of the accumulate-scale memory", "write"),
    "accumulate scales read, made": (
        SCALED, replace(FIND, to_updates=1, update_base=1),
        "writes word 1 of the accumulate-scale memory", "read"),
    "accumulate scales loaded, made": (
        ENTRIES, replace(FIND, to_updates=1, update_base=1),
        "writes word 1 of the accumulate-scale memory", "write"),
    "sums made, stored": (PRODUCT, SUMS, "reads word 0 of the output memory", "write"),
    "sums stored, made": (SUMS, PRODUCT, "writes word 0 of the output memory", "read"),
    "sums stored, accumulated": (
        SUMS, replace(PRODUCT, accumulate=1, out_base=1),
        "writes word 1 of the output memory", "read"),
    "row scales loaded, read": (ROWS, BY_ROW, "reads word 0 of the row-scale memory", "write"),
    "row scales read, loaded": (BY_ROW, ROWS, "writes word 0 of the row-scale memory", "read"),
    "a tensor's scale loaded, read": (
        ROWS, replace(SUMS, format=Format.INT8_TENSOR, row_scale=1),
        "reads word 1 of the row-scale memory", "write"),
    "a factor loaded, read": (
        ROWS, replace(FIND, to_updates=1, factor=1),
        "reads word 1 of the row-scale memory", "write"),
    "row scales made, loaded": (
        replace(FIND, to_scales=1, scale_base=1), ROWS,
        "writes word 1 of the row-scale memory", "write"),
    "column scales loaded, read": (
        COLUMNS, BY_COLUMN, "reads word 0 of the column-scale memory", "write"),
    "column scales loaded, made in other lanes": (
        COLUMNS, replace(FIND, axis=Axis.COLUMN, to_scales=1, scale_base=0, columns=1),
        "writes word 0 of the column-scale memory", "write"),
    "DRAM stored, loaded": (SUMS, replace(LEFT, dram=0x308), "reads DRAM byte 0x308", "write"),
    "DRAM loaded, stored": (
        replace(LEFT, dram=0x318), SUMS, "writes DRAM byte 0x318", "read"),
    "maxima in DRAM, loaded": (
        replace(FIND, to_dram=1, dram=0x400), replace(LEFT, dram=0x3F8),
        "reads DRAM byte 0x400", "write"),
}  # fmt: skip
pairs = pytest.mark.parametrize("first,second,what,how", PAIRS.values(), ids=PAIRS)


def ordered(first: Instruction, second: Instruction) -> list[Instruction]:
    """Return two instructions with a token between them."""
    signal, wait = f"signal_{second.engine.name.lower()}", f"wait_{first.engine.name.lower()}"
    return [replace(first, **{signal: 1}), replace(second, **{wait: 1})]


def races(*program: Instruction) -> list[tuple[int, int]]:
    return [(race.first, race.second) for race in find_races(CONFIG, program)]


@pairs
def test_a_missing_token_is_told(first, second, what, how):
    (race,) = find_races(CONFIG, [first, second])
    assert (race.first, race.second) == (0, 1)
    assert race.problem.startswith(f"{what} while instruction 0 ({first.mnemonic()} ")
    assert race.problem.endswith(f") may still {how} it: no token orders them")


@pairs
def test_a_token_orders_two_engines(first, second, what, how):
    assert not races(*ordered(first, second))


@pairs
def test_a_token_of_an_instruction_before_does_not(first, second, what, how):
    """The engine has done something before; only that is known to be over."""
    idle = {Engine.LOAD: replace(LEFT, base=40, dram=0x600), Engine.EXECUTE: ELSEWHERE,
            Engine.STORE: replace(SUMS, base=40, dram=0x680)}[first.engine]  # fmt: skip
    sender, taker = ordered(idle, second)
    assert races(sender, first, taker) == [(1, 2)]
    assert not races(*ordered(first, second)[:1], idle, ordered(first, second)[1])


def test_every_pair_of_engines_is_above():
    found = {(first.engine, second.engine) for first, second, _, _ in PAIRS.values()}
    assert found == {(a, b) for a in Engine for b in Engine if a is not b}


def test_what_meets_nowhere_needs_no_token():
    assert not races(LEFT, ELSEWHERE, replace(SUMS, base=16), replace(FIND, base=16))
    assert not races(PRODUCT, replace(LEFT, base=2)), "just behind the last word"
    assert not races(SUMS, replace(LEFT, dram=0x310 + 16)), "just behind the last beat"
    assert not races(LEFT, replace(SUMS, base=8), replace(LEFT, base=4)), "two that read DRAM"


def test_an_engine_keeps_its_own_order():
    assert not races(LEFT, LEFT)
    assert not races(PRODUCT, replace(PRODUCT, accumulate=1), SCALED)
    scales = replace(FIND, to_scales=1, scale_base=0)
    assert not races(scales, replace(FIND, merge=1), replace(BY_ROW, base=40), SUMS)


def test_operands_are_free_before_the_results_are_written():
    """A token of EXECUTE to LOAD tells that operands are read, and nothing of the results."""
    first, load = ordered(PRODUCT, LEFT)
    store = replace(SUMS, wait_load=1)
    assert not races(first, load)
    assert races(first, replace(load, signal_store=1), store) == [(0, 2)]


@pytest.mark.parametrize("load", [LEFT, RIGHT, ENTRIES], ids=lambda each: each.memory.name)
def test_one_that_scales_frees_everything_when_it_is_done(load):
    first, load = ordered(SCALED, load)
    assert not races(first, load)
    assert not races(first, replace(load, signal_store=1), replace(SUMS, wait_load=1))


def test_a_token_before_one_that_scales_tells_nothing_of_it():
    first, load = ordered(PRODUCT, LEFT)
    scaled = replace(SCALED, left_base=8, out_base=8)
    assert not races(first, scaled, load), "its left operand is free"
    scales = replace(ENTRIES, wait_execute=1)
    assert races(first, scaled, scales) == [(1, 2)]


def test_tokens_behind_one_that_scales_are_held_back():
    """The token of the second EXECUTE tells that the first is done, but not the second."""
    second, load = ordered(ELSEWHERE, replace(ENTRIES, signal_store=1))
    assert not races(SCALED, second, load)
    assert not races(SCALED, second, load, replace(SUMS, wait_load=1))
    assert races(SCALED, second, load, replace(SUMS, base=8, wait_load=1)) == [(1, 3)]


def test_a_token_to_store_tells_that_operands_are_read():
    first, store = ordered(PRODUCT, replace(SUMS, signal_load=1))
    assert not races(first, store, replace(LEFT, wait_store=1))


def test_a_token_carries_what_its_sender_knew():
    """LOAD to EXECUTE to STORE: the store knows of the load, and of all loads before it."""
    load = replace(ROWS, signal_execute=1)
    first = replace(ELSEWHERE, wait_load=1)
    second, store = ordered(PRODUCT, BY_ROW)
    assert not races(load, first, second, store)
    assert not races(ROWS, replace(LEFT, base=4, signal_execute=1), first, second, store)
    assert races(ROWS, first, second, store) == [(0, 3)]
    # What the sender learns after the token does not count.
    assert races(load, second, first, store) == [(0, 3)]


def test_a_wait_takes_the_tokens_in_order():
    """Three loads send tokens; who takes two of them knows of the second load, not of the third."""
    loads = [replace(LEFT, base=4 * i, signal_execute=1) for i in range(3)]
    products = [replace(PRODUCT, left_base=4 * i) for i in range(3)]
    two = replace(products[1], wait_load=2)
    assert not races(*loads, two, products[0])
    assert races(*loads, two, products[2]) == [(2, 4)]
    assert not races(*loads, two, replace(products[2], wait_load=1))
    assert races(*loads, replace(products[1], wait_load=1)) == [(1, 3)]


def test_a_race_is_with_the_last_of_each_engine_that_was_at_a_word():
    first, second = LEFT, replace(LEFT, base=1)
    assert races(first, second, PRODUCT) == [(0, 2), (1, 2)]
    assert races(first, first, PRODUCT) == [(1, 2)]
    told = replace(first, signal_execute=1)
    assert races(told, second, replace(PRODUCT, wait_load=1)) == [(1, 2)]


def test_the_word_told_is_the_lowest():
    (race,) = find_races(CONFIG, [replace(LEFT, base=1), replace(PRODUCT, rows=6)])
    assert (race.space.name, race.word) == ("INPUT", 1)
    strided = replace(LEFT, rows=3, row_stride=3, base=2)
    (race,) = find_races(CONFIG, [strided, replace(PRODUCT, left_base=5, rows=5)])
    assert race.word == 5
    (race,) = find_races(CONFIG, [replace(SUMS, pitch=32), replace(LEFT, dram=0x310, rows=8)])
    assert race.word == 0x320


def outcome(program: Sequence[Instruction], **options: bool) -> None:
    code = b"".join(map(encode, program))
    run(CONFIG, code, np.zeros(0x1000, np.uint8), program_address=0x800, **options)


WHOLE = [
    LEFT, replace(RIGHT, signal_execute=1), replace(PRODUCT, wait_load=1, signal_store=1),
    replace(SUMS, wait_execute=1), Halt(),
]  # fmt: skip


def test_the_functional_model_refuses_races():
    outcome(WHOLE)
    program = [*WHOLE[:2], replace(WHOLE[2], signal_store=0), SUMS, Halt()]
    with pytest.raises(ProgramError) as error:
        outcome(program)
    assert error.value.index == 3
    assert str(error.value) == (
        "instruction 3 (store format=int32 dram=0x300 pitch=16 rows=2 columns=4 row_stride=1 "
        "block_stride=1) reads word 0 of the output memory while instruction 2 (execute "
        "wait_load=1 dataflow=ws rows=2 reduction=4 columns=4 left_row_stride=1 "
        "left_block_stride=1 right_row_stride=1 right_block_stride=1 out_row_stride=1 "
        "out_block_stride=1) may still write it: no token orders them"
    )
    outcome(program, check_races=False)
