"""The graph of a step: what is built of a model's layers, and which copies operands get."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw.isa.config import Config
from hw.isa.instructions import Axis
from sw.graph.build import build
from sw.graph.ir import Gemm, GraphError, Host, Quantise
from sw.graph.quantise import quantise, unit_of
from sw.graph.shape import Shape, cut, module_model
from sw.graph.verify import verify
from sw.models import DESCRIPTIONS, Reading, load_step, walk
from sw.models.layers import Dense, Model, Pair

from .graph_samples import ARRAY, cross, model, quantised

SD15 = walk(DESCRIPTIONS["sd15"])
MODULE = module_model(8, 8, 2, 5, 12)


def gemms(graph):
    return [op for op in graph.ops if isinstance(op, Gemm)]


def macs(graph):
    return sum(g.out.shape[0] * g.left.shape[1] * g.out.shape[1] for g in gemms(graph))


def hosts(graph):
    return {op.name: op for op in graph.ops if isinstance(op, Host)}


@pytest.mark.parametrize(
    "name,reading,batch,rank",
    [("sd15", "kv", 1, 4), ("sd15", "xattn", 2, 4), ("sd15", "transformer", 1, 64),
     ("sd15", "unet", 1, 4), ("sdxl", "xattn", 1, 4)],
)  # fmt: skip
def test_multiplications_are_those_of_the_step(name, reading, batch, rank):
    graph = build(walk(DESCRIPTIONS[name]), reading, batch, rank)
    assert macs(graph) == load_step(name, reading, batch, rank).macs
    verify(graph)


def test_the_products_of_a_module():
    shapes = {
        (g.site, g.name): (*g.out.shape, g.left.shape[1]) for g in gemms(build(MODULE, batch=2))
    }
    assert shapes["attn2.to_k", "forward"] == (10, 8, 12)
    assert shapes["attn2.to_v", "up"] == (10, 8, 4)
    assert shapes["attn2.to_q", "forward"] == (8, 16, 8)
    assert shapes["attn2", "qk.1.1"] == (5, 8, 4)
    assert shapes["attn2", "pv.0.1"] == (4, 8, 5)
    assert shapes["attn2.to_out.0", "dx"] == (8, 16, 8)
    assert shapes["attn2", "dk.1.0"] == (5, 4, 8)
    assert len(shapes) == 2 * 8 + 4 + 4 * 6


def test_the_order_of_a_step():
    names = [op.name for op in build(model(), "unet").ops if isinstance(op, Host)]
    assert names == [
        "weights", "text.inputs",
        "a.latent", "a.heads", "a.softmax", "a.loss", "plain.0", "plain.0.collect",
        "b.latent", "b.heads", "b.softmax", "b.loss",
        "b.softmax_backward", "b.collect",
        *[f"plain.{k}{tail}" for k in range(1, 5) for tail in ("", ".collect")],
        "a.softmax_backward", "a.collect",
        "text.gradients", "text.dX.sum", "text.collect",
    ]  # fmt: skip


def test_reading_kv_has_the_text_alone():
    names = [op.name for op in build(model(), "kv").ops if isinstance(op, Host)]
    assert names == ["weights", "text.inputs", "text.loss", "text.dX.sum", "text.collect"]


def test_places_of_sites_with_ranks_of_their_own():
    """With units of 8: 3 and 5 share one, 20 has three, a site without LoRA none, 6 another."""
    layers = (
        *cross("a", 6, 12, 2, 5, 10, (3, 5)),
        *cross("b", 6, 8, 2, 5, 10, (20, None)),
        *cross("c", 6, 8, 2, 5, 10, (6, 3)),
    )
    made = Model("ranks", layers)
    shape = Shape.of(build(made, "kv").meta).placed(8)
    places = [(s.first, s.column, s.group, s.width) for s in shape.sites]
    assert places == [(0, 0, 0, 8), (16, 3, 0, 8), (32, 8, 8, 24), (40, 28, 8, 24),
                      (48, 32, 32, 8), (56, 40, 40, 8)]  # fmt: skip
    assert (shape.columns, shape.ranks) == (64, 48)
    assert [[s.rank for s in group] for group in shape.groups] == [[3, 5], [20], [6], [3]]
    assert Shape.of(shape.meta) == shape


def test_equal_ranks_fill_groups():
    shape = Shape.of(build(SD15, "kv").meta).placed(64)
    assert [s.column for s in shape.sites] == [(i // 16) * 64 + i % 16 * 4 for i in range(32)]
    assert (shape.columns, shape.ranks) == (24960, 128)
    assert unit_of(Config(rows=8, columns=4, bus_bytes=16)) == 16
    assert unit_of(replace(ARRAY, columns=6)) == 24


COPIES = {
    "text.X.row": ("row", "host", ""),
    "text.H.row": ("row", "fresh", ""),
    "text.H.column": ("column", "fresh", ""),
    "text.W": ("tensor", "host", ""),
    "text.dY.row": ("row", "host", "text.W"),
    "text.dY.column": ("column", "host", "text.X.row"),
    "text.X.column": ("column", "host", "text.dY.row"),
    "text.Au": ("tensor", "host", "text.Bt"),
    "text.dH.row": ("row", "fresh", ""),
    "text.dH.column": ("column", "fresh", ""),
    "attn2.X.token": ("column", "host", ""),
    "attn2.K.row": ("row", "host", ""),
    "attn2.K.column": ("column", "host", ""),
    "attn2.V.row": ("row", "host", ""),
    "attn2.V.column": ("column", "host", ""),
    "attn2.Q.token": ("column", "fresh", ""),
    "attn2.S": ("tensor", "loaded", ""),
    "attn2.P.token": ("column", "host", ""),
    "attn2.O.token": ("column", "loaded", ""),
    "attn2.dY.token": ("column", "host", ""),
    "attn2.dO.token": ("column", "fresh", ""),
    "attn2.dP": ("tensor", "loaded", ""),
    "attn2.dS.token": ("column", "host", ""),
    "attn2.dS.text": ("row", "host", "attn2.Q.token"),
    "attn2.P.text": ("row", "host", "attn2.dO.token"),
    "attn2.dQ.token": ("column", "loaded", ""),
}


def test_which_copies_are_made_by_whom():
    graph = quantised(MODULE)
    verify(graph)
    found = {op.copy.value: (op.axis.name.lower(), op.how, op.weights)
             for op in graph.ops if isinstance(op, Quantise)}  # fmt: skip
    weights = {name: ("tensor", "host", "") for name in
               ("text.A", "text.Bt", "attn2.Wq", "attn2.Wo")}  # fmt: skip
    assert found == COPIES | weights


def test_what_the_host_reads_and_gives_between_products():
    found = hosts(quantised(MODULE))
    assert found["attn2.heads"].reads == ("text.Y",)
    assert set(found["attn2.heads"].writes) == {
        "attn2.K", "attn2.V", "attn2.K.unit", "attn2.V.unit", "attn2.S.entry",
    }  # fmt: skip
    assert found["attn2.softmax"].reads == ("attn2.S", "attn2.Q.maxima")
    assert found["attn2.softmax"].writes == ("attn2.P", "attn2.O.entries")
    assert found["attn2.loss"].writes == ("attn2.dY", "attn2.dP.entry")
    assert found["attn2.softmax_backward"].reads == ("attn2.dP", "attn2.P", "attn2.dO.maxima")
    assert found["text.inputs"].writes[-1] == "text.Y.factor"
    assert found["text.gradients"].writes == ("text.dY", "text.At", "text.dX.factor")
    assert found["text.collect"].reads == (
        "text.dX", "text.dA", "text.dBt", "text.H.column_maxima", "text.dH.column_maxima",
    )  # fmt: skip


def test_each_module_gives_its_own_entries():
    for name, op in hosts(quantised(model(), "unet")).items():
        module = name.rpartition(".")[0]
        entries = [each for each in op.writes if each.endswith(("entry", "entries", "unit"))]
        assert all(each.startswith(f"{module}.") for each in entries), name


def test_scales_of_windows():
    """Of Q there is one for each head and token, of O they come for each head of each sample."""
    ops = [op for op in quantised(MODULE).ops if isinstance(op, Quantise)]
    q = [op for op in ops if op.copy.value == "attn2.Q.token"]
    assert [str(op.maxima) for op in q] == [
        "attn2.Q.maxima[0:1, 0:16]",
        "attn2.Q.maxima[1:2, 0:16]",
    ]
    o = [op for op in ops if op.copy.value == "attn2.O.token"]
    assert [(str(op.entries), str(op.unit)) for op in o[1:3]] == [
        ("attn2.O.entries[1:2, 0:8]", "attn2.V.unit[0:1, 4:8]"),
        ("attn2.O.entries[0:1, 8:16]", "attn2.V.unit[1:2, 0:4]"),
    ]
    (s,) = (op for op in ops if op.copy.value == "attn2.S")
    assert s.axis is Axis.TENSOR and str(s.entries) == "attn2.S.entry[0:1, 0:1]"


def test_graphs_print_as_text():
    text = str(build(MODULE, "kv")).splitlines()
    assert text[0] == "graph module:8x8:h2:t5x12 kv batch 1"
    assert "attn2.to_k.W: float[12x8] constant" in text
    assert ("gemm up: attn2.to_k.Y[0:5, 0:8] += [text.Y.updates.0] attn2.to_k.H[0:5, 0:4] . "
            "attn2.to_k.Bt[0:4, 0:8]") in text  # fmt: skip
    text = str(quantised(MODULE, "kv", 1)).splitlines()
    assert ("quantise text.dY.column[0:5, 0:32] = text.dY[0:5, 0:32] by column "
            "(host, weighted by text.X.row)") in text  # fmt: skip
    assert "gemm da: text.dA[0:12, 3:6] = text.X.column[0:5, 0:12].T . " \
           "text.dH.column[0:5, 3:6]" in text  # fmt: skip


def test_a_module_of_a_model():
    path = "mid_block.attentions.0.transformer_blocks.0.attn2"
    made = cut(SD15, path)
    graph = build(made, "xattn", 1, 4)
    own = build(module_model(64, 1280, 8, 77, 768), "xattn", 1, 4)
    assert macs(graph) == macs(own)
    assert str(graph).replace(path, "attn2").splitlines()[1:] == str(own).splitlines()[1:]


def refused(made, reading="xattn", rank=4):
    with pytest.raises(GraphError) as error:
        build(made, reading, 1, rank)
    return str(error.value)


def with_layer(made, at, /, **members):
    layers = [replace(layer, **members) if isinstance(layer, Dense) and layer.path == at else layer
              for layer in made.layers]  # fmt: skip
    return Model(made.name, tuple(layers))


@pytest.mark.parametrize(
    "path,members,message",
    [
        ("attn2.to_v", {"rows": 6},
         "attn2.to_v reads 6x12 and attn2.to_k reads 5x12: all text sites must read one text"),
        ("attn2.to_v", {"inputs": 24},
         "attn2.to_v reads 5x24 and attn2.to_k reads 5x12: all text sites must read one text"),
        ("attn2.to_v", {"groups": 2},
         "attn2.to_v is a convolution or grouped: a text site is linear"),
        ("attn2.to_v", {"path": "attn2.to_k"},
         "attn2.to_k runs twice: a text site must run once in a step"),
        ("attn2.to_v", {"outputs": 4},
         "attn2: 2 heads of 4 are 8 channels, and q, k, v, out have 8, 8, 4, 8"),
        ("attn2.to_v", {"reading": Reading.UNET},
         "attn2: cross-attention is compiled with one q, k, v and out, and this one has 1 layers "
         "for K and V of the text"),
        ("attn2.to_out.0", {"reading": Reading.UNET},
         "attn2: cross-attention is compiled with one q, k, v and out, and this one has 0 layers "
         "for out after its values"),
        ("attn2.to_q", {"rows": 9}, "attn2.to_q is no linear layer of the 8 tokens of attn2"),
    ],
    ids=["tokens", "width", "grouped", "twice", "heads", "sites", "out", "latent"],
)  # fmt: skip
def test_models_that_do_not_fit(path, members, message):
    assert refused(with_layer(MODULE, path, **members)) == message


def test_models_without_what_is_compiled():
    alone = Model("alone", (Dense("only", 5, 4, 4, Reading.UNET, rank=2),))
    assert refused(alone, "unet", None) == "model alone has no K and V of cross-attention"
    made = with_layer(MODULE, "attn2.to_q", rank=2)
    assert refused(made, rank=None) == (
        "model module:8x8:h2:t5x12 has no LoRA on K and V of cross-attention"
    )
    made = with_layer(made, "attn2.to_v", rank=2)
    assert refused(made, rank=None) == (
        "attn2.to_q has LoRA: only K and V of cross-attention may"
    )  # fmt: skip
    scores = Pair("attn2", True, 8, 4, 5, 2, Reading.XATTN)
    assert scores in MODULE.layers
    with pytest.raises(GraphError, match="^model module:8x8:h2:t5x12 has no module attn$"):
        cut(MODULE, "attn")


@pytest.mark.parametrize(
    "sizes,message",
    [
        ((0, 8, 2), "a module's tokens must be at least 1, not 0"),
        ((6, 8, 2, -1), "a module's text_tokens must be at least 1, not -1"),
        ((6, 8, 3), "a module's heads must divide its channels 8, not be 3"),
    ],
)
def test_sizes_of_no_module(sizes, message):
    with pytest.raises(GraphError) as error:
        module_model(*sizes)
    assert str(error.value) == message


def test_samples_start_at_whole_beats():
    made = module_model(6, 8, 2, 5, 12)
    verify(quantised(made, batch=1))
    with pytest.raises(GraphError) as error:
        quantised(made, batch=3)
    assert str(error.value) == (
        "attn2: with batch 3, its 6 tokens of a sample must be a multiple of bus_bytes 4"
    )


def test_paths_that_values_of_the_step_have():
    made = Model("named", cross("text.cross", 8, 8, 2, 5, 12))
    assert refused(made) == (
        "text.cross: values of the step are named so; call the module otherwise"
    )


def test_attention_whose_layers_are_in_no_module():
    """As a torch module that is one attention is traced."""
    layers = []
    for layer in cross("a", 8, 8, 2, 5, 12):
        path = layer.path.removeprefix("a.") if isinstance(layer, Dense) else "attention.0"
        layers.append(replace(layer, path=path))
    (module,) = Shape.of(build(Model("root", tuple(layers))).meta).modules
    assert (module.path, module.query, module.out) == ("attention.0", "q", "out")


def test_a_graph_is_quantised_once():
    graph = quantised(MODULE, "kv")
    with pytest.raises(GraphError, match="^graph module:8x8:h2:t5x12 kv batch 2 is quantised alr"):
        quantise(graph, ARRAY)
