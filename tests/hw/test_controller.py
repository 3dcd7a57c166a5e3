"""Decode, fetch and interlock."""

import random

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.controller import Controller, Interlock, legal
from hw.isa.config import Config
from hw.isa.encoding import CLASSES, decode, encode
from hw.isa.instructions import (
    INSTRUCTION_BYTES,
    Absmax,
    Axis,
    Engine,
    Halt,
    Instruction,
    InstructionError,
    Load,
    Memory,
    Opcode,
    fields_of,
)
from hw.isa.registers import ErrorCode
from hw.layout import INSTRUCTION_BITS, instruction_layout

from .bench import simulate


class Legal(wiring.Component):
    """`legal` as a unit of its own."""

    word: In(INSTRUCTION_BITS)
    good: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.clock_user = unused = Module()
        tick = Signal()
        unused.d.sync += tick.eq(~tick)
        m.d.comb += self.good.eq(legal(self.word))
        return m


def mutations(seed: int) -> list[int]:
    """Return instruction words: legal ones, and legal ones with a random bit or byte changed."""
    rng = random.Random(seed)
    words = []
    for opcode, cls in CLASSES.items():
        for _ in range(60):
            word = int(opcode)
            for item in fields_of(cls):
                limit = max(item.enum) + 1 if item.enum else 1 << item.bits
                word |= rng.randrange(item.low, limit) << item.offset
            words.append(word)
            words.append(word ^ 1 << rng.randrange(INSTRUCTION_BITS))
            words.append(word ^ 1 << rng.randrange(8))
            for item in fields_of(cls):
                if item.low:  # a size of zero
                    words.append(word & ~(((1 << item.bits) - 1) << item.offset))
    words += [rng.getrandbits(INSTRUCTION_BITS) for _ in range(200)] + [0]
    return words


def decodes(word: int) -> bool:
    try:
        decode(word.to_bytes(INSTRUCTION_BYTES, "little"))
    except InstructionError:
        return False
    return True


def test_hardware_and_software_agree_on_what_is_legal() -> None:
    dut, words = Legal(), mutations(seed=1)
    verdicts = {decodes(word) for word in words}
    assert verdicts == {True, False}, "the mutations cover both"

    async def bench(ctx):
        for word in words:
            ctx.set(dut.word, word)
            await ctx.delay(1e-8)
            assert bool(ctx.get(dut.good)) == decodes(word), hex(word)

    simulate(dut, bench)


@pytest.mark.parametrize("cls", CLASSES.values())
def test_layout_places_every_field_where_the_encoder_does(cls) -> None:
    layout = instruction_layout(cls)
    for item in fields_of(cls):
        assert layout[item.name].offset == item.offset
        assert layout[item.name].width == item.bits
    assert layout.size == 8 * INSTRUCTION_BYTES
    assert layout["opcode"].offset == 0


def test_interlock_takes_the_tokens_an_instruction_waits_for() -> None:
    """Two tokens from EXECUTE and one from STORE; nothing passes before, all are used up after."""
    dut = Interlock(Config(), Engine.LOAD)
    fields = {"memory": Memory.INPUT, "dram": 0, "rows": 1, "columns": 1}
    waits = int.from_bytes(encode(Load(**fields, wait_execute=2, wait_store=1)), "little")

    async def bench(ctx):
        ctx.set(dut.i.p, waits)
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o.ready, 1)

        async def token(*names):
            for name in names:
                ctx.set(getattr(dut, name), 1)
            await ctx.tick()
            for name in names:
                ctx.set(getattr(dut, name), 0)

        assert not ctx.get(dut.o.valid)
        await token("execute")
        await token("store")
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.o.valid), "one token of two"
        ctx.set(dut.stop, 1)
        await token("execute")
        assert not ctx.get(dut.o.valid), "stopped"
        ctx.set(dut.stop, 0)
        assert ctx.get(dut.o.valid)
        # Passing takes three tokens away while one arrives.
        await token("execute")
        assert not ctx.get(dut.o.valid)
        await token("execute", "store")
        assert ctx.get(dut.o.valid), "the token that came while passing was kept"

    simulate(dut, bench)


def test_interlock_tells_whose_tokens_are_missing() -> None:
    """Only while there is an instruction, and the engine would take it."""
    dut = Interlock(Config(), Engine.STORE)
    fields = {"axis": Axis.ROW, "rows": 1, "columns": 1, "row_stride": 1, "block_stride": 1}
    waits = int.from_bytes(encode(Absmax(**fields, wait_load=1, wait_execute=15)), "little")
    load, execute = 1 << Engine.LOAD, 1 << Engine.EXECUTE

    async def bench(ctx):
        ctx.set(dut.i.p, waits)
        for valid, ready in ((0, 0), (0, 1), (1, 0)):
            ctx.set(dut.i.valid, valid)
            ctx.set(dut.o.ready, ready)
            assert ctx.get(dut.waiting) == 0
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o.ready, 1)
        assert ctx.get(dut.waiting) == load | execute
        ctx.set(dut.load, 1)
        await ctx.tick()
        ctx.set(dut.load, 0)
        assert ctx.get(dut.waiting) == execute
        ctx.set(dut.execute, 1)
        for _ in range(14):
            await ctx.tick()
            assert ctx.get(dut.waiting) == execute
        await ctx.tick()
        assert ctx.get(dut.waiting) == 0
        assert ctx.get(dut.o.valid)

    simulate(dut, bench)


