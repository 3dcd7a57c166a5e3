"""The specification of a processing element, in Verilog, and what holds an element to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amaranth import ClockSignal, Instance, Module, Mux, ResetSignal, Signal, Value, signed

from hw.isa.config import Config
from hw.pe import BIAS, control_layout

from .prove import Outcome, Proof, prove

__all__ = ["Element", "outcome"]

PRODUCT = """
  // D products of bytes side by side; an element of OS alone multiplies what comes in.
  wire [8*D-1:0] factor = W ? w : b;
  reg signed [15:0] one;
  reg signed [31:0] product;
  integer n;
  always @* begin
    product = 0;
    for (n = 0; n < D; n = n + 1) begin
      one = $signed(a[8*n +: 8]) * $signed(factor[8*n +: 8]);
      product = product + one;
    end
  end
"""

OVERLAPPED = """
// docs/pipeline.md, "A processing element" and "One wave", as what each wave does, in Verilog.
module specification #(parameter D = 1, W = 1, LATE = 0, START = 0) (
  input clk, input rst,
  input [8*D-1:0] a_in, input [8*D-1:0] b_in, input signed [31:0] p_in,
  input valid, input os, input first, input last, input shift_b, input shift_p,
  output reg [8*D-1:0] a, output reg [8*D-1:0] b, output reg signed [31:0] p,
  output reg [5:0] moved,
  output reg [8*D-1:0] w, output reg signed [31:0] acc,
  output reg [2:0] duty,  // of the wave that arrived in the cycle before
  output reg shift,
  // Of a register behind the products: a wave is added a cycle later, and sums leave so.
  output reg signed [31:0] held, output reg [2:0] late_duty, output reg late_shift
);
  localparam NOTHING = 0, PARTIAL = 1, BEGIN = 2, ADD = 3, BEGIN_AND_END = 4, ADD_AND_END = 5;
  PRODUCT
  wire signed [31:0] added = LATE ? held : product;
  wire [2:0] due = LATE ? late_duty : duty;
  wire leaves = LATE ? late_shift : shift;

  always @(posedge clk) begin
    // A wave arrives: its operands are taken, its sum is due in the next cycle.
    if (valid) a <= a_in;
    case ({valid, os, first, last})
      4'b1010, 4'b1011, 4'b1100, 4'b1101, 4'b1110, 4'b1111: w <= b;
    endcase
    casez ({rst, valid, os, first, last})
      5'b010??: duty <= PARTIAL;
      5'b01100: duty <= ADD;
      5'b01101: duty <= ADD_AND_END;
      5'b01110: duty <= BEGIN;
      5'b01111: duty <= BEGIN_AND_END;
      default: duty <= NOTHING;
    endcase
    if (shift_b) b <= b_in;
    shift <= shift_p & ~rst;
    // What starts nothing by itself needs no reset.
    moved <= {shift_p & ~rst, shift_b & ~rst, last, first, os, valid & ~rst};

    if (duty != NOTHING) held <= product;
    late_duty <= rst ? NOTHING : duty;
    late_shift <= shift & ~rst;

    // The wave before is multiplied and added.
    case (due)
      PARTIAL: p <= p_in + added;
      BEGIN: begin acc <= START + added; if (leaves) p <= p_in; end
      ADD: begin acc <= acc + added; if (leaves) p <= p_in; end
      BEGIN_AND_END: begin acc <= START + added; p <= START + added; end
      ADD_AND_END: begin acc <= acc + added; p <= acc + added; end
      default: if (leaves) p <= p_in;
    endcase
  end
endmodule
""".replace("  PRODUCT\n", PRODUCT)


ALONE = """
// The same where sums leave before the next tile: one register, and no wave but those that add.
module specification #(parameter D = 1, W = 1, LATE = 0, START = 0) (
  input clk, input rst,
  input [8*D-1:0] a_in, input [8*D-1:0] b_in, input signed [31:0] p_in,
  input valid, input os, input first, input shift_b,
  output reg [8*D-1:0] a, output reg [8*D-1:0] b, output reg signed [31:0] p,
  output reg [3:0] moved,
  output reg [8*D-1:0] w,
  output reg signed [31:0] held, output reg [2:0] late
);
  PRODUCT
  wire signed [31:0] added = LATE ? held : product;
  wire [2:0] due = LATE ? late : moved[2:0];

  always @(posedge clk) begin
    if (valid) a <= a_in;
    if (valid & (os | first)) w <= b;
    if (shift_b) b <= b_in;
    moved <= {shift_b & ~rst, first, os, valid & ~rst};
    if (moved[0]) held <= product;
    late <= {moved[2:1], moved[0] & ~rst};

    // The wave before: {first, os, valid}.
    casez (due)
      3'b?01: p <= p_in + added;
      3'b111: p <= START + added;
      3'b011: p <= p + added;
    endcase
  end
