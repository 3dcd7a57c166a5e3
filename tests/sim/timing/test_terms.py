"""The terms that docs/timing.md gives, on small programs: each formula against the model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Dataflow, Execute, Format, Halt, Instruction, Load, Memory, Store
from sim import timing
from sim.result import DramTiming, RunResult
from sw.dataflow import fold_cycles
from sw.tokens import add_tokens

WIDE = Config.preset("paper").replace(rows=32, columns=64)
CONFIGS = {
    "small": Config.preset("small"),
    "paper": Config.preset("paper"),
    "32x64": WIDE,
    "32x64, drains overlapped": WIDE.replace(drain_overlap=1),
    "small, drains overlapped": Config.preset("small").replace(drain_overlap=1),
}
LATENCIES = (30, 60)
"""Long enough that the program is on the chip before the first data come."""

pytestmark = [
    pytest.mark.parametrize("latency", LATENCIES),
    pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS),
]


def run(config: Config, instructions: Sequence[Instruction], latency: int) -> RunResult:
    program = add_tokens(config, [*instructions, Halt()]).instructions
    code = b"".join(map(encode, program))
    return timing.run(config, code, timing=DramTiming(latency), timeline=True)


def when(result: RunResult, index: int) -> dict[str, int]:
    """Return the cycles of the steps of an instruction."""
    return {event.kind: event.cycle for event in result.events if event.index == index}


def up(value: int, size: int) -> int:
    return -(-value // size)


def tile(config: Config, memory: Memory, rows: int, **more: int) -> Load:
    """Return a load of rows of one word, without a gap between them."""
    lanes = config.rows if memory is Memory.INPUT else config.columns
    size = up(lanes, config.bus_bytes) * config.bus_bytes
    fields = {"pitch": size, "columns": lanes, "row_stride": 1, "block_stride": 1} | more
    return Load(memory=memory, dram=0, rows=rows, **fields)


def product(config: Config, dataflow: Dataflow, waves: int) -> Execute:
    """Return one fold."""
    rows, reduction = (waves, config.rows) if dataflow is Dataflow.WS else (config.rows, waves)
    return Execute(
        dataflow=dataflow, rows=rows, reduction=reduction, columns=config.columns,
        left_row_stride=1, left_block_stride=1, right_row_stride=1, right_block_stride=1,
        out_row_stride=1, out_block_stride=1,
    )  # fmt: skip


def fetch(config: Config) -> int:
    return 9 + up(32, config.bus_bytes)


@pytest.mark.parametrize("loads", [1, 2])
def test_start_and_end(config: Config, latency: int, loads: int) -> None:
    result = run(config, [tile(config, Memory.WEIGHT, config.rows)] * loads, latency)
    assert when(result, 0)["start"] == fetch(config) + latency
    behind = -(loads + 1) * 32 % config.bus_bytes // 32
    assert result.counters["cycles"] == when(result, loads - 1)["done"] + 3 + behind


@pytest.mark.parametrize("rows", [1, 7, 16])
def test_load(config: Config, latency: int, rows: int) -> None:
    steps = when(run(config, [tile(config, Memory.WEIGHT, rows)], latency), 0)
    beats = rows * up(config.columns, config.bus_bytes)
    assert steps["done"] - steps["start"] == 6 + latency + beats


@pytest.mark.parametrize("entries", [1, 5, 64, 200])
def test_load_of_column_scales(config: Config, latency: int, entries: int) -> None:
    """As many in a cycle as a beat holds: every configuration here has a multiple in a word."""
    fields = {"rows": 1, "columns": 4 * entries, "block_stride": 1}
    load = Load(memory=Memory.COLUMN_SCALE, dram=0, **fields)
    steps = when(run(config, [load], latency), 0)
    assert config.columns % (config.bus_bytes // 4) == 0
    assert steps["done"] - steps["start"] == 6 + latency + up(4 * entries, config.bus_bytes)


def test_transposed_load(config: Config, latency: int) -> None:
    size = config.transpose_columns
    load = tile(config, Memory.WEIGHT, size, transpose=1, columns=size, pitch=size)
    steps = when(run(config, [load], latency), 0)
    beats = size * up(size, config.bus_bytes)
    assert steps["done"] - steps["start"] == 6 + latency + beats + size


@pytest.mark.parametrize("waves", [3, 64, 100])
@pytest.mark.parametrize("dataflow", Dataflow)
def test_execute(config: Config, latency: int, dataflow: Dataflow, waves: int) -> None:
    words = max(waves, config.rows)
    loads = [tile(config, memory, words) for memory in (Memory.INPUT, Memory.WEIGHT)]
    result = run(config, [*loads, product(config, dataflow, waves)], latency)
    steps = when(result, 2)
    assert steps["start"] == when(result, 1)["done"] + 1
    first = config.rows - 1 if dataflow is Dataflow.WS else 1
    assert steps["read"] - steps["start"] == waves + first
    more = 6 if dataflow is Dataflow.WS else 7
    way = waves + 2 * config.rows + config.columns + more
    assert steps["done"] - steps["start"] == way


@pytest.mark.parametrize("waves", [3, 64, 100])
@pytest.mark.parametrize("after", Dataflow)
@pytest.mark.parametrize("before", Dataflow)
def test_folds(config: Config, latency: int, before: Dataflow, after: Dataflow, waves: int) -> None:
    words = max(waves, config.rows)
    loads = [tile(config, memory, words) for memory in (Memory.INPUT, Memory.WEIGHT)]
    folds = [product(config, each, waves) for each in (before, before, after)]
    result = run(config, [*loads, *folds], latency)
    took = when(result, 4)["read"] - when(result, 3)["read"]
    expected = {
        (Dataflow.WS, Dataflow.WS): fold_cycles(config, Dataflow.WS, waves),
        (Dataflow.OS, Dataflow.OS): fold_cycles(config, Dataflow.OS, waves),
        (Dataflow.WS, Dataflow.OS): waves,
        (Dataflow.OS, Dataflow.WS): waves + config.rows - 1,
    }[before, after]
    if config.drain_overlap:
        assert fold_cycles(config, Dataflow.OS, waves) == max(waves, config.rows)
    else:
        assert fold_cycles(config, Dataflow.OS, waves) == waves + config.rows - 1
    assert took == expected


@pytest.mark.parametrize("form", [Format.INT32, Format.INT8_ROW, Format.INT8_ROW_COLUMN])
def test_store(config: Config, latency: int, form: Format) -> None:
    words = config.rows
    size = 4 * config.columns if form is Format.INT32 else config.columns
    loads = [tile(config, memory, words) for memory in (Memory.INPUT, Memory.WEIGHT)]
    for memory, entries in ((Memory.ROW_SCALE, words), (Memory.COLUMN_SCALE, config.columns)):
        loads.append(Load(memory=memory, dram=0, rows=1, columns=4 * entries, block_stride=1))
    # Rows without a gap are long bursts, so that their number does not limit.
    store = Store(
        format=form, dram=1 << 14, pitch=size, rows=words, columns=config.columns,
        row_stride=1, block_stride=1,
    )  # fmt: skip
    result = run(config, [*loads, product(config, Dataflow.OS, words), store], latency)
    steps = when(result, 5)
    assert steps["start"] == when(result, 4)["done"] + 1
    beats = words * up(size, config.bus_bytes)
    more = 12 if form is Format.INT32 else 15
    if form is Format.INT8_ROW_COLUMN:
        more += 3 * ((words - 1) // 3)  # multiplied twice
    assert steps["done"] - steps["start"] == more + latency + beats
