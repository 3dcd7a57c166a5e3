"""Checks of a step in products: coverage, order, alignment to the array."""

from __future__ import annotations

from collections.abc import Callable

from hw.isa.config import Config
from hw.isa.instructions import Axis
from hw.isa.numerics import MAX_REDUCTION

from .ir import Copy, Fused, GraphError, Host, Maxima, Output, Product, Segment, Sums, Updates, View
from .verify import (
    check_host,
    check_product,
    check_value,
    expect_shape,
    expect_type,
    scales_of,
)
from .windows import Made, covered, inside, overlap

__all__ = ["verify_fused"]


def verify_fused(fused: Fused, config: Config) -> None:
    """Check a step in segments.

    Views are inside their values and shapes agree; everything is made once and before it is read;
    terms cover what outputs read, updates follow plain terms; sums cannot overflow; columns start
    at multiples of the array's, rows of windows in DRAM at whole beats of the bus.

    Raises
    ------
    GraphError
        Something is wrong; the line names the product, the value and the sizes.
    """
    made = Made(fused.values)
    names: set[str] = set()
    for name, value in fused.values.items():
        check_value(name, value)
    for step in fused.steps:
        if isinstance(step, Segment):
            tables: dict[str, int] = {}
            for product in step.products:
                if product.name in names:
                    raise GraphError(f"product {product.name}: there are two of this name")
                names.add(product.name)
                _Product(product, config, made, tables).check()
        elif isinstance(step, Host):
            _host(step, fused, made)
        else:
            raise GraphError(f"step {fused.name}: unknown step {step!r}")


def _host(step: Host, fused: Fused, made: Made) -> None:
    """Check a host operation; one that drains makes windows, all others whole values."""
    if step.kind != "drain":
        check_host(step, made, fused.values)
        return
    what = f"host {step.name}"
    if not step.reads or not step.outputs:
        raise GraphError(f"{what}: must read sums and make something of them")
    sums = made.value(what, step.reads[0])
    for output in step.outputs:
        made.read(what, View(sums.name, output.rows, output.columns))
        if isinstance(output, Updates):
            table = made.value(what, output.table)
            made.write(what, View.of(table))
        else:
            made.write(what, output.to)


