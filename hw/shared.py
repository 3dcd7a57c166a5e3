"""Units that a design repeats: Amaranth submodules, or instances of a module emitted once.

Amaranth gives every submodule a Verilog module of its own. A 64x64 grid would be 4096 copies of
one PE, so for emission a repeated unit becomes an `Instance` of a module that `hw.emit` converts
once. An `Instance` has no behaviour in Amaranth's own simulator: there, units are submodules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth import ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring

__all__ = ["Builder"]


class Builder:
    """Decides in which form repeated units and memories appear in a design.

    Parameters
    ----------
    emit : bool
        False: plain Amaranth submodules, for simulation. True: instances, for emission; the units
        to convert are collected in `units`, the memories in `memories`.
    share : bool, optional
        Whether repeated units are instances of one module; as `emit` by default.

    Attributes
    ----------
    soft_reset : Signal or None
        Resets the instances of the unit that is being converted, beside the domain's reset. A
        `ResetInserter` passes over instances, so whoever uses one says it here too.
    """

    def __init__(self, *, emit: bool = False, share: bool | None = None) -> None:
        self.emit = emit
        self.share = emit if share is None else share
        self.soft_reset: Signal | None = None
        self.units: dict[str, wiring.Component] = {}
        self.memories: dict[str, Any] = {}

    def place(
        self,
        m: Module,
        name: str,
        module: str,
        make: Callable[[], wiring.Component],
        *,
        clocked: bool = True,
    ) -> Any:
        """Add the unit that `make` returns to `m` as submodule `name`, and return its interface.

        What is placed under one `module` name must be alike: only the first is made and converted.
        A unit without a register is not `clocked`.
        """
        if not self.share:
            m.submodules[name] = unit = make()
            return unit
        if module not in self.units:
            self.units[module] = make()
        unit = self.units[module]
        interface = unit.signature.create()
        m.submodules[name] = self._instance(module, unit.signature, interface, clocked)
        return interface

    def instance(self, m: Module, name: str, module: str, signature: wiring.Signature) -> Any:
        """Add an instance of a module that has no Amaranth description; return its interface."""
        interface = signature.create()
        m.submodules[name] = self._instance(module, signature, interface)
        return interface

    def _instance(
        self, module: str, signature: wiring.Signature, interface: Any, clocked: bool = True
    ) -> Instance:
        reset: Any = ResetSignal()
        if self.soft_reset is not None:
            reset |= self.soft_reset
        ports = {"i_clk": ClockSignal(), "i_rst": reset} if clocked else {}
        for path, member, value in signature.flatten(interface):
            direction = "i" if member.flow is wiring.In else "o"
            ports[f"{direction}_{'__'.join(map(str, path))}"] = value
        return Instance(module, **ports)
