"""Decode, fetch and interlock."""

import random

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.controller import Interlock, legal
from hw.isa.config import Config
from hw.isa.encoding import CLASSES, decode, encode
from hw.isa.instructions import (
    INSTRUCTION_BYTES,
    Engine,
    Halt,
    InstructionError,
    Load,
    Memory,
    Opcode,
    fields_of,
)
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


def test_opcode_zero_is_illegal() -> None:
    assert 0 not in [int(opcode) for opcode in Opcode]
    assert not decodes(0)
    assert decodes(int.from_bytes(encode(Halt()), "little"))
