"""The rules by which layers give products, and what is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from sw.models import DESCRIPTIONS, ModelError, Reading, Role, UNet, load_step, training_step, walk
from sw.models.layers import Dense, Model, Other, Pair

K_SITE = Dense("a.k", 7, 12, 10, Reading.KV, bias=False)
QUERIES = Dense("a.q", 64, 10, 10, Reading.XATTN, bias=False)
SCORES = Pair("a", True, 64, 5, 7, 2, Reading.XATTN)
VALUES = Pair("a", False, 64, 7, 5, 2, Reading.XATTN)
TIME = Dense("time", 1, 16, 10, Reading.UNET, conditioning=True)
CONV = Dense("down", 64, 6, 10, Reading.UNET, (3, 3), (2, 2))
MODEL = Model("made", (TIME, CONV, Other("norm", 20), QUERIES, K_SITE, SCORES, VALUES))


def shapes(step, site: str) -> dict[Role, tuple[int, int, int, int]]:
    return {p.role: (p.m, p.k, p.n, p.count) for p in step.products if p.site == site}


def test_lora_products_of_a_site():
    assert shapes(training_step(MODEL, "kv", 3, 2), "a.k") == {
        Role.FORWARD: (21, 12, 10, 1),
        Role.LORA_H: (21, 12, 2, 1),
        Role.LORA_UP: (21, 2, 10, 1),
        Role.DX: (21, 10, 12, 1),
        Role.DH: (21, 10, 2, 1),
        Role.DB: (10, 21, 2, 1),
        Role.DA: (12, 21, 2, 1),
        Role.LORA_DX: (21, 2, 12, 1),
    }


def test_full_products_of_a_layer():
    step = training_step(MODEL, "xattn", 3, full=True)
    assert step.rank is None and step.trained == 120 + 100 and step.sites == 2
    assert shapes(step, "a.k") == {
        Role.FORWARD: (21, 12, 10, 1),
        Role.DX: (21, 10, 12, 1),
        Role.DW: (12, 21, 10, 1),
    }


def test_products_of_attention():
    """Every gradient has the shape of what it is the gradient of; that of K^T stays turned."""
    assert shapes(training_step(MODEL, "xattn", 3, 2), "a") == {
        Role.QK: (64, 5, 7, 6),
        Role.PV: (64, 7, 5, 6),
        Role.DP: (64, 5, 7, 6),
        Role.DV: (7, 64, 5, 6),
        Role.DQ: (64, 7, 5, 6),
        Role.DK: (5, 64, 7, 6),
    }


def test_order_is_one_in_which_products_can_run():
    roles = [(p.site, p.role) for p in training_step(MODEL, "xattn", 1, 2).products]
    forward = [("a.q", Role.FORWARD), ("a.k", Role.FORWARD), ("a.k", Role.LORA_H),
               ("a.k", Role.LORA_UP), ("a", Role.QK), ("a", Role.PV)]  # fmt: skip
    backward = [("a", Role.DP), ("a", Role.DV), ("a", Role.DQ), ("a", Role.DK), ("a.k", Role.DX),
                ("a.k", Role.DH), ("a.k", Role.DB), ("a.k", Role.DA), ("a.k", Role.LORA_DX),
                ("a.q", Role.DX)]  # fmt: skip
    assert roles == forward + backward


def test_results_that_stay_sums():
    step = training_step(MODEL, "unet", 1, 2)
    assert {p.role for p in step.products if p.gradient} == {Role.DA, Role.DB}
    step = training_step(MODEL, "unet", full=True)
    assert {p.role for p in step.products if p.gradient} == {Role.DW}


def test_gradients_towards_the_time_step():
    """They run where something on that way is trained."""
    steered = replace(MODEL, layers=(replace(TIME, rank=3), *MODEL.layers[1:]))
    assert Role.DX not in shapes(training_step(MODEL, "unet"), "time")
    assert Role.DX in shapes(training_step(MODEL, "unet", full=True), "time")
    assert Role.DX in shapes(training_step(steered, "unet"), "time")


@pytest.mark.parametrize(
    "size,stride", [(3, 1), (3, 2), (3, 3), (1, 1), (1, 2), (2, 2), (4, 2), (5, 3), (7, 4)]
)
def test_taps_that_reach_an_input(size, stride):
    """Counted position by position, where the grid has no border."""
    reached = Counter(out * stride + tap for out in range(50) for tap in range(size))
    positions = range(size, size + stride)
    along = [reached[position] for position in positions]
    counts = [a * b for a in along for b in along if a * b]
    layer = replace(CONV, kernel=(size, size), stride=(stride, stride))
    assert sorted(layer.taps()) == sorted(counts)
    assert sum(layer.taps()) == size**2


def test_a_convolution_and_its_gradients():
    step = training_step(MODEL, "unet", 2, full=True)
    assert shapes(step, "down")[Role.FORWARD] == (128, 54, 10, 1)
    assert shapes(step, "down")[Role.DW] == (54, 128, 10, 1)
    dx = [(p.m, p.k, p.n) for p in step.products if (p.site, p.role) == ("down", Role.DX)]
    assert sorted(dx) == [(128, 10, 6), (128, 20, 6), (128, 20, 6), (128, 40, 6)]
    assert step.macs == 3 * step.forward_macs


def test_groups_are_products_of_their_own():
    layer = replace(CONV, inputs=8, outputs=12, groups=4, stride=(1, 1))
    step = training_step(Model("made", (layer,)), "unet", full=True)
    assert shapes(step, "down") == {
        Role.FORWARD: (64, 18, 3, 4),
        Role.DX: (64, 27, 2, 4),
        Role.DW: (18, 64, 3, 4),
    }
    assert step.trained == step.weights == 8 * 12 * 9 // 4


@pytest.mark.parametrize("reading", Reading)
def test_work_is_in_proportion_to_the_batch(reading):
    one, three = (load_step("sd15", reading, batch, 8) for batch in (1, 3))
    assert three.macs == 3 * one.macs
    assert (three.trained, three.parameters) == (one.trained, one.parameters)


def test_a_layer_that_runs_twice_counts_once():
    model = Model("made", (QUERIES, QUERIES))
    assert model.parameters == 100
    step = training_step(model, "xattn", full=True)
    assert len(step.products) == 6 and (step.weights, step.trained) == (100, 100)


def test_ranks_of_the_model_itself():
    own = Model("made", (replace(QUERIES, rank=3), replace(K_SITE, rank=2), SCORES, VALUES))
    step = training_step(own, "xattn")
    assert (step.rank, step.sites, step.trained) == (3, 2, 3 * 20 + 2 * 22)
    assert training_step(own, "kv").trained == 2 * 22
    assert training_step(own, "xattn", full=True).trained == 100 + 120


TINY = dict(name="tiny", sample_size=4, block_out_channels=(4, 8), transformer_layers=(1, 0),
            mid_transformer_layers=0, heads=(2, 2), cross_attention_dim=6)  # fmt: skip
PLAIN = walk(UNet(**TINY | {"transformer_layers": (0, 0)}))
OWN = Model("own", (replace(QUERIES, rank=3), K_SITE, SCORES, VALUES))


@pytest.mark.parametrize(
    "model,options,message",
    [
        (MODEL, {"reading": "all"},
         "reading must be one of kv, xattn, transformer, unet, not 'all'"),
        (MODEL, {"batch": 0}, "batch must be at least 1, not 0"),
        (MODEL, {"rank": 0}, "rank must be 1 to 10, the smaller side of a.k (12 x 10), not 0"),
        (MODEL, {"rank": 11}, "rank must be 1 to 10, the smaller side of a.k (12 x 10), not 11"),
        (PLAIN, {"reading": "kv"}, "model tiny has no cross-attention for reading kv"),
        (PLAIN, {"reading": "xattn"}, "model tiny has no cross-attention for reading xattn"),
        (PLAIN, {"reading": "transformer"}, "model tiny has no attention for reading transformer"),
        (PLAIN, {"reading": "unet"}, "model tiny has no cross-attention to put LoRA on"),
        (Model("none", ()), {"reading": "unet"},
         "model none has no linear layers or convolutions for reading unet"),
        (OWN, {"reading": "kv"}, "reading kv holds none of the model's 1 LoRA layers"),
        (OWN, {"rank": 4}, "rank 4 is not that of the model's own LoRA layers, 3"),
    ],
)  # fmt: skip
def test_what_gives_no_step(model, options, message):
    with pytest.raises(ModelError) as error:
        training_step(model, **options)
    assert str(error.value) == message


@pytest.mark.parametrize("rank", [1, 10])
def test_ranks_at_the_limits(rank):
    assert training_step(MODEL, "kv", rank=rank).trained == rank * 22


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"sample_size": 0}, "sample_size must be at least 1, not 0"),
        ({"sample_size": 5}, "sample_size must be a multiple of 2, not 5"),
        ({"text_tokens": 0}, "text_tokens must be at least 1, not 0"),
        ({"heads": (2,)},
         "heads (2,) must have one value for each of block_out_channels (4, 8)"),
        ({"transformer_layers": (1, 0, 0)},
         "transformer_layers (1, 0, 0) must have one value for each of "
         "block_out_channels (4, 8)"),
        ({"heads": (3, 2)}, "4 channels cannot be split among 3 heads"),
        ({"heads": (2, 0)}, "8 channels cannot be split among 0 heads"),
    ],
)  # fmt: skip
def test_descriptions_that_make_no_sense(changes, message):
    with pytest.raises(ModelError) as error:
        UNet(**TINY | changes)
    assert str(error.value) == message


def test_a_walk_of_a_tiny_description():
    """Every layer, written out by hand."""
    model = walk(UNet(**TINY | {"layers_per_block": 1}))
    sizes = {layer.path: (layer.rows, layer.reduction, layer.columns) for layer in model.dense}
    resnets = {
        "down_blocks.0.resnets.0": (16, 4, 4), "down_blocks.1.resnets.0": (4, 4, 8),
        "mid_block.resnets.0": (4, 8, 8), "mid_block.resnets.1": (4, 8, 8),
        "up_blocks.0.resnets.0": (4, 16, 8), "up_blocks.0.resnets.1": (4, 12, 8),
        "up_blocks.1.resnets.0": (16, 12, 4), "up_blocks.1.resnets.1": (16, 8, 4),
    }  # fmt: skip
    expected = {
        "time_embedding.linear_1": (1, 4, 16), "time_embedding.linear_2": (1, 16, 16),
        "conv_in": (16, 36, 4), "conv_out": (16, 36, 4),
        "down_blocks.0.downsamplers.0.conv": (4, 36, 4),
        "up_blocks.0.upsamplers.0.conv": (16, 72, 8),
    }  # fmt: skip
    for path, (places, inputs, outputs) in resnets.items():
        expected[f"{path}.conv1"] = places, 9 * inputs, outputs
        expected[f"{path}.conv2"] = places, 9 * outputs, outputs
        expected[f"{path}.time_emb_proj"] = 1, 16, outputs
        if inputs != outputs:
            expected[f"{path}.conv_shortcut"] = places, inputs, outputs
    for path in ("down_blocks.0", "up_blocks.1"):
        for index in range(1 + path.startswith("up")):
            inner = f"{path}.attentions.{index}"
            block = f"{inner}.transformer_blocks.0"
            expected |= {f"{inner}.proj_in": (16, 4, 4), f"{inner}.proj_out": (16, 4, 4)}
            expected |= {f"{block}.ff.net.0.proj": (16, 4, 32), f"{block}.ff.net.2": (16, 16, 4)}
            for name in ("to_q", "to_k", "to_v", "to_out.0"):
                text = name in ("to_k", "to_v")
                expected[f"{block}.attn1.{name}"] = 16, 4, 4
                expected[f"{block}.attn2.{name}"] = (77, 6, 4) if text else (16, 4, 4)
    assert sizes == expected
    pairs = [(each.m, each.k, each.n, each.count) for each in model.layers
             if isinstance(each, Pair)]  # fmt: skip
    block = [(16, 2, 16, 2), (16, 16, 2, 2), (16, 2, 77, 2), (16, 77, 2, 2)]
    assert pairs == 3 * block


def test_descriptions_say_their_names():
    assert {name: each.name for name, each in DESCRIPTIONS.items()} == {
        "sd15": "sd15", "sd21": "sd21", "sdxl": "sdxl"
    }  # fmt: skip
