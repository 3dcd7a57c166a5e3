"""Third pass: gemms become products of the array, in segments with host operations between them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from hw.isa.config import Config

from ..models.product import Role
from ..tile import Span
from .build import TEXT
from .draft import Draft, cut_drain, outputs_of, window
from .fuse_text import ALONE, TextProducts
from .fusions import Fusions
from .ir import (
    Fused,
    Gemm,
    Graph,
    GraphError,
    Host,
    Op,
    Product,
    Quantise,
    Segment,
    Sums,
    Term,
    Value,
    View,
)
from .shape import Shape

__all__ = ["fuse"]

_SEGMENTS = {"Q": "scores", "O": "values", "dO": "dscores", "dQ": "gradients"}
"""Segment of a module, by the value that its first gemm makes."""
_ATTENTION = Role.QK, Role.PV, Role.DP, Role.DQ, Role.DK, Role.DV


def fuse(graph: Graph, config: Config, fusions: Fusions | None = None) -> Fused:
    """Return a step as products in segments.

    Parameters
    ----------
    graph : Graph
        Quantised, for the same array.
    config : Config
    fusions : Fusions, optional
        All, if not given.

    Raises
    ------
    GraphError
        The graph is not quantised, or a fusion makes sums too long.
    """
    if not any(isinstance(op, Quantise) for op in graph.ops):
        raise GraphError(f"graph {graph.name} is not quantised")
    return _Fuser(graph, config, fusions or Fusions()).fused()


@dataclass(frozen=True)
class _Run:
    """What stands between two host operations: gemms, and copies by the array."""

    gemms: list[Gemm]
    quantises: dict[str, list[Quantise]]


class _Fuser:
    """Collects the steps."""

    def __init__(self, graph: Graph, config: Config, fusions: Fusions) -> None:
        self._graph, self._config, self._fusions = graph, config, fusions
        self._shape = Shape.of(graph.meta)
        self._values = dict(graph.values)
        self._steps: list[Segment | Host] = []
        self._useful: dict[str, int] = {}

    def fused(self) -> Fused:
        """Go through the operations, from host operation to host operation."""
        waiting: list[Op] = []
        for op in self._graph.ops:
            # The sum over sites is part of their products, or made anew.
            if isinstance(op, Host) and op.kind != "sum":
                self._segments(waiting)
                self._steps.append(op)
                waiting = []
            elif isinstance(op, Quantise) and op.how == "host":
                self._fold(op)
            elif not isinstance(op, Host):
                waiting.append(op)
        self._segments(waiting)
        steps = tuple(self._host(s) if isinstance(s, Host) else s for s in self._steps)
        values = {name: self._values[name] for name in dict.fromkeys(_names(steps))}
        return Fused(self._graph.name, values, steps, self._useful, self._graph.meta)

    # Host operations

    def _fold(self, op: Quantise) -> None:
        """Let the host operation before it make the copy."""
        host = self._steps[-1]
        self._steps[-1] = replace(host, writes=tuple(dict.fromkeys([*host.writes, op.copy.value])))

    def _host(self, op: Host) -> Host:
        """Return a host operation without the float values, which the host keeps."""
        reads, writes = (
            tuple(name for name in names if self._values[name].dtype != "float")
            for names in (op.reads, op.writes)
        )
        if not self._fusions.low_rank:
            writes = tuple(ALONE if name == f"{TEXT}.A" else name for name in writes)
        return replace(op, reads=reads, writes=writes)

    # Segments

    def _segments(self, ops: list[Op]) -> None:
        """Append what runs between two host operations."""
        if not ops:
            return
        run = _Run([op for op in ops if isinstance(op, Gemm)], defaultdict(list))
        for op in ops:
            if isinstance(op, Quantise):
                run.quantises[op.source.value].append(op)
        first = run.gemms[0]
        prefix, _, value = first.out.value.removesuffix(".sums").rpartition(".")
        if prefix == TEXT or prefix.startswith(f"{TEXT}."):
            drafts, hosts = self._text(run)
            way = "forward" if Role(first.name).forward else "backward"
            self._emit(f"{TEXT}.{way}", f"{TEXT}.{way}", TEXT, [drafts])
            self._steps += hosts
        elif prefix.startswith("plain."):
            draft = self._whole(run, first.out.value, first.site, prefix)
            self._emit(prefix, "plain", prefix, [[draft]])
        else:
            kind = _SEGMENTS[value]
            self._emit(f"{prefix}.{kind}", kind, prefix, self._attention(run))

    def _emit(self, name: str, kind: str, prefix: str, groups: list[list[Draft]]) -> None:
        """Append a segment for each group, cut where the host makes copies."""
        pieces: list[tuple[list[Draft], Host | None]] = []
        for group in groups:
            piece: list[Draft] = []
            for draft in group:
                host = None
                if not self._fusions.drain:
                    draft, host = cut_drain(draft)
                piece.append(draft)
                if host:
                    pieces.append((piece, host))
                    piece = []
            if piece:
                pieces.append((piece, None))
        for piece, host in pieces:
            own, own_kind = name, kind
            if len(pieces) > 1:
                tail = piece[0].product.name.removeprefix(f"{prefix}.")
                own, own_kind = f"{name}.{tail}", f"{kind}.{tail}"
            self._steps.append(self._segment(own, own_kind, piece))
            if host:
                self._tables(host)
                self._steps.append(host)

    def _segment(self, name: str, kind: str, drafts: list[Draft]) -> Segment:
        for draft in drafts:
            self._useful[draft.product.name] = draft.useful
        products = tuple(draft.product for draft in drafts)
        return Segment(name, products, kind, sum(draft.useful for draft in drafts))

    def _tables(self, host: Host) -> None:
        """Declare the tables of update scales that the host makes."""
        for name in host.writes:
            self._values.setdefault(name, Value(name, "uint32", 1, self._shape.rows))

    def _text(self, run: _Run) -> tuple[list[Draft], list[Host]]:
        useful: dict[tuple[str, str], int] = {}
        for gemm in run.gemms:
            useful[gemm.site, gemm.name] = _macs(gemm)
        made = TextProducts(self._shape, self._values, run.quantises, useful, self._fusions)
        return made.forward() if Role(run.gemms[0].name).forward else made.backward()

    def _whole(self, run: _Run, value: str, site: str, name: str) -> Draft:
        """Return one product for all gemms that make a value, each a term."""
        gemms = [gemm for gemm in run.gemms if gemm.out.value == value]
        made = self._values[value]
        terms = tuple(Term(g.out.rows, g.out.columns, g.left, g.right) for g in gemms)
        outputs = outputs_of(run.quantises.get(value, []))
        whole = View.of(made)
        outputs = outputs or (Sums(whole.rows, whole.columns, whole),)
        product = Product(name, site, made.rows, made.columns, terms, outputs)
        return Draft(product, whole, sum(map(_macs, gemms)))

    def _attention(self, run: _Run) -> list[list[Draft]]:
        """Return the products of a module, those of one segment together."""
        values = dict.fromkeys(gemm.out.value for gemm in run.gemms)
        before: list[Draft] = []
        heads: dict[str, list[Draft]] = {}
        after: list[Draft] = []
        joined: list[Draft] = []
        for value in values:
            gemms = [gemm for gemm in run.gemms if gemm.out.value == value]
            draft = self._whole(run, value, gemms[0].site, value.removesuffix(".sums"))
            if gemms[0].name.split(".")[0] not in _ATTENTION:
                joined.append(draft)
                (after if heads else before).append(draft)
                continue
            joined += self._aligned(draft, gemms)
            for gemm in gemms:
                suffix = gemm.name.partition(".")[2]
                part = window(draft, suffix, gemm.out.rows, gemm.out.columns, _macs(gemm))
                heads.setdefault(suffix, []).append(part)
        if self._fusions.heads:
            return [joined]
        return [group for group in (before, *heads.values(), after) if group]

    def _aligned(self, draft: Draft, gemms: list[Gemm]) -> list[Draft]:
        """Return a product, or one for each sample if columns of samples are not aligned."""
        starts = {gemm.out.columns: 0 for gemm in gemms}
        if not any(columns.start % self._config.columns for columns in starts):
            return [draft]
        for gemm in gemms:
            starts[gemm.out.columns] += _macs(gemm)
        rows = Span(0, draft.product.m)
        return [window(draft, str(index), rows, columns, useful)
                for index, (columns, useful) in enumerate(starts.items())]  # fmt: skip


def _macs(gemm: Gemm) -> int:
    m, n = gemm.out.shape
    return m * gemm.left.shape[1] * n


def _names(steps: tuple[Segment | Host, ...]):
    """Yield the values of DRAM that steps read and write."""
    for step in steps:
        if isinstance(step, Host):
            yield from (*step.reads, *step.writes)
            continue
        tables = {o.table for p in step.products for o in p.outputs if hasattr(o, "table")}
        for product in step.products:
            for term in product.terms:
                yield from (term.left.value, term.right.value)
                if term.updates and term.updates not in tables:
                    yield term.updates
            for output in product.outputs:
                for each in ("to", "entries", "unit", "factor"):
                    view = getattr(output, each, None)
                    if view:
                        yield view.value
