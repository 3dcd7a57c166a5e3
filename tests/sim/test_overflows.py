"""The counters' bound: a sender must know of all but as many tokens as fit that they are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
from sim.functional import ProgramError, run
from sim.races import find_overflows

SMALL = Config(token_bits=2, queue_depth=8)
INPUT = Load(memory=Memory.INPUT, dram=0, pitch=8, rows=60, columns=4, row_stride=1,
             block_stride=1)  # fmt: skip
LOAD = replace(INPUT, memory=Memory.WEIGHT, rows=4, signal_execute=1)
PRODUCT = Execute(
    wait_load=1, dataflow=Dataflow.WS, rows=60, reduction=4, columns=4, left_row_stride=1,
    left_block_stride=1, right_row_stride=1, right_block_stride=1, out_row_stride=1,
    out_block_stride=1,
)  # fmt: skip
ANSWER = replace(PRODUCT, signal_load=1)
SUMS = Store(format=Format.INT32, dram=0x800, pitch=16, rows=2, columns=4, row_stride=1,
             block_stride=1)  # fmt: skip


def outcome(config: Config, program: Sequence[Instruction], **options: bool) -> None:
    code = b"".join(map(encode, program))
    run(config, code, np.zeros(0x8000, np.uint8), program_address=0x2000, **options)


def refusal(config: Config, program: Sequence[Instruction]) -> ProgramError:
    """Return how the functional model refuses a program that is right in program order."""
    outcome(config, program, check_races=False)
    with pytest.raises(ProgramError) as error:
        outcome(config, program)
    return error.value


def too_many(*program: Instruction) -> list[tuple[int, Engine]]:
    return [(each.index, each.receiver) for each in find_overflows(SMALL, program)]


def at(base: int, load: Load) -> Load:
    """Return a load of operands of its own."""
    return replace(load, base=base, dram=16 * base)


def test_loads_that_run_ahead_of_products():
    """On the RTL the queue of EXECUTE holds enough of them: it ends in a deadlock."""
    pairs = [(at(4 * i, LOAD), replace(PRODUCT, right_base=4 * i)) for i in range(9)]
    error = refusal(SMALL, [INPUT, *(each for pair in pairs for each in pair), Halt()])
    assert error.index == 7
    assert str(error).startswith("instruction 7 (load signal_execute=1 ")
    assert str(error).endswith(
        ") sends EXECUTE token 4 while only 0 are sure to be taken: "
        "4 may be on their way, but the counter ends at 3"
    )


def test_loads_that_run_ahead_of_waits_for_many():
    """Counters of 8 bits overflow on the RTL too, with waits for 15 tokens at once."""
    first = replace(INPUT, rows=1, columns=64)
    product = replace(PRODUCT, reduction=64, left_row_stride=0)
    load = replace(LOAD, rows=1, base=127)
    many = replace(product, wait_load=15)
    program = [first, replace(LOAD, rows=64), product, *[load] * 240]
    program += 8 * [many, *[load] * 15] + 16 * [many] + [Halt()]
    error = refusal(Config(), program)
    assert error.index == 258
    assert "token 256 while only 0 are sure" in str(error) and str(error).endswith("ends at 255")


def test_a_full_counter_is_no_overflow():
    program = [*[LOAD] * 3, *[PRODUCT] * 3]
    assert not too_many(*program)
    assert too_many(*[LOAD] * 4, *[PRODUCT] * 4) == [(3, Engine.EXECUTE)]


def test_a_sender_at_the_very_limit_is_accepted():
    """Each load but the first three waits for the product three before its own; no race either."""
    count, program = 9, [INPUT]
    for i in range(count):
        program.append(replace(at(4 * i, LOAD), wait_execute=int(i >= 3)))
        program.append(replace(PRODUCT, right_base=4 * i, signal_load=int(i < count - 3)))
    outcome(SMALL, [*program, Halt()])
    late = list(program)  # Without the first answer the fourth load is one token too far.
    late[2] = replace(late[2], signal_load=0)
    late[7] = replace(late[7], wait_execute=0)
    assert refusal(SMALL, [*late, Halt()]).index == 7
    assert too_many(*late) == [(7, Engine.EXECUTE)]


def test_the_taker_itself_or_one_behind_it_must_have_told():
    ahead = replace(PRODUCT, wait_load=0, signal_load=1)
    last = replace(LOAD, wait_execute=1)
    assert too_many(*[LOAD] * 3, ahead, PRODUCT, last) == [(5, Engine.EXECUTE)]
    assert not too_many(*[LOAD] * 3, ANSWER, PRODUCT, last)
    assert not too_many(*[LOAD] * 3, PRODUCT, ahead, last)


def test_any_load_before_the_sender_may_have_heard():
    heard = replace(LOAD, wait_execute=1, signal_execute=0)
    assert not too_many(*[LOAD] * 3, ANSWER, heard, LOAD)
    assert too_many(*[LOAD] * 3, ANSWER, LOAD, heard) == [(4, Engine.EXECUTE)]


def test_a_wait_for_many_takes_them_all():
    many = replace(ANSWER, wait_load=3)
    heard = replace(LOAD, wait_execute=1)
    assert not too_many(*[LOAD] * 3, many, heard, LOAD, LOAD)
    assert too_many(*[LOAD] * 3, many, heard, *[LOAD] * 3) == [(7, Engine.EXECUTE)]
    two = replace(many, wait_load=2)
    assert too_many(*[LOAD] * 3, two, heard, LOAD, LOAD) == [(6, Engine.EXECUTE)]


def test_the_third_engine_may_tell():
    product = replace(PRODUCT, signal_store=1)
    store = replace(SUMS, wait_execute=1, signal_load=1)
    last = replace(LOAD, wait_store=1)
    assert not too_many(*[LOAD] * 3, product, store, last)
    assert too_many(*[LOAD] * 3, product, replace(store, signal_load=0), LOAD)
    # Known by the store that signals, not by one before it.
    early = replace(SUMS, signal_load=1), replace(SUMS, wait_execute=1)
    assert too_many(*[LOAD] * 3, product, *early, last) == [(6, Engine.EXECUTE)]


@pytest.mark.parametrize("sender", Engine)
@pytest.mark.parametrize("receiver", Engine)
def test_every_pair_has_a_counter_of_its_own(sender, receiver):
    if sender is receiver:
        return
    idle = {Engine.LOAD: INPUT, Engine.EXECUTE: replace(PRODUCT, wait_load=0), Engine.STORE: SUMS}
    signal, wait = f"signal_{receiver.name.lower()}", f"wait_{sender.name.lower()}"
    back, heard = f"signal_{sender.name.lower()}", f"wait_{receiver.name.lower()}"
    sends, takes = replace(idle[sender], **{signal: 1}), replace(idle[receiver], **{wait: 1})
    assert too_many(*[sends, takes] * 5) == [(6, receiver), (8, receiver)]
    answers = [sends, replace(takes, **{back: 1}), replace(sends, **{heard: 1}), takes]
    assert not too_many(*answers, sends, takes, sends, takes)
