"""What of a model is compiled as one: text sites and cross-attention modules, with their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..models.layers import Dense, Model, Pair, Reading
from ..models.product import Role, TrainingStep
from .ir import GraphError

__all__ = ["Module", "Shape", "Site", "cut", "module_model", "shape_of"]

_OWN = "text", "plain"
"""First parts of names of values that belong to no module."""


@dataclass(frozen=True)
class Site:
    """A projection of the text, K or V of a cross-attention module.

    Members
    -------
    path : str
    outputs : int
    rank : int
        Of its LoRA; 0 for none.
    first : int
        First of its columns where the sites stand side by side; a multiple of the unit.
    column : int
        First of its columns on the axis of all ranks.
    group, width : int
        First column and columns of its group there; whole units.
    padded : int
        Its columns where the sites stand side by side, with what fills the last unit.
    """

    path: str
    outputs: int
    rank: int
    first: int = 0
    column: int = 0
    group: int = 0
    width: int = 0

    padded: int = 0

    @property
    def row(self) -> int:
        """First of its rows in a copy of B^T: its place in the group."""
        return self.column - self.group


@dataclass(frozen=True)
class Module:
    """A cross-attention module.

    Members
    -------
    path : str
    query, out : str
        Paths of the layers before and after attention.
    inputs, channels, outputs : int
        Widths of the latent before q, of q, k, v, and after out.
    heads, tokens : int
        Tokens are those of the latent of one sample.
    key, value : int
        Indices of its sites.
    """

    path: str
    query: str
    out: str
    inputs: int
    channels: int
    outputs: int
    heads: int
    tokens: int
    key: int
    value: int


@dataclass(frozen=True)
class Shape:
    """Sizes of a step.

    Members
    -------
    reading : str
    batch, text_tokens, text_width : int
        Tokens are those of one sample.
    sites : tuple of Site
    modules : tuple of Module
    unit : int
        Least common multiple of the array's rows and columns, to which parts of joint matrices are
        aligned; 0 if they are not placed yet.
    columns, ranks : int
        Of all sites side by side, and of the axis of ranks, with what fills the places between.
    """

    reading: str
    batch: int
    text_tokens: int
    text_width: int
    sites: tuple[Site, ...]
    modules: tuple[Module, ...]
    unit: int = 0
    columns: int = 0
    ranks: int = 0

    @property
    def meta(self) -> dict[str, Any]:
        """Numbers, texts and lists of such."""
        made = asdict(self)
        return made | {each: list(made[each]) for each in ("sites", "modules")}

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Shape:
        """Return what gave `meta`."""
        sites = tuple(Site(**each) for each in meta["sites"])
        modules = tuple(Module(**each) for each in meta["modules"])
        return cls(**(dict(meta) | {"sites": sites, "modules": modules}))

    @property
    def rows(self) -> int:
        """Rows of the text, of all samples."""
        return self.batch * self.text_tokens

    def placed(self, unit: int) -> Shape:
        """Return the shape with places for the sites in joint matrices.

        Columns of a site start at a multiple of `unit`. On the axis of ranks a site joins the
        group before it if it fits into one unit with that; a larger rank has a group of its own.
        """
        sites: list[Site] = []
        first = start = end = 0
        width = 0
        for site in self.sites:
            if site.rank and (not width or width > unit or end + site.rank > start + unit):
                start = end = start + width
                width = _up(site.rank, unit)
            padded = _up(site.outputs, unit)
            place = {"first": first, "column": end, "group": start, "width": width}
            sites.append(replace(site, padded=padded, **place))
            first, end = first + padded, end + site.rank
        return replace(
            self, sites=tuple(sites), unit=unit, columns=first, ranks=start + width
        )  # fmt: skip

    @property
    def groups(self) -> list[list[Site]]:
        """Sites that have LoRA, by their group on the axis of ranks."""
        found: dict[int, list[Site]] = {}
        for site in self.sites:
            if site.rank:
                found.setdefault(site.group, []).append(site)
        return list(found.values())


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def shape_of(model: Model, step: TrainingStep) -> Shape:
    """Return the text sites and cross-attention modules of a step of a model.

    Raises
    ------
    GraphError
        There are none, or they do not fit together; the line names the layer.
    """
    kept = [layer for layer in model.layers if isinstance(layer, Dense | Pair)]
    dense = [layer for layer in kept if isinstance(layer, Dense) and layer.reading is Reading.KV]
    if not dense:
        raise GraphError(f"model {model.name} has no K and V of cross-attention")
    ranks = {p.site: p.n for p in step.products if p.role is Role.LORA_H}
    _check_sites(dense)
    sites = tuple(Site(each.path, each.columns, ranks.get(each.path, 0)) for each in dense)
    if not any(site.rank for site in sites):
        raise GraphError(f"model {model.name} has no LoRA on K and V of cross-attention")
    paths = {product.site for product in step.products}
    for path in sorted(paths):
        if path.partition(".")[0] in _OWN:
            raise GraphError(f"{path}: values of the step are named so; call the module otherwise")
    pairs = [layer for layer in kept if isinstance(layer, Pair) and layer.scores
             and layer.reading is Reading.XATTN and layer.path in paths]  # fmt: skip
    modules = tuple(_module(pair, kept, sites, ranks) for pair in pairs)
    return Shape(
        step.reading, step.batch, dense[0].rows, dense[0].reduction, sites, modules
    )  # fmt: skip


def _check_sites(sites: list[Dense]) -> None:
    first, seen = sites[0], set()
    for site in sites:
        if site.path in seen:
            raise GraphError(f"{site.path} runs twice: a text site must run once in a step")
        seen.add(site.path)
        if site.kernel or site.groups > 1:
            raise GraphError(f"{site.path} is a convolution or grouped: a text site is linear")
        if (site.rows, site.reduction) != (first.rows, first.reduction):
            raise GraphError(
                f"{site.path} reads {site.rows}x{site.reduction} and {first.path} reads "
                f"{first.rows}x{first.reduction}: all text sites must read one text"
            )
        if site.source != first.source:
            raise GraphError(
                f"{site.path} reads {site.source}, and {first.path} reads {first.source}: all text "
                "sites must read one text"
            )


def _check_attention(path: str, pairs: list[Pair]) -> None:
    """Refuse attention that is not softmax(Q.K^T / sqrt(d)).V."""
    other = [name for pair in pairs if pair.path == path for name in pair.other]
    if other:
        raise GraphError(
            f"{path}: attention is compiled as softmax(Q.K^T / sqrt(size of a head)).V, and this "
            f"one has other functions in it: {', '.join(dict.fromkeys(other))}"
        )


def _module(
    pair: Pair, layers: list[Dense | Pair], sites: tuple[Site, ...], ranks: dict[str, int]
) -> Module:
    """Return the module around the scores of cross-attention."""
    path, channels = pair.path, pair.count * pair.k
    # Attention whose layers are in no module together has a path that holds none of them.
    prefix = f"{path}." if any(site.path.startswith(f"{path}.") for site in sites) else ""
    inside = [layer for layer in layers if isinstance(layer, Dense)
              and layer.reading is Reading.XATTN and layer.path.startswith(prefix)]  # fmt: skip
    own = [i for i, site in enumerate(sites) if site.path.startswith(prefix)]
    at = layers.index(pair)
    before = [layer for layer in inside if layers.index(layer) < at]
    after = [layer for layer in inside if layers.index(layer) > at]
    for found, wanted, what in (
        (before, 1, "q before its scores"), (after, 1, "out after its values"),
        (own, 2, "K and V of the text"),
    ):  # fmt: skip
        if len(found) != wanted:
            raise GraphError(
                f"{path}: cross-attention is compiled with one q, k, v and out, and this one has "
                f"{len(found)} layers for {what}"
            )
    (query,), (out,), (key, value) = before, after, own
    if pair.right == sites[value].path:  # V may run first
        key, value = value, key
    for layer in (query, out):
        if layer.path in ranks:
            raise GraphError(f"{layer.path} has LoRA: only K and V of cross-attention may")
        if layer.kernel or layer.groups > 1 or layer.rows != pair.m:
            raise GraphError(f"{layer.path} is no linear layer of the {pair.m} tokens of {path}")
    _check_attention(path, [layer for layer in layers if isinstance(layer, Pair)])
    made = {query.path, sites[key].path, sites[value].path}
    for layer in [each for each in layers if each.path in made]:
        if isinstance(layer, Dense) and layer.bias:
            raise GraphError(f"{layer.path} has a bias: q, k and v of cross-attention have none")
    widths = [query.columns, sites[key].outputs, sites[value].outputs, out.reduction]
    if set(widths) != {channels}:
        raise GraphError(
            f"{path}: {pair.count} heads of {pair.k} are {channels} channels, and q, k, v, out "
            f"have {', '.join(map(str, widths))}"
        )
    return Module(path, query.path, out.path, query.reduction, channels, out.columns,
                  pair.count, pair.m, key, value)  # fmt: skip


def cut(model: Model, path: str) -> Model:
    """Return the part of a model that is inside a module.

    Raises
    ------
    GraphError
        There is no layer.
    """
    inside = tuple(layer for layer in model.layers
                   if layer.path == path or layer.path.startswith(f"{path}."))  # fmt: skip
    if not inside:
        raise GraphError(f"model {model.name} has no module {path}")
    return Model(f"{model.name}:{path}", inside)


def module_model(
    tokens: int, channels: int, heads: int, text_tokens: int = 77, text_width: int = 768
) -> Model:
    """Return a model that is one cross-attention module, ``attn2``.

    Parameters
    ----------
    tokens, text_tokens : int
        Of the latent and the text of one sample.
    channels, heads : int
        Heads must divide the channels.

    Raises
    ------
    GraphError
        A size is below 1, or heads do not divide the channels.
    """
    sizes = {"tokens": tokens, "channels": channels, "heads": heads,
             "text_tokens": text_tokens, "text_width": text_width}  # fmt: skip
    for name, size in sizes.items():
        if size < 1:
            raise GraphError(f"a module's {name} must be at least 1, not {size}")
    if channels % heads:
        raise GraphError(f"a module's heads must divide its channels {channels}, not be {heads}")
    path, inner = "attn2", Reading.XATTN
    layers = (
        Dense(f"{path}.to_q", tokens, channels, channels, inner, bias=False),
        Dense(f"{path}.to_k", text_tokens, text_width, channels, Reading.KV, bias=False),
        Dense(f"{path}.to_v", text_tokens, text_width, channels, Reading.KV, bias=False),
        Pair(path, True, tokens, channels // heads, text_tokens, heads, inner),
        Pair(path, False, tokens, text_tokens, channels // heads, heads, inner),
        Dense(f"{path}.to_out.0", tokens, channels, channels, inner),
    )
    return Model(f"module:{tokens}x{channels}:h{heads}:t{text_tokens}x{text_width}", layers)
