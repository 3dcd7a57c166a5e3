"""Attributes of a Liberty file as numbers, functions and tables, in the units of `liberty`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .function import Function, parse_function
from .liberty_syntax import Group, LibertyError
from .table import LATER, Table

__all__ = ["Units", "Values"]

_SCALES = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "": 1.0}


@dataclass(frozen=True)
class Units:
    """What a 1 in the file is, in ns, fF, nW, fJ and kohm."""

    time: float
    capacitance: float
    leakage: float
    energy: float
    resistance: float


class Values:
    """Turns attributes into what they mean; templates and units are those of the library."""

    def __init__(self, top: Group, origin: str) -> None:
        self.origin = origin
        self.top = top
        self.units = self._units()
        self.templates = {
            group.names[0]: group
            for group in top.inner("lu_table_template", "power_lut_template")
            if group.names
        }
        self.functions: dict[str, Function] = {}
        self.axes: dict[tuple[str, float], NDArray[np.float64]] = {}

    def fail(self, group: Group, what: str) -> LibertyError:
        """Return an error that says where it is."""
        return LibertyError(f"{self.origin}, line {group.line}, {group.title}: {what}")

    def number(
        self, group: Group, name: str, default: float | None, scale: float = 1.0
    ) -> float | None:
        """Return an attribute in our units."""
        text = group.simple.get(name)
        if text is None:
            return default
        try:
            found = float(text) * scale
            if not math.isfinite(found):
                raise ValueError
        except ValueError:
            raise self.fail(group, f"{name} must be a number, not {text!r}") from None
        return found

    def _units(self) -> Units:
        time = self._unit("time_unit", "1ns", "s") * 1e9
        volt = self._unit("voltage_unit", "1V", "V")
        leakage = self._unit("leakage_power_unit", "1nW", "W") * 1e9
        ohm = self._unit("pulling_resistance_unit", "1kohm", "ohm")
        amount, prefix = (self.top.complex.get("capacitive_load_unit") or [["1", "pf"]])[0][:2]
        try:
            farad = float(amount) * _SCALES[prefix.lower().removesuffix("f")] * 1e15
        except (KeyError, ValueError):
            raise self.fail(
                self.top, f"capacitive_load_unit must be like (1,ff), not ({amount},{prefix})"
            ) from None
        # Liberty gives internal energy in units of capacitance times voltage squared.
        return Units(time, farad, leakage, farad * volt**2, ohm * 1e-3)

    def _unit(self, name: str, default: str, base: str) -> float:
        text = self.top.simple.get(name, default)
        digits = text.rstrip("abcdefghijklmnopqrstuvwxyzVWAHZ")
        prefix = text[len(digits) :].removesuffix(base)
        try:
            return float(digits) * _SCALES[prefix]
        except (KeyError, ValueError):
            raise self.fail(self.top, f"{name} must be like {default}, not {text!r}") from None

    def function(self, group: Group, name: str) -> Function | None:
        """Return an attribute that is a Boolean expression; equal texts share one."""
        text = group.simple.get(name)
        if not text:
            return None
        if text not in self.functions:
            try:
                self.functions[text] = parse_function(text)
            except ValueError as error:
                raise self.fail(group, f"{name} {error}") from error
        return self.functions[text]

    def table(self, group: Group, kind: str, scale: float) -> Table | None:
        """Return the table of a kind inside a group, its slew in rows."""
        found = group.one(kind)
        if found is None:
            return None
        if "values" not in found.complex:
            raise self.fail(found, "has no values")
        name = found.names[0] if found.names else "scalar"
        template = self.templates.get(name)
        if template is None and name != "scalar":
            raise self.fail(found, f"there is no template {name!r}")
        variables = [
            template.simple[f"variable_{k}"]
            for k in (1, 2, 3)
            if template is not None and f"variable_{k}" in template.simple
        ]
        if len(variables) > 2:
            raise self.fail(found, f"has {len(variables)} axes; accepted: at most 2")
        axes = []
        for k, variable in enumerate(variables, start=1):
            parts = (found.complex.get(f"index_{k}") or template.complex.get(f"index_{k}") or [[]])[
                0
            ]
            load = variable == "total_output_net_capacitance"
            unit = self.units.capacitance if load else self.units.time
            axes.append(self._axis(found, ",".join(parts), unit))
        values = self._numbers(found, ",".join(found.complex["values"][0])) * scale
        one = np.zeros(1)
        if not axes:
            axes, variables = [one, one], ["", ""]
        elif len(axes) == 1:
            later = variables[0] in LATER
            axes = [one, axes[0]] if later else [axes[0], one]
            variables = []
        shape = (len(axes[0]), len(axes[1]))
        if values.size != shape[0] * shape[1]:
            raise self.fail(found, f"has {values.size} values; its axes want {shape[0] * shape[1]}")
        values = values.reshape(shape)
        if variables and variables[0] in LATER:
            return Table(axes[1], axes[0], np.ascontiguousarray(values.T))
        return Table(axes[0], axes[1], values)

    def _axis(self, group: Group, text: str, unit: float) -> NDArray[np.float64]:
        if (text, unit) not in self.axes:
            axis = self._numbers(group, text) * unit
            if not axis.size or (np.diff(axis) <= 0).any():
                raise self.fail(group, f"an index must rise: {text!r}")
            self.axes[text, unit] = axis
        return self.axes[text, unit]

    def _numbers(self, group: Group, text: str) -> NDArray[np.float64]:
        try:
            found = np.array(text.replace(",", " ").split(), dtype=np.float64)
            if not np.isfinite(found).all():
                raise ValueError
        except ValueError:
            raise self.fail(group, f"holds what is no number: {text[:60]!r}") from None
        return found
