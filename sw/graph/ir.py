"""What the passes hand on: values, operations on them, and products in segments.

A graph holds operations in an order in which they can run. Before `fuse` they are `Gemm`,
`Quantise` and `Host`; after it, runs of products between two host operations are segments, each one
program of the array.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hw.isa.instructions import Axis

from ..tile import Span

__all__ = [
    "Copy",
    "Fused",
    "Gemm",
    "Graph",
    "GraphError",
    "Host",
    "Maxima",
    "Op",
    "Output",
    "Product",
    "Quantise",
    "Segment",
    "Sums",
    "Term",
    "Updates",
    "Value",
    "View",
]


class GraphError(ValueError):
    """A graph that makes no sense; the message is one line and names what is wrong."""


@dataclass(frozen=True)
class Value:
    """A matrix that an operation makes or reads.

    Members
    -------
    name : str
    dtype : str
        ``float`` for real numbers, which stay on the host; ``int8``, ``int32``, ``uint32`` for what
        lies in DRAM, row-major.
    rows, columns : int
    constant : bool
        Whether it is the same in every step: frozen weights.
    """

    name: str
    dtype: str
    rows: int
    columns: int
    constant: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{self.rows}x{self.columns}]" + (
            " constant" if self.constant else ""
        )


@dataclass(frozen=True)
class View:
    """A window of a value, as it lies or transposed.

    Members
    -------
    value : str
    rows, columns : Span
        Of the value as it lies.
    transposed : bool
        Whether the view is the transpose of the window.
    """

    value: str
    rows: Span
    columns: Span
    transposed: bool = False

    @classmethod
    def of(cls, value: Value) -> View:
        """Return the view of a whole value."""
        return cls(value.name, Span(0, value.rows), Span(0, value.columns))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the view."""
        shape = self.rows.size, self.columns.size
        return shape[::-1] if self.transposed else shape

    @property
    def T(self) -> View:
        """The transposed view."""
        return View(self.value, self.rows, self.columns, not self.transposed)

    def part(self, rows: Span, columns: Span) -> View:
        """Return a window of the view; spans count from its own first row and column."""
        if self.transposed:
            rows, columns = columns, rows
        return View(
            self.value,
            Span(self.rows.start + rows.start, rows.size),
            Span(self.columns.start + columns.start, columns.size),
            self.transposed,
        )

    def __str__(self) -> str:
        spans = (f"{s.start}:{s.start + s.size}" for s in (self.rows, self.columns))
        return f"{self.value}[{', '.join(spans)}]" + (".T" if self.transposed else "")


@dataclass(frozen=True)
class Gemm:
    """``out = left . right``, or with `updates` ``out += scaled left . right``.

    Members
    -------
    name : str
        Of the product; with `site`, unique.
    site : str
        Path of the layer in the model.
    out, left, right : View
        (M, N), (M, K), (K, N).
    updates : str
        Scale-and-accumulate: name of the table of row scales; its sums are rounded and added to
        those of the gemm that made `out`. Gemms of one place and one table are summed first, and
        rounded once. Empty otherwise.
    """

    name: str
    site: str
    out: View
    left: View
    right: View
    updates: str = ""

    def __str__(self) -> str:
        sign = f"+= [{self.updates}]" if self.updates else "="
        return f"gemm {self.name}: {self.out} {sign} {self.left} . {self.right}"


@dataclass(frozen=True)
class Quantise:
    """``copy`` is made of ``source`` as INT8, with one scale for each group.

    Members
    -------
    source : View
        Of sums of the array or, with ``how="host"``, of a float value.
    copy : View
    axis : Axis
        What shares a scale, inside the view.
    how : str
        ``host``: quantised before the program. ``fresh``: on the chip, by the maxima of this step.
        ``loaded``: on the chip, by entries that the host gives.
    entries : View or None
        With ``loaded``: the entries, of a value that the host gives.
    maxima : View or None
        Where the maxima go, uint32.
    unit : View or None
        Entries by which rows are rescaled before.
    weights : str
        With ``how="host"``: the copy whose scales are folded into the source, along the axis that
        the product reduces; empty for none.
    """

    source: View
    copy: View
    axis: Axis
    how: str
    entries: View | None = None
    maxima: View | None = None
    unit: View | None = None
    weights: str = ""

    def __str__(self) -> str:
        weighted = f", weighted by {self.weights}" if self.weights else ""
        axis = self.axis.name.lower()
        return f"quantise {self.copy} = {self.source} by {axis} ({self.how}{weighted})"


@dataclass(frozen=True)
class Host:
    """What the host does in float between two programs.

    Members
    -------
    kind : str
        One of the host's operations.
    name : str
    reads, writes : tuple of str
        Values.
    outputs : tuple of Output
        With kind ``drain``: what is made of the sums, the first of `reads`, by the integers of the
        array. A table of `Updates` is then a value, (1, rows).
    """

    kind: str
    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    outputs: tuple[Output, ...] = ()

    def __str__(self) -> str:
        made = f"{', '.join(self.writes)} = " if self.writes else ""
        return f"host {self.name}: {made}{self.kind}({', '.join(self.reads)})"


Op = Gemm | Quantise | Host


