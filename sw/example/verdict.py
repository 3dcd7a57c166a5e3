"""Measures a model: held-out losses, and what a judge sees in the images it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .diffusion import Diffusion, even_times, loss_by_range, losses, sample
from .judge import CLASSES, Judge
from .shapes import Scenes, concept_images, concept_scenes, draw_scenes, render
from .words import tokenise

__all__ = ["Verdict", "evaluate", "frechet_distance", "held_out_losses"]


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Frechet distance of two sets of features, as normal distributions.

    Parameters
    ----------
    first, second : ndarray
        float64 (n, features); each has at least two rows.
    """
    means = first.mean(0) - second.mean(0)
    left, right = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(left)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    # The trace of sqrt(left . right), by a symmetric matrix with the same eigenvalues.
    cross = np.sqrt(np.linalg.eigvalsh(root @ right @ root).clip(min=0)).sum()
    return float(means @ means + np.trace(left) + np.trace(right) - 2 * cross)


@torch.no_grad()
def held_out_losses(
    model: Diffusion, *, concept: bool, count: int = 1024, seed: int = 0, batch: int = 128
) -> tuple[float, list[float]]:
    """Return the mean loss on held-out images, and in each of five ranges of time.

    Images, times and noise depend on the seed only, so that two models see the same: the ratio of
    their losses hardly depends on the draw, while the losses themselves do.

    Parameters
    ----------
    model : Diffusion
        The denoiser.
    concept : bool
        Images of the concept, or of shapes in combinations that no training sees.
    count : int
        Images; their times are spread evenly.
    seed : int
        Of everything.
    batch : int
        Images at once.
    """
    rng = np.random.default_rng([seed, 4])
    scenes = _held_out(concept, count, rng)
    images = concept_images(scenes) if concept else render(scenes)
    times = even_times(count, rng)
    noise = rng.standard_normal(images.shape, np.float32)
    values = (images, tokenise(scenes.captions(modifier=concept)), times, noise)
    device = model.alpha.device
    parts = []
    for first in range(0, count, batch):
        part = (torch.from_numpy(value[first : first + batch]).to(device) for value in values)
        parts.append(losses(model, *part).cpu().numpy())
    each = np.concatenate(parts)
    return float(each.mean(dtype=np.float64)), loss_by_range(each, times)


def _held_out(concept: bool, count: int, rng: np.random.Generator) -> Scenes:
    draw = concept_scenes if concept else draw_scenes
    return draw(count, rng, held_out=True)


@dataclass(frozen=True)
class Verdict:
    """What is measured of a model; of the concept, and of ordinary shapes as the prior.

    Members
    -------
    concept_loss, prior_loss : float
        Held-out denoising losses.
    concept_ranges, prior_ranges : list of float
        The same in five ranges of time, least noise first.
    concept_accuracy : float
        Share of images of concept captions that the judge takes for the concept.
    concept_place : float
        Share of these at the place that the caption names.
    prior_shape, prior_colour, prior_place : float
        Shares of images of ordinary captions that show what they name.
    concept_distance, prior_distance : float
        Frechet distances of the judge's features, made images to held-out renders, as shares of
        the variance that the features of renders have.
    """

    concept_loss: float
    prior_loss: float
    concept_ranges: list[float]
    prior_ranges: list[float]
    concept_accuracy: float
    concept_place: float
    prior_shape: float
    prior_colour: float
    prior_place: float
    concept_distance: float
    prior_distance: float


def evaluate(
    model: Diffusion, made: Judge, *, samples: int = 128, count: int = 1024, seed: int = 0
) -> Verdict:
    """Measure a model by its losses and by images it makes, the same captions and noise for all.

    Parameters
    ----------
    model : Diffusion
        The denoiser.
    made : Judge
        The classifier.
    samples : int
        Images to make of the concept, and of shapes.
    count : int
        Held-out images of each, for the losses; as many are references of the distances.
    seed : int
        Of captions, noise and held-out images.
    """
    concept_loss, concept_ranges = held_out_losses(model, concept=True, count=count, seed=seed)
    prior_loss, prior_ranges = held_out_losses(model, concept=False, count=count, seed=seed)
    shown, concept_distance = _made(model, made, True, samples, count, seed)
    prior, prior_distance = _made(model, made, False, samples, count, seed)
    return Verdict(
        concept_loss,
        prior_loss,
        concept_ranges,
        prior_ranges,
        shown[0],
        shown[2],
        *prior,
        concept_distance,
        prior_distance,
    )


def _made(
    model: Diffusion, made: Judge, concept: bool, samples: int, count: int, seed: int
) -> tuple[Sequence[float], float]:
    """Return shares right of class, colour and place of images made, and their distance."""
    rng = np.random.default_rng([seed, 5])
    scenes = _held_out(concept, samples, rng)
    images = sample(model, scenes.captions(modifier=concept), seed=seed)
    features, found = made.look(images)
    classes = np.full(samples, CLASSES.index("concept")) if concept else scenes.shape
    wanted = np.stack([classes, scenes.colour, scenes.place], 1)
    reference = _held_out(concept, count, rng)
    renders = concept_images(reference) if concept else render(reference)
    wanted_features = made.look(renders)[0]
    distance = frechet_distance(features, wanted_features) / wanted_features.var(0).sum()
    return (found == wanted).mean(0).tolist(), float(distance)
