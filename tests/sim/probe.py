"""A small master by hand, with the ports of the top: it probes the bench, without the generator."""

from __future__ import annotations

from dataclasses import dataclass

from hw.isa.registers import (
    ACTIVITY,
    IDENTITY,
    TRACE,
    VERSION,
    Control,
    Register,
    Status,
    counter_address,
)

__all__ = ["BUS_BYTES", "TRANSFERS", "Probe"]

BUS_BYTES = 8
TRANSFERS = 24
"""Beats that the probe reads from address 0 on, and writes from `WRITE_BASE` on."""
WRITE_BASE = 0x400


@dataclass(frozen=True)
class Probe:
    """A design for `sim.builder.build`.

    It reads `TRANSFERS` words, ready at random moments, and counts and adds them up at the rising
    edges where valid and ready meet. Then it writes `TRANSFERS` words, valid at random moments:
    the n-th is n + sum, in the lower half only, and the upper half is undefined. Counters:
    ``macs`` the read addresses taken, ``load_busy`` the read words, ``execute_busy`` their sum,
    ``store_busy`` the responses.
    """

    drops_valid: bool = False
    undefined_trace: bool = False
    top: str = "cdmqta"
    hierarchical: tuple[str, ...] = ()

    @property
    def verilog(self) -> str:
        """The module."""
        text = _VERILOG
        for name, value in _REGISTERS.items():
            text = text.replace(f"@{name}@", value)
        text = text.replace("@DROP@", str(int(self.drops_valid)))
        value = f"{len(TRACE)}'b{'x' if self.undefined_trace else '0'}"
        return text.replace("@TRACE@", value).replace("@ACTIVITY@", str(len(ACTIVITY)))


def _case(address: int, value: str) -> str:
    return f"12'h{address:x}: s_axil_rdata <= {value};"


_REGISTERS = {
    "CONTROL": f"12'h{Register.CONTROL:x}",
    "START": f"{int(Control.START).bit_length() - 1}",
    "N": str(TRANSFERS),
    "BASE": f"32'h{WRITE_BASE:x}",
    "READS": "\n        ".join(
        [
            _case(Register.IDENTITY, f"32'h{IDENTITY:x}"),
            _case(Register.VERSION, str(VERSION)),
            _case(Register.STATUS, f"irq ? {int(Status.DONE)} : {int(Status.BUSY)}"),
            _case(counter_address("cycles"), "cycles"),
            _case(counter_address("macs"), "addresses"),
            _case(counter_address("dram_read_bytes"), f"words * {BUS_BYTES}"),
            _case(counter_address("dram_write_bytes"), f"sent * {BUS_BYTES}"),
            _case(counter_address("load_busy"), "words"),
            _case(counter_address("execute_busy"), "sum"),
            _case(counter_address("store_busy"), "answers"),
        ]
    ),
}

