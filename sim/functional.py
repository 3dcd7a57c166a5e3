"""The functional model: executes a program in order, bit for bit.

It is also the program's judge. Besides the hardware's own errors, which end in the result, it
raises `ProgramError` for what hardware would do undefined things on: a missing or excess token, an
address that does not exist, a word that nothing has written.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import assert_never

import numpy as np

from hw.isa.config import Config
from hw.isa.encoding import decode, to_text
from hw.isa.instructions import (
    INSTRUCTION_BYTES,
    Absmax,
    Axis,
    Dataflow,
    Execute,
    Format,
    Halt,
    Instruction,
    InstructionError,
    Load,
    Memory,
    Store,
)
from hw.isa.registers import ErrorCode

from .arithmetic import (
    decode_scales,
    magnitudes,
    matmul,
    requantise8,
    requantise32,
    scale_accumulate,
)
from .footprint import Grid, Space, blocks, dram_bytes, footprint
from .memories import Memories
from .result import DramTiming, RunResult
from .tokens import Tokens

__all__ = ["Machine", "ProgramError", "run"]

_OPERANDS = (Memory.INPUT, Memory.WEIGHT)


class ProgramError(RuntimeError):
    """A program whose outcome on hardware is undefined; the message names the instruction."""

    def __init__(self, index: int, instruction: Instruction, problem: str) -> None:
        self.index = index
        super().__init__(f"instruction {index} ({to_text(instruction)}) {problem}")


class Machine:
    """The state of one run: memories, DRAM and counters.

    Parameters
    ----------
    dram : uint8, (bytes,)
        Changed in place.
    """

    def __init__(self, config: Config, dram: np.ndarray) -> None:
        self.config, self.dram = config, dram
        self.memories = Memories(config)
        self.tokens = Tokens(config)
        self.counters: Counter[str] = Counter()

    def step(self, index: int, instruction: Instruction) -> None:
        """Execute one instruction.

        Raises
        ------
        ProgramError
            Its outcome is undefined.
        """
        problem = self.tokens.take(instruction) or self._check(instruction)
        if problem is None:
            self._execute(instruction)
            problem = self.tokens.send(instruction)
        if problem is None and isinstance(instruction, Halt):
            problem = self.tokens.left()
        if problem is not None:
            raise ProgramError(index, instruction, problem)
        self.counters["instructions"] += 1

    def _execute(self, instruction: Instruction) -> None:
        match instruction:
            case Load():
                self._load(instruction)
            case Execute():
                self._multiply(instruction)
            case Store():
                self._store(instruction)
            case Absmax():
                self._absmax(instruction)
            case Halt():
                pass
            case _:
                assert_never(instruction)

    def _check(self, instruction: Instruction) -> str | None:
        for access in footprint(self.config, instruction):
            if access.space is Space.DRAM:
                problem = self._check_dram(instruction, access.grid)
            else:
                lanes = getattr(instruction, "columns", 0)
                problem = self.memories.check(access, lanes)
            if problem is not None:
                return problem
        if isinstance(instruction, Load) and instruction.memory not in _OPERANDS:
            return "loads a fraction of a scale" if instruction.columns % 4 else None
        return None

    def _check_dram(self, instruction: Load | Store | Absmax, grid: Grid) -> str | None:
        bus = self.config.bus_bytes
        rows, _, pitch = dram_bytes(self.config, instruction)
        for name, value in (("address", instruction.dram), ("pitch", pitch if rows > 1 else 0)):
            if value % bus:
                return f"has DRAM {name} {value:#x}, no multiple of the bus width of {bus} bytes"
        end = (grid.last + 1) * bus
        if end > min(self.dram.size, 1 << self.config.address_bits):
            return f"reaches DRAM byte {end - 1:#x}, but there are {self.dram.size:#x}"
        return None

    def _rows(self, instruction: Load | Store | Absmax) -> np.ndarray:
        """Return the bytes of DRAM an instruction moves, as a view (rows, bytes)."""
        rows, size, pitch = dram_bytes(self.config, instruction)
        beats = rows * blocks(size, self.config.bus_bytes)
        name = "dram_read_bytes" if isinstance(instruction, Load) else "dram_write_bytes"
        self.counters[name] += beats * self.config.bus_bytes
        return np.lib.stride_tricks.as_strided(
            self.dram[instruction.dram :], (rows, size), (pitch, 1)
        )

    def _load(self, load: Load) -> None:
        (_, target) = footprint(self.config, load)
        data = self._rows(load)
        if load.memory in _OPERANDS:
            self.memories.write_padded(target, data.view(np.int8))
        else:
            entries = np.ascontiguousarray(data).view("<u4")
            self.memories.write_entries(target, entries)

    def _multiply(self, execute: Execute) -> None:
        accesses = footprint(self.config, execute)
        left, right = (self.memories.read(access) for access in accesses[:2])
        if execute.dataflow is Dataflow.OS:
            left = left.T
        left = left[: execute.rows, : execute.reduction]
        self.counters["macs"] += execute.rows * execute.reduction * execute.columns
        out = accesses[-1]
        total = self.memories.read(out) if execute.accumulate else np.int32(0)
        if execute.scale:
            scales = self.memories.read(accesses[2])
            self.memories.write(out, self._scaled(execute, total, left, right, scales))
        else:
            self.memories.write(out, total + matmul(left, right))

    def _scaled(
        self,
        execute: Execute,
        total: np.ndarray | np.int32,
        left: np.ndarray,
        right: np.ndarray,
        scales: np.ndarray,
    ) -> np.ndarray:
        """Scale and accumulate each fold of the reduction by itself, as the array does."""
        m, s = decode_scales(scales)
        fold = self.config.rows if execute.dataflow is Dataflow.WS else execute.reduction
        for start in range(0, execute.reduction, fold):
            sums = matmul(left[:, start : start + fold], right[start : start + fold])
            total = scale_accumulate(total, sums, m, s)
        return total

    def _store(self, store: Store) -> None:
        accesses = footprint(self.config, store)
        sums = self.memories.read(accesses[0])[:, : store.columns]
        scales = {access.space: self.memories.read(access) for access in accesses[1:-1]}
        by_row = scales.get(Space.ROW_SCALE)
        by_column = scales.get(Space.COLUMN_SCALE)
        if by_column is not None:
            by_column = by_column[:, : store.columns]
        target = self._rows(store)
        match store.format:
            case Format.INT32:
                target[:] = np.ascontiguousarray(sums, "<i4").view(np.uint8)
                return
            case Format.INT8_ROW:
                values = requantise8(sums, *decode_scales(by_row))
            case Format.INT8_COLUMN:
                values = requantise8(sums, *decode_scales(by_column))
            case Format.INT8_ROW_COLUMN:
                sums = requantise32(sums, *decode_scales(by_row))
                values = requantise8(sums, *decode_scales(by_column))
            case _:
                assert_never(store.format)
        target[:] = values.view(np.uint8)

    def _absmax(self, absmax: Absmax) -> None:
        accesses = footprint(self.config, absmax)
        sums = self.memories.read(accesses[0])
        if absmax.scaled:
            sums = requantise32(sums, *decode_scales(self.memories.read(accesses[1])))
        sizes = magnitudes(sums)
        match absmax.axis:
            case Axis.ROW:
                maxima = sizes.max(axis=1)
            case Axis.COLUMN:
                maxima = sizes.max(axis=0)[: absmax.columns]
            case Axis.TENSOR:
                maxima = sizes.max(keepdims=True).ravel()
            case _:
                assert_never(absmax.axis)
        self._rows(absmax)[0] = np.ascontiguousarray(maxima, "<u4").view(np.uint8)


def run(
    config: Config,
    program: bytes,
    dram: np.ndarray,
    *,
    program_address: int,
    timing: DramTiming | None = None,
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

    Raises
    ------
    ProgramError
        The outcome on hardware would be undefined.
    """
    del timing
    started = time.perf_counter()
    dram[program_address : program_address + len(program)] = np.frombuffer(program, np.uint8)
    machine = Machine(config, dram)
    # The hardware fetches the whole program, a beat at a time.
    machine.counters["dram_read_bytes"] += blocks(len(program), config.bus_bytes) * config.bus_bytes
    error, index = _run(machine, program)
    names = ("instructions", "macs", "dram_read_bytes", "dram_write_bytes")
    return RunResult(
        backend="functional",
        error=error,
        error_instruction=index,
        counters={name: machine.counters[name] for name in names},
        seconds=time.perf_counter() - started,
    )


def _run(machine: Machine, program: bytes) -> tuple[ErrorCode, int | None]:
    count = len(program) // INSTRUCTION_BYTES
    for index in range(count):
        code = program[index * INSTRUCTION_BYTES : (index + 1) * INSTRUCTION_BYTES]
        try:
            instruction = decode(code)
        except InstructionError:
            return ErrorCode.ILLEGAL_INSTRUCTION, index
        machine.step(index, instruction)
        if isinstance(instruction, Halt):
            return ErrorCode.NONE, None
    return ErrorCode.PROGRAM_END, count
