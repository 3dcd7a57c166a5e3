"""The two products of attention in integers, in modules that let their attention be replaced."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .context import Context
from .functions import integer_matmul
from .times import by_key

__all__ = ["AttentionSizes", "IntegerAttention", "attentions", "replacement"]


class AttentionSizes(NamedTuple):
    """What a call of attention multiplies.

    Members
    -------
    macs : int
        Of each of its products, and of each of their gradients.
    dq, dk, dv : bool
        Whether there is a gradient of each operand.
    """

    macs: int
    dq: bool
    dk: bool
    dv: bool


class IntegerAttention:
    """``softmax(Q.K^T / sqrt(width)).V``: products in integers, softmax in floating point.

    It takes the place of `torch.nn.functional.scaled_dot_product_attention`, or, by `Processor`,
    of a processor of attention of `diffusers`.

    Parameters
    ----------
    name : str
        Dotted name of the module.
    context : Context

    Members
    -------
    calls : list of AttentionSizes, or None
        A list, while someone counts, takes the sizes of each call.
    """

    def __init__(self, name: str, context: Context) -> None:
        self.name, self.context = name, context
        self.calls: list[AttentionSizes] | None = None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Return attention of q (..., n, width) to k and v (..., m, width).

        Parameters
        ----------
        attn_mask : Tensor, optional
            Added to the logits, or, of bools, False where there is no attention.
        """
        keys = self.context.keys(q, self.name)
        if self.calls is not None:
            wanted = (each.requires_grad for each in (q, k, v))
            self.calls.append(AttentionSizes(q.numel() * k.shape[-2], *wanted))

        def product(name: str, key: int, left: Tensor, right: Tensor) -> Tensor:
            context = self.context.ranges[key if keys is not None else -1]
            return integer_matmul(left, right, f"{self.name}.{name}", context)

        logits = by_key(keys, (q, k.mT), partial(product, "QK")) * q.shape[-1] ** -0.5
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            logits = logits.masked_fill(~attn_mask, float("-inf"))
        elif attn_mask is not None:
            logits = logits + attn_mask
        return by_key(keys, (logits.softmax(-1), v), partial(product, "PV"))


class Processor:
    """Attention of `diffusers`' transformer blocks with products in integers."""

    def __init__(self, attend: IntegerAttention) -> None:
        self.attend = attend

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """Return the new hidden states, as the processors of `diffusers` do."""
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projections = attn.to_q(hidden_states), attn.to_k(text), attn.to_v(text)
        q, k, v = (each.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for each in projections)
        if attention_mask is not None:
            shape = len(hidden_states), attn.heads, -1, attention_mask.shape[-1]
            attention_mask = attn.prepare_attention_mask(
                attention_mask, text.shape[1], len(hidden_states)
            ).view(shape)
        values = self.attend(q, k, v, attention_mask).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](values))


def replacement(name: str, module: nn.Module, context: Context) -> Callable[[], None]:
    """Return what lets a module attend in integers when it is called.

    Parameters
    ----------
    module : nn.Module
        It has an attribute `attend` that is called as `scaled_dot_product_attention` is, or it is
        attention of a transformer block of `diffusers`.

    Raises
    ------
    ValueError
        It is neither.
    """
    attend = IntegerAttention(name, context)
    if hasattr(module, "attend"):
        return lambda: setattr(module, "attend", attend)
    if hasattr(module, "set_processor") and _is_plain(module):
        return lambda: module.set_processor(Processor(attend))
    raise ValueError(
        f"{name} is a {type(module).__name__}, whose attention cannot be replaced; accepted: a "
        "module with `attend`, or attention of a transformer block of diffusers"
    )


def attentions(model: nn.Module) -> list[IntegerAttention]:
    """Return the attention of a model whose products are in integers."""
    held = (
        each
        for module in model.modules()
        for each in (
            getattr(module, "attend", None),
            getattr(getattr(module, "processor", None), "attend", None),
        )
    )
    return [each for each in held if isinstance(each, IntegerAttention)]


def _is_plain(attn: Any) -> bool:
    """Tell whether attention is projections and products only."""
    extras = ("group_norm", "spatial_norm", "norm_q", "norm_k", "norm_cross", "add_k_proj")
    return (
        all(getattr(attn, name, None) is None for name in extras)
        and not getattr(attn, "residual_connection", False)
        and getattr(attn, "rescale_output_factor", 1.0) == 1.0
    )
