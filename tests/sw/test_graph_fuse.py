"""Fusions: what each joins, and that none of them changes a bit."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from sw.graph.fuse import fuse
from sw.graph.fusions import Fusions
from sw.graph.ir import Copy, GraphError, Host, Maxima, Sums, Updates
from sw.graph.verify_fused import verify_fused
from sw.models import DESCRIPTIONS, load_step, walk

from .graph_samples import ARRAY, model, quantised, run, run_graph

RESULTS = (
    "text.Y", "text.dX", "text.dA", "text.dBt", "text.H.row", "text.dH.column",
    *(f"{m}.{each}" for m in "ab" for each in ("S", "dP", "Q.token", "out", "dX", "dK", "dV")),
)  # fmt: skip
MODELS = {
    "two": model(),
    "ranks": model((3, 20), (None, 14)),
}


def products(fused):
    return {product.name: product for segment in fused.segments for product in segment.products}


@pytest.mark.parametrize("name,rank", [("two", 3), ("two", 10), ("ranks", None)])
def test_every_combination_of_switches_gives_the_same_bits(name, rank):
    graph = quantised(MODELS[name], rank=rank)
    expected = run_graph(graph)
    assert all(len(np.unique(expected[each])) > 9 for each in RESULTS)
    for switches in product([True, False], repeat=6):
        fusions = Fusions(*switches)
        fused = fuse(graph, ARRAY, fusions)
        verify_fused(fused, ARRAY)
        found = run(fused)
        for each in RESULTS:
            same = np.array_equal(*(_without_gaps(each, graph, v[each]) for v in (expected, found)))
            assert same, f"{each} differs with fusions {fusions}"


def _without_gaps(name, graph, array):
    """Return a value without what lies between the parts of sites, which nobody reads."""
    if name not in ("text.Y", "text.dA", "text.dBt"):
        return array
    sites = graph.meta["sites"]
    key, size = ("column", "rank") if name == "text.dA" else ("first", "outputs")
    columns = [range(s[key], s[key] + s[size]) for s in sites if s["rank"] or name == "text.Y"]
    return array[:, np.concatenate([np.array(each) for each in columns])]


def test_all_of_the_text_is_six_products():
    fused = fuse(quantised(MODELS["two"], "kv"), ARRAY)
    assert list(products(fused)) == ["text.H", "text.Y", "text.dH", "text.dX", "text.dBt.0",
                                     "text.dA"]  # fmt: skip
    assert [type(each) for each in products(fused)["text.H"].outputs] == [
        *[Updates] * 4, Maxima, Copy, Maxima, Copy,
    ]  # fmt: skip
    y = products(fused)["text.Y"]
    assert [bool(term.updates) for term in y.terms] == [False, True, True, True, True]
    assert (y.terms[0].k, y.terms[1].k, y.n) == (10, 16, 128)


@pytest.mark.parametrize(
    "switch,more",
    [
        ("stream", ["text.Y.0", "text.Y.1", "text.Y.2", "text.Y.3"]),
        ("low-rank", ["text.dA.0", "text.dA.3", "text.dBt.2"]),
        ("update", ["text.Y.plain", "text.Y.update", "text.dX.plain", "text.dX.update"]),
        ("sum-dx", ["text.dX.0", "text.dX.3", "text.dX.update"]),
        ("heads", ["a.S.1.1", "b.O.0.1", "a.dQ.0.0", "b.dK.1.0", "b.dV.0.1"]),
    ],
)
def test_what_a_switch_takes_apart(switch, more):
    graph = quantised(MODELS["two"])
    whole, parts = (products(fuse(graph, ARRAY, each))
                    for each in (Fusions(), Fusions.parse(f"-{switch}")))  # fmt: skip
    assert set(more) <= set(parts) - set(whole)


def test_without_low_rank_the_text_streams_by_for_each_site():
    fused = fuse(quantised(MODELS["two"], "kv"), ARRAY, Fusions.parse("-low-rank"))
    h = products(fused)["text.H"]
    assert [term.left.value for term in h.terms] == ["text.X.row"] * 4
    assert [term.right.columns.start for term in h.terms] == [0, 16, 32, 48]
    assert "text.A" not in fused.values and fused.values["text.A.alone"].columns == 64


def test_without_heads_each_head_is_a_program():
    fused = fuse(quantised(MODELS["two"], batch=1), ARRAY, Fusions.parse("-heads"))
    names = [segment.name for segment in fused.segments if segment.name.startswith("a.")]
    assert names == [
        "a.scores.Q", "a.scores.S.0.0", "a.scores.S.0.1",
        "a.values.O.0.0", "a.values.O.0.1", "a.values.out",
        "a.dscores.dO", "a.dscores.dP.0.0", "a.dscores.dP.0.1",
        "a.gradients.dQ.0.0", "a.gradients.dQ.0.1", "a.gradients.dX",
    ]  # fmt: skip


def test_without_drain_the_array_stores_sums_alone():
    fused = fuse(quantised(MODELS["two"]), ARRAY, Fusions.parse("-drain"))
    outputs = [each for product in products(fused).values() for each in product.outputs]
    assert {type(each) for each in outputs} == {Sums}
    drains = [step.name for step in fused.steps if isinstance(step, Host) and step.kind == "drain"]
    assert drains[:4] == ["text.H.drain", "a.Q.drain", "a.S.drain", "a.O.0.drain"]


def test_columns_of_samples_that_are_not_aligned_are_products_of_their_own():
    names = products(fuse(quantised(MODELS["two"]), ARRAY))
    assert {"a.O.0", "a.O.1", "a.dQ.1", "b.O.1"} <= set(names) and "a.O" not in names
    assert "a.O" in products(fuse(quantised(MODELS["two"], batch=1), ARRAY))


@pytest.mark.parametrize("reading,batch", [("kv", 1), ("xattn", 2)])
@pytest.mark.parametrize("text", ["all", "none"])
def test_useful_multiplications_are_those_of_the_step(reading, batch, text):
    graph = quantised(walk(DESCRIPTIONS["sd15"]), reading, batch, 4)
    fused = fuse(graph, ARRAY, Fusions.parse(text))
    macs = load_step("sd15", reading, batch, 4).macs
    assert sum(fused.useful.values()) == macs
    assert sum(segment.useful for segment in fused.segments) == macs
    assert set(fused.useful) == set(products(fused))


def test_other_layers_are_programs_of_their_own():
    fused = fuse(quantised(MODELS["two"], "unet", 1), ARRAY)
    plain = [segment for segment in fused.segments if segment.kind == "plain"]
    assert [segment.name for segment in plain] == [f"plain.{k}" for k in range(5)]
    assert {segment.products[0].site for segment in plain} == {"between"}
    names = [step.name for step in fused.steps]
    assert names.index("a.loss") < names.index("plain.0") < names.index("b.latent")


def test_segments_of_equal_modules_have_one_kind():
    made = walk(DESCRIPTIONS["sd15"])
    fused = fuse(quantised(made, batch=1, rank=4), ARRAY)
    kinds = {segment.kind for segment in fused.segments}
    assert kinds == {"text.forward", "scores", "values", "dscores", "gradients", "text.backward"}


def test_a_step_prints_as_text():
    text = str(fuse(quantised(MODELS["two"], "kv"), ARRAY)).splitlines()
    assert text[0] == "step two kv batch 2"
    at = text.index("product text.H: 10x16")
    assert text[at + 1 : at + 3] == [
        "  [0+10, 0+16] += text.X.row[0:10, 0:10] . text.A[0:10, 0:16]",
        "  updates -> text.Y.updates.0",
    ]
    assert text[-1].startswith("host text.collect: collect(text.dX, text.dA, ")


@pytest.mark.parametrize(
    "text,off",
    [
        ("all", []),
        ("none", Fusions.names()),
        ("-heads, -low-rank", ["low-rank", "heads"]),
        ("stream,drain", ["low-rank", "update", "sum-dx", "heads"]),
    ],
)
def test_fusions_as_text(text, off):
    fusions = Fusions.parse(text)
    assert [n for n in Fusions.names() if not getattr(fusions, n.replace("-", "_"))] == off
    assert Fusions.parse(str(fusions)) == fusions


@pytest.mark.parametrize("text", ["", "-", "some", "stream,-drain", "all,drain", "-none"])
def test_fusions_that_are_none(text):
    with pytest.raises(GraphError) as error:
        Fusions.parse(text)
    assert str(error.value) == (
        "fusions must be all, none, or some of stream,low-rank,update,sum-dx,drain,heads, or such "
        f"with - before each that is off, not {text!r}"
    )


def test_sums_of_all_sites_that_are_too_long():
    """Those of SDXL are."""
    graph = quantised(walk(DESCRIPTIONS["sdxl"]), "kv", 1, 4)
    with pytest.raises(GraphError) as error:
        fuse(graph, ARRAY)
    assert str(error.value) == (
        "text.dX reduces 166400 columns of all sites, sums hold 131071: compile without the fusion "
        "sum-dx"
    )
    verify_fused(fuse(graph, ARRAY, Fusions.parse("-sum-dx")), ARRAY)


def test_a_graph_that_is_not_quantised_is_refused():
    graph = quantised(MODELS["two"])
    with pytest.raises(GraphError, match="^graph two xattn batch 2 is not quantised$"):
        fuse(replace(graph, ops=()), ARRAY)
