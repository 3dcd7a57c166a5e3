"""Checks of a graph between passes: what is wrong is said in one line."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from hw.isa.instructions import Axis
from hw.isa.numerics import MAX_REDUCTION

from ..tile import Span
from .ir import Gemm, Graph, GraphError, Host, Quantise, Value, View
from .windows import Made

__all__ = ["expect_shape", "expect_type", "verify"]

_TYPES = "float", "int8", "int32", "uint32"


def verify(graph: Graph) -> None:
    """Check a float or a quantised graph.

    Views are inside their values, shapes agree, everything is made once and before it is read; no
    operand of INT8 has scales along the axis that its product reduces, unless the other operand
    has them folded in.

    Raises
    ------
    GraphError
        Something is wrong; the line names the operation, the value and the sizes.
    """
    made = Made(graph.values)
    for name, value in graph.values.items():
        check_value(name, value)
    for op in graph.ops:
        if isinstance(op, Gemm):
            _gemm(op, made)
        elif isinstance(op, Quantise):
            _quantise(op, made)
        elif isinstance(op, Host):
            check_host(op, made, graph.values)
        else:
            raise GraphError(f"graph {graph.name}: unknown operation {op!r}")
    _scales(graph)


def check_value(name: str, value: Value) -> None:
    """Check name, type and sizes of a value.

    Raises
    ------
    GraphError
        One of them is wrong.
    """
    if name != value.name:
        raise GraphError(f"value {value.name} is kept as {name}")
    if value.dtype not in _TYPES:
        raise GraphError(f"value {value}: dtype must be one of {', '.join(_TYPES)}")
    if value.rows < 1 or value.columns < 1:
        raise GraphError(f"value {value}: sizes must be at least 1")


def check_host(op: Host, made: Made, values: dict[str, Value]) -> None:
    """Check that what a host operation reads is made, and note what it makes.

    Raises
    ------
    GraphError
        Something is not made yet, or made already.
    """
    what = f"host {op.name}"
    for name in op.reads:
        made.read_any(what, name)
    for name in op.writes:
        made.value(what, name)
        made.write(what, View.of(values[name]))


def expect_type(what: str, value: Value, dtype: str) -> None:
    """Check the type of a value.

    Raises
    ------
    GraphError
        It is another.
    """
    if value.dtype != dtype:
        raise GraphError(f"{what}: {value} must be {dtype}")


def expect_shape(what: str, view: View | None, shape: tuple[int, int], of: str) -> None:
    """Check the shape of a view.

    Raises
    ------
    GraphError
        It is another; `of` says what the view is.
    """
    if view is not None and view.shape != shape:
        is_, must = ("x".join(map(str, each)) for each in (view.shape, shape))
        raise GraphError(f"{what}: {of} {view} is {is_}, but must be {must}")


def check_product(what: str, left: View, right: View, m: int, n: int) -> None:
    """Check that operands multiply to M x N, in sums that cannot overflow.

    Raises
    ------
    GraphError
        They do not.
    """
    (rows, inner), (k, columns) = left.shape, right.shape
    if inner != k:
        raise GraphError(
            f"{what}: {left} is {rows}x{inner} and {right} is {k}x{columns}: "
            f"inner sizes {inner} and {k} differ"
        )
    if (rows, columns) != (m, n):
        raise GraphError(f"{what}: {left} . {right} is {rows}x{columns}, its place {m}x{n}")
    if k > MAX_REDUCTION:
        raise GraphError(f"{what}: reduces {k} elements, sums hold {MAX_REDUCTION}")


def _gemm(op: Gemm, made: Made) -> None:
    what = f"gemm {op.name} of {op.site}"
    operands = [made.read(what, view) for view in (op.left, op.right)]
    check_product(what, op.left, op.right, *op.out.shape)
    out = made.read(what, op.out) if op.updates else made.write(what, op.out)
    types = [value.dtype for value in (*operands, out)]
    if types not in (["float"] * 3, ["int8", "int8", "int32"]):
        raise GraphError(
            f"{what}: makes {types[2]} of {types[0]} and {types[1]}; accepted: int32 of int8 and "
            "int8, or float of float and float"
        )


def _quantise(op: Quantise, made: Made) -> None:
    what = f"quantise {op.copy.value}"
    # Places between the sites' parts of joint sums are zero, and no gemm makes them.
    source = made.read(what, op.source, padded=True)
    expect_type(what, source, "float" if op.how == "host" else "int32")
    expect_shape(what, op.copy, op.source.shape, "the copy")
    expect_type(what, made.write(what, op.copy), "int8")
    count = scales_of(op.axis, op.source.rows, op.source.columns)
    check = partial(_entries, what, made)
    if op.how == "fresh":
        if op.maxima is None:
            raise GraphError(f"{what}: a fresh copy needs a place for its maxima")
        expect_shape(what, op.maxima, (1, count), "the maxima")
        expect_type(what, made.write(what, op.maxima), "uint32")
    elif op.how == "loaded":
        check(op.entries, count, "the entries")
    elif op.how != "host":
        raise GraphError(f"{what}: must be made by host, fresh or loaded, not {op.how!r}")
    if op.unit is not None:
        check(op.unit, op.source.rows.size, "the unit")
    if op.weights:
        made.value(what, op.weights)


def _entries(what: str, made: Made, view: View | None, count: int, of: str) -> None:
    if view is None:
        raise GraphError(f"{what}: {of} are missing")
    expect_type(what, made.read(what, view), "uint32")
    expect_shape(what, view, (1, count), of)


def scales_of(axis: Axis, rows: Span, columns: Span) -> int:
    """Return the number of scales of a window."""
    return {Axis.ROW: rows.size, Axis.COLUMN: columns.size, Axis.TENSOR: 1}[axis]


@dataclass(frozen=True)
class _Scale:
    """Axis of the scales of a copy, what is folded in, and whether sums are rescaled by row."""

    axis: Axis
    weights: str
    rescaled: bool


def _scales(graph: Graph) -> None:
    """Check that no scale lies on a reduced axis, unless it is folded into the other operand."""
    copies = {op.copy.value: _Scale(op.axis, op.weights, op.unit is not None)
              for op in graph.ops if isinstance(op, Quantise)}  # fmt: skip
    carried: dict[str, str] = {}
    sources = {op.copy.value: op.source.value for op in graph.ops if isinstance(op, Quantise)}
    for op in graph.ops:
        if not isinstance(op, Gemm) or op.left.value not in copies:
            continue
        left, right = (copies.get(view.value) for view in (op.left, op.right))
        if left is None or right is None:
            missing = (op.left if left is None else op.right).value
            raise GraphError(f"gemm {op.name} of {op.site}: {missing} has no scales")
        if not op.updates and _along(op.left, left.axis) == 0:
            carried[op.out.value] = op.left.value
        for view, own, other, partner, reduced in (
            (op.left, left, right, op.right, 1), (op.right, right, left, op.left, 0),
        ):  # fmt: skip
            if _along(view, own.axis) == reduced and other.weights != view.value:
                raise GraphError(
                    f"gemm {op.name} of {op.site}: {view.value} has a scale for each "
                    f"{own.axis.name.lower()}, which the product reduces, and {partner.value} is "
                    "not weighted by it"
                )
            source = carried.get(sources[view.value], "")
            loose = source and own.axis is Axis.COLUMN and not own.rescaled
            if loose and _along(view, Axis.ROW) == reduced and other.weights != source:
                raise GraphError(
                    f"gemm {op.name} of {op.site}: the sums of {view.value} have the scales of "
                    f"{source} for each row, which the product reduces, and {partner.value} is "
                    "not weighted by it"
                )


def _along(view: View, axis: Axis) -> int | None:
    """Return the axis of a view, 0 or 1, along which the scales of its copy differ."""
    if axis is Axis.TENSOR:
        return None
    return int((axis is Axis.COLUMN) != view.transposed)
