"""A program as a table: one record an instruction, with all fields of all instructions."""

from __future__ import annotations

import numpy as np

from hw.isa.encoding import CLASSES
from hw.isa.instructions import INSTRUCTION_BYTES, Engine, Field, fields_of

from .record import record

__all__ = ["CODE", "HALT", "table"]

HALT = len(Engine)
"""What stands for the engine of a halt."""

_NAMES = dict.fromkeys(item.name for cls in CLASSES.values() for item in fields_of(cls))
CODE = record(opcode=1, engine=1, first_fold=1, folds=1, **dict.fromkeys(_NAMES, 1))
"""Opcode, number of the engine (`HALT` for none), the place in the table of `folds.expand`, which
fills it in, and every field by its name, zero where an instruction has none of that name."""


def table(program: bytes) -> np.ndarray:
    """Return the CODE of an encoded program, which must be legal.

    Raises
    ------
    ValueError
        An opcode is unknown, with the index of the instruction.
    """
    words = np.frombuffer(program, "<u8").reshape(-1, INSTRUCTION_BYTES // 8)
    code = np.zeros(len(words), CODE)
    opcodes = (words[:, 0] & 0xFF).astype(np.int64)
    code["opcode"] = opcodes
    known = np.isin(opcodes, [int(opcode) for opcode in CLASSES])
    if not known.all():
        at = int(np.argmin(known))
        raise ValueError(f"instruction {at} has the unknown opcode {opcodes[at]}")
    for opcode, cls in CLASSES.items():
        rows = np.flatnonzero(opcodes == opcode)
        code["engine"][rows] = HALT if cls.engine is None else int(cls.engine)
        for item in fields_of(cls):
            code[item.name][rows] = _extract(words[rows], item)
    return code


def _extract(words: np.ndarray, item: Field) -> np.ndarray:
    """Return a field of every instruction; it may span two of the words of 64 bits."""
    place, shift = divmod(item.offset, 64)
    value = words[:, place] >> np.uint64(shift)
    if shift + item.bits > 64:
        value = value | words[:, place + 1] << np.uint64(64 - shift)
    return (value & np.uint64((1 << item.bits) - 1)).astype(np.int64)
