"""A program as a table: one record an instruction, with all fields of all instructions."""

from __future__ import annotations

import numpy as np

from hw.isa.encoding import CLASSES
from hw.isa.instructions import INSTRUCTION_BYTES, Engine, Field, fields_of

from .record import record

__all__ = ["CODE", "HALT", "ILLEGAL", "table"]

HALT, ILLEGAL = len(Engine), len(Engine) + 1
"""What stands for the engine of a halt, and of a word that does not decode."""

_NAMES = dict.fromkeys(item.name for cls in CLASSES.values() for item in fields_of(cls))
CODE = record(opcode=1, engine=1, first_fold=1, folds=1, **dict.fromkeys(_NAMES, 1))
"""Opcode, number of the engine (`HALT` for none), the place in the table of `folds.expand`, which
fills it in, and every field by its name, zero where an instruction has none of that name."""


def table(program: bytes) -> np.ndarray:
    """Return the CODE of an encoded program; a word that does not decode is `ILLEGAL`."""
    words = np.frombuffer(program, "<u8").reshape(-1, INSTRUCTION_BYTES // 8)
    code = np.zeros(len(words), CODE)
    opcodes = (words[:, 0] & np.uint64(0xFF)).astype(np.int64)
    code["opcode"] = opcodes
    code["engine"] = ILLEGAL
    for opcode, cls in CLASSES.items():
        rows = np.flatnonzero(opcodes == opcode)
        legal = np.ones(len(rows), bool)
        for item in fields_of(cls):
            value = _extract(words[rows], item)
            legal &= value >= item.low
            if item.enum is not None:
                legal &= np.isin(value, list(item.enum))
            code[item.name][rows] = value
        last = fields_of(cls)[-1]
        legal &= _clear(words[rows], last.offset + last.bits)
        code["engine"][rows[legal]] = HALT if cls.engine is None else int(cls.engine)
    return code


def _clear(words: np.ndarray, end: int) -> np.ndarray:
    """Return for each instruction whether its bits from `end` on are zero."""
    zero = np.ones(len(words), bool)
    for place in range(words.shape[1]):
        low = min(max(end - 64 * place, 0), 64)
        if low < 64:
            zero &= words[:, place] >> np.uint64(low) == 0
    return zero


def _extract(words: np.ndarray, item: Field) -> np.ndarray:
    """Return a field of every instruction; it may span two of the words of 64 bits."""
    place, shift = divmod(item.offset, 64)
    value = words[:, place] >> np.uint64(shift)
    if shift + item.bits > 64:
        value = value | words[:, place + 1] << np.uint64(64 - shift)
    return (value & np.uint64((1 << item.bits) - 1)).astype(np.int64)