class Program:
    """A controller with a program in memory, and engines that take what comes when they may."""

    def __init__(self, *program: Instruction) -> None:
        self.dut = Controller(Config())
        self._code = b"".join(map(encode, program))
        self.length = len(program)

    async def memory(self, ctx) -> None:
        """Take every burst, and give a beat a cycle."""
        dut, bus = self.dut, Config().bus_bytes
        ctx.set(dut.bursts.ready, 1)
        beats: list[int] = []
        while True:
            if ctx.get(dut.bursts.valid):
                first = ctx.get(dut.bursts.p.beat)
                for beat in range(first, first + ctx.get(dut.bursts.p.beats)):
                    word = self._code[bus * beat : bus * (beat + 1)]
                    beats.append(int.from_bytes(word, "little"))
            ctx.set(dut.beats.valid, bool(beats))
            if beats:
                ctx.set(dut.beats.p, beats[0])
                del beats[: ctx.get(dut.beats.ready)]
            await ctx.tick()

    async def start(self, ctx) -> None:
        ctx.set(self.dut.length, self.length)
        ctx.set(self.dut.start, 1)
        await ctx.tick()
        ctx.set(self.dut.start, 0)


LOAD = Load(memory=Memory.INPUT, dram=0, rows=1, columns=1)


def test_a_timeout_stops_at_once_and_keeps_who_waits() -> None:
    """Also with an engine that never becomes idle; what happens later changes nothing."""
    program = Program(Load(**{**vars(LOAD), "wait_store": 1}), Halt())
    dut = program.dut

    async def bench(ctx):
        ctx.set(dut.load.ready, 1)
        await program.start(ctx)
        await ctx.tick().repeat(60)
        waits = 1 << 4 * Engine.LOAD + Engine.STORE
        assert ctx.get(dut.running) and ctx.get(dut.waiting) == waits
        ctx.set(dut.timeout, ErrorCode.TOKEN_DEADLOCK)
        await ctx.tick()
        ctx.set(dut.timeout, 0)
        assert not ctx.get(dut.running) and not ctx.get(dut.done)
        assert ctx.get(dut.error) == ErrorCode.TOKEN_DEADLOCK
        ctx.set(dut.store_signal_load, 1)
        ctx.set(dut.fault, ErrorCode.READ_RESPONSE)
        await ctx.tick().repeat(5)
        assert ctx.get(dut.error) == ErrorCode.TOKEN_DEADLOCK
        assert ctx.get(dut.waiting) == waits
        assert not ctx.get(dut.load.valid), "nothing more reaches an engine"

    simulate(dut, bench, background=[program.memory])


def test_a_timeout_after_an_error_keeps_its_code() -> None:
    """A fault while an engine works, which then never ends."""
    program = Program(LOAD, Halt())
    dut = program.dut

    async def bench(ctx):
        ctx.set(dut.load.ready, 1)
        await program.start(ctx)
        await ctx.tick().repeat(40)
        ctx.set(dut.fault, ErrorCode.WRITE_RESPONSE)
        await ctx.tick()
        ctx.set(dut.fault, 0)
        await ctx.tick().repeat(40)
        assert ctx.get(dut.running), "it waits for its engines"
        ctx.set(dut.timeout, ErrorCode.READ_TIMEOUT)
        await ctx.tick()
        assert not ctx.get(dut.running)
        assert ctx.get(dut.error) == ErrorCode.WRITE_RESPONSE

    simulate(dut, bench, background=[program.memory])


def test_other_errors_wait_until_all_is_idle() -> None:
    program = Program(LOAD, LOAD)
    dut = program.dut

    async def bench(ctx):
        ctx.set(dut.load.ready, 1)
        await program.start(ctx)
        await ctx.tick().repeat(60)
        assert ctx.get(dut.error) == ErrorCode.PROGRAM_END
        assert ctx.get(dut.running)
        ctx.set(dut.idle, 1)
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.running)
        assert ctx.get(dut.dispatched) == 2

    simulate(dut, bench, background=[program.memory])


def test_opcode_zero_is_illegal() -> None:
    assert 0 not in [int(opcode) for opcode in Opcode]
    assert not decodes(0)
    assert decodes(int.from_bytes(encode(Halt()), "little"))
