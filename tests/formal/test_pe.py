"""The processing element is its specification, for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from amaranth import ClockSignal, Instance, Module, Mux, ResetSignal, Signal, signed

from hw.isa.config import Config
from hw.pe import BIAS, ProcessingElement, control_layout

from .mutate import mutant
from .prove import Outcome, Proof, prove

SPECIFICATION = """
// docs/pipeline.md, "A processing element" and "One wave", as what each wave does, in Verilog.
module specification(
  input clk, input rst,
  input signed [7:0] a_in, input signed [7:0] b_in, input signed [31:0] p_in,
  input valid, input os, input first, input last, input shift_b, input shift_p,
  output reg signed [7:0] a, output reg signed [7:0] b, output reg signed [31:0] p,
  output reg [5:0] moved,
  output reg signed [7:0] w, output reg signed [31:0] acc,
  output reg [2:0] duty,  // of the wave that arrived in the cycle before
  output reg shift
);
  localparam NOTHING = 0, PARTIAL = 1, BEGIN = 2, ADD = 3, BEGIN_AND_END = 4, ADD_AND_END = 5;
  reg signed [15:0] product;
  always @* product = a * w;

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

    // The wave before is multiplied and added.
    case (duty)
      PARTIAL: p <= p_in + product;
      BEGIN: begin acc <= START + product; if (shift) p <= p_in; end
      ADD: begin acc <= acc + product; if (shift) p <= p_in; end
      BEGIN_AND_END: begin acc <= START + product; p <= START + product; end
      ADD_AND_END: begin acc <= acc + product; p <= acc + product; end
      default: if (shift) p <= p_in;
    endcase
  end
endmodule
"""


ALONE = """
// The same where sums leave before the next tile: one register, and no wave but those that add.
module specification(
  input clk, input rst,
  input signed [7:0] a_in, input signed [7:0] b_in, input signed [31:0] p_in,
  input valid, input os, input first, input shift_b,
  output reg signed [7:0] a, output reg signed [7:0] b, output reg signed [31:0] p,
  output reg [3:0] moved,
  output reg signed [7:0] w
);
  reg signed [15:0] product;
  always @* product = a * w;

  always @(posedge clk) begin
    if (valid) a <= a_in;
    if (valid & (os | first)) w <= b;
    if (shift_b) b <= b_in;
    moved <= {shift_b & ~rst, first, os, valid & ~rst};

    // The wave before: moved is {shift_b, first, os, valid}.
    casez (moved)
      4'b??01: p <= p_in + product;
      4'b?111: p <= START + product;
      4'b?011: p <= p + product;
    endcase
  end
