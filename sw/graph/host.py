"""What the host does between the programs of a step, in float64, and what it knows meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from hw.isa.numerics import decode_scale

from ..image import InputError, as_array
from ..quantise import entries
from .shape import Shape

__all__ = ["HostState", "Loss", "QuadraticLoss", "delayed_limit", "ratio_of", "table"]

Loss = Callable[[str, np.ndarray], np.ndarray]
"""From the path of a module (of a site, in the reading kv) and its real output, (batch, tokens,
width), to the gradient of the loss with respect to it."""

MARGIN = 1.25
"""By how much a maximum may grow from step to step before delayed scales limit values."""


class QuadraticLoss:
    """Half the squared distance to Gaussian targets made from a seed: the gradient is the distance.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._targets: dict[str, np.ndarray] = {}

    def __call__(self, name: str, output: np.ndarray) -> np.ndarray:
        """Return ``output - target``; a name has one target for all steps."""
        if name not in self._targets:
            rng = np.random.default_rng([self._seed, len(self._targets)])
            self._targets[name] = rng.standard_normal(output.shape)
        return output - self._targets[name]


@dataclass(eq=False)
class HostState:
    """All that the host keeps through a step, and from one to the next.

    Members
    -------
    shape : Shape
    loss : callable
        See `Loss`.
    scaling : number
        alpha / r of all sites.
    margin : float
        Of delayed scales.
    tensors : dict
        Float tensors by name, see `sw.graph.tensors.tensor_shapes`.
    values : dict
        Integer matrices as they lie in DRAM, by name.
    scales : dict
        Real value of one step of a value, float64, broadcasting as its readers say.
    real : dict
        Float arrays that one host operation leaves to another.
    outputs, gradients : dict
        What the step gives, float64: outputs by path, gradients by the name of the tensor.
    maxima : dict
        Of the step before, for delayed scales.
    """

    shape: Shape
    loss: Loss
    scaling: int | float | Fraction = 1
    margin: float = MARGIN
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    scales: dict[str, np.ndarray] = field(default_factory=dict)
    real: dict[str, np.ndarray] = field(default_factory=dict)
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    maxima: dict[str, np.ndarray] = field(default_factory=dict)

    def gradient(self, name: str, output: np.ndarray) -> np.ndarray:
        """Record an output, and return the gradient of the loss with respect to it.

        Raises
        ------
        InputError
            The loss gives something else.
        """
        self.outputs[name] = output
        found = as_array(f"gradient of {name}", self.loss(name, output.copy()))
        if found.shape != output.shape or not np.issubdtype(found.dtype, np.floating):
            raise InputError(
                f"the loss of {name} must give a float array of {output.shape}, "
                f"not {found.dtype} of {found.shape}"
            )
        if not np.isfinite(found).all():
            raise InputError(f"the loss of {name} gives a gradient that is not finite")
        return found.astype(np.float64)


def delayed_limit(state: HostState, name: str, bound: np.ndarray) -> np.ndarray:
    """Return the maxima that the scales of this step allow for: those of the step before, grown.

    `bound` is what they cannot be above, whatever the data: it serves where there is no step
    before, or there all was zero.
    """
    last = state.maxima.get(name)
    if last is None:
        return bound
    return np.where(last > 0, np.minimum(state.margin * last, bound), bound)


def table(ratios: np.ndarray, rows: int) -> np.ndarray:
    """Return scale entries of ratios as a value of so many rows, uint32."""
    return entries(ratios).reshape(rows, -1)


def ratio_of(entry: np.ndarray) -> float:
    """Return the ratio that a single scale entry stands for: m / 2^s."""
    m, s = decode_scale(int(entry.item()))
    return m * 2.0**-s
