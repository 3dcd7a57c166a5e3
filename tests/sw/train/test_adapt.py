"""Choosing layers by name, and what an adapted model trains and keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sw.train.adapt import NoLayers, adapt
from sw.train.modules import FullLinear, LoraLinear, QuantisedLinear
from sw.train.precision import METHODS

from .small_task import timeless


class Attention(nn.Module):
    """Projections named as those of `diffusers`."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = nn.Linear(6, 8), nn.Linear(5, 8), nn.Linear(5, 8)


class Block(nn.Module):
    """A block with cross-attention and one more layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attn2, self.last = Attention(), nn.Linear(8, 6, bias=False)

    def forward(self, x, text):
        attention = self.attn2
        weights = (attention.to_q(x) @ attention.to_k(text).mT).softmax(-1)
        return self.last(weights @ attention.to_v(text))


def block() -> Block:
    torch.manual_seed(0)
    return Block()


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X, TEXT, TARGET = drawn(2, 3, 6, seed=1), drawn(2, 4, 5, seed=2), drawn(2, 3, 6, seed=3)


def test_keys_and_values_by_default():
    model = block()
    adapted = adapt(model)
    assert list(adapted.trained) == ["attn2.to_k", "attn2.to_v"] and not adapted.frozen
    assert all(type(layer) is LoraLinear for layer in adapted.trained.values())
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        "attn2.to_k.lora_A", "attn2.to_k.lora_B", "attn2.to_v.lora_A", "attn2.to_v.lora_B",
    ]  # fmt: skip
    assert [p.shape for p in adapted.parameters()] == [(4, 5), (8, 4)] * 2


def test_other_layers_are_quantised_where_asked():
    model = block()
    adapted = adapt(model, frozen="*")
    assert list(adapted.frozen) == ["attn2.to_q", "last"]
    assert type(model.last) is QuantisedLinear and model.last.context is adapted.context
    plain = block()
    assert not adapt(plain, method="fp32", frozen="*").frozen and type(plain.last) is nn.Linear


def test_lora_starts_as_the_model_was():
    model, plain = block(), block()
    adapt(model, method="fp32")
    torch.testing.assert_close(model(X, TEXT), plain(X, TEXT))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns(method):
    model = block()
    adapted = adapt(model, method=timeless(method), frozen="*")
    before = {name: value.clone() for name, value in adapted.named_parameters()}
    rest = {n: v.clone() for n, v in model.named_parameters() if not v.requires_grad}
    optimiser = torch.optim.Adam(adapted.parameters(), lr=3e-2)
    losses = []
    for _ in range(30):
        loss = (model(X, TEXT) - TARGET).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert all(not torch.equal(value, before[n]) for n, value in adapted.named_parameters())
    assert all(torch.equal(v, rest[n]) for n, v in model.named_parameters() if n in rest)


def test_full_training_takes_the_weight():
    model = block()
    adapted = adapt(model, "last", "fp32-full")
    assert type(model.last) is FullLinear
    assert [name for name, _ in adapted.named_parameters()] == ["last.weight"]


def test_the_quantised_weight_follows_the_weight():
    model = block()
    adapt(model, "last", "int8-full")
    first = model.last.quantised(8)
    assert model.last.quantised(8) is first
    with torch.no_grad():
        model.last.weight.mul_(2)
    assert model.last.quantised(8).scale.item() == 2 * first.scale.item()


def test_the_first_row_is_detached():
    model = block()
    adapt(model, detach_first=True)
    text = TEXT.clone().requires_grad_()
    keys = model.attn2.to_k(text)
    keys.square().sum().backward()
    assert not text.grad[:, 0].any() and text.grad[:, 1:].all()
    assert model.attn2.to_k.lora_B.grad.any()
    with pytest.raises(ValueError, match="^attn2.to_k: rows to detach need x of 3 axes, not of 2$"):
        model.attn2.to_k(text[0])


def test_state_comes_back():
    adapted = adapt(block(), method="int8-stochastic", seed=1)
    adapted.context.step = 7
    other = adapt(block(), method="int8-stochastic", seed=2)
    assert not torch.equal(other.parameters()[0], adapted.parameters()[0])
    other.load_state_dict(adapted.state_dict())
    assert all(map(torch.equal, other.parameters(), adapted.parameters()))
    assert (other.context.step, other.context.seed) == (7, 1)


@pytest.mark.parametrize(
    "options,message",
    [
        ({"rank": 3}, r"^the state: attn2.to_k.lora_A is 4x5, but 3x5 here$"),
        (
            {"match": "last"},
            r"^the state lacks last.lora_(A|B): it is of another model, or of another",
        ),
        ({"match": "*to_k"}, r"^the state holds attn2.to_v.lora_(A|B), which the model has not$"),
    ],
)
def test_state_of_another_model_is_refused(options, message):
    state = adapt(block()).state_dict()
    with pytest.raises(ValueError, match=message):
        adapt(block(), **options).load_state_dict(state)


@pytest.mark.parametrize(
    "options,message",
    [
        ({"match": "*.to_x"}, r"^no linear layer matches \*.to_x; the model has attn2.to_q, attn2"),
        (
            {"match": ("*to_k", "*to_x")},
            r"^no linear layer matches \*to_x; the model has attn2.to_q",
        ),
        ({"match": ()}, "^match is empty: at least one pattern is needed$"),
        ({"match": (3,)}, "^patterns are strings, not int$"),
        ({"frozen": "*nope"}, r"^frozen: no linear layer matches \*nope; the model has"),
        (
            {"frozen": ("last", "*.x")},
            r"^frozen: no linear layer matches \*.x; the",
        ),
        (
            {"attention": "*none"},
            r"^attention: no module matches \*none; the ",
        ),
        ({"attention": "*none", "method": "fp32"}, r"^attention: no module matches \*none; the "),
        ({"method": "int3"}, r"^method must be one of fp32\|int8\|.*, not 'int3'$"),
        ({"rank": 0}, "^rank must be a whole number of at least 1, not 0$"),
        ({"rank": 2.5}, "^rank must be a whole number of at least 1, not 2.5$"),
        ({"alpha": 0}, "^alpha must be a finite number above 0, not 0$"),
        ({"alpha": float("inf")}, "^alpha must be a finite number above 0, not inf$"),
        ({"alpha": float("nan")}, "^alpha must be a finite number above 0, not nan$"),
        ({"alpha": "much"}, "^alpha must be a finite number above 0, not 'much'$"),
    ],
)
def test_bad_arguments_leave_the_model_alone(options, message):
    model = block()
    with pytest.raises(ValueError, match=message):
        adapt(model, **options)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(isinstance(module, QuantisedLinear) for module in model.modules())


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_models_of_half_precision(method, kind):
    """What is quantised, and what trains, is as exact as before."""
    model = block().to(kind)
    adapted = adapt(model, method=timeless(method), frozen="*")
    if adapted.context is not None:
        adapted.context.monitor.listening = True
    y = model(X.to(kind), TEXT.to(kind))
    assert y.dtype == kind
    y.float().square().mean().backward()
    assert all(each.grad is not None and bool(each.grad.isfinite().all())
               for each in adapted.parameters())  # fmt: skip
    if adapted.context is not None:
        snr = [each.value for each in adapted.context.monitor.take() if each.kind == "snr_db"]
        assert snr and min(snr) > 0


def test_a_model_is_adapted_once():
    model = block()
    adapted = adapt(model)
    with pytest.raises(ValueError, match="^the model is adapted already: "):
        adapt(model, "*to_q")
    assert all(parameter.requires_grad for parameter in adapted.parameters())


def test_a_model_without_linear_layers():
    with pytest.raises(NoLayers, match="the model has none$"):
        adapt(nn.Sequential(nn.Conv2d(3, 3, 1)), "*")


def test_a_weight_of_zeros():
    model = nn.Sequential(nn.Linear(3, 2))
    nn.init.zeros_(model[0].weight)
    with pytest.raises(ValueError, match="^0: the weight is all zero"):
        adapt(model, "0")


class Tied(nn.Module):
    """Layers that are one, that share a weight, and a block that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(5, 5), nn.Linear(5, 5)
        self.b, self.d = self.a, nn.Linear(5, 5)
        self.d.weight = self.c.weight
        self.first = self.second = nn.Sequential(nn.Linear(5, 5))


@pytest.mark.parametrize(
    "options,message",
    [
        ({"match": "a"}, "^a and b are one layer: give each a layer of its own, or match neither$"),
        ({"match": "c", "frozen": "a"}, "^a and b are one layer"),
        (
            {"match": ("c", "d"), "method": "fp32-full"},
            "^c and d share one weight: give each a weight of its own, or ",
        ),
        ({"match": "c", "frozen": "d", "method": "int8-full"}, "^c and d share one weight"),
    ],
)
def test_tied_layers_are_refused(options, message):
    model = Tied()
    with pytest.raises(ValueError, match=message):
        adapt(model, **options)
    assert type(model.a) is type(model.b) is nn.Linear
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_tied_layers_that_are_left_alone():
    model = Tied()
    adapted = adapt(model, ("c", "d", "first.*"), rank=2)
    assert list(adapted.trained) == ["c", "d", "first.0"]
    assert model.second[0] is adapted.trained["first.0"]
    assert type(model.a) is type(model.b) is nn.Linear
