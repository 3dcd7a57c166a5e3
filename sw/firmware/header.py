"""The C header and the runtime, as texts."""

from __future__ import annotations

import dataclasses
from importlib.resources import files

from hw.isa.config import SIMULATED, Config
from hw.isa.documentation import documentation
from hw.isa.instructions import Engine
from hw.isa.registers import (
    COUNTER_BYTES,
    COUNTERS,
    ERROR_CODE_BITS,
    ERROR_CODE_OFFSET,
    IDENTITY,
    VERSION,
    Control,
    ErrorCode,
    Register,
    Status,
    waiting_bit,
)

from .encoders import encoders
from .text import define, each, enumeration, literal, members, section

__all__ = ["HEADER", "SOURCE", "header", "source"]

HEADER, SOURCE = "cdmqta.h", "cdmqta.c"
"""Names of the files, in this package and where they are written."""
_TABLES = "/* @TABLES@ */\n"
"""Line of the header in whose place the tables come."""


def header(config: Config | None = None) -> str:
    """Return the text of cdmqta.h.

    Parameters
    ----------
    config : Config, optional
        Of the accelerator, whose sizes are then in the header, and checked by the runtime; without,
        the header is for any.
    """
    tables = [_registers(), _errors(), _counters()]
    if config is not None:
        tables.append(_configuration(config))
    tables.append(encoders())
    before, after = _packaged(HEADER).split(_TABLES)
    return before + "\n".join(tables) + after


def source() -> str:
    """Return the text of cdmqta.c, which is the same for every accelerator."""
    return _packaged(SOURCE)


def _packaged(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _registers() -> str:
    waits = "".join(
        define(f"WAITING_{engine.name}_FOR_{peer.name}", literal(1 << waiting_bit(engine, peer)))
        for engine in Engine
        for peer in Engine
        if engine is not peer
    )
    return "\n".join(
        [
            section("Registers"),
            define("IDENTITY", literal(IDENTITY), "What the register of this name reads.")
            + define("VERSION", literal(VERSION), "Version of registers and instructions."),
            members(Register, "REGISTER"),
            members(Control, "CONTROL"),
            members(Status, "STATUS")
            + define("STATUS_ERROR_CODE_OFFSET", str(ERROR_CODE_OFFSET))
            + define("STATUS_ERROR_CODE_BITS", str(ERROR_CODE_BITS)),
            waits,
        ]
    )


def _errors() -> str:
    docs = documentation(ErrorCode)
    items = [(error.name, int(error), docs.get(error.name, "")) for error in ErrorCode]
    pairs = [(error.name, error.name) for error in ErrorCode]
    doc = "Why the machine stopped: X(identifier, name)."
    return "\n".join(
        [section("Error codes"), enumeration("error", items), each("ERROR", pairs, doc)]
    )


def _counters() -> str:
    items = [(counter.name, at, counter.doc) for at, counter in enumerate(COUNTERS)]
    pairs = [(counter.name, counter.name) for counter in COUNTERS]
    parts = [
        section("Performance counters, cleared by a start"),
        define("COUNTER_BYTES", str(COUNTER_BYTES), "From one counter to the next."),
        enumeration("counter", items, last="COUNTERS"),
        each("COUNTER", pairs, "In the order of addresses: X(identifier, name)."),
    ]
    return "\n".join(parts)


def _configuration(config: Config) -> str:
    """Return the values that the hardware depends on."""
    lines = [section("Configuration of this accelerator")]
    for item in dataclasses.fields(config):
        if item.name not in SIMULATED:
            value = str(getattr(config, item.name))
            lines.append(define(f"CONFIG_{item.name.upper()}", value, item.metadata["doc"]))
    for memory in ("input", "weight", "output"):
        size = str(getattr(config, f"{memory}_bytes"))
        doc = f"bytes of the {memory} memory, all of it"
        lines.append(define(f"CONFIG_{memory.upper()}_BYTES", size, doc))
    doc = "what identifies this configuration, also in program files"
    lines.append(define("CONFIG_DIGEST", f'"{config.digest()}"', doc))
    return lines[0] + "\n" + "".join(lines[1:])
