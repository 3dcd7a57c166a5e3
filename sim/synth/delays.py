"""Arcs and checks of the kinds of a netlist as arrays, also where inputs are tied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .function import Function
from .liberty import Arc, Cell, Sense
from .netlist import Kind
from .table import Table

__all__ = ["ARC", "CHECK", "Delays"]

ARC = np.dtype(
    [
        ("source", np.int32),
        ("target", np.int32),
        ("source_edge", np.int32),
        ("target_edge", np.int32),
        ("delay", np.int32),
        ("slew", np.int32),
        ("source_ff", np.float64),
    ]
)
"""Pins count within the instance; delay and slew are tables."""
CHECK = np.dtype(
    [("pin", np.int32), ("edge", np.int32), ("table", np.int32), ("pin_ff", np.float64)]
)

RISE, FALL = 0, 1
_CLEARS = ("clear", "preset")
_EDGES = ("rising_edge", "falling_edge")
_EDGES_OF = {
    "combinational_rise": (RISE,),
    "combinational_fall": (FALL,),
    "three_state_enable_rise": (RISE,),
    "three_state_enable_fall": (FALL,),
}


class Delays:
    """Collects variants: kinds, and kinds with some inputs tied.

    Members
    -------
    through, launches : list
        Arcs of each variant from input to output, and from clock to output, as tuples of `ARC`.
    checks : list
        Checks against the next rising edge, as tuples of `CHECK`.
    labels : list of str
        What each check of all variants is called.
    """

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self.kinds = kinds
        self.through: list[list[tuple]] = []
        self.launches: list[list[tuple]] = []
        self.checks: list[list[tuple]] = []
        self.labels: list[str] = []
        self._constants: dict[float, Table] = {}
        self._tables: dict[int, tuple[int, Table]] = {}
        self._known: dict[tuple[int, tuple[tuple[str, bool], ...]], int] = {}
        self._made: list[tuple[int, tuple[tuple[str, bool], ...]]] = []
        for kind in range(len(kinds)):
            self.variant(kind, {})

    def variant(self, kind: int, tied: Mapping[str, bool]) -> int:
        """Return the number of a kind with inputs tied; that of a kind as it is, is the kind's."""
        key = kind, tuple(sorted(tied.items()))
        if key not in self._known:
            self._known[key] = len(self.through)
            self._made.append(key)
            cell, pins = self.kinds[kind].cell, self.kinds[kind].pins
            if cell is None:
                self.through.append([])
                self.launches.append(self._macro_launches(self.kinds[kind]))
                checks = self._macro_checks(self.kinds[kind])
            else:
                self.through.append(self._through(cell, pins, tied))
                self.launches.append(self._launches(cell, pins))
                checks = self._checks(cell, pins, tied)
            self.checks.append([check for check, _ in checks])
            self.labels += [label for _, label in checks]
        return self._known[key]

    def widen(self, families: Sequence[Sequence[int]]) -> None:
        """Make variants of the other kinds of a family for whatever is tied in one of them."""
        for family in families:
            tied = {tied for kind, tied in self._known if kind in family}
            for kind in family:
                for each in sorted(tied):
                    self.variant(kind, dict(each))

    def of(self, variant: int) -> tuple[int, tuple[tuple[str, bool], ...]]:
        """Return the kind and what is tied of a variant."""
        return self._made[variant]

    def _table(self, table: Table) -> int:
        return self._tables.setdefault(id(table), (len(self._tables), table))[0]

    def _through(self, cell: Cell, pins: Sequence[str], tied: Mapping[str, bool]) -> list[tuple]:
        if cell.gating or cell.register:
            return []  # what goes through these is the clock
        return [
            (pins.index(arc.related), pins.index(pin.name), *edges, *tables, source_ff)
            for pin in cell.outputs
            for arc in pin.arcs
            if arc.kind not in (*_CLEARS, *_EDGES) and arc.related not in tied
            for edges, tables in self._edges(arc, pin.function, tied)
            for source_ff in [_pin_ff(cell, arc.related, edges[0])]
        ]

    def _edges(self, arc: Arc, function: Function | None, tied: Mapping[str, bool]):
        """Yield the edges and tables of an arc that is not shut by tied inputs."""
        if arc.when is not None and arc.when.given(tied).constant is False:
            return
        rises, falls = True, True
        if function is not None and tied and arc.related in function.inputs:
            rises, falls = function.given(tied).unate(arc.related)
        for target in _EDGES_OF.get(arc.kind, (RISE, FALL)):
            delay, slew = ((arc.rise, arc.rise_slew), (arc.fall, arc.fall_slew))[target]
            if delay is None or slew is None:
                continue
            for source in (RISE, FALL):
                same = source == target
                if arc.sense is not (Sense.NEGATIVE if same else Sense.POSITIVE) and (
                    rises if same else falls
                ):
                    yield (source, target), (self._table(delay), self._table(slew))

    def _launches(self, cell: Cell, pins: Sequence[str]) -> list[tuple]:
        if cell.register is None:
            return []
        return [
            (pins.index(arc.related), pins.index(pin.name), RISE, edge, *tables, 0.0)
            for pin in cell.outputs
            for arc in pin.arcs
            if arc.kind == "rising_edge"
            for edge, delay, slew in (
                (RISE, arc.rise, arc.rise_slew),
                (FALL, arc.fall, arc.fall_slew),
            )
            if delay is not None and slew is not None
            for tables in [(self._table(delay), self._table(slew))]
        ]

    def _checks(self, cell: Cell, pins: Sequence[str], tied: Mapping[str, bool]):
        return [
            ((pins.index(pin.name), edge, self._table(table), _pin_ff(cell, pin.name, edge)), label)
            for pin in cell.inputs
            for check in pin.checks
            if check.kind in ("setup_rising", "recovery_rising")
            if check.when is None or check.when.given(tied).constant is not False
            for edge, table in ((RISE, check.rise), (FALL, check.fall))
            if table is not None
            for label in ["clock gating setup" if cell.gating else check.kind.split("_")[0]]
        ]

    def _macro_launches(self, kind: Kind) -> list[tuple]:
        access, none = self._constant(kind.macro.access_ns), self._constant(0.0)
        return [
            (0, pin, RISE, edge, access, none, 0.0)
            for pin, into in enumerate(kind.inputs)
            if not into
            for edge in (RISE, FALL)
        ]

    def _macro_checks(self, kind: Kind) -> list[tuple]:
        setup = self._constant(kind.macro.setup_ns)
        return [
            ((pin, edge, setup, kind.macro.input_ff), "setup")
            for pin, (name, into) in enumerate(zip(kind.pins, kind.inputs, strict=True))
            if into and name != kind.macro.clock
            for edge in (RISE, FALL)
        ]

    def _constant(self, value: float) -> int:
        if value not in self._constants:
            one = np.zeros(1)
            self._constants[value] = Table(one, one, np.full((1, 1), value))
        return self._table(self._constants[value])

    def arrays(self, lists: list[list[tuple]], form: np.dtype) -> tuple[NDArray, NDArray[np.int32]]:
        """Return entries of all variants one after another, and where those of each begin."""
        starts = np.cumsum([0, *map(len, lists)], dtype=np.int32)
        return np.array([entry for each in lists for entry in each], dtype=form), starts

    def tables(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return all tables in one array, and places in it.

        These are, for each table: rows, their number, columns, their number, values.
        """
        data: list[NDArray[np.float64]] = []
        places, known, end = [], {}, 0

        def put(array: NDArray[np.float64]) -> int:
            nonlocal end
            if id(array) not in known:
                known[id(array)] = end
                data.append(array.ravel())
                end += array.size
            return known[id(array)]

        for _, table in self._tables.values():
            rows, columns = put(table.rows), put(table.columns)
            places.append((rows, len(table.rows), columns, len(table.columns), put(table.values)))
        return np.concatenate([*data, np.zeros(1)]), np.array(places, np.int64).reshape(-1, 5)


def _pin_ff(cell: Cell, pin: str, edge: int) -> float:
    return cell.pins[pin].fall_ff if edge == FALL else cell.pins[pin].rise_ff
