"""The products of all text sites, joined as far as fusions say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from hw.isa.numerics import MAX_REDUCTION

from ..models.product import Role
from ..tile import Span
from .build import TEXT
from .draft import Draft, outputs_of
from .fusions import Fusions
from .ir import (
    GraphError,
    Host,
    Output,
    Product,
    Quantise,
    Sums,
    Term,
    Updates,
    Value,
    View,
)
from .shape import Shape, Site

__all__ = ["ALONE", "TextProducts"]

ALONE = f"{TEXT}.A.alone"
"""Without `low_rank`: A of each site in columns of its own, as wide as its group."""


@dataclass
class TextProducts:
    """Makes the products of text sites, and what the host does after them.

    Members
    -------
    shape : Shape
    values : dict of Value
        Of the quantised graph; what fusions that are off need is added.
    quantises : dict of list of Quantise
        Those by the array, by the value that they read.
    useful : dict of int
        Multiplications that are asked for, by site and role.
    fusions : Fusions
    """

    shape: Shape
    values: dict[str, Value]
    quantises: Mapping[str, list[Quantise]]
    useful: Mapping[tuple[str, str], int]
    fusions: Fusions

    # Forward

    def forward(self) -> tuple[list[Draft], list[Host]]:
        """Return H and Y, in order, and what the host does after them."""
        tables = {index: f"{TEXT}.Y.updates.{index}" for index, _ in self._lora()}
        updates = [(table, Span(index, 1)) for index, table in tables.items()]
        drafts = [self._low_rank("H", Role.LORA_H, self._h_terms(), updates, self.fusions.update)]
        site = [(i, s, self._y_terms(s, tables.get(i, ""))) for i, s in enumerate(self.shape.sites)]
        if self.fusions.update:
            drafts += self._streams("Y", [(i, s, [p, *u]) for i, s, (p, u) in site])
            return drafts, []
        drafts += self._streams("Y.plain", [(i, s, [p]) for i, s, (p, _) in site])
        ups = [(i, s, [_plain(u) for u in us]) for i, s, (_, us) in site if us]
        drafts += self._streams("Y.update", ups)
        return drafts, [self._add("Y", "H")]

    def _lora(self) -> Iterator[tuple[int, Site]]:
        return ((i, site) for i, site in enumerate(self.shape.sites) if site.rank)

    def _view(self, name: str, rows: Span | None = None, columns: Span | None = None) -> View:
        whole = View.of(self.values[f"{TEXT}.{name}"])
        return View(whole.value, rows or whole.rows, columns or whole.columns)

    def _h_terms(self) -> list[Term]:
        rows, x = Span(0, self.shape.rows), self._view("X.row")
        if self.fusions.low_rank:
            return [Term(rows, Span(0, self.shape.ranks), x, self._view("A"))]
        terms, start = [], 0
        self.values[ALONE] = Value(ALONE, "int8", self.shape.text_width, self._alone())
        for _, site in self._lora():
            right = self._view("A.alone", columns=Span(start, site.width))
            terms.append(Term(rows, Span(site.group, site.width), x, right))
            start += site.width
        return terms

    def _low_rank(
        self, name: str, role: Role, terms: list[Term], updates: list[tuple[str, Span]], on: bool
    ) -> Draft:
        """Return the product H or dH."""
        sums = self._view(f"{name}.sums")
        factor = f"{TEXT}.{'Y' if name == 'H' else 'dX'}.factor"
        outputs: list[Output] = []
        if on:
            outputs = [Updates(sums.rows, sums.columns, table, View(factor, Span(0, 1), span))
                       for table, span in updates]  # fmt: skip
        outputs += outputs_of(self.quantises[sums.value])
        product = Product(f"{TEXT}.{name}", TEXT, self.shape.rows, self.shape.ranks,
                          tuple(terms), tuple(outputs))  # fmt: skip
        return Draft(product, sums, self._useful([role]))

    def _useful(self, roles: list[Role], sites: list[Site] | None = None) -> int:
        paths = [site.path for site in (self.shape.sites if sites is None else sites)]
        return sum(self.useful.get((path, role), 0) for path in paths for role in roles)

    def _y_terms(self, site: Site, table: str) -> tuple[Term, list[Term]]:
        """Return the plain term of a site's columns, and its update if it has LoRA."""
        rows, columns = Span(0, self.shape.rows), Span(site.first, site.padded)
        plain = Term(rows, columns, self._view("X.row"), self._view("W", columns=columns))
        if not site.rank:
            return plain, []
        left = self._view("H.row", columns=Span(site.group, site.width))
        right = self._view("Bt", Span(0, site.width), columns)
        return plain, [Term(rows, columns, left, right, table)]

    def _streams(self, name: str, parts: list[tuple[int, Site, list[Term]]]) -> list[Draft]:
        """Return the product of all sites' columns, or one for each site."""
        shape, full = self.shape, f"{TEXT}.{name}"
        self.values.setdefault(full, Value(full, "int32", shape.rows, shape.columns))
        roles = {"Y": [Role.FORWARD, Role.LORA_UP], "Y.plain": [Role.FORWARD],
                 "Y.update": [Role.LORA_UP]}[name]  # fmt: skip
        if self.fusions.stream:
            terms = [term for _, _, own in parts for term in own if name != "Y.plain"]
            if name != "Y.update":
                whole, x, w = self._view(name), self._view("X.row"), self._view("W")
                updates = [term for term in terms if term.updates]
                terms = [Term(whole.rows, whole.columns, x, w), *updates]
            draft = self._draft(full, shape.rows, shape.columns, terms, self._view(name), roles)
            return [_in_windows(draft) if name == "Y.update" else draft]
        drafts = []
        for index, site, own in parts:
            sums = self._view(name, columns=Span(site.first, site.padded))
            terms = [Term(t.rows, Span(0, site.padded), t.left, t.right, t.updates) for t in own]
            drafts.append(self._draft(f"{full}.{index}", shape.rows, site.padded, terms, sums,
                                      roles, [site]))  # fmt: skip
        return drafts

    def _draft(
        self, name: str, m: int, n: int, terms: list[Term], sums: View, roles: list[Role],
        sites: list[Site] | None = None,
    ) -> Draft:  # fmt: skip
        """Return a product whose sums go to DRAM as they are."""
        output = Sums(Span(0, m), Span(0, n), sums)
        product = Product(name, TEXT, m, n, tuple(terms), (output,))
        return Draft(product, sums, self._useful(roles, sites))

    def _add(self, name: str, low: str) -> Host:
        full = f"{TEXT}.{name}"
        reads = f"{full}.plain", f"{full}.update", f"{TEXT}.{low}.row_maxima", f"{full}.factor"
        return Host("add_update", f"{full}.add_update", reads, (full,))

    # Backward

    def backward(self) -> tuple[list[Draft], list[Host]]:
        """Return dH, dX, dBt and dA, in order, and what the host does after them.

        Raises
        ------
        GraphError
            dX of all sites together is longer than sums hold.
        """
        if self.fusions.sum_dx and self.shape.columns > MAX_REDUCTION:
            raise GraphError(
                f"{TEXT}.dX reduces {self.shape.columns} columns of all sites, sums hold "
                f"{MAX_REDUCTION}: compile without the fusion sum-dx"
            )
        table, joined = f"{TEXT}.dX.updates", self.fusions.update and self.fusions.sum_dx
        drafts = [
            self._low_rank("dH", Role.DH, self._dh_terms(), [(table, Span(0, 1))], joined)
        ]  # fmt: skip
        rows, columns = Span(0, self.shape.rows), Span(0, self.shape.text_width)
        update = Term(rows, columns, self._view("dH.row"), self._view("Au"))
        hosts = []
        if joined:
            update = Term(rows, columns, update.left, update.right, table)
            drafts.append(self._dx("dX", [self._dx_term(), update], [Role.DX, Role.LORA_DX]))
        else:
            if self.fusions.sum_dx:
                drafts.append(self._dx("dX.plain", [self._dx_term()], [Role.DX]))
            else:
                drafts += [self._dx_site(i, site) for i, site in enumerate(self.shape.sites)]
                hosts.append(self._sum())
            drafts.append(self._dx("dX.update", [update], [Role.LORA_DX]))
            hosts.append(self._add("dX", "dH"))
        gradients, taken = self._da()
        return [*drafts, *self._dbt(), *gradients], [*hosts, *taken]

    def _dh_terms(self) -> list[Term]:
        rows, terms = Span(0, self.shape.rows), []
        for _, sites in self._runs():
            columns, width = _columns(sites), sites[0].width
            right = self._view("Bt", Span(0, width), columns).T
            left = self._view("dY.row", columns=columns)
            terms.append(Term(rows, Span(sites[0].group, width), left, right))
        return terms

    def _dx_term(self) -> Term:
        shape = self.shape
        rows, columns = Span(0, shape.rows), Span(0, shape.text_width)
        return Term(rows, columns, self._view("dY.row"), self._view("W").T)

    def _dx(self, name: str, terms: list[Term], roles: list[Role]) -> Draft:
        full, shape = f"{TEXT}.{name}", self.shape
        self.values.setdefault(full, Value(full, "int32", shape.rows, shape.text_width))
        sums = self._view(name)
        return self._draft(full, shape.rows, shape.text_width, terms, sums, roles)

    def _dx_site(self, index: int, site: Site) -> Draft:
        shape, columns = self.shape, Span(site.first, site.outputs)
        rows, width = Span(0, shape.rows), Span(0, shape.text_width)
        right = self._view("W", columns=columns).T
        term = Term(rows, width, self._view("dY.row", columns=columns), right)
        sums = self._view("dX.sites", rows=Span(index * shape.rows, shape.rows))
        name = f"{TEXT}.dX.{index}"
        return self._draft(name, rows.size, width.size, [term], sums, [Role.DX], [site])

    def _sum(self) -> Host:
        plain = f"{TEXT}.dX.plain"
        self.values[plain] = Value(plain, "int32", self.shape.rows, self.shape.text_width)
        return Host("sum", f"{TEXT}.dX.sum", (f"{TEXT}.dX.sites",), (plain,))

    def _dbt(self) -> Iterator[Draft]:
        """Yield a product for each group, or each site; it has all the group's rows.

        Sites keep their windows of it.
        """
        for index, sites in self._runs():
            columns, width = _columns(sites), sites[0].width
            left = self._view("H.column", columns=Span(sites[0].group, width)).T
            right = self._view("dY.column", columns=columns)
            term = Term(Span(0, width), Span(0, columns.size), left, right)
            outputs = tuple(
                Sums(Span(s.row, s.rank), Span(s.first - columns.start, s.outputs),
                     self._view("dBt", Span(0, s.rank), Span(s.first, s.outputs)))
                for s in sites
            )  # fmt: skip
            name = f"{TEXT}.dBt.{index}"
            product = Product(name, TEXT, width, columns.size, (term,), outputs)
            yield Draft(product, outputs[0].to, self._useful([Role.DB], sites))

    def _runs(self) -> Iterator[tuple[int, list[Site]]]:
        """Yield sites that are computed at once on the axis of ranks, with a number for each."""
        if self.fusions.low_rank:
            yield from enumerate(self.shape.groups)
        else:
            yield from ((index, [site]) for index, site in self._lora())

    def _da(self) -> tuple[list[Draft], list[Host]]:
        """Return the product dA, or one for each site and what takes their columns together.

        In DRAM a site's own columns need not start at a whole beat: so its product has all columns
        of the group, and the host takes those of the site.
        """
        x, rows = self._view("X.column").T, Span(0, self.shape.text_width)
        if self.fusions.low_rank:
            term = Term(rows, Span(0, self.shape.ranks), x, self._view("dH.column"))
            whole = self._view("dA")
            name = whole.value
            return [self._draft(name, rows.size, self.shape.ranks, [term], whole, [Role.DA])], []
        sites = Value(f"{TEXT}.dA.sites", "int32", rows.size, self._alone())
        self.values[sites.name] = sites
        drafts, kept, start = [], [], 0
        for index, site in self._lora():
            right = self._view("dH.column", columns=Span(site.group, site.width))
            term = Term(rows, Span(0, site.width), x, right)
            sums = self._view("dA.sites", columns=Span(start, site.width))
            drafts.append(self._draft(f"{TEXT}.dA.{index}", rows.size, site.width, [term], sums,
                                      [Role.DA], [site]))  # fmt: skip
            own = self._view("dA", columns=Span(site.column, site.rank))
            kept.append(Sums(rows, Span(start + site.row, site.rank), own))
            start += site.width
        host = Host("drain", f"{TEXT}.dA.drain", (sites.name,), (f"{TEXT}.dA",), tuple(kept))
        return drafts, [host]

    def _alone(self) -> int:
        """Return the columns of all sites on the axis of ranks, if no two share a group."""
        return sum(site.width for _, site in self._lora())


def _columns(sites: list[Site]) -> Span:
    """Return the columns of sites, from the first to the last."""
    start = sites[0].first
    return Span(start, sites[-1].first + sites[-1].outputs - start)


def _in_windows(draft: Draft) -> Draft:
    """Return a product that stores the windows of its terms: sites without LoRA have none."""
    outputs = tuple(Sums(t.rows, t.columns, draft.sums.part(t.rows, t.columns))
                    for t in draft.product.terms)  # fmt: skip
    return replace(draft, product=replace(draft.product, outputs=outputs))


def _plain(term: Term) -> Term:
    return Term(term.rows, term.columns, term.left, term.right)
