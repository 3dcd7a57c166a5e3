"""From instruction fields to Amaranth layouts: the one bridge from `hw.isa` to the hardware."""

from __future__ import annotations

from amaranth import unsigned
from amaranth.lib import data

from .isa.instructions import INSTRUCTION_BYTES, Engine, Instruction, fields_of

__all__ = ["INSTRUCTION_BITS", "SCALE", "WAITING_BITS", "instruction_layout"]

INSTRUCTION_BITS = 8 * INSTRUCTION_BYTES
WAITING_BITS = 4 * len(Engine)
"""Bits of Register.WAITING: four an engine."""

SCALE = data.StructLayout({"m": unsigned(16), "s": 8})
"""A scale entry as the memories keep it: multiplier and shift (signed, as raw bits)."""


def instruction_layout(cls: type[Instruction]) -> data.StructLayout:
    """Return the layout of an instruction word, opcode first, enumerations as raw bits.

    All layouts are INSTRUCTION_BITS wide; what no field uses is `reserved`.
    """
    fields = {"opcode": unsigned(8)}
    fields.update({item.name: unsigned(item.bits) for item in fields_of(cls)})
    fields["reserved"] = unsigned(INSTRUCTION_BITS - sum(shape.width for shape in fields.values()))
    return data.StructLayout(fields)
