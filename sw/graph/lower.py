"""From scheduled segments to programs: instructions, tokens, addresses."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from hw.isa.config import Config
from hw.isa.instructions import INSTRUCTION_BYTES, Absmax, Halt, Instruction, Load, Store

from ..lower import instruction_of
from ..place import Buffer, Layout, Role, align
from ..program import ProductSpan, Program
from ..step import Emit, Fetch, Measure, Multiply, Step, Table
from ..tokens import add_tokens
from .form import form
from .ir import Fused, Host, Segment
from .place import Placed, read_by, template_layout, used_by, written_by
from .program import StepProgram
from .schedule import Scheduled, Work
from .stage import Stager
from .tile import Tiled

__all__ = ["Template", "lower_step", "template"]


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
    config: Config, fused: Fused, segment: Segment, tiled: Tiled, works: Sequence[Work]
) -> Template:
    """Return the instructions of a segment on a layout of its own."""
    layout = template_layout(config, fused, segment)
    names = {name: index for index, name in enumerate(used_by(segment))}
    addresses = {buffer.name: buffer.address for buffer in layout.buffers}
    tiles = [tiled.of(segment, product) for product in segment.products]
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


def lower_step(config: Config, scheduled: Scheduled, placed: Placed) -> StepProgram:
    """Return the programs of all segments, one behind the other behind the values."""
    tiled = scheduled.tiled
    fused = placed.fused
    known: dict[Hashable, Template] = {}
    address, made = placed.data_end, set()
    steps: list[Program | Host] = []
    for step in fused.steps:
        if isinstance(step, Host):
            steps.append(step)
            continue
        kind = form(step, fused.values)
        if kind not in known:
            known[kind] = template(config, fused, step, tiled, scheduled.works[step.name])
        steps.append(_program(config, step, known[kind], placed, address, made))
        made |= written_by(step) | read_by(step)
        size = len(known[kind].instructions) * INSTRUCTION_BYTES
        address = align(address + size, max(config.bus_bytes, 64))
    return StepProgram(fused.name, config, fused.values, tuple(steps), dict(fused.meta))


def _program(
    config: Config,
    segment: Segment,
    found: Template,
    placed: Placed,
    address: int,
    made: set[str],
) -> Program:
    """Return a segment's program: the template at the addresses of its values."""
    buffers = {b.name: b for b in placed.layouts[segment.name].buffers}
    places = [buffers[name].address for name in used_by(segment)]
    instructions = tuple(
        each if place is None else _moved(each, places[place[0]] + place[1])
        for each, place in zip(found.instructions, found.buffers, strict=True)
    )
    layout = Layout(tuple(_roles(buffers, segment, made)), address)
    return Program(segment.name, config, instructions, layout, _spans(placed, segment, found), {})


def _moved(instruction: Load | Store | Absmax, address: int) -> Instruction:
    """Return an instruction at another address, aligned as it was: nothing need be checked."""
    moved = object.__new__(type(instruction))
    moved.__dict__.update(instruction.__dict__, dram=address)
    return moved


def _roles(buffers: dict[str, Buffer], segment: Segment, made: set[str]) -> list[Buffer]:
    written = written_by(segment)
    found = []
    for name, buffer in buffers.items():
        role = Role.OUTPUT if name in written else Role.KEPT if name in made else Role.INPUT
        found.append(Buffer(**vars(buffer) | {"role": role}))
    return found


def _spans(placed: Placed, segment: Segment, found: Template) -> tuple[ProductSpan, ...]:
    """Return a span for each run of instructions of one product; its last has all that is asked."""
    last = {product: index for index, (product, _) in enumerate(found.runs)}
    spans, start = [], 0
    for index, (number, count) in enumerate(found.runs):
        product = segment.products[number]
        asked = placed.fused.useful.get(product.name, product.macs) if last[number] == index else 0
        k = max((term.k for term in product.terms if not term.updates), default=0)
        spans.append(
            ProductSpan(product.name, product.m, k, product.n, "", False, asked, start,
                        start + count)
        )  # fmt: skip
        start += count
    return tuple(spans)
