"""The accumulator loses no write, whatever follows whatever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth import Cat, Module, Mux, Signal, signed

import hw.accumulate
from hw.accumulate import Accumulate, Lane, operation_layout
from hw.isa.config import Config
from hw.requantise import Requantise
from hw.shared import Builder

from .mutate import mutant
from .prove import Outcome, Proof, prove

CONFIG = Config(rows=2, columns=2, output_depth=4)
LATENCY = 3
"""Cycles from a sum to its addition: docs/pipeline.md, u+R+4 to u+R+7."""


class AnyRescaler(Requantise):
    """Stands for every rescaler of the same latency.

    It hands on what it is given. As the proof lets any sums come, any results come out of it, those
    of the real one with any scales among them; and nothing but `result` depends on it.
    """

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        value = self.value
        for stage in range(self.LATENCY - 1):
            later = Signal(signed(32), name=f"stage_{stage}", reset_less=True)
            m.d.sync += later.eq(value)
            value = later
        result = Signal(signed(32), reset_less=True)
        m.d.sync += result.eq(value)
        m.d.comb += self.result.eq(result)
        return m


class Ledger(Proof):
    """The accumulator beside a ledger of one output row, whichever."""

    def __init__(self, unit: Any, inside: bool) -> None:
        self._unit, self._inside = unit, inside

    def describe(self, m: Module) -> None:
        m.submodules.dut = dut = self._unit(CONFIG, Builder())
        operation = self.free(m, operation_layout(CONFIG), "operation")
        address = self.symbol(m, 3, "address")
        reads, read_address = self.free(m, 1, "reads"), self.free(m, 3, "read_address")
        busy = dut.half_busy.bit_select(read_address[-1], 1)
        m.d.comb += [
            dut.operation.eq(operation),
            dut.read_enable.eq(reads & ~busy),  # what the store engine has to keep
            dut.read_address.eq(read_address),
        ]
        looks = Signal()
        m.d.sync += looks.eq(dut.read_enable & (read_address == address))
        hit = operation.valid & (operation.address == address)
        # The last column is the last to write.
        under_way = Signal(LATENCY + CONFIG.columns - 1)
        m.d.sync += under_way.eq(Cat(hit, under_way))
        whole = ~(dut.read_enable & (read_address == address) & under_way.any())
        self.assume(m, whole)  # tokens keep the store engine from results that are on their way
        for column in range(CONFIG.columns):
            value = self.free(m, signed(32), f"sum_{column}")
            m.d.comb += dut.sums.word_select(column, 32).eq(value)
            known, total = self._account(m, hit, operation, value, column)
            seen = dut.read_data.word_select(column, 32).as_signed()
            before, before_known = Signal(signed(32)), Signal()
            m.d.sync += [before.eq(total), before_known.eq(known)]
            correct = ~(looks & before_known) | (seen == before)
            self.claim(m, f"column_{column}_reads_its_sum", correct)
            self.reach(m, f"column_{column}_is_read", looks & before_known & (before == 100))
            if self._inside:
                held = self._word(m, column, address)
                self.claim(m, f"column_{column}_holds_its_sum", ~known | (held == total))

    def _account(
        self, m: Module, hit: Any, operation: Any, value: Signal, column: int
    ) -> tuple[Signal, Signal]:
        """Return whether the row was ever overwritten, and what was accumulated since."""
        flags = self._later(m, Cat(hit, operation.accumulate, operation.scaled), LATENCY + column)
        hits, accumulates, saturates = flags
        value = self._later(m, value, LATENCY).as_signed()
        known, total = Signal(), Signal(signed(32))
        exact, limited = Signal(signed(33)), Signal(signed(32))
        low, high = -(1 << 31), (1 << 31) - 1
        m.d.comb += [
            exact.eq(total + value),
            limited.eq(Mux(exact > high, high, Mux(exact < low, low, exact))),
        ]
        with m.If(hits & ~accumulates):
            m.d.sync += [known.eq(1), total.eq(value)]
        with m.Elif(hits):
            m.d.sync += total.eq(Mux(saturates, limited, exact))
        return known, total

    @staticmethod
    def _later(m: Module, value: Any, cycles: int) -> Any:
        for _ in range(cycles):
            later = Signal(len(value))
            m.d.sync += later.eq(value)
            value = later
        return value

    def _word(self, m: Module, column: int, address: Any) -> Signal:
        """Return what the memory of a column holds at `address`."""
        held = Signal(signed(32))
        with m.Switch(address):
            for index in range(2 * CONFIG.output_depth):
                half, word = divmod(index, CONFIG.output_depth)
                with m.Case(index):
                    name = f"dut.lane_{column}.half_{half}.memory[{word}]"
                    m.d.comb += held.eq(self.tap(m, 32, name))
        return held


@pytest.fixture(autouse=True)
def any_rescaler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hw.accumulate, "Requantise", AnyRescaler)


def outcome(folder: Path, unit: Any = Accumulate, *, inside: bool = True, **how: Any) -> Outcome:
    return prove(Ledger(unit, inside), folder, **how)


@pytest.mark.formal
def test_no_write_is_lost(tmp_path: Path) -> None:
    """For traces of any length (6-induction), both columns, every address of both halves.

    Operations come freely: any address, accumulate or overwrite, saturating or not, in any cycle.
    After each, the memory holds in its row what was accumulated since it was overwritten, and the
    store's port, used while `half_busy` allows, reads that, and spoils nothing. Data are 32 bits
    wide, the halves have 4 words. Assumed: the store engine reads no row whose result is on its way
    (that is the tokens' part); what comes out of the rescaler is anything (`AnyRescaler`).
    """
    assert str(outcome(tmp_path, mode="prove", depth=6)) == "PASS"


def test_no_write_is_lost_soon(tmp_path: Path) -> None:
    """The same for every trace of 10 cycles, by the ports alone."""
    assert str(outcome(tmp_path, inside=False, depth=10)) == "PASS"


def test_sums_can_be_read(tmp_path: Path) -> None:
    """The proofs above are not of a port that never reads."""
    assert str(outcome(tmp_path, inside=False, mode="cover", depth=12)) == "PASS"


ACCUMULATE = {
    "never_forwarded": ("before_valid & (before == self.operation.address)", "0"),
    "forwarded_across_a_gap": ("before_valid & (before ==", "(before =="),
    "forwarded_from_another_row": ("(before == self.operation.address)", "1"),
    "read_too_soon": ("self._config.columns + Requantise.LATENCY", "self._config.columns"),
    "old_sum_read_late": ("chain[column + latency - 1]", "chain[column + latency]"),
}
LANE = {
    "no_saturation": ("self.commit_scaled & (exact[32] != exact[31])", "0"),
    "always_saturates": ("self.commit_scaled & (exact", "(exact"),
    "forwards_the_sum_alone": ("previous.eq(new)", "previous.eq(rescale.result)"),
    "one_half": ("self.commit_valid & (self.commit_address[-1] == index)", "self.commit_valid"),
}


@pytest.mark.parametrize("name", [*ACCUMULATE, *LANE])
def test_a_broken_accumulator_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    unit = Accumulate
    if name in LANE:
        monkeypatch.setattr(hw.accumulate, "Lane", mutant(Lane, LANE[name]))
    else:
        unit = mutant(Accumulate, ACCUMULATE[name])
    found = outcome(tmp_path, unit, inside=False, depth=12)
    assert found.status == "FAIL" and found.trace.exists(), found


AT_ONCE = "smtbmc --nomem z3 -- --noincr"


class Bypass(Proof):
    """The real rescaler, bypassed, beside a delay."""

    def __init__(self, unit: Any = Requantise) -> None:
        self._unit = unit

    def describe(self, m: Module) -> None:
        m.submodules.dut = dut = self._unit(32)
        value, bypass = self.free(m, signed(32), "value"), self.free(m, 1, "bypass")
        m.d.comb += [
            dut.value.eq(value),
            dut.bypass.eq(bypass),
            dut.scale.eq(self.free(m, dut.scale.shape(), "scale")),
        ]
        late, age = Ledger._later(m, value, LATENCY), Ledger._later(m, bypass, LATENCY)
        self.claim(m, "unchanged", ~age | (dut.result == late.as_signed()))


def test_an_unscaled_sum_is_unchanged(tmp_path: Path) -> None:
    """For all 2^32 sums, whatever is at the other ports then, before and after.

    The unit is a pipeline of three registers, so 5 cycles from any state are all there is.
    So without `scaled` the two proofs together say: the memory holds the plain sum modulo 2^32.
    """
    assert str(prove(Bypass(), tmp_path, depth=5, engine=AT_ONCE)) == "PASS"


def test_a_changed_unscaled_sum_is_found(tmp_path: Path) -> None:
    broken = mutant(
        Requantise,
        ("(half ^ sign)", "half"),
    )
    assert prove(Bypass(broken), tmp_path, depth=6).status == "FAIL"
