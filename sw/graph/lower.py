"""From scheduled segments to programs: templates at their addresses."""

from __future__ import annotations

from hw.isa.config import Config
from hw.isa.instructions import INSTRUCTION_BYTES, Absmax, Instruction, Load, Store

from ..place import Buffer, Layout, Role, align
from ..program import ProductSpan, Program
from .ir import Host, Segment
from .place import Placed, read_by, used_by, written_by
from .program import StepProgram
from .schedule import Scheduled
from .template import Template

__all__ = ["lower_step"]


def lower_step(config: Config, scheduled: Scheduled, placed: Placed) -> StepProgram:
    """Return the programs of all segments, one behind the other behind the values."""
    fused = placed.fused
    address, made = placed.data_end, set()
    steps: list[Program | Host] = []
    for step in fused.steps:
        if isinstance(step, Host):
            steps.append(step)
            continue
        found = scheduled.templates[step.name]
        steps.append(_program(config, step, found, placed, address, made))
        made |= written_by(step) | read_by(step)
        size = len(found.instructions) * INSTRUCTION_BYTES
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
