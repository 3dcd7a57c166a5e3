"""Write docs/instructions.md from the code: ``python docs/generate.py``. A test holds it to that."""

from __future__ import annotations

import inspect
from pathlib import Path

from hw.isa.encoding import CLASSES
from hw.isa.instructions import INSTRUCTION_BYTES, fields_of
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
is padded with zeros. Addresses number the words of both halves of a memory; the half is the top bit.

The text form is one instruction a line, `mnemonic name=value ...`; fields left out are zero.
"""


def page() -> str:
    """Return the text of the page."""
    parts = [INTRODUCTION.format(size=INSTRUCTION_BYTES)]
    for opcode, cls in CLASSES.items():
        parts.append(f"## {cls.mnemonic()} (opcode {int(opcode)})\n\n{inspect.getdoc(cls)}\n")
        rows = ["| field | bits | width | values |", "|---|---|---|---|"]
        for item in fields_of(cls):
            values = ", ".join(f"{v.value} {v.name.lower()}" for v in item.enum or ())
            values = f"at least {item.low}" if item.low else values
            end = item.offset + item.bits - 1
            rows.append(f"| `{item.name}` | {item.offset}-{end} | {item.bits} | {values} |")
        parts.append("\n".join(rows) + "\n")
    parts.append("## Registers\n\nOn the AXI4-Lite slave, 32 bits each, written whole.\n")
    rows = ["| address | register | |", "|---|---|---|"]
    documented = _documentation(Register)
    rows += [f"| {int(r):#04x} | {r.name} | {documented[r.name]} |" for r in Register]
    parts.append("\n".join(rows) + "\n")
    for bits in (Control, Status):
        documented = _documentation(bits)
        rows = [f"| {bits.__name__} bit | | |", "|---|---|---|"]
        for bit in bits:
            rows.append(f"| {bit.bit_length() - 1} | {bit.name} | {documented.get(bit.name, '')} |")
        parts.append("\n".join(rows) + "\n")
    parts.append(f"IDENTITY reads {IDENTITY:#x}, VERSION {VERSION}.\n")
    documented = _documentation(ErrorCode)
    rows = ["| code | error | |", "|---|---|---|"]
    rows += [f"| {int(e)} | {e.name} | {documented.get(e.name, '')} |" for e in ErrorCode]
    parts.append("## Error codes\n\n" + "\n".join(rows) + "\n")
    rows = ["| address | counter | |", "|---|---|---|"]
    for index, counter in enumerate(COUNTERS):
        address = Register.COUNTERS + 8 * index
        rows.append(f"| {address:#04x} | `{counter.name}` | {counter.doc} |")
    parts.append("## Counters\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _documentation(enum: type) -> dict[str, str]:
    """Return the text that follows each member in the source."""
    found, name = {}, None
    for line in inspect.getsource(enum).splitlines():
        text = line.strip()
        if " = " in text and not text.startswith('"'):
            name = text.split(" = ")[0]
        elif text.startswith('"""') and name:
            found[name] = text.strip('"')
    return found


if __name__ == "__main__":
    PAGE.write_text(page())
