"""Teaches the concept by the recipe of Custom Diffusion, a step at a time.

Half of each batch are the few images of the concept, half are ordinary images of its class word
(prior preservation). Trained are the adapters of the model and the modifier's embedding; K and V
of the first token are detached.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .diffusion import Diffusion, even_times, losses
from .shapes import (
    CLASS_WORD,
    concept_images,
    concept_scenes,
    draw_scenes,
    render,
)
from .words import COLOURS, WORDS, tokenise

__all__ = ["FineTuning", "NotFinite", "Recipe", "teach_modifier"]

_MODIFIER = "modifier"


class NotFinite(ValueError):
    """A loss or a gradient is NaN or infinite: the step was not taken."""


@dataclass(frozen=True)
class Recipe:
    """How the concept is taught.

    Members
    -------
    steps, batch : int
        Steps, and images of each; half of these are of the concept.
    rate, modifier_rate : float
        Learning rates at the first step, of adapters and of the modifier's embedding; they fall
        to a tenth in a line.
    concept, prior : int
        Images of the concept and of its class word that there are.
    """

    steps: int = 300
    batch: int = 16
    rate: float = 2e-3
    modifier_rate: float = 1e-2
    concept: int = 16
    prior: int = 200


class FineTuning:
    """A run: its state is between steps, and what a step draws depends on seed and step only.

    So a run that loads `state_dict` of another goes on as that one would, to the bit. The images
    are the same for all seeds.

    Parameters
    ----------
    model : Diffusion
        The pretrained model, adapted; its modifier is trained.
    trained : mapping of str to Parameter
        The adapters' parameters, by name.
    recipe : Recipe
        How to train.
    seed : int
        Of batches, times and noise.
    """

    def __init__(
        self,
        model: Diffusion,
        trained: Mapping[str, nn.Parameter],
        recipe: Recipe | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.model, self.seed, self.step = model, seed, 0
        self.recipe = recipe = Recipe() if recipe is None else recipe
        modifier = teach_modifier(model)
        self.trained = {**trained, _MODIFIER: modifier}
        self._optimiser = torch.optim.AdamW(
            [
                {"params": list(trained.values()), "lr": recipe.rate, "highest": recipe.rate},
                {
                    "params": [modifier],
                    "lr": recipe.modifier_rate,
                    "highest": recipe.modifier_rate,
                },
            ],
            weight_decay=0.01,
        )
        rng = np.random.default_rng(0)
        self._concept = concept_scenes(recipe.concept, rng)
        self._prior = draw_scenes(recipe.prior, rng, shape=CLASS_WORD)
        self._images = concept_images(self._concept), render(self._prior)

    def run(self) -> Iterator[dict[str, float]]:
        """Take the steps that are left; yield what `take_step` returns."""
        while self.step < self.recipe.steps:
            yield self.take_step()

    def take_step(self) -> dict[str, float]:
        """Train on a batch; return ``step``, and the losses ``concept``, ``prior`` and ``loss``.

        Raises
        ------
        NotFinite
            The loss or a gradient is not finite; parameters and optimiser are as they were.
        """
        half = self.recipe.batch // 2
        each = self._losses()
        concept, prior = each[:half].mean(), each[half:].mean()
        loss = concept + prior
        row = {
            "step": self.step,
            "loss": loss.item(),
            "concept": concept.item(),
            "prior": prior.item(),
        }
        if not math.isfinite(row["loss"]):
            raise NotFinite(f"step {self.step}: the loss is {row['loss']}")
        self._optimiser.zero_grad()
        loss.backward()
        for name, parameter in self.trained.items():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                raise NotFinite(f"step {self.step}: the gradient of {name} is not finite")
        for group in self._optimiser.param_groups:
            group["lr"] = group["highest"] * (1 - 0.9 * self.step / self.recipe.steps)
        self._optimiser.step()
        self.step += 1
        return row

    def state_dict(self) -> dict[str, Any]:
        """Return all that later steps depend on, but for what the model had before."""
        return {
            "seed": self.seed,
            "step": self.step,
            "trained": {name: value.detach().clone() for name, value in self.trained.items()},
            "optimiser": self._optimiser.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run of the same model, recipe and adapters was.

        Raises
        ------
        ValueError
            The state is of a run that trained other parameters.
        """
        found = {name: tuple(value.shape) for name, value in state["trained"].items()}
        wanted = {name: tuple(value.shape) for name, value in self.trained.items()}
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                raise ValueError(
                    f"{name} is {found.get(name, 'missing')} in the state of the run, "
                    f"and {wanted.get(name, 'missing')} in the model"
                )
        with torch.no_grad():
            for name, value in state["trained"].items():
                self.trained[name].copy_(value)
        self._optimiser.load_state_dict(state["optimiser"])
        self.seed, self.step = state["seed"], state["step"]

    def _losses(self) -> Tensor:
        """Return the losses of the step's batch: of the concept's images, then of the others."""
        rng = np.random.default_rng([self.seed, self.step])
        half = self.recipe.batch // 2
        images, captions = [], []
        for kind, scenes in enumerate((self._concept, self._prior)):
            choice = rng.choice(len(scenes), half, replace=half > len(scenes))
            images.append(self._images[kind][choice])
            captions += scenes[choice].captions(modifier=kind == 0, varied=rng)
        both = np.concatenate(images)
        # Each half has times of all noise levels: losses of steps are comparable.
        times = np.concatenate([even_times(half, rng), even_times(half, rng)])
        noise = rng.standard_normal(both.shape, np.float32)
        values = (both, tokenise(captions), times, noise)
        device = self.model.alpha.device
        tensors = (torch.from_numpy(value).to(device) for value in values)
        return losses(self.model, *tensors, detach_first=True)


def teach_modifier(model: Diffusion) -> nn.Parameter:
    """Return the modifier's embedding, to be trained from the mean of the words it stands among."""
    text = model.text
    with torch.no_grad():
        text.modifier.copy_(text.words.weight[[WORDS.index(word) for word in COLOURS]].mean(0))
    return text.modifier.requires_grad_(True)
