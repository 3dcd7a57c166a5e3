"""A compiled program: instructions and the buffers they work on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hw.isa.config import Config
from hw.isa.encoding import encode, to_text
from hw.isa.instructions import INSTRUCTION_BYTES, Instruction

from .place import Buffer, Layout, Role, check_fits

__all__ = ["Program", "ProductSpan", "encode_all"]


def encode_all(instructions: Iterable[Instruction]) -> bytes:
    """Return instructions as the hardware fetches them."""
    return b"".join(map(encode, instructions))


@dataclass(frozen=True)
class ProductSpan:
    """Where a product's instructions are, for rows in reports.

    Members
    -------
    name : str
    m, k, n : int
        Shape; the reduction of an update is not counted in k.
    dataflow : str
        ws or os, and ws+os if its update runs in the other one.
    swapped : bool
        Whether the transpose is computed: N x K by K x M.
    macs : int
    start, stop : int
        Instructions `start` to ``stop - 1``.
    choice : str
        How good its tiling is known to be, see `sw.decide.Decision`.
    """

    name: str
    m: int
    k: int
    n: int
    dataflow: str
    swapped: bool
    macs: int
    start: int
    stop: int
    choice: str = ""

    def __str__(self) -> str:
        return (
            f"{self.start:6}-{self.stop - 1:<6} {self.name} {self.m}x{self.k}x{self.n} "
            f"{self.dataflow}{' swapped' if self.swapped else ''} {self.macs} MACs"
        )


@dataclass(frozen=True)
class Program:
    """What a device runs.

    Members
    -------
    name : str
        Of this program among those of one job.
    config : Config
        The accelerator it is compiled for.
    instructions : tuple of Instruction
    layout : Layout
        DRAM buffers and the address of the program.
    products : tuple of ProductSpan
        In the order in which they are computed.
    meta : dict
        What the job was, for who runs it: numbers and texts by name.

    Raises
    ------
    PlacementError
        Buffers and instructions do not fit the address space.
    """

    name: str
    config: Config
    instructions: tuple[Instruction, ...]
    layout: Layout
    products: tuple[ProductSpan, ...] = ()
    meta: dict[str, int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fits(self.config, self.dram_bytes, f"the buffers and instructions of {self.name}")

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """Every matrix in DRAM."""
        return self.layout.buffers

    @property
    def inputs(self) -> dict[str, Buffer]:
        """What the host must give, by name."""
        return {b.name: b for b in self.buffers if b.role is Role.INPUT}

    @property
    def outputs(self) -> dict[str, Buffer]:
        """What the host gets back, by name."""
        return {b.name: b for b in self.buffers if b.role is Role.OUTPUT}

    @property
    def dram_bytes(self) -> int:
        """Bytes of DRAM for buffers and instructions, in whole beats."""
        size = len(self.instructions) * INSTRUCTION_BYTES
        beats = -(-size // self.config.bus_bytes)
        return self.layout.program_address + beats * self.config.bus_bytes

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all products."""
        return sum(product.macs for product in self.products)

    def encode(self) -> bytes:
        """Return the instructions as the hardware fetches them."""
        return encode_all(self.instructions)

    def __str__(self) -> str:
        lines = [f"program {self.name}: {len(self.instructions)} instructions"]
        lines += [str(buffer) for buffer in self.buffers]
        lines += [str(product) for product in self.products]
        lines += [f"{i:6} {to_text(each)}" for i, each in enumerate(self.instructions)]
        return "\n".join(lines)
