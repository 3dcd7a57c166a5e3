"""Reads a Liberty file, plain or packed with gzip."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

from .liberty import (
    Arc,
    Cell,
    CellPin,
    Check,
    Direction,
    Latch,
    Leakage,
    Library,
    PinPower,
    Register,
    Sense,
    WireLoad,
)
from .liberty_syntax import Group, LibertyError, parse_groups
from .liberty_values import Values

__all__ = ["parse_liberty", "read_liberty", "unpacked"]

_CHECKS = ("setup_", "hold_", "recovery_", "removal_", "non_seq_", "skew_", "nochange_", "min_")
_GATE_ROLES = ("clock", "enable", "out", "test", "obs")


def read_liberty(path: Path | str) -> Library:
    """Return the library in a file.

    Raises
    ------
    LibertyError
        The file cannot be read, is not Liberty, is cut short, or holds no flip-flop.
    """
    return parse_liberty(unpacked(path), str(path))


def unpacked(path: Path | str) -> bytes:
    """Return a file's content, unpacked if it is packed with gzip.

    Raises
    ------
    LibertyError
        The file cannot be read or unpacked.
    """
    try:
        content = Path(path).read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LibertyError(f"{path} is a damaged gzip file: {error}") from error
    except OSError as error:
        raise LibertyError(f"{path} cannot be read: {error.strerror or error}") from error


def parse_liberty(content: bytes, origin: str) -> Library:
    """Return the library in a Liberty file's unpacked content; `origin` names it in messages.

    Raises
    ------
    LibertyError
        The content is not Liberty, is cut short, or holds no flip-flop.
    """
    top = parse_groups(content.decode("utf-8", errors="replace"), origin)
    reader = _Reader(top, origin)
    cells = {cell.name: cell for cell in map(reader.cell, top.inner("cell"))}
    if not any(cell.register for cell in cells.values()):
        held = f"its {len(cells)} cells are combinational" if cells else "it has no cells"
        raise LibertyError(f"{origin} holds no flip-flop (no cell with an 'ff' group): {held}")
    default = top.simple.get("default_wire_load")
    loads = {load.name: load for load in map(reader.wire_load, top.inner("wire_load"))}
    if default is not None and default not in loads:
        raise LibertyError(f"{origin}: default_wire_load {default!r} is not in the file")
    return Library(
        name=top.names[0] if top.names else "",
        origin=origin,
        digest=hashlib.sha256(content).hexdigest(),
        voltage_v=reader.number(top, "nom_voltage", 0.0) or 0.0,
        temperature_c=reader.number(top, "nom_temperature", 25.0) or 0.0,
        max_slew_ns=reader.number(top, "default_max_transition", None, reader.units.time),
        cells=cells,
        wire_loads=loads,
        default_wire_load=default,
    )


class _Reader(Values):
    """Turns groups into what they mean."""

    def cell(self, group: Group) -> Cell:
        """Return a cell."""
        flops, latches = group.one("ff"), group.one("latch")
        pins = {pin.name: pin for each in group.inner("pin") for pin in self.pins(each)}
        return Cell(
            name=group.names[0],
            area_um2=self.number(group, "area", 0.0),
            leakage_nw=self.number(group, "cell_leakage_power", 0.0, self.units.leakage),
            leakages=tuple(
                Leakage(
                    self.function(each, "when"),
                    self.number(each, "value", 0.0, self.units.leakage),
                )
                for each in group.inner("leakage_power")
            ),
            pins=pins,
            register=flops and self.register(flops),
            latch=latches and self.latch(latches),
            gating=group.simple.get("clock_gating_integrated_cell"),
            dont_use=group.simple.get("dont_use") == "true",
        )

    def register(self, group: Group) -> Register:
        """Return what an ``ff`` group says."""
        next_state, clocked_on = (
            self.function(group, name) for name in ("next_state", "clocked_on")
        )
        if next_state is None or clocked_on is None:
            raise self.fail(group, "lacks next_state or clocked_on")
        clear, preset = (self.function(group, name) for name in ("clear", "preset"))
        return Register(tuple(group.names), next_state, clocked_on, clear, preset)

    def latch(self, group: Group) -> Latch:
        """Return what a ``latch`` group says."""
        names = ("data_in", "enable", "clear", "preset")
        return Latch(tuple(group.names), *(self.function(group, name) for name in names))

    def pins(self, group: Group) -> Iterator[CellPin]:
        """Return the pins of a group, which may name several."""
        capacitance = self.units.capacitance
        direction = group.simple.get("direction", "")
        if direction not in tuple(Direction):
            raise self.fail(group, f"direction must be one of input, output, not {direction!r}")
        default = self.number(self.top, f"default_{direction}_pin_cap", 0.0, capacitance)
        both = self.number(group, "capacitance", default, capacitance)
        roles = [r for r in _GATE_ROLES if group.simple.get(f"clock_gate_{r}_pin") == "true"]
        timings = list(group.inner("timing"))
        for name in group.names:
            yield CellPin(
                name=name,
                direction=Direction(direction),
                rise_ff=self.number(group, "rise_capacitance", both, capacitance),
                fall_ff=self.number(group, "fall_capacitance", both, capacitance),
                capacitance_ff=both,
                max_capacitance_ff=self.number(group, "max_capacitance", None, capacitance),
                max_slew_ns=self.number(group, "max_transition", None, self.units.time),
                clock=group.simple.get("clock") == "true",
                function=self.function(group, "function"),
                state_function=self.function(group, "state_function"),
                three_state=self.function(group, "three_state"),
                gate_role=roles[0] if roles else None,
                arcs=tuple(arc for each in timings for arc in self.arcs(group, each)),
                checks=tuple(check for each in timings for check in self.checks(each)),
                powers=tuple(self.power(each) for each in group.inner("internal_power")),
            )

    def arcs(self, pin: Group, group: Group) -> Iterator[Arc]:
        """Return the delays of a ``timing`` group, one for each related pin."""
        kind = group.simple.get("timing_type", "combinational")
        if kind.startswith(_CHECKS):
            return
        tables = [
            self.table(group, name, self.units.time)
            for name in ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
        ]
        for related in group.simple.get("related_pin", "").split():
            sense = group.simple.get("timing_sense") or self._sense(pin, related)
            if sense not in tuple(Sense):
                raise self.fail(group, f"timing_sense {sense!r}; accepted: {', '.join(Sense)}")
            yield Arc(related, kind, Sense(sense), self.function(group, "when"), *tables)

    def _sense(self, pin: Group, related: str) -> str:
        """Return the sense that follows from the pin's function."""
        function = self.function(pin, "function")
        match function.unate(related) if function else (True, True):
            case True, False:
                return Sense.POSITIVE
            case False, True:
                return Sense.NEGATIVE
        return Sense.NONE

    def checks(self, group: Group) -> Iterator[Check]:
        """Return the constraints of a ``timing`` group, one for each related pin."""
        kind = group.simple.get("timing_type", "combinational")
        if not kind.startswith(_CHECKS):
            return
        rise, fall = (
            self.table(group, name, self.units.time)
            for name in ("rise_constraint", "fall_constraint")
        )
        for related in group.simple.get("related_pin", "").split():
            yield Check(related, kind, self.function(group, "when"), rise, fall)

    def power(self, group: Group) -> PinPower:
        """Return an ``internal_power`` group; ``power`` in it counts for both edges."""
        both = self.table(group, "power", self.units.energy)
        rise, fall = (
            self.table(group, name, self.units.energy) for name in ("rise_power", "fall_power")
        )
        related = tuple(group.simple.get("related_pin", "").split())
        return PinPower(related, self.function(group, "when"), rise or both, fall or both)

    def wire_load(self, group: Group) -> WireLoad:
        """Return a wire load."""
        try:
            lengths = [
                (int(float(fanout)), float(length))
                for fanout, length in group.complex.get("fanout_length", [])
            ]
        except ValueError:
            raise self.fail(group, "fanout_length must be (fanout, length)") from None
        if any(a[0] >= b[0] for a, b in zip(lengths, lengths[1:], strict=False)):
            raise self.fail(group, "fanouts must rise")
        return WireLoad(
            group.names[0],
            self.number(group, "capacitance", 0.0, self.units.capacitance),
            self.number(group, "resistance", 0.0, self.units.resistance),
            self.number(group, "slope", 0.0),
            tuple(lengths),
        )
