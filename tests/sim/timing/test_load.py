"""The load engine of the timing model, in lockstep with that of the hardware."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from dataclasses import dataclass

import pytest
from amaranth import Module, Mux, Signal

from hw.buffer import Buffer
from hw.isa.config import Config
from hw.isa.instructions import Load, Memory
from hw.load import LoadEngine
from hw.shared import Builder
from sim.timing.load import LOAD, step
from sim.timing.wires import NONE

from .lockstep import Drive, compare, pins

INPUTS = (
    "load_valid", "left_read", "right_read", "row_scale_made", "column_scale_made", "update_made",
    "read_burst_ready", "beat_valid",
)  # fmt: skip
OUTPUTS = (
    "load_ready", "read_burst", "beat_ready", "left_write", "right_write", "load_end", "load_busy",
    "load_to_execute", "load_to_store", "load_stalled_on_dram", "load_stalled_on_memory",
)  # fmt: skip
SHAPES = {
    "tiny": Config(),
    "narrow bus": Config(rows=4, columns=8, bus_bytes=4, burst_beats=4, input_depth=8),
    "wide bus": Config(rows=6, columns=4, bus_bytes=32, burst_beats=8, weight_depth=8),
    "odd": Config(rows=3, columns=5, bus_bytes=8, burst_beats=3, input_depth=4, weight_depth=4),
    "one beat": Config(rows=8, columns=2, bus_bytes=4, burst_beats=1, weight_depth=16),
    "equal": Config(rows=8, columns=8, bus_bytes=16, burst_beats=256, input_depth=16),
    "tall": Config(rows=12, columns=5, bus_bytes=4, burst_beats=16, weight_depth=16),
    "2 products": Config(rows=4, columns=4, bus_bytes=16, macs_per_element=2, input_depth=16),
    "4 products": Config(rows=3, columns=8, bus_bytes=8, macs_per_element=4, input_depth=32),
}


def unit(config: Config) -> tuple[Module, dict, dict, Signal]:
    """Return a load engine with the memories it writes to, and its wires."""
    m = Module()
    m.submodules.dut = dut = LoadEngine(config, Builder())
    inputs, outputs = pins(*INPUTS), pins(*OUTPUTS)
    sides = (
        ("left", config.input_depth, config.rows),
        ("right", config.weight_depth, config.columns),
    )
    for name, depth, lanes in sides:
        together, low = config.macs_per_element, config.macs_per_element.bit_length() - 1
        m.submodules[name] = buffer = Buffer(
            depth, 8 * lanes, Builder(), together, wide=name == "left"
        )
        port, read, write = getattr(dut, name), inputs[f"{name}_read"], outputs[f"{name}_write"]
        m.d.comb += [
            buffer.read_enable.eq(read != NONE),
            buffer.read_address.eq((read == 1) << low),
            buffer.write.valid.eq(port.valid),
            buffer.write.p.eq(port.p),
            port.ready.eq(buffer.write.ready),
            write.eq(Mux(port.valid & port.ready, port.p.address[low], NONE)),
        ]
    m.d.comb += [
        dut.i.valid.eq(inputs["load_valid"]),
        dut.bursts.ready.eq(inputs["read_burst_ready"]),
        dut.beats.valid.eq(inputs["beat_valid"]),
        dut.accumulate_scale.ready.eq(~inputs["update_made"][0]),
        dut.row_scale.ready.eq(~inputs["row_scale_made"][0]),
        dut.column_scale.ready.eq(~inputs["column_scale_made"][0]),
        outputs["load_ready"].eq(dut.i.ready),
        outputs["read_burst"].eq(Mux(dut.bursts.valid, dut.bursts.p.beats, 0)),
        outputs["beat_ready"].eq(dut.beats.ready),
        outputs["load_end"].eq(dut.end),
        outputs["load_to_execute"].eq(dut.signal_execute),
        outputs["load_to_store"].eq(dut.signal_store),
        outputs["load_busy"].eq(dut.busy),
        outputs["load_stalled_on_dram"].eq(dut.stalled_on_dram),
        outputs["load_stalled_on_memory"].eq(dut.stalled_on_memory),
    ]
    return m, inputs, outputs, dut.i.p.as_value()


@dataclass
class Shares:
    """Shares of the cycles in which something is there, or in the way; `own` beats come whether
    asked for or not."""

    load: float = 1.0
    bus: float = 1.0
    beat: float = 1.0
    read: float = 0.0
    made: float = 0.0
    own: bool = False

    @classmethod
    def draw(cls, rng: random.Random) -> Shares:
        """Return random ones, often extreme."""
        there = [rng.choice((1.0, 0.9, 0.5, 0.1)) for _ in range(3)]
        hindered = [rng.choice((0.0, 0.1, 0.5, 0.9)) for _ in range(2)]
        return cls(*there, *hindered, rng.random() < 0.2)


def drive(rng: random.Random, loads: int, shares: Shares, seen: Counter, limit: int) -> Drive:
    """Offer the loads in turn, and play the bus and the memories; count what the engine does."""
    number, idle, asked = 0, 0, 0
    inputs = dict.fromkeys(INPUTS, 0) | {"load_index": 0, "left_read": NONE, "right_read": NONE}
    for _ in range(limit):
        if not inputs["load_valid"] and number < loads:
            inputs |= {"load_valid": int(rng.random() < shares.load), "load_index": number}
        inputs["read_burst_ready"] = int(rng.random() < shares.bus)
        if not inputs["beat_valid"] and (asked or shares.own):
            inputs["beat_valid"] = int(rng.random() < shares.beat)
        for side in ("left_read", "right_read"):
            if rng.random() < 0.3:
                inputs[side] = rng.choice((0, 1)) if rng.random() < shares.read else NONE
        for name in ("row_scale_made", "column_scale_made", "update_made"):
            inputs[name] = int(rng.random() < shares.made)
        outputs = yield inputs
        for name, value in outputs.items():
            seen[name] += value > (NONE if name.endswith("write") else 0)
        if inputs["load_valid"] and outputs["load_ready"]:
            number += 1
            inputs["load_valid"] = 0
        if inputs["read_burst_ready"]:
            asked += outputs["read_burst"]
        if inputs["beat_valid"] and outputs["beat_ready"]:
            asked -= 1
            inputs["beat_valid"] = 0
        idle = 0 if outputs["load_busy"] or outputs["read_burst"] or number < loads else idle + 1
        if idle > 8:
            return
    raise AssertionError(f"the engine was not done after {limit} cycles")


def check(
    config: Config, loads: list[Load], shares: Shares, seed: int = 0, limit: int = 100_000
) -> Counter:
    """Run loads in hardware and model; return how often each output was set."""
    module, inputs, outputs, bits = unit(config)
    seen: Counter = Counter()
    given = drive(random.Random(seed), len(loads), shares, seen, limit)
    state = compare(config, module, inputs, outputs, step, LOAD, given, loads, ("load_index", bits))
    assert seen["load_end"] == len(loads)
    assert not any(state.tobytes()), "an engine that is done keeps nothing"
    return seen


def draw(config: Config, rng: random.Random) -> Load:
    """Return a random load: of any memory, around corners of DRAM pages and of memories."""
    bus = config.bus_bytes
    memory = rng.choice((Memory.INPUT, Memory.INPUT, Memory.WEIGHT, Memory.WEIGHT, *Memory))
    size = 4 if memory > Memory.WEIGHT else 1
    rows = rng.choice((1, rng.randint(1, 5), rng.randint(1, 20)))
    columns = size * rng.choice((1, rng.randint(1, 9), rng.randint(1, 80 // size)))
    row_beats, together = -(-columns // bus), config.macs_per_element
    # Words that may be written at once, or look as if they might.
    aligned = {"base": together * rng.randint(0, 9), "row_stride": together * rng.randint(0, 9)}
    aligned |= {"block_stride": rng.choice((1, 1, 1 + 2 * together)), "transpose": 0}
    packed = memory <= Memory.WEIGHT and rng.random() < 0.4
    found = Load(
        memory=memory,
        transpose=rng.randint(0, 1),
        packed=int(packed),
        dram=bus * rng.choice((rng.randint(0, 4096 // bus), 4096 // bus - rng.randint(0, 40))),
        pitch=bus * (row_beats + rng.choice((0, 0, 1, rng.randint(0, 2 * 4096 // bus)))),
        rows=rows,
        columns=columns,
        base=rng.randint(0, 2 * max(config.input_depth, config.weight_depth)),
        row_stride=rng.choice((1, rows, rng.randint(0, 65535))),
        block_stride=rng.choice((1, columns, rng.randint(0, 65535))),
        signal_execute=rng.randint(0, 1),
        signal_store=rng.randint(0, 1),
    )
    wide = together > 1 and rng.random() < 0.5
    return dataclasses.replace(found, **aligned) if wide else found


def random_check(config: Config, seed: int, loads: int = 12) -> Counter:
    """Compare hardware and model on random loads with random hindrances."""
    rng = random.Random(seed)
    chain = [draw(config, rng) for _ in range(loads)]
    return check(config, chain, Shares.draw(rng), seed)


@pytest.mark.parametrize("shape", SHAPES)
def test_random_loads(shape: str) -> None:
    random_check(SHAPES[shape], 1, loads=6)


@pytest.mark.nightly
@pytest.mark.parametrize("shape", SHAPES)
def test_many_random_loads(shape: str) -> None:
    for seed in range(2, 60):
        random_check(SHAPES[shape], seed)


def load(config: Config, memory: Memory, rows: int, columns: int, **more: int) -> Load:
    """Return a load of rows that follow one another without a gap."""
    pitch = -(-columns // config.bus_bytes) * config.bus_bytes
    fields = {"dram": 0, "pitch": pitch, "row_stride": 1, "block_stride": rows}
    return Load(memory=memory, rows=rows, columns=columns, **(fields | more))


@pytest.mark.parametrize("rows", [1, 4, 11])
def test_transposed_loads(rows: int) -> None:
    """Part of a block or several, of one chunk of eight columns or several."""
    config, widths = SHAPES["tiny"], (3, 8, 21)
    chain = [
        load(config, memory, rows, columns, transpose=1, block_stride=columns)
        for columns in widths
        for memory in (Memory.WEIGHT, Memory.INPUT)
    ]
    seen = check(config, chain, Shares())
    words = sum(widths) * -(-rows // 4)
    assert seen["left_write"] == seen["right_write"] == words


@pytest.mark.parametrize("shape", ["tiny", "narrow bus", "wide bus", "odd", "equal"])
@pytest.mark.parametrize("memory", [Memory.INPUT, Memory.WEIGHT])
def test_packed_loads(shape: str, memory: Memory) -> None:
    """Of part of a beat and of several; beats and memories hinder them as others."""
    config, chain = SHAPES[shape], []
    for width in (1, config.bus_bytes, 2 * config.bus_bytes + 1, 5 * config.bus_bytes):
        pitch = -(-width // (2 * config.bus_bytes)) * config.bus_bytes
        chain += [load(config, memory, 3, width, packed=1, pitch=pitch),
                  load(config, memory, 2, width)]  # fmt: skip
    check(config, chain, Shares())
    check(config, chain, Shares(read=0.7, beat=0.5))


@pytest.mark.parametrize("shape", ["tiny", "narrow bus", "wide bus", "odd"])
def test_scale_loads(shape: str) -> None:
    """Entries of part of a word and of several words; those made on the chip go first."""
    config = SHAPES[shape]
    chain = [load(config, Memory.COLUMN_SCALE, 2, 4 * entries) for entries in (1, 7, 17)]
    chain += [load(config, memory, 1, 20) for memory in (Memory.ROW_SCALE, Memory.ACCUMULATE_SCALE)]
    free, hindered = (check(config, chain, Shares(made=made)) for made in (0.0, 0.6))
    assert not free["load_stalled_on_memory"] and hindered["load_stalled_on_memory"]


@pytest.mark.parametrize("shape", ["wide bus", "odd", "equal"])
def test_beats_come_while_words_of_another_size_wait(shape: str) -> None:
    """Each size of word has a gearbox, and memories of one size share theirs."""
    config = SHAPES[shape]
    memories = (Memory.INPUT, Memory.WEIGHT, Memory.ROW_SCALE) * 2
    chain = [load(config, memory, 2, 4 * config.bus_bytes) for memory in memories]
    check(config, chain, Shares())
    check(config, chain, Shares(read=0.7, made=0.7))


@pytest.mark.parametrize(
    "dram, pitch, rows, columns, bursts",
    [
        (0, 64, 2, 64, 1),  # rows of eight beats in one burst of sixteen
        (0, 72, 2, 64, 2),
        (0, 512, 1, 300, 3),  # a row longer than a burst
        (4096 - 24, 64, 1, 64, 2),
        (4096 - 24, 64, 4, 60, 3),
        (4096 - 8, 4096, 3, 16, 6),
    ],
)
def test_rows_are_cut_into_bursts(
    dram: int, pitch: int, rows: int, columns: int, bursts: int
) -> None:
    config = SHAPES["tiny"]
    chain = [load(config, Memory.INPUT, rows, columns, dram=dram, pitch=pitch)]
    assert check(config, chain, Shares())["read_burst"] == bursts


@pytest.mark.parametrize("transpose", [0, 1])
@pytest.mark.parametrize("memory", [Memory.INPUT, Memory.WEIGHT])
def test_words_go_from_bank_to_bank(memory: Memory, transpose: int) -> None:
    """In either or by turns, around the end of the memory too; loads wait while theirs is read."""
    config = SHAPES["tiny"]
    chain = [
        load(config, memory, 8, 9, base=base, transpose=transpose, row_stride=row, block_stride=9)
        for base in (0, 2 * config.input_depth - 3)
        for row in (1, 2)
    ]
    free, hindered = (check(config, chain, Shares(read=read)) for read in (0.0, 0.9))
    assert not free["load_stalled_on_memory"] and hindered["load_stalled_on_memory"]
