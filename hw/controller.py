"""Decode, dispatch and interlock: from fetched words to instructions whose turn it is."""

from __future__ import annotations

from typing import Any

from amaranth import C, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import exact_log2

from .bursts import burst_layout
from .fetch import Fetch
from .isa.config import Config
from .isa.encoding import CLASSES
from .isa.instructions import Engine, Instruction, Opcode, fields_of
from .isa.registers import ErrorCode
from .layout import INSTRUCTION_BITS, WAITING_BITS, instruction_layout

__all__ = ["Controller", "Interlock", "legal"]


def legal(word: Any) -> Any:
    """Return whether a word decodes: known opcode, values of enumerations, the rest zero."""
    found: Any = C(0)
    for cls in CLASSES.values():
        view = instruction_layout(cls)(word)
        good = (view.opcode == cls.opcode) & (view.reserved == 0)
        for item in fields_of(cls):
            if item.enum is not None and len(item.enum) < 1 << item.bits:
                good &= view[item.name] <= max(item.enum)
            if item.low:
                good &= view[item.name] >= item.low
        found |= good
    return found


class Interlock(wiring.Component):
    """Hold one engine's instructions until their tokens are there.

    Parameters
    ----------
    engine : Engine
        Whose instructions these are; the other two send the tokens.

    Members
    -------
    i, o : In, Out(streams of an instruction word)
    load, execute, store : In(1)
        A token from that engine (the own engine's is not used).
    stop : In(1)
        Let nothing more through.
    waiting : Out, one bit an engine
        The engine would take the instruction that is here, but tokens of that peer are missing.
    """

    def __init__(self, config: Config, engine: Engine) -> None:
        self._config, self._engine = config, engine
        members = {
            "i": In(stream.Signature(INSTRUCTION_BITS)),
            "o": Out(stream.Signature(INSTRUCTION_BITS)),
            "stop": In(1),
            "waiting": Out(len(Engine)),
        }
        members |= {peer.name.lower(): In(1) for peer in Engine}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        header = instruction_layout(Instruction)(self.i.p)
        asked, ready, passes = Signal(), Signal(), Signal()
        enough = []
        for peer in Engine:
            if peer == self._engine:
                continue
            name = peer.name.lower()
            wanted = header[f"wait_{name}"]
            tokens = Signal(self._config.token_bits, name=f"tokens_from_{name}")
            m.d.sync += tokens.eq(tokens + getattr(self, name) - Mux(passes, wanted, 0))
            enough.append(tokens >= wanted)
            m.d.comb += self.waiting[peer].eq(asked & ~enough[-1])
        m.d.comb += [
            asked.eq(self.i.valid & self.o.ready),
            ready.eq(enough[0] & enough[1] & ~self.stop),
            self.o.p.eq(self.i.p),
            self.o.valid.eq(self.i.valid & ready),
            self.i.ready.eq(self.o.ready & ready),
            passes.eq(self.o.valid & self.o.ready),
        ]
        return m


