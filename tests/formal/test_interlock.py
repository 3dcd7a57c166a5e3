"""Interlocks: no token is lost, made up or owed, and nothing waits longer than for its tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth import Module, Signal

from hw.controller import Interlock
from hw.isa.config import Config
from hw.isa.instructions import Engine, Instruction
from hw.layout import INSTRUCTION_BITS, instruction_layout

from .mutate import mutant
from .prove import Proof, prove

LEDGER = 16
"""Bits of the ledger: a trace that the proof follows has fewer than 2^16 tokens under way."""


class Tokens(Proof):
    """An interlock beside a ledger of tokens sent and not yet taken.

    Parameters
    ----------
    guarantee : bool
        Assume what the compiler guarantees (`sw.tokens`): never more tokens of a pair are under
        way than the counter holds.
    """

    def __init__(self, unit: Any, engine: Engine, bits: int, guarantee: bool) -> None:
        self._unit, self._engine = unit, engine
        self._bits, self._guarantee = bits, guarantee

    def describe(self, m: Module) -> None:
        m.submodules.dut = dut = self._unit(Config(token_bits=self._bits), self._engine)
        word = self.free(m, INSTRUCTION_BITS, "word")
        offered, taken, stop = (self.free(m, 1, name) for name in ("offered", "taken", "stop"))
        passes, enough = Signal(), []
        m.d.comb += [
            dut.i.p.eq(word),
            dut.i.valid.eq(offered),
            dut.o.ready.eq(taken),
            dut.stop.eq(stop),
            getattr(dut, self._engine.name.lower()).eq(self.free(m, 1, "own")),
            passes.eq(dut.o.valid & dut.o.ready),
        ]
        header = instruction_layout(Instruction)(word)
        for peer in Engine:
            if peer != self._engine:
                name = peer.name.lower()
                enough.append(self._ledger(m, dut, name, header[f"wait_{name}"], passes))
        self.claim(m, "the_word_is_unchanged", ~dut.o.valid | (dut.o.p == word))
        self.claim(m, "valid_iff_tokens", dut.o.valid == (offered & enough[0] & enough[1] & ~stop))
        self.claim(m, "both_sides_agree", passes == (offered & dut.i.ready))

    def _ledger(self, m: Module, dut: Any, peer: str, wanted: Any, passes: Signal) -> Signal:
        """Keep the tokens of one peer by hand; return whether there are enough to pass."""
        sent = self.free(m, 1, f"sent_{peer}")
        ledger = Signal(LEDGER, name=f"ledger_{peer}")
        after = Signal(LEDGER + 1, name=f"after_{peer}")
        kept = self.tap(m, self._bits, f"dut.tokens_from_{peer}")
        enough = Signal(name=f"enough_{peer}")
        limit = (1 << (self._bits if self._guarantee else LEDGER)) - 1
        m.d.comb += [
            getattr(dut, peer).eq(sent),
            after.eq(ledger + sent - (passes * wanted)),
            enough.eq(wanted <= (ledger if self._guarantee else kept)),
        ]
        m.d.sync += ledger.eq(after)
        # A taken token that is not there would make `after` negative, which is no sum here.
        self.assume(m, (ledger + sent <= limit + passes * wanted))
        self.claim(m, f"{peer}_owes_nothing", ~passes | (wanted <= ledger))
        self.claim(m, f"{peer}_is_kept", kept == ledger[: self._bits])
        self.claim(m, f"{peer}_fits", ledger <= limit)
        self.reach(m, f"{peer}_loses_tokens", kept != ledger)
        return enough


SIZES = [(Engine.LOAD, 2), (Engine.EXECUTE, 5), (Engine.STORE, 8)]


@pytest.mark.parametrize("engine, bits", SIZES)
def test_tokens_are_kept_under_the_guarantee(tmp_path: Path, engine: Engine, bits: int) -> None:
    """For traces of any length (2-induction): counter = sent - taken, and an instruction passes in
    the very cycle in which its tokens have all come (sent in the cycle before or earlier), no stop
    is on and the engine is ready.

    Assumed: the compiler's guarantee. Then the counter neither overflows nor underflows.
    """
    proof = Tokens(Interlock, engine, bits, guarantee=True)
    assert str(prove(proof, tmp_path, mode="prove", depth=2)) == "PASS"


@pytest.mark.parametrize("engine, bits", SIZES)
def test_no_token_is_owed_whatever_comes(tmp_path: Path, engine: Engine, bits: int) -> None:
    """For traces of any length (2-induction) with fewer than 2^16 tokens under way, without the
    guarantee: the counter is what is under way modulo 2^bits.

    So too many tokens are lost, 2^bits at a time, and the engine waits; but it never takes a
    token that was not sent, so no race comes of it.
    """
    proof = Tokens(Interlock, engine, bits, guarantee=False)
    assert str(prove(proof, tmp_path, mode="prove", depth=2)) == "PASS"


def test_the_guarantee_is_needed(tmp_path: Path) -> None:
    """Without it tokens are lost within 6 cycles (cover); with it they are not."""
    (tmp_path / "without").mkdir()
    (tmp_path / "with").mkdir()
    without = Tokens(Interlock, Engine.EXECUTE, 2, guarantee=False)
    assert str(prove(without, tmp_path / "without", mode="cover", depth=6)) == "PASS"
    guaranteed = Tokens(Interlock, Engine.EXECUTE, 2, guarantee=True)
    found = prove(guaranteed, tmp_path / "with", mode="cover", depth=6)
    assert found.status == "FAIL"
    assert set(found.claims) == {"load_loses_tokens", "store_loses_tokens"}


MUTATIONS = {
    "no_interlock": (("enough[0] & enough[1] & ~self.stop", "~self.stop"), True),
    "one_peer_only": (("enough[0] & enough[1]", "enough[0]"), True),
    "one_too_few": (("tokens >= wanted", "tokens + 1 >= wanted"), True),
    "one_too_many": (("tokens >= wanted", "tokens > wanted"), True),
    "not_stopped": (("enough[1] & ~self.stop", "enough[1]"), True),
    "lost_while_passing": (("getattr(self, name) -", "(getattr(self, name) & ~passes) -"), True),
    "taken_while_waiting": (("Mux(passes, wanted, 0)", "Mux(self.o.valid, wanted, 0)"), True),
    "owed": (("tokens >= wanted", "tokens + 1 >= wanted"), False),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_interlock_is_found(tmp_path: Path, name: str) -> None:
    change, guarantee = MUTATIONS[name]
    proof = Tokens(mutant(Interlock, change), Engine.EXECUTE, 2, guarantee)
    found = prove(proof, tmp_path, depth=6)
    assert found.status == "FAIL" and found.trace.exists(), found
