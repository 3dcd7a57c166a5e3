"""First pass: from a U-Net's description to its layers, named as diffusers names them."""

from __future__ import annotations

from collections.abc import Iterator

from .layers import Dense, Layer, Model, Other, Pair, Reading
from .unet import UNet

__all__ = ["walk"]

WIDENING = 4
"""Inner width of a feed-forward layer, in widths of its input (GEGLU makes twice as many)."""


def walk(unet: UNet) -> Model:
    """Return the layers of a U-Net, in the order they run."""
    return Model(unet.name, tuple(_Walk(unet).layers()))


class _Walk:
    """Goes through the modules; keeps the side of the grid, the channels and the skips."""

    def __init__(self, unet: UNet) -> None:
        self._unet = unet
        self._side = unet.sample_size
        self._channels = unet.in_channels
        self._skips: list[int] = []

    def layers(self) -> Iterator[Layer]:
        unet = self._unet
        yield from self._embedding("time_embedding", unet.block_out_channels[0])
        if unet.added_width:
            yield from self._embedding("add_embedding", unet.added_width)
        yield self._convolution("conv_in", unet.block_out_channels[0])
        self._skips.append(self._channels)
        last = len(unet.block_out_channels) - 1
        for level in range(last + 1):
            yield from self._down(f"down_blocks.{level}", level, last)
        yield from self._middle(last)
        for block, level in enumerate(reversed(range(last + 1))):
            yield from self._up(f"up_blocks.{block}", level)
        yield _norm("conv_norm_out", self._channels)
        yield self._convolution("conv_out", unet.out_channels)

    def _down(self, path: str, level: int, last: int) -> Iterator[Layer]:
        channels = self._unet.block_out_channels[level]
        blocks = self._unet.transformer_layers[level]
        for index in range(self._unet.layers_per_block):
            yield from self._resnet(f"{path}.resnets.{index}", channels)
            yield from self._transformer(f"{path}.attentions.{index}", level, blocks)
            self._skips.append(self._channels)
        if level < last:
            self._side //= 2
            yield self._convolution(f"{path}.downsamplers.0.conv", channels, stride=2)
            self._skips.append(self._channels)

    def _middle(self, level: int) -> Iterator[Layer]:
        channels = self._unet.block_out_channels[level]
        yield from self._resnet("mid_block.resnets.0", channels)
        blocks = self._unet.mid_transformer_layers
        yield from self._transformer("mid_block.attentions.0", level, blocks)
        yield from self._resnet("mid_block.resnets.1", channels)

    def _up(self, path: str, level: int) -> Iterator[Layer]:
        channels = self._unet.block_out_channels[level]
        blocks = self._unet.transformer_layers[level]
        for index in range(self._unet.layers_per_block + 1):
            self._channels += self._skips.pop()
            yield from self._resnet(f"{path}.resnets.{index}", channels)
            yield from self._transformer(f"{path}.attentions.{index}", level, blocks)
        if level:
            self._side *= 2
            yield self._convolution(f"{path}.upsamplers.0.conv", channels)

    def _embedding(self, path: str, inputs: int) -> Iterator[Layer]:
        width = self._unet.time_width
        yield Dense(f"{path}.linear_1", 1, inputs, width, Reading.UNET, conditioning=True)
        yield Dense(f"{path}.linear_2", 1, width, width, Reading.UNET, conditioning=True)

    def _resnet(self, path: str, channels: int) -> Iterator[Layer]:
        inputs, width = self._channels, self._unet.time_width
        yield _norm(f"{path}.norm1", inputs)
        yield self._convolution(f"{path}.conv1", channels)
        yield Dense(f"{path}.time_emb_proj", 1, width, channels, Reading.UNET, conditioning=True)
        yield _norm(f"{path}.norm2", channels)
        yield self._convolution(f"{path}.conv2", channels)
        if inputs != channels:
            self._channels = inputs
            yield self._convolution(f"{path}.conv_shortcut", channels, kernel=1)

    def _convolution(
        self, path: str, outputs: int, *, kernel: int = 3, stride: int = 1,
        reading: Reading = Reading.UNET,
    ) -> Dense:  # fmt: skip
        """Return a convolution to the grid as it is now; later layers see its outputs."""
        inputs, self._channels = self._channels, outputs
        return Dense(
            path, self._side**2, inputs, outputs, reading, (kernel, kernel), (stride, stride)
        )

    def _transformer(self, path: str, level: int, blocks: int) -> Iterator[Layer]:
        if not blocks:
            return
        channels = self._channels
        yield _norm(f"{path}.norm", channels)
        yield self._projection(f"{path}.proj_in")
        for index in range(blocks):
            block = f"{path}.transformer_blocks.{index}"
            yield _norm(f"{block}.norm1", channels)
            yield from self._attention(f"{block}.attn1", level, cross=False)
            yield _norm(f"{block}.norm2", channels)
            yield from self._attention(f"{block}.attn2", level, cross=True)
            yield _norm(f"{block}.norm3", channels)
            wide = WIDENING * channels
            yield self._linear(f"{block}.ff.net.0.proj", channels, 2 * wide)
            yield self._linear(f"{block}.ff.net.2", wide, channels)
        yield self._projection(f"{path}.proj_out")

    def _projection(self, path: str) -> Dense:
        if self._unet.linear_projection:
            return self._linear(path, self._channels, self._channels)
        return self._convolution(path, self._channels, kernel=1, reading=Reading.TRANSFORMER)

    def _attention(self, path: str, level: int, *, cross: bool) -> Iterator[Layer]:
        channels, heads = self._channels, self._unet.heads[level]
        tokens, head, around, inside = self._side**2, channels // heads, Reading.TRANSFORMER, {}
        keys, source = tokens, channels
        if cross:
            keys, source = self._unet.text_tokens, self._unet.cross_attention_dim
            around, inside = Reading.XATTN, {"rows": keys, "reading": Reading.KV}
        yield self._linear(f"{path}.to_q", channels, channels, reading=around, bias=False)
        for name in ("to_k", "to_v"):
            yield self._linear(
                f"{path}.{name}", source, channels, **{"reading": around, "bias": False} | inside
            )
        yield Pair(path, True, tokens, head, keys, heads, around, f"{path}.to_k")
        yield Pair(path, False, tokens, keys, head, heads, around, f"{path}.to_v")
        yield self._linear(f"{path}.to_out.0", channels, channels, reading=around)

    def _linear(
        self, path: str, inputs: int, outputs: int, *, rows: int | None = None,
        reading: Reading = Reading.TRANSFORMER, bias: bool = True,
    ) -> Dense:  # fmt: skip
        return Dense(path, rows or self._side**2, inputs, outputs, reading, bias=bias)


def _norm(path: str, channels: int) -> Other:
    return Other(path, 2 * channels)  # scale and shift
