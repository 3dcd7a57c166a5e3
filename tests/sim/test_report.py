"""The timeline: a track for everything that happens, and slices that nest."""

from __future__ import annotations

import json

import pytest

from hw.isa.encoding import to_text
from hw.isa.instructions import Dataflow, Engine, Execute, Format, Halt, Load, Memory, Store
from hw.isa.registers import ErrorCode
from sim.intervals import SIGNALS
from sim.report import TRACKS, timeline
from sim.result import Event, Interval, RunResult

LOAD = Load(memory=Memory.INPUT, dram=0, rows=1, columns=4)
EXECUTE = Execute(
    dataflow=Dataflow.OS, rows=1, reduction=4, columns=4, left_row_stride=1, left_block_stride=1,
    right_row_stride=1, right_block_stride=1, out_row_stride=1, out_block_stride=1,
)  # fmt: skip
STORE = Store(
    format=Format.INT32, dram=0, rows=1, columns=4, pitch=16, row_stride=1, block_stride=1
)
PROGRAM = [LOAD, LOAD, LOAD, EXECUTE, STORE, Halt()]
STEPS = [
    (Engine.LOAD, 0, {"start": 2, "done": 9}),
    (Engine.LOAD, 1, {"start": 4, "done": 14}),
    (Engine.LOAD, 2, {"start": 10, "done": 19}),
    (Engine.EXECUTE, 3, {"start": 20, "read": 24, "done": 30}),
    (Engine.STORE, 4, {"start": 31, "done": 40}),
]
CLOCK_MHZ = 300


def events(steps=STEPS) -> tuple[Event, ...]:
    found = [
        Event(cycle, engine, kind, index)
        for engine, index, at in steps
        for kind, cycle in at.items()
    ]
    return tuple(sorted(found, key=lambda event: event.cycle))


def result(**values) -> RunResult:
    return RunResult("rtl", ErrorCode.NONE, None, {}, 0.0, **{"events": events(), **values})


def told(run: RunResult) -> tuple[list[dict], list[dict]]:
    """Return what the timeline says of processes and threads, and what is drawn in them."""
    entries = json.loads(timeline(PROGRAM, run, CLOCK_MHZ))["traceEvents"]
    return [e for e in entries if e["ph"] == "M"], [e for e in entries if e["ph"] != "M"]


def drawn(run: RunResult) -> dict[tuple[str, str], list[tuple[int, str, float, float]]]:
    """Return the slices of each (process, track): depth, name, first cycle, cycle after the last.

    They are in the order of their ends. None may overlap another that it does not lie inside.
    """
    descriptions, entries = told(run)
    names = {
        (each["pid"], each.get("tid")): each["args"]["name"]
        for each in descriptions
        if each["name"].endswith("_name")
    }
    tracks: dict = {}
    for entry in entries:
        key = names[entry["pid"], None], names[entry["pid"], entry["tid"]]
        open_slices, slices = tracks.setdefault(key, ([], []))
        cycle = round(entry["ts"] * CLOCK_MHZ, 2)
        if entry["ph"] == "B":
            if slices and not open_slices:
                assert cycle >= slices[-1][3], f"slices of {key} overlap"
            open_slices.append((entry["name"], cycle))
        else:
            assert entry["ph"] == "E"
            name, start = open_slices.pop()
            assert cycle > start
            slices.append((len(open_slices), name, start, cycle))
    assert not any(open_slices for open_slices, _ in tracks.values())
    return {key: slices for key, (_, slices) in tracks.items()}


def test_engines_have_as_many_tracks_as_they_need():
    assert drawn(result()) == {
        ("engines", "LOAD"): [(0, "0 load", 2, 10), (0, "2 load", 10, 20)],
        ("engines", "LOAD 2"): [(0, "1 load", 4, 15)],
        ("engines", "EXECUTE"): [(1, "reads operands", 20, 25), (0, "3 execute", 20, 31)],
        ("engines", "STORE"): [(0, "4 store", 31, 41)],
    }


def test_an_instruction_that_does_not_end_lasts_to_the_last_event():
    steps = [STEPS[0], (Engine.LOAD, 1, {"start": 4}), STEPS[2]]
    assert drawn(result(events=events(steps)))["engines", "LOAD 2"] == [(0, "1 load", 4, 20)]


def test_each_signal_has_a_track():
    assert set(TRACKS) == set(SIGNALS)
    assert len(set(TRACKS.values())) == len(SIGNALS)
    activity = tuple(Interval(name, 3 * n, 2) for n, name in enumerate(SIGNALS))
    tracks = drawn(result(activity=activity))
    for n, signal in enumerate(SIGNALS):
        assert tracks[TRACKS[signal]] == [(0, TRACKS[signal][1], 3 * n, 3 * n + 2)]
    assert len(tracks) == len(SIGNALS) + 4


def test_intervals_stay_apart():
    activity = (Interval("axi_r", 5, 1), Interval("axi_r", 7, 4), Interval("axi_r", 12, 1))
    slices = drawn(result(activity=activity))["AXI", "R"]
    assert [(start, stop) for _, _, start, stop in slices] == [(5, 6), (7, 11), (12, 13)]


def test_tracks_are_sorted_as_data_flows():
    activity = tuple(Interval(name, 3, 2) for name in SIGNALS)
    descriptions, _ = told(result(activity=activity))
    names = {each.get("tid", each["pid"]): each["args"]["name"] for each in descriptions
             if each["name"].endswith("_name")}  # fmt: skip
    order = {each["args"]["sort_index"]: each.get("tid", each["pid"]) for each in descriptions
             if each["name"].endswith("_sort_index")}  # fmt: skip
    shown = [names[order[place]] for place in sorted(order)]
    assert shown[:3] == ["engines", "memories", "AXI"]
    assert shown[3:8] == [
        "LOAD", "LOAD 2", "LOAD waits for EXECUTE", "LOAD waits for STORE", "LOAD waits for DRAM",
    ]  # fmt: skip
    assert shown[-5:] == ["AR", "R", "AW", "W", "B"]
    assert len(names) == len(order) == len(shown) == 3 + 4 + len(SIGNALS)


def test_a_run_without_activity_shows_engines_only():
    assert {process for process, _ in drawn(result())} == {"engines"}
    descriptions, _ = told(result())
    processes = [each["args"]["name"] for each in descriptions if each["name"] == "process_name"]
    assert processes == ["engines"]


@pytest.mark.parametrize("clock_mhz", [1, 300, 1000])
def test_arguments_keep_the_cycles(clock_mhz):
    activity = (Interval("axi_r", 7, 4),)
    text = timeline(PROGRAM, result(activity=activity), clock_mhz)
    begun = [entry for entry in json.loads(text)["traceEvents"] if entry["ph"] == "B"]
    by_name = {entry["name"]: entry for entry in begun}
    assert by_name["R"]["args"] == {"start": 7, "cycles": 4}
    assert by_name["R"]["ts"] == pytest.approx(7 / clock_mhz, abs=1e-6)
    assert by_name["3 execute"]["args"] == {
        "text": to_text(EXECUTE), "start": 20, "read": 24, "done": 30,
    }  # fmt: skip
