"""The first difference of two runs is named, on one line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw.isa.instructions import Engine, Halt, Load, Memory
from hw.isa.registers import ErrorCode
from sim.compare_events import DATA_COUNTERS, first_difference
from sim.result import Event, Interval, RunResult

PROGRAM = [
    Load(memory=Memory.INPUT, dram=8, rows=1, columns=4),
    Load(memory=Memory.WEIGHT, dram=16, rows=1, columns=4),
    Halt(),
]
RUN = RunResult(
    "rtl", ErrorCode.NONE, None, {"cycles": 40, "load_busy": 12}, 1.5,
    events=(
        Event(3, Engine.LOAD, "start", 0), Event(5, Engine.LOAD, "start", 1),
        Event(20, Engine.LOAD, "done", 0), Event(30, Engine.LOAD, "done", 1),
    ),
    activity=(
        Interval("axi_ar", 2, 2), Interval("axi_r", 10, 4), Interval("input_write_0", 17, 4),
        Interval("axi_r", 18, 4), Interval("weight_write_1", 28, 3),
    ),
)  # fmt: skip


def test_equal_runs_have_none():
    assert first_difference(RUN, RUN, PROGRAM) is None
    assert first_difference(RUN, replace(RUN, backend="timing", seconds=0.0)) is None


def event(index: int, cycle: int) -> dict:
    events = list(RUN.events)
    events[index] = replace(events[index], cycle=cycle)
    return {"events": tuple(events)}


def interval(index: int, **values: int) -> dict:
    activity = list(RUN.activity)
    activity[index] = replace(activity[index], **values)
    return {"activity": tuple(activity)}


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            event(2, 22),
            "cycle 20: LOAD done of instruction 0 (load memory=input dram=0x8 rows=1 columns=4): "
            "expected in cycle 20, found in cycle 22",
        ),
        (
            {"events": RUN.events[:3]},
            "cycle 30: LOAD done of instruction 1 (load memory=weight dram=0x10 rows=1 columns=4): "
            "expected in cycle 30, found never",
        ),
        (
            {"events": (*RUN.events, RUN.events[-1])},
            "cycle 30: LOAD done of instruction 1 (load memory=weight dram=0x10 rows=1 columns=4): "
            "expected in cycle 30, found in cycle 30 and 30",
        ),
        (
            {"events": (*RUN.events, Event(1, Engine.EXECUTE, "start", 7))},
            "cycle 1: EXECUTE start of instruction 7: expected never, found in cycle 1",
        ),
        (
            interval(1, start=9, cycles=5),
            "cycle 9: axi_r rises: expected in cycle 10, found in cycle 9",
        ),
        (interval(3, cycles=5), "cycle 22: axi_r falls: expected in cycle 22, found in cycle 23"),
        (
            {"activity": RUN.activity[:-1]},
            "cycle 28: weight_write_1 rises: expected in cycle 28, found never",
        ),
        ({"activity": ()}, "cycle 2: axi_ar rises: expected in cycle 2, found never"),
        # The earliest of several, whatever it is; in one cycle, instructions first.
        (
            event(2, 22) | interval(1, start=9, cycles=5),
            "cycle 9: axi_r rises: expected in cycle 10, found in cycle 9",
        ),
        (
            event(0, 2) | interval(0, cycles=3),
            "cycle 2: LOAD start of instruction 0 (load memory=input dram=0x8 rows=1 columns=4): "
            "expected in cycle 3, found in cycle 2",
        ),
        ({"counters": {"cycles": 41, "load_busy": 12}}, "cycles: expected 40, found 41"),
        ({"counters": {"cycles": 40}}, "load_busy: expected 12, found nothing"),
        (
            event(3, 31) | {"counters": {"cycles": 41, "load_busy": 13}},
            "cycle 30: LOAD done of instruction 1 (load memory=weight dram=0x10 rows=1 columns=4): "
            "expected in cycle 30, found in cycle 31; "
            "cycles: expected 40, found 41; load_busy: expected 12, found 13",
        ),
        (
            {"error": ErrorCode.PROGRAM_END, "error_instruction": 2},
            "error: expected <ErrorCode.NONE: 0>, found <ErrorCode.PROGRAM_END: 2>; "
            "error_instruction: expected None, found 2",
        ),
    ],
)
def test_what_differs_first(changed, line):
    assert first_difference(RUN, replace(RUN, **changed), PROGRAM) == line


def test_sides_change_places():
    other = replace(RUN, **event(2, 22))
    assert first_difference(other, RUN) == (
        "cycle 20: LOAD done of instruction 0: expected in cycle 22, found in cycle 20"
    )


def test_many_counters_are_not_all_listed():
    other = replace(RUN, counters={**RUN.counters, **{f"other_{n}": n for n in range(7)}})
    assert first_difference(RUN, other).endswith(
        "other_3: expected nothing, found 3; 3 more counters differ"
    )


def test_counters_of_data_may_be_missing_but_not_wrong():
    known = replace(RUN, counters=RUN.counters | dict.fromkeys(DATA_COUNTERS, 2))
    assert first_difference(known, RUN) is None
    wrong = replace(RUN, counters=RUN.counters | {"saturations": 3})
    assert first_difference(known, wrong) == "saturations: expected 2, found 3"
