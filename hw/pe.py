"""The processing element: a multiplier, a 32-bit adder, registers whose role a mode bit swaps."""

from __future__ import annotations

from typing import Any

from amaranth import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .isa.config import Config
from .multiply_add import MultiplyAdd, inverted_bits
from .shared import Builder

__all__ = ["BIAS", "ProcessingElement", "control_layout"]

_OPERAND, _SUM = 8, 32
BIAS = 3 << 15
"""What every sum starts with, and loses again at the foot of the array.

A partial sum is as often below zero as above, and all its upper bits change with its sign. Those
of a sum that starts with this stay as they are, as long as it moves by less than 2^15 from it: a
sixth of an element's energy. Since sums are modulo 2^32, nothing else changes.
"""
_STARTS = ("valid", "shift_b", "shift_p")
"""Control that does something by itself, and so has a reset."""


def control_layout(config: Config) -> data.StructLayout:
    """Return the control that moves right beside the left operand.

    Members
    -------
    valid
        A wave: `a` is an operand.
    os
        Its dataflow. Without `drain_overlap`, finished sums leave as WS waves of zeros.
    first
        First wave of a tile: WS takes the stationary operand, OS clears the sum.
    last
        Last wave of a tile: OS hands the sum to the drain.
    shift_b
        `b` takes the operand from above.
    shift_p
        `p` takes the drained sum from above, in the cycle in which a wave's total would be taken.
    """
    ws, os = config.weight_stationary, config.output_stationary
    there = {
        "valid": True,
        "os": os and (ws or not config.drain_overlap),
        "first": True,
        "last": os and config.drain_overlap,
        "shift_b": ws,
        "shift_p": os and config.drain_overlap,
    }
    return data.StructLayout({name: 1 for name, is_there in there.items() if is_there})


class ProcessingElement(wiring.Component):
    """One cell of the array; it multiplies `macs_per_element` pairs in a cycle and adds them.

    Registers: `a` moves right, `b` moves down, `w` multiplies (WS; an array of OS alone multiplies
    `b`), `p` moves down: a partial sum (WS) or a finished sum on its way out (OS). With
    `drain_overlap`, `acc` holds an OS sum; without, `p` does.

    Members
    -------
    a_in, b_in : In, signed, 8 bits a product
    p_in : In(signed(32))
    control_in : In(control_layout)
    a_out, b_out, p_out, control_out : Out
        The registers.

    Timing
    ------
    A wave on `a_in` in cycle t is multiplied in cycle t+1 and seen in `p_out` in t+2, or, with
    `product_register`, in t+3. `w` takes `b` in cycle t, so an OS operand has to be in `b` by
    then: `shift_b` leads its wave by a cycle. Without `w`, `b` comes with its wave.
    """

    def __init__(self, config: Config, builder: Builder | None = None) -> None:
        self._config, self._builder = config, builder or Builder()
        control = control_layout(config)
        self._operand = signed(_OPERAND * config.macs_per_element)
        super().__init__(
            {
                "a_in": In(self._operand),
                "b_in": In(self._operand),
                "p_in": In(signed(_SUM)),
                "control_in": In(control),
                "a_out": Out(self._operand),
                "b_out": Out(self._operand),
                "p_out": Out(signed(_SUM)),
                "control_out": Out(control),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        registered = bool(self._config.product_register)
        products = self._config.macs_per_element
        mac = self._builder.place(
            m,
            "arithmetic",
            "cdmqta_multiply_add",
            lambda: MultiplyAdd(products, registered=registered),
            clocked=registered,
        )
        control = _delayed(m, self.control_in, "control")
        a, b, w = self._operands(m)
        m.d.comb += [mac.a.eq(a), mac.w.eq(w)]
        late = control
        if registered:
            m.d.comb += mac.enable.eq(control["valid"])
            late = _delayed(m, control, "late")
        self._sums(m, mac, late, inverted_bits(products, registered=registered))
        m.d.comb += [self.a_out.eq(a), self.b_out.eq(b)]
        m.d.comb += [self.control_out[name].eq(value) for name, value in control.items()]
        return m

    def _operands(self, m: Module) -> tuple[Signal, Signal, Signal]:
        """Return `a`, `b`, and what multiplies `a`."""
        a = Signal(self._operand, reset_less=True)
        b = Signal(self._operand, reset_less=True)
        control = _fields(self.control_in)
        with m.If(control["valid"]):
            m.d.sync += a.eq(self.a_in)
        if not self._config.weight_stationary:
            with m.If(control["valid"] & control.get("os", 1)):
                m.d.sync += b.eq(self.b_in)
            return a, b, b
        w = Signal(self._operand, reset_less=True)
        with m.If(control["valid"] & (control.get("os", 0) | control["first"])):
            m.d.sync += w.eq(b)
        with m.If(control["shift_b"]):
            m.d.sync += b.eq(self.b_in)
        return a, b, w

    def _sums(self, m: Module, mac: Any, control: dict[str, Value], inverted: int) -> None:
        """Build what the total is added to, and where it goes."""
        config = self._config
        ws, os = config.weight_stationary, config.output_stationary
        both = os and config.drain_overlap
        # Sums are kept as the adder gives them, some bits as their complement.
        held = inverted ^ ((1 << _SUM) - 1 if both else 0)
        p = Signal(_SUM, init=held, reset_less=True)
        kept = Signal(_SUM, init=inverted, reset_less=True) if both else p
        acc = Signal(signed(_SUM))
        m.d.comb += acc.eq(kept ^ inverted)
        is_os = control.get("os", Const(os))
        # One gate a bit chooses, and clears if neither is chosen.
        keeps, passes = Signal(), Signal()
        base = Const(0, _SUM)
        if os:
            begins = Signal()
            m.d.comb += [keeps.eq(is_os & ~control["first"]), begins.eq(is_os & control["first"])]
            base = base | (acc & keeps.replicate(_SUM)) | Mux(begins, BIAS, 0)
        if ws or not both:
            m.d.comb += passes.eq(~is_os)
            base = base | (self.p_in & passes.replicate(_SUM))
        m.d.comb += [mac.base.eq(base), self.p_out.eq(p ^ held)]
        if not both:
            with m.If(control["valid"]):
                m.d.sync += p.eq(mac.total)
            return
        with m.If(control["valid"] & is_os):
            m.d.sync += kept.eq(mac.total)
        takes, moves = Signal(), Signal()
        m.d.comb += [
            takes.eq(control["valid"] & (~is_os | control["last"])),
            moves.eq(~takes & control["shift_p"]),
        ]
        with m.If(takes | moves):
            # The complement: a gate that chooses and inverts is smaller than one that chooses.
            m.d.sync += p.eq(
                ~(
                    (mac.total & takes.replicate(_SUM))
                    | ((self.p_in ^ inverted) & moves.replicate(_SUM))
                )
            )


def _fields(control: Any) -> dict[str, Value]:
    return {name: control[name] for name in control.shape().members}


def _delayed(m: Module, control: Any, name: str) -> dict[str, Value]:
    """Return control as it was a cycle earlier."""
    before = control if isinstance(control, dict) else _fields(control)
    after = {}
    for field, value in before.items():
        after[field] = Signal(name=f"{name}_{field}", reset_less=field not in _STARTS)
        m.d.sync += after[field].eq(value)
    return after
