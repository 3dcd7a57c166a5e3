"""Every line that the checks between passes say, each of a graph with one thing wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw.isa.instructions import Axis
from sw.graph.build import build
from sw.graph.fuse import fuse
from sw.graph.fusions import Fusions
from sw.graph.ir import Gemm, GraphError, Host, Quantise, Segment, Value, View
from sw.graph.shape import module_model
from sw.graph.verify import verify
from sw.graph.verify_fused import verify_fused
from sw.tile import Span

from .graph_samples import ARRAY, quantised

MODULE = module_model(8, 8, 2, 5, 12)
FLOAT = build(MODULE, "xattn", 2, 3)
GRAPH = quantised(MODULE)
FUSED = fuse(GRAPH, ARRAY)


def view(text: str) -> View:
    """Return the view that prints as `text`."""
    name, _, spans = text.removesuffix(".T").partition("[")
    rows, columns = (map(int, part.split(":")) for part in spans.rstrip("]").split(", "))
    rows, columns = (Span(start, stop - start) for start, stop in (rows, columns))
    return View(name, rows, columns, text.endswith(".T"))


def change(graph, kind, text, **members):
    """Return a graph whose first operation that prints with `text` is changed."""
    ops = list(graph.ops)
    at = next(i for i, op in enumerate(ops) if isinstance(op, kind) and text in str(op))
    ops[at] = replace(ops[at], **members)
    return replace(graph, ops=tuple(ops))


def message(check, *arguments) -> str:
    with pytest.raises(GraphError) as error:
        check(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_the_passes_make_is_right():
    verify(FLOAT)
    verify(GRAPH)
    verify_fused(FUSED, ARRAY)


@pytest.mark.parametrize(
    "kind,text,members,line",
    [
        (Gemm, "gemm qk.0.0", {"right": view("attn2.Q.token[0:3, 0:8]")},
         "gemm qk.0.0 of attn2: attn2.K.row[0:5, 0:4] is 5x4 and attn2.Q.token[0:3, 0:8] is 3x8: "
         "inner sizes 4 and 3 differ"),
        (Gemm, "gemm qk.0.0", {"right": view("attn2.Q.token[0:4, 0:7]")},
         "gemm qk.0.0 of attn2: attn2.K.row[0:5, 0:4] . attn2.Q.token[0:4, 0:7] is 5x7, "
         "its place 5x8"),
        (Gemm, "gemm qk.0.0", {"right": view("attn2.Q.token[6:10, 0:8]")},
         "gemm qk.0.0 of attn2: attn2.Q.token[6:10, 0:8] is not inside attn2.Q.token: int8[8x16]"),
        (Gemm, "gemm qk.0.0", {"right": view("attn2.Q.token[0:4, 0:0]")},
         "gemm qk.0.0 of attn2: attn2.Q.token[0:4, 0:0] is not inside attn2.Q.token: int8[8x16]"),
        (Gemm, "gemm qk.0.0", {"right": view("attn2.R[0:4, 0:8]")},
         "gemm qk.0.0 of attn2: there is no value attn2.R"),
        (Gemm, "gemm qk.0.0", {"left": view("attn2.K[0:5, 0:4]")},
         "gemm qk.0.0 of attn2: makes int32 of float and int8; accepted: int32 of int8 and int8, "
         "or float of float and float"),
        (Gemm, "gemm qk.0.0", {"right": view("attn2.dO.token[0:4, 0:8]")},
         "gemm qk.0.0 of attn2: reads attn2.dO.token[0:4, 0:8] before it is made"),
        (Gemm, "gemm qk.0.1", {"out": view("attn2.S.sums[0:5, 0:8]")},
         "gemm qk.0.1 of attn2: makes attn2.S.sums[0:5, 0:8], which is made already"),
        (Gemm, "gemm up", {"out": view("text.dX[0:10, 0:8]")},
         "gemm up of attn2.to_k: reads text.dX[0:10, 0:8] before it is made"),
        (Gemm, "gemm qk.0.0", {"left": view("attn2.K.unit[0:2, 0:4]")},
         "gemm qk.0.0 of attn2: attn2.K.unit[0:2, 0:4] . attn2.Q.token[0:4, 0:8] is 2x8, "
         "its place 5x8"),
        (Host, "host attn2.softmax:", {"reads": ("attn2.dP",)},
         "host attn2.softmax: reads attn2.dP before it is made"),
        (Host, "host attn2.softmax:", {"writes": ("attn2.R",)},
         "host attn2.softmax: there is no value attn2.R"),
        (Host, "host attn2.softmax:", {"writes": ("attn2.P", "attn2.K")},
         "host attn2.softmax: makes attn2.K[0:20, 0:4], which is made already"),
        (Quantise, "quantise attn2.S", {"copy": view("attn2.S[0:20, 0:7]")},
         "quantise attn2.S: the copy attn2.S[0:20, 0:7] is 20x7, but must be 20x8"),
        (Quantise, "quantise attn2.S", {"entries": view("attn2.O.entries[0:1, 0:1]")},
         "quantise attn2.S: reads attn2.O.entries[0:1, 0:1] before it is made"),
        (Quantise, "quantise attn2.O", {"entries": view("attn2.O.entries[0:1, 0:4]")},
         "quantise attn2.O.token: the entries attn2.O.entries[0:1, 0:4] is 1x4, but must be 1x8"),
        (Quantise, "quantise attn2.O", {"entries": None},
         "quantise attn2.O.token: the entries are missing"),
        (Quantise, "quantise attn2.O", {"entries": view("attn2.V[0:1, 0:4]")},
         "quantise attn2.O.token: attn2.V: float[20x4] must be uint32"),
        (Quantise, "quantise attn2.O", {"unit": view("attn2.V.unit[0:1, 0:8]")},
         "quantise attn2.O.token: the unit attn2.V.unit[0:1, 0:8] is 1x8, but must be 1x4"),
        (Quantise, "quantise attn2.Q", {"maxima": None},
         "quantise attn2.Q.token: a fresh copy needs a place for its maxima"),
        (Quantise, "quantise attn2.Q", {"axis": Axis.TENSOR},
         "quantise attn2.Q.token: the maxima attn2.Q.maxima[0:1, 0:16] is 1x16, but must be 1x1"),
        (Quantise, "quantise attn2.Q", {"how": "chip"},
         "quantise attn2.Q.token: must be made by host, fresh or loaded, not 'chip'"),
        (Quantise, "quantise attn2.Q", {"how": "host"},
         "quantise attn2.Q.token: attn2.Q.sums: int32[8x16] must be float"),
        (Quantise, "quantise attn2.dS.text", {"weights": "attn2.R"},
         "quantise attn2.dS.text: there is no value attn2.R"),
    ],
    ids=lambda each: each if isinstance(each, str) and len(each) < 30 else "",
)  # fmt: skip
def test_operations_that_do_not_fit(kind, text, members, line):
    assert message(verify, change(GRAPH, kind, text, **members)) == line


def all_of(graph, text, **members):
    """Return a graph with all quantisations that print with `text` changed."""
    ops = tuple(replace(op, **members) if isinstance(op, Quantise) and text in str(op) else op
                for op in graph.ops)  # fmt: skip
    return replace(graph, ops=ops)


def test_scales_along_a_reduced_axis():
    assert message(verify, all_of(GRAPH, "quantise attn2.K.row", axis=Axis.COLUMN)) == (
        "gemm qk.0.0 of attn2: attn2.K.row has a scale for each column, which the product reduces, "
        "and attn2.Q.token is not weighted by it"
    )
    assert message(verify, all_of(GRAPH, "quantise attn2.dS.text", weights="")) == (
        "gemm dk.0.0 of attn2: attn2.Q.token has a scale for each column, which the product "
        "reduces, and attn2.dS.text is not weighted by it"
    )


def test_scales_of_sums_along_a_reduced_axis():
    assert message(verify, all_of(GRAPH, "quantise text.dY.column", weights="")) == (
        "gemm db of attn2.to_k: the sums of text.H.column have the scales of text.X.row for each "
        "row, which the product reduces, and text.dY.column is not weighted by it"
    )
    assert message(verify, all_of(GRAPH, "quantise attn2.O.token", unit=None)) == (
        "gemm forward of attn2.to_out.0: the sums of attn2.O.token have the scales of "
        "attn2.V.column for each row, which the product reduces, and attn2.Wo is not weighted by it"
    )


def test_an_operand_without_scales():
    ops = tuple(op for op in GRAPH.ops if not (isinstance(op, Quantise)
                and op.copy.value == "attn2.Q.token"))  # fmt: skip
    made = Host("gift", "gift", (), ("attn2.Q.token", "attn2.Q.maxima"))
    line = "gemm qk.0.0 of attn2: attn2.Q.token has no scales"
    assert message(verify, replace(GRAPH, ops=(made, *ops))) == line


@pytest.mark.parametrize(
    "value,line",
    [
        (Value("text.X", "bfloat16", 10, 12),
         "value text.X: bfloat16[10x12]: dtype must be one of float, int8, int32, uint32"),
        (Value("text.X", "float", 0, 12), "value text.X: float[0x12]: sizes must be at least 1"),
        (Value("text.Z", "float", 10, 12), "value text.Z is kept as text.X"),
    ],
)  # fmt: skip
def test_values_that_are_none(value, line):
    values = dict(FLOAT.values) | {"text.X": value}
    assert message(verify, replace(FLOAT, values=values)) == line
    assert message(verify, replace(FLOAT, ops=("what",))) == (
        f"graph {FLOAT.name}: unknown operation 'what'"
    )


def test_a_reduction_that_sums_cannot_hold():
    made = build(module_model(8, 8, 2, 2, 131072), "kv", 1, 1)
    line = "reduces 131072 elements, sums hold 131071"
    assert message(verify, made) == f"gemm h of attn2.to_k: {line}"


# Products


def exchange(of, number=0, /, **members):
    """Return the fused step with a product changed; with `term` or `output`, one of these."""
    steps = list(FUSED.steps)
    for at, step in enumerate(steps):
        if isinstance(step, Segment) and any(p.name == of for p in step.products):
            products = []
            for product in step.products:
                if product.name == of:
                    for part in ("term", "output"):
                        if part in members:
                            every = list(getattr(product, f"{part}s"))
                            every[number] = replace(every[number], **members.pop(part))
                            members[f"{part}s"] = tuple(every)
                    product = replace(product, **members)
                products.append(product)
            steps[at] = replace(step, products=tuple(products))
    return replace(FUSED, steps=tuple(steps))


S_TERM = "product attn2.S, term 0"


@pytest.mark.parametrize(
    "fused,line",
    [
        (exchange("attn2.S", term={"right": view("attn2.Q.token[0:3, 0:8]")}),
         f"{S_TERM}: attn2.K.row[0:5, 0:4] is 5x4 and attn2.Q.token[0:3, 0:8] is 3x8: inner sizes "
         "4 and 3 differ"),
        (exchange("attn2.S", term={"rows": Span(0, 4)}),
         f"{S_TERM}: attn2.K.row[0:5, 0:4] . attn2.Q.token[0:4, 0:8] is 5x8, its place 4x8"),
        (exchange("attn2.S", term={"rows": Span(18, 5)}),
         "product attn2.S: term 0 [18+5, 0+8] is not inside 20x8"),
        (exchange("attn2.S", term={"columns": Span(2, 6)}),
         "product attn2.S: term 0 starts at column 2, no multiple of the array's 16 columns"),
        (exchange("attn2.S", term={"left": view("attn2.K.row[0:5, 2:4]"),
                                   "right": view("attn2.Q.token[0:2, 0:8]")}),
         f"{S_TERM}: rows of attn2.K.row[0:5, 2:4] start at byte 2, no multiple of bus_bytes 4"),
        (exchange("attn2.S", term={"left": view("attn2.K.unit[0:1, 0:4]")}),
         f"{S_TERM}: attn2.K.unit: uint32[2x8] must be int8"),
        (exchange("attn2.S", term={"left": view("attn2.dS.text[0:5, 0:4]")}),
         f"{S_TERM}: reads attn2.dS.text[0:5, 0:4] before it is made"),
        (exchange("attn2.S", term={"updates": "text.Y.updates.0"}),
         f"{S_TERM}: updates sums that no plain term before makes"),
        (exchange("attn2.S", terms=()), "product attn2.S: must have terms and outputs"),
        (exchange("attn2.S", name="attn2.Q"), "product attn2.Q: there are two of this name"),
        (exchange("attn2.S", 3, term={"rows": Span(5, 5)}),
         "product attn2.S: copy -> attn2.S[0:20, 0:8] reads sums that no term makes"),
        (exchange("attn2.S", output={"columns": Span(1, 7)}),
         "product attn2.S: copy starts at column 1, no multiple of the array's 16 columns"),
        (exchange("attn2.S", output={"table": "attn2.S.scales"}),
         "product attn2.S, copy attn2.S: must have a table or entries, and not both"),
        (exchange("attn2.S", output={"entries": None, "table": "none"}),
         "product attn2.S, copy attn2.S: no maxima of its window make its table none"),
        (exchange("attn2.S", output={"unit": view("attn2.K.unit[0:1, 0:8]")}),
         "product attn2.S, copy attn2.S: only a copy by column is rescaled by row"),
        (exchange("attn2.S", output={"entries": view("attn2.V.unit[0:1, 0:2]")}),
         "product attn2.S: the entries attn2.V.unit[0:1, 0:2] is 1x2, but must be 1x1"),
        (exchange("attn2.S", output={"to": view("attn2.S[0:19, 0:8]")}),
         "product attn2.S: the copy attn2.S[0:19, 0:8] is 19x8, but must be 20x8"),
        (exchange("attn2.S", output={"to": view("attn2.Q.token[0:8, 0:16]")}),
         "product attn2.S: the copy attn2.Q.token[0:8, 0:16] is 8x16, but must be 20x8"),
        (exchange("attn2.dX", output={"to": view("attn2.out[0:8, 0:16]")}),
         "product attn2.dX: makes attn2.out[0:8, 0:16], which is made already"),
        (exchange("attn2.Q", output={"to": view("attn2.Q.maxima[0:1, 0:15]")}),
         "product attn2.Q: maxima attn2.Q.maxima[0:1, 0:15] is 1x15, but must be 1x16"),
        (exchange("attn2.Q", 1, output={"axis": Axis.ROW}),
         "product attn2.Q, copy attn2.Q.token: no maxima of its window make its table "
         "attn2.Q.token.scales"),
        (exchange("text.H", output={"factor": view("text.Y.factor[0:1, 0:2]")}),
         "product text.H: the factor text.Y.factor[0:1, 0:2] is 1x2, but must be 1x1"),
        (exchange("text.H", output={"table": "other"}),
         "product text.Y, term 1: there is no value text.Y.updates.0"),
        (exchange("text.H", output={"rows": Span(0, 9)}),
         "product text.Y, term 1: the table text.Y.updates.0 has 9 rows, the product 10"),
        (exchange("text.dX", outputs=("what",)), "product text.dX: unknown output 'what'"),
    ],
)  # fmt: skip
def test_products_that_do_not_fit(fused, line):
    assert message(verify_fused, fused, ARRAY) == line


def test_a_plain_term_after_an_update():
    (y,) = (p for s in FUSED.segments for p in s.products if p.name == "text.Y")
    terms = (y.terms[0], y.terms[1], y.terms[0])
    assert message(verify_fused, exchange("text.Y", terms=terms), ARRAY) == (
        "product text.Y, term 2: a plain term follows the update [text.Y.updates.0]"
    )


def test_sums_of_several_terms_that_cannot_hold():
    made = quantised(module_model(8, 8, 2, 2, 70000), "kv", 1, 1)
    fused = fuse(made, ARRAY)
    verify_fused(fused, ARRAY)
    segment = next(fused.segments)
    h = segment.products[0]
    h = replace(h, terms=h.terms * 2)
    first = replace(segment, products=(h, *segment.products[1:]))
    steps = tuple(first if step is segment else step for step in fused.steps)
    assert message(verify_fused, replace(fused, steps=steps), ARRAY) == (
        "product text.H, term 1: reduces 140000 elements, sums hold 131071"
    )


@pytest.mark.parametrize(
    "name,members,line",
    [
        ("attn2.S.drain", {"reads": ()},
         "host attn2.S.drain: must read sums and make something of them"),
        ("attn2.S.drain", {"reads": ("attn2.dP.sums",)},
         "host attn2.S.drain: reads attn2.dP.sums[0:20, 0:8] before it is made"),
        ("attn2.softmax", {"reads": ("attn2.dP",)},
         "host attn2.softmax: reads attn2.dP before it is made"),
    ],
)  # fmt: skip
def test_hosts_that_do_not_fit(name, members, line):
    fused = fuse(GRAPH, ARRAY, Fusions.parse("-drain"))
    steps = tuple(replace(s, **members) if s.name == name else s for s in fused.steps)
    assert message(verify_fused, replace(fused, steps=steps), ARRAY) == line
    assert message(verify_fused, replace(fused, steps=("what",)), ARRAY) == (
        f"step {fused.name}: unknown step 'what'"
    )
