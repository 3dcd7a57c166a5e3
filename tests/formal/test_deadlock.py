"""Three engines, their queues and interlocks: a program that is legal in its order never stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.fifo import SyncFIFOBuffered

from hw.controller import Interlock
from hw.isa.config import Config
from hw.isa.instructions import Engine, Instruction
from hw.layout import instruction_layout

from .mutate import mutant
from .prove import Proof, prove

CONFIG = Config(queue_depth=2, token_bits=3)
STEP = data.StructLayout(
    {
        "engine": 2,
        "wait": data.ArrayLayout(2, len(Engine)),
        "signal": data.ArrayLayout(1, len(Engine)),
    }
)
"""What matters of an instruction: whose it is, what it waits for, whom it tells."""


class Machine(Proof):
    """Dispatch, queues, interlocks, and engines that take any time for each instruction.

    The program is a symbol: any engines, waits of up to three tokens, any signals. An engine holds
    two instructions: one may be read while the one before is written. EXECUTE tells LOAD between
    the two, everything else is told at the end. So tokens come as early, as late, and as much
    between one another as the real engines send them.

    Parameters
    ----------
    length : int
        Instructions. The counters hold one token of each, so that none can overflow.
    legal : bool
        Assume that the program is legal: run in its order, one instruction after the other, each
        finds its tokens (what `sim.tokens` checks and `sw.tokens` makes).
    """

    def __init__(self, length: int, legal: bool, interlock: Any = Interlock) -> None:
        self._length, self._legal, self._interlock = length, legal, interlock

    def describe(self, m: Module) -> None:
        program = [self.symbol(m, STEP, f"step_{index}") for index in range(self._length)]
        for step in program:
            self.assume(m, step.engine < len(Engine))
        legal = self._is_legal(m, program)
        if self._legal:
            self.assume(m, legal)
        place = Signal(range(self._length + 1))
        step = Signal(STEP)
        with m.Switch(place):
            for index, each in enumerate(program):
                with m.Case(index):
                    m.d.comb += step.eq(each)
        sent = {(a, b): Signal(name=f"{a.name}_{b.name}") for a in Engine for b in Engine}
        moves, works = Signal(len(Engine)), Signal(len(Engine))
        accepted = Signal(len(Engine))
        for engine in Engine:
            m.submodules[f"queue_{engine.name}"] = queue = SyncFIFOBuffered(
                width=STEP.size, depth=CONFIG.queue_depth
            )
            m.d.comb += [
                queue.w_data.eq(step),
                queue.w_en.eq((place < self._length) & (step.engine == engine)),
                accepted[engine].eq(queue.w_en & queue.w_rdy),
            ]
            passes, busy = self._engine(m, engine, queue, sent)
            # An element may be on its way to the head of the queue.
            settling = (queue.level != 0) & ~queue.r_rdy
            m.d.comb += [moves[engine].eq(passes | settling), works[engine].eq(busy)]
        m.d.sync += place.eq(place + accepted.any())
        finished = (place == self._length) & ~Cat(moves, works).any() & self._empty(m)
        # If nothing moves and no engine works, nothing ever will: no token can come any more.
        goes_on = Cat(moves, works, accepted).any()
        self.claim(m, "goes_on", finished | goes_on)
        self.reach(m, "finishes", finished & legal)
        self.reach(m, "gets_stuck", ~finished & ~goes_on)

    def _is_legal(self, m: Module, program: list[Any]) -> Signal:
        """Return whether each instruction finds its tokens when run in the program's order."""
        pairs = {(a, b): 0 for a in Engine for b in Engine}
        legal = []
        for index, step in enumerate(program):
            for me in Engine:
                mine = step.engine == me
                for peer in Engine:
                    waits = Mux(mine, step.wait[peer], 0)
                    if peer == me:
                        legal.append(~mine | ((step.wait[peer] == 0) & ~step.signal[peer]))
                        continue
                    there = pairs[peer, me]
                    legal.append(waits <= there)
                    left = Signal(4, name=f"left_{index}_{peer.name}_{me.name}")
                    m.d.comb += left.eq(there - waits)
                    pairs[peer, me] = left
            for me in Engine:
                for peer in Engine:
                    told = (step.engine == me) & step.signal[peer]
                    there = Signal(4, name=f"there_{index}_{me.name}_{peer.name}")
                    m.d.comb += there.eq(pairs[me, peer] + told)
                    pairs[me, peer] = there
        good = Signal(name="legal")
        m.d.comb += good.eq(Cat(legal).all())
        return good

    def _engine(self, m: Module, engine: Engine, queue: Any, sent: dict) -> tuple[Signal, Signal]:
        """Connect an interlock and two places of an engine; return whether it takes, and works."""
        name = engine.name.lower()
        gate = self._interlock(CONFIG, engine)
        m.submodules[f"interlock_{name}"] = gate
        head = STEP(queue.r_data)
        header = instruction_layout(Instruction)(gate.i.p)
        reads, writes = self.free(m, 1, f"{name}_reads"), self.free(m, 1, f"{name}_writes")
        reading, writing = Signal(name=f"{name}_reading"), Signal(name=f"{name}_writing")
        read_step, write_step = Signal(STEP), Signal(STEP)
        passes, advances, ends = Signal(), Signal(), Signal()
        m.d.comb += [
            gate.i.valid.eq(queue.r_rdy),
            queue.r_en.eq(gate.i.ready),
            passes.eq(gate.o.valid & gate.o.ready),
            ends.eq(writing & writes),
            advances.eq(reading & reads & (~writing | ends)),
            gate.o.ready.eq(~reading | advances),
        ]
        for peer in Engine:
            early = (engine, peer) == (Engine.EXECUTE, Engine.LOAD)
            told = advances & read_step.signal[peer] if early else ends & write_step.signal[peer]
            m.d.comb += [
                header[f"wait_{peer.name.lower()}"].eq(head.wait[peer]),
                sent[engine, peer].eq(told),
                getattr(gate, peer.name.lower()).eq(sent[peer, engine]),
            ]
        m.d.sync += [
            reading.eq((reading & ~advances) | passes),
            writing.eq((writing & ~ends) | advances),
        ]
        with m.If(passes):
            m.d.sync += read_step.eq(head)
        with m.If(advances):
            m.d.sync += write_step.eq(read_step)
        return passes, reading | writing

    @staticmethod
    def _empty(m: Module) -> Any:
        levels = [m.submodules[f"queue_{engine.name}"].level for engine in Engine]
        return ~Cat(*levels).any()


