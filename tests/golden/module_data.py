"""A cross-attention module with LoRA on K and V: data, and what float autograd makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .attention import Sizes
from .layout import TextSite

__all__ = ["ModuleData", "float_module", "module_data"]


@dataclass(frozen=True)
class ModuleData:
    """Inputs of a module, float32.

    Members
    -------
    sizes : Sizes
    text : (b t, D)
    latent, target : (C, b n)
        The module's input, and what its output shall be.
    k, v : TextSite
    wq, wo : (C, C)
        Outputs x inputs.
    """

    sizes: Sizes
    text: Tensor
    latent: Tensor
    target: Tensor
    k: TextSite
    v: TextSite
    wq: Tensor
    wo: Tensor

    @property
    def sites(self) -> list[TextSite]:
        """K and V, as the text group has them."""
        return [self.k, self.v]


def module_data(seed: int, sizes: Sizes, width: int, rank: int = 4) -> ModuleData:
    """Return a module like those of text-to-image models, by a seed.

    The text has outlier channels and a large first token in each sample, so attention leans on
    that; latent channels differ in size as norms leave them.
    """
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    def site() -> TextSite:
        return TextSite(
            normal(width, channels) / width**0.5, normal(width, rank) / rank,
            normal(rank, channels) * 0.02,
        )  # fmt: skip

    channels, rows = sizes.channels, sizes.batch * sizes.text
    text = normal(rows, width) * torch.exp(0.2 * normal(rows, 1))
    text[:, torch.randperm(width, generator=g)[: max(1, width // 128)]] *= 20
    text[:: sizes.text] *= 4
    latent = normal(channels, sizes.columns) * torch.exp(0.2 * normal(channels, 1))
    wq, wo = (normal(channels, channels) / channels**0.5 for _ in range(2))
    return ModuleData(
        sizes, text, latent, normal(channels, sizes.columns), site(), site(), wq, wo
    )  # fmt: skip


def float_module(data: ModuleData) -> dict[str, Tensor]:
    """Return every result in float64, by autograd of ``|Y - target|^2 / 2``.

    Keys and values of each sample's first token are detached. Names and shapes are those of the
    golden model: p, ds (b h t, n); o, out, dq, dx (C, b n); k, v, dk, dv (b t, C); dtext; da_k,
    db_k, da_v, db_v.
    """
    sizes = data.sizes
    b, t, n, h, d = sizes.batch, sizes.text, sizes.tokens, sizes.heads, sizes.width
    leaves = [
        each.double().requires_grad_()
        for each in (data.text, data.latent, data.k.a, data.k.b, data.v.a, data.v.b)
    ]
    text, latent, ka, kb, va, vb = leaves
    k = text @ data.k.w.double() + text @ ka @ kb
    v = text @ data.v.w.double() + text @ va @ vb
    q = data.wq.double() @ latent
    trained = torch.ones(b * t, 1, dtype=torch.bool)
    trained[::t] = False
    keys, values = (
        torch.where(trained, each, each.detach()).reshape(b, t, h, d).transpose(1, 2)
        for each in (k, v)
    )
    products = keys @ q.reshape(h, d, b, n).permute(2, 0, 1, 3)  # (b, h, t, n)
    p = torch.softmax(products / d**0.5, dim=2)
    o = (values.transpose(2, 3) @ p).permute(1, 2, 0, 3).reshape(h * d, b * n)
    out = data.wo.double() @ o
    loss = (out - data.target.double()).square().sum() / 2
    names = ["dtext", "dx", "da_k", "db_k", "da_v", "db_v", "dk", "dv", "dq", "ds"]
    found = dict(zip(names, torch.autograd.grad(loss, [*leaves, k, v, q, products]), strict=True))
    found["ds"] = found["ds"].reshape(sizes.stacked, n)
    found |= {"k": k, "v": v, "p": p.reshape(sizes.stacked, n), "o": o, "out": out}
    return {name: value.detach() for name, value in found.items()}
