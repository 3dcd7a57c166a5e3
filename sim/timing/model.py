"""Runs programs on the timing model: cycles and counters, to the cycle, without the numbers."""

from __future__ import annotations

import time

import numpy as np

from hw.isa.config import Config
from hw.isa.encoding import decode_program
from hw.isa.instructions import Engine
from hw.isa.registers import ErrorCode

from ..intervals import intervals
from ..outcome import events_of
from ..result import BackendError, DramTiming, RunResult, describe_waiting
from . import control, repeat
from .code import table
from .compiled import compiled
from .core import MODELLED, RUN, activity, pulses, step
from .folds import expand
from .kinds import settle
from .known import known
from .known import program as kinds
from .shape import shape_of

__all__ = ["run"]

SLICE = 1 << 20
"""Cycles between looks at whether anything still moves."""


def run(
    config: Config,
    program: bytes,
    dram: np.ndarray | None = None,
    *,
    program_address: int = 0,
    timing: DramTiming | None = None,
    noise_seed: int = 0,
    repeats: bool = True,
    events: bool = False,
    timeline: bool = False,
) -> RunResult:
    """Return the counters of a program, from its start to its interrupt, as the RTL has them.

    Parameters
    ----------
    program : bytes
        Encoded instructions.
    dram, noise_seed
        Taken for the sake of a common call; no time depends on them.
    program_address : int
        Byte where the program lies.
    timing : DramTiming, optional
        Of the DRAM; that of `config` by default.
    repeats : bool
        Jump over what has been walked before (`sim.timing.repeat`); the result is the same.
    events, timeline : bool
        Return events, or events and activity, too, as the RTL gives them; nothing is jumped over
        then.

    Returns
    -------
    RunResult
        With all of `hw.isa.registers.COUNTERS` but those of saturations, which depend on data.

    Raises
    ------
    BackendError
        Nothing moves any more; the message says which engine waits for whose tokens.
    """
    del dram, noise_seed
    log = _Log(timeline) if events or timeline else None
    walk = _Walk(
        config, timing or DramTiming.of(config), program, program_address, repeats and log is None
    )
    walk.advance(0, log)  # compiles it, which is no part of the time that a run takes
    started = time.perf_counter()
    while walk.advance(SLICE, log):
        walk.check_moves(log)
    counts, machine = walk.state["counts"][0], walk.state["machine"]["control"][0]
    error = ErrorCode(int(machine["error"]))
    return RunResult(
        backend="timing",
        error=error,
        error_instruction=int(machine["dispatched"]) if error else None,
        counters={name: int(counts[name]) for name in MODELLED},
        seconds=time.perf_counter() - started,
        events=events_of(log.pulses, decode_program(program)) if log else (),
        activity=intervals(log.activity, int(counts["cycles"])) if log else (),
    )


class _Log:
    """What happened in which cycle: (cycle, bits) of pulses, and of activity where it changes."""

    ROWS = 1 << 16

    def __init__(self, whole: bool) -> None:
        self.whole = whole
        self.pulses: list[tuple[int, int]] = []
        self.activity: list[tuple[int, int]] = []
        self.rows = np.zeros((self.ROWS, 3), np.int64)

    def take(self, count: int) -> None:
        """Take the first rows: cycle, pulses, activity."""
        for cycle, steps, present in self.rows[:count].tolist():
            if steps:
                self.pulses.append((cycle, steps))
            if self.whole and (not self.activity or self.activity[-1][1] != present):
                self.activity.append((cycle, present))


class _Walk:
    """A program on its way through the machine; `state` is an array of one RUN."""

    def __init__(
        self, config: Config, timing: DramTiming, program: bytes, address: int, repeats: bool
    ) -> None:
        code = table(program)
        self._folds = expand(config, code)
        self._code = settle(config, code)
        self._shape, self.state = shape_of(config, timing), np.zeros(1, RUN)
        self._repeats = repeats
        scratch = np.zeros(1, RUN)
        self._words = self.state.view(np.int64), scratch, scratch.view(np.int64)
        met = slice(None if repeats else 0)  # who walks through everything compares nothing
        self._kinds, self._known = kinds(self._code[met], self._folds[met]), known()
        _begin(self.state, self._shape, address // config.bus_bytes, self._code)

    def advance(self, cycles: int, log: _Log | None = None) -> bool:
        """Go on for some cycles, or to the end; return whether the program still runs."""
        program = self.state, self._shape, self._code, self._folds
        if log is None:
            return repeat.advance(
                *program, *self._words, self._kinds, self._known, self._repeats, cycles
            )
        log.take(_record(*program, log.rows, log.whole, cycles))
        return bool(self.state["machine"]["control"]["running"][0])

    def check_moves(self, log: _Log | None = None) -> None:
        """Raise if the machine stands still: then the next cycle finds it as this one does."""
        before = self.state["machine"].tobytes()
        bus = self.state["machine"]["bus"][0]
        # What is on its way in DRAM comes at its time, though nothing changes until then.
        expects = bus["read"]["pending"] or bus["write"]["pending"]
        runs = self.advance(1, log)
        if runs and not expects and self.state["machine"].tobytes() == before:
            raise BackendError(f"the program does not end: {describe_waiting(self._waiting())}")

    def _waiting(self) -> int:
        """Return Register.WAITING."""
        control, bits = self.state["machine"]["control"][0], 0
        for engine in Engine:
            bits |= int(control[engine.name.lower()]["lacks"]) << 4 * engine
        return bits


@compiled
def _begin(state, shape, beat, code):
    r = state[0]
    r.machine.bus.saved = shape[0].cost
    control.start(r.machine.control, shape[0], beat, code)


@compiled
def _record(state, shape, code, folds, rows, whole, cycles):
    """Go on for some cycles, to the end, or until there is no row left; return the rows used.

    A row is written for each cycle with a pulse and, if `whole`, for each change of activity.
    """
    r, h = state[0], shape[0]
    count, before = 0, activity(r)
    for _ in range(cycles):
        if not r.machine.control.running or count == len(rows):
            break
        step(r, h, code, folds)
        steps, present = pulses(r.wires), activity(r) if whole else 0
        if steps or (whole and present != before):
            rows[count, 0], rows[count, 1], rows[count, 2] = r.now - 1, steps, present
            count += 1
            before = present
    return count