endmodule
"""


CONFIG = Config(drain_overlap=1)
"""Two sums, one of which drains under the other: all that an element can have."""
CONTROL = control_layout(CONFIG)


class Element(Proof):
    """`element` beside the specification, on the same free inputs."""

    control = CONTROL
    outputs = {"shift": 1, "a": 8, "b": 8, "p": 32, "moved": 6, "w": 8, "acc": 32, "duty": 3}

    def __init__(self, element: Any) -> None:
        self._element = element

    def describe(self, m: Module) -> None:
        m.submodules.dut = dut = self._element
        control = self.free(m, self.control, "control")
        inputs = {
            "a_in": self.free(m, signed(8), "a_in"),
            "b_in": self.free(m, signed(8), "b_in"),
            "p_in": self.free(m, signed(32), "p_in"),
        }
        m.d.comb += [getattr(dut, name).eq(value) for name, value in inputs.items()]
        m.d.comb += dut.control_in.eq(control)
        expected = {n: Signal(width, name=f"spec_{n}") for n, width in self.outputs.items()}
        m.submodules.spec = Instance(
            "specification",
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            **{f"i_{name}": value for name, value in inputs.items()},
            **{f"i_{name}": getattr(control, name) for name in self.control.members},
            **{f"o_{name}": value for name, value in expected.items()},
        )
        self._compare(m, dut, expected)

    def _compare(self, m: Module, dut: Any, expected: dict[str, Signal]) -> None:
        seen = {
            "a": dut.a_out,
            "b": dut.b_out,
            "p": dut.p_out,
            "moved": dut.control_out.as_value(),
            # Induction needs what is not seen at once; both names are of the page's table.
            "w": self.tap(m, 8, "dut.w"),
            "acc": self.tap(m, 32, "dut.acc"),
        }
        # Registers without reset start with anything, but with the same in both.
        for name, value in seen.items():
            self.keep(m, name, value.as_unsigned() == expected[name])
        valid, os, first, last, _, shift_p = expected["moved"]
        duty = Mux(os, Mux(first, Mux(last, 4, 2), Mux(last, 5, 3)), 1)
        self.keep(m, "duty", expected["duty"] == Mux(valid, duty, 0))
        self.keep(m, "shift", expected["shift"] == shift_p)


class Plain(Element):
    """The same for an element without `drain_overlap`."""

    control = control_layout(Config())
    outputs = {"a": 8, "b": 8, "p": 32, "moved": 4, "w": 8}

    def _compare(self, m: Module, dut: Any, expected: dict[str, Signal]) -> None:
        seen = {
            "a": dut.a_out, "b": dut.b_out, "p": dut.p_out,
            "moved": dut.control_out.as_value(), "w": self.tap(m, 8, "dut.w"),
        }  # fmt: skip
        for name, value in seen.items():
            self.keep(m, name, value.as_unsigned() == expected[name])


def outcome(folder: Path, element: Any, **options: Any) -> Outcome:
    sources = {"specification.v": SPECIFICATION.replace("START", str(BIAS))}
    return prove(Element(element), folder, mode="prove", sources=sources, **options)


def test_element_is_its_specification(tmp_path: Path) -> None:
    """For traces of any length (1-induction), all operands and all 64 controls in every cycle.

    No assumption on the inputs: the element does what the page says even outside the protocol.
    Registers without reset hold anything at first, the same in both.
    """
    # Solved at once, z3 sees that both multiply the same; step by step it takes minutes.
    found = outcome(tmp_path, ProcessingElement(CONFIG), depth=1, engine="smtbmc z3 -- --noincr")
    assert str(found) == "PASS"


def plain_outcome(folder: Path, element: Any, **options: Any) -> Outcome:
    sources = {"specification.v": ALONE.replace("START", str(BIAS))}
    return prove(Plain(element), folder, mode="prove", sources=sources, **options)


def test_element_without_overlap_is_its_specification(tmp_path: Path) -> None:
    element = ProcessingElement(Config())
    found = plain_outcome(tmp_path, element, depth=1, engine="smtbmc z3 -- --noincr")
    assert str(found) == "PASS"


@pytest.mark.parametrize(
    "change,claim",
    [
        (('is_os & ~control["first"]', "is_os"), "p"),
        (("passes.eq(~is_os)", "passes.eq(1)"), "p"),
        (('control.get("os", 0) | control["first"]', 'control["first"]'), "w"),
    ],
)
def test_a_broken_element_without_overlap_is_found(tmp_path: Path, change, claim: str) -> None:
    found = plain_outcome(tmp_path, mutant(ProcessingElement, change)(Config()), depth=6)
    assert found.status == "FAIL" and claim in found.claims, found


MUTATIONS = {
    "sum_is_not_cleared": (('is_os & ~control["first"]', "is_os"), {"acc", "p"}),
    "sum_stays": (('(~is_os | control["last"])', "~is_os"), {"p"}),
    "swap_at_the_last_wave": (
        ('control.get("os", 0) | control["first"]', 'control.get("os", 0) | control["last"]'),
        {"w"},
    ),
    "multiplies_what_comes": (("return a, b, w", "return a, b, b"), {"acc", "p"}),
    "drain_hurts_a_sum": (
        ('moves.eq(~takes & control["shift_p"])', 'moves.eq(control["shift_p"])'),
        {"p"},
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_element_is_found(tmp_path: Path, name: str) -> None:
    change, claims = MUTATIONS[name]
    found = outcome(tmp_path, mutant(ProcessingElement, change)(CONFIG), depth=6)
    assert found.status == "FAIL" and set(found.claims) <= claims, found
    assert found.trace.exists()
