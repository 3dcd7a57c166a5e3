"""From what the simulator's process replies to results, or to the error that it stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hw.isa.instructions import Engine, Instruction
from hw.isa.registers import ERROR_CODE_BITS, ERROR_CODE_OFFSET, TRACE, ErrorCode, Status

from .intervals import intervals
from .protocol import ProtocolError
from .request import Ending, Reply
from .result import BackendError, Event, RunResult

__all__ = ["events_of", "results"]


def results(
    reply: Reply, programs: Sequence[list[Instruction]], backend: str
) -> tuple[RunResult, ...]:
    """Return the result of each program.

    Raises
    ------
    BackendError
        The last program did not end with an interrupt.
    ProtocolError
        An AXI rule was broken.
    """
    runs = list(zip(reply.endings, programs, strict=False))
    results = tuple(_result(ending, instructions, backend) for ending, instructions in runs)
    if reply.failure is not None:
        if reply.rule:
            raise ProtocolError(reply.failure)
        how_far = _how_far(results[-1].events, runs[-1][1]) if runs else "no program was started"
        raise BackendError(f"{reply.failure}; {how_far}")
    return results


def _result(ending: Ending, instructions: Sequence[Instruction], backend: str) -> RunResult:
    failed = bool(ending.status & Status.ERROR)
    code = ending.status >> ERROR_CODE_OFFSET & ((1 << ERROR_CODE_BITS) - 1)
    return RunResult(
        backend=backend,
        error=ErrorCode(code) if failed else ErrorCode.NONE,
        error_instruction=ending.error_instruction if failed else None,
        counters=ending.counters,
        seconds=ending.seconds,
        events=events_of(ending.trace, instructions),
        waiting=ending.waiting,
        activity=intervals(ending.activity, ending.counters.get("cycles", 0)),
    )


def events_of(
    trace: Sequence[tuple[int, int]], instructions: Sequence[Instruction]
) -> tuple[Event, ...]:
    """Return the steps of each instruction: the n-th pulse belongs to the engine's n-th.

    Parameters
    ----------
    trace : sequence of (int, int)
        Cycle, and bits as in `hw.isa.registers.TRACE`.
    """
    queues = {
        engine: [n for n, instruction in enumerate(instructions) if instruction.engine is engine]
        for engine in Engine
    }
    seen: Counter[int] = Counter()
    events = []
    for cycle, bits in trace:
        for bit, (engine, kind) in enumerate(TRACE):
            if bits >> bit & 1:
                if seen[bit] == len(queues[engine]):
                    raise BackendError(
                        f"the {engine.name} engine pulsed {kind!r} in cycle {cycle}, but the "
                        f"program has only {len(queues[engine])} instructions for it"
                    )
                events.append(Event(cycle, engine, kind, queues[engine][seen[bit]]))
                seen[bit] += 1
    return tuple(events)


def _how_far(events: Sequence[Event], instructions: Sequence[Instruction]) -> str:
    parts = []
    for engine in Engine:
        total = sum(instruction.engine is engine for instruction in instructions)
        done = sum(event.engine is engine and event.kind == "done" for event in events)
        parts.append(f"{engine.name.lower()} {done} of {total}")
    return "instructions done: " + ", ".join(parts)
