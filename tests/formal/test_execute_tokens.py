"""EXECUTE tells LOAD that operands are free: in program order, once, neither early nor never."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal

from hw.execute import ExecuteEngine
from hw.isa.config import Config
from hw.isa.instructions import Execute
from hw.layout import instruction_layout
from hw.shared import Builder

from .prove import Proof

CONFIG = Config(
    rows=2, columns=2, input_depth=4, weight_depth=4, output_depth=4, accumulate_scale_depth=4
)
LARGEST = 3
"""Rows, reduction and columns of an instruction: up to four folds of up to three waves."""


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
        taken = dut.i.valid & dut.i.ready
        number = self.symbol(m, 4, "number")
        accepted = self._count(m, taken, "accepted")
        read, written = self._count(m, dut.read_end, "read"), self._count(m, dut.end, "written")
        told = self._count(m, dut.signal_load, "told")
        # How many tokens come before that of instruction `number`, and whether there is one.
        before, all_of_them = Signal(5), Signal(5)
        is_there, tells, scales, any_scaled = (Signal() for _ in range(4))
        with m.If(taken):
            m.d.sync += all_of_them.eq(all_of_them + word.signal_load)
            with m.If(accepted == number):
                m.d.sync += [tells.eq(word.signal_load), scales.eq(word.scale), is_there.eq(1)]
            with m.If(accepted < number):
                m.d.sync += before.eq(before + word.signal_load)
            with m.If(accepted <= number):
                m.d.sync += any_scaled.eq(any_scaled | word.scale)
        free = Mux(scales, written + dut.end, read + dut.read_end) > number
        self.claim(m, "not_early", ~is_there | free | (told + dut.signal_load <= before))
        self.claim(m, "not_too_many", told + dut.signal_load <= all_of_them)
        due = before + tells
        settled = self._held(m, is_there & (written > number), 2)
        self.claim(m, "told_when_written", ~settled | (told >= due))
        settled = self._held(m, is_there & ~any_scaled & (read > number), 2)
        self.claim(m, "told_when_read", ~settled | (told >= due))
        self.claim(m, "busy_while_inside", dut.busy | (written == accepted))
        self.reach(m, "three_told", (told == 3) & (written == accepted))
        self.reach(m, "waits_for_the_scaled", any_scaled & ~scales & (read > number) & ~written)

    @staticmethod
    def _count(m: Module, event: Any, name: str) -> Signal:
        count = Signal(5, name=name)
        m.d.sync += count.eq(count + event)
        return count

    @staticmethod
    def _held(m: Module, condition: Any, cycles: int) -> Signal:
        """Return whether a condition held in the last `cycles` cycles, too."""
        for _ in range(cycles):
            later = Signal()
            m.d.sync += later.eq(condition)
            condition = later
        return condition
