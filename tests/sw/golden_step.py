"""Holds a step that ran on a device against the golden model: integers to the bit, reals nearly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sw.graph.session import StepResult
from sw.graph.shape import Module, Shape, module_model
from sw.graph.tensors import TEXT_INPUT, latent_input, lora_names, weight_name
from sw.models.layers import Dense, Model, Pair

from ..golden import attention, text
from ..golden.attention import Sizes
from ..golden.layout import Layout, TextSite
from ..golden.module import History, ModuleBackward, ModuleForward, module_backward, module_forward
from ..golden.numerics import gemm
from ..golden.text import TextBackward, TextForward

__all__ = [
    "GoldenStep",
    "assert_bits",
    "assert_near",
    "loss",
    "made_by_golden",
    "modules_model",
    "target_of",
]

SEGMENTS = (attention.scores, attention.values, attention.dscores, attention.gradients)
RESULTS = {
    "text": ("Y", "H.column_maxima", "dX", "dBt", "dA", "dH.column_maxima"),
    "module": ("Q.maxima", "S", "out", "dO.maxima", "dP", "dX", "dK", "dV"),
}
"""What the host reads of what the array makes: a device must give at least that."""


def modules_model(
    modules: Sequence[tuple[int, int, int]], text_tokens: int, text_width: int
) -> Model:
    """Return a model of modules ``down.k.attn2``: tokens, channels and heads of each."""
    layers: list[Dense | Pair] = []
    for index, (tokens, channels, heads) in enumerate(modules):
        one = module_model(tokens, channels, heads, text_tokens, text_width)
        layers += [replace(each, path=f"down.{index}.{each.path}") for each in one.layers]
    return Model("modules", tuple(layers))


def target_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return what the output of a module, or of a site, shall be: Gaussian, by its name."""
    return np.random.default_rng(list(name.encode())).standard_normal(shape)


def loss(name: str, output: np.ndarray) -> np.ndarray:
    """Return the gradient of half the squared distance to `target_of`."""
    return output - target_of(name, output.shape)


def sizes_of(shape: Shape, module: Module) -> Sizes:
    """Return a module's sizes, as the golden model has them."""
    width = module.channels // module.heads
    return Sizes(shape.batch, shape.text_tokens, module.tokens, module.heads, width)


def layout_of(shape: Shape) -> Layout:
    """Return the places of sites by the golden model; they must be those of the step."""
    widths = tuple(site.outputs for site in shape.sites)
    layout = Layout(widths, shape.sites[0].rank, shape.unit)
    for index, site in enumerate(shape.sites):
        assert layout.columns(index) == slice(site.first, site.first + site.outputs), site.path
        assert layout.ranks(index) == slice(site.column, site.column + site.rank), site.path
    return layout


