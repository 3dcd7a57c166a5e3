"""EXECUTE tells LOAD that operands are free: in program order, once, neither early nor never."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth import Instance, Module, Mux, Signal

import hw.execute
from hw.accumulate import Accumulate
from hw.execute import ExecuteEngine
from hw.feed import Feed
from hw.isa.config import Config
from hw.isa.instructions import Execute
from hw.layout import instruction_layout
from hw.shared import Builder
from hw.walk import Walk

from .mutate import mutant
from .prove import Proof, prove

CONFIG = Config(
    rows=2, columns=2, input_depth=4, weight_depth=4, output_depth=4, accumulate_scale_depth=4
)
LARGEST = 3
"""Rows, reduction and columns of an instruction: up to four folds of up to three waves."""
AHEAD = 4
"""Instructions between last read and last write at once."""

LIMIT = 64
"""More than the engine holds."""


def with_free_outputs(unit: type, *names: str) -> type:
    """Return a stand-in for a unit: it does anything at the named outputs, and nothing else."""

    class Free(unit):
        def elaborate(self, platform: Any) -> Module:
            m = Module()
            for name in names:
                target = self
                for part in name.split("."):
                    target = getattr(target, part)
                m.submodules["any_" + name.replace(".", "_")] = Instance(
                    "$anyseq", p_WIDTH=len(target), o_Y=target
                )
            return m

    return Free


@pytest.fixture
def any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let instructions be taken, read and written at any time: more than walk and feed do."""
    monkeypatch.setattr(hw.execute, "Walk", with_free_outputs(Walk, "i.ready"))
    monkeypatch.setattr(hw.execute, "Feed", with_free_outputs(Feed, "read_end"))
    monkeypatch.setattr(hw.execute, "Accumulate", with_free_outputs(Accumulate, "written_end"))


