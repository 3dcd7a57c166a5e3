"""Tells what the products of a watched run are: attention, cross-attention, LoRA, the rest.

No names of layers count (but those that peft gives to the parts of a LoRA layer): what is what
follows from where the operands of products come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from .layers import Dense, Layer, Other, Pair, Reading
from .product import ModelError
from .record import Call, Origin

__all__ = ["layers_of"]


def layers_of(calls: list[Call], sizes: dict[str, int], lora: set[str]) -> tuple[Layer, ...]:
    """Return the layers of a run, in order.

    Parameters
    ----------
    calls : list of Call
    sizes : dict
        Elements of each parameter, by its path.
    lora : set of str
        Paths of LoRA layers.

    Raises
    ------
    ModelError
        There are no products, or a LoRA layer computes something else.
    """
    if not calls:
        raise ModelError("runs no linear layer, convolution or product that can be seen")
    marks = _Marks(calls)
    ranks = _ranks(calls, lora)
    layers: list[Dense | Pair] = []
    for index, call in enumerate(calls):
        if call.weight is None:
            where, reading = marks.pairs[index], marks.readings[index]
            right = ", ".join(_makers(calls, call.right, lora))
            layers.append(Pair(where, call.scores, call.rows, call.inputs, call.outputs,
                               call.count, reading, right, _between(call, bool(lora))))  # fmt: skip
            continue
        path, part = _part(call.weight, lora)
        if part is None:
            bias = any(f"{each}.bias" in sizes for each in (path, call.weight))
            layers.append(
                Dense(
                    path, call.rows, call.inputs, call.outputs,
                    marks.readings.get(index, Reading.UNET), call.kernel, call.stride, call.groups,
                    bias, not call.left.inputs & marks.followed, ranks.get(path),
                    _source(calls, call.left, lora),
                )
            )  # fmt: skip
    return tuple(_in_transformers(layers)) + tuple(_others(layers, sizes, lora))


@dataclass
class _Marks:
    """What attention says of the products around it.

    Members
    -------
    readings : dict
        Of products inside attention, by index.
    pairs : dict
        Paths of products of two activations, by index.
    followed : set of int
        Inputs of the model that are the sample or the text.
    """

    calls: list[Call]
    readings: dict[int, Reading] = field(default_factory=dict)
    pairs: dict[int, str] = field(default_factory=dict)
    followed: set[int] = field(default_factory=lambda: {0})

    def __post_init__(self) -> None:
        for index, call in enumerate(self.calls):
            if call.weight is None:
                self._pair(index, call)
            else:
                self._out(index, call)

    def _pair(self, index: int, call: Call) -> None:
        if call.scores:
            made = self._weights(call.left.calls | call.right.calls)
            self.pairs[index] = _around(made) or f"attention.{len(self.pairs)}"
            cross = 0 in call.left.inputs and bool(call.right.inputs) and 0 not in call.right.inputs
            self.readings[index] = Reading.XATTN if cross else Reading.TRANSFORMER
            if cross:
                self.followed |= call.right.inputs
                self._mark(call.left.calls, Reading.XATTN)
                self._mark(call.right.calls, Reading.KV)
            return
        scores = next(each for each in sorted(call.left.calls) if each in self.pairs)
        self.pairs[index], self.readings[index] = self.pairs[scores], self.readings[scores]
        if self.readings[index] is Reading.XATTN:
            self._mark(call.right.calls, Reading.KV)

    def _out(self, index: int, call: Call) -> None:
        """Mark the layer that reads the values of cross-attention and nothing else."""
        before = call.left.calls
        values = before and all(self.calls[each].weight is None for each in before)
        if values and all(self.readings[each] is Reading.XATTN for each in before):
            self.readings[index] = Reading.XATTN

    def _mark(self, calls: Iterable[int], reading: Reading) -> None:
        for index in calls:
            if self.calls[index].weight is not None:
                self.readings[index] = reading

    def _weights(self, calls: Iterable[int]) -> list[str]:
        found = [self.calls[index].weight for index in calls]
        return [weight for weight in found if weight is not None]


_SCALING = {"__mul__", "__rmul__", "__truediv__", "div", "mul", "mul_", "truediv"}
"""Names of functions by which scores are divided by the root of a head's size."""


