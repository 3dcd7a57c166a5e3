"""The functional model: executes a program in order, bit for bit.

It is also the program's judge. Besides the hardware's own errors, which end in the result, it
raises `ProgramError` for what hardware would do undefined things on: a missing or excess token, an
address that does not exist, a word that nothing has written, two engines that meet at a word in
an order that no token keeps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from hw.isa.config import Config
from hw.isa.encoding import decode_program
from hw.isa.instructions import INSTRUCTION_BYTES, Halt, Instruction
from hw.isa.registers import ErrorCode

from .footprint import blocks
from .machine import COUNTED, Machine, ProgramError
from .result import DramTiming, RunResult

__all__ = ["ProgramError", "run"]


def run(
    config: Config,
    program: bytes,
    dram: np.ndarray,
    *,
    program_address: int,
    timing: DramTiming | None = None,
    noise_seed: int = 0,
    check_races: bool = True,
) -> RunResult:
    """Run encoded instructions, one after the other.

    Parameters
    ----------
    program : bytes
        Encoded instructions; copied into `dram` at `program_address`.
    dram : uint8, (bytes,)
        Changed in place.
    timing : DramTiming, optional
        Taken for the sake of a common call; nothing here depends on it.
    noise_seed : int
        Value of Register.SEED, for stores that round stochastically.
    check_races : bool
        Refuse accesses of two engines to one word that no token orders, and tokens that may be
        more than their counter holds (`sim.races`).

    Raises
    ------
    ProgramError
        The outcome on hardware would be undefined.
    ValueError
        `noise_seed` has more than 32 bits.
    """
    del timing
    if not 0 <= noise_seed < 1 << 32:
        raise ValueError(f"noise_seed must be from 0 to {(1 << 32) - 1}, not {noise_seed}")
    started = time.perf_counter()
    dram[program_address : program_address + len(program)] = np.frombuffer(program, np.uint8)
    place = range(program_address, program_address + len(program))
    instructions = _to_halt(decode_program(program))
    machine = Machine(
        config, dram, instructions, place=place, seed=noise_seed, check_races=check_races
    )
    # The hardware fetches the whole program, a beat at a time.
    machine.counters["dram_read_bytes"] += blocks(len(program), config.bus_bytes) * config.bus_bytes
    for index, instruction in enumerate(instructions):
        machine.step(index, instruction)
    error, at = _end(instructions, len(program) // INSTRUCTION_BYTES)
    return RunResult(
        backend="functional",
        error=error,
        error_instruction=at,
        counters={name: machine.counters[name] for name in COUNTED},
        seconds=time.perf_counter() - started,
    )


def _to_halt(instructions: list[Instruction]) -> list[Instruction]:
    """Return the instructions up to the first halt."""
    halts = (at for at, each in enumerate(instructions) if isinstance(each, Halt))
    return instructions[: next(halts, len(instructions)) + 1]


def _end(instructions: Sequence[Instruction], count: int) -> tuple[ErrorCode, int | None]:
    """Return how a program of `count` instructions ends of which these have run."""
    if instructions and isinstance(instructions[-1], Halt):
        return ErrorCode.NONE, None
    ran = len(instructions)
    return (ErrorCode.PROGRAM_END if ran == count else ErrorCode.ILLEGAL_INSTRUCTION), ran
