"""Timelines of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hw.isa.encoding import to_text
from hw.isa.instructions import Engine, Instruction

from .result import Event

__all__ = ["timeline"]


def timeline(instructions: Sequence[Instruction], events: Sequence[Event], clock_mhz: int) -> str:
    """Return a trace-event JSON text, one track an engine, that Perfetto and Chrome open.

    Parameters
    ----------
    clock_mhz : int
        Turns cycles into the microseconds the format wants; cycles stay in the arguments.
    """
    track = {engine: int(engine) + 1 for engine in Engine}
    entries: list[dict] = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": tid, "args": {"name": engine.name}}
        for engine, tid in track.items()
    ]
    started: dict[int, int] = {}
    for event in events:
        if event.kind == "start":
            started[event.index] = event.cycle
        elif event.kind == "done":
            instruction = instructions[event.index]
            begin = started[event.index]
            # Instructions of one engine overlap, so they are asynchronous slices.
            common = {
                "cat": event.engine.name, "name": f"{event.index} {instruction.mnemonic()}",
                "id": event.index, "pid": 1, "tid": track[event.engine],
            }  # fmt: skip
            arguments = {"text": to_text(instruction), "start": begin, "end": event.cycle}
            entries.append(common | {"ph": "b", "ts": begin / clock_mhz, "args": arguments})
            entries.append(common | {"ph": "e", "ts": event.cycle / clock_mhz})
    return json.dumps({"traceEvents": entries, "displayTimeUnit": "ns"})
