"""What the two halves of the lowering share: instructions so far, and what is where on the chip."""

from __future__ import annotations

from dataclasses import dataclass

from hw.isa.instructions import Instruction, Load, Memory
from sim.footprint import Space, blocks

from .layout import Layout, Matrix
from .words import Words

__all__ = ["Emitter", "Scales", "Span", "Tile"]

Span = tuple[int, int]
Tile = tuple[int, int]


@dataclass(frozen=True)
class Scales:
    """Entries in a scale memory: their first word, how many, and who wrote them."""

    base: int
    count: int
    owner: object


class Emitter:
    """Instructions so far, who owns each word, and the entries that ABSMAX made last."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.config = layout, layout.config
        self.instructions: list[Instruction] = []
        self.words = Words(self.config)
        self.updates = Scales(0, 0, None)

    def emit(self, instruction: Instruction) -> None:
        """Add an instruction."""
        self.instructions.append(instruction)

    def table(self, memory: Memory, matrix: Matrix, base: int, span: Span | None = None) -> Scales:
        """Load scale entries; a word of the column scales holds many."""
        start, stop = span or (0, matrix.columns)
        lanes = self.config.columns if memory is Memory.COLUMN_SCALE else 1
        words = blocks(stop - start, lanes)
        self.emit(
            Load(
                memory=memory, dram=matrix.at(0, (start, stop)), rows=1, columns=4 * (stop - start),
                base=base, block_stride=1,
            )
        )  # fmt: skip
        self.words.claim(Space(memory), range(base, base + words), matrix.name)
        return Scales(base, words, matrix.name)
