"""C structures and encoders of the instructions, from `hw.isa.instructions.fields_of`."""

from __future__ import annotations

import inspect
from enum import IntEnum

from hw.isa.documentation import documentation
from hw.isa.encoding import CLASSES
from hw.isa.instructions import INSTRUCTION_BYTES, Field, Instruction, Opcode, fields_of

from .text import comment, define, enumeration, section

__all__ = ["encoders"]

_PUT = """\
/* Put the low bits of a value into a word from bit `offset`; the word is zero there. */
static inline void cdmqta_put(uint8_t *word, unsigned offset, unsigned bits, uint64_t value)
{
    while (bits != 0) {
        unsigned shift = offset % 8, part = 8 - shift < bits ? 8 - shift : bits;
        unsigned low = (unsigned)(value & ((1u << part) - 1));

        word[offset / 8] = (uint8_t)(word[offset / 8] | low << shift);
        value >>= part;
        offset += part;
        bits -= part;
    }
}

/* Put the value of a field, such as LOAD_ROWS, into a word. */
#define CDMQTA_PUT(word, field, value) \\
    cdmqta_put(word, CDMQTA_##field##_OFFSET, CDMQTA_##field##_BITS, (uint64_t)(value))
"""

_ENCODER = """\
/* Encode as the {size} bytes of a word; return false, and leave it, if a field does not fit. */
static inline bool cdmqta_encode_{name}(const struct cdmqta_{name} *fields, uint8_t *word)
{{
    size_t at;

    if ({refused})
        return false;
    for (at = 0; at < CDMQTA_INSTRUCTION_BYTES; at++)
        word[at] = 0;
    word[0] = CDMQTA_OPCODE_{upper};
{puts}    return true;
}}
"""


def encoders() -> str:
    """Return opcodes, enumerations, and of each instruction its fields, structure and encoder."""
    parts = [
        section("Instructions"),
        define("INSTRUCTION_BYTES", str(INSTRUCTION_BYTES)),
        _enumeration(Opcode),
        *(_enumeration(enum) for enum in _enumerations()),
        _PUT,
        *(_instruction(cls) for cls in CLASSES.values()),
    ]
    return "\n".join(parts)


def _enumerations() -> list[type[IntEnum]]:
    """Return the types of fields, each once."""
    found = {item.enum: None for cls in CLASSES.values() for item in fields_of(cls) if item.enum}
    return list(found)


def _enumeration(enum: type[IntEnum]) -> str:
    docs = documentation(enum)
    items = [(member.name, int(member), docs.get(member.name, "")) for member in enum]
    return comment(inspect.getdoc(enum) or "") + enumeration(enum.__name__.lower(), items)


def _instruction(cls: type[Instruction]) -> str:
    name, fields = cls.mnemonic(), fields_of(cls)
    places = "".join(
        define(f"{name.upper()}_{item.name.upper()}_{what}", str(value))
        for item in fields
        for what, value in (("OFFSET", item.offset), ("BITS", item.bits))
    )
    members = "".join(f"    {_type(item)} {item.name};{_note(item)}\n" for item in fields)
    encoder = _ENCODER.format(
        size=INSTRUCTION_BYTES, name=name, upper=name.upper(),
        refused="\n        || ".join(filter(None, map(_refused, fields))),
        puts="".join(_put(name.upper(), item) for item in fields),
    )  # fmt: skip
    doc = comment(inspect.getdoc(cls) or "")
    return f"{doc}struct cdmqta_{name} {{\n{members}}};\n\n{places}\n{encoder}"


def _type(item: Field) -> str:
    if item.enum:
        return f"enum cdmqta_{item.enum.__name__.lower()}"
    return f"uint{_room(item)}_t"


def _room(item: Field) -> int:
    """Return the bits of the least integer type that holds a field."""
    return next(bits for bits in (8, 16, 32, 64) if bits >= item.bits)


def _note(item: Field) -> str:
    """Return a comment on the values of a field that its type does not show."""
    if item.low:
        return f" /* at least {item.low} */"
    if item.enum or item.bits == _room(item):
        return ""
    return " /* 0 or 1 */" if item.bits == 1 else f" /* {item.bits} bits */"


def _refused(item: Field) -> str:
    """Return the condition under which a field has no encoding; empty if it always has one."""
    value = f"fields->{item.name}"
    if item.enum:
        prefix = f"CDMQTA_{item.enum.__name__.upper()}_"
        others = (f"{value} != {prefix}{each.name}" for each in item.enum)
        return "(" + "\n            && ".join(others) + ")"
    conditions = [f"{value} < {item.low}"] if item.low else []
    if item.bits < _room(item):
        conditions.append(f"{value} >> {item.bits} != 0")
    return " || ".join(conditions)


def _put(prefix: str, item: Field) -> str:
    return f"    CDMQTA_PUT(word, {prefix}_{item.name.upper()}, fields->{item.name});\n"
