"""The descriptions against diffusers' own U-Nets, layer by layer."""

from __future__ import annotations

import pytest

from sw.models import DESCRIPTIONS, walk
from sw.models.layers import Other
from sw.models.torch_model import trace

pytestmark = pytest.mark.nightly

SDXL = dict(
    block_out_channels=(320, 640, 1280),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    transformer_layers_per_block=(1, 2, 10),
    addition_embed_type="text_time",
    addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816,
)
CONFIGURATIONS = {
    "sd15": dict(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
    "sd21": dict(sample_size=96, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20),
                 use_linear_projection=True),
    "sdxl": dict(sample_size=128, cross_attention_dim=2048, attention_head_dim=(5, 10, 20),
                 use_linear_projection=True, **SDXL),
}  # fmt: skip
"""As published beside the weights; what is left out is diffusers' default."""


@pytest.mark.parametrize("sliced", [False, True], ids=["fused attention", "bmm"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_layers_are_those_of_diffusers(name, sliced):
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    with torch.device("meta"):
        module = diffusers.UNet2DConditionModel(**CONFIGURATIONS[name])
    if sliced:
        module.set_attn_processor(diffusers.models.attention_processor.AttnProcessor())
    traced, described = trace(name, module), walk(DESCRIPTIONS[name])
    assert traced.parameters == described.parameters == module.num_parameters()
    found, expected = ([layer for layer in model.layers if not isinstance(layer, Other)]
                       for model in (traced, described))  # fmt: skip
    assert found == expected
