"""Other programs of the same meaning: independent instructions reordered, tokens taken early."""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from collections.abc import Sequence

from hw.isa.config import Config
from hw.isa.instructions import Engine, Instruction
from sim.footprint import Space, footprint

__all__ = ["gathered", "shuffled"]

_MOST_WAITS = 15


def shuffled(config: Config, program: Sequence[Instruction], seed: int) -> list[Instruction]:
    """Return the instructions in another order, in which no two that share a word have met."""
    rng, order = random.Random(seed), list(range(len(program)))
    touched = [_touched(config, each) for each in program]
    for _ in range(4 * len(program)):
        at = rng.randrange(max(1, len(order) - 1))
        pair = order[at : at + 2]
        if len(pair) == 2 and not _meet(*(touched[index] for index in pair)):
            order[at : at + 2] = pair[::-1]
    return [program[index] for index in order]


def _touched(config: Config, instruction: Instruction) -> dict[tuple[Space, bool], set[int]]:
    found: dict[tuple[Space, bool], set[int]] = defaultdict(set)
    for access in footprint(config, instruction):
        found[access.space, access.write].update(access.grid.words().tolist())
    return found


def _meet(
    one: dict[tuple[Space, bool], set[int]], other: dict[tuple[Space, bool], set[int]]
) -> bool:
    return any(
        space is place and (wrote or writes) and not words.isdisjoint(others)
        for (space, wrote), words in one.items()
        for (place, writes), others in other.items()
    )


def gathered(config: Config, program: Sequence[Instruction]) -> tuple[Instruction, ...]:
    """Return the program with tokens taken by the first that can, instead of who needs them.

    An instruction takes all that its engine was sent before it and still waits for behind it.
    """
    sent: dict[tuple[Engine, Engine], int] = defaultdict(int)
    left: dict[tuple[Engine, Engine], int] = defaultdict(int)
    for each in program:
        for sender in Engine:
            if each.engine is not None:
                left[sender, each.engine] += getattr(each, f"wait_{sender.name.lower()}")
    found = []
    for each in program:
        waits = {}
        for sender in Engine if each.engine is not None else ():
            pair = sender, each.engine
            count = min(sent[pair], left[pair], _MOST_WAITS)
            sent[pair] -= count
            left[pair] -= count
            waits[f"wait_{sender.name.lower()}"] = count
        found.append(dataclasses.replace(each, **waits))
        for receiver in Engine:
            if getattr(each, f"signal_{receiver.name.lower()}"):
                sent[each.engine, receiver] += 1
    return tuple(found)
