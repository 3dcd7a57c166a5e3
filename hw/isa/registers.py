"""AXI4-Lite registers, error codes and performance counters, each declared once.

Hardware, driver, reports and docs take names and addresses from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from .instructions import Engine

__all__ = [
    "COUNTERS",
    "IDENTITY",
    "TRACE",
    "VERSION",
    "Control",
    "Counter",
    "ErrorCode",
    "Register",
    "Status",
    "counter_address",
]

IDENTITY = 0x41545143
"""Value of Register.IDENTITY: the letters CQTA, little-endian."""
VERSION = 1
"""Version of registers and instruction encoding together."""


class Register(IntEnum):
    """Byte address of each 32-bit register."""

    IDENTITY = 0x00
    """Read only: `IDENTITY`."""
    VERSION = 0x04
    """Read only: `VERSION`."""
    CONTROL = 0x08
    """Bits of `Control`; START reads as zero."""
    STATUS = 0x0C
    """Read only: bits of `Status`, error code in bits 8-15."""
    PROGRAM_LOW = 0x10
    """Byte address of the first instruction, bits 0-31; a multiple of the bus width."""
    PROGRAM_HIGH = 0x14
    """The same, bits 32-47."""
    PROGRAM_LENGTH = 0x18
    """Number of instructions; fetching past it is an error."""
    INTERRUPT = 0x1C
    """Bit 0: interrupt pending; write 1 to clear."""
    ERROR_INSTRUCTION = 0x20
    """Read only: instructions dispatched; after an error, the index of the one it stopped at."""
    COUNTERS = 0x40
    """First of the counters: 64 bits each, low word first."""


class Control(IntFlag):
    """Bits of Register.CONTROL."""

    START = 1
    """Write 1 to run the program from its first instruction; clears the counters."""
    INTERRUPT_ENABLE = 2
    """The interrupt line follows the pending bit."""


class Status(IntFlag):
    """Bits of Register.STATUS."""

    BUSY = 1
    """A program runs, or the machine is finishing after an error."""
    DONE = 2
    """The program reached its halt, and every write has been acknowledged."""
    ERROR = 4
    """The machine stopped; the code is in bits 8-15. Only a reset clears it."""


class ErrorCode(IntEnum):
    """Why the machine stopped."""

    NONE = 0
    ILLEGAL_INSTRUCTION = 1
    """Unknown opcode, or a field outside its enumeration."""
    PROGRAM_END = 2
    """The program ran past its length without a halt."""
    READ_RESPONSE = 3
    """AXI answered a read with SLVERR or DECERR."""
    WRITE_RESPONSE = 4
    """AXI answered a write with SLVERR or DECERR."""


@dataclass(frozen=True)
class Counter:
    """A 64-bit performance counter, cleared by START."""

    name: str
    doc: str


COUNTERS: tuple[Counter, ...] = (
    Counter("cycles", "cycles from START to the interrupt"),
    Counter("array_cycles", "cycles from the first operand fed to the last result written"),
    Counter("instructions", "instructions dispatched, the halt included"),
    Counter("macs", "multiply-accumulates of the matrices, padding lanes not counted"),
    Counter("dram_read_bytes", "bytes of read beats, instructions included"),
    Counter("dram_write_bytes", "bytes of write beats"),
    Counter("load_busy", "cycles in which the load engine works on an instruction"),
    Counter("execute_busy", "cycles in which the array is fed or holds results on their way"),
    Counter("store_busy", "cycles in which the store engine works on an instruction"),
)


def counter_address(name: str) -> int:
    """Return the byte address of a counter's low word."""
    for index, counter in enumerate(COUNTERS):
        if counter.name == name:
            return Register.COUNTERS + 8 * index
    raise KeyError(f"no counter {name!r}; there are: {', '.join(c.name for c in COUNTERS)}")


TRACE = (
    (Engine.LOAD, "start"),
    (Engine.LOAD, "done"),
    (Engine.EXECUTE, "start"),
    (Engine.EXECUTE, "read"),
    (Engine.EXECUTE, "done"),
    (Engine.STORE, "start"),
    (Engine.STORE, "done"),
)
"""Meaning of each bit of the `trace` port: one-cycle pulses, in program order for each engine."""
