"""Fifth pass: the tokens that keep engines in program order wherever they meet in a memory.

Program order is the meaning of a program. An instruction must wait for every earlier one of
another engine that wrote what it touches, or read what it writes, unless what it has waited for
already implies it. What is known when an instruction starts is kept as four numbers: how many
LOADs are done, how many EXECUTEs have released their operands, how many EXECUTEs are done, how
many STOREs are done. A token carries all that its sender knew.

Two engines meet in DRAM, in the output memory, in the scale memories, which LOAD and ABSMAX write,
and in those of the operands.

An EXECUTE releases its operands when the last is read and all EXECUTEs before it have released
theirs; one that scales reads scales as it writes results, and releases only when done. That is
when it sends its token to LOAD, which so tells, too, that those that scale are done up to there. To
STORE it sends when its last result is written.

The functional model has the rule of what a token tells too (`sim.races`), and it is written down
twice on purpose: who judges a program must not share the mistakes of who made it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Engine, Instruction
from sim.footprint import Access, Space, footprint, words_in

__all__ = ["Point", "Tokened", "add_tokens", "conflicts"]

_tokens = attrgetter(*(f"{kind}_{e.name.lower()}" for kind in ("wait", "signal") for e in Engine))
LOAD_DONE, EXECUTE_RELEASED, EXECUTE_DONE, STORE_DONE = range(4)
Knowledge = tuple[int, int, int, int]
Pair = tuple[Engine, Engine]


@dataclass(frozen=True)
class Point:
    """An instruction's place in its engine, counted from 0, and in the program."""

    engine: Engine
    order: int
    index: int


@dataclass(frozen=True)
class Tokened:
    """Instructions with their tokens; `sent` counts tokens of each pair of engines."""

    instructions: tuple[Instruction, ...]
    sent: dict[Pair, int]

    def __str__(self) -> str:
        counts = (f"{a.name}->{b.name} {n}" for (a, b), n in sorted(self.sent.items()))
        return "tokens: " + (", ".join(counts) or "none")


def add_tokens(
    config: Config, instructions: Sequence[Instruction], held: Mapping[int, int] | None = None
) -> Tokened:
    """Return the instructions with waits and signals set.

    Parameters
    ----------
    held : dict, optional
        By the index of an EXECUTE: place among the LOADs of one that it is to wait for besides.

    Raises
    ------
    ValueError
        An instruction has tokens already.
    """
    for index, each in enumerate(instructions):
        if any(_tokens(each)):
            raise ValueError(f"instruction {index} has tokens already")
    points = _points(instructions)
    needs = conflicts(config, instructions)
    for index, order in (held or {}).items():
        needs[index][Engine.LOAD] = max(order, needs[index].get(Engine.LOAD, -1))
    limit = (1 << config.token_bits) - 1
    while True:
        plan = _Plan(instructions, points, needs)
        extra = plan.overflows(limit)
        if not extra:
            return plan.result()
        for index, engine, order in extra:
            needs[index][engine] = max(order, needs[index].get(engine, -1))


def _points(instructions: Sequence[Instruction]) -> list[Point | None]:
    counts = dict.fromkeys(Engine, 0)
    points: list[Point | None] = []
    for index, instruction in enumerate(instructions):
        engine = instruction.engine
        points.append(None if engine is None else Point(engine, counts[engine], index))
        if engine is not None:
            counts[engine] += 1
    return points


def conflicts(config: Config, instructions: Sequence[Instruction]) -> list[dict[Engine, int]]:
    """Return for each instruction the latest one of each other engine that it must come after.

    For every word of every memory the last reader and the last writer of each engine are kept: as
    an engine keeps its own order, the latest one stands for all before it.

    Returns
    -------
    list of dict
        For each instruction, by engine: place of the latest one among those of that engine.
    """
    footprints = [footprint(config, instruction) for instruction in instructions]
    last = _Last(config, footprints)
    counts = dict.fromkeys(Engine, 0)
    needs: list[dict[Engine, int]] = []
    for instruction, accesses in zip(instructions, footprints, strict=True):
        engine = instruction.engine
        needs.append({})
        if engine is None:
            continue
        places = [access.grid.index() for access in accesses]
        for access, place in zip(accesses, places, strict=True):
            last.add_needs(needs[-1], engine, access, place)
        for access, place in zip(accesses, places, strict=True):
            last.note(engine, counts[engine], access, place)
        counts[engine] += 1
    return needs


class _Last:
    """The last reader and writer of every word, for each engine."""

    def __init__(self, config: Config, footprints: Sequence[tuple[Access, ...]]) -> None:
        ends = [
            access.grid.last + 1
            for accesses in footprints
            for access in accesses
            if access.space is Space.DRAM
        ]
        sizes = {s: words_in(config, s) for s in Space if s is not Space.DRAM}
        sizes[Space.DRAM] = max(ends, default=0)
        self._sizes = sizes
        self._tables: dict[Space, dict[tuple[Engine, bool], np.ndarray]] = {s: {} for s in Space}

    def note(self, engine: Engine, order: int, access: Access, place: slice | np.ndarray) -> None:
        """Record an access of the instruction of this order, to the words at `place`."""
        tables, key = self._tables[access.space], (engine, access.write)
        if key not in tables:
            tables[key] = np.full(self._sizes[access.space], -1, np.int32)
        tables[key][place] = order

    def add_needs(
        self, needs: dict[Engine, int], engine: Engine, access: Access, place: slice | np.ndarray
    ) -> None:
        """Add what an access must come after: writers, and readers if it writes."""
        for (other, wrote), table in self._tables[access.space].items():
            if other is not engine and (wrote or access.write):
                order = int(table[place].max())
                if order > needs.get(other, -1):
                    needs[other] = order


