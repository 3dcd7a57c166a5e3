"""Random programs, and what to do with their tokens."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from hw.isa.config import Config
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

__all__ = ["SMALL", "Token", "delays", "random_program", "tokens_of", "without"]

SMALL = Config(rows=2, columns=3, input_depth=8, weight_depth=8, output_depth=8,
               accumulate_scale_depth=8, row_scale_depth=8, column_scale_depth=4)  # fmt: skip


def random_program(seed: int, length: int) -> list[Instruction]:
    """Return instructions that meet in every memory, in DRAM too; the data would make no sense."""
    rng = random.Random(seed)

    def up_to(most: int) -> int:
        return rng.randint(1, most)

    def load() -> Instruction:
        memory = rng.choice([*Memory, Memory.INPUT, Memory.WEIGHT])
        dram, pitch = 8 * rng.randrange(24), 8 * up_to(3)
        if memory in (Memory.INPUT, Memory.WEIGHT):
            return Load(
                memory=memory, transpose=rng.randrange(2), dram=dram, pitch=pitch, rows=up_to(4),
                columns=up_to(4), base=rng.randrange(8), row_stride=2, block_stride=1,
            )  # fmt: skip
        return Load(memory=memory, dram=dram, rows=1, columns=4 * up_to(3),
                    base=rng.randrange(2), block_stride=1)  # fmt: skip

    def execute() -> Instruction:
        return Execute(
            dataflow=rng.choice(list(Dataflow)), accumulate=rng.randrange(2),
            scale=rng.randrange(2), rows=up_to(3), reduction=up_to(3), columns=up_to(4),
            left_base=rng.randrange(8), left_row_stride=2, left_block_stride=1,
            right_base=rng.randrange(8), right_row_stride=2, right_block_stride=1,
            out_base=rng.randrange(8), out_row_stride=2, out_block_stride=1,
            scale_base=rng.randrange(4),
        )  # fmt: skip

    def store() -> Instruction:
        where = dict(dram=8 * rng.randrange(24), rows=up_to(3), columns=up_to(4),
                     base=rng.randrange(8), row_stride=2, block_stride=1)  # fmt: skip
        if rng.random() < 0.3:
            flags = {name: rng.randrange(2) for name in ("scaled", "merge", "to_dram", "to_scales")}
            axis = rng.choice(list(Axis))
            return Absmax(
                axis=axis, **flags, to_updates=0 if axis is Axis.COLUMN else rng.randrange(2),
                row_scale=rng.randrange(4), scale_base=rng.randrange(2),
                update_base=rng.randrange(4), factor=rng.randrange(8), **where,
            )  # fmt: skip
        return Store(
            format=rng.choice(list(Format)), pitch=8 * up_to(3), row_scale=rng.randrange(4),
            column_scale=rng.randrange(2), **where,
        )  # fmt: skip

    kinds = [load, execute, store]
    weights = [up_to(5) for _ in kinds]
    return [kind() for kind in rng.choices(kinds, weights, k=length)] + [Halt()]


def delays(seed: int) -> Callable[[int], int]:
    """Return delays of three magnitudes, and one engine much slower or faster than the others."""
    rng = random.Random(seed)
    return lambda index: rng.choice([0, 1, 10, 1000])


Token = tuple[int, int, str, str]
"""Sender and taker, by index, and the names of the fields that say so."""


def tokens_of(program: Sequence[Instruction]) -> list[Token]:
    """Return every token of a program in which nobody waits for two of a pair."""
    found = []
    for sender in Engine:
        for receiver in Engine:
            signal, wait = f"signal_{receiver.name.lower()}", f"wait_{sender.name.lower()}"
            sends = [i for i, e in enumerate(program) if e.engine is sender and getattr(e, signal)]
            takes = [i for i, e in enumerate(program) if e.engine is receiver and getattr(e, wait)]
            assert len(sends) == len(takes)
            found += [(s, t, signal, wait) for s, t in zip(sends, takes, strict=True)]
    return found


def without(program: Sequence[Instruction], token: Token) -> list[Instruction]:
    """Return a program less one token: it is neither sent nor waited for."""
    sender, taker, signal, wait = token
    less = list(program)
    less[sender] = replace(less[sender], **{signal: 0})
    less[taker] = replace(less[taker], **{wait: 0})
    return less
