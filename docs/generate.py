"""Write docs/instructions.md, docs/pipeline.svg and the tables of other pages from the code.

``python docs/generate.py``; a test holds the pages to it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from hw.isa.documentation import documentation
from hw.isa.encoding import CLASSES
from hw.isa.instructions import INSTRUCTION_BYTES, Instruction, fields_of
from hw.isa.registers import COUNTERS, IDENTITY, VERSION, Control, ErrorCode, Register, Status

PAGE = Path(__file__).parent / "instructions.md"

INTRODUCTION = """# Instructions, registers and counters

This page is written by `python docs/generate.py` from `hw/isa`.

An instruction is {size} bytes, little-endian: the opcode in bits 0-7, then the fields below. Bits past the
last field are zero. Each engine runs its instructions in program order; engines run ahead of one another
and meet only at tokens. Before it starts, an instruction takes `wait_X` tokens that engine X has sent to
its engine; when it is done it sends one token to each engine X with `signal_X` set. Tokens of a pair of
engines arrive in program order.

Every matrix in an on-chip memory is rows by *blocks*: block b of row r is the word
`base + r.row_stride + b.block_stride`, with as many elements as the memory has lanes; the last block of a row
is padded with zeros. Addresses number all words of a memory. The lowest bit is the bank of the input and the weight
memory, the top bit the half of the output memory. Where an element has several products (`macs_per_element`), as many
words of an operand memory are read at once: the lowest bits choose among them, and the next is the bank.

The text form is one instruction a line, `mnemonic name=value ...`; fields left out are zero.
"""


def page() -> str:
    """Return the text of the page."""
    parts = [INTRODUCTION.format(size=INSTRUCTION_BYTES)]
    parts += [_instruction(cls) for cls in CLASSES.values()]
    parts.append("## Registers\n\nOn the AXI4-Lite slave, 32 bits each, written whole.\n")
    parts.append(_table("address | register", [(f"{int(r):#04x}", r) for r in Register]))
    for bits in (Control, Status):
        heading = f"{bits.__name__} bit | "
        parts.append(_table(heading, [(b.bit_length() - 1, b) for b in bits]))
    parts.append(f"IDENTITY reads {IDENTITY:#x}, VERSION {VERSION}.\n")
    parts.append("## Error codes\n\n" + _table("code | error", [(int(e), e) for e in ErrorCode]))
    rows = ["| address | counter | |", "|---|---|---|"]
    for index, counter in enumerate(COUNTERS):
        address = Register.COUNTERS + 8 * index
        rows.append(f"| {address:#04x} | `{counter.name}` | {counter.doc} |")
    parts.append("## Counters\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _instruction(cls: type[Instruction]) -> str:
    """Return the section of an instruction: what it does, its fields, what their values mean."""
    rows = ["| field | bits | width | values |", "|---|---|---|---|"]
    for item in fields_of(cls):
        values = ", ".join(f"{v.value} {v.name.lower()}" for v in item.enum or ())
        values = f"at least {item.low}" if item.low else values
        end = item.offset + item.bits - 1
        rows.append(f"| `{item.name}` | {item.offset}-{end} | {item.bits} | {values} |")
    parts = [f"## {cls.mnemonic()} (opcode {int(cls.opcode)})\n\n{inspect.getdoc(cls)}\n"]
    parts.append("\n".join(rows) + "\n")
    for item in fields_of(cls):
        if item.enum and any(documentation(item.enum).values()):
            values = [(int(value), value) for value in item.enum]
            parts.append(_table(f"{item.name} | ", values, str.lower))
    return "\n".join(parts)


def _table(
    heading: str, members: list[tuple[object, Enum]], name: Callable[[str], str] = str
) -> str:
    """Return a table of an enumeration: a number, the name and what the source says of it."""
    rows = [f"| {heading} | |", "|---|---|---|"]
    for number, member in members:
        text = documentation(type(member)).get(member.name, "")
        rows.append(f"| {number} | {name(member.name)} | {text} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    import energy_tables
    import pipeline_svg
    from pipeline_trace import record

    PAGE.write_text(page())
    trace = record()
    pipeline_svg.DRAWING.write_text(pipeline_svg.drawing(trace))
    pipeline_svg.PAGE.write_text(pipeline_svg.with_table(pipeline_svg.PAGE.read_text(), trace))
    energy_tables.PAGE.write_text(energy_tables.with_tables(energy_tables.PAGE.read_text()))
