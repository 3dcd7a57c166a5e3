"""What a run says of its end, and how it gets there and back."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Engine
from hw.isa.registers import ErrorCode
from sim.axi import Fault, Hang, Response, Stalls
from sim.request import Ending, Place, Reply, Request
from sim.result import DramTiming, MachineError, RunResult, describe_waiting, fraction


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "no engine waits for tokens"),
        ([(Engine.EXECUTE, Engine.LOAD)], "EXECUTE waits for LOAD"),
        (
            [(Engine.LOAD, Engine.STORE), (Engine.STORE, Engine.EXECUTE)],
            "LOAD waits for STORE, STORE waits for EXECUTE",
        ),
        (
            [(Engine.STORE, Engine.LOAD), (Engine.STORE, Engine.EXECUTE)],
            "STORE waits for LOAD, STORE waits for EXECUTE",
        ),
    ],
)
def test_who_waits_in_words(pairs, words):
    waiting = sum(1 << 4 * engine + peer for engine, peer in pairs)
    assert describe_waiting(waiting) == words


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ErrorCode.READ_TIMEOUT,
            "the machine stopped with READ_TIMEOUT (code 5) after 3 instructions",
        ),
        (
            ErrorCode.TOKEN_DEADLOCK,
            "the machine stopped with TOKEN_DEADLOCK (code 7) after 3 instructions: "
            "LOAD waits for EXECUTE",
        ),
    ],
)
def test_a_deadlock_names_who_waits(error, message):
    result = RunResult("rtl", error, 3, {}, 0.0, waiting=1 << Engine.EXECUTE)
    assert str(MachineError(result)) == message


def test_a_request_comes_back_as_it_was_written(tmp_path):
    request = Request(
        config=Config(rows=3), image=Path("dram.npy"), programs=(Place(64, 2), Place(1 << 40, 1)),
        reset=True, watchdog=100, noise_seed=7, latency=3, bytes_per_cycle=None,
        stalls=Stalls(r=0.5), faults=(Fault(0, 8, Response.DECERR), Hang("aw", 8, 16, 5)), seed=1,
        max_cycles=None, quiet_cycles=10, check_protocol=True, timeline=True,
        reply=Path("reply.json"), progress=Path("progress"),
    )  # fmt: skip
    request.write(tmp_path / "request.json")
    assert Request.read(tmp_path / "request.json") == request


def test_a_reply_comes_back_as_it_was_written(tmp_path):
    endings = [Ending(4, 1, 2, {"cycles": 9}, [(1, 3)], 0.5, [(2, 5), (4, 0)]), Ending()]
    reply = Reply("it broke", True, endings)
    reply.write(tmp_path / "reply.json")
    assert Reply.read(tmp_path / "reply.json") == reply


@pytest.mark.parametrize(
    "given,simulated",
    [
        (None, 0),
        (32.0, 32),
        (0.1, Fraction(1, 10)),
        (64 / 3, Fraction(64, 3)),
        (1e-6, Fraction(1, 10**6)),
    ],
)
def test_bandwidths_are_simple_fractions(given, simulated):
    """So budgets of beats of 128 bytes fit 64 bits, and the nearest simple fraction is meant."""
    rate = DramTiming(1, given).rate
    assert rate == simulated
    assert 2 * 128 * rate.denominator < 1 << 62


def test_a_bandwidth_next_to_nothing_is_refused():
    with pytest.raises(ValueError, match="bytes_per_cycle must be at least 5.9.*, not 1e-09"):
        fraction(1e-9)
