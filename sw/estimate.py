"""How long steps take: the three engines, their queues and the memories they meet in.

One pass over the steps in program order. A store is timed only when something waits for it, since
products behind it in the program may keep it from the output memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import INSTRUCTION_BYTES, Dataflow, Engine, Memory

from .job import Sums
from .step import Emit, Fetch, Measure, Multiply, Step, Table

__all__ = ["Estimate", "Traffic", "estimate", "matrix_traffic"]

READ_TRIP, WRITE_TRIP = 12, 10
"""Cycles from an instruction's start to its first beat, and from its last beat to its end, that the
machine adds to the latency of the DRAM."""
BURST_TRIP = 5
"""The same of a burst among many, from its request to the place that it makes for another."""
HANDOVER = 4
"""Cycles from the end of an instruction to the start of one that waits for its token."""
LOAD_GAP, STORE_GAP = 2, 8
"""Cycles between the transfers of two instructions that follow one another."""
JOBS = 4
"""LOADs asked of DRAM at a time."""
START = 30
"""Cycles from START to the first instruction, without the latency of the DRAM."""


class Traffic(NamedTuple):
    """What a transfer asks of the bus."""

    beats: int
    bursts: int


@dataclass(frozen=True)
class Estimate:
    """Cycles of a run, as the counters of the same names have them.

    `first` is the cycle in which the first operand is fed.
    """

    cycles: int
    array_cycles: int
    first: int
    loads: tuple[int, ...]

    def loads_by(self, cycle: int) -> int:
        """Return how many loads are done by a cycle."""
        return sum(done <= cycle for done in self.loads)


def matrix_traffic(config: Config, rows: int, pitch: int, size: int) -> Traffic:
    """Return the traffic of `size` bytes of each of some rows that lie `pitch` bytes apart."""
    row_beats = -(-size // config.bus_bytes)
    beats = rows * row_beats
    if row_beats * config.bus_bytes == pitch or rows == 1:
        return Traffic(beats, -(-beats // config.burst_beats))
    return Traffic(beats, rows * -(-row_beats // config.burst_beats))


def _operand_traffic(config: Config, step: Fetch) -> Traffic:
    bus, operand = config.bus_bytes, step.operand
    pitch = -(-operand.columns // bus) * bus
    if not operand.transposed:
        return matrix_traffic(config, step.rows.size, pitch, step.columns.size)
    chunk = config.transpose_columns
    beats = bursts = 0
    for start in range(0, step.rows.size, chunk):
        size = min(chunk, step.rows.size - start)
        part = matrix_traffic(config, step.columns.size, pitch, size)
        beats, bursts = beats + part.beats, bursts + part.bursts
    return Traffic(beats, bursts)


class _Window(NamedTuple):
    """Cycles in which a product keeps others from half a memory, and which part of them."""

    start: float
    end: float
    share: float


class _Pending(NamedTuple):
    """A store that is not timed yet."""

    ready: float
    base: int
    words: int
    traffic: Traffic
    reads: int


class _Machine:
    """The state of the engines after the steps so far."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._latency = config.dram_latency
        rate = config.dram_bytes_per_cycle
        self._per_beat = max(1.0, config.bus_bytes / rate) if rate else 1.0
        self._dispatched = float(START + config.dram_latency)
        self._starts: dict[Engine, list[float]] = {engine: [] for engine in Engine}
        # By word: when a load has written it, when the products that read it are done with it.
        self._loaded = {m: np.zeros(2 * self._half(m)) for m in (Memory.INPUT, Memory.WEIGHT)}
        self._read = {m: np.zeros(2 * self._half(m)) for m in (Memory.INPUT, Memory.WEIGHT)}
        self._summed = np.zeros(2 * config.output_depth)
        self._storing = np.full(2 * config.output_depth, -1)  # number of the latest store
        self._bus_free = self._asked = self._array_free = self._store_free = 0.0
        self._walk_free = 0.0
        self._last_os = False
        self.first = 0.0
        self.done = 0.0
        self.loads: list[float] = []
        self._tables = 0.0
        self._reading: dict[tuple[Memory, int], list[_Window]] = {}
        self._adding: tuple[list[_Window], list[_Window]] = ([], [])
        self._pending: list[_Pending] = []
        self._stored: list[float] = []

    def _half(self, memory: Memory) -> int:
        config = self._config
        return config.input_depth if memory is Memory.INPUT else config.weight_depth

    def _dispatch(self, engine: Engine) -> float:
        """Return when the next instruction of an engine is in its queue."""
        queue = self._starts[engine]
        self._dispatched += 1
        self._bus_free += self._per_beat * INSTRUCTION_BYTES / self._config.bus_bytes
        place = len(queue) - self._config.queue_depth
        if engine is Engine.STORE:
            place += len(self._pending)
            self._store(place)
        if place >= 0:
            self._dispatched = max(self._dispatched, queue[place])
        return self._dispatched + 2

    def load(self, step: Fetch | Table) -> None:
        """Bring something to the chip."""
        ready = self._dispatch(Engine.LOAD)
        if isinstance(step, Table):
            traffic = matrix_traffic(self._config, 1, 0, 4 * step.part.size)
            words, window, gate = step.part.size, None, 0.0
        else:
            traffic, words = _operand_traffic(self._config, step), step.words
            window = slice(step.base, step.base + step.words)
            gate = float(self._read[step.memory][window].max())
        begin = max(ready, gate + HANDOVER, self._asked)
        if len(self.loads) >= JOBS:
            begin = max(begin, self.loads[-JOBS])
        self._starts[Engine.LOAD].append(begin)
        config = self._config
        trip = READ_TRIP + self._latency
        at_rate = traffic.bursts * (self._latency + BURST_TRIP) / config.read_outstanding
        time = max(traffic.beats * self._per_beat, words, at_rate)
        self._asked = begin + 2 + max(traffic.bursts, time - trip)
        start = max(self._bus_free + LOAD_GAP, begin + trip)
        if window is not None:
            half = step.base // self._half(step.memory)
            end = _through(self._reading.get((step.memory, half), []), start, time, words)
            self._loaded[step.memory][window] = end
        else:
            end = start + time
            self._tables = max(self._tables, end)
        self._bus_free = end
        self.loads.append(end)

    def multiply(self, step: Multiply) -> None:
        """Run a product on the array."""
        config = self._config
        ready = self._dispatch(Engine.EXECUTE)
        is_ws = step.dataflow is Dataflow.WS
        left_rows = step.rows if is_ws else step.reduction
        left = slice(step.left, step.left + left_rows * step.left_blocks)
        right = slice(step.right, step.right + step.reduction * step.right_blocks)
        out = slice(step.base, step.base + step.rows * step.blocks)
        gate = max(
            float(self._loaded[Memory.INPUT][left].max()),
            float(self._loaded[Memory.WEIGHT][right].max()),
        )
        if step.held:
            gate = max(gate, self.loads[-1])
        if step.scale:
            gate = max(gate, self._tables)
        latest = int(self._storing[out].max())
        if latest >= 0:
            gate = max(gate, self._store(latest))
        rows, folded, waves = config.rows, step.reduction, step.rows
        if not is_ws:
            folded, waves = step.rows, step.reduction
        depth = -(-folded // rows)
        fold = max(waves, rows)
        span = depth * step.blocks * fold
        ready = max(ready, gate + HANDOVER, self._walk_free)
        self._starts[Engine.EXECUTE].append(ready)
        begin = max(ready + 2, self._array_free)
        if is_ws and (ready + 2 + rows > self._array_free or self._last_os):
            # The stationary tile has not loaded under the product before.
            begin = max(ready + 2, self._array_free - (0 if self._last_os else rows)) + rows
        self._last_os = not is_ws
        first = begin - rows if is_ws else begin
        self.first = self.first or first
        self._array_free = begin + span
        self._walk_free = begin + span - fold
        read = begin + span - fold + waves
        self._read[Memory.INPUT][left] = read
        self._read[Memory.WEIGHT][right] = read
        self._note_reads(step, begin, read)
        drain = config.columns + 9 + (rows if is_ws else 2 * rows)
        done = read + drain
        self._summed[out] = done
        self._storing[out] = -1
        self.done = max(self.done, done)
        if step.accumulate or (is_ws and depth > 1):
            share = 1.0 if step.accumulate else (depth - 1) / depth
            self._adding[step.base // config.output_depth].append(
                _Window(begin + rows, done, share)
            )

    def _note_reads(self, step: Multiply, begin: float, end: float) -> None:
        """Note when a product keeps loads from the halves of its operands."""
        rows = self._config.rows
        if step.dataflow is Dataflow.WS:
            # A stationary tile is read in so many cycles, just before its waves.
            fold, early = max(step.rows, rows), rows
            left, right = step.rows / fold, rows / fold
        else:
            fold, early = max(step.reduction, rows), 0
            left = right = step.reduction / fold
        for memory, base, window in (
            (Memory.INPUT, step.left, _Window(begin, end, left)),
            (Memory.WEIGHT, step.right, _Window(begin - early, end - early, right)),
        ):
            self._reading.setdefault((memory, base // self._half(memory)), []).append(window)

    def emit(self, step: Emit | Measure) -> None:
        """Put an output on the list of those to be timed."""
        config = self._config
        ready = self._dispatch(Engine.STORE)
        rows, columns = step.tile.m.size, step.tile.n.size
        words = rows * step.blocks
        if isinstance(step, Measure):
            count = max(rows, columns) if step.last else 0
            traffic = matrix_traffic(config, 1, 0, 4 * count)
        else:
            size = 4 if isinstance(step.output, Sums) else 1
            pitch = -(-size * step.job.gemm.n // config.bus_bytes) * config.bus_bytes
            traffic = matrix_traffic(config, rows, pitch, size * columns)
        if not isinstance(step.output, Sums):
            ready = max(ready, self._tables + HANDOVER)
        window = slice(step.base, step.base + words)
        ready = max(ready, float(self._summed[window].max()) + HANDOVER)
        self._storing[window] = len(self._pending) + len(self._stored)
        self._pending.append(_Pending(ready, step.base, words, traffic, words))

    def _store(self, number: int) -> float:
        """Time all stores up to one; return when it is done."""
        while len(self._stored) <= number:
            item = self._pending.pop(0)
            begin = max(item.ready, self._store_free)
            self._starts[Engine.STORE].append(begin)
            traffic, config = item.traffic, self._config
            at_rate = traffic.bursts * (self._latency + BURST_TRIP) / config.write_outstanding
            time = max(traffic.beats * self._per_beat, item.reads, at_rate)
            windows = self._adding[item.base // config.output_depth]
            end = _through(windows, begin, time, item.reads) + STORE_GAP
            self._store_free = end
            done = end + WRITE_TRIP + self._latency
            self._stored.append(done)
            self.done = max(self.done, done)
        return self._stored[number] if number >= 0 else 0.0

    def result(self) -> Estimate:
        """Return the estimate of all steps."""
        summed = float(self._summed.max())
        if self._pending:
            self._store(len(self._stored) + len(self._pending) - 1)
        end = max(self.done, summed)
        return Estimate(
            int(end), int(summed - self.first), int(self.first), tuple(map(int, self.loads))
        )


def _through(windows: list[_Window], start: float, time: float, words: int) -> float:
    """Return when work of `time` cycles that starts at `start` ends, past what keeps it.

    A word passes in one cycle, so where it takes `time` / `words` cycles only as much is lost as
    exceeds the slack.
    """
    now, left = start, time
    for window in windows[-64:]:
        if window.end <= now or window.start >= now + left:
            continue
        if window.start > now:
            left -= window.start - now
            now = window.start
        # Of the window's cycles, this part is free; each word needs one of them.
        speed = min(1.0, (1 - window.share) * time / max(words, 1))
        room = (window.end - now) * speed
        if room >= left:
            return now + left / speed
        left -= room
        now = window.end
    return now + left


def estimate(config: Config, steps: Sequence[Step]) -> Estimate:
    """Return the time that a program of these steps takes, from its start to its halt."""
    machine = _Machine(config)
    for step in steps:
        match step:
            case Fetch() | Table():
                machine.load(step)
            case Multiply():
                machine.multiply(step)
            case Emit() | Measure():
                machine.emit(step)
    return machine.result()
