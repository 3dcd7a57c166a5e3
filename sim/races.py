"""Accesses of two engines to one word that no token orders.

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
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from hw.isa.config import Config
from hw.isa.encoding import to_text
from hw.isa.instructions import Engine, Execute, Instruction

from .footprint import Access, Space, footprint, words_in

__all__ = ["Race", "Races", "find_races"]


class Event(IntEnum):
    """What can be known of instructions: that they are done, or have read their operands."""

    LOADED = 0
    RELEASED = 1
    EXECUTED = 2
    STORED = 3


Clock = tuple[int, ...]
"""For each `Event`, an index: it has happened to all earlier instructions of its engine."""


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


class Races:
    """Looks for races, an instruction at a time, in program order.

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
        self._tokens: dict[tuple[Engine, Engine], deque[Clock]] = defaultdict(deque)
        # By memory: who touched each word last, as an index in the program or -1.
        self._last: dict[Space, dict[tuple[Engine, bool], np.ndarray]] = defaultdict(dict)
        self._instructions: dict[int, Instruction] = {}
        self._last_scaling = -1

    def step(
        self, index: int, instruction: Instruction, accesses: Sequence[Access]
    ) -> tuple[Race, ...]:
        """Return the races of the next instruction with earlier ones.

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
        self._take(engine, instruction)
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
        self._send(index, instruction)
        return tuple(races)

    def _take(self, engine: Engine, instruction: Instruction) -> None:
        """Learn what the tokens tell that an instruction waits for."""
        known = self._known[engine]
        for sender in Engine:
            tokens = self._tokens[sender, engine]
            for _ in range(min(getattr(instruction, f"wait_{sender.name.lower()}"), len(tokens))):
                known = tuple(map(max, known, tokens.popleft()))
        self._known[engine] = known

    def _send(self, index: int, instruction: Instruction) -> None:
        """Send an instruction's tokens, with what they tell."""
        engine = instruction.engine
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
    touched = [footprint(config, instruction) for instruction in program]
    beats = [a.grid.last + 1 for each in touched for a in each if a.space is Space.DRAM]
    races = Races(config, max(beats, default=0) * config.bus_bytes)
    steps = zip(program, touched, strict=True)
    return [race for i, (each, where) in enumerate(steps) for race in races.step(i, each, where)]
