"""Programs of one product in DRAM, for tests of the functional model."""

from __future__ import annotations

import numpy as np

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Dataflow, Execute, Format, Halt, Instruction, Load, Memory, Store
from hw.isa.registers import ErrorCode
from sim.functional import run
from sim.result import RunResult

SIZES = [(2, 3), (3, 2), (4, 4), (5, 8)]
CONFIGS = [Config(rows=rows, columns=columns) for rows, columns in SIZES]
LEFT, RIGHT, SCALES, OUT = 0x0, 0x1000, 0x2000, 0x3000
PROGRAM = 0x8000
M, K, N = 5, 9, 7
"""An odd shape for most tests."""
ROW_SCALES = Load(memory=Memory.ROW_SCALE, dram=SCALES, rows=1, columns=4 * M, base=2,
                  block_stride=1)  # fmt: skip
COLUMN_SCALES = Load(memory=Memory.COLUMN_SCALE, dram=SCALES, rows=1, columns=4 * N, base=1,
                     block_stride=1)  # fmt: skip


def execute(
    config: Config, program: list[Instruction], dram: np.ndarray | None = None, **options: int
) -> tuple[np.ndarray, RunResult]:
    """Run instructions with the model's options; return the DRAM after them and the result."""
    image = np.zeros(1 << 16, np.uint8)
    if dram is not None:
        image[: len(dram)] = dram
    code = b"".join(map(encode, program))
    return image, run(config, code, image, program_address=PROGRAM, **options)


def put(dram: np.ndarray, address: int, matrix: np.ndarray, pitch: int) -> None:
    """Write a matrix into DRAM row by row."""
    for r, row in enumerate(matrix):
        data = np.ascontiguousarray(row).view(np.uint8)
        dram[address + r * pitch : address + r * pitch + data.size] = data


def take(
    dram: np.ndarray, address: int, shape: tuple[int, int], pitch: int, kind: str
) -> np.ndarray:
    """Read a matrix from DRAM row by row."""
    size = shape[1] * np.dtype(kind).itemsize
    rows = [dram[address + r * pitch : address + r * pitch + size] for r in range(shape[0])]
    return np.stack([row.view(kind) for row in rows])


def bytes_of(dram: np.ndarray) -> list[list[int]]:
    """Return what a store of such a result as INT8 wrote."""
    return take(dram, OUT, (M, N), 128, "i1").tolist()


class Example:
    """A product in DRAM, and the instructions that load it; m x k by k x n."""

    def __init__(
        self, config: Config, dataflow: Dataflow, m: int, k: int, n: int, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        self.config, self.m, self.k, self.n = config, m, k, n
        self.left = rng.integers(-128, 128, (m, k), np.int8)
        self.right = rng.integers(-128, 128, (k, n), np.int8)
        self.entries = rng.integers(1 << 15, 1 << 16, 64).astype(np.uint32)
        self.entries |= rng.integers(10, 24, 64).astype(np.uint32) << 16
        self.dram = np.zeros(1 << 15, np.uint8)
        lying = self.left if dataflow is Dataflow.WS else self.left.T
        put(self.dram, LEFT, lying, 64)
        put(self.dram, RIGHT, self.right, 64)
        put(self.dram, SCALES, self.entries[None], 0)
        self.left_blocks = -(-lying.shape[1] // config.rows)
        self.right_blocks = -(-n // config.columns)
        self.loads = [
            Load(memory=Memory.INPUT, dram=LEFT, pitch=64, rows=lying.shape[0],
                 columns=lying.shape[1], base=1, row_stride=self.left_blocks, block_stride=1),
            # Blocks outside, rows inside: the other way to lie.
            Load(memory=Memory.WEIGHT, dram=RIGHT, pitch=64, rows=k, columns=n, base=2,
                 row_stride=1, block_stride=k),
            Load(memory=Memory.ACCUMULATE_SCALE, dram=SCALES, rows=1, columns=4 * m, base=3,
                 block_stride=1, signal_execute=1),
        ]  # fmt: skip
        self.execute = Execute(
            dataflow=dataflow, rows=m, reduction=k, columns=n, wait_load=1,
            left_base=1, left_row_stride=self.left_blocks, left_block_stride=1,
            right_base=2, right_row_stride=1, right_block_stride=k,
            out_base=5, out_row_stride=1, out_block_stride=m, signal_store=1,
        )  # fmt: skip
        self.store = Store(
            format=Format.INT32, dram=OUT, pitch=128, rows=m, columns=n, base=5,
            row_stride=1, block_stride=m, wait_execute=1,
        )  # fmt: skip

    @property
    def exact(self) -> np.ndarray:
        """The product, int64."""
        return self.left.astype(np.int64) @ self.right.astype(np.int64)

    def outcome(
        self, *after: Instruction, load: tuple[Instruction, ...] = (), **options: int
    ) -> tuple[np.ndarray, RunResult]:
        """Load, run the instructions, halt; return the DRAM and the result."""
        program = [*load, *self.loads, *after, Halt()]
        dram, result = execute(self.config, program, self.dram, **options)
        assert result.error is ErrorCode.NONE and result.error_instruction is None
        return dram, result

    def run(self, *after: Instruction, load: tuple[Instruction, ...] = ()) -> np.ndarray:
        """Load, run the instructions, halt; return the DRAM."""
        return self.outcome(*after, load=load)[0]

    def sums(self, dram: np.ndarray) -> np.ndarray:
        """Return what `store` stored."""
        return take(dram, OUT, (self.m, self.n), 128, "<i4")
