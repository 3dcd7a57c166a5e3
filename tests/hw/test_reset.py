"""Reset by the host, at any moment, and the watchdog: nothing of the old program is left."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Absmax, Axis, Dataflow, Engine, Execute, Halt, Load, Memory
from hw.isa.registers import COUNTERS, ErrorCode, Register, Status
from hw.top import Accelerator
from sim import functional
from sim.axi import Hang, Stalls
from sim.dram import AxiDram
from sim.protocol import ProtocolChecker
from tests.marks import nightly

from .bench import simulate
from .machine import CODE, OUT, SIZE, Computer, image, mixed_program, serve

SHAPE = 5, 7, 6


class Rig:
    """An accelerator with DRAM, host and a checker of every AXI rule."""

    def __init__(self, config: Config, dram: np.ndarray, **options) -> None:
        self.dut = Accelerator(config)
        self.host = Computer(self.dut)
        self.dram = dram
        self.memory = AxiDram(dram, bus_bytes=config.bus_bytes, latency=7, **options)
        self._checker = ProtocolChecker(
            bus_bytes=config.bus_bytes, burst_beats=config.burst_beats,
            read_outstanding=config.read_outstanding, write_outstanding=config.write_outstanding,
        )  # fmt: skip

    def run(self, scenario) -> None:
        async def bench(ctx):
            await scenario(ctx, self.host)

        async def dram(ctx):
            await serve(ctx, self.dut, self.memory, self._checker)

        simulate(self.dut, bench, background=[dram])

    def put(self, *program) -> int:
        """Write a program to its place and return its length."""
        code = b"".join(map(encode, program))
        self.dram[CODE : CODE + len(code)] = np.frombuffer(code, np.uint8)
        return len(program)


@pytest.mark.parametrize("seed", [0, *nightly(1)])
@pytest.mark.parametrize("bus, stall", [(8, 0.5), *nightly((8, 0.0), (64, 0.0), (64, 0.5))])
def test_a_program_after_a_reset_at_any_moment_runs_as_after_power_on(
    bus: int, stall: float, seed: int
) -> None:
    config = Config(rows=2, columns=3, bus_bytes=bus)
    program = mixed_program(config, *SHAPE)
    expected = image(config, seed)
    code = b"".join(map(encode, program))
    model = functional.run(config, code, expected, program_address=CODE)
    assert model.error is ErrorCode.NONE
    rig = Rig(config, image(config, seed), stalls=Stalls.everywhere(stall), seed=seed)
    moments = random.Random(f"{bus} {stall} {seed}")

    async def whole(ctx, host) -> dict[str, int]:
        """Run the program to its end and return its counters."""
        rig.dram[:] = image(config, seed)
        length = rig.put(*program)
        assert await host.run(ctx, length) == Status.DONE
        wrong = np.flatnonzero(rig.dram != expected)
        assert not wrong.size, f"byte {wrong[0]:#x} differs"
        return {each.name: await host.counter(ctx, each.name) for each in COUNTERS}

    async def scenario(ctx, host):
        fresh = await whole(ctx, host)
        for _ in range(4):
            await host.start(ctx, len(program))
            await ctx.tick().repeat(moments.randrange(1, fresh["cycles"]))
            await host.reset(ctx)
            assert not rig.memory.pending_reads and not rig.memory.pending_writes
            again = await whole(ctx, host)
            if not stall:  # then the DRAM has no state either, and each cycle is the same
                assert again == fresh

    rig.run(scenario)


LOAD = Load(memory=Memory.INPUT, dram=0, rows=1, columns=2)
EXECUTE = Execute(
    dataflow=Dataflow.WS, rows=1, reduction=1, columns=1, left_row_stride=1, left_block_stride=1,
    right_row_stride=1, right_block_stride=1, out_row_stride=1, out_block_stride=1,
)  # fmt: skip
ABSMAX = Absmax(
    axis=Axis.TENSOR, to_dram=1, dram=OUT, rows=1, columns=1, row_stride=1, block_stride=1
)
CLASSES = {Engine.LOAD: LOAD, Engine.EXECUTE: EXECUTE, Engine.STORE: ABSMAX}
LIMIT = 300


def waiting(engine: Engine, **waits: int):
    """Return that engine's instruction with `wait_` fields."""
    given = CLASSES[engine]
    return type(given)(**{**vars(given), **{f"wait_{peer}": n for peer, n in waits.items()}})


