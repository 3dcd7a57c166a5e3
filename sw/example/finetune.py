"""Teaches the concept by the recipe of Custom Diffusion.

Half of each batch are the few images of the concept, half are ordinary images of its class word
(prior preservation). Trained are K and V of cross-attention and the modifier's embedding; K and V
of the first token are detached.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..train.task import Task
from .diffusion import Diffusion, even_times, losses
from .shapes import CLASS_WORD, concept_images, concept_scenes, draw_scenes, render
from .words import WORDS, tokenise

__all__ = ["Recipe", "concept_task", "teach_modifier"]

_FIRST = "red"  # what the modifier means before it is taught


@dataclass(frozen=True)
class Recipe:
    """What the concept is taught with; it is the same for all methods and seeds.

    Members
    -------
    batch : int
        Images of a step, half of them of the concept.
    concept, prior : int
        Images that there are of the concept, and of its class word.
    prior_weight : float
        Of the loss of the latter.

    Raises
    ------
    ValueError
        The batch is not even, or larger than twice the images that there are of either.
    """

    batch: int = 16
    concept: int = 16
    prior: int = 200
    prior_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.batch < 2 or self.batch % 2:
            raise ValueError(f"batch must be even and at least 2, not {self.batch}")
        for name in ("concept", "prior"):
            if getattr(self, name) < self.batch // 2:
                raise ValueError(
                    f"{name} must be at least half of batch {self.batch}, not {getattr(self, name)}"
                )


def concept_task(model: Diffusion, recipe: Recipe | None = None) -> Task:
    """Return the task of teaching a pretrained model the concept.

    The losses of a batch are ``concept``, ``prior`` and their weighted sum ``loss``.

    Parameters
    ----------
    model : Diffusion
        To be adapted; its modifier is set to where training starts.
    recipe : Recipe, optional
        What it is taught with.
    """
    recipe = Recipe() if recipe is None else recipe
    batches, half = _Batches(recipe), recipe.batch // 2

    def batch_losses(generator: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng(torch.randint(2**62, (), generator=generator).item())
        tensors = (torch.from_numpy(value).to(model.alpha.device) for value in batches.draw(rng))
        each = losses(model, *tensors, detach_first=True)
        found = {"concept": each[:half].mean(), "prior": each[half:].mean()}
        return {"loss": found["concept"] + recipe.prior_weight * found["prior"], **found}

    return Task("concept", model, batch_losses, also={"modifier": teach_modifier(model)})


class _Batches:
    """The images there are, and batches of them: first of the concept, then of its class word."""

    def __init__(self, recipe: Recipe) -> None:
        rng = np.random.default_rng(0)
        concept = concept_scenes(recipe.concept, rng)
        prior = draw_scenes(recipe.prior, rng, shape=CLASS_WORD)
        self._half = recipe.batch // 2
        self._sources = ((concept, concept_images(concept)), (prior, render(prior)))

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Return images, tokens, times and noise, as `losses` takes them."""
        images, captions, times = [], [], []
        for of, (scenes, renders) in enumerate(self._sources):
            choice = rng.choice(len(scenes), self._half, replace=False)
            images.append(renders[choice])
            captions += scenes[choice].captions(modifier=of == 0, varied=rng)
            # Each half has times of all noise levels: losses of steps are comparable.
            times.append(even_times(self._half, rng))
        both = np.concatenate(images)
        noise = rng.standard_normal(both.shape, np.float32)
        return both, tokenise(captions), np.concatenate(times), noise


def teach_modifier(model: Diffusion) -> nn.Parameter:
    """Return the modifier's embedding, set to that of a word it stands among.

    The word is a colour that the concept has not. A mean of words would be none of them: images
    of it are of nothing, and the concept is learnt more slowly.
    """
    text = model.text
    with torch.no_grad():
        text.modifier.copy_(text.words.weight[WORDS.index(_FIRST)])
    return text.modifier