class _Plan:
    """One assignment of tokens to a program, given what each instruction must come after."""

    def __init__(
        self,
        instructions: Sequence[Instruction],
        points: list[Point | None],
        needs: list[dict[Engine, int]],
    ) -> None:
        self._instructions, self._points = instructions, points
        self._of_engine: dict[Engine, list[int]] = defaultdict(list)
        for point in points:
            if point is not None:
                self._of_engine[point.engine].append(point.index)
        # Tokens of each pair, in order: the sender's place, and the index of who takes it.
        self._sent: dict[Pair, list[tuple[int, int]]] = defaultdict(list)
        self._scaling = self._scaling_executes()
        self._known: list[Knowledge] = []
        now: dict[Engine, Knowledge] = dict.fromkeys(Engine, (0, 0, 0, 0))
        for point, need in zip(points, needs, strict=True):
            if point is not None:
                now[point.engine] = self._wait(point, need, now[point.engine])
            self._known.append((0, 0, 0, 0) if point is None else now[point.engine])

    def _scaling_executes(self) -> list[int]:
        """Return for each EXECUTE how many there are up to and with the last that scales."""
        found, last = [], 0
        for order, index in enumerate(self._of_engine[Engine.EXECUTE]):
            last = order + 1 if self._instructions[index].scale else last
            found.append(last)
        return found

    def _wait(self, point: Point, needs: dict[Engine, int], known: Knowledge) -> Knowledge:
        """Let an instruction take the tokens it needs; return what is known then.

        The latest sender comes first: what it knew may imply the others.
        """
        places = {sender: self._of_engine[sender][order] for sender, order in needs.items()}
        for sender in sorted(places, key=places.__getitem__, reverse=True):
            order = needs[sender]
            if known[_event(sender, point.engine)] > order:
                continue
            self._sent[sender, point.engine].append((order, point.index))
            known = tuple(map(max, known, self._known[places[sender]]))
            known = tuple(map(max, known, self._told(sender, order, point.engine)))
        return known

    def _told(self, sender: Engine, order: int, receiver: Engine) -> Knowledge:
        """Return what a token tells of its sender, the instruction of this order."""
        told = [0, 0, 0, 0]
        told[_event(sender, receiver)] = order + 1
        if sender is Engine.EXECUTE:
            told[EXECUTE_RELEASED] = order + 1
            told[EXECUTE_DONE] = max(told[EXECUTE_DONE], self._scaling[order])
        return tuple(told)

    def overflows(self, limit: int) -> list[tuple[int, Engine, int]]:
        """Return needs to add so that at most `limit` tokens of a pair are ever on their way.

        The sender of a token knows that its peer has taken the tokens of everything it knows to
        have finished. Where that leaves too many, one of two things helps; after either, the plan
        must be made anew.
        """
        found = []
        for (sender, receiver), tokens in self._sent.items():
            places = [self._of_engine[sender][order] for order, _ in tokens]
            count = limit
            while count < len(tokens):
                oldest = count - limit
                taker_order = self._points[tokens[oldest][1]].order
                if self._known[places[count]][_event(receiver, sender)] > taker_order:
                    count += 1
                elif tokens[oldest][1] < places[count]:
                    held = self._held_back(tokens, places[count], oldest, limit)
                    found.append((places[count], receiver, self._points[tokens[held][1]].order))
                    count = held + limit + 1
                else:
                    found.append(self._merged(tokens, places, sender, count, oldest))
                    break
        return found

    @staticmethod
    def _held_back(tokens: list[tuple[int, int]], source: int, oldest: int, limit: int) -> int:
        """Return the token whose taker a sender is to wait for, so that it is not too far ahead.

        Not the oldest, if possible: then the senders after it need not wait at once.
        """
        held = oldest + limit // 4
        while tokens[held][1] >= source:
            held -= 1
        return held

    @staticmethod
    def _merged(
        tokens: list[tuple[int, int]], places: list[int], sender: Engine, count: int, oldest: int
    ) -> tuple[int, Engine, int]:
        """Let the last taker that the counter has room for wait for all sent before the first.

        All these senders come before the first taker in the program, so they cannot wait for it.
        The tokens between are not needed any more.
        """
        last = count
        while last + 1 < len(tokens) and places[last + 1] < tokens[oldest][1]:
            last += 1
        return tokens[count - 1][1], sender, tokens[last][0]

    def result(self) -> Tokened:
        """Return the instructions with this assignment."""
        fields: dict[int, dict[str, int]] = defaultdict(dict)
        for (sender, receiver), tokens in self._sent.items():
            for order, taker in tokens:
                fields[self._of_engine[sender][order]][f"signal_{receiver.name.lower()}"] = 1
                fields[taker][f"wait_{sender.name.lower()}"] = 1
        instructions = tuple(
            _marked(each, fields[index]) if index in fields else each
            for index, each in enumerate(self._instructions)
        )
        return Tokened(instructions, {pair: len(tokens) for pair, tokens in self._sent.items()})


def _marked(instruction: Instruction, tokens: dict[str, int]) -> Instruction:
    """Return an instruction with tokens: all 1, so that nothing need be checked again."""
    marked = object.__new__(type(instruction))
    marked.__dict__.update(instruction.__dict__, **tokens)
    return marked


def _event(sender: Engine, receiver: Engine) -> int:
    """Return which number a token of one engine to another raises."""
    if sender is Engine.LOAD:
        return LOAD_DONE
    if sender is Engine.STORE:
        return STORE_DONE
    return EXECUTE_RELEASED if receiver is Engine.LOAD else EXECUTE_DONE
