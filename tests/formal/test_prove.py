"""The harness itself: a proof that should fail does."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth import Module, Signal

from .mutate import mutant
from .prove import Proof, ProofError, prove


class Counter(Proof):
    """A counter that stops at 10, counts when it likes, and whose claims are parameters."""

    def __init__(self, limit: int = 10, start: int = 0, register: str = "dut.count") -> None:
        self._limit, self._start, self._register = limit, start, register

    def describe(self, m: Module) -> None:
        go = self.free(m, 1, "go")
        m.submodules.dut = dut = Module()
        count = Signal(8)
        with dut.If(go & (count < 10)):
            dut.d.sync += count.eq(count + 1)
        self.claim(m, "within_the_limit", (count >= self._start) & (count <= self._limit))
        self.claim(m, "tapped", self.tap(m, 8, self._register) == count)
        self.reach(m, "ten", count == 10)
        self.reach(m, "limit_and_more", count == self._limit + 1)


def test_what_holds_passes(tmp_path: Path) -> None:
    assert str(prove(Counter(), tmp_path, mode="prove", depth=1)) == "PASS"


@pytest.mark.parametrize("mode", ["bmc", "prove"])
def test_what_fails_late_is_found_with_its_trace(tmp_path: Path, mode: str) -> None:
    found = prove(Counter(limit=9), tmp_path, mode=mode, depth=13)
    assert (found.status, found.claims, found.step) == ("FAIL", ("within_the_limit",), 11)
    assert found.trace.exists()
    assert str(found) == f"FAIL within_the_limit in cycle 11, {found.trace}"


def test_what_fails_too_late_is_not_proven(tmp_path: Path) -> None:
    assert prove(Counter(limit=9), tmp_path, mode="prove", depth=4).status == "UNKNOWN"


def test_the_state_after_the_reset_is_looked_at(tmp_path: Path) -> None:
    """The claim that the counter is one or more would hold for ever, if it held once."""
    assert prove(Counter(start=1), tmp_path, mode="prove", depth=1).status == "UNKNOWN"
    assert prove(Counter(start=1), tmp_path, mode="prove", depth=3).status == "FAIL"


def test_a_goal_out_of_reach_is_named(tmp_path: Path) -> None:
    found = prove(Counter(), tmp_path, mode="cover", depth=14)
    assert (found.status, found.claims) == ("FAIL", ("limit_and_more",))


def test_assumptions_that_exclude_everything_give_no_verdict(tmp_path: Path) -> None:
    class Impossible(Counter):
        def describe(self, m: Module) -> None:
            super().describe(m)
            always = self.free(m, 1, "always")
            self.assume(m, always)
            self.assume(m, ~always)

    with pytest.raises(ProofError, match="no verdict"):
        prove(Impossible(), tmp_path, depth=4)


def test_a_register_that_is_not_there_gives_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(ProofError, match="no verdict"):
        prove(Counter(register="dut.gone"), tmp_path, depth=4)


def test_a_mutation_has_to_apply() -> None:
    with pytest.raises(ValueError, match="Counter has 'no such text' 0 times, not once"):
        mutant(Counter, ("no such text", ""))
