"""Products on the way to segments: cut into windows, or left without what they drain."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hw.isa.instructions import Axis

from ..tile import Span
from .ir import Copy, GraphError, Host, Maxima, Output, Product, Quantise, Sums, Updates, View

__all__ = ["Draft", "cut_drain", "outputs_of", "window"]


@dataclass(frozen=True)
class Draft:
    """A product, where its sums would lie, and what of it the step asks for.

    Members
    -------
    product : Product
    sums : View
    useful : int
        Multiplications.
    """

    product: Product
    sums: View
    useful: int


def outputs_of(quantises: list[Quantise]) -> tuple[Output, ...]:
    """Return what a product drains to make copies of all its sums."""
    found: list[Output] = []
    for each in quantises:
        spans = each.source.rows, each.source.columns
        if each.how == "fresh":
            table = f"{each.copy.value}.scales"
            if each.maxima.rows.start:
                table += f".{each.maxima.rows.start}"
            found.append(Maxima(*spans, each.axis, table, each.maxima, each.unit))
            found.append(Copy(*spans, each.axis, each.copy, table, unit=each.unit))
        else:
            copy = Copy(*spans, each.axis, each.copy, entries=each.entries, unit=each.unit)
            found.append(copy)
    return tuple(found)


def window(draft: Draft, suffix: str, rows: Span, columns: Span, useful: int) -> Draft:
    """Return the part of a product in a window, as a product of its own.

    Raises
    ------
    GraphError
        Something of the product is neither inside the window nor outside, and cannot be cut.
    """
    product = draft.product
    up, left = -rows.start, -columns.start
    terms = tuple(
        replace(term, rows=_moved(term.rows, up), columns=_moved(term.columns, left))
        for term in product.terms
        if _inside(term.rows, rows) and _inside(term.columns, columns)
    )
    outputs = [_cut(product, each, rows, columns) for each in product.outputs]
    return Draft(
        replace(product, name=f"{product.name}.{suffix}", m=rows.size, n=columns.size,
                terms=terms, outputs=tuple(each for each in outputs if each)),
        draft.sums.part(rows, columns), useful,
    )  # fmt: skip


def _moved(span: Span, by: int) -> Span:
    return Span(span.start + by, span.size)


def _inside(span: Span, outer: Span) -> bool:
    return outer.start <= span.start and span.start + span.size <= outer.start + outer.size


def _shared(span: Span, outer: Span) -> Span:
    """Return what two spans share, from the start of the first."""
    start = max(span.start, outer.start)
    stop = min(span.start + span.size, outer.start + outer.size)
    return Span(start - span.start, max(stop - start, 0))


def _cut(product: Product, output: Output, rows: Span, columns: Span) -> Output | None:
    """Return the part of an output in a window, None if there is none."""
    part = _shared(output.rows, rows), _shared(output.columns, columns)
    if not all(span.size for span in part):
        return None
    spans = [Span(each.start + of.start - outer.start, each.size)
             for each, of, outer in zip(part, (output.rows, output.columns), (rows, columns),
                                        strict=True)]  # fmt: skip
    whole = part == (Span(0, output.rows.size), Span(0, output.columns.size))
    moved = replace(output, rows=spans[0], columns=spans[1])
    if whole:
        return moved
    if isinstance(output, Sums):
        return replace(moved, to=output.to.part(*part))
    if not isinstance(output, Copy) or output.table:
        raise GraphError(
            f"product {product.name}: maxima of {output.rows.size}x{output.columns.size} sums "
            f"cannot be taken in windows of {rows.size}x{columns.size}"
        )
    axes = {Axis.ROW: part[0], Axis.COLUMN: part[1], Axis.TENSOR: Span(0, 1)}
    entries = output.entries.part(Span(0, 1), axes[output.axis])
    unit = output.unit and output.unit.part(Span(0, 1), part[0])
    return replace(moved, to=output.to.part(*part), entries=entries, unit=unit)


def cut_drain(draft: Draft) -> tuple[Draft, Host | None]:
    """Return a product whose sums go to DRAM, and the host operation that makes its copies."""
    product = draft.product
    drained = [each for each in product.outputs if not isinstance(each, Sums)]
    if not drained:
        return draft, None
    rest = [each for each in product.outputs if isinstance(each, Sums)]
    whole = Sums(Span(0, product.m), Span(0, product.n), draft.sums)
    reads, writes = [draft.sums.value], []
    for each in drained:
        views = [getattr(each, name, None) for name in ("entries", "unit", "factor")]
        reads += [view.value for view in views if view]
        writes.append(each.table if isinstance(each, Updates) else each.to.value)
    moved = [replace(each, rows=_moved(each.rows, draft.sums.rows.start),
                     columns=_moved(each.columns, draft.sums.columns.start))
             for each in drained]  # fmt: skip
    host = Host("drain", f"{product.name}.drain", tuple(dict.fromkeys(reads)),
                tuple(dict.fromkeys(writes)), tuple(moved))  # fmt: skip
    return replace(draft, product=replace(product, outputs=(*rest, whole))), host
