"""Accesses of two engines to one word that no token orders, and tokens that no counter can hold.

Program order is the meaning of a program; tokens must make the hardware keep it wherever two
engines meet. This takes tokens as they stand in the instructions and knows nothing of how a
compiler sets them. What an engine knows when it starts an instruction is kept as a `Clock`: for
each kind of event, how far in the program it is known to have happened. As an engine keeps its own
order, one number a kind is enough, and of every word only the last instruction of each engine that
read it and the last that wrote it. A token carries what its sender knew, and what it tells itself:

- of a LOAD or a STORE, that it and all before it in its engine are done;
- of an EXECUTE to STORE, the same;
- of an EXECUTE to LOAD, that it and all before it have read their operands, and, since one that
  scales holds this token back until it is done, and with it those behind it, that every scaling one
  up to here is done.

The same knowledge bounds the tokens on their way, which in hardware are more than in program order:
a sender runs ahead of its peer. It must know of all but as many as a counter holds that they are
taken, which is when the instruction that waits for them starts. It can know by a token of that
instruction, or of a later one of the engine, since an engine starts its instructions in order.

The compiler has the rule of what a token tells too (`sw.tokens`), and it is written down twice on
purpose: who judges a program must not share the mistakes of who made it.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from hw.isa.config import Config
from hw.isa.encoding import to_text
from hw.isa.instructions import Engine, Execute, Instruction

from .footprint import Access, Space, footprint, words_in

__all__ = ["Overflow", "Race", "Races", "find_overflows", "find_races"]


class Event(IntEnum):
    """What can be known of instructions: that they are done, or have read their operands."""

    LOADED = 0
    RELEASED = 1
    EXECUTED = 2
    STORED = 3


Clock = tuple[int, ...]
"""For each `Event`, an index: it has happened to all earlier instructions of its engine."""
Pair = tuple[Engine, Engine]
"""Who sends a token, and to whom."""
_STARTED = {
    Engine.LOAD: Event.LOADED,
    Engine.EXECUTE: Event.RELEASED,
    Engine.STORE: Event.STORED,
}
"""The first event of an instruction that another engine can know of: it must have started."""


@dataclass(frozen=True)
class Race:
    """An instruction that touches a word while an earlier one of another engine may be at it.

    Members
    -------
    first, second : int
        Indices in the program.
    space : Space
    word : int
        The lowest address that the two share; in DRAM that of a byte.
    problem : str
        What the second does, for a message that begins with it.
    """

    first: int
    second: int
    space: Space
    word: int
    problem: str


@dataclass(frozen=True)
class Overflow:
    """An instruction whose token may find its counter full.

    Members
    -------
    index : int
        Of the sender in the program.
    receiver : Engine
    problem : str
        For a message that begins with the sender.
    """

    index: int
    receiver: Engine
    problem: str


class Races:
    """Looks for races and overflows, an instruction at a time, in program order.

    Parameters
    ----------
    config : Config
    dram_bytes : int
        Size of DRAM: nothing reaches further.
    """

    def __init__(self, config: Config, dram_bytes: int) -> None:
        self._bus = config.bus_bytes
        self._sizes = {space: words_in(config, space) for space in Space if space != Space.DRAM}
        self._sizes[Space.DRAM] = -(-dram_bytes // self._bus)
        self._known: dict[Engine, Clock] = dict.fromkeys(Engine, (0,) * len(Event))
        self._tokens: dict[Pair, deque[Clock]] = defaultdict(deque)
        self._limit = (1 << config.token_bits) - 1
        self._sent: Counter[Pair] = Counter()
        # Tokens of which the sender knows that they are taken, and who takes the others.
        self._sure: Counter[Pair] = Counter()
        self._takers: dict[Pair, deque[int]] = defaultdict(deque)
        # By memory: who touched each word last, as an index in the program or -1.
        self._last: dict[Space, dict[tuple[Engine, bool], np.ndarray]] = defaultdict(dict)
        self._instructions: dict[int, Instruction] = {}
        self._last_scaling = -1

    def step(
        self, index: int, instruction: Instruction, accesses: Sequence[Access]
    ) -> tuple[Race | Overflow, ...]:
        """Return the races of the next instruction with earlier ones, then overflows of its tokens.

        Parameters
        ----------
        index : int
            Its place in the program.
        accesses : sequence of Access
            Its footprint, within the memories. Its tokens must have been sent (`sim.tokens`).
        """
        engine = instruction.engine
        if engine is None:
            return ()
        self._instructions[index] = instruction
        self._take(index, instruction)
        places = [(access, access.grid.index()) for access in accesses]
        races = [
            race for access, place in places for race in self._races(index, engine, access, place)
        ]
        for access, place in places:
            tables = self._last[access.space]
            key = engine, access.write
            if key not in tables:
                tables[key] = np.full(self._sizes[access.space], -1, np.int32)
            tables[key][place] = index
        return (*races, *self._send(index, instruction))

    def _take(self, index: int, instruction: Instruction) -> None:
        """Learn what the tokens tell that an instruction waits for."""
        engine = instruction.engine
        known = self._known[engine]
        for sender in Engine:
            tokens = self._tokens[sender, engine]
            for _ in range(min(getattr(instruction, f"wait_{sender.name.lower()}"), len(tokens))):
                known = tuple(map(max, known, tokens.popleft()))
                self._takers[sender, engine].append(index)
        self._known[engine] = known

    def _send(self, index: int, instruction: Instruction) -> list[Overflow]:
        """Send an instruction's tokens, with what they tell; return those that may be too many."""
        engine, found = instruction.engine, []
        if isinstance(instruction, Execute) and instruction.scale:
            self._last_scaling = index
        for receiver in Engine:
            if not getattr(instruction, f"signal_{receiver.name.lower()}"):
                continue
            told = list(self._known[engine])
            match engine:
                case Engine.LOAD:
                    told[Event.LOADED] = index + 1
                case Engine.STORE:
                    told[Event.STORED] = index + 1
                case Engine.EXECUTE:
                    done = self._last_scaling if receiver is Engine.LOAD else index
                    told[Event.RELEASED] = index + 1
                    told[Event.EXECUTED] = max(told[Event.EXECUTED], done + 1)
            self._tokens[engine, receiver].append(tuple(told))
            found += self._overflows(index, (engine, receiver))
        return found

    def _overflows(self, index: int, pair: Pair) -> list[Overflow]:
        """Count a token; return whether it may be too many, as far as its sender knows."""
        sender, receiver = pair
        started, takers = self._known[sender][_STARTED[receiver]], self._takers[pair]
        while takers and takers[0] < started:
            takers.popleft()
            self._sure[pair] += 1
        self._sent[pair] += 1
        sent, sure = self._sent[pair], self._sure[pair]
        if sent - sure <= self._limit:
            return []
        problem = (
            f"sends {receiver.name} token {sent} while only {sure} are sure to be taken: "
            f"{sent - sure} may be on their way, but the counter ends at {self._limit}"
        )
        return [Overflow(index, receiver, problem)]

    def _races(
        self, index: int, engine: Engine, access: Access, place: slice | np.ndarray
    ) -> list[Race]:
        """Return the races of one access: with writes, and with reads if it writes."""
        found = []
        for (other, wrote), table in self._last[access.space].items():
            if other is engine or not (wrote or access.write):
                continue
            last = table[place]
            known = self._known[engine][_over(other, access.space)]
            if last.max() < known:
                continue
            words = np.arange(table.size)[place] if isinstance(place, slice) else place
            for first in np.unique(last[last >= known]).tolist():
                word = int(words[last == first].min())
                found.append(self._race(first, wrote, index, access, word))
        return found

    def _race(self, first: int, wrote: bool, second: int, access: Access, word: int) -> Race:
        verb, other = ("writes" if access.write else "reads"), ("write" if wrote else "read")
        if access.space is Space.DRAM:
            word *= self._bus
            what = f"DRAM byte {word:#x}"
        else:
            what = f"word {word} of the {access.space.title}"
        problem = (
            f"{verb} {what} while instruction {first} ({to_text(self._instructions[first])}) "
            f"may still {other} it: no token orders them"
        )
        return Race(first, second, access.space, word, problem)