class _Product:
    """Checks one product."""

    def __init__(self, product: Product, config: Config, made: Made, tables: dict[str, int]):
        self._product, self._config, self._made, self._tables = product, config, made, tables
        self._what = f"product {product.name}"
        self._scales: dict[str, tuple] = {}

    def check(self) -> None:
        """Check terms, then outputs, and note what they make."""
        if not self._product.terms or not self._product.outputs:
            raise GraphError(f"{self._what}: must have terms and outputs")
        for number, term in enumerate(self._product.terms):
            self._term(number, term)
        for output in self._product.outputs:
            self._output(output)

    def _window(self, of: str, rows, columns) -> None:
        product = self._product
        if not (inside(rows, product.m) and inside(columns, product.n)):
            raise GraphError(
                f"{self._what}: {of} [{rows.start}+{rows.size}, {columns.start}+{columns.size}] is "
                f"not inside {product.m}x{product.n}"
            )
        if columns.start % self._config.columns:
            raise GraphError(
                f"{self._what}: {of} starts at column {columns.start}, no multiple of the array's "
                f"{self._config.columns} columns"
            )

    def _term(self, number: int, term) -> None:
        what, window = f"{self._what}, term {number}", (term.rows, term.columns)
        self._window(f"term {number}", *window)
        for view in (term.left, term.right):
            expect_type(what, self._made.read(what, view), "int8")
            self._beat(what, view, 1)
        check_product(what, term.left, term.right, term.rows.size, term.columns.size)
        before = self._product.terms[:number]
        near = [each for each in before if overlap(window, (each.rows, each.columns))]
        if not term.updates:
            late = next((each for each in near if each.updates), None)
            if late:
                raise GraphError(f"{what}: a plain term follows the update [{late.updates}]")
            total = term.k + sum(each.k for each in near)
            if total > MAX_REDUCTION:
                raise GraphError(f"{what}: reduces {total} elements, sums hold {MAX_REDUCTION}")
            return
        plain = [(each.rows, each.columns) for each in near if not each.updates]
        if not covered(window, plain):
            raise GraphError(f"{what}: updates sums that no plain term before makes")
        self._table(what, term)

    def _table(self, what: str, term) -> None:
        """Check the table of row scales of an update: made on the chip, or by the host."""
        size = self._tables.get(term.updates)
        if size is None:
            table = self._made.value(what, term.updates)
            self._made.read(what, View.of(table))
            expect_type(what, table, "uint32")
            size = table.columns
        if size != self._product.m:
            raise GraphError(
                f"{what}: the table {term.updates} has {size} rows, the product {self._product.m}"
            )

    def _output(self, output: Output) -> None:
        checks: dict[type, Callable] = {
            Sums: self._sums, Maxima: self._maxima, Updates: self._updates, Copy: self._copy,
        }  # fmt: skip
        if type(output) not in checks:
            raise GraphError(f"{self._what}: unknown output {output!r}")
        kind = type(output).__name__.lower()
        window = output.rows, output.columns
        self._window(kind, *window)
        if not covered(window, [(t.rows, t.columns) for t in self._product.terms]):
            goal = output.table if isinstance(output, Updates) else output.to
            raise GraphError(f"{self._what}: {kind} -> {goal} reads sums that no term makes")
        checks[type(output)](output)

    def _beat(self, what: str, view: View, size: int) -> None:
        """Check that rows of a window start at whole beats of the bus."""
        start = view.columns.start * size
        if start % self._config.bus_bytes:
            raise GraphError(
                f"{what}: rows of {view} start at byte {start}, no multiple of bus_bytes "
                f"{self._config.bus_bytes}"
            )

    def _made_as(self, view: View, dtype: str, shape: tuple[int, int], of: str) -> None:
        expect_shape(self._what, view, shape, of)
        self._beat(self._what, view, 1 if dtype == "int8" else 4)
        expect_type(self._what, self._made.write(self._what, view), dtype)

    def _entries(self, view: View, count: int, of: str) -> None:
        expect_shape(self._what, view, (1, count), of)
        expect_type(self._what, self._made.read(self._what, view), "uint32")

    def _sums(self, output: Sums) -> None:
        self._made_as(output.to, "int32", (output.rows.size, output.columns.size), "sums")

    def _maxima(self, output: Maxima) -> None:
        count = scales_of(output.axis, output.rows, output.columns)
        if output.unit:
            self._entries(output.unit, output.rows.size, "the unit")
        self._made_as(output.to, "uint32", (1, count), "maxima")
        self._scales[output.table] = (output.rows, output.columns, output.axis)

    def _updates(self, output: Updates) -> None:
        self._entries(output.factor, 1, "the factor")
        self._tables[output.table] = output.rows.size

    def _copy(self, output: Copy) -> None:
        what = f"{self._what}, copy {output.to.value}"
        if (output.entries is None) == (not output.table):
            raise GraphError(f"{what}: must have a table or entries, and not both")
        if output.entries:
            count = scales_of(output.axis, output.rows, output.columns)
            self._entries(output.entries, count, "the entries")
            if output.axis is Axis.COLUMN:
                self._beat(what, output.entries, 4)
        elif self._scales.get(output.table) != (output.rows, output.columns, output.axis):
            raise GraphError(f"{what}: no maxima of its window make its table {output.table}")
        if output.unit:
            if output.axis is not Axis.COLUMN:
                raise GraphError(f"{what}: only a copy by column is rescaled by row")
            self._entries(output.unit, output.rows.size, "the unit")
        self._made_as(output.to, "int8", (output.rows.size, output.columns.size), "the copy")
