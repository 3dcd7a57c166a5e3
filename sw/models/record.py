"""Watches a torch model run: which products it computes, and where their operands come from.

Nothing here imports torch: `sw.models.torch_model` runs the model and hands over every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

from .product import ModelError

__all__ = ["Call", "Origin", "Recorder", "tensors_in"]

_ORIGIN = "_cdmqta_origin"
"""Attribute of tensors that holds their `Origin`."""

_MATMUL = {"matmul", "__matmul__", "__rmatmul__", "mm", "bmm"}
_MOVING = {
    "__get__", "__getitem__", "bfloat16", "chunk", "clone", "contiguous", "cpu", "detach", "expand",
    "flatten", "float", "half", "movedim", "narrow", "permute", "repeat_interleave", "reshape",
    "select", "split", "squeeze", "swapaxes", "t", "to", "transpose", "type", "type_as", "unbind",
    "unflatten", "unsqueeze", "view", "view_as",
}  # fmt: skip
"""Functions that move elements, and change none but by rounding."""
_REFUSED = {
    "addbmm", "addmm", "addmv", "baddbmm_", "bilinear", "chain_matmul", "conv1d", "conv3d",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "dot", "einsum", "gru", "inner",
    "lstm", "multi_dot", "multi_head_attention_forward", "mv", "rnn_relu", "rnn_tanh", "tensordot",
    "_native_multi_head_attention", "_transformer_encoder_layer_fwd",
}  # fmt: skip
"""Functions that multiply matrices and are not followed."""


@dataclass(frozen=True)
class Origin:
    """Where a tensor comes from.

    Members
    -------
    inputs : frozenset of int
        Inputs of the model that it depends on; 0 is the sample.
    calls : frozenset of int
        Products it depends on with no other product between.
    weights : frozenset of str
        Parameters that it depends on, if it depends on no input.
    through : frozenset of str
        Functions on the way from these products, but for those that only move elements.
    """

    inputs: frozenset[int] = frozenset()
    calls: frozenset[int] = frozenset()
    weights: frozenset[str] = frozenset()
    through: frozenset[str] = frozenset()

    @property
    def known(self) -> bool:
        """Whether it depends on more than constants."""
        return bool(self.inputs or self.calls or self.weights)

    def __or__(self, other: Origin) -> Origin:
        inputs = self.inputs | other.inputs
        weights = frozenset() if inputs else self.weights | other.weights
        return Origin(inputs, self.calls | other.calls, weights, self.through | other.through)


@dataclass(frozen=True)
class Call:
    """A product: of an activation and weights, or, if `weight` is None, of two activations.

    `left` and `right` tell where the operands come from. Sizes are those of `sw.models.layers`;
    `scores` is true of Q.K^T.
    """

    left: Origin
    right: Origin
    rows: int
    inputs: int
    outputs: int
    weight: str | None = None
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    groups: int = 1
    count: int = 1
    scores: bool = False


class Recorder:
    """Collects the products of a run, from every call of a torch function in it.

    Parameters
    ----------
    names : dict
        Path of each parameter, by the identity of its tensor.

    Members
    -------
    calls : list of Call
        In order.
    """

    def __init__(self, names: dict[int, str]) -> None:
        self.calls: list[Call] = []
        self._names = names

    def mark_input(self, tensor: Any, index: int) -> None:
        """Say that a tensor is an input of the model."""
        setattr(tensor, _ORIGIN, Origin(inputs=frozenset([index])))

    def see(self, function: Callable, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        """Take a call that has returned.

        Raises
        ------
        ModelError
            It multiplies matrices in a way that is not followed.
        """
        origin = Origin()
        for tensor in tensors_in((args, kwargs)):
            origin |= self._origin(tensor)
        name = getattr(function, "__name__", "")
        call = self._products(name, args, kwargs, result, origin)
        if call is not None:
            origin = Origin(origin.inputs, frozenset([call]))
        elif origin.calls and name not in _MOVING:
            origin |= Origin(through=frozenset([name]))
        written = args[:1] if name == "__setitem__" else result
        for tensor in tensors_in(written):
            if id(tensor) not in self._names:
                setattr(tensor, _ORIGIN, origin)

    def _origin(self, tensor: Any) -> Origin:
        if id(tensor) in self._names:
            return Origin(weights=frozenset([self._names[id(tensor)]]))
        return getattr(tensor, _ORIGIN, Origin())

    def _products(
        self, name: str, args: tuple, kwargs: dict[str, Any], result: Any, origin: Origin
    ) -> int | None:
        """Record the products of a function; return the index of the one that gives the result."""
        if name == "linear":
            x, weight = _named(args, kwargs, "input", "weight")
            return self._multiply(x, weight, result, turned=True)
        if name in _MATMUL:
            left, right = _named(args, kwargs, "input", ("mat2", "other"))
            if name == "__rmatmul__":
                left, right = right, left
            return self._multiply(left, right, result)
        if name == "baddbmm":
            _, left, right = _named(args, kwargs, "input", "batch1", "batch2")
            return self._multiply(left, right, result)
        if name == "conv2d":
            return self._convolve(args, kwargs, result)
        if name == "scaled_dot_product_attention":
            return self._attend(
                *_named(args, kwargs, "query", "key", "value"), _given(args, kwargs)
            )
        if name in _REFUSED and (origin.inputs or origin.weights):
            raise ModelError(
                f"products of torch's {name} are not followed; accepted: linear, conv2d, matmul, "
                "mm, bmm, baddbmm, scaled_dot_product_attention"
            )
        return None

    def _multiply(self, left: Any, right: Any, result: Any, *, turned: bool = False) -> int | None:
        """Record left.right, or with `turned` left.right^T."""
        a, b = self._origin(left), self._origin(right)
        if not (a.known or b.known):
            return None  # constants
        if left.dim() < 2 or right.dim() < 2:
            return self._refuse(left, right)
        inner, columns = right.shape[-2:][:: -1 if turned else 1]
        if inner == 1 and not (a.weights or b.weights):
            return None  # each result is one multiplication: nothing is summed
        merged = a.weights and b.weights and not turned  # weights with those of adapters
        if right.dim() == 2 and b.weights and not merged:
            return self._dense(a, b, left.numel() // inner, inner, columns)
        if left.dim() == 2 and a.weights and not b.weights:
            return self._dense(b, a, right.numel() // inner, inner, left.shape[0])
        if a.weights or b.weights or not (a.known and b.known):
            return self._refuse(left, right)
        before = [self.calls[index] for index in a.calls]
        scores = not any(call.weight is None and call.scores for call in before)
        count = prod(result.shape[:-2])
        return self._add(Call(a, b, left.shape[-2], inner, columns, count=count, scores=scores))

    def _refuse(self, *operands: Any) -> NoReturn:
        texts = []
        for each in operands:
            origin = self._origin(each)
            kind = "weights " if origin.weights else "" if origin.known else "constants "
            texts.append(f"{kind}{tuple(each.shape)}")
        raise ModelError(f"a product of {' by '.join(texts)} is not followed")

    def _dense(self, x: Origin, weight: Origin, rows: int, inputs: int, outputs: int) -> int:
        return self._add(Call(x, weight, rows, inputs, outputs, _owner(weight)))

    def _convolve(self, args: tuple, kwargs: dict[str, Any], result: Any) -> int:
        names = "input", "weight", "bias", "stride", "padding", "dilation", "groups"
        given = dict(zip(names, args, strict=False)) | kwargs
        weight = self._origin(given["weight"])
        if not weight.weights:
            raise ModelError("a convolution whose kernel is no parameter is not followed")
        stride, dilation = _two(given.get("stride", 1)), _two(given.get("dilation", 1))
        if dilation != (1, 1) and stride != (1, 1):
            raise ModelError(f"a convolution with stride {stride} and dilation {dilation} "
                             "is not followed")  # fmt: skip
        outputs, _, *kernel = given["weight"].shape
        rows = prod(result.shape) // outputs
        return self._add(
            Call(
                self._origin(given["input"]), weight, rows, given["input"].shape[-3], outputs,
                _owner(weight), tuple(kernel), stride, given.get("groups", 1),
            )
        )  # fmt: skip

    def _attend(self, query: Any, key: Any, value: Any, options: frozenset[str]) -> int:
        q, k, v = self._origin(query), self._origin(key), self._origin(value)
        heads, tokens, keys = prod(query.shape[:-2]), query.shape[-2], key.shape[-2]
        width = query.shape[-1]
        scores = self._add(Call(q, k, tokens, width, keys, count=heads, scores=True))
        p = Origin((q | k).inputs, frozenset([scores]), through=options | {"softmax"})
        return self._add(Call(p, v, tokens, keys, value.shape[-1], count=heads))

    def _add(self, call: Call) -> int:
        self.calls.append(call)
        return len(self.calls) - 1


def tensors_in(value: Any) -> Iterator[Any]:
    """Yield the tensors in nested containers."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for each in value:
            yield from tensors_in(each)
    elif hasattr(value, "numel") and hasattr(value, "dim"):
        yield value


def _named(args: tuple, kwargs: dict[str, Any], *names: str | tuple[str, ...]) -> list[Any]:
    """Return arguments that may be given by place or by one of their names."""
    found = []
    for place, name in enumerate(names):
        spelled = (name,) if isinstance(name, str) else name
        by_name = [kwargs[each] for each in spelled if each in kwargs]
        found.append(args[place] if place < len(args) else by_name[0])
    return found


def _given(args: tuple, kwargs: dict[str, Any]) -> frozenset[str]:
    """Return the options of torch's attention that change what it computes."""
    names = "query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale"
    given = dict(zip(names, args, strict=False)) | kwargs
    found = {name for name in ("attn_mask", "scale") if given.get(name) is not None}
    return frozenset(found | ({"is_causal"} if given.get("is_causal") else set()))


def _two(value: Any) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return values if len(values) == 2 else values * 2


def _owner(weight: Origin) -> str:
    """Return the path of the module whose weight it is, or of a parameter with another name."""
    return min(weight.weights).partition(".parametrizations.")[0].removesuffix(".weight")