_ADAPTING = {"__add__", "__iadd__", "add", "add_", "dropout", *_SCALING}
"""And by which adapters add to a layer."""


def _between(call: Call, adapted: bool) -> tuple[str, ...]:
    """Return what stands between a product of attention and those before, beside what is usual."""
    layers = _ADAPTING if adapted else set()
    if call.scores:
        return tuple(sorted((call.left.through | call.right.through) - _SCALING - layers))
    usual = _SCALING | {"softmax", "dropout"}
    found = sorted((call.left.through - usual) | (call.right.through - layers))
    return (*found, *(["no softmax"] if "softmax" not in call.left.through else []))


def _around(paths: list[str]) -> str:
    """Return the path of the smallest module that holds all layers."""
    parents = [path.split(".")[:-1] for path in paths]
    shared = []
    for names in zip(*parents, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return ".".join(shared)


def _makers(calls: list[Call], origin: Origin, lora: set[str]) -> list[str]:
    """Return the paths of the layers whose results make an operand."""
    weights = [calls[index].weight for index in origin.calls]
    return sorted({_part(weight, lora)[0] for weight in weights if weight is not None})


def _source(calls: list[Call], origin: Origin, lora: set[str]) -> str:
    """Return a text of where an operand comes from: inputs of the model, and layers on the way."""
    inputs = [f"input {index}" for index in sorted(origin.inputs)]
    return ", ".join(inputs + _makers(calls, origin, lora))


def _part(weight: str, lora: set[str]) -> tuple[str, str | None]:
    """Return the layer a weight belongs to, and for LoRA's own weights which one it is."""
    for part in ("base_layer", "lora_A", "lora_B"):
        path, found, adapter = weight.rpartition(f".{part}")
        if found and path in lora:
            return path, None if part == "base_layer" else f"{part}{adapter}"
    return weight, None


def _ranks(calls: list[Call], lora: set[str]) -> dict[str, int]:
    """Return the rank of each LoRA layer that runs; adapters side by side are one of all ranks."""
    times: dict[tuple[str, str | None], list[Call]] = {}
    for call in calls:
        if call.weight is not None:
            times.setdefault(_part(call.weight, lora), []).append(call)
    ranks: dict[str, int] = {}
    for (path, part), own in times.items():
        if part is None:
            continue
        base = times.get((path, None), [])
        if [call.rows for call in own] != [call.rows for call in base]:
            raise ModelError(f"the LoRA layer {path} does not compute X.W + (X.A).B^T")
        if part.startswith("lora_A"):
            ranks[path] = ranks.get(path, 0) + own[0].outputs
    return ranks


def _in_transformers(layers: list[Dense | Pair]) -> Iterator[Dense | Pair]:
    """Give layers inside transformers the reading of these.

    A transformer is the largest module that holds attention and no convolution wider than 1x1.
    """
    wide = [layer.path for layer in layers
            if isinstance(layer, Dense) and any(size > 1 for size in layer.kernel)]  # fmt: skip
    roots = set()
    for layer in layers:
        if isinstance(layer, Pair):
            names = layer.path.split(".")
            above = [".".join(names[:length]) for length in range(len(names) + 1)]
            free = [path for path in above if not any(_inside(each, path) for each in wide)]
            roots.update(free[:1])
    for layer in layers:
        inside = any(_inside(layer.path, root) for root in roots)
        if layer.reading is Reading.UNET and inside:
            layer = replace(layer, reading=Reading.TRANSFORMER)
        yield layer


def _inside(path: str, root: str) -> bool:
    return not root or path == root or path.startswith(f"{root}.")


def _others(layers: list[Dense | Pair], sizes: dict[str, int], lora: set[str]) -> Iterator[Other]:
    """Yield the parameters that no product reads, as one."""
    base = sum(size for path, size in sizes.items() if not _part(path, lora)[1])
    counted = {layer.path: layer.parameters for layer in layers if isinstance(layer, Dense)}
    yield Other("", base - sum(counted.values()))
