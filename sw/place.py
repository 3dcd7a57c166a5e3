"""Placement of matrices in DRAM: row-major, each row starting at a multiple of the bus width."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from hw.isa.config import Config

__all__ = [
    "BITS",
    "Buffer",
    "Layout",
    "PlacementError",
    "Request",
    "Role",
    "align",
    "place",
    "row_bytes",
]

LINE = 64
"""Buffers start at multiples of this, and of the bus width."""
BITS = {"int4": 4, "int8": 8, "int32": 32, "uint32": 32}
"""Of an element in DRAM. Those of ``int4`` are int8 on the host, from -8 to 7; two are a byte."""


class PlacementError(ValueError):
    """The buffers do not fit the address space; the message gives the sizes."""


class Role(StrEnum):
    """Who writes a buffer and who reads it."""

    INPUT = "input"
    """The host writes it before a run."""
    OUTPUT = "output"
    """The program writes it, the host reads it."""
    KEPT = "kept"
    """An earlier program of the same step wrote it."""


@dataclass(frozen=True)
class Request:
    """A matrix that wants a place in DRAM.

    Members
    -------
    name : str
    dtype : str
        One of `BITS`.
    rows, columns : int
        As it lies in DRAM.
    role : Role
    transposed : bool
        Whether the host gets the transpose of an output; inputs lie as the host has them.
    """

    name: str
    dtype: str
    rows: int
    columns: int
    role: Role
    transposed: bool = False


@dataclass(frozen=True)
class Buffer(Request):
    """A matrix in DRAM: `pitch` bytes from row to row, first byte at `address`."""

    pitch: int = 0
    address: int = 0

    @property
    def size(self) -> int:
        """Bytes in DRAM."""
        return self.rows * self.pitch

    @property
    def end(self) -> int:
        """First byte behind it."""
        return self.address + self.size

    @property
    def host_dtype(self) -> str:
        """Type of the matrix on the host."""
        return "int8" if self.dtype == "int4" else self.dtype

    @property
    def host_shape(self) -> tuple[int, int]:
        """Shape of the matrix on the host."""
        shape = self.rows, self.columns
        return shape[::-1] if self.transposed else shape

    def at(self, row: int, column: int) -> int:
        """Return the address of an element."""
        return self.address + row * self.pitch + column * BITS[self.dtype] // 8

    def window(self, dram: np.ndarray) -> np.ndarray:
        """Return its elements in a DRAM image (uint8) as a view (rows, columns).

        Of ``int4``, the bytes that hold them, uint8 (rows, ceil(columns / 2)).
        """
        kind = np.dtype("uint8" if self.dtype == "int4" else self.dtype).newbyteorder("<")
        rows = dram[self.address : self.end].reshape(self.rows, self.pitch)
        return rows[:, : row_bytes(self.dtype, self.columns)].view(kind)

    def __str__(self) -> str:
        return (
            f"{self.address:#010x}-{self.end:#010x} {self.role} {self.name}: {self.dtype} "
            f"{self.rows}x{self.columns}, pitch {self.pitch}"
            + (", transposed" if self.transposed else "")
        )


@dataclass(frozen=True)
class Layout:
    """All buffers of a program, and where its instructions go."""

    buffers: tuple[Buffer, ...]
    program_address: int

    def __getitem__(self, name: str) -> Buffer:
        for buffer in self.buffers:
            if buffer.name == name:
                return buffer
        raise KeyError(f"no buffer {name!r}; there are: {', '.join(b.name for b in self.buffers)}")

    def __str__(self) -> str:
        return "\n".join(str(buffer) for buffer in self.buffers)


def row_bytes(dtype: str, columns: int) -> int:
    """Return the bytes of so many elements of a row in DRAM."""
    return -(-columns * BITS[dtype] // 8)


def align(value: int, step: int) -> int:
    """Return `value` rounded up to a multiple of `step`."""
    return -(-value // step) * step


def place(config: Config, requests: Iterable[Request]) -> Layout:
    """Give each matrix a pitch and an address, one after the other, the program behind them.

    Raises
    ------
    PlacementError
        They do not fit ``2^address_bits`` bytes.
    """
    step = max(config.bus_bytes, LINE)
    address, buffers = 0, []
    for request in requests:
        pitch = align(row_bytes(request.dtype, request.columns), config.bus_bytes)
        buffers.append(Buffer(**vars(request), pitch=pitch, address=address))
        address = align(buffers[-1].end, step)
    check_fits(config, address, "the buffers")
    return Layout(tuple(buffers), address)


def check_fits(config: Config, size: int, what: str) -> None:
    """Raise PlacementError unless `size` bytes fit the address space."""
    if size > 1 << config.address_bits:
        raise PlacementError(
            f"{what} take {size} bytes of DRAM, but address_bits {config.address_bits} "
            f"reach {1 << config.address_bits}"
        )