def _over(engine: Engine, space: Space) -> Event:
    """Return after which event an instruction of an engine touches a memory no more."""
    if engine is Engine.LOAD:
        return Event.LOADED
    if engine is Engine.STORE:
        return Event.STORED
    return Event.RELEASED if space in (Space.INPUT, Space.WEIGHT) else Event.EXECUTED


def find_races(config: Config, program: Sequence[Instruction]) -> list[Race]:
    """Return all races of a program whose tokens and addresses are legal.

    Where an instruction races with several of one engine at one word, the last of them is told.
    """
    return [each for each in _problems(config, program) if isinstance(each, Race)]


def find_overflows(config: Config, program: Sequence[Instruction]) -> list[Overflow]:
    """Return all tokens that may be too many of a program whose tokens and addresses are legal."""
    return [each for each in _problems(config, program) if isinstance(each, Overflow)]


def _problems(config: Config, program: Sequence[Instruction]) -> Iterator[Race | Overflow]:
    touched = [footprint(config, instruction) for instruction in program]
    beats = [a.grid.last + 1 for each in touched for a in each if a.space is Space.DRAM]
    races = Races(config, max(beats, default=0) * config.bus_bytes)
    for index, (instruction, accesses) in enumerate(zip(program, touched, strict=True)):
        yield from races.step(index, instruction, accesses)
