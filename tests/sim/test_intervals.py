"""Intervals of activity, from words of a cycle each."""

from __future__ import annotations

import random

import pytest

from hw.isa.registers import ACTIVITY
from sim.axi import Master, Slave
from sim.intervals import SIGNALS, handshakes, intervals
from sim.result import Interval

READ, WRITE = (1 << SIGNALS.index(name) for name in ("input_read_0", "input_write_1"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], []),
        ([(3, READ), (5, 0)], [("input_read_0", 3, 2)]),
        # One signal goes on while another changes.
        (
            [(3, READ), (4, READ | WRITE), (6, WRITE), (7, 0)],
            [("input_read_0", 3, 3), ("input_write_1", 4, 3)],
        ),
        # In one cycle, in the order of the signals.
        ([(1, READ | WRITE), (2, 0)], [("input_write_1", 1, 1), ("input_read_0", 1, 1)]),
        # The run is what counts: from cycle 0 to cycle 9.
        ([(-4, READ), (-2, 0)], []),
        ([(-4, READ), (2, 0)], [("input_read_0", 0, 2)]),
        ([(8, READ)], [("input_read_0", 8, 2)]),
        ([(8, READ), (12, 0)], [("input_read_0", 8, 2)]),
        ([(10, READ), (12, 0)], []),
    ],
)
def test_intervals_of_changes(changes, expected):
    assert intervals(changes, 10) == tuple(Interval(*each) for each in expected)


def test_a_word_a_cycle_and_its_changes_have_the_same_intervals():
    draw = random.Random(5)
    words = [draw.getrandbits(len(SIGNALS)) & draw.getrandbits(len(SIGNALS)) for _ in range(200)]
    found = intervals(enumerate(words), len(words))
    changes = [(n, word) for n, word in enumerate(words) if n == 0 or words[n - 1] != word]
    assert intervals(changes, len(words)) == found
    again = [0] * len(words)
    for each in found:
        for cycle in range(each.start, each.stop):
            again[cycle] |= 1 << SIGNALS.index(each.signal)
    assert again == words
    ends = {(each.signal, each.stop) for each in found}
    assert not any((each.signal, each.start) in ends for each in found), "none touch"


def test_a_handshake_takes_both_sides():
    channels = SIGNALS[len(ACTIVITY) :]
    assert channels == ("axi_ar", "axi_r", "axi_aw", "axi_w", "axi_b")
    for bit, name in enumerate(channels, len(ACTIVITY)):
        channel = name.removeprefix("axi_")
        sides = [Master(), Slave()] if channel in ("ar", "aw", "w") else [Slave(), Master()]
        setattr(sides[0], f"{channel}valid", 1)
        for ready, expected in ((0, 0), (1, 1 << bit)):
            setattr(sides[1], f"{channel}ready", ready)
            master, slave = sorted(sides, key=lambda side: isinstance(side, Slave))
            assert handshakes(master, slave) == expected
        setattr(sides[0], f"{channel}valid", 0)
        assert handshakes(master, slave) == 0
