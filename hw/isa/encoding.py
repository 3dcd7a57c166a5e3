"""Binary and text form of instructions, derived from their annotations."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from .instructions import (
    INSTRUCTION_BYTES,
    Absmax,
    Execute,
    Field,
    Halt,
    Instruction,
    InstructionError,
    Load,
    Opcode,
    Store,
    fields_of,
    names,
)

__all__ = [
    "CLASSES",
    "assemble",
    "decode",
    "decode_program",
    "disassemble",
    "encode",
    "from_text",
    "to_text",
]

CLASSES: dict[Opcode, type[Instruction]] = {
    cls.opcode: cls for cls in (Load, Execute, Store, Absmax, Halt)
}
_BY_MNEMONIC = {cls.mnemonic(): cls for cls in CLASSES.values()}


def encode(instruction: Instruction) -> bytes:
    """Return the 32 bytes of an instruction: opcode in byte 0, fields from bit 8, little-endian."""
    word = int(instruction.opcode)
    for item in fields_of(type(instruction)):
        word |= getattr(instruction, item.name) << item.offset
    return word.to_bytes(INSTRUCTION_BYTES, "little")


def decode(data: bytes) -> Instruction:
    """Return the instruction of 32 bytes.

    Raises
    ------
    InstructionError
        Wrong length, unknown opcode, a value outside its enumeration, or bits set past the fields.
    """
    if len(data) != INSTRUCTION_BYTES:
        raise InstructionError(f"an instruction is {INSTRUCTION_BYTES} bytes, not {len(data)}")
    word = int.from_bytes(data, "little")
    try:
        cls = CLASSES[Opcode(word & 0xFF)]
    except ValueError:
        raise InstructionError(
            f"illegal opcode {word & 0xFF}; accepted: {', '.join(str(int(o)) for o in Opcode)}"
        ) from None
    fields = fields_of(cls)
    end = fields[-1].offset + fields[-1].bits
    if word >> end:
        raise InstructionError(f"{cls.mnemonic()} has bits set past its last field (bit {end})")
    return cls(**{item.name: _extract(cls, item, word) for item in fields})


def _extract(cls: type[Instruction], item: Field, word: int) -> int | IntEnum:
    value = (word >> item.offset) & ((1 << item.bits) - 1)
    if item.enum is None:
        return value
    try:
        return item.enum(value)
    except ValueError:
        raise InstructionError(
            f"{cls.mnemonic()} {item.name} is {value}; accepted: {names(item.enum)}"
        ) from None


def decode_program(program: bytes) -> list[Instruction]:
    """Return the instructions up to the first word that is none, where the machine stops."""
    found: list[Instruction] = []
    for at in range(0, len(program) - INSTRUCTION_BYTES + 1, INSTRUCTION_BYTES):
        try:
            found.append(decode(program[at : at + INSTRUCTION_BYTES]))
        except InstructionError:
            break
    return found


def to_text(instruction: Instruction) -> str:
    """Return one line: mnemonic, then ``name=value`` for every field that is not zero."""
    words = [instruction.mnemonic()]
    for item in fields_of(type(instruction)):
        value = getattr(instruction, item.name)
        if item.enum is not None:
            words.append(f"{item.name}={value.name.lower()}")
        elif value:
            words.append(
                f"{item.name}={value:#x}" if item.name == "dram" else f"{item.name}={value}"
            )
    return " ".join(words)


def from_text(line: str) -> Instruction:
    """Return the instruction of one line; the exact inverse of `to_text`. Fields left out are zero.

    Raises
    ------
    InstructionError
        Unknown mnemonic or field, a field twice, or a value that does not fit.
    """
    mnemonic, *words = line.split() or [""]
    if mnemonic not in _BY_MNEMONIC:
        raise InstructionError(
            f"unknown instruction {mnemonic!r}; accepted: {', '.join(_BY_MNEMONIC)}"
        )
    cls = _BY_MNEMONIC[mnemonic]
    fields = {item.name: item for item in fields_of(cls)}
    values: dict[str, int | IntEnum] = {
        name: item.enum(0) if item.enum else 0 for name, item in fields.items()
    }
    seen: set[str] = set()
    for word in words:
        name, separator, text = word.partition("=")
        if not separator or name not in fields:
            raise InstructionError(
                f"{mnemonic} has no field {word!r}; accepted: {', '.join(fields)} as name=value"
            )
        if name in seen:
            raise InstructionError(f"{mnemonic} {name} is given twice")
        seen.add(name)
        values[name] = _parse(mnemonic, fields[name], text)
    return cls(**values)


def _parse(mnemonic: str, item: Field, text: str) -> int | IntEnum:
    try:
        return int(text, 0) if item.enum is None else item.enum[text.upper()]
    except (ValueError, KeyError):
        accepted = "a whole number" if item.enum is None else f"one of {names(item.enum)}"
        raise InstructionError(f"{mnemonic} {item.name} must be {accepted}, not {text!r}") from None


def disassemble(program: Iterable[Instruction]) -> str:
    """Return the text of a program, one instruction a line."""
    return "".join(to_text(instruction) + "\n" for instruction in program)


def assemble(text: str) -> list[Instruction]:
    """Return the program of a text; empty lines and what follows ``#`` are passed over.

    Raises
    ------
    InstructionError
        As `from_text`, with the line's number in front.
    """
    program = []
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.partition("#")[0].strip()
        if not code:
            continue
        try:
            program.append(from_text(code))
        except InstructionError as error:
            raise InstructionError(f"line {number}: {error}") from None
    return program
