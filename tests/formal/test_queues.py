"""Queues: nothing is lost, made up, reordered, or stuck."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth import Module, Signal
from amaranth.lib.fifo import SyncFIFOBuffered

from .mutate import mutant
from .prove import Proof, prove


class Queue(Proof):
    """The queue between dispatch and an engine, and one element of it that is followed.

    The queue moves data and does not look at it, so one bit stands for each of its bits. The
    element that is followed is any one, of any value, so what is shown of it is shown of all.
    """

    WIDTH = 1

    def __init__(self, unit: Any, depth: int) -> None:
        self._unit, self._depth = unit, depth

    def describe(self, m: Module) -> None:
        m.submodules.dut = dut = self._unit(width=self.WIDTH, depth=self._depth)
        m.d.comb += [
            dut.w_en.eq(self.free(m, 1, "w_en")),
            dut.w_data.eq(self.free(m, self.WIDTH, "w_data")),
            dut.r_en.eq(self.free(m, 1, "r_en")),
        ]
        writes, reads = Signal(), Signal()
        balance = Signal(range(4 * self._depth))
        m.d.comb += [writes.eq(dut.w_en & dut.w_rdy), reads.eq(dut.r_en & dut.r_rdy)]
        m.d.sync += balance.eq(balance + writes - reads)
        self.claim(m, "in_is_out_and_level", balance == dut.level)
        self.claim(m, "never_overflows", dut.level <= self._depth)
        self.claim(m, "never_underflows", ~dut.r_rdy | (dut.level != 0))
        self.claim(m, "is_full", ~dut.w_rdy | (dut.level < self._depth))
        # One place may be between the inner memory and the register behind it.
        self.claim(m, "takes_while_there_is_room", dut.w_rdy | (dut.level + 1 >= self._depth))
        waited = Signal()
        m.d.sync += waited.eq((dut.level != 0) & ~reads)
        self.claim(m, "gives_what_it_holds", ~waited | dut.r_rdy)
        self._follow(m, dut, writes, reads, balance)
        wrapped = Signal(range(4 * self._depth))
        m.d.sync += wrapped.eq(wrapped + (reads & ~wrapped.all()))
        self.reach(m, "full", dut.level == self._depth)
        self.reach(m, "wraps", (wrapped > 2 * self._depth) & (dut.level == 0))

    def _follow(self, m: Module, dut: Any, writes: Any, reads: Any, balance: Any) -> None:
        """Follow one element, whichever: it leaves unchanged after all that came before it."""
        chosen = self.free(m, 1, "chosen")
        followed, value = Signal(), Signal(self.WIDTH)
        ahead = Signal.like(balance)
        with m.If(writes & chosen & ~followed):
            m.d.sync += [followed.eq(1), value.eq(dut.w_data), ahead.eq(balance - reads)]
        with m.Elif(reads & followed):
            m.d.sync += [followed.eq(ahead != 0), ahead.eq(ahead - 1)]
        leaves = dut.r_rdy & followed & (ahead == 0)
        self.claim(m, "order_is_kept", ~leaves | (dut.r_data == value))
        self._inside(m, dut, followed & (ahead >= dut.r_rdy), value, ahead, balance)
        self.claim(m, "followed_is_inside", ~followed | (ahead < balance))

    def _inside(
        self, m: Module, dut: Any, waits: Any, value: Any, ahead: Any, balance: Any
    ) -> None:
        """Claim where elements lie, which induction needs: registers of Amaranth's queue."""
        places = self._depth - 1
        words = [self.tap(m, self.WIDTH, f"dut.storage[{index}]") for index in range(places)]
        level = Signal.like(dut.level)
        m.d.comb += level.eq(dut.level - dut.r_rdy)
        self.claim(m, "level_is_kept", self.tap(m, range(places + 1), "dut.inner_level") == level)
        held = Signal(self.WIDTH)
        m.d.comb += held.eq(words[0])
        if places > 1:
            produce, consume = (
                self.tap(m, range(places), f"dut.{name}") for name in ("produce", "consume")
            )
            self.claim(m, "places_are_there", (produce < places) & (consume < places))
            self.claim(m, "places_agree", produce == (consume + level) % places)
            with m.Switch((consume + ahead - dut.r_rdy) % places):
                for index, word in enumerate(words):
                    with m.Case(index):
                        m.d.comb += held.eq(word)
        self.claim(m, "element_is_where_it_should_be", ~waits | (held == value))


@pytest.mark.parametrize("depth", [2, 3, 4, 8, 32])
def test_queue_keeps_order_and_count(tmp_path: Path, depth: int) -> None:
    """For traces of any length (1-induction): what goes in comes out, once, in order, unchanged.

    The level is what went in less what came out, and between zero and the depth. A queue that
    holds something offers it a cycle later at most, and one with two free places takes something.
    """
    proof = Queue(SyncFIFOBuffered, depth)
    assert str(prove(proof, tmp_path, mode="prove", depth=1)) == "PASS"


def test_queue_fills_and_wraps(tmp_path: Path) -> None:
    """The proof above is not of an idle queue: it can be full, and empty after many elements."""
    proof = Queue(SyncFIFOBuffered, 4)
    assert str(prove(proof, tmp_path, mode="cover", depth=16)) == "PASS"


@pytest.mark.parametrize(
    "old, new, claim",
    [
        ("inner_level != inner_depth)", "1)", "is_full"),
        ("~self.r_rdy | self.r_en)", "self.r_en)", "gives_what_it_holds"),
        ("consume.eq(_incr(consume, inner_depth))", "consume.eq(consume)", "places_agree"),
    ],
    ids=["overflow", "stuck", "order"],
)
def test_a_broken_queue_is_found(tmp_path: Path, old: str, new: str, claim: str) -> None:
    found = prove(Queue(mutant(SyncFIFOBuffered, (old, new)), 4), tmp_path, depth=12)
    assert found.status == "FAIL" and claim in found.claims, found
