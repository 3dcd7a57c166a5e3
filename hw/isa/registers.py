"""AXI4-Lite registers, error codes and performance counters, each declared once.

Hardware, driver, reports and docs take names and addresses from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from .instructions import Engine

__all__ = [
    "ACTIVITY",
    "COUNTERS",
    "COUNTER_BYTES",
    "DATA_COUNTERS",
    "ERROR_CODE_BITS",
    "ERROR_CODE_OFFSET",
    "IDENTITY",
    "TRACE",
    "VERSION",
    "Control",
    "Counter",
    "ErrorCode",
    "Register",
    "Status",
    "counter_address",
    "waiting_bit",
]

IDENTITY = 0x41545143
"""Value of Register.IDENTITY: the letters CQTA, little-endian."""
VERSION = 2
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
    WATCHDOG = 0x24
    """Cycles in which nothing moves before the machine stops with a timeout; 0, as after a reset,
    for never. A limit below the longest answer of DRAM and 32 cycles more, for what is on its way
    between two units, may stop a machine that works."""
    WAITING = 0x28
    """Read only: bit ``4 * engine + peer`` is set while that engine's next instruction waits for
    tokens of that peer (`Engine` numbers); after an error, as it was when the machine stopped."""
    SEED = 0x2C
    """Seed of stochastic rounding."""
    COUNTERS = 0x40
    """First of the counters: 64 bits each, low word first."""


class Control(IntFlag):
    """Bits of Register.CONTROL."""

    START = 1
    """Write 1 to run the program from its first instruction; clears the counters."""
    INTERRUPT_ENABLE = 2
    """The interrupt line follows the pending bit."""
    RESET = 4
    """Write 1 to stop whatever runs and to forget all of it, tokens and errors included. Bursts on
    the bus are finished first, their data thrown away; Status.RESETTING shows it. Registers that
    the host writes, counters and memories keep what they hold."""


class Status(IntFlag):
    """Bits of Register.STATUS."""

    BUSY = 1
    """A program runs, or the machine is finishing after an error."""
    DONE = 2
    """The program reached its halt, and every write has been acknowledged."""
    ERROR = 4
    """The machine stopped; the code is in bits 8-15. Only a reset clears it."""
    RESETTING = 8
    """A reset waits for the bus; START is not taken."""


ERROR_CODE_OFFSET, ERROR_CODE_BITS = 8, 8
"""First bit of the error code in Register.STATUS, and its width."""


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
    READ_TIMEOUT = 5
    """The watchdog's limit passed with reads outstanding."""
    WRITE_TIMEOUT = 6
    """The watchdog's limit passed with writes outstanding, and no reads."""
    TOKEN_DEADLOCK = 7
    """The watchdog's limit passed with nothing outstanding: Register.WAITING says which engine
    waits for whose tokens."""


def waiting_bit(engine: Engine, peer: Engine) -> int:
    """Return the number of the bit of Register.WAITING in which `engine` waits for `peer`."""
    return 4 * engine + peer


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
    Counter("array_fed", "cycles in which a wave enters the array"),
    Counter("load_stalled_on_execute", "cycles in which the next LOAD waits for tokens of EXECUTE"),
    Counter("load_stalled_on_store", "cycles in which the next LOAD waits for tokens of STORE"),
    Counter("load_stalled_on_token", "cycles in which the next LOAD waits for any token"),
    Counter("load_stalled_on_dram", "cycles in which a LOAD waits for data of DRAM"),
    Counter("load_stalled_on_memory", "cycles in which a LOAD's data waits for a busy memory"),
    Counter("execute_stalled_on_load", "cycles in which the next EXECUTE waits for tokens of LOAD"),
    Counter(
        "execute_stalled_on_store", "cycles in which the next EXECUTE waits for tokens of STORE"
    ),
    Counter("execute_stalled_on_token", "cycles in which the next EXECUTE waits for any token"),
    Counter("store_stalled_on_load", "cycles in which the next STORE waits for tokens of LOAD"),
    Counter(
        "store_stalled_on_execute", "cycles in which the next STORE waits for tokens of EXECUTE"
    ),
    Counter("store_stalled_on_token", "cycles in which the next STORE waits for any token"),
    Counter("store_stalled_on_dram", "cycles in which a STORE's data waits for DRAM"),
    Counter(
        "store_stalled_on_memory", "cycles in which a STORE waits for the array to leave its half"
    ),
    Counter("saturations", "elements that requantising to INT8 limited to -127 or 127"),
    Counter(
        "accumulate_saturations", "sums that scale-and-accumulate limited to the range of int32"
    ),
)
"""All counters, in the order of their addresses. "The next" instruction of an engine is the one at
the head of its queue while the engine would take it; STORE stands for ABSMAX too."""

DATA_COUNTERS = ("saturations", "accumulate_saturations")
"""Those that depend on the numbers; all others depend on the program and on time alone."""


COUNTER_BYTES = 8
"""From one counter to the next."""


def counter_address(name: str) -> int:
    """Return the byte address of a counter's low word."""
    for index, counter in enumerate(COUNTERS):
        if counter.name == name:
            return Register.COUNTERS + COUNTER_BYTES * index
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

ACTIVITY: tuple[str, ...] = (
    "load_stalled_on_execute",
    "load_stalled_on_store",
    "load_stalled_on_dram",
    "load_stalled_on_memory",
    "input_write_0",
    "input_write_1",
    "weight_write_0",
    "weight_write_1",
    "execute_stalled_on_load",
    "execute_stalled_on_store",
    "input_read_0",
    "input_read_1",
    "weight_read_0",
    "weight_read_1",
    "output_add_0",
    "output_add_1",
    "output_write",
    "store_stalled_on_load",
    "store_stalled_on_execute",
    "store_stalled_on_dram",
    "store_stalled_on_memory",
    "output_store_0",
    "output_store_1",
)
"""Meaning of each bit of the `activity` port, in the order in which data flows: what goes on in a
cycle.

- ``E_stalled_on_X``: what the counter of that name counts, also outside a program.
- ``input_write_B``, ``weight_write_B``: the load engine writes a word into bank B of an operand
  memory; ``input_read_B``, ``weight_read_B``: the array's feed reads one.
- ``output_add_H``: the array may read old sums in half H of the output memory, which is closed to
  the store engine; ``output_store_H``: the store engine reads a word there.
- ``output_write``: a row of results is complete in all columns, in either half.
"""