class Tokens(Proof):
    """The whole engine, seen from its ports, and one of its instructions, whichever.

    What the array computes does not matter for tokens, and Yosys removes it.
    """

    def __init__(self, unit: Any = ExecuteEngine) -> None:
        self._unit = unit

    def describe(self, m: Module) -> None:
        m.submodules.dut = dut = self._unit(CONFIG, Builder())
        word = self.free(m, instruction_layout(Execute), "word")
        for size in ("rows", "reduction", "columns"):
            self.assume(m, (word[size] != 0) & (word[size] <= LARGEST))
        m.d.comb += [dut.i.p.eq(word), dut.i.valid.eq(self.free(m, 1, "offered"))]
        taken, told = dut.i.valid & dut.i.ready, dut.signal_load
        # How many instructions are inside that are not yet read, or written; tokens not yet sent.
        unread = self._balance(m, taken, dut.read_end, "unread")
        unwritten = self._balance(m, taken, dut.end, "unwritten")
        owed = self._balance(m, taken & word.signal_load, told, "owed")
        # What is written was read, and what is read was taken; few are in between.
        self.assume(m, ~dut.read_end | (unread != 0))
        self.assume(m, ~dut.end | (unwritten > unread))
        self.assume(m, unwritten <= unread + AHEAD)
        self.claim(m, "not_too_many", ~told | (owed != 0))
        self.claim(m, "busy_while_inside", dut.busy | (unwritten == 0))
        self._follow(m, dut, taken, word, (unread, unwritten, owed))
        tokens = Signal(range(LIMIT))
        m.d.sync += tokens.eq(tokens + (told & (tokens != 3)))
        self.reach(m, "three_told", (tokens == 3) & (unwritten == 0))

    def _follow(self, m: Module, dut: Any, taken: Any, word: Any, inside: tuple) -> None:
        """Follow one instruction, whichever, from when it is taken."""
        chosen = self.free(m, 1, "chosen")
        followed, tells, scales, held_back = (Signal() for _ in range(4))
        names = ("read_in", "written_in", "told_in")
        lefts = [Signal(range(LIMIT), name=name) for name in names]
        left = dict(zip(names, lefts, strict=True))
        for count, event, total in zip(
            lefts, (dut.read_end, dut.end, dut.signal_load), inside, strict=True
        ):
            with m.If(taken & chosen & ~followed):
                own = word.signal_load if total is inside[2] else 1
                m.d.sync += count.eq(total - event + own)
            with m.Elif(count != 0):
                m.d.sync += count.eq(count - event)
        # Behind one that scales tokens pile up, and leave one a cycle.
        scaled = Signal()
        m.d.sync += scaled.eq(scaled | (taken & word.scale))
        with m.If(taken & chosen & ~followed):
            m.d.sync += [
                followed.eq(1),
                tells.eq(word.signal_load),
                scales.eq(word.scale),
                held_back.eq(scaled | word.scale),
            ]
        read, written = left["read_in"] <= dut.read_end, left["written_in"] <= dut.end
        mine = followed & tells & (left["told_in"] == 1)
        early = mine & dut.signal_load & ~Mux(scales, written, read)
        self.claim(m, "not_early", ~early)
        settled = self._held(m, followed & (left["written_in"] == 0), 2)
        self.claim(m, "told_when_written", ~settled | (left["told_in"] == 0))
        settled = self._held(m, followed & ~held_back & (left["read_in"] == 0), 2)
        self.claim(m, "told_when_read", ~settled | (left["told_in"] == 0))
        waits = followed & held_back & ~scales & (left["read_in"] == 0) & (left["told_in"] != 0)
        self.reach(m, "waits_for_the_scaled", waits)

    @staticmethod
    def _balance(m: Module, comes: Any, goes: Any, name: str) -> Signal:
        balance = Signal(range(LIMIT), name=name)
        m.d.sync += balance.eq(balance + comes - goes)
        return balance

    @staticmethod
    def _held(m: Module, condition: Any, cycles: int) -> Signal:
        """Return whether a condition held in the last `cycles` cycles, too."""
        for _ in range(cycles):
            later = Signal()
            m.d.sync += later.eq(condition)
            condition = later
        return condition


def test_tokens_follow_the_program(tmp_path: Path, any_time: None) -> None:
    """For every trace of 8 cycles: any instructions, read and written in order but at any time.

    The token of an instruction is not sent before its last operand is read (with `scale`: its
    last result written) nor before those of the instructions ahead of it; it is sent once, and at
    most two cycles after its last result is written, or, while nothing scales, after its last
    operand is read. Assumed: at most AHEAD instructions are between last read and last write.
    """
    assert str(prove(Tokens(), tmp_path, depth=8)) == "PASS"


@pytest.mark.formal
def test_tokens_follow_the_program_longer(tmp_path: Path, any_time: None) -> None:
    """The same for every trace of 10 cycles."""
    assert str(prove(Tokens(), tmp_path, depth=10)) == "PASS"


def test_the_real_engine_tells(tmp_path: Path) -> None:
    """The proof above is not of an idle engine: the real one sends three tokens, and holds one
    back behind an instruction that scales."""
    assert str(prove(Tokens(), tmp_path, mode="cover", depth=26)) == "PASS"


MUTATIONS = {
    "scales_are_read_by_then": ("Mux(scales, written, read)", "read"),
    "told_when_written": ("Mux(scales, written, read)", "written"),
    "told_without_a_signal": ("inside.r_en & signals", "inside.r_en"),
    "told_twice": ("(oldest_done > 0)", "(oldest_done > -1)"),
    "told_too_late": ("(oldest_done > 0)", "(oldest_done > 1)"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_broken_tokens_are_found(tmp_path: Path, any_time: None, name: str) -> None:
    broken = mutant(ExecuteEngine, MUTATIONS[name])
    found = prove(Tokens(broken), tmp_path, depth=12)
    assert found.status == "FAIL" and found.trace.exists(), found