endmodule
""".replace("  PRODUCT\n", PRODUCT)


class Element(Proof):
    """An element of a configuration beside the specification, on the same free inputs."""

    def __init__(self, config: Config, element: Any) -> None:
        self._config, self._element = config, element
        self._bits = 8 * config.macs_per_element
        self.overlapped = bool(config.output_stationary and config.drain_overlap)

    def describe(self, m: Module) -> None:
        config, bits = self._config, self._bits
        m.submodules.dut = dut = self._element
        control = self.free(m, control_layout(config), "control")
        inputs = {
            "a_in": self.free(m, signed(bits), "a_in"),
            "b_in": self.free(m, signed(bits), "b_in"),
            "p_in": self.free(m, signed(32), "p_in"),
        }
        m.d.comb += [getattr(dut, name).eq(value) for name, value in inputs.items()]
        m.d.comb += dut.control_in.eq(control)
        expected = {n: Signal(width, name=f"spec_{n}") for n, width in self._outputs().items()}
        m.submodules.spec = Instance(
            "specification",
            p_D=config.macs_per_element,
            p_W=config.weight_stationary,
            p_LATE=config.product_register,
            p_START=BIAS,
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            **{f"i_{name}": value for name, value in inputs.items()},
            **{f"i_{name}": value for name, value in self._control(control).items()},
            **{f"o_{name}": value for name, value in expected.items()},
        )
        self._compare(m, dut, expected)

    def _outputs(self) -> Mapping[str, int]:
        """Return the registers of the specification that this element has, and their widths."""
        widths = {"a": self._bits, "b": self._bits, "p": 32, "moved": len(self._fields())}
        if self._config.weight_stationary:
            widths["w"] = self._bits
        if self.overlapped:
            widths |= {"acc": 32, "duty": 3, "shift": 1}
        if self._config.product_register:
            widths["held"] = 32
            widths |= {"late_duty": 3, "late_shift": 1} if self.overlapped else {"late": 3}
        return widths

    def _fields(self) -> tuple[str, ...]:
        """Return the control of the specification, lowest bit first."""
        if self.overlapped:
            return ("valid", "os", "first", "last", "shift_b", "shift_p")
        return ("valid", "os", "first", "shift_b")

    def _control(self, control: Any) -> dict[str, Value]:
        """Return control of a switching element: of one dataflow, what has no bit is known."""
        given = {name: control[name] for name in control.shape().members}
        known = {"os": Value.cast(self._config.output_stationary)} | given
        # Right operands of OS alone come with their waves.
        known.setdefault("shift_b", known["valid"] & known["os"])
        return {name: known[name] for name in self._fields()}

    def _compare(self, m: Module, dut: Any, expected: dict[str, Signal]) -> None:
        """Claim that registers without reset, which start with the same, stay the same."""
        bits = self._bits
        seen = {"a": dut.a_out, "b": dut.b_out, "p": dut.p_out}
        # Induction needs what is not seen at once; these names are of the page's table.
        taps = {"w": (bits, "dut.w"), "acc": (32, "dut.acc")}
        # A sum of D products of 16 bits.
        taps["held"] = (signed(16 + bits // 8), "dut.arithmetic.product")
        seen |= {n: self.tap(m, *tap) for n, tap in taps.items() if n in expected}
        for name, value in seen.items():
            width = len(expected[name])
            self.keep(m, name, Value.cast(value).as_signed() == expected[name][:width].as_signed())
        moved = dict(zip(self._fields(), expected["moved"], strict=True))
        self._keep_control(m, "moved", {n: dut.control_out[n] for n in self._there()}, moved)
        if self.overlapped:
            self._keep_duty(m, "", moved, expected["duty"], expected["shift"])
        if not self._config.product_register:
            return
        # Control that has done its part by then is not there any more.
        over = {"shift_b"} | (set() if self._config.output_stationary else {"first"})
        names = [name for name in self._there() if name not in over]
        late = {name: self.tap(m, 1, f"dut.late_{name}") for name in names}
        if self.overlapped:
            late = {"os": Value.cast(1)} | late
            self._keep_duty(m, "late_", late, expected["late_duty"], expected["late_shift"])
        else:
            self._keep_control(m, "late", late, dict(zip(moved, expected["late"], strict=False)))

    def _there(self) -> tuple[str, ...]:
        return tuple(control_layout(self._config).members)

    def _keep_control(self, m: Module, name: str, found: Mapping, expected: Mapping) -> None:
        """Claim that bits of control are those of the specification; `os`, if known, as it is."""
        for field in found:
            if field in expected:
                self.keep(m, f"{name}_{field}", found[field] == expected[field])
        if "os" not in found:
            os = self._config.output_stationary
            self.keep(m, f"{name}_os", expected["os"] == os)

    def _keep_duty(self, m: Module, name: str, control: Mapping, duty: Any, shift: Any) -> None:
        """Claim that a wave's duty is what its control says."""
        os, first, last = control["os"], control["first"], control["last"]
        means = Mux(os, Mux(first, Mux(last, 4, 2), Mux(last, 5, 3)), 1)
        self.keep(m, f"{name}duty", duty == Mux(control["valid"], means, 0))
        self.keep(m, f"{name}shift", shift == control["shift_p"])


def outcome(folder: Path, config: Config, element: Any, **options: Any) -> Outcome:
    """Return the verdict on an element of a configuration, with options of `prove`."""
    proof = Element(config, element)
    sources = {"specification.v": OVERLAPPED if proof.overlapped else ALONE}
    return prove(proof, folder, mode="prove", sources=sources, **options)
