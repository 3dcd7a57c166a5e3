"""Runs programs on the timing model: cycles and counters, to the cycle, without the numbers."""

from __future__ import annotations

import time

import numpy as np
from numba import njit

from hw.isa.config import Config
from hw.isa.registers import ErrorCode

from ..result import BackendError, DramTiming, RunResult, describe_waiting
from . import control
from .code import table
from .core import MODELLED, RUN, step
from .folds import expand
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
    started = time.perf_counter()
    timing = timing or DramTiming.of(config)
    code = table(program)
    folds = expand(config, code)
    shape, state = shape_of(config, timing), np.zeros(1, RUN)
    _begin(state, shape, program_address // config.bus_bytes, len(code))
    while _advance(state, shape, code, folds, SLICE):
        _check_moves(state, shape, code, folds)
    counts, machine = state["counts"][0], state["machine"]["control"][0]
    error = ErrorCode(int(machine["error"]))
    return RunResult(
        backend="timing",
        error=error,
        error_instruction=int(machine["dispatched"]) if error else None,
        counters={name: int(counts[name]) for name in MODELLED},
        seconds=time.perf_counter() - started,
    )


@njit(cache=True)
def _begin(state, shape, beat, length):
    r = state[0]
    r.machine.bus.saved = shape[0].cost
    control.start(r.machine.control, shape[0], beat, length)


@njit(cache=True)
def _advance(state, shape, code, folds, cycles):
    """Go on for some cycles, or to the end; return whether the program still runs."""
    r, h = state[0], shape[0]
    for _ in range(cycles):
        if not r.machine.control.running:
            return False
        step(r, h, code, folds)
    return r.machine.control.running != 0


def _check_moves(state: np.ndarray, shape: np.ndarray, code: np.ndarray, folds: np.ndarray) -> None:
    """Raise if the machine stands still: then the next cycle finds it as this one does."""
    before = state["machine"].tobytes()
    if _advance(state, shape, code, folds, 1) and state["machine"].tobytes() == before:
        waiting = _waiting(state, code)
        raise BackendError(f"the program does not end: {describe_waiting(waiting)}")


def _waiting(state: np.ndarray, code: np.ndarray) -> int:
    """Return Register.WAITING."""
    bits = 0
    for engine, gate in enumerate(state["machine"]["control"]["gates"][0]):
        if not gate["queue"]["out"]:
            continue
        word = code[gate["items"][0] - 1]
        for peer, name in enumerate(("load", "execute", "store")):
            if gate["tokens"][peer] < word[f"wait_{name}"]:
                bits |= 1 << 4 * engine + peer
    return bits
