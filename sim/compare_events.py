"""Where two runs of a program part: what a test of equal timing prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hw.isa.encoding import to_text
from hw.isa.instructions import Instruction
from hw.isa.registers import DATA_COUNTERS

from .intervals import SIGNALS
from .result import Event, Interval, RunResult

__all__ = ["first_difference"]

_SHOWN_COUNTERS = 4


def first_difference(
    expected: RunResult, found: RunResult, instructions: Sequence[Instruction] = ()
) -> str | None:
    """Return one line about the first event in which two runs differ, or None if they are equal.

    How the runs ended, every step of every instruction, every signal in every cycle and every
    counter are compared. What is earliest is named, with its cycle in both runs; then the
    counters. A run without activity differs from one with it. `DATA_COUNTERS`, which a model
    without data does not have, are compared only where both runs have them.

    Parameters
    ----------
    instructions : sequence of Instruction
        The program, for their text; without, only their index is named.
    """
    differences = [*_steps(expected, found, instructions), *_signals(expected, found)]
    parts = [min(differences)[-1]] if differences else []
    for name in ("error", "error_instruction", "waiting"):
        theirs, ours = getattr(expected, name), getattr(found, name)
        if theirs != ours:
            parts.append(f"{name}: expected {theirs!r}, found {ours!r}")
    parts += _counters(expected.counters, found.counters)
    return "; ".join(parts) or None


_Difference = tuple[int, int, int, str]
"""Cycle of the earlier of both sides, an order among those of a cycle, and the line."""


def _steps(
    expected: RunResult, found: RunResult, instructions: Sequence[Instruction]
) -> Iterable[_Difference]:
    """Return the steps of instructions that are not in the same cycle."""
    theirs, ours = _cycles(expected.events), _cycles(found.events)
    for step in theirs.keys() | ours.keys():
        sides = theirs.get(step, []), ours.get(step, [])
        if sides[0] != sides[1]:
            engine, index, kind = step
            text = f" ({to_text(instructions[index])})" if index < len(instructions) else ""
            cycle = min(cycle for side in sides for cycle in side)
            line = f"{engine.name} {kind} of instruction {index}{text}"
            yield cycle, 0, index, f"cycle {cycle}: {line}: {_both(*map(_when, sides))}"


def _cycles(events: Iterable[Event]) -> dict[tuple, list[int]]:
    """Return when each step was taken: in one cycle, if all is well."""
    found: dict[tuple, list[int]] = {}
    for event in events:
        found.setdefault((event.engine, event.index, event.kind), []).append(event.cycle)
    return found


def _when(cycles: Sequence[int]) -> str:
    return f"in cycle {' and '.join(map(str, cycles))}" if cycles else "never"


def _signals(expected: RunResult, found: RunResult) -> Iterable[_Difference]:
    """Return the first cycle in which each signal differs."""
    theirs, ours = _turns(expected.activity), _turns(found.activity)
    for place, signal in enumerate(SIGNALS):
        sides = theirs.get(signal, ()), ours.get(signal, ())
        if sides[0] != sides[1]:
            turns = zip(*sides, strict=False)
            same = next((n for n, (a, b) in enumerate(turns) if a != b), min(map(len, sides)))
            cycle = min(side[same] for side in sides if len(side) > same)
            verb = "falls" if same % 2 else "rises"
            when = (_when(side[same : same + 1]) for side in sides)
            yield cycle, 1, place, f"cycle {cycle}: {signal} {verb}: {_both(*when)}"


def _turns(activity: Iterable[Interval]) -> dict[str, list[int]]:
    """Return the cycles in which each signal rises and falls, one after the other."""
    found: dict[str, list[int]] = {}
    for interval in activity:
        found.setdefault(interval.signal, []).extend((interval.start, interval.stop))
    return found


def _counters(expected: dict[str, int], found: dict[str, int]) -> list[str]:
    """Return what differs in the counters, at most a few of them."""
    lines = []
    for name in dict.fromkeys((*expected, *found)):
        theirs, ours = expected.get(name), found.get(name)
        lacking = None in (theirs, ours)
        if theirs != ours and not (lacking and name in DATA_COUNTERS):
            sides = ("nothing" if value is None else f"{value}" for value in (theirs, ours))
            lines.append(f"{name}: {_both(*sides)}")
    if len(lines) > _SHOWN_COUNTERS:
        more = len(lines) - _SHOWN_COUNTERS
        lines = [*lines[:_SHOWN_COUNTERS], f"{more} more counters differ"]
    return lines


def _both(expected: str, found: str) -> str:
    return f"expected {expected}, found {found}"
