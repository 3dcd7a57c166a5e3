"""A task that trains in milliseconds: one linear layer learns what another one does."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from sw.train.adapt import adapt
from sw.train.precision import METHODS, Method
from sw.train.task import Task
from sw.train.trainer import Settings, Trainer


def make_task(name: str = "small", width: int = 6) -> Task:
    """Return a task of one layer with a bias of its own that learns too."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(5, width), nn.Linear(width, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    other = torch.randn(5, 4, generator=generator)
    offset = nn.Parameter(torch.zeros(4))

    def losses(draw: torch.Generator) -> dict[str, torch.Tensor]:
        x = torch.randn(8, 5, generator=draw)
        loss = (model(x) + offset - x @ other).square().mean()
        return {"loss": loss, "half": loss / 2}

    return Task(name, model, losses, match=("0",), frozen=("1",), also={"offset": offset})


def timeless(method: str) -> Method:
    """Return a method by name, with one expert and no schedule: for models that know no time."""
    return replace(METHODS[method], experts=1, schedule=())


def make_trainer(folder=None, method="int8-stochastic", rank=2, width=6, **settings) -> Trainer:
    """Return a trainer of the task."""
    task = make_task(width=width)
    adapted = adapt(task.model, task.match, timeless(method), rank=rank, frozen=task.frozen)
    settings = {"measure_every": 3, "checkpoint_every": 4, "learning_rate": 3e-2} | settings
    return Trainer(task, adapted, Settings(**settings), folder)
