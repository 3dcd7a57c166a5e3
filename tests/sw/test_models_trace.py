"""What is seen in torch modules: layers, attention, cross-attention, LoRA."""

from __future__ import annotations

import sys

import pytest

from sw.models import ModelError, Reading, load_model, load_step, training_step
from sw.models.layers import Dense, Other, Pair
from sw.models.torch_model import trace

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from .torch_models import CHANNELS, SIDE, TEXT, TIME, TOKENS, Attention, Net, example  # noqa: E402

PLACES = SIDE**2
C, T = CHANNELS, Reading.TRANSFORMER
EXPECTED = [
    Dense("conv_in", PLACES, 3, C, Reading.UNET, (3, 3), (1, 1)),
    Dense("time", 1, TIME, C, Reading.UNET, conditioning=True),
    Dense("block.proj_in", PLACES, C, C, T, (1, 1), (1, 1)),
    Dense("block.own.to_q", PLACES, C, C, T, bias=False),
    Dense("block.own.to_k", PLACES, C, C, T, bias=False),
    Dense("block.own.to_v", PLACES, C, C, T, bias=False),
    Pair("block.own", True, PLACES, C // 2, PLACES, 2, T),
    Pair("block.own", False, PLACES, PLACES, C // 2, 2, T),
    Dense("block.own.to_out", PLACES, C, C, T),
    Dense("block.cross.to_q", PLACES, C, C, Reading.XATTN, bias=False),
    Dense("block.cross.to_k", TOKENS, TEXT, C, Reading.KV, bias=False),
    Dense("block.cross.to_v", TOKENS, TEXT, C, Reading.KV, bias=False),
    Pair("block.cross", True, PLACES, C // 2, TOKENS, 2, Reading.XATTN),
    Pair("block.cross", False, PLACES, TOKENS, C // 2, 2, Reading.XATTN),
    Dense("block.cross.to_out", PLACES, C, C, Reading.XATTN),
    Dense("block.widen", PLACES, C, 16, T),
    Dense("block.narrow", PLACES, 16, C, T),
    Dense("down", PLACES // 4, C, 4, Reading.UNET, (3, 3), (2, 2), bias=False),
]


def seen(module: nn.Module, inputs: object) -> list[Dense | Pair]:
    model = trace("made", module, inputs)
    total = sum(each.numel() for each in module.parameters())
    assert model.parameters == total
    return [layer for layer in model.layers if not isinstance(layer, Other)]


@pytest.mark.parametrize("form", ["sdpa", "matmul", "bmm"])
def test_layers_of_a_net(form):
    assert seen(Net(form), example()) == EXPECTED


def test_arguments_by_name_and_a_module_on_shapes_alone():
    with torch.device("meta"):
        module = Net()
    assert seen(module, dict(zip(("sample", "step", "text"), example(), strict=True))) == EXPECTED


class Looking(Net):
    """Looks at a value, so that shapes alone do not do."""

    def forward(self, sample, step, text):
        if step.sum().item() > 0:
            raise ValueError("a step after the end")
        return super().forward(sample, step, text)


def test_a_module_that_looks_at_values_runs_on_them():
    assert seen(Looking(), example()) == EXPECTED


def test_nothing_is_left_on_the_module():
    module = Net()
    before = {path: each.clone() for path, each in module.state_dict().items()}
    trace("made", module, example())
    assert all(torch.equal(before[path], each) for path, each in module.state_dict().items())
    assert module(*example()).shape == (1, 4, SIDE // 2, SIDE // 2)


class Odd(nn.Module):
    """Ways to multiply that layers of torch do not cover."""

    def __init__(self, function) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(C, C))
        self.other = nn.Parameter(torch.ones(C, C))
        self.norm = nn.LayerNorm(C)
        self.inner = nn.Linear(C, 2 * C)
        self.conv = nn.Conv2d(C, 12, 3, groups=4)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def fused(module, x):
    k, v = module.inner(x).chunk(2, dim=-1)
    return F.scaled_dot_product_attention(x, k, v)


@pytest.mark.parametrize(
    "function,layers",
    [
        (lambda m, x: x @ m.other, [Dense("other", 7, C, C, Reading.UNET, bias=False)]),
        (lambda m, x: F.linear(x, m.weight), [Dense("weight", 7, C, C, Reading.UNET, bias=False)]),
        (lambda m, x: m.other @ x[0].T, [Dense("other", 7, C, C, Reading.UNET, bias=False)]),
        (lambda m, x: F.linear(x, m.other.T / 2),
         [Dense("other", 7, C, C, Reading.UNET, bias=False)]),
        (lambda m, x: m.inner(m.norm(m.inner(x)[..., :C])),
         2 * [Dense("inner", 7, C, 2 * C, Reading.UNET)]),
        (lambda m, x: m.conv(x.mT.reshape(1, C, 7, 1).expand(-1, -1, -1, 5)),
         [Dense("conv", 15, C, 12, Reading.UNET, (3, 3), (1, 1), groups=4)]),
        (fused, [Dense("inner", 7, C, 2 * C, Reading.TRANSFORMER),
                 Pair("attention.0", True, 7, C, 7, 1, Reading.TRANSFORMER),
                 Pair("attention.0", False, 7, 7, C, 1, Reading.TRANSFORMER)]),
    ],
    ids=["raw", "linear", "left", "computed", "twice", "groups", "fused"],
)  # fmt: skip
def test_other_ways_to_multiply(function, layers):
    assert seen(Odd(function), torch.zeros(1, 7, C)) == layers


@pytest.mark.parametrize(
    "function,message",
    [
        (lambda m, x: torch.einsum("btc,cd->btd", x, m.weight),
         "products of torch's einsum are not followed; accepted: linear, conv2d, matmul, mm, bmm, "
         "baddbmm, scaled_dot_product_attention"),
        (lambda m, x: x + (m.weight @ m.other)[:7],
         "a product of weights (8, 8) by weights (8, 8) is not followed"),
        (lambda m, x: F.conv2d(x[None], x[None]),
         "a convolution whose kernel is no parameter is not followed"),
        (lambda m, x: F.conv2d(x[None, 0, None], m.weight[None, None, :2, :2], stride=2,
                               dilation=2),
         "a convolution with stride (2, 2) and dilation (2, 2) is not followed"),
        (lambda m, x: x @ torch.ones(C, 3, device=x.device),
         "a product of (1, 7, 8) by constants (8, 3) is not followed"),
        (lambda m, x: x @ m.weight[0], "a product of (1, 7, 8) by weights (8,) is not followed"),
        (lambda m, x: m.norm(x), "runs no linear layer, convolution or product that can be seen"),
        (lambda m, x: x[:, :, 99] + m.nothing,
         "its forward fails on the example inputs: IndexError: index 99 is out of bounds for "
         "dimension 2 with size 8"),
    ],
    ids=["einsum", "weights", "kernel", "dilation", "constants", "vector", "nothing", "fails"],
)  # fmt: skip
def test_what_is_not_followed(function, message):
    with pytest.raises(ModelError) as error:
        trace("made", Odd(function), torch.zeros(1, 7, C))
    assert str(error.value) == f"made: {message}"


class Inside(nn.Module):
    """Holds a module that does what is not followed."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(C, C)
        self.parts = nn.ModuleList([Odd(lambda m, x: torch.einsum("btc,cd->btd", x, m.weight))])

    def forward(self, x):
        return self.parts[0](self.before(x))


def test_what_is_not_followed_is_named_with_its_module():
    module = Inside()
    with pytest.raises(ModelError) as error:
        trace("made", module, torch.zeros(1, 7, C))
    assert str(error.value).startswith("made: parts.0: products of torch's einsum are not followed")
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_constants_may_be_multiplied_in_any_way():
    """And outer products, of which rotary embeddings are made, multiply nothing that is summed."""

    def angles(module, x):
        steps = torch.arange(7.0, device=x.device)
        table = torch.einsum("i,j->ij", steps, torch.ones(C, device=x.device)) @ torch.eye(C)
        outer = x[:, :, :1] @ torch.ones(1, C)
        return module.inner(x + table + outer)

    assert [layer.path for layer in seen(Odd(angles), torch.zeros(1, 7, C))] == ["inner"]


class Resampler(nn.Module):
    """Attention of learned queries to the sample."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.zeros(1, 3, C))
        self.attention = Attention(C, C, "matmul")

    def forward(self, x):
        return self.attention(self.queries, x)


def test_learned_queries():
    """Their attention is none of sample to text."""
    sizes = [(layer.path, layer.reading) for layer in seen(Resampler(), torch.zeros(1, 7, C))]
    names = [f"attention.{name}" for name in ("to_q", "to_k", "to_v")]
    names += ["attention", "attention", "attention.to_out"]
    assert sizes == [(name, Reading.TRANSFORMER) for name in names]


class TextFirst(nn.Module):
    """Its text passes a layer before cross-attention, and a mask is written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(TEXT, TEXT)
        self.level = nn.Linear(1, C)
        self.attention = Attention(C, TEXT)

    def forward(self, x, text, level):
        text = F.silu(self.embed(text))
        kept = torch.zeros_like(text)
        kept[:, 1:] = text[:, 1:]
        return self.attention(x + self.level(level), kept)


def test_a_text_that_passes_layers_first():
    """They get gradients, for the text's sake; what is made of other inputs gets none."""
    inputs = torch.zeros(1, 7, C), torch.zeros(1, TOKENS, TEXT), torch.zeros(1, 1)
    model = trace("made", TextFirst(), inputs)
    found = {layer.path: layer for layer in model.dense}
    assert {path: layer.conditioning for path, layer in found.items()} == {
        "embed": False, "level": True, "attention.to_q": False, "attention.to_k": False,
        "attention.to_v": False, "attention.to_out": False,
    }  # fmt: skip
    kv = {path for path, layer in found.items() if layer.reading is Reading.KV}
    assert kv == {"attention.to_k", "attention.to_v"}
    assert found["embed"].reading is Reading.TRANSFORMER  # no convolution: all is one transformer


def test_steps_of_a_traced_model():
    model = trace("made", Net(), example())
    step = training_step(model, "kv", 2, 3)
    assert {product.site for product in step.products} == {"block.cross.to_k", "block.cross.to_v"}
    assert step.trained == 2 * 3 * (TEXT + C)
    full = training_step(model, "unet", 2, full=True)
    assert full.macs == 3 * full.forward_macs and full.trained == model.weights


@pytest.mark.parametrize(
    "inputs,message",
    [
        ((), "the example inputs must hold a tensor, and the first be the sample"),
        ((torch.zeros(2, 3, 6, 6),),
         "the first example input must be one sample, its first size 1, not of shape "
         "(2, 3, 6, 6)"),
        (torch.zeros(1), "the first example input must be one sample, its first size 1, not of "
         "shape (1,)"),
        (None, "has no configuration to make example inputs from: return (module, inputs)"),
    ],
)  # fmt: skip
def test_example_inputs_that_do_not_do(inputs, message):
    with pytest.raises(ModelError) as error:
        trace("made", Net(), inputs)
    assert str(error.value) == f"made: {message}"


@pytest.fixture(scope="module")
def peft():
    return pytest.importorskip("peft")


def test_lora_layers_of_peft(peft):
    config = peft.LoraConfig(r=3, target_modules=["cross.to_k", "cross.to_v", "conv_in", "widen"])
    module = peft.get_peft_model(Net(), config)
    model = trace("made", module, example())
    ranked = {"conv_in", "block.cross.to_k", "block.cross.to_v", "block.widen"}
    layers = [layer for layer in model.layers if not isinstance(layer, Other)]
    for layer, expected in zip(layers, EXPECTED, strict=True):
        if isinstance(layer, Dense):
            assert layer.rank == (3 if layer.path in ranked else None)
            layer = Dense(**{**vars(layer), "rank": None})
        assert layer == expected
    assert model.parameters == sum(each.numel() for each in Net().parameters())
    added = sum(each.numel() for path, each in module.named_parameters() if "lora_" in path)
    step = training_step(model, "unet")
    assert (step.trained, step.sites, step.rank) == (added, 4, 3)
    assert training_step(model, "kv", rank=3).sites == 2


def test_adapters_side_by_side(peft):
    module = peft.get_peft_model(Net(), peft.LoraConfig(r=3, target_modules=["cross.to_k"]))
    module.add_adapter("more", peft.LoraConfig(r=2, target_modules=["cross.to_k"]))
    module.base_model.set_adapter(["default", "more"])
    (ranked,) = [each for each in trace("made", module, example()).dense if each.rank]
    assert (ranked.path, ranked.rank) == ("block.cross.to_k", 5)


def test_other_kinds_of_adapters_are_refused(peft):
    config = peft.LoraConfig(r=3, target_modules=["cross.to_k"], use_dora=True)
    with pytest.raises(ModelError) as error:
        trace("made", peft.get_peft_model(Net(), config), example())
    message = str(error.value)
    assert message == "made: the LoRA layer block.cross.to_k does not compute X.W + (X.A).B^T"


MADE = """
from sw.models import UNet
from tests.sw.torch_models import Net, example

def net():
    return Net(), example()

def bare():
    return Net()

def words():
    return Net(), "words"

def number():
    return 3

def fails():
    raise RuntimeError("no\\nweights")

def leaves():
    raise SystemExit(0)

def description():
    return UNet(name="small", sample_size=4, block_out_channels=(4, 8), transformer_layers=(1, 0),
                mid_transformer_layers=0, heads=(2, 2), cross_attention_dim=6)

class Holder:
    net = staticmethod(net)

VALUE = 3
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A module of the present folder."""
    (tmp_path / "made_models.py").write_text(MADE)
    (tmp_path / "made_broken.py").write_text("1 +\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield "made_models"
    assert sys.path == before
    sys.modules.pop("made_models", None)


@pytest.mark.parametrize("function", ["net", "Holder.net"])
def test_a_function_of_the_present_folder(made, function):
    step = load_step(f"{made}:{function}", "kv", rank=2)
    assert step.name == f"{made}:{function}" and step.sites == 2


def test_a_function_that_returns_a_description(made):
    model = load_model(f"{made}:description")
    assert model.name == "small" and model.dense[2].path == "conv_in"


@pytest.mark.parametrize(
    "name,message",
    [
        ("sd16", "model must be one of sd15, sd21, sdxl, or module:function, not 'sd16'"),
        ("made_models:", "model must be one of sd15, sd21, sdxl, or module:function, "
                         "not 'made_models:'"),
        ("made_none:net", "made_none:net: cannot be imported: ModuleNotFoundError: No module named "
                          "'made_none'"),
        ("made_models:nets", "made_models:nets: cannot be imported: AttributeError: module "
                             "'made_models' has no attribute 'nets'"),
        ("made_broken:net", "made_broken:net: cannot be imported: SyntaxError: invalid syntax "
                            "(made_broken.py, line 1)"),
        ("made_models:VALUE", "made_models:VALUE: must be a function, not int"),
        ("made_models:fails", "made_models:fails: fails when called: RuntimeError: no weights"),
        ("made_models:leaves", "made_models:leaves: fails when called: SystemExit: 0"),
        ("made_models:number", "made_models:number: must return a torch.nn.Module, (module, "
                               "example inputs) or a UNet, not int"),
        ("made_models:bare", "made_models:bare: has no configuration to make example inputs from: "
                             "return (module, inputs)"),
        ("made_models:words", "made_models:words: the example inputs must hold a tensor, and the "
                              "first be the sample"),
    ],
)  # fmt: skip
def test_names_that_give_no_model(made, name, message):
    with pytest.raises(ModelError) as error:
        load_model(name)
    assert str(error.value) == message


def test_without_torch_a_function_is_refused_in_one_line(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.nn", None)
    with pytest.raises(ModelError) as error:
        load_model("made_models:number")
    assert str(error.value) == (
        "made_models:number: needs torch, which is not installed: pip install 'cdmqta[golden]'"
    )