@dataclass(frozen=True)
class Graph:
    """A training step as operations on values.

    Members
    -------
    name : str
    values : dict
        By name.
    ops : tuple of Op
    meta : dict
        What the step is, as `sw.graph.shape.Shape.meta` gives it.
    """

    name: str
    values: Mapping[str, Value]
    ops: tuple[Op, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(
            [f"graph {self.name}", *map(str, self.values.values()), *map(str, self.ops)]
        )


@dataclass(frozen=True)
class Term:
    """Part of a product's sums: ``C[rows, columns] += left . right``.

    Members
    -------
    rows, columns : Span
        Of the product. Columns start at a multiple of the array's.
    left, right : View
    updates : str
        Name of the table of row scales of a scale-and-accumulate term: of `Updates` of the
        segment, or of a value in DRAM, uint32, (1, rows). Empty for a plain term; those of a place
        come before.
    """

    rows: Span
    columns: Span
    left: View
    right: View
    updates: str = ""

    @property
    def k(self) -> int:
        """Length of the sums."""
        return self.left.shape[1]

    @property
    def macs(self) -> int:
        """Multiplications."""
        return self.rows.size * self.k * self.columns.size

    def __str__(self) -> str:
        return f"{self.left} . {self.right}" + (f" [{self.updates}]" if self.updates else "")


@dataclass(frozen=True)
class Sums:
    """The int32 sums of a window of a product go to DRAM."""

    rows: Span
    columns: Span
    to: View


@dataclass(frozen=True)
class Maxima:
    """Maxima of a window go to `to`, and become the table `table` of scales 127/maximum.

    Members
    -------
    axis : Axis
    table : str
        Entries by the window's rows (ROW), columns (COLUMN), or one; on the chip.
    to : View
        uint32, (1, entries).
    unit : View or None
        Entries by the window's rows, (1, rows), that rescale sums before.
    """

    rows: Span
    columns: Span
    axis: Axis
    table: str
    to: View
    unit: View | None = None


@dataclass(frozen=True)
class Updates:
    """Maxima of a window's rows become a table of update scales, with a factor.

    Members
    -------
    table : str
        Entries by the window's rows, on the chip.
    factor : View
        One entry, (1, 1), of a value of entries.
    """

    rows: Span
    columns: Span
    table: str
    factor: View


@dataclass(frozen=True)
class Copy:
    """An INT8 copy of a window goes to DRAM.

    Members
    -------
    axis : Axis
    table : str
        That `Maxima` make; empty if `entries` are given.
    entries : View or None
        Of a value of entries, (1, rows), (1, columns) or (1, 1).
    unit : View or None
        With COLUMN: entries by the window's rows, (1, rows), that rescale sums before.
    to : View
    stochastic : bool
    """

    rows: Span
    columns: Span
    axis: Axis
    to: View
    table: str = ""
    entries: View | None = None
    unit: View | None = None
    stochastic: bool = False


Output = Sums | Maxima | Updates | Copy


@dataclass(frozen=True)
class Product:
    """Sums of one matrix, M x N, and what becomes of them.

    Members
    -------
    name : str
    site : str
        Path in the model, or of the module whose products it joins.
    m, n : int
    terms : tuple of Term
    outputs : tuple of Output
    """

    name: str
    site: str
    m: int
    n: int
    terms: tuple[Term, ...]
    outputs: tuple[Output, ...]

    @property
    def macs(self) -> int:
        """Multiplications of the array, those with zeros that fill places among them."""
        return sum(term.macs for term in self.terms)

    def __str__(self) -> str:
        lines = [f"product {self.name}: {self.m}x{self.n}"]
        lines += [f"  [{t.rows.start}+{t.rows.size}, {t.columns.start}+{t.columns.size}] += {t}"
                  for t in self.terms]  # fmt: skip
        for each in self.outputs:
            goal = each.table if isinstance(each, Updates) else each.to
            lines.append(f"  {type(each).__name__.lower()} -> {goal}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Segment:
    """Products between two host operations: one program.

    Members
    -------
    name : str
    products : tuple of Product
        In an order in which they can run.
    kind : str
        Segments of one kind and of equal shapes have equal instructions but for addresses.
    useful : int
        Multiplications that the step asks for; the products may have more, with zeros.
    """

    name: str
    products: tuple[Product, ...]
    kind: str = ""
    useful: int = 0

    def __str__(self) -> str:
        return "\n".join([f"segment {self.name}", *map(str, self.products)])


@dataclass(frozen=True)
class Fused:
    """A step as segments with host operations between them, in order.

    Members
    -------
    name : str
    values : dict
        Of DRAM and of the host, by name.
    steps : tuple of Segment or Host
    useful : dict
        Multiplications that the step asks for of each product, by its name.
    meta : dict
        As that of the graph.
    """

    name: str
    values: Mapping[str, Value]
    steps: tuple[Segment | Host, ...]
    useful: Mapping[str, int] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def segments(self) -> Iterator[Segment]:
        """The segments in order."""
        return (step for step in self.steps if isinstance(step, Segment))

    def __str__(self) -> str:
        return "\n".join(
            [f"step {self.name}", *map(str, self.values.values()), *map(str, self.steps)]
        )
