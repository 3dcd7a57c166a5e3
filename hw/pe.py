"""The processing element: a multiplier, a 32-bit adder, registers whose role a mode bit swaps."""

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["CONTROL", "ProcessingElement"]

CONTROL = data.StructLayout(
    {
        "valid": 1,  # a wave: `a` is an operand
        "os": 1,  # its dataflow
        "first": 1,  # first wave of a tile: WS takes the stationary operand, OS clears the sum
        "last": 1,  # last wave of a tile: OS hands the sum to the drain
        "shift_b": 1,  # `b` takes the operand from above
        "shift_p": 1,  # `p` takes the drained sum from above, one cycle later
    }
)
"""Control that moves right beside the left operand."""


class ProcessingElement(wiring.Component):
    """One cell of the array.

    Registers: `a` moves right, `b` moves down, `w` multiplies, `acc` holds an output-stationary
    sum, `p` moves down: a partial sum (WS) or a finished sum on its way out (OS).

    Members
    -------
    a_in, b_in : In(signed(8))
    p_in : In(signed(32))
    control_in : In(CONTROL)
    a_out, b_out, p_out, control_out : Out
        The registers.

    Timing
    ------
    A wave on `a_in` in cycle t is multiplied in cycle t+1 and seen in `p_out` in t+2. `w` takes
    `b` in cycle t, so an OS operand has to be in `b` by then: `shift_b` leads its wave by a cycle.
    """

    a_in: In(signed(8))
    b_in: In(signed(8))
    p_in: In(signed(32))
    control_in: In(CONTROL)
    a_out: Out(signed(8))
    b_out: Out(signed(8))
    p_out: Out(signed(32))
    control_out: Out(CONTROL)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        a = Signal(signed(8), reset_less=True)
        b = Signal(signed(8), reset_less=True)
        w = Signal(signed(8), reset_less=True)
        acc = Signal(signed(32), reset_less=True)
        p = Signal(signed(32), reset_less=True)
        control = Signal(CONTROL)
        base = Signal(signed(32))
        total = Signal(signed(32))

        arriving = self.control_in
        m.d.sync += control.eq(arriving)
        with m.If(arriving.valid):
            m.d.sync += a.eq(self.a_in)
        with m.If(arriving.valid & (arriving.os | arriving.first)):
            m.d.sync += w.eq(b)
        with m.If(arriving.shift_b):
            m.d.sync += b.eq(self.b_in)

        with m.If(control.os):
            m.d.comb += base.eq(Mux(control.first, 0, acc))
        with m.Else():
            m.d.comb += base.eq(self.p_in)
        m.d.comb += total.eq(base + a * w)
        with m.If(control.valid & control.os):
            m.d.sync += acc.eq(total)
        with m.If(control.valid & (~control.os | control.last)):
            m.d.sync += p.eq(total)
        with m.Elif(control.shift_p):
            m.d.sync += p.eq(self.p_in)

        m.d.comb += [
            self.a_out.eq(a),
            self.b_out.eq(b),
            self.p_out.eq(p),
            self.control_out.eq(control),
        ]
        return m
