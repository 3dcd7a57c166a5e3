"""An independent checker: runs three engines with given delays, and looks for unordered accesses.

Nothing of `sw.tokens` or `sim.footprint` is used. An engine starts its instructions in order, each
when its tokens are there, without waiting for the one before to be done: more freedom than any
hardware takes. They finish in order.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hw.isa.config import Config
from hw.isa.instructions import (
    Absmax,
    Axis,
    Dataflow,
    Engine,
    Execute,
    Format,
    Instruction,
    Load,
    Memory,
    Store,
)

Word = tuple[str, int]


@dataclass
class Touched:
    """Words by when the instruction has finished with them: `early` with its last operand."""

    reads_early: set[Word]
    reads: set[Word]
    writes: set[Word]


def _words(memory: str, base: int, rows: int, columns: int, lanes: int, row: int, block: int):
    return {
        (memory, base + r * row + c // lanes * block) for r in range(rows) for c in range(columns)
    }


def _dram(each: Load | Store, size: int) -> set[Word]:
    return {
        ("dram", each.dram + r * each.pitch + b)
        for r in range(each.rows)
        for b in range(size * each.columns)
    }


def touched(config: Config, each: Instruction) -> Touched:
    """Return every word an instruction reads and writes, element by element."""
    if isinstance(each, Load):
        lanes = {Memory.INPUT: config.rows, Memory.WEIGHT: config.columns,
                 Memory.ACCUMULATE_SCALE: 4, Memory.ROW_SCALE: 4,
                 Memory.COLUMN_SCALE: 4 * config.columns}[each.memory]  # fmt: skip
        rows, columns = each.rows, each.columns
        if each.transpose:
            rows, columns = columns, rows
        target = _words(each.memory.name, each.base, rows, columns, lanes,
                        each.row_stride, each.block_stride)  # fmt: skip
        return Touched(set(), _dram(each, 1), target)
    if isinstance(each, Execute):
        return _touched_by_execute(config, each)
    sums = _words("OUTPUT", each.base, each.rows, each.columns, config.columns,
                  each.row_stride, each.block_stride)  # fmt: skip
    if isinstance(each, Absmax):
        return _touched_by_absmax(config, each, sums)
    if each.format in (Format.INT8_ROW, Format.INT8_ROW_COLUMN):
        sums |= {("ROW_SCALE", each.row_scale + r) for r in range(each.rows)}
    if each.format is Format.INT8_TENSOR:
        sums |= {("ROW_SCALE", each.row_scale)}
    if each.format in (Format.INT8_COLUMN, Format.INT8_ROW_COLUMN):
        blocks = -(-each.columns // config.columns)
        sums |= {("COLUMN_SCALE", each.column_scale + b) for b in range(blocks)}
    return Touched(set(), sums, _dram(each, 4 if each.format is Format.INT32 else 1))


def _touched_by_absmax(config: Config, each: Absmax, reads: set[Word]) -> Touched:
    count = {Axis.ROW: each.rows, Axis.COLUMN: each.columns, Axis.TENSOR: 1}[each.axis]
    kept, scales, lanes = "ROW_MAXIMUM", "ROW_SCALE", 1
    if each.axis is Axis.COLUMN:
        kept, scales, lanes = "COLUMN_MAXIMUM", "COLUMN_SCALE", config.columns
    maxima = {(kept, each.scale_base * lanes + i) for i in range(count)}
    writes = set(maxima)
    if each.scaled:
        reads |= {("ROW_SCALE", each.row_scale + r) for r in range(each.rows)}
    if each.merge:
        reads |= maxima
    if each.to_dram:
        writes |= {("dram", each.dram + b) for b in range(4 * count)}
    if each.to_scales:
        writes |= {(scales, each.scale_base + i // lanes) for i in range(count)}
    if each.to_updates:
        reads |= {("ROW_SCALE", each.factor)}
        writes |= {("ACCUMULATE_SCALE", each.update_base + i) for i in range(count)}
    return Touched(set(), reads, writes)


def _touched_by_execute(config: Config, each: Execute) -> Touched:
    sizes = (each.rows, each.reduction)
    left_rows, left_columns = sizes if each.dataflow is Dataflow.WS else sizes[::-1]
    operands = _words("INPUT", each.left_base, left_rows, left_columns, config.rows,
                      each.left_row_stride, each.left_block_stride)  # fmt: skip
    operands |= _words("WEIGHT", each.right_base, each.reduction, each.columns, config.columns,
                       each.right_row_stride, each.right_block_stride)  # fmt: skip
    out = _words("OUTPUT", each.out_base, each.rows, each.columns, config.columns,
                 each.out_row_stride, each.out_block_stride)  # fmt: skip
    late = set(out) if each.accumulate else set()
    if each.scale:
        late |= {("ACCUMULATE_SCALE", each.scale_base + r) for r in range(each.rows)}
    return Touched(operands, late, out)


def conflicting(config: Config, program: Sequence[Instruction]) -> list[tuple[int, int, bool]]:
    """Return (first, second, early) of every pair of different engines that must be in order.

    `early`: it is enough that the first has read its operands.
    """
    all_touched = [touched(config, each) for each in program if each.engine is not None]
    pairs = []
    for j, later in enumerate(all_touched):
        for i, earlier in enumerate(all_touched[:j]):
            if program[i].engine is program[j].engine:
                continue
            done = earlier.writes & (later.writes | later.reads | later.reads_early)
            done |= earlier.reads & later.writes
            if done:
                pairs.append((i, j, False))
            elif earlier.reads_early & later.writes:
                pairs.append((i, j, True))
    return pairs


@dataclass
class Times:
    """When an instruction started, had read its operands, and was done."""

    start: int = -1
    read: int = -1
    done: int = -1


class Deadlock(AssertionError):
    """No engine can go on."""


class Overflow(AssertionError):
    """More tokens of a pair are on their way than the counter holds."""


def replay(
    config: Config,
    program: Sequence[Instruction],
    delay: Callable[[int], int],
    held: int | None = None,
) -> list[Times]:
    """Run the engines; `delay` gives how long an instruction (by index) takes for each half.

    `held`: an instruction that never starts, nor any behind it in its engine, as if those before it
    took forever. It ends in `Deadlock`, unless in `Overflow` before.
    """
    queues = {e: [i for i, each in enumerate(program) if each.engine is e] for e in Engine}
    times = [Times() for _ in program]
    tokens: Counter[tuple[Engine, Engine]] = Counter()
    last_sent = dict.fromkeys(Engine, 0)
    last_done = dict.fromkeys(Engine, 0)
    sending: list[tuple[int, int, Engine, Engine]] = []
    now, pending = 0, {e: 0 for e in Engine}
    while True:
        for engine in Engine:
            while pending[engine] < len(queues[engine]):
                index = queues[engine][pending[engine]]
                each = program[index]
                waits = {(e, engine): getattr(each, f"wait_{e.name.lower()}") for e in Engine}
                if index == held or any(tokens[pair] < n for pair, n in waits.items()):
                    break
                tokens.subtract(waits)
                pending[engine] += 1
                t = times[index]
                t.start, t.read = now, now + delay(index)
                t.done = last_done[engine] = max(t.read + delay(index), last_done[engine])
                release = t.done
                if isinstance(each, Execute) and not each.scale:
                    release = t.read
                release = last_sent[engine] = max(release, last_sent[engine])
                for peer in Engine:
                    if getattr(each, f"signal_{peer.name.lower()}"):
                        early = engine is Engine.EXECUTE and peer is Engine.LOAD
                        heapq.heappush(sending, (release if early else t.done, index, engine, peer))
        if not sending:
            break
        now = sending[0][0]
        while sending and sending[0][0] == now:
            _, _, engine, peer = heapq.heappop(sending)
            tokens[engine, peer] += 1
            if tokens[engine, peer] > (1 << config.token_bits) - 1:
                raise Overflow(f"{engine.name} to {peer.name}")
    if any(pending[e] < len(queues[e]) for e in Engine):
        raise Deadlock(str(pending))
    assert not any(tokens.values()), "tokens are left"
    return times


def races(pairs: Sequence[tuple[int, int, bool]], times: Sequence[Times]) -> list[tuple[int, int]]:
    """Return the pairs whose second started before the first had finished with the words."""
    return [
        (i, j)
        for i, j, early in pairs
        if times[j].start < (times[i].read if early else times[i].done)
    ]
