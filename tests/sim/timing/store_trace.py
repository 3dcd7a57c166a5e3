"""What the store engine of the hardware does, cycle by cycle, in rough surroundings."""

from __future__ import annotations

import random
from typing import Any

from amaranth.sim import Simulator

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Absmax, Axis, Format, Instruction, Store
from hw.shared import Builder
from hw.store import StoreEngine
from sim.timing.wires import NONE

OUTPUTS = (
    "store_ready", "store_read", "write_burst", "write_beat", "row_scale_made",
    "column_scale_made", "update_made", "store_end", "store_to_load", "store_to_execute",
    "store_busy", "store_stalled_on_dram", "store_stalled_on_memory",
)  # fmt: skip
PHASE = 100
"""Cycles until the surroundings change their manner."""

Cycle = tuple[dict[str, Any], dict[str, int]]
"""Inputs and outputs of a cycle, by the names of the wires."""


def random_config(rng: random.Random) -> Config:
    """Return a small configuration, the bus narrower or wider than a word of sums."""
    return Config(
        rows=rng.choice((2, 3, 4)),
        columns=rng.choice((2, 3, 4, 5, 8)),
        bus_bytes=rng.choice((4, 8, 16, 32)),
        output_depth=rng.choice((4, 16)),
        row_scale_depth=16,
        column_scale_depth=4,
        accumulate_scale_depth=16,
        burst_beats=rng.choice((1, 2, 5, 16)),
        write_outstanding=rng.choice((1, 2, 8)),
    )


def random_program(config: Config, rng: random.Random, count: int) -> list[Instruction]:
    """Return instructions of one or several kinds, mostly short."""
    stores = rng.choice((0.0, 0.3, 0.5, 1.0))
    axes = rng.choice((tuple(Axis), (Axis.COLUMN,), (Axis.ROW, Axis.COLUMN)))
    return [
        _store(config, rng) if rng.random() < stores else _absmax(config, rng, axes)
        for _ in range(count)
    ]


def _matrix(config: Config, rng: random.Random) -> dict[str, int]:
    lanes = config.columns
    longest = rng.choice((1, 3, 3, 12))
    return {
        "rows": rng.randint(1, longest),
        "columns": rng.choice((1, lanes - 1, lanes, lanes + 1, 2 * lanes, 3 * lanes + 1)),
        "base": rng.randrange(2 * config.output_depth),
        "row_stride": rng.choice((0, 1, 3, config.output_depth, 0xFFFF)),
        "block_stride": rng.choice((0, 1, config.output_depth)),
        "signal_load": rng.randrange(2),
        "signal_execute": rng.randrange(2),
    }


