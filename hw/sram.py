"""Memories: behavioural in simulation, one named module a size in the emitted Verilog.

A read takes one cycle, and the data stays until the next read. Contents are undefined at the
start and are not touched by reset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth import Module, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .shared import Builder

__all__ = ["Macro", "SinglePortSram", "Sram", "verilog"]


@dataclass(frozen=True)
class Macro:
    """A memory as silicon needs it.

    `ports` is ``1rw`` (one port that reads or writes) or ``1r1w``. `granularity` is the number of
    bits behind each bit of the write mask; it equals `width` where words are written whole.
    """

    depth: int
    width: int
    ports: str
    granularity: int

    @property
    def name(self) -> str:
        """Name of the Verilog module."""
        lanes = f"_by{self.granularity}" if self.granularity != self.width else ""
        return f"cdmqta_sram_{self.ports}_{self.depth}x{self.width}{lanes}"

    def pins(self) -> dict[str, tuple[str, int]]:
        """Return direction and width of each port of the Verilog module, by name.

        `rst` is there for wrappers that want it; the contents are not touched by it.
        """
        address = ceil_log2(self.depth)
        if self.ports == "1rw":
            control = {"enable": 1, "write": 1, "address": address}
        else:
            lanes = self.width // self.granularity
            control = {"read_enable": 1, "read_address": address,
                       "write_enable": lanes, "write_address": address}  # fmt: skip
        inputs = {"clk": 1, "rst": 1} | control | {"write_data": self.width}
        pins = {name: ("input", width) for name, width in inputs.items()}
        return pins | {"read_data": ("output", self.width)}

    def listing(self) -> dict[str, Any]:
        """Return what a memory compiler and the author of a wrapper ask for, in plain values.

        `read_latency` is in cycles; the data of a read then stays until the next one
        (`read_data_held`). `read_during_write`, where reads and writes have ports of their own, is
        what a read of the word being written returns: the old word. Bit i of `write_enable` stands
        for bits i * `write_granularity` and on.
        """
        shared = self.ports == "1rw"
        hazard = {} if shared else {"read_during_write": "old"}
        return {
            "name": self.name,
            "depth": self.depth,
            "width": self.width,
            "ports": self.ports,
            "read_ports": 0 if shared else 1,
            "write_ports": 0 if shared else 1,
            "read_write_ports": 1 if shared else 0,
            "write_granularity": self.granularity,
            "read_latency": 1,
            "read_data_held": True,
            **hazard,
            "pins": [
                {"name": name, "direction": direction, "width": width}
                for name, (direction, width) in self.pins().items()
            ],
        }


class Sram(wiring.Component):
    """A memory that reads and writes in one cycle (``1r1w``).

    Parameters
    ----------
    depth, width : int
        Words, and bits a word.
    builder : Builder
        Form in which the memory appears.
    granularity : int, optional
        Bits behind each bit of `write_enable`; the whole word by default.

    Members
    -------
    read_enable, read_address : In
    read_data : Out
        Valid in the cycle after `read_enable`, and held. A read of the word that is being
        written returns the old word.
    write_enable : In, one bit for every `granularity` bits
    write_address, write_data : In
    """

    ports = "1r1w"

    def __init__(self, depth: int, width: int, builder: Builder, *, granularity: int = 0) -> None:
        self.macro = Macro(depth, width, self.ports, granularity or width)
        self._builder = builder
        super().__init__(self._members(unsigned(ceil_log2(depth))))

    def _members(self, address: Any) -> dict[str, wiring.Member]:
        return {
            "read_enable": In(1),
            "read_address": In(address),
            "read_data": Out(self.macro.width),
            "write_enable": In(self.macro.width // self.macro.granularity),
            "write_address": In(address),
            "write_data": In(self.macro.width),
        }

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if self._builder.emit:
            self._builder.memories.setdefault(self.macro.name, self.macro)
            target = self._builder.instance(m, "macro", self.macro.name, self.signature)
            for path, member, value in self.signature.flatten(self):
                port = getattr(target, path[0])
                m.d.comb += port.eq(value) if member.flow is wiring.In else value.eq(port)
        else:
            m.submodules.memory = store = memory.Memory(
                shape=unsigned(self.macro.width), depth=self.macro.depth, init=[]
            )
            self._connect(m, store)
        return m

    def _connect(self, m: Module, store: memory.Memory) -> None:
        granularity = self.macro.granularity if self.macro.granularity != self.macro.width else None
        write = store.write_port(granularity=granularity)
        read = store.read_port()
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.en.eq(self.read_enable),
            read.addr.eq(self.read_address),
            self.read_data.eq(read.data),
        ]


class SinglePortSram(Sram):
    """A memory that reads or writes in one cycle (``1rw``).

    Members
    -------
    enable, write, address, write_data : In
    read_data : Out
        Valid in the cycle after a read, and held over writes.
    """

    ports = "1rw"

    def _members(self, address: Any) -> dict[str, wiring.Member]:
        return {
            "enable": In(1),
            "write": In(1),
            "address": In(address),
            "write_data": In(self.macro.width),
            "read_data": Out(self.macro.width),
        }

    def _connect(self, m: Module, store: memory.Memory) -> None:
        write = store.write_port()
        read = store.read_port()
        m.d.comb += [
            write.en.eq(self.enable & self.write),
            write.addr.eq(self.address),
            write.data.eq(self.write_data),
            read.en.eq(self.enable & ~self.write),
            read.addr.eq(self.address),
            self.read_data.eq(read.data),
        ]


def verilog(macro: Macro) -> str:
    """Return the behavioural Verilog module of a memory."""
    ports, body = (_verilog_1rw if macro.ports == "1rw" else _verilog_1r1w)(macro)
    return f"""module {macro.name}(
  input clk, input rst,
{ports},
  output reg [{macro.width - 1}:0] read_data
);
  reg [{macro.width - 1}:0] store [0:{macro.depth - 1}];
{body}
endmodule
"""


def _address(macro: Macro) -> str:
    return f"[{max(ceil_log2(macro.depth) - 1, 0)}:0]"


def _verilog_1rw(macro: Macro) -> tuple[str, str]:
    ports = (
        f"  input enable, input write, input {_address(macro)} address,\n"
        f"  input [{macro.width - 1}:0] write_data"
    )
    return (
        ports,
        """  always @(posedge clk)
    if (enable)
      if (write) store[address] <= write_data;
      else read_data <= store[address];""",
    )


def _verilog_1r1w(macro: Macro) -> tuple[str, str]:
    lanes, grain = macro.width // macro.granularity, macro.granularity
    ports = (
        f"  input read_enable, input {_address(macro)} read_address,\n"
        f"  input [{lanes - 1}:0] write_enable, input {_address(macro)} write_address,\n"
        f"  input [{macro.width - 1}:0] write_data"
    )
    read = "    if (read_enable) read_data <= store[read_address];"
    if lanes == 1:
        write = "    if (write_enable) store[write_address] <= write_data;"
        return ports, f"  always @(posedge clk) begin\n{read}\n{write}\n  end"
    write = f"""    for (lane = 0; lane < {lanes}; lane = lane + 1)
      if (write_enable[lane])
        store[write_address][lane*{grain} +: {grain}] <= write_data[lane*{grain} +: {grain}];"""
    return ports, f"  integer lane;\n  always @(posedge clk) begin\n{read}\n{write}\n  end"
