"""What a user of `cdmqta train module:function` writes."""

import torch
from torch.nn import functional

from sw.train.task import Task

from .small_task import make_task


def small():
    """Return a task."""
    return make_task()


def nothing():
    """Return something else."""
    return 3


def unmatched():
    """Return a task whose layers are not there."""
    task = make_task()
    task.match = ("*.to_k",)
    return task


def not_finite():
    """Return a task whose loss is not a number."""
    task = make_task()
    honest = task.losses
    task.losses = lambda draw: {"loss": honest(draw)["loss"] * float("nan")}
    return task


def lossless():
    """Return a task that gives no loss."""
    task = make_task()
    task.losses = lambda draw: {}
    return task


class Denoiser(torch.nn.Module):
    """A model with attention that may be replaced, called with the times of its samples."""

    def __init__(self) -> None:
        super().__init__()
        self.to_k, self.attend = torch.nn.Linear(5, 4), functional.scaled_dot_product_attention

    def forward(self, x, timestep):
        keys = self.to_k(x)
        return self.attend(keys, keys, keys)


def denoiser(times=(0, 20, 49)):
    """Return a task of a denoiser whose noise has 50 steps."""
    torch.manual_seed(0)
    model = Denoiser()

    def losses(draw):
        x = torch.randn(3, 2, 5, generator=draw)
        return {"loss": (model(x, torch.tensor(times)) - x[..., :4]).square().mean()}

    return Task("denoiser", model, losses, match="to_k", attention="", alpha=8, total=50)


def late():
    """Return a task that draws a time that is none."""
    return denoiser(times=(0, 49, 50))


def with_losses(change):
    """Return a task whose losses are what a function makes of a batch's generator and its own."""
    task = make_task()
    honest = task.losses
    task.losses = lambda draw: change(draw, honest(draw))
    return task


def failing():
    """Return a task whose losses have a mistake in them."""
    return with_losses(lambda draw, found: {"loss": found["los"]})


def plain():
    """Return a task whose second loss is no tensor."""
    return with_losses(lambda draw, found: found | {"half": found["half"].item()})


def once():
    """Return a task that goes back through a graph that is used up."""
    kept = []

    def change(draw, found):
        kept.append(found["loss"])
        return {"loss": kept[0]}

    return with_losses(change)