@pytest.mark.parametrize(
    "engine, peers",
    [
        (Engine.LOAD, ("execute",)),
        (Engine.LOAD, ("execute", "store")),
        (Engine.EXECUTE, ("load",)),
        (Engine.EXECUTE, ("store",)),
        (Engine.STORE, ("load", "execute")),
        (Engine.STORE, ("load",)),
    ],
)
def test_a_deadlock_is_found_told_and_counted(engine: Engine, peers: tuple[str, ...]) -> None:
    """Tokens that never come: the code, who waits for whom, and where the cycles went."""
    rig = Rig(Config(rows=2, columns=2), np.zeros(SIZE, np.uint8))
    bits = sum(1 << 4 * engine + Engine[peer.upper()] for peer in peers)

    async def scenario(ctx, host):
        await host.write(ctx, Register.WATCHDOG, LIMIT)
        length = rig.put(waiting(engine, **{peer: 1 for peer in peers}), Halt())
        status = await host.run(ctx, length)
        assert status == Status.ERROR | ErrorCode.TOKEN_DEADLOCK << 8
        assert await host.read(ctx, Register.WAITING) == bits
        counters = {each.name: await host.counter(ctx, each.name) for each in COUNTERS}
        name = engine.name.lower()
        stalls = {key: n for key, n in counters.items() if "_stalled_on_" in key and n}
        assert set(stalls) == {f"{name}_stalled_on_{peer}" for peer in (*peers, "token")}
        # The last that moves is the halt, on its way while the instruction reaches its queue.
        (stalled,) = set(stalls.values())
        assert LIMIT - 4 <= stalled <= LIMIT + 8 < counters["cycles"]
        # A machine that stopped takes no start; a reset clears it all.
        await host.start(ctx, length)
        assert await host.read(ctx, Register.STATUS) == status
        await host.reset(ctx)
        assert await host.read(ctx, Register.WAITING) == 0
        assert await host.run(ctx, rig.put(CLASSES[engine], Halt())) == Status.DONE
        assert await host.read(ctx, Register.WATCHDOG) == LIMIT

    rig.run(scenario)


def test_tokens_are_forgotten() -> None:
    """A program that leaves a token behind, a reset, and one that would need it."""
    rig = Rig(Config(rows=2, columns=2), np.zeros(SIZE, np.uint8))
    sends = Load(**{**vars(LOAD), "signal_execute": 1})

    async def scenario(ctx, host):
        await host.write(ctx, Register.WATCHDOG, LIMIT)
        assert await host.run(ctx, rig.put(sends, Halt())) == Status.DONE
        needs = rig.put(waiting(Engine.EXECUTE, load=1), Halt())
        assert await host.run(ctx, needs) == Status.DONE, "without a reset it is still there"
        assert await host.run(ctx, rig.put(sends, Halt())) == Status.DONE
        await host.reset(ctx)
        needs = rig.put(waiting(Engine.EXECUTE, load=1), Halt())
        status = await host.run(ctx, needs)
        assert status == Status.ERROR | ErrorCode.TOKEN_DEADLOCK << 8

    rig.run(scenario)


def test_without_a_limit_the_machine_waits() -> None:
    rig = Rig(Config(rows=2, columns=2), np.zeros(SIZE, np.uint8))

    async def scenario(ctx, host):
        await host.start(ctx, rig.put(waiting(Engine.STORE, execute=1), Halt()))
        await ctx.tick().repeat(5000)
        assert await host.read(ctx, Register.STATUS) == Status.BUSY
        assert await host.read(ctx, Register.WAITING) == 1 << 4 * Engine.STORE + Engine.EXECUTE
        await host.reset(ctx)
        assert await host.run(ctx, rig.put(ABSMAX, Halt())) == Status.DONE

    rig.run(scenario)


@pytest.mark.parametrize(
    "hang, error",
    [
        (Hang("ar", CODE, CODE + 1), ErrorCode.READ_TIMEOUT),
        (Hang("r", CODE, CODE + 1), ErrorCode.READ_TIMEOUT),
        (Hang("r", 0, 1), ErrorCode.READ_TIMEOUT),
        (Hang("aw", OUT, OUT + 1), ErrorCode.WRITE_TIMEOUT),
        (Hang("w", OUT, OUT + 1), ErrorCode.WRITE_TIMEOUT),
        (Hang("b", OUT, OUT + 1), ErrorCode.WRITE_TIMEOUT),
    ],
    ids=lambda value: getattr(value, "channel", None),
)
def test_a_reset_waits_for_dram_as_long_as_it_takes(hang: Hang, error: ErrorCode) -> None:
    """For ever, where it never answers: then the pin is left."""
    rig = Rig(Config(rows=2, columns=2), np.zeros(SIZE, np.uint8), faults=[hang])

    async def scenario(ctx, host):
        await host.write(ctx, Register.WATCHDOG, LIMIT)
        assert await host.run(ctx, rig.put(LOAD, ABSMAX, Halt())) == Status.ERROR | error << 8
        cycles = await host.counter(ctx, "cycles")
        assert LIMIT < cycles < LIMIT + 100
        with pytest.raises(AssertionError, match="status 0x8 after a reset"):
            await host.reset(ctx, polls=30)
        assert await host.counter(ctx, "cycles") == cycles

    rig.run(scenario)