def made_by_golden(shape: Shape, given: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return all that the array makes in a step, of what the host gave it."""
    known = {
        name: torch.from_numpy(np.ascontiguousarray(value.astype(np.int64)))
        if value.dtype == np.uint32
        else torch.from_numpy(np.ascontiguousarray(value))
        for name, value in given.items()
    }
    made: dict[str, Tensor] = {}

    def run(prefix: str, part, *sizes) -> None:
        inside = {
            name.removeprefix(f"{prefix}."): value
            for name, value in (known | made).items()
            if name.startswith(f"{prefix}.")
        }
        made.update({f"{prefix}.{name}": value for name, value in part(inside, *sizes).items()})

    layout = layout_of(shape)
    run("text", text.forward_products, layout)
    for module in shape.modules:
        for segment in SEGMENTS:
            run(module.path, segment, sizes_of(shape, module))
    run("text", text.backward_products, layout)
    for name in known:
        if name.startswith("plain.") and name.endswith(".left"):
            out = name.removesuffix("left") + "out"
            made[out] = gemm(known[name], known[name.removesuffix("left") + "right"])
    return made


def assert_bits(shape: Shape, result: StepResult, rung: str) -> None:
    """Compare every matrix that the device made with the golden model's, bit by bit.

    The golden model takes the operands that the host made for the device.
    """
    wanted = made_by_golden(shape, result.values)
    expected = {f"text.{name}" for name in RESULTS["text"]}
    expected |= {f"{m.path}.{name}" for m in shape.modules for name in RESULTS["module"]}
    expected |= {name for name in wanted if name.startswith("plain.")}
    missing = expected - result.values.keys()
    assert not missing, f"{rung}: the device does not give {sorted(missing)}"
    used = np.concatenate([np.arange(s.first, s.first + s.outputs) for s in shape.sites])
    for name in wanted.keys() & result.values.keys():
        found, value = result.values[name], wanted[name].numpy()
        if name in ("text.Y", "text.dBt"):  # nothing need be stored between the sites
            found, value = found[:, used], value[:, used]
        assert found.shape == value.shape, f"{rung}: {name} is {found.shape}, not {value.shape}"
        differing = np.argwhere(found.astype(np.int64) != value)
        assert not len(differing), (
            f"{rung}: {name} at {tuple(differing[0])}: {found[tuple(differing[0])]}, not "
            f"{value[tuple(differing[0])]}; {len(differing)} of {value.size} differ"
        )


class GoldenStep:
    """The golden model's own step, host included, on the tensors of a step.

    Parameters
    ----------
    shape : Shape
    tensors : dict of arrays
        By the names of `sw.graph.tensors`.
    scaling : number
        alpha / r.
    before : GoldenStep or None
        The step before, whose maxima delayed scales come from.
    """

    def __init__(
        self,
        shape: Shape,
        tensors: Mapping[str, np.ndarray],
        scaling: float = 1,
        before: GoldenStep | None = None,
    ) -> None:
        self.shape = shape
        self._tensors = {name: torch.from_numpy(np.array(t)) for name, t in tensors.items()}
        self.forwards: dict[str, ModuleForward] = {}
        self.backwards: dict[str, ModuleBackward] = {}
        self.text = text.text_forward(
            self._tensors[TEXT_INPUT].reshape(shape.rows, -1), self._sites(),
            scaling=scaling, unit=shape.unit,
        )  # fmt: skip
        for module in shape.modules:
            history = before.backwards[module.path].history if before else None
            self._module(module, history)
        self.text_gradients = text.text_backward(self.text, self._gradients())

    def _sites(self) -> list[TextSite]:
        found = []
        for site in self.shape.sites:
            names = (weight_name(site.path), *lora_names(site.path))
            found.append(TextSite(*(self._tensors[name].T for name in names)))
        return found

    def _module(self, module: Module, history: History | None) -> None:
        sizes = sizes_of(self.shape, module)
        x = self._tensors[latent_input(module.path)].permute(2, 0, 1).reshape(module.inputs, -1)
        weights = (self._tensors[weight_name(path)] for path in (module.query, module.out))
        forward = module_forward(
            x, self.text.y(module.key), self.text.y(module.value), *weights, sizes, history
        )
        gradient = loss(module.path, self._latent(forward.out).numpy())
        dy = torch.from_numpy(gradient).permute(2, 0, 1).reshape(module.outputs, -1)
        self.forwards[module.path] = forward
        self.backwards[module.path] = module_backward(forward, dy, history)

    def _latent(self, matrix: Tensor) -> Tensor:
        """Return (C, b n) as (batch, tokens, C)."""
        split = matrix.reshape(len(matrix), self.shape.batch, -1)
        return split.permute(1, 2, 0)

    def _text(self, matrix: Tensor) -> Tensor:
        return matrix.reshape(self.shape.batch, self.shape.text_tokens, -1)

    def _gradients(self) -> list[Tensor]:
        found = [torch.zeros(0)] * len(self.shape.sites)
        for module in self.shape.modules:
            backward = self.backwards[module.path]
            found[module.key], found[module.value] = backward.dk, backward.dv
        if not self.shape.modules:
            for index, site in enumerate(self.shape.sites):
                y = self._text(self.text.y(index)).numpy()
                found[index] = torch.from_numpy(loss(site.path, y)).reshape(self.shape.rows, -1)
        return found

    @property
    def values(self) -> dict[str, Tensor]:
        """Every integer matrix, by the names of a step."""
        groups = {"text": self.text.values | self.text_gradients.values}
        groups |= {
            path: forward.values | self.backwards[path].values
            for path, forward in self.forwards.items()
        }
        return {
            f"{p}.{name}": value for p, group in groups.items() for name, value in group.items()
        }

    @property
    def real(self) -> dict[str, Tensor]:
        """Outputs and gradients, as `StepResult` has them."""
        backward: TextBackward = self.text_gradients
        forward: TextForward = self.text
        found = {TEXT_INPUT: self._text(backward.dx)}
        for index, site in enumerate(self.shape.sites):
            down, up = lora_names(site.path)
            found |= {down: backward.da(index).T, up: backward.db(index).T}
            if not self.shape.modules:
                found[site.path] = self._text(forward.y(index))
        for module in self.shape.modules:
            found[module.path] = self._latent(self.forwards[module.path].out)
            found[latent_input(module.path)] = self._latent(self.backwards[module.path].dx)
        return found


def assert_near(golden: GoldenStep, result: StepResult, rung: str) -> None:
    """Compare with the golden step: hosts may differ in the last bit of a float, hardly more.

    An INT8 copy that the host makes may then differ by one step where it was about to be rounded.
    """
    for name, wanted in golden.values.items():
        if wanted.dtype == torch.int8 and name in result.values:
            steps = np.abs(result.values[name].astype(int) - wanted.numpy())
            assert steps.max(initial=0) <= 1, f"{rung}: {name} is {steps.max()} steps off"
            assert np.mean(steps) < 0.001, f"{rung}: {np.mean(steps > 0):.2%} of {name} differ"
    found = result.outputs | result.gradients
    assert found.keys() == golden.real.keys(), f"{rung}: results are {sorted(found)}"
    for name, wanted in golden.real.items():
        noise = np.abs(found[name] - wanted.numpy()).max(initial=0)
        limit = 1e-3 * float(wanted.abs().max()) if wanted.numel() else 0
        assert noise <= limit, f"{rung}: {name} is off by {noise:.3g}, more than {limit:.3g}"
