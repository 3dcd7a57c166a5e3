"""A U-Net of diffusers, small and random: adapted in one call, trained, and saved for peft."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from sw.train.adapt import adapt
from sw.train.adapter_file import AdapterError, load_adapter, save_adapter
from sw.train.task import Task
from sw.train.trainer import Settings, Trainer

diffusers = pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")


def unet():
    """Return a U-Net of two levels, with cross-attention in one, always the same."""
    torch.manual_seed(0)
    return diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=12,
        attention_head_dim=4, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()  # fmt: skip


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


INPUTS = drawn(2, 4, 8, 8), torch.tensor([3, 700]), drawn(2, 7, 12, seed=1)


def custom_diffusion(model) -> tuple[Task, torch.nn.Parameter]:
    """Return the recipe: concept and prior in a batch, a modifier token, its row of text."""
    token = torch.nn.Parameter(drawn(12, seed=2))
    images, text = drawn(2, 4, 8, 8, seed=3), drawn(2, 7, 12, seed=4)
    scheduler = diffusers.DDPMScheduler()

    def losses(draw: torch.Generator) -> dict[str, torch.Tensor]:
        rows = text.clone()
        rows[0, 3] = token  # the caption of the concept holds the token, that of the prior does not
        noise = torch.randn(images.shape, generator=draw)
        times = torch.randint(0, 1000, (2,), generator=draw)
        noisy = scheduler.add_noise(images, noise, times)
        found = model(noisy, times, rows).sample
        concept, prior = functional.mse_loss(found, noise, reduction="none").mean((1, 2, 3))
        return {"loss": concept + prior, "concept": concept.detach(), "prior": prior.detach()}

    return Task("custom", model, losses, also={"<new1>": token}, detach_first=True), token


@pytest.mark.parametrize("method", ["fp32", "int8"])
def test_one_call_wraps_trains_and_peft_loads_what_is_saved(tmp_path, method):
    model = unet()
    task, token = custom_diffusion(model)
    adapted = adapt(model, method=method, rank=3, alpha=6, detach_first=True)
    assert len(adapted.trained) == 2 * 4  # K and V of one block down, one in the middle, two up
    trainer = Trainer(task, adapted, Settings(learning_rate=1e-2, measure_every=0))
    before = token.detach().clone()
    trainer.run(4)
    assert not torch.equal(token, before)
    assert all(layer.lora_B.any() for layer in adapted.trained.values())
    save_adapter(adapted, tmp_path, also=task.also, base="random")

    # What peft computes is the same update on a weight in floating point, whatever it trained on.
    in_float = unet()
    its = adapt(in_float, method="fp32", rank=3, alpha=6)
    its.load_state_dict(adapted.state_dict() | {"context": None})
    loaded = peft.PeftModel.from_pretrained(unet(), tmp_path)
    with torch.no_grad():
        found, expected = loaded(*INPUTS).sample, in_float(*INPUTS).sample
        trained, untrained = model(*INPUTS).sample, unet()(*INPUTS).sample
    change = (expected - untrained).norm()
    assert change > 0 and (found - expected).norm() < 1e-4 * change
    assert (trained - expected).norm() < (1e-4 if method == "fp32" else 0.1) * change
    peers = {name: value for name, value in loaded.named_parameters() if "lora_" in name}
    assert len(peers) == 16
    for name, value in adapted.named_parameters():
        layer, _, short = name.rpartition(".")
        assert torch.equal(peers[f"base_model.model.{layer}.{short}.default.weight"], value), name

    other, its_token = custom_diffusion(again := unet())
    fresh = adapt(again, method=method, rank=3, alpha=6, seed=1, detach_first=True)
    load_adapter(fresh, tmp_path, also=other.also)
    assert torch.equal(its_token, token)
    with torch.no_grad():
        assert torch.equal(again(*INPUTS).sample, trained)


def test_experts_of_a_denoiser():
    model = unet()
    adapted = adapt(model, method="int8-tuneqdm")
    model(*INPUTS).sample.square().mean().backward()
    gains = [layer.gain_out.grad for layer in adapted.trained.values()]
    # Times 3 and 700 of 1000 are those of the first and the third of four.
    assert all(gain.any(1).tolist() == [True, False, True, False] for gain in gains)


def test_attention_in_integers():
    exact = unet()(*INPUTS).sample
    model = unet()
    adapted = adapt(model, attention=("*attn1", "*attn2"), frozen="*")
    assert len(adapted.frozen) > 40
    adapted.context.monitor.listening = True
    found = model(*INPUTS).sample
    found.square().mean().backward()
    seen = {
        m.layer.rpartition(".")[2] for m in adapted.context.monitor.take() if m.kind == "snr_db"
    }
    assert {"QK", "PV", "to_k", "to_q", "0"} <= seen
    assert (found - exact).norm() < 0.05 * exact.norm()


def test_a_mask_is_kept():
    mask = torch.ones(2, 7)
    mask[:, 4:] = 0
    exact = unet()(*INPUTS, encoder_attention_mask=mask).sample
    model = unet()
    adapt(model, attention="*attn2")
    found = model(*INPUTS, encoder_attention_mask=mask).sample
    changed = INPUTS[2].clone()
    changed[:, 4:] = 9
    again = model(*INPUTS[:2], changed, encoder_attention_mask=mask).sample
    assert (found - exact).norm() < 0.05 * exact.norm()
    # Rows that are masked reach the result through the scale that they share with others only.
    assert (again - found).norm() < 0.05 * found.norm()


@pytest.fixture
def saved(tmp_path):
    save_adapter(adapt(unet(), rank=2), tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "options,message",
    [
        ({"rank": 4}, "is an adapter of rank 2, not 4$"),
        ({"rank": 2, "alpha": 1}, "is an adapter of alpha 2, not 1$"),
        ({"rank": 2, "match": "*attn2.to_k"}, "holds base_model.*to_v.*, which the model has not$"),
    ],
)
def test_adapters_of_other_models_are_refused(saved, options, message):
    adapted = adapt(unet(), **options)
    before = [value.clone() for value in adapted.parameters()]
    with pytest.raises(AdapterError, match=message):
        load_adapter(adapted, saved)
    assert all(map(torch.equal, adapted.parameters(), before))


@pytest.mark.parametrize("how", ["bits", "weight"])
def test_adapters_of_another_base_are_refused(saved, how):
    model = unet()
    layer = model.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k
    if how == "weight":
        with torch.no_grad():
            layer.weight[0, 0] += 1e-3
    adapted = adapt(model, method="int8" if how == "weight" else "int8-4bit", rank=2, seed=1)
    before = [value.clone() for value in adapted.parameters()]
    there = "as they were and as they were" if how == "weight" else "as they were and of 4 bits"
    name = r"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    with pytest.raises(
        AdapterError, match=rf"is an adapter of another base: its weight of {name} .*: {there}\);"
    ):
        load_adapter(adapted, saved)
    assert all(map(torch.equal, adapted.parameters(), before))
    load_adapter(adapted, saved, any_base=True)
    assert not any(map(torch.equal, adapted.parameters()[::2], before[::2]))


@pytest.mark.parametrize("method", ["fp32", "int6"])
def test_an_adapter_is_of_its_base_and_not_of_the_arithmetic(saved, method):
    adapted = adapt(unet(), method=method, rank=2, seed=1)
    load_adapter(adapted, saved)
    assert all(map(torch.equal, adapted.parameters(), adapt(unet(), rank=2).parameters()))


@pytest.mark.parametrize("change", [{"cdmqta.base": "?"}, {"cdmqta.base": "3"}], ids=str)
def test_metadata_that_are_damaged(saved, change):
    path = saved / "adapter_model.safetensors"
    save_file(load_file(path), path, {"format": "pt", "cdmqta.weight_bits": "none"} | change)
    with pytest.raises(AdapterError, match="is damaged: its metadata tell no base$"):
        load_adapter(adapt(unet(), rank=2), saved)


def test_adapters_of_peft_do_not_tell_their_base(saved, tmp_path):
    peft.PeftModel.from_pretrained(unet(), saved).save_pretrained(tmp_path / "peft")
    load_adapter(adapt(unet(), method="int8-4bit", rank=2), tmp_path / "peft")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_damaged_and_missing_files(saved, name):
    path = saved / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(AdapterError, match=f"{name} is (damaged|no JSON)"):
        load_adapter(adapt(unet(), rank=2), saved)
    path.unlink()
    with pytest.raises(AdapterError, match=f"{name} cannot be read: No such file"):
        load_adapter(adapt(unet(), rank=2), saved)


def test_the_configuration_is_that_of_lora(saved):
    path = saved / "adapter_config.json"
    path.write_text(json.dumps({"peft_type": "IA3"}))
    with pytest.raises(AdapterError, match="is not of a LoRA adapter$"):
        load_adapter(adapt(unet(), rank=2), saved)


@pytest.mark.parametrize("key,value", [("use_rslora", True), ("rank_pattern", {"to_k": 8})])
def test_adapters_that_mean_something_else(saved, key, value):
    path = saved / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(AdapterError, match=f"{path} has {key} .*, which is not supported$"):
        load_adapter(adapt(unet(), rank=2), saved)


def test_models_without_lora(saved):
    with pytest.raises(AdapterError, match="^the model has no LoRA that .* could be put into$"):
        load_adapter(adapt(unet(), method="int8-full"), saved)


def test_trained_weights_are_no_adapter(tmp_path):
    with pytest.raises(AdapterError, match="the weights themselves were trained"):
        save_adapter(adapt(unet(), method="int8-full"), tmp_path)


def test_modules_whose_attention_cannot_be_replaced():
    model, before = unet(), [type(module) for module in unet().modules()]
    with pytest.raises(
        ValueError, match="^conv_in is a Conv2d, whose attention cannot be replaced"
    ):
        adapt(model, attention=("*attn2", "conv_in"))
    assert [type(module) for module in model.modules()] == before
    assert all(parameter.requires_grad for parameter in model.parameters())
