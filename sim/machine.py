"""One accelerator of the functional model: its memories, and what each instruction does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import assert_never

import numpy as np

from hw.isa.config import Config
from hw.isa.encoding import to_text
from hw.isa.instructions import (
    Absmax,
    Axis,
    Dataflow,
    Execute,
    Format,
    Halt,
    Instruction,
    Load,
    Memory,
    Store,
)

from .arithmetic import (
    decode_scales,
    fresh_entries,
    limit8,
    magnitudes,
    matmul,
    noise,
    requantise32,
    rescale,
    rescale_stochastic,
    scale_accumulate,
    unpack4,
    update_entries,
)
from .footprint import Access, Space, beat_bytes, dram_bytes, footprint
from .legality import misuse, wrong_address
from .memories import Memories
from .races import Races
from .tokens import Tokens

__all__ = ["COUNTED", "Machine", "ProgramError"]

COUNTED = (
    "instructions",
    "macs",
    "dram_read_bytes",
    "dram_write_bytes",
    "saturations",
    "accumulate_saturations",
)
"""Performance counters that do not depend on time."""
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
    program : sequence of Instruction
        What will run.
    place : range
        Bytes of DRAM that hold the program, which nothing may write.
    seed : int
        Of stochastic rounding, 32 bits.
    check_races : bool
        Refuse accesses of two engines to one word that no token orders, and tokens that may be
        more than their counter holds.
    """

    def __init__(
        self,
        config: Config,
        dram: np.ndarray,
        program: Sequence[Instruction],
        *,
        place: range,
        seed: int,
        check_races: bool,
    ) -> None:
        self.config, self.dram = config, dram
        self.memories = Memories(config)
        self.tokens = Tokens(config, program)
        self.races = Races(config, dram.size) if check_races else None
        self.counters: Counter[str] = Counter()
        self._place, self._seed = place, seed

    def step(self, index: int, instruction: Instruction) -> None:
        """Execute one instruction.

        Raises
        ------
        ProgramError
            Its outcome is undefined.
        """
        accesses = footprint(self.config, instruction)
        problem = (
            self.tokens.take(instruction)
            or self._check(instruction, accesses)
            or self.tokens.send(instruction)
        )
        if problem is None and self.races is not None:
            found = self.races.step(index, instruction, accesses)
            problem = found[0].problem if found else None
        if problem is None and isinstance(instruction, Halt):
            problem = self.tokens.left()
        if problem is not None:
            raise ProgramError(index, instruction, problem)
        self._execute(instruction, accesses)
        self.counters["instructions"] += 1

    def _check(self, instruction: Instruction, accesses: tuple[Access, ...]) -> str | None:
        problem = misuse(self.config, instruction, accesses)
        for access in accesses:
            if problem is None and access.space is Space.DRAM:
                problem = wrong_address(
                    self.config, instruction, access, self.dram.size, self._place
                )
            elif problem is None:
                problem = self.memories.check(access, getattr(instruction, "columns", 0))
        return problem

    def _execute(self, instruction: Instruction, accesses: tuple[Access, ...]) -> None:
        match instruction:
            case Load():
                self._load(instruction, accesses)
            case Execute():
                self._multiply(instruction, accesses)
            case Store():
                self._store(instruction, accesses)
            case Absmax():
                self._absmax(instruction, accesses)
            case Halt():
                pass
            case _:
                assert_never(instruction)

    def _rows(self, instruction: Load | Store | Absmax) -> np.ndarray:
        """Return the bytes of DRAM an instruction moves, as a view (rows, bytes)."""
        rows, size, pitch = dram_bytes(instruction)
        name = "dram_read_bytes" if isinstance(instruction, Load) else "dram_write_bytes"
        self.counters[name] += beat_bytes(self.config, instruction)
        return np.lib.stride_tricks.as_strided(
            self.dram[instruction.dram :], (rows, size), (pitch, 1)
        )

    def _load(self, load: Load, accesses: tuple[Access, ...]) -> None:
        (_, target) = accesses
        data = self._rows(load)
        if load.memory in _OPERANDS:
            data = unpack4(data, load.columns) if load.packed else data.view(np.int8)
            self.memories.write_padded(target, data.T if load.transpose else data)
        else:
            entries = np.ascontiguousarray(data).view("<u4")
            self.memories.write_entries(target, entries)

    def _multiply(self, execute: Execute, accesses: tuple[Access, ...]) -> None:
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
        fold = execute.reduction
        if execute.dataflow is Dataflow.WS:
            fold = self.config.fold_reduction
        for start in range(0, execute.reduction, fold):
            sums = matmul(left[:, start : start + fold], right[start : start + fold])
            total, limited = scale_accumulate(total, sums, m, s)
            inside = limited[:, : execute.columns]
            self.counters["accumulate_saturations"] += int(np.count_nonzero(inside))
        return total

    def _store(self, store: Store, accesses: tuple[Access, ...]) -> None:
        sums = self.memories.read(accesses[0])[:, : store.columns]
        scales = {
            access.space: decode_scales(self.memories.read(access)[:, : store.columns])
            for access in accesses[1:-1]
        }
        match store.format:
            case Format.INT32:
                values = np.ascontiguousarray(sums, "<i4")
            case Format.INT8_ROW | Format.INT8_TENSOR:
                values = self._requantised(store, sums, *scales[Space.ROW_SCALE])
            case Format.INT8_COLUMN:
                values = self._requantised(store, sums, *scales[Space.COLUMN_SCALE])
            case Format.INT8_ROW_COLUMN:
                sums = requantise32(sums, *scales[Space.ROW_SCALE])
                values = self._requantised(store, sums, *scales[Space.COLUMN_SCALE])
            case _:
                assert_never(store.format)
        # One after the other: rows may overlap, and the later one stays.
        for row, data in zip(self._rows(store), values.view(np.uint8), strict=True):
            row[:] = data

    def _requantised(
        self, store: Store, sums: np.ndarray, m: np.ndarray, s: np.ndarray
    ) -> np.ndarray:
        if store.stochastic:
            rows = store.origin_row + np.arange(store.rows)[:, None]
            bits = noise(self._seed, rows, store.origin_column + np.arange(store.columns))
            exact = rescale_stochastic(sums, m, s, bits)
        else:
            exact = rescale(sums, m, s)
        values, limited = limit8(exact)
        self.counters["saturations"] += limited
        return values

    def _absmax(self, absmax: Absmax, accesses: tuple[Access, ...]) -> None:
        sums = self.memories.read(accesses[0])
        if absmax.scaled:
            sums = requantise32(sums, *decode_scales(self.memories.read(accesses[1])))
        maxima = self._maxima(absmax, magnitudes(sums))
        if absmax.merge:
            maxima = np.maximum(maxima, self.memories.read(accesses[-1]).ravel())
        for access in accesses:
            if access.write:
                self._keep(absmax, access, maxima)

    def _keep(self, absmax: Absmax, access: Access, maxima: np.ndarray) -> None:
        """Write maxima, or what is made of them, to one of the places where they go."""
        match access.space:
            case Space.DRAM:
                self._rows(absmax)[0] = np.ascontiguousarray(maxima, "<u4").view(np.uint8)
            case Space.ROW_SCALE:
                self.memories.write(access, fresh_entries(maxima))
            case Space.COLUMN_SCALE:
                self.memories.write_entries(access, fresh_entries(maxima)[None])
            case Space.ACCUMULATE_SCALE:
                factor = self.memories.word(Space.ROW_SCALE, absmax.factor)
                self.memories.write(access, update_entries(maxima, factor))
            case Space.ROW_MAXIMUM | Space.COLUMN_MAXIMUM:
                self.memories.write(access, maxima)

    @staticmethod
    def _maxima(absmax: Absmax, sizes: np.ndarray) -> np.ndarray:
        match absmax.axis:
            case Axis.ROW:
                return sizes.max(axis=1)
            case Axis.COLUMN:
                return sizes.max(axis=0)[: absmax.columns]
            case Axis.TENSOR:
                return sizes.max(keepdims=True).ravel()
            case _:
                assert_never(absmax.axis)
