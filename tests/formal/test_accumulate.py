"""The accumulator loses no write, whatever follows whatever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth import Cat, Module, Mux, Signal, signed

import hw.accumulate
from hw.accumulate import Accumulate, Lane, operation_layout
from hw.isa.config import Config
from hw.multiply import PRODUCT_BITS
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
        busy, used = (
            line.bit_select(read_address[-1], 1) for line in (dut.half_busy, dut.half_used)
        )
        before, last = Signal(), Signal(3)
        m.d.sync += [before.eq(dut.read_enable), last.eq(read_address)]
        late = used & before & _one_bank(read_address, last)
        m.d.comb += [
            dut.operation.eq(operation),
            dut.read_enable.eq(reads & ~busy & ~late),  # what the store engine has to keep
            dut.read_address.eq(read_address),
        ]
        self._came, self._last = Signal(), Signal(3)
        with m.If(operation.valid):
            m.d.sync += [self._came.eq(1), self._last.eq(operation.address)]
        self._keep_apart(m, operation)
        looks = Signal()
        m.d.sync += looks.eq(dut.read_enable & (read_address == address))
        hit = operation.valid & (operation.address == address)
        # The last column is the last to write, maybe a cycle late.
        under_way = Signal(LATENCY + CONFIG.columns)
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
                self._look_inside(m, operation, column, address, known, total)

    def _keep_apart(self, m: Module, operation: Any) -> None:
        """Assume what the feed keeps: operations right behind one another meet in no bank."""
        before = Signal()
        m.d.sync += before.eq(operation.valid)
        meet = operation.valid & before & _one_bank(operation.address, self._last)
        turn = operation.accumulate & self._came & (operation.address == self._last)
        self.assume(m, Mux(operation.forward, ~operation.valid | turn, ~meet))

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

    def _look_inside(
        self, m: Module, operation: Any, column: int, address: Any, known: Any, total: Any
    ) -> None:
        """Claim where the sum is: in the memory, unless it is late, and at hand if it is the last.

        The last operation that has come is not the last that a column has done, unless it came
        long ago: these claims together are what an induction needs to know of a long silence.
        """
        lane, age = f"dut.lane_{column}", LATENCY + column
        previous = self.tap(m, signed(32), f"{lane}.previous")
        late = self.tap(m, 1, f"{lane}.late")
        done, done_at = Signal(), Signal(3)
        ends = self._later(m, operation.valid, age)
        ends_at = self._later(m, operation.address, age)
        with m.If(ends):
            m.d.sync += [done.eq(1), done_at.eq(ends_at)]
        fresh = Signal(age)
        m.d.sync += fresh.eq(Cat(operation.valid, fresh))
        waits = late & (self._later(m, operation.address, age + 1) == address)
        last = done & (done_at == address)
        name = f"column_{column}"
        held = self._word(m, column, address)
        self.claim(m, f"{name}_holds_its_sum", ~known | waits | (held == total))
        self.claim(m, f"{name}_has_late_sums_at_hand", ~known | ~waits | (previous == total))
        self.claim(m, f"{name}_has_its_last_sum_at_hand", ~known | ~last | (previous == total))
        silent = (done == self._came) & (~done | (done_at == self._last))
        self.claim(m, f"{name}_has_done_what_came", fresh.any() | silent)

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
                    name = f"dut.lane_{column}.bank_{half}{word % 2}.memory[{word // 2}]"
                    m.d.comb += held.eq(self.tap(m, 32, name))
        return held


def _one_bank(one: Any, other: Any) -> Any:
    return (one[-1] == other[-1]) & (one[0] == other[0])


@pytest.fixture(autouse=True)
def any_rescaler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hw.accumulate, "Requantise", AnyRescaler)


def outcome(folder: Path, unit: Any = Accumulate, *, inside: bool = True, **how: Any) -> Outcome:
    return prove(Ledger(unit, inside), folder, **how)


@pytest.mark.formal
def test_no_write_is_lost(tmp_path: Path) -> None:
    """For traces of any length (10-induction), both columns, every address of both halves.

    Operations come freely: any address, accumulate or overwrite, saturating or not, in any cycle;
    but not two in a row in one bank, unless the second adds to the sum of the first (`forward`).
    After each, the memory holds in its row what was accumulated since it was overwritten, and the
    store's port, used while `half_busy` and `half_used` allow, reads that, and spoils nothing. Data
    are 32 bits wide, the halves have 4 words. Assumed: the store engine reads no row whose result
    is on its way (that is the tokens' part); what comes out of the rescaler is anything
    (`AnyRescaler`).
    """
    assert str(outcome(tmp_path, mode="prove", depth=10)) == "PASS"


def test_no_write_is_lost_soon(tmp_path: Path) -> None:
    """The same for every trace of 10 cycles, by the ports alone."""
    assert str(outcome(tmp_path, inside=False, depth=10)) == "PASS"


def test_sums_can_be_read(tmp_path: Path) -> None:
    """The proofs above are not of a port that never reads."""
    assert str(outcome(tmp_path, inside=False, mode="cover", depth=12)) == "PASS"


ACCUMULATE = {
    "never_forwarded": ("lane.commit_forward.eq(commit.forward)", "lane.commit_forward.eq(0)"),
    "always_forwarded": ("lane.commit_forward.eq(commit.forward)", "lane.commit_forward.eq(1)"),
    "read_too_soon": ("length - 2, operation.valid", "length - 3, operation.valid"),
    "read_where_one_is_late": ("length, operation.valid", "length - 1, operation.valid"),
    "old_sum_read_late": ("chain[column + latency - 1]", "chain[column + latency]"),
}
LANE = {
    "no_saturation": ("self.commit_scaled & (exact[32] != exact[31])", "0"),
    "always_saturates": ("self.commit_scaled & (exact", "(exact"),
    "forwards_the_sum_alone": ("previous.eq(new)", "previous.eq(rescale.result)"),
    "one_half": ("(address[-1] == half) & (address[0] == parity)", "(address[0] == parity)"),
    "one_bank": ("(address[-1] == half) & (address[0] == parity)", "(address[-1] == half)"),
    "late_sum_lost": ("late.eq(defers.any())", "late.eq(0)"),
    "late_sum_replaced": ('Mux(here["late"], previous, new)', "new"),
    "written_under_a_read": ('(here["writes"] & ~here["reads"])', 'here["writes"]'),
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
    """The real rescaler, with values that are not scaled, beside a delay."""

    def __init__(self, unit: Any = Requantise) -> None:
        self._unit = unit

    def describe(self, m: Module) -> None:
        m.submodules.dut = dut = self._unit(32)
        value, plain = self.free(m, signed(32), "value"), self.free(m, 1, "plain")
        product, s = self.free(m, signed(PRODUCT_BITS), "product"), self.free(m, 8, "s")
        counts = self.free(m, 1, "counts")
        stages = [Ledger._later(m, counts, age) for age in range(LATENCY + 1)]
        m.d.comb += [
            dut.value.eq(value),
            dut.plain.eq(plain),
            dut.product.eq(product),
            dut.s.eq(s),
            dut.takes.eq(Cat(stages[:LATENCY])),
        ]
        late, age = Ledger._later(m, value, LATENCY), Ledger._later(m, plain, LATENCY)
        unchanged = dut.result == late.as_signed()
        self.claim(m, "unchanged", ~(age & stages[LATENCY]) | unchanged)


def test_an_unscaled_sum_is_unchanged(tmp_path: Path) -> None:
    """For all 2^32 sums, whatever is at the other ports then, before and after.

    The unit is a pipeline of three registers, so 5 cycles from any state are all there is.
    So for operations that are not `scaled`, the two proofs together say: the memory holds the plain
    sum modulo 2^32.
    """
    assert str(prove(Bypass(), tmp_path, depth=5, engine=AT_ONCE)) == "PASS"


def test_a_changed_unscaled_sum_is_found(tmp_path: Path) -> None:
    broken = mutant(
        Requantise,
        ("Mux(self.plain, 1, s)", "s"),
    )
    assert prove(Bypass(broken), tmp_path, depth=6).status == "FAIL"
