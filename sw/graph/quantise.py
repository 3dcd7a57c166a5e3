"""Second pass: operands become INT8 copies, results int32 sums, with what makes the copies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from hw.isa.config import Config
from hw.isa.instructions import Axis

from ..models.product import Role
from ..tile import Span
from .build import TEXT
from .copies import SIDES, Copies, Need, places
from .ir import Gemm, Graph, GraphError, Host, Op, Quantise, Value, View
from .shape import Shape

__all__ = ["quantise", "unit_of"]

_SCORES = Role.QK, Role.DP
"""Products of which the host reads an INT8 copy: it is large, and softmax needs no more."""


def unit_of(config: Config) -> int:
    """Return the size to which parts of joint matrices are aligned, on the chip and in DRAM."""
    return math.lcm(config.rows, config.columns, config.bus_bytes)


def quantise(graph: Graph, config: Config) -> Graph:
    """Return the graph with INT8 operands, int32 sums, and operations that make copies.

    Sums that only copies are made of have ``.sums`` behind the name, a float value whose copy has
    its name ``.float``. What the sites of the text make is joined: see `sw.graph.copies.places`.

    Raises
    ------
    GraphError
        The graph is quantised already, scales lie where no operand can take them, or samples of a
        module do not start at whole beats of the bus.
    """
    for op in graph.ops:
        if isinstance(op, Quantise):
            raise GraphError(f"graph {graph.name} is quantised already: {op}")
    shape = Shape.of(graph.meta)
    for module in shape.modules:
        if shape.batch > 1 and module.tokens % config.bus_bytes:
            raise GraphError(
                f"{module.path}: with batch {shape.batch}, its {module.tokens} tokens of a sample "
                f"must be a multiple of bus_bytes {config.bus_bytes}"
            )
    return _Quantiser(graph, shape.placed(unit_of(config))).graph()


class _Quantiser:
    """Turns a float graph into one on copies and sums."""

    def __init__(self, graph: Graph, shape: Shape) -> None:
        self._source, self._shape = graph, shape
        self._joints = places(shape)
        self._ops = list(graph.ops)
        self._at = [i for i, op in enumerate(self._ops) if isinstance(op, Gemm)]
        self._gemms: list[Gemm] = [self._ops[i] for i in self._at]
        self._copies = Copies(self._gemms, self._joints)
        self._values: dict[str, Value] = {}
        self._after: dict[int, list[Quantise]] = {}
        self._reads: dict[int, list[str]] = {}
        self._writes: dict[int, list[str]] = {}
        self._copied = {need.of for need in self._copies.needs.values() if need.chip}
        self._scores = {g.out.value for g in self._gemms if g.name.split(".")[0] in _SCORES}

    def graph(self) -> Graph:
        gemms = {at: self._gemm(i) for i, at in enumerate(self._at)}
        for need in self._copies.needs.values():
            (self._by_chip if need.chip else self._by_host)(need)
        for name in self._scores:
            self._score(name)
        for gemm in self._gemms:
            if gemm.updates:
                self._factor(gemm)
        ops: list[Op] = []
        for at, op in enumerate(self._ops):
            ops.append(gemms[at] if at in gemms else self._host(at, op))
            ops += self._after.get(at, ())
        return Graph(self._source.name, self._values, tuple(ops), self._shape.meta)

    # Values and views

    def _declare(self, name: str, dtype: str, rows: int, columns: int, constant=False) -> Value:
        return self._values.setdefault(name, Value(name, dtype, rows, columns, constant))

    def _sizes(self, name: str) -> tuple[int, int, bool]:
        """Return rows and columns of a value or the joint one it is in, and if it is constant."""
        value, place = self._source.values[name], self._joints.get(name)
        sizes = (place.rows, place.columns) if place else (value.rows, value.columns)
        return *sizes, value.constant

    def _view(self, view: View, name: str) -> View:
        """Return the view of the value `name` that takes the place of a view of a float value."""
        place = self._joints.get(view.value)
        row, column = (place.row, place.column) if place else (0, 0)
        rows, columns = view.rows, view.columns
        return View(name, Span(rows.start + row, rows.size),
                    Span(columns.start + column, columns.size), view.transposed)  # fmt: skip

    def _sums(self, name: str) -> str:
        """Return the name of the sums of a value that gemms make."""
        joint = self._copies.joint(name)
        return f"{joint}.sums" if joint in self._copied or name in self._scores else joint

    def _gemm(self, index: int) -> Gemm:
        gemm = self._gemms[index]
        views = {}
        for side in SIDES:
            view, need = getattr(gemm, side), self._copies.of(index, side)
            rows, columns, constant = self._sizes(view.value)
            if need.name == f"{TEXT}.Au":
                site = self._joints[view.value]
                rows, columns, constant = site.columns, site.rows, False
                views[side] = View(need.name, Span(site.column, view.columns.size), view.rows)
            else:
                views[side] = self._view(view, need.name)
            self._declare(need.name, "int8", rows, columns, constant)
        rows, columns, _ = self._sizes(gemm.out.value)
        name = self._sums(gemm.out.value)
        self._declare(name, "int32", rows, columns)
        return replace(gemm, out=self._view(gemm.out, name), **views)

    # Copies

    def _by_host(self, need: Need) -> None:
        """Emit the quantisation of a copy by the host, one for each group of scales."""
        found: dict[View, View] = {}
        for index, side in need.readers:
            view: View = getattr(self._gemms[index], side)
            lies = View(view.value, view.rows, view.columns)
            copy = self._view(lies, need.name)
            if view.value not in self._joints:
                found[replace(lies, value=self._float(view.value))] = copy
            elif need.axis is Axis.TENSOR and need.name != f"{TEXT}.Au":
                found[replace(lies, value=self._float(view.value))] = copy
            else:
                value = self._values[need.name]
                self._declare(need.of, "float", value.rows, value.columns)
                found[View.of(self._values[need.of])] = View.of(value)
        after = self._position(need)
        for source, copy in found.items():
            self._after.setdefault(after, []).append(
                Quantise(source, copy, need.axis, "host", weights=need.weights)
            )
        if need.name == f"{TEXT}.Au":
            self._writes.setdefault(after, []).append(need.of)

    def _float(self, name: str) -> str:
        """Declare a float value of the host; return its name beside its copy."""
        value = self._source.values[name]
        new = f"{name}.float" if name in self._copies.needs else name
        self._declare(new, "float", value.rows, value.columns, value.constant)
        return new

    def _position(self, need: Need) -> int:
        """Return the index of the host operation after which the host can make a copy."""
        index, side = need.readers[0]
        if need.name == f"{TEXT}.Au":
            return self._before(self._at[index], TEXT)
        name = getattr(self._gemms[index], side).value
        at = self._maker(name)
        if need.weights:
            other = self._copies.needs[need.weights]
            if other.chip:
                made = max(self._at[i] for i, g in enumerate(self._gemms)
                           if self._copies.joint(g.out.value) == other.of)  # fmt: skip
                at = max(at, self._next(made))
            else:
                at = max(at, self._position(other))
        return at

    def _maker(self, name: str) -> int:
        return next(i for i, op in enumerate(self._ops)
                    if isinstance(op, Host) and name in op.writes)  # fmt: skip

    def _before(self, at: int, owner: str) -> int:
        """Return the index of the last host operation of a module that gives values before `at`."""
        return max(i for i, op in enumerate(self._ops[:at])
                   if isinstance(op, Host) and op.name.rpartition(".")[0] == owner
                   and op.kind not in ("sum", "collect"))  # fmt: skip

    def _next(self, at: int) -> int:
        return next(i for i in range(at, len(self._ops)) if isinstance(self._ops[i], Host))

    def _by_chip(self, need: Need) -> None:
        """Emit the quantisation of sums by the array, behind the last gemm that makes them."""
        makers = [i for i, g in enumerate(self._gemms)
                  if self._copies.joint(g.out.value) == need.of]  # fmt: skip
        at = self._at[makers[-1]]
        first = self._gemms[makers[0]].out
        sums, copy = self._sums(first.value), need.name
        made = self._loaded if self._copies.loaded(need) else self._fresh
        self._after.setdefault(at, []).extend(made(need, makers, View.of(self._values[sums]), copy))

    def _fresh(self, need: Need, makers: list[int], sums: View, copy: str) -> Iterator[Quantise]:
        """Yield copies by maxima of this step, one for each window that is reduced together."""
        windows = dict.fromkeys(
            self._view(getattr(self._gemms[i], side), copy).rows for i, side in need.readers
        )
        joint = need.of.startswith(f"{TEXT}.")
        if joint or need.axis is Axis.ROW:
            windows = {sums.rows: None}
        size = sums.columns.size if need.axis is Axis.COLUMN else sums.rows.size
        name = f"{need.of}.maxima"
        if joint:
            name = f"{need.of}.{need.axis.name.lower()}_maxima"
        self._declare(name, "uint32", len(windows), size)
        for row, rows in enumerate(windows):
            part = Span(rows.start, rows.size), sums.columns
            maxima = View(name, Span(row, 1), Span(0, size))
            yield Quantise(View(sums.value, *part), View(copy, *part), need.axis, "fresh",
                           maxima=maxima)  # fmt: skip
        self._report(need, name)

    def _report(self, need: Need, maxima: str) -> None:
        """Let the host read maxima where it first reads what was computed of the copy."""
        for index, _ in need.readers:
            gemm = self._gemms[index]
            if gemm.updates:
                continue
            at = next(i for i, op in enumerate(self._ops)
                      if isinstance(op, Host) and gemm.out.value in op.reads)  # fmt: skip
            self._reads.setdefault(at, []).append(maxima)
            return

    def _loaded(self, need: Need, makers: list[int], sums: View, copy: str) -> Iterator[Quantise]:
        """Yield copies by entries of the host, one for each window that a gemm makes."""
        module, left = need.of.rpartition(".")[0], self._copies.of(makers[0], "left")
        heads = next(m for m in self._shape.modules if m.path == module).heads
        batch, at = self._shape.batch, self._before(self._at[makers[0]], module)
        entries, unit = f"{need.of}.entries", f"{left.of}.unit"
        self._declare(entries, "uint32", heads, sums.columns.size)
        self._declare(unit, "uint32", batch, sums.rows.size)
        self._writes.setdefault(at, []).append(entries)
        self._writes.setdefault(self._maker(left.of), []).append(unit)
        for index in makers:
            out = self._gemms[index].out
            head, sample = out.rows.start // out.rows.size, out.columns.start // out.columns.size
            yield Quantise(
                replace(out, value=sums.value), replace(out, value=copy), need.axis, "loaded",
                entries=View(entries, Span(head, 1), out.columns),
                unit=View(unit, Span(sample, 1), out.rows),
            )  # fmt: skip

    def _score(self, name: str) -> None:
        """Emit the copy of scores that the host reads: one scale, which the host gives."""
        makers = [i for i, g in enumerate(self._gemms) if g.out.value == name]
        sums = self._values[self._sums(name)]
        copy = self._declare(name, "int8", sums.rows, sums.columns)
        entry = self._declare(f"{name}.entry", "uint32", 1, 1)
        at = self._before(self._at[makers[0]], name.rpartition(".")[0])
        self._writes.setdefault(at, []).append(entry.name)
        made = Quantise(View.of(sums), View.of(copy), Axis.TENSOR, "loaded", View.of(entry))
        self._after.setdefault(self._at[makers[-1]], []).append(made)

    def _factor(self, gemm: Gemm) -> None:
        """Declare the factor of a scale-and-accumulate gemm."""
        joint, wide = self._copies.joint(gemm.out.value), gemm.out.value in self._joints
        name = f"{joint}.factor"
        if name not in self._values:
            self._declare(name, "uint32", 1, len(self._shape.sites) if wide else 1)
            at = self._at[self._gemms.index(gemm)]
            first = min(self._at[i] for i, g in enumerate(self._gemms)
                        if self._copies.joint(g.out.value) == joint)  # fmt: skip
            self._writes.setdefault(self._before(min(at, first), TEXT), []).append(name)

    # The host

    def _host(self, at: int, op: Host) -> Host:
        """Return a host operation on sums and copies, with the entries that it reads and gives."""
        reads = [self._read(name) for name in op.reads] + self._reads.get(at, [])
        writes = [self._written(name) for name in op.writes] + self._writes.get(at, [])
        unique = (tuple(dict.fromkeys(each)) for each in (reads, writes))
        return replace(op, reads=next(unique), writes=next(unique))

    def _read(self, name: str) -> str:
        if not self._copies.made(name):
            return self._written(name)
        if name in self._scores:
            return name
        joint = self._copies.joint(name)
        if joint not in self._values:  # what the host sums itself
            rows, columns, _ = self._sizes(name)
            self._declare(joint, "int32", rows, columns)
        return joint

    def _written(self, name: str) -> str:
        if self._copies.made(name):
            return self._copies.joint(name)
        tail = name.rpartition(".")[2]
        if name in self._joints and tail == "dY":
            return self._copies.joint(name)
        return self._float(name)