class Controller(wiring.Component):
    """Run one program from start to halt.

    Members
    -------
    start, base, length : In
        See `Fetch`.
    bursts : Out; beats : In
        To and from the read master.
    load, execute, store : Out(streams of an instruction word)
        Instructions whose tokens are taken.
    {engine}_signal_{peer} : In(1)
        A token from one engine to another.
    idle : In(1)
        All engines are idle and every write is answered.
    fault : In(ErrorCode)
        An error outside, zero for none: stop with this code.
    timeout : In(ErrorCode)
        An error of the watchdog, zero for none: stop with this code at once, since what is to be
        finished may never be. It does not replace the code of an error before.
    running, done : Out(1); error : Out(8); dispatched : Out(24)
        State: running a program, reached its halt, error code, instructions dispatched so far.
    waiting : Out
        As Register.WAITING, of the cycle before; with an error, of the cycle of its cause.
    retired : Out(1)
        An instruction is dispatched, for the counter.

    Timing
    ------
    One instruction is dispatched a cycle. A halt waits until everything before it is complete.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        members: dict[str, wiring.Member] = {
            "start": In(1),
            "base": In(config.address_bits - exact_log2(config.bus_bytes)),
            "length": In(24),
            "bursts": Out(stream.Signature(burst_layout(config))),
            "beats": In(stream.Signature(8 * config.bus_bytes)),
            "idle": In(1),
            "fault": In(8),
            "timeout": In(8),
            "running": Out(1),
            "done": Out(1),
            "error": Out(8),
            "dispatched": Out(24),
            "waiting": Out(WAITING_BITS),
            "retired": Out(1),
        }
        for engine in Engine:
            name = engine.name.lower()
            members[name] = Out(stream.Signature(INSTRUCTION_BITS))
            for peer in Engine:
                if peer != engine:
                    members[f"{name}_signal_{peer.name.lower()}"] = In(1)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.fetch = fetch = Fetch(self._config)
        m.d.comb += [
            fetch.start.eq(self.start),
            fetch.base.eq(self.base),
            fetch.length.eq(self.length),
        ]
        connect(m, fetch.bursts, wiring.flipped(self.bursts))
        connect(m, wiring.flipped(self.beats), fetch.beats)
        stop = Signal()
        m.d.comb += stop.eq(self.error != 0)
        queues = {engine: self._queue(m, engine, stop) for engine in Engine}
        with m.If(~stop):
            for engine in Engine:
                gate = m.submodules[f"{engine.name.lower()}_interlock"]
                m.d.sync += self.waiting.word_select(engine, 4).eq(gate.waiting)
        self._dispatch(m, fetch, queues)
        return m

    def _queue(self, m: Module, engine: Engine, stop: Signal) -> SyncFIFOBuffered:
        """Put a queue and an interlock in front of an engine."""
        name = engine.name.lower()
        queue = SyncFIFOBuffered(width=INSTRUCTION_BITS, depth=self._config.queue_depth)
        gate = Interlock(self._config, engine)
        m.submodules[f"{name}_queue"] = queue
        m.submodules[f"{name}_interlock"] = gate
        m.d.comb += [
            gate.i.p.eq(queue.r_data),
            gate.i.valid.eq(queue.r_rdy),
            queue.r_en.eq(gate.i.ready),
            gate.stop.eq(stop),
        ]
        for peer in Engine:
            if peer != engine:
                token = getattr(self, f"{peer.name.lower()}_signal_{name}")
                m.d.comb += getattr(gate, peer.name.lower()).eq(token)
        connect(m, gate.o, wiring.flipped(getattr(self, name)))
        return queue

    def _dispatch(self, m: Module, fetch: Fetch, queues: dict[Engine, SyncFIFOBuffered]) -> None:
        """Decode each instruction once and put it into its engine's queue, or end the program."""
        word = fetch.o.p
        opcode = Signal(8)
        good, moves, empty, ending, decoding = (Signal() for _ in range(5))
        m.d.comb += [
            opcode.eq(word[:8]),
            good.eq(legal(word)),
            self.retired.eq(moves),
            empty.eq(~Cat(queue.level for queue in queues.values()).any()),
            decoding.eq(self.running & ~ending),
            # What was fetched behind the end is thrown away.
            fetch.o.ready.eq(moves | ~decoding),
        ]
        with m.If(moves):
            m.d.sync += self.dispatched.eq(self.dispatched + 1)
        with m.If(self.start):
            m.d.sync += [self.running.eq(1), self.done.eq(0), self.dispatched.eq(0)]
        with m.Elif(self.running & (self.timeout != 0)):
            m.d.sync += [self.running.eq(0), self.done.eq(0), ending.eq(0)]
            with m.If(~self.error.any()):
                m.d.sync += self.error.eq(self.timeout)
        with m.Elif(decoding & (self.fault != 0)):
            m.d.sync += [self.error.eq(self.fault), ending.eq(1)]
        with m.Elif(decoding & (self.dispatched == self.length)):
            m.d.sync += [self.error.eq(ErrorCode.PROGRAM_END), ending.eq(1)]
        with m.Elif(decoding & fetch.o.valid & ~good):
            m.d.sync += [self.error.eq(ErrorCode.ILLEGAL_INSTRUCTION), ending.eq(1)]
        with m.Elif(decoding & fetch.o.valid & (opcode == Opcode.HALT)):
            with m.If(empty & self.idle):
                m.d.comb += moves.eq(1)
                m.d.sync += [self.done.eq(1), ending.eq(1)]
        with m.Elif(decoding & fetch.o.valid):
            for engine, queue in queues.items():
                codes = [cls.opcode for cls in CLASSES.values() if cls.engine == engine]
                with m.If(opcode.matches(*codes) & queue.w_rdy):
                    m.d.comb += [moves.eq(1), queue.w_en.eq(1)]
        # Engines finish what they are at, also after an error, so that the bus is left clean.
        with m.Elif(ending & self.idle & fetch.idle):
            m.d.sync += [self.running.eq(0), ending.eq(0)]
        for queue in queues.values():
            m.d.comb += queue.w_data.eq(word)
