"""Timelines of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hw.isa.encoding import to_text
from hw.isa.instructions import Engine, Instruction

from .axi import CHANNELS
from .result import Interval, RunResult

__all__ = ["PROCESSES", "TRACKS", "timeline"]

PROCESSES = ("engines", "memories", "AXI")
"""Groups of tracks, in the order in which they are shown."""
_FIRST_THREAD = 101
"""Above the numbers of processes: a thread with its process's number is its main thread."""


@dataclass(frozen=True)
class _Slice:
    """What is drawn over the cycles from `start` to `stop` (excluded), with what it contains."""

    name: str
    start: int
    stop: int
    arguments: dict[str, Any]
    inside: tuple[_Slice, ...] = ()


def _waits(engine: Engine) -> dict[str, tuple[str, str]]:
    """Return the tracks of what an engine may wait for."""
    reasons = [peer.name for peer in Engine if peer != engine]
    if engine is not Engine.EXECUTE:
        reasons += ["DRAM", "memory"]
    name = engine.name.lower()
    return {
        f"{name}_stalled_on_{reason.lower()}": ("engines", f"{engine.name} waits for {reason}")
        for reason in reasons
    }


def _parts(memory: str, part: str, **kinds: str) -> dict[str, tuple[str, str]]:
    """Return the tracks of a memory, one part, a bank or a half, after the other."""
    return {
        f"{memory}_{kind}_{index}": ("memories", f"{memory} {part} {index} {words}")
        for index in range(2)
        for kind, words in kinds.items()
    }


TRACKS: dict[str, tuple[str, str]] = {
    **_waits(Engine.LOAD),
    **_waits(Engine.EXECUTE),
    **_waits(Engine.STORE),
    **_parts("input", "bank", write="written", read="read"),
    **_parts("weight", "bank", write="written", read="read"),
    "output_write": ("memories", "output rows completed"),
    **_parts("output", "half", add="added to", store="stored"),
    **{f"axi_{channel}": ("AXI", channel.upper()) for channel in CHANNELS},
}
"""Process and name of the track of each of `sim.intervals.SIGNALS`, in the order shown: that in
which data flows."""


def timeline(instructions: Sequence[Instruction], result: RunResult, clock_mhz: int) -> str:
    """Return a run as a trace-event JSON text that Perfetto and Chrome open.

    An engine works on several instructions at once, and has as many tracks as that takes: slices
    of a track do not overlap, but for those that lie inside another. What never happens has no
    track. Slices cover the cycles in which something happens, from the first to the last.

    Parameters
    ----------
    result : RunResult
        Of the program of these instructions, from a backend that keeps time; of one without
        `activity` the engines are drawn only.
    clock_mhz : int
        Turns cycles into the microseconds the format wants; cycles stay in the arguments.
    """
    tracks: list[tuple[str, str, list[_Slice]]] = []
    spans: dict[str, list[_Slice]] = {signal: [] for signal in TRACKS}
    for interval in result.activity:
        spans[interval.signal].append(_span(interval))
    for engine in Engine:
        lanes = _lanes(_instruction_slices(instructions, result, engine))
        for place, lane in enumerate(lanes):
            tracks.append(("engines", f"{engine.name} {place + 1}" if place else engine.name, lane))
        tracks += [(*track, spans.pop(signal)) for signal, track in _waits(engine).items()]
    tracks += [(*TRACKS[signal], slices) for signal, slices in spans.items()]
    drawn = [track for track in tracks if track[-1]]
    entries: list[dict[str, Any]] = []
    for number, process in enumerate(PROCESSES, 1):
        if any(process == each for each, *_ in drawn):
            entries += _described("process", process, number, {"pid": number})
    for number, (process, name, slices) in enumerate(drawn, _FIRST_THREAD):
        ids = {"pid": PROCESSES.index(process) + 1, "tid": number}
        entries += _described("thread", name, number, ids)
        entries += [entry | ids for entry in _entries(slices, clock_mhz)]
    return json.dumps({"traceEvents": entries, "displayTimeUnit": "ns"})


def _instruction_slices(
    instructions: Sequence[Instruction], result: RunResult, engine: Engine
) -> list[_Slice]:
    """Return the instructions of an engine in order; one that did not end lasts to the last."""
    steps: dict[int, dict[str, int]] = {}
    for event in result.events:
        if event.engine is engine:
            steps.setdefault(event.index, {})[event.kind] = event.cycle
    last = max((event.cycle for event in result.events), default=0)
    slices = []
    for index, at in sorted(steps.items()):
        instruction, start = instructions[index], at["start"]
        reading = ()
        if "read" in at:
            reading = (_Slice("reads operands", start, at["read"] + 1, {"end": at["read"]}),)
        arguments = {"text": to_text(instruction)} | at
        name = f"{index} {instruction.mnemonic()}"
        slices.append(_Slice(name, start, at.get("done", last) + 1, arguments, reading))
    return slices


def _span(interval: Interval) -> _Slice:
    arguments = {"start": interval.start, "cycles": interval.cycles}
    return _Slice(TRACKS[interval.signal][1], interval.start, interval.stop, arguments)


def _lanes(slices: Iterable[_Slice]) -> list[list[_Slice]]:
    """Spread slices, given by their start, over as few tracks as they need."""
    lanes: list[list[_Slice]] = []
    for each in slices:
        free = next((lane for lane in lanes if lane[-1].stop <= each.start), None)
        if free is None:
            lanes.append([each])
        else:
            free.append(each)
    return lanes


def _entries(slices: Iterable[_Slice], clock_mhz: int) -> Iterable[dict[str, Any]]:
    """Return beginnings and ends: unlike durations, they meet whatever a viewer rounds."""
    for each in slices:
        start, stop = (round(cycle / clock_mhz, 6) for cycle in (each.start, each.stop))
        yield {"ph": "B", "name": each.name, "ts": start, "args": each.arguments}
        yield from _entries(each.inside, clock_mhz)
        yield {"ph": "E", "ts": stop}


def _described(what: str, name: str, place: int, ids: dict[str, int]) -> list[dict[str, Any]]:
    """Return what a viewer is told of a process or thread."""
    return [
        {"ph": "M", "name": f"{what}_name", "args": {"name": name}} | ids,
        {"ph": "M", "name": f"{what}_sort_index", "args": {"sort_index": place}} | ids,
    ]