def _store(config: Config, rng: random.Random) -> Store:
    matrix, bus = _matrix(config, rng), config.bus_bytes
    form = rng.choice((Format.INT32, *Format))
    row_bytes = matrix["columns"] * (4 if form is Format.INT32 else 1)
    # Without a gap, with one, and with one that looks like none within a page.
    pitch = -(-row_bytes // bus) * bus + rng.choice((0, 0, bus, 4096, 4096 - bus))
    dram = rng.randrange(1 << 16) // bus * bus
    return Store(format=form, dram=dram, pitch=pitch, **matrix)


def _absmax(config: Config, rng: random.Random, axes: tuple[Axis, ...]) -> Absmax:
    flags = ("scaled", "merge", "to_dram", "to_scales", "to_updates")
    return Absmax(
        axis=rng.choice(axes),
        dram=rng.randrange(1 << 16) // config.bus_bytes * config.bus_bytes,
        **{name: int(rng.random() < 0.4) for name in flags},
        **_matrix(config, rng),
    )


class Surroundings:
    """The controller, the output memory and the write channel, which change their manner."""

    def __init__(self, config: Config, rng: random.Random, count: int) -> None:
        self.config, self.rng, self.count = config, rng, count
        self.index = 0
        self.beats = 0
        self.bursts: list[tuple[int, int]] = []
        """Of each in flight, the beats up to its end, and the cycles to its answer."""
        self.given = 0

    def inputs(self, cycle: int) -> dict[str, Any]:
        """Return the inputs of a cycle."""
        rng = self.rng
        if cycle % PHASE == 0:
            self.chances = {
                "store_valid": rng.choice((0.05, 0.5, 1.0)),
                "half_busy": rng.choice((0.0, 0.0, 0.3, 0.9)),
                "half_used": rng.choice((0.0, 0.5, 1.0)),
                "write_burst_ready": rng.choice((0.1, 0.5, 1.0, 1.0)),
                "write_beat_ready": rng.choice((0.1, 0.5, 1.0, 1.0)),
            }
            self.delay = rng.choice((1, 5, 60))
        chance = {name: rng.random() < p for name, p in self.chances.items()}
        answered = bool(self.bursts) and self.bursts[0][0] <= self.beats
        answered = answered and self.bursts[0][1] <= cycle
        return {
            "store_valid": int(self.index < self.count and chance["store_valid"]),
            "store_index": min(self.index, self.count - 1),
            **{
                name: [int(rng.random() < self.chances[name]) for _ in range(2)]
                for name in ("half_busy", "half_used")
            },
            "write_burst_ready": int(
                chance["write_burst_ready"] and len(self.bursts) < self.config.write_outstanding
            ),
            "write_beat_ready": int(chance["write_beat_ready"]),
            "answered": int(answered),
        }

    def take(self, cycle: int, given: dict[str, Any], seen: dict[str, int]) -> None:
        """Take note of what happened in a cycle."""
        if given["answered"]:
            self.bursts.pop(0)
        if seen["write_burst"] and given["write_burst_ready"]:
            self.given += seen["write_burst"]
            self.bursts.append((self.given, cycle + 1 + self.rng.randrange(self.delay)))
        self.beats += seen["write_beat"] and given["write_beat_ready"]
        self.index += given["store_valid"] and seen["store_ready"]


def trace(config: Config, program: list[Instruction], rng: random.Random, limit: int):
    """Run a program on the hardware, to its end; return every `Cycle`."""
    dut = StoreEngine(config, Builder())
    around = Surroundings(config, rng, len(program))
    words = [int.from_bytes(encode(item), "little") for item in program]
    cycles: list[Cycle] = []

    async def bench(ctx: Any) -> None:
        idle = 0
        for cycle in range(limit):
            given = around.inputs(cycle)
            _drive(ctx, dut, given, words)
            seen = _sample(ctx, dut)
            cycles.append((given, seen))
            around.take(cycle, given, seen)
            idle = idle + 1 if around.index == len(program) and not seen["store_busy"] else 0
            if idle > 5:
                return
            await ctx.tick()
        raise AssertionError(f"the program has not ended within {limit} cycles")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return cycles


def _drive(ctx: Any, dut: StoreEngine, given: dict[str, Any], words: list[int]) -> None:
    ctx.set(dut.i.valid, given["store_valid"])
    ctx.set(dut.i.p, words[given["store_index"]])
    for name in ("half_busy", "half_used"):
        ctx.set(getattr(dut, name), given[name][0] | given[name][1] << 1)
    ctx.set(dut.bursts.ready, given["write_burst_ready"])
    ctx.set(dut.beats.ready, given["write_beat_ready"])
    ctx.set(dut.answered, given["answered"])


def _sample(ctx: Any, dut: StoreEngine) -> dict[str, int]:
    half = ctx.get(dut.read_address[-1]) if ctx.get(dut.read_enable) else NONE
    values = (
        ctx.get(dut.i.ready),
        half,
        ctx.get(dut.bursts.p.beats) if ctx.get(dut.bursts.valid) else 0,
        ctx.get(dut.beats.valid),
        1 - ctx.get(dut.row_scale.ready),
        1 - ctx.get(dut.column_scale.ready),
        ctx.get(dut.accumulate_scale.valid),
        ctx.get(dut.end),
        ctx.get(dut.signal_load),
        ctx.get(dut.signal_execute),
        ctx.get(dut.busy),
        ctx.get(dut.stalled_on_dram),
        ctx.get(dut.stalled_on_memory),
    )
    return dict(zip(OUTPUTS, values, strict=True))