@pytest.mark.formal
def test_a_legal_program_never_stops(tmp_path: Path) -> None:
    """For every legal program of 4 instructions and every duration of each, 17 cycles: enough
    for four that each wait for the one before.

    Until everything is finished, in each cycle an instruction is dispatched, passes its
    interlock, or is at work. A state in which none of this holds would last for ever.
    """
    assert str(prove(Machine(4, legal=True), tmp_path, depth=17)) == "PASS"


def test_a_short_legal_program_never_stops(tmp_path: Path) -> None:
    """The same for 3 instructions and 13 cycles."""
    assert str(prove(Machine(3, legal=True), tmp_path, depth=13)) == "PASS"


def test_an_illegal_program_can_stop(tmp_path: Path) -> None:
    """The proof above is not empty: without the assumption a deadlock is reached, and a legal
    program also finishes."""
    assert str(prove(Machine(3, legal=False), tmp_path, mode="cover", depth=13)) == "PASS"


def test_an_interlock_that_loses_tokens_is_found(tmp_path: Path) -> None:
    change = ("getattr(self, name) -", "(getattr(self, name) & ~passes) -")
    proof = Machine(3, legal=True, interlock=mutant(Interlock, change))
    found = prove(proof, tmp_path, depth=14)
    assert found.status == "FAIL" and found.claims == ("goes_on",), found
