"""Small models, and products of a step computed with numpy integers."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Axis
from sim.arithmetic import (
    decode_scales,
    fresh_entries,
    magnitudes,
    matmul,
    requantise8,
    requantise32,
    scale_accumulate,
    update_entries,
)
from sw.graph.build import build
from sw.graph.ir import (
    Copy,
    Fused,
    Gemm,
    Graph,
    Host,
    Maxima,
    Quantise,
    Segment,
    Sums,
    Updates,
    View,
)
from sw.graph.quantise import quantise
from sw.graph.shape import Shape
from sw.models.layers import Dense, Model, Pair, Reading

__all__ = ["ARRAY", "Values", "cross", "model", "quantised", "run", "run_graph"]

ARRAY = Config(rows=8, columns=16, bus_bytes=4)


def cross(path: str, tokens: int, channels: int, heads: int, text: int, width: int, ranks=()):
    """Return the layers of a cross-attention module; `ranks` are those of LoRA on K and V."""
    size, inner = channels // heads, Reading.XATTN
    rank_k, rank_v = ranks or (None, None)
    return (
        Dense(f"{path}.q", tokens, channels, channels, inner, bias=False),
        Dense(f"{path}.k", text, width, channels, Reading.KV, bias=False, rank=rank_k),
        Dense(f"{path}.v", text, width, channels, Reading.KV, bias=False, rank=rank_v),
        Pair(path, True, tokens, size, text, heads, inner),
        Pair(path, False, tokens, text, size, heads, inner),
        Dense(f"{path}.out", tokens, channels, channels, inner),
    )


def model(*ranks: tuple[int | None, int | None]) -> Model:
    """Return a model of two modules with different sizes, and a convolution between them.

    Widths and tokens are no multiples of the array's sides.
    """
    first, second = ranks or ((), ())
    return Model(
        "two",
        (
            *cross("a", 12, 20, 2, 5, 10, first),
            Dense("between", 4, 3, 6, Reading.UNET, (3, 3), (2, 2)),
            *cross("b", 36, 18, 3, 5, 10, second),
        ),
    )


def quantised(made: Model, reading: str = "xattn", batch: int = 2, rank: int | None = 3) -> Graph:
    """Return the quantised graph of a step for `ARRAY`."""
    return quantise(build(made, reading, batch, rank), ARRAY)


@dataclass
class Values:
    """Runs a step: what the host would give is random, but the same for the same value.

    Members
    -------
    fused : Fused or Graph
    arrays : dict of ndarray
    """

    fused: Fused | Graph
    arrays: dict[str, np.ndarray]

    def view(self, view: View) -> np.ndarray:
        """Return a window of a value; writing to it writes the value."""
        value = self.fused.values[view.value]
        if view.value not in self.arrays:
            self.arrays[view.value] = np.zeros((value.rows, value.columns), value.dtype)
        spans = (slice(s.start, s.start + s.size) for s in (view.rows, view.columns))
        window = self.arrays[view.value][tuple(spans)]
        return window.T if view.transposed else window

    def given(self, name: str) -> None:
        """Make what the host gives."""
        value = self.fused.values[name]
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        shape = value.rows, value.columns
        if value.dtype == "int8":
            made = rng.integers(-127, 128, shape).astype(np.int8)
        else:  # ratios such that few copies are limited and updates are as large as what they join
            shifts = {"factor": 29, "unit": 16}
            shift = shifts.get(name.rpartition(".")[2], 24)
            made = (rng.integers(1 << 15, 1 << 16, shape) | shift << 16).astype(np.uint32)
        self.arrays[name] = self._padded(name, made)

    def _padded(self, name: str, made: np.ndarray) -> np.ndarray:
        """Return a joint matrix of the sites with zeros between them."""
        shape = Shape.of(self.fused.meta)
        mask = np.zeros(made.shape, bool)
        start = 0
        for site in shape.sites:
            columns = slice(site.first, site.first + site.outputs)
            ranks = slice(site.column, site.column + site.rank)
            if name in ("text.W", "text.dY.row", "text.dY.column"):
                mask[:, columns] = True
            elif name == "text.A":
                mask[:, ranks] = True
            elif name == "text.Bt":
                mask[site.row : site.row + site.rank, columns] = True
            elif name == "text.Au":
                mask[ranks] = True
            elif name == "text.A.alone" and site.rank:
                own = start + site.row
                self._same("text.A", made, ranks, slice(own, own + site.rank), shape)
                mask[:, own : own + site.rank] = True
                start += site.width
            else:
                mask[:] = mask | (not name.startswith("text.A"))
        return np.where(mask, made, 0).astype(made.dtype)

    def _same(self, name: str, made: np.ndarray, of: slice, to: slice, shape: Shape) -> None:
        """Put columns of another value, as it would be made, into this one."""
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        full = rng.integers(-127, 128, (made.shape[0], shape.ranks)).astype(np.int8)
        made[:, to] = full[:, of]

    def drain(self, sums: np.ndarray, outputs, tables: dict[str, np.ndarray]) -> None:
        """Make of sums what outputs say."""
        for each in outputs:
            rows, columns = (slice(s.start, s.start + s.size) for s in (each.rows, each.columns))
            part = sums[rows, columns]
            if isinstance(each, Sums):
                self.view(each.to)[:] = part
            elif isinstance(each, Updates):
                factor = int(self.view(each.factor)[0, 0])
                tables[each.table] = update_entries(magnitudes(part).max(axis=1), factor)
            elif isinstance(each, Maxima):
                assert each.unit is None
                axis = {Axis.ROW: 1, Axis.COLUMN: 0}[each.axis]
                found = magnitudes(part).max(axis=axis)
                self.view(each.to)[0] = found
                tables[each.table] = fresh_entries(found)
            else:
                self._copy(each, part, tables)

    def _copy(self, each: Copy, part: np.ndarray, tables: dict[str, np.ndarray]) -> None:
        entries = self.view(each.entries)[0] if each.entries else tables[each.table]
        if each.unit:
            part = requantise32(part, *decode_scales(self.view(each.unit).T))
        entries = entries[:, None] if each.axis is Axis.ROW else entries[None, :]
        self.view(each.to)[:] = requantise8(part, *decode_scales(entries))

    def segment(self, segment: Segment) -> None:
        """Compute the products of a segment."""
        tables: dict[str, np.ndarray] = {}
        for product in segment.products:
            sums = np.zeros((product.m, product.n), np.int32)
            for term in product.terms:
                spans = (term.rows, term.columns)
                rows, columns = (slice(s.start, s.start + s.size) for s in spans)
                found = matmul(self.view(term.left), self.view(term.right))
                if term.updates:
                    table = tables.get(term.updates)
                    table = self.arrays[term.updates][0] if table is None else table
                    scales = decode_scales(table[rows, None])
                    sums[rows, columns], _ = scale_accumulate(sums[rows, columns], found, *scales)
                else:
                    sums[rows, columns] += found
            self.drain(sums, product.outputs, tables)

    def host(self, step: Host) -> None:
        """Do what the host does with integers, or make what it gives."""
        if step.kind == "drain":
            tables: dict[str, np.ndarray] = {}
            self.drain(self.arrays[step.reads[0]], step.outputs, tables)
            made = {name: table[None] for name, table in tables.items() if name in step.writes}
            self.arrays.update(made)
        elif step.kind == "sum":
            sites, rows = self.arrays[step.reads[0]], self.fused.values[step.writes[0]].rows
            self.arrays[step.writes[0]] = sites.reshape(-1, rows, sites.shape[1]).sum(
                axis=0, dtype=np.int32
            )
        elif step.kind == "add_update":
            self._add_update(step)
        else:
            for name in step.writes:
                self.given(name)

    def _add_update(self, step: Host) -> None:
        plain, update, maxima, factor = (self.arrays[name] for name in step.reads)
        made = plain.copy()
        shape = Shape.of(self.fused.meta)
        windows = [slice(site.first, site.first + site.outputs) for site in shape.sites]
        if factor.shape[1] == 1:
            windows = [slice(None)]
        for index, columns in enumerate(windows):
            if len(windows) > 1 and not shape.sites[index].rank:
                continue
            scales = decode_scales(update_entries(maxima[0], int(factor[0, index]))[:, None])
            made[:, columns], _ = scale_accumulate(plain[:, columns], update[:, columns], *scales)
        self.arrays[step.writes[0]] = made


def run(fused: Fused) -> dict[str, np.ndarray]:
    """Return every value of DRAM after a step."""
    values = Values(fused, {})
    for step in fused.steps:
        (values.segment if isinstance(step, Segment) else values.host)(step)
    return values.arrays


def run_graph(graph: Graph) -> dict[str, np.ndarray]:
    """Return every value after the operations of a quantised graph, one by one, have run."""
    values = Values(graph, {})
    updates: dict[str, list[Gemm]] = {}
    for op in graph.ops:
        if isinstance(op, Gemm) and op.updates:
            updates.setdefault(op.updates, []).append(op)
    for op in graph.ops:
        if isinstance(op, Host) and op.kind == "sum":
            values.host(op)
        elif isinstance(op, Host):
            entries = [name for name in op.writes if graph.values[name].dtype == "uint32"]
            values.host(replace(op, kind="", writes=tuple(entries)))
        elif isinstance(op, Quantise):
            _quantise(values, op)
        elif not op.updates:
            values.view(op.out)[:] = matmul(values.view(op.left), values.view(op.right))
        elif op is updates[op.updates][-1]:
            _update(values, updates[op.updates])
    return values.arrays


def _quantise(values: Values, op: Quantise) -> None:
    if op.how == "host":
        if op.copy.value not in values.arrays:
            values.given(op.copy.value)
        return
    spans, tables = (op.source.rows, op.source.columns), {}
    copy = Copy(*spans, op.axis, op.copy, "table", op.entries, op.unit)
    if op.how == "fresh":
        sums = values.arrays[op.source.value]
        values.drain(sums, [Maxima(*spans, op.axis, "table", op.maxima)], tables)
    values.drain(values.arrays[op.source.value], [copy], tables)


def _update(values: Values, gemms: list[Gemm]) -> None:
    """Add products that share a table: their sums are rounded once."""
    total, index = gemms[0].out.value, gemms[0].updates.rpartition(".")[2]
    factors = values.arrays[f"{total}.factor"][0]
    factor = int(factors[int(index)] if index.isdigit() else factors[0])
    maxima = values.arrays[f"{gemms[0].left.value.removesuffix('.row')}.row_maxima"][0]
    sums = sum(matmul(values.view(gemm.left), values.view(gemm.right)) for gemm in gemms)
    scales = decode_scales(update_entries(maxima, factor)[:, None])
    out = values.view(gemms[0].out)
    out[:], _ = scale_accumulate(out, sums.astype(np.int32), *scales)
