"""Descriptions of Stable Diffusion U-Nets, in the terms of diffusers' UNet2DConditionModel."""

from __future__ import annotations

from dataclasses import dataclass

from .product import ModelError

__all__ = ["DESCRIPTIONS", "UNet"]

TIME_WIDENING = 4
"""Width of the time embedding, in channels of the first level."""


@dataclass(frozen=True)
class UNet:
    """A U-Net as its public configuration describes it. Levels go from the finest on.

    Members
    -------
    name : str
    sample_size : int
        Side of the latent, in places.
    block_out_channels : tuple of int
        Of each level.
    transformer_layers : tuple of int
        Blocks of each transformer of a level; 0 where a level has no attention.
    mid_transformer_layers : int
        The same of the middle block.
    heads : tuple of int
        Attention heads of each level; the middle block has as many as the last. (What diffusers
        calls ``attention_head_dim`` in these models is the number of heads.)
    cross_attention_dim : int
        Width of the text.
    text_tokens : int
    layers_per_block : int
        ResNet blocks on the way down; there is one more on the way up.
    linear_projection : bool
        Whether transformers begin and end with linear layers or with 1x1 convolutions.
    added_width : int
        Of what SDXL embeds beside the time step (pooled text and sizes); 0 if there is none.
    in_channels, out_channels : int

    Raises
    ------
    ModelError
        Two members disagree, or one is too small.
    """

    name: str
    sample_size: int
    block_out_channels: tuple[int, ...]
    transformer_layers: tuple[int, ...]
    mid_transformer_layers: int
    heads: tuple[int, ...]
    cross_attention_dim: int
    text_tokens: int = 77
    layers_per_block: int = 2
    linear_projection: bool = False
    added_width: int = 0
    in_channels: int = 4
    out_channels: int = 4

    def __post_init__(self) -> None:
        for name in ("sample_size", "cross_attention_dim", "text_tokens", "layers_per_block",
                     "in_channels", "out_channels"):  # fmt: skip
            if getattr(self, name) < 1:
                raise ModelError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("transformer_layers", "heads"):
            values = getattr(self, name)
            if len(values) != len(self.block_out_channels):
                raise ModelError(
                    f"{name} {values} must have one value for each of "
                    f"block_out_channels {self.block_out_channels}"
                )
        for channels, heads in zip(self.block_out_channels, self.heads, strict=True):
            if channels < 1 or heads < 1 or channels % heads:
                raise ModelError(f"{channels} channels cannot be split among {heads} heads")
        halvings = 2 ** (len(self.block_out_channels) - 1)
        if self.sample_size % halvings:
            raise ModelError(
                f"sample_size must be a multiple of {halvings}, not {self.sample_size}"
            )

    @property
    def time_width(self) -> int:
        """Width of the time embedding."""
        return TIME_WIDENING * self.block_out_channels[0]


DESCRIPTIONS = {
    description.name: description
    for description in (
        UNet(  # runwayml/stable-diffusion-v1-5, unet/config.json
            name="sd15",
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            transformer_layers=(1, 1, 1, 0),
            mid_transformer_layers=1,
            heads=(8, 8, 8, 8),
            cross_attention_dim=768,
        ),
        UNet(  # stabilityai/stable-diffusion-2-1, unet/config.json
            name="sd21",
            sample_size=96,
            block_out_channels=(320, 640, 1280, 1280),
            transformer_layers=(1, 1, 1, 0),
            mid_transformer_layers=1,
            heads=(5, 10, 20, 20),
            cross_attention_dim=1024,
            linear_projection=True,
        ),
        UNet(  # stabilityai/stable-diffusion-xl-base-1.0, unet/config.json
            name="sdxl",
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            transformer_layers=(0, 2, 10),
            mid_transformer_layers=10,
            heads=(5, 10, 20),
            cross_attention_dim=2048,
            linear_projection=True,
            added_width=2816,
        ),
    )
}
"""Descriptions by name."""
