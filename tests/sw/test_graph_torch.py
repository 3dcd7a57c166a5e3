"""Graphs of torch modules, with LoRA of their own, and what in them is refused."""

from __future__ import annotations

import pytest

from sw.graph.build import build
from sw.graph.fuse import fuse
from sw.graph.ir import Gemm, GraphError, Quantise
from sw.graph.quantise import quantise
from sw.graph.verify import verify
from sw.graph.verify_fused import verify_fused
from sw.models import ModelError, training_step
from sw.models.torch_model import trace

from .graph_samples import ARRAY

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from .torch_models import CHANNELS, TEXT, TOKENS, Attention, Net, example  # noqa: E402


def checked(model, reading, batch=1, rank=None):
    """Return the fused step of a model; every stage is verified."""
    graph = build(model, reading, batch, rank)
    verify(graph)
    macs = sum(g.out.shape[0] * g.left.shape[1] * g.out.shape[1]
               for g in graph.ops if isinstance(g, Gemm))  # fmt: skip
    assert macs == training_step(model, reading, batch, rank).macs
    graph = quantise(graph, ARRAY)
    verify(graph)
    assert any(isinstance(op, Quantise) for op in graph.ops)
    fused = fuse(graph, ARRAY)
    verify_fused(fused, ARRAY)
    return fused


@pytest.mark.parametrize("form", ["sdpa", "matmul", "bmm"])
@pytest.mark.parametrize("reading", ["kv", "xattn", "unet"])
def test_a_net(form, reading):
    fused = checked(trace("net", Net(form), example()), reading, 2, 3)
    assert [site["path"] for site in fused.meta["sites"]] == [
        "block.cross.to_k", "block.cross.to_v",
    ]  # fmt: skip
    assert fused.values["text.X.row"].rows == 2 * TOKENS
    assert fused.values["text.X.row"].columns == TEXT
    if reading == "unet":
        plain = [value for name, value in fused.values.items() if name.startswith("plain.")]
        assert {value.dtype for value in plain} == {"int8", "int32"} and len(plain) % 3 == 0
    if reading != "kv":
        assert fused.values["block.cross.Q.token"].rows == CHANNELS


def test_a_net_with_lora_of_its_own():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=3, target_modules=["cross.to_k", "cross.to_v"], rank_pattern={"cross.to_v": 6}
    )
    fused = checked(trace("net", peft.get_peft_model(Net(), config), example()), "xattn")
    assert [site["rank"] for site in fused.meta["sites"]] == [3, 6]


class Texts(nn.Module):
    """Cross-attention to two texts, V before K."""

    def __init__(self, one: bool) -> None:
        super().__init__()
        self.one = one
        self.attention = Attention(CHANNELS, TEXT)

    def forward(self, sample, text, other):
        layers = self.attention
        v, k = layers.to_v(text), layers.to_k(text if self.one else other)
        values = nn.functional.scaled_dot_product_attention(layers.to_q(sample), k, v)
        return layers.to_out(values)


@pytest.fixture
def texts():
    return torch.zeros(1, 16, CHANNELS), *torch.zeros(2, 1, TOKENS, TEXT).unbind()


def test_k_is_what_the_scores_read(texts):
    fused = checked(trace("texts", Texts(one=True), texts), "xattn", 1, 3)
    (module,), sites = fused.meta["modules"], fused.meta["sites"]
    assert sites[module["key"]]["path"] == "attention.to_k" and module["key"] == 1
    assert sites[module["value"]]["path"] == "attention.to_v"


def test_sites_of_different_texts_are_refused(texts):
    with pytest.raises(GraphError) as error:
        checked(trace("texts", Texts(one=False), texts), "kv")
    assert str(error.value) == (
        "attention.to_k reads input 2, and attention.to_v reads input 1: all text sites must read "
        "one text"
    )


class Crossed(nn.Module):
    """A net with something in it that is not followed."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.net.block.widen = Mixed()

    def forward(self, *inputs):
        return self.net(*inputs)


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(CHANNELS, 16))

    def forward(self, x):
        return torch.einsum("btc,cd->btd", x, self.weight)


def test_an_operation_that_is_not_known_is_named_with_its_module():
    with pytest.raises(ModelError) as error:
        checked(trace("crossed", Crossed(), example()), "xattn")
    assert str(error.value) == (
        "crossed: net.block.widen: products of torch's einsum are not followed; accepted: linear, "
        "conv2d, matmul, mm, bmm, baddbmm, scaled_dot_product_attention"
    )


def relu(scores):
    return scores.relu()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.7), "scale"),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), "is_causal"),
        (lambda q, k, v: F.scaled_dot_product_attention(F.normalize(q), k, v), "normalize"),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v.tanh()), "tanh"),
        (lambda q, k, v: relu(q @ k.mT / 2) @ v, "relu, no softmax"),
        (lambda q, k, v: (q @ k.mT / 2) @ v, "no softmax"),
        (lambda q, k, v: (q @ k.mT / 2 + 1).softmax(-1) @ v, "__add__|add"),
    ],
)
def test_other_attention_is_refused(change, found):
    class Other(Attention):
        def forward(self, x, source=None):
            source = x if source is None else source
            q, k, v = (
                layer(each).unflatten(-1, (2, -1)).transpose(1, 2)
                for layer, each in ((self.to_q, x), (self.to_k, source), (self.to_v, source))
            )
            return self.to_out(change(q, k, v).transpose(1, 2).flatten(2))

    net = Net()
    net.block.cross = Other(CHANNELS, TEXT)
    model = trace("net", net, example())
    build(model, "kv", 1, 2)  # attention is not compiled
    with pytest.raises(GraphError, match=rf"block\.cross: .* in it: ({found})$"):
        build(model, "xattn", 1, 2)


def test_a_bias_is_refused():
    net = Net()
    net.block.cross.to_v = nn.Linear(TEXT, CHANNELS)
    with pytest.raises(GraphError, match=r"block\.cross\.to_v has a bias"):
        build(trace("net", net, example()), "xattn", 1, 2)
