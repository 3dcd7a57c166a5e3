"""Programs of segments on a layout of their own: what segments of one form share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hw.isa.config import Config
from hw.isa.instructions import Halt, Instruction

from ..lower import instruction_of
from ..place import Layout
from ..step import Emit, Fetch, Measure, Multiply, Step, Table
from ..tokens import add_tokens
from .ir import Fused, Segment
from .place import template_layout, used_by
from .stage import Stager
from .tiles import Tile
from .work import Work

__all__ = ["Template", "template"]


@dataclass(frozen=True)
class Template:
    """The instructions of all segments of one kind, which differ in addresses alone.

    Members
    -------
    instructions : tuple of Instruction
        On a layout of their own.
    buffers : tuple of (int, int) or None
        For each instruction with an address in DRAM: which of the segment's values, in the order
        of `used_by`, and how far behind its first byte.
    runs : tuple of (int, int)
        Place of a product in the segment, and how many instructions in a row are its.
    layout : Layout
    """

    instructions: tuple[Instruction, ...]
    buffers: tuple[tuple[int, int] | None, ...]
    runs: tuple[tuple[int, int], ...]
    layout: Layout


def template(
    config: Config,
    fused: Fused,
    segment: Segment,
    tiles: Sequence[Sequence[Tile]],
    works: Sequence[Work],
) -> Template:
    """Return the instructions of a segment on a layout of its own."""
    layout = template_layout(config, fused, segment)
    names = {name: index for index, name in enumerate(used_by(segment))}
    addresses = {buffer.name: buffer.address for buffer in layout.buffers}
    instructions, buffers, runs = [], [], []
    for product, step in Stager(config, fused.values, segment, tiles, works).steps():
        instruction = instruction_of(layout, step)
        name = _buffer(step)
        place = None
        if name is not None:
            place = names[name], instruction.dram - addresses[name]
        instructions.append(instruction)
        buffers.append(place)
        if runs and runs[-1][0] == product:
            runs[-1] = product, runs[-1][1] + 1
        else:
            runs.append((product, 1))
    tokened = add_tokens(config, [*instructions, Halt()])
    return Template(tokened.instructions, (*buffers, None), tuple(runs), layout)


def _buffer(step: Step) -> str | None:
    """Return the buffer in whose place an instruction's address lies."""
    match step:
        case Fetch():
            return step.operand.buffer
        case Table():
            return step.buffer
        case Emit() | Measure():
            return step.output.buffer or None
        case Multiply():
            return None
