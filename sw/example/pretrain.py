"""Pretrains the denoiser on ordinary shapes, once: later runs take it from the cache."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .diffusion import Diffusion, even_times, losses
from .kept import Progress, frozen, kept, kept_folder, seeded
from .shapes import draw_scenes, render
from .size import Size
from .words import tokenise

__all__ = ["pretrain", "pretrained"]

_MODULES = ("diffusion", "kept", "pretrain", "shapes", "size", "text", "unet", "words")


def pretrained(
    size: Size | None = None, *, seed: int = 0, progress: Progress | None = None
) -> Diffusion:
    """Return the pretrained denoiser, frozen: from the cache, or after minutes.

    One made on another machine, or with another number of threads, may differ in its last bits.

    Parameters
    ----------
    size : Size, optional
        Its size; by default that of the example.
    seed : int
        Of parameters, images and noise.
    progress : callable, optional
        Told of every step.
    """
    size = Size() if size is None else size
    model = seeded(lambda: Diffusion(size), seed)
    kept(
        kept_folder(f"denoiser-{seed}", size, _MODULES),
        model,
        lambda: pretrain(model, seed=seed, progress=progress),
    )
    return frozen(model)


def pretrain(model: Diffusion, *, seed: int = 0, progress: Progress | None = None) -> list[float]:
    """Train a denoiser in place; return the loss of every step.

    Parameters
    ----------
    model : Diffusion
        Its size says how long and how fast.
    seed : int
        Of images and noise.
    progress : callable, optional
        Told of every step.
    """
    size = model.size
    device = model.alpha.device
    rng = np.random.default_rng([seed, 1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=size.rate, weight_decay=0.01)
    # Up in a tenth of the steps, then down to nothing: averaging weights would do no more.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=size.rate, total_steps=size.steps, pct_start=0.1, cycle_momentum=False
    )
    history = []
    for step in range(size.steps):
        scenes = draw_scenes(size.batch, rng)
        images = render(scenes)
        values = [images, tokenise(scenes.captions(varied=rng)), even_times(size.batch, rng)]
        values.append(rng.standard_normal(images.shape, np.float32))
        loss = losses(model, *(torch.from_numpy(each).to(device) for each in values)).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        history.append(loss.item())
        if progress is not None:
            progress("pretrain", step + 1, size.steps)
    return history
