"""How fast the 64x64 hardware is, in cycles of its RTL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import (
    Dataflow,
    Engine,
    Execute,
    Format,
    Halt,
    Instruction,
    Load,
    Memory,
    Store,
)
from sim import rtl
from sim.result import DramTiming, RunResult
from sw.dataflow import array_cycles
from sw.decide import Objective
from sw.driver import Device
from sw.gemm import GemmResult, run_gemm
from sw.tokens import add_tokens

__all__ = ["hidden_dram", "products", "requantising", "switching", "transposing"]

PAPER = Config.preset("paper")
PRODUCTS = {
    "X.W": (77, 768, 320),
    "dA": (768, 77, 4),
    "to_q": (4096, 320, 320),
    "Q.K^T": (4096, 40, 77),
    "P.V": (4096, 77, 40),
    "16x16 level": (256, 1280, 1280),
    "dB": (320, 77, 4),
    "32x32 level": (1024, 640, 640),
}
UTILISATION = {"32x32 level": 0.97}
"""Least utilisation asked of a product."""
LARGE = ("16x16 level", "32x32 level")
IDEAL_DRAM = DramTiming(latency=1)
REAL_DRAM = DramTiming(latency=60)

Rows = list[tuple[str, str, str, bool | None]]
"""What, measured, goal, and whether what is measured meets it; None where it need not."""
RATE = 0.95
"""Words or rows a cycle, at least, over whole instructions."""


@cache
def product(name: str, timing: DramTiming, objective: Objective) -> GemmResult:
    """Return the run of a product on the RTL; raise AssertionError if a bit is wrong."""
    m, k, n = PRODUCTS[name]
    rng = np.random.default_rng(0)
    a = rng.integers(-127, 128, (m, k), dtype=np.int8)
    b = rng.integers(-127, 128, (k, n), dtype=np.int8)
    result = run_gemm(Device(PAPER, "rtl", timing), a, b, objective=objective)
    assert np.array_equal(result.c, a.astype(np.float64) @ b), f"{name} is wrong"
    return result


def scalesim(m: int, k: int, n: int) -> int:
    """Return the cycles of the better dataflow as SCALE-Sim 3.0.0 counts them (its total, plus 1).

    Folds never overlap: T + 2R + C - 2 a fold in WS, T + R + C - 2 in OS.
    """
    rows, columns = PAPER.rows, PAPER.columns
    across = -(-n // columns)
    ws = -(-k // rows) * across * (m + 2 * rows + columns - 2)
    return min(ws, -(-m // rows) * across * (k + rows + columns - 2))


def products() -> Rows:
    """Return array cycles beside those of the folds, and of the better dataflow under `overlap`.

    Planned for the array, that is, with its start late enough that it does not wait for DRAM on the
    way; behind it, what the plan for latency takes, which is what programs are made with.
    """
    rows = []
    for name, (m, k, n) in PRODUCTS.items():
        best, hidden = (
            min(array_cycles(config, dataflow, m, k, n) for dataflow in Dataflow)
            for config in (PAPER, PAPER.replace(drain_overlap=1))
        )
        result, default = (product(name, IDEAL_DRAM, each) for each in ("array", "latency"))
        found, plain = (each.results[0].counters for each in (result, default))
        ideal = m * k * n / (PAPER.rows * PAPER.columns)
        array, goal = found["array_cycles"], int(1.05 * best + 300)
        least = UTILISATION.get(name, 0)
        rows.append(
            (
                f"{name} {m}x{k}x{n} ({result.programs[0].products[0].dataflow})",
                f"{array:,}, utilisation {ideal / array:.3f}; all {found['cycles']:,}; "
                f"for latency {plain['array_cycles']:,}, all {plain['cycles']:,}",
                f"{goal:,}, {least:.0%} used (folds {best:,}, overlap {hidden:,}, "
                f"SCALE-Sim {scalesim(m, k, n):,})",
                array <= goal and ideal / array >= least,
            )
        )
    return rows


def hidden_dram() -> Rows:
    """Return the total cycles of the large products with a DRAM of the bus width and latency 60."""
    rows = []
    for name in LARGE:
        m, k, n = PRODUCTS[name]
        best = min(array_cycles(PAPER, dataflow, m, k, n) for dataflow in Dataflow)
        found = product(name, REAL_DRAM, "latency").results[0].counters["cycles"]
        rows.append(
            (
                f"{name} {m}x{k}x{n}",
                f"{found:,}, utilisation {m * k * n / (found * PAPER.rows * PAPER.columns):.3f}, "
                f"{found / best - 1:.1%} lost",
                "5 % lost at most",
                found <= 1.05 * best,
            )
        )
    return rows


def run(instructions: Sequence[Instruction], dram_bytes: int = 1 << 20) -> RunResult:
    """Run instructions without tokens on the RTL, tokens added."""
    program = add_tokens(PAPER, [*instructions, Halt()]).instructions
    code = b"".join(map(encode, program))
    dram = np.zeros(dram_bytes + len(code) + PAPER.bus_bytes, np.uint8)
    return rtl.run(PAPER, code, dram, program_address=dram_bytes, timing=IDEAL_DRAM)


def fold(dataflow: Dataflow, index: int) -> Execute:
    """Return one fold of as many waves as the array has rows, on words that `OPERANDS` load."""
    side = PAPER.rows
    return Execute(
        dataflow=dataflow, rows=side, reduction=side, columns=side,
        left_row_stride=1, left_block_stride=1, right_row_stride=1, right_block_stride=1,
        out_base=index * side, out_row_stride=1, out_block_stride=1,
    )  # fmt: skip


OPERANDS = tuple(
    Load(
        memory=memory, dram=0, pitch=PAPER.bus_bytes, rows=PAPER.rows, columns=PAPER.rows,
        row_stride=1, block_stride=1,
    )
    for memory in (Memory.INPUT, Memory.WEIGHT)
)  # fmt: skip


def switching() -> Rows:
    """Return what a fold costs after another, from last operand read to last operand read."""
    ws, os = Dataflow.WS, Dataflow.OS
    side = PAPER.rows
    drain = 0 if PAPER.drain_overlap else side - 1
    rows = []
    for before, after, goal in ((ws, ws, 0), (os, os, drain), (ws, os, 0), (os, ws, side)):
        folds = [fold(each, index) for index, each in enumerate((before, before, after))]
        events = run([*OPERANDS, *folds]).events
        reads = [e.cycle for e in events if e.engine is Engine.EXECUTE and e.kind == "read"]
        took = reads[2] - reads[1]
        rows.append(
            (
                f"{after.name} fold of {side} waves after {before.name}",
                f"{took} cycles, {took - side} of them for the change",
                f"{side} + {goal} at most",
                took <= side + goal,
            )
        )
    return rows


def spans(result: RunResult, engine: Engine) -> list[int]:
    """Return the cycles from start to end of each instruction of an engine."""
    starts = {e.index: e.cycle for e in result.events if e.engine is engine and e.kind == "start"}
    ends = {e.index: e.cycle for e in result.events if e.engine is engine and e.kind == "done"}
    return [ends[index] - starts[index] for index in sorted(starts)]


def transposing() -> Rows:
    """Return the cycles of a plain and a transposed load of 32 tiles."""
    side, tiles = PAPER.rows, 32
    rows = []
    for transpose in (0, 1):
        # Contiguous rows of one tile's width, so that bursts are long in either case.
        load = Load(
            memory=Memory.WEIGHT, transpose=transpose, dram=0, pitch=side,
            rows=tiles * side, columns=side, row_stride=1, block_stride=side,
        )  # fmt: skip
        (took,) = spans(run([load]), Engine.LOAD)
        name = "transposed" if transpose else "plain"
        rows.append(
            (
                f"load of {tiles} {name} tiles of {side}x{side}",
                f"{took:,} cycles, {tiles * side / took:.3f} words a cycle",
                f"{RATE} words a cycle",
                tiles * side / took >= RATE,
            )
        )
    return rows


def requantising() -> Rows:
    """Return the cycles of pass 2: stores of 512 rows of 64 sums, requantised in each way."""
    side, count = PAPER.rows, 8
    entries = 4 * count * side
    sums = replace(fold(Dataflow.WS, 0), rows=count * side)
    left = replace(OPERANDS[0], rows=count * side)
    tables = [
        Load(memory=Memory.ROW_SCALE, dram=0, rows=1, columns=entries, block_stride=1),
        Load(memory=Memory.COLUMN_SCALE, dram=0, rows=1, columns=4 * side, block_stride=1),
    ]
    rows = []
    for form in (Format.INT8_ROW, Format.INT8_COLUMN, Format.INT8_ROW_COLUMN, Format.INT8_TENSOR):
        store = Store(
            format=form, stochastic=1, dram=0x80000, pitch=side, rows=count * side, columns=side,
            row_stride=1, block_stride=1,
        )  # fmt: skip
        (took,) = spans(run([left, OPERANDS[1], *tables, sums, store]), Engine.STORE)
        # A lane has one multiplier, and scales by row and by column are two products.
        goal = RATE / 2 if form is Format.INT8_ROW_COLUMN else RATE
        rows.append(
            (
                f"store {form.name.lower()} of {count * side} rows, stochastic",
                f"{took:,} cycles, {count * side / took:.3f} rows a cycle",
                f"{goal:g} rows a cycle",
                count * side / took >= goal,
            )
        )
    return rows
