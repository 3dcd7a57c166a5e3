"""The Verilog module around the top: packs its ports into a few vectors.

Every port that Python reads or writes costs about a microsecond a cycle, so the bench sees one
vector of flags and one of answers, and payloads that it touches only when they count.
"""

from __future__ import annotations

from collections.abc import Sequence

from hw.isa.config import Config
from hw.isa.registers import ACTIVITY, TRACE

from .axi import Slave

__all__ = ["ANSWERS", "EVENTS", "FLAGS", "HARNESS", "harness", "pack_answers", "unpack_address"]

HARNESS = "cdmqta_bench"
"""Name of the module."""

FLAGS = ("arvalid", "rready", "awvalid", "wvalid", "bready")
"""Bits of `flags` from bit 0; then ``irq`` and the bits of ``trace``."""

EVENTS = len(FLAGS)
"""First bit of `flags` after those of the AXI port: ``irq``, then ``trace``."""

ANSWERS = (
    ("arready", 1),
    ("awready", 1),
    ("wready", 1),
    ("rvalid", 1),
    ("rlast", 1),
    ("rid", 1),
    ("rresp", 2),
    ("bvalid", 1),
    ("bid", 1),
    ("bresp", 2),
)
"""Fields of `answers` and their widths, from bit 0."""

_ADDRESS = (("id", 1), ("len", 8), ("size", 3), ("burst", 2))
_LITE = (
    ("input", "awaddr", 12),
    ("input", "awvalid", 1),
    ("output", "awready", 1),
    ("input", "wdata", 32),
    ("input", "wstrb", 4),
    ("input", "wvalid", 1),
    ("output", "wready", 1),
    ("output", "bresp", 2),
    ("output", "bvalid", 1),
    ("input", "bready", 1),
    ("input", "araddr", 12),
    ("input", "arvalid", 1),
    ("output", "arready", 1),
    ("output", "rdata", 32),
    ("output", "rresp", 2),
    ("output", "rvalid", 1),
    ("input", "rready", 1),
)


def harness(config: Config, top: str) -> str:
    """Return the Verilog of the module `HARNESS` around `top`."""
    data = 8 * config.bus_bytes
    address = [*_ADDRESS, ("addr", config.address_bits)]
    width = sum(bits for _, bits in address)
    ports = [
        "input clk",
        "input rst",
        f"output [{EVENTS + len(TRACE)}:0] flags",
        f"output [{len(ACTIVITY) - 1}:0] activity",
        f"input [{sum(bits for _, bits in ANSWERS) - 1}:0] answers",
        f"output [{width - 1}:0] read_address",
        f"output [{width - 1}:0] write_address",
        f"output [{data - 1}:0] write_data",
        f"output [{config.bus_bytes}:0] write_strobes",
        f"input [{data - 1}:0] read_data",
        *(f"{way} {_range(bits)}s_axil_{name}" for way, name, bits in _LITE),
    ]
    links = [".clk(clk)", ".rst(rst)", f".irq(flags[{EVENTS}])", ".activity(activity)"]
    links += _slices("", "flags", (("trace", len(TRACE)),), EVENTS + 1)
    links += [f".m_axi_{name}(flags[{bit}])" for bit, name in enumerate(FLAGS)]
    links += _slices("m_axi_", "answers", ANSWERS)
    links += _slices("m_axi_ar", "read_address", address)
    links += _slices("m_axi_aw", "write_address", address)
    links += [".m_axi_wdata(write_data)", ".m_axi_rdata(read_data)"]
    links += _slices("m_axi_w", "write_strobes", (("last", 1), ("strb", config.bus_bytes)))
    links += [f".s_axil_{name}(s_axil_{name})" for _, name, _ in _LITE]
    return (
        f"module {HARNESS}(\n  {_lines(ports)}\n);\n"
        f"  {top} dut(\n    {_lines(links, 4)}\n  );\nendmodule\n"
    )


def unpack_address(value: int) -> tuple[int, int, int, int, int]:
    """Return id, address, length, size and burst of `read_address` or `write_address`."""
    return value & 1, value >> 14, value >> 1 & 255, value >> 9 & 7, value >> 12 & 3


def pack_answers(slave: Slave) -> int:
    """Return `answers`, its fields as in `ANSWERS`."""
    return (
        slave.arready
        | slave.awready << 1
        | slave.wready << 2
        | slave.rvalid << 3
        | slave.rlast << 4
        | slave.rid << 5
        | slave.rresp << 6
        | slave.bvalid << 8
        | slave.bid << 9
        | slave.bresp << 10
    )


def _slices(prefix: str, vector: str, parts: Sequence[tuple[str, int]], low: int = 0) -> list[str]:
    links = []
    for name, bits in parts:
        place = f"{low}" if bits == 1 else f"{low + bits - 1}:{low}"
        links.append(f".{prefix}{name}({vector}[{place}])")
        low += bits
    return links


def _range(bits: int) -> str:
    return f"[{bits - 1}:0] " if bits > 1 else ""


def _lines(items: Sequence[str], indent: int = 2) -> str:
    return f",\n{' ' * indent}".join(items)
