"""What every processing element does in every cycle of a chain, from the simulated hardware."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from amaranth import Value
from amaranth.sim import Simulator

from hw.execute import ExecuteEngine
from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Dataflow, Execute
from hw.pe import control_layout
from hw.shared import Builder

__all__ = ["Activity", "Tile", "Trace", "record"]

CONFIG = Config(rows=4, columns=4, drain_overlap=1)
WAVES = 6
LIMIT = 1000


@dataclass(frozen=True)
class Tile:
    """One fold of the chain: its dataflow, and its number among those of that dataflow, from 1."""

    dataflow: Dataflow
    number: int


@dataclass(frozen=True, order=True)
class Activity:
    """A processing element does `kind` for fold `tile` of the chain in cycles start to stop - 1."""

    row: int
    column: int
    kind: str  # "load", "multiply" or "drain"
    tile: int
    start: int
    stop: int


@dataclass(frozen=True)
class Trace:
    """A chain as it ran.

    Members
    -------
    rows, columns, waves : int
        Of the array; of each fold.
    tiles : tuple of Tile
    activities : tuple of Activity
        Cycle 0 is the first in which an element takes a stationary operand.
    ws_to_os, os_to_ws : int
        Cycles in which the first element has nothing to multiply between two folds.
    array_cycles : int
        From the first operand fed to the last result written.
    """

    rows: int
    columns: int
    waves: int
    tiles: tuple[Tile, ...]
    activities: tuple[Activity, ...]
    ws_to_os: int
    os_to_ws: int
    array_cycles: int


class _Recorder(Builder):
    """Remembers the processing elements of a design, row after row."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[Any] = []

    def place(self, m: Any, name: str, module: str, make: Any, *, clocked: bool = True) -> Any:
        unit = super().place(m, name, module, make, clocked=clocked)
        if module == "cdmqta_pe":
            self.elements.append(unit)
        return unit


def record() -> Trace:
    """Run WS, OS, and WS of two folds, without a gap, and return what the elements did."""
    samples = _simulate(_chain())
    rows, columns = CONFIG.rows, CONFIG.columns
    tiles = (
        Tile(Dataflow.WS, 1),
        Tile(Dataflow.OS, 1),
        Tile(Dataflow.WS, 2),
        Tile(Dataflow.WS, 3),
    )
    found = []
    for index in range(rows * columns):
        seen = [(arriving[index], held[index]) for arriving, held, _, _ in samples]
        found += _activities(*divmod(index, columns), seen)
    begin = min(item.start for item in found)
    shifted = [
        Activity(a.row, a.column, a.kind, a.tile, a.start - begin, a.stop - begin) for a in found
    ]
    multiplies = [a for a in sorted(shifted) if (a.row, a.column, a.kind) == (0, 0, "multiply")]
    gaps = [after.start - before.stop for before, after in pairwise(multiplies)]
    fed = [cycle for cycle, sample in enumerate(samples) if sample[2]]
    written = [cycle for cycle, sample in enumerate(samples) if sample[3]]
    cycles = written[-1] - fed[0] + 1
    return Trace(rows, columns, WAVES, tiles, tuple(sorted(shifted)), gaps[0], gaps[1], cycles)


def _chain() -> list[Execute]:
    rows, columns = CONFIG.rows, CONFIG.columns
    lies = dict.fromkeys(("left_row_stride", "right_row_stride", "out_row_stride"), 1)
    lies |= dict.fromkeys(("left_block_stride", "right_block_stride", "out_block_stride"), 8)
    ws = {"dataflow": Dataflow.WS, "rows": WAVES, "columns": columns} | lies
    os = {"dataflow": Dataflow.OS, "rows": rows, "reduction": WAVES, "columns": columns} | lies
    return [
        Execute(reduction=rows, **ws),
        Execute(out_base=16, **os),
        Execute(reduction=2 * rows, out_base=32, **ws),
    ]


def _simulate(chain: list[Execute]) -> list[tuple[list[Any], list[Any], int, int]]:
    """Return, for each cycle, the arriving and the held control of each element, fed, written."""
    builder = _Recorder()
    dut = ExecuteEngine(CONFIG, builder)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    count = CONFIG.rows * CONFIG.columns
    samples = []

    async def bench(ctx: Any) -> None:
        for instruction in chain:
            ctx.set(dut.i.payload.as_value(), int.from_bytes(encode(instruction), "little"))
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)
        for _ in range(LIMIT):
            if not ctx.get(dut.busy):
                return
            await ctx.tick()
        raise RuntimeError(f"the chain did not end in {LIMIT} cycles")

    async def watch(ctx: Any) -> None:
        controls = [Value.cast(element.control_in) for element in builder.elements]
        controls += [Value.cast(element.control_out) for element in builder.elements]
        async for _, _, *seen in ctx.tick().sample(*controls, dut.fed, dut.written):
            layout = control_layout(CONFIG)
            words = [layout.from_bits(word) for word in seen[: 2 * count]]
            samples.append((words[:count], words[count:], *seen[2 * count :]))

    simulator.add_testbench(bench)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    return samples


def _activities(row: int, column: int, seen: list[tuple[Any, Any]]) -> list[Activity]:
    """Return what one element did, from its control of each cycle."""
    starts = [(cycle, held.os) for cycle, (_, held) in enumerate(seen) if held.valid and held.first]
    doings: list[tuple[str, int, int]] = []
    for cycle, (arriving, held) in enumerate(seen):
        begun = [number for number, (start, _) in enumerate(starts) if start <= cycle]
        if held.valid:
            doings.append(("multiply", begun[-1], cycle))
        if held.shift_p and not (held.valid and (not held.os or held.last)):
            doings.append(("drain", [n for n in begun if starts[n][1]][-1], cycle))
        following = seen[cycle + 1][0] if cycle + 1 < len(seen) else held
        streams = following.valid and following.os  # `b` moves for a wave that comes next
        if arriving.shift_b and not streams:
            # A fold takes its operand from `b` in the cycle before it multiplies.
            ahead = [n for n, (start, os) in enumerate(starts) if start - 1 > cycle and not os]
            doings.append(("load", ahead[0], cycle))
    found: list[Activity] = []
    for kind, tile, cycle in sorted(doings):
        last = found[-1] if found else None
        if last and (last.kind, last.tile, last.stop) == (kind, tile, cycle):
            found[-1] = Activity(row, column, kind, tile, last.start, cycle + 1)
        else:
            found.append(Activity(row, column, kind, tile, cycle, cycle + 1))
    return found
