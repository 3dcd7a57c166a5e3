"""A compiled step: programs on one DRAM image, and what the host does between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hw.isa.config import Config

from ..place import Buffer
from ..program import Program
from .ir import Host, Value

__all__ = ["StepProgram"]


@dataclass(frozen=True)
class StepProgram:
    """A whole training step for one accelerator.

    Members
    -------
    name : str
    config : Config
    values : dict
        Every value of host and DRAM, by name.
    steps : tuple of Program or Host
        In order. Layouts of the programs name the buffers that each uses, `Role.INPUT` for those
        that the host writes before it, `Role.KEPT` for those of earlier programs. Buffers that are
        never needed at the same time may share a place.
    meta : dict
        What the step is, for who runs it: numbers, texts and lists of such by name.
    """

    name: str
    config: Config
    values: Mapping[str, Value]
    steps: tuple[Program | Host, ...]
    meta: Mapping[str, object] = field(default_factory=dict)

    @property
    def programs(self) -> Iterator[Program]:
        """The programs in order."""
        return (step for step in self.steps if isinstance(step, Program))

    @property
    def buffers(self) -> dict[str, Buffer]:
        """Every buffer by name."""
        return {buffer.name: buffer for each in self.programs for buffer in each.buffers}

    @property
    def dram_bytes(self) -> int:
        """Bytes of DRAM for all buffers and instructions."""
        return max(program.dram_bytes for program in self.programs)

    def __str__(self) -> str:
        return "\n".join([f"step {self.name}", *map(str, self.steps)])