_VERILOG = """
module cdmqta(
  input clk, input rst, output reg irq, output [6:0] trace,
  output [@ACTIVITY@-1:0] activity,
  output m_axi_arid, output [31:0] m_axi_araddr, output [7:0] m_axi_arlen,
  output [2:0] m_axi_arsize, output [1:0] m_axi_arburst,
  output reg m_axi_arvalid, input m_axi_arready,
  input m_axi_rid, input [63:0] m_axi_rdata, input [1:0] m_axi_rresp, input m_axi_rlast,
  input m_axi_rvalid, output reg m_axi_rready,
  output m_axi_awid, output [31:0] m_axi_awaddr, output [7:0] m_axi_awlen,
  output [2:0] m_axi_awsize, output [1:0] m_axi_awburst,
  output reg m_axi_awvalid, input m_axi_awready,
  output [63:0] m_axi_wdata, output [7:0] m_axi_wstrb, output m_axi_wlast,
  output reg m_axi_wvalid, input m_axi_wready,
  input m_axi_bid, input [1:0] m_axi_bresp, input m_axi_bvalid, output reg m_axi_bready,
  input [11:0] s_axil_awaddr, input s_axil_awvalid, output s_axil_awready,
  input [31:0] s_axil_wdata, input [3:0] s_axil_wstrb, input s_axil_wvalid,
  output s_axil_wready,
  output [1:0] s_axil_bresp, output reg s_axil_bvalid, input s_axil_bready,
  input [11:0] s_axil_araddr, input s_axil_arvalid, output s_axil_arready,
  output reg [31:0] s_axil_rdata, output [1:0] s_axil_rresp, output reg s_axil_rvalid,
  input s_axil_rready
);
  // Register port. Its ready depends on its inputs in the same cycle, on purpose.
  wire write = s_axil_awvalid & s_axil_wvalid & ~s_axil_bvalid;
  assign s_axil_awready = write, s_axil_wready = write, s_axil_bresp = 0;
  assign s_axil_arready = s_axil_arvalid & ~s_axil_rvalid, s_axil_rresp = 0;
  wire start = write & s_axil_awaddr == @CONTROL@ & s_axil_wdata[@START@];
  always @(posedge clk) begin
    if (s_axil_bready) s_axil_bvalid <= 0;
    if (write) s_axil_bvalid <= 1;
    if (s_axil_rready) s_axil_rvalid <= 0;
    if (s_axil_arready) begin
      s_axil_rvalid <= 1;
      case (s_axil_araddr)
        @READS@
        default: s_axil_rdata <= 0;
      endcase
    end
    if (rst) {s_axil_bvalid, s_axil_rvalid} <= 0;
  end

  assign trace = @TRACE@, activity = 0;
  assign m_axi_arid = 1, m_axi_arlen = 0, m_axi_arsize = 3, m_axi_arburst = 1;
  assign m_axi_awid = 0, m_axi_awlen = 0, m_axi_awsize = 3, m_axi_awburst = 1;
  reg busy, writing;
  reg [15:0] random;
  reg [31:0] cycles, addresses, words, sum, requests, sent, answers;
  reg [31:0] undriven;
  assign m_axi_araddr = 8 * addresses;
  assign m_axi_awaddr = @BASE@ + 8 * requests;
  assign m_axi_wdata = {undriven, sum + sent}, m_axi_wstrb = 8'h0f, m_axi_wlast = 1;
  always @(posedge clk) begin
    random <= {random[14:0], random[15] ^ random[13] ^ random[12] ^ random[10]};
    if (busy) cycles <= cycles + 1;
    if (start) busy <= 1;
    // Reads
    if (m_axi_arvalid & m_axi_arready) begin
      addresses <= addresses + 1;
      m_axi_arvalid <= addresses + 1 != @N@ & random[1];
    end else if (@DROP@ & m_axi_arvalid) m_axi_arvalid <= 0;
    else if (busy & addresses != @N@) m_axi_arvalid <= m_axi_arvalid | random[1];
    m_axi_rready <= random[3];
    if (m_axi_rvalid & m_axi_rready) begin
      words <= words + 1;
      sum <= sum + m_axi_rdata[31:0];
      if (words + 1 == @N@) writing <= 1;
    end
    // Writes: address and data on their own
    if (m_axi_awvalid & m_axi_awready) begin
      requests <= requests + 1;
      m_axi_awvalid <= requests + 1 != @N@ & random[5];
    end else if (writing & requests != @N@) m_axi_awvalid <= m_axi_awvalid | random[5];
    if (m_axi_wvalid & m_axi_wready) begin
      sent <= sent + 1;
      m_axi_wvalid <= sent + 1 != @N@ & random[7];
    end else if (writing & sent != @N@) m_axi_wvalid <= m_axi_wvalid | random[7];
    m_axi_bready <= random[9];
    if (m_axi_bvalid & m_axi_bready) begin
      answers <= answers + 1;
      if (answers + 1 == @N@) {irq, busy} <= 2'b10;
    end
    if (rst) begin
      {busy, writing, irq} <= 0;
      {m_axi_arvalid, m_axi_rready, m_axi_awvalid, m_axi_wvalid, m_axi_bready} <= 0;
      {cycles, addresses, words, sum, requests, sent, answers} <= 0;
      random <= 16'hace1;
    end
  end
endmodule
"""
