"""A model of one LoRA site, small enough that the RTL trains it, and the proof that it does.

The site learns what another weight, a low-rank step away from its own, makes of the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from ..demo import make_site
from .adapt import adapt
from .engine import Engine
from .precision import Method
from .task import Task
from .times import Times
from .trainer import Settings, Trainer

__all__ = ["Compared", "compare", "make_task"]


def make_task(n: int, d1: int, d2: int, r: int, seed: int = 0) -> Task:
    """Return the task of a site.

    Parameters
    ----------
    n, d1, d2, r : int
        Tokens of the one sample of a batch, width in, width out, rank of what is to be learnt.
    seed : int
        Of everything.
    """
    tensors = {k: torch.from_numpy(v) for k, v in make_site(n, d1, d2, r, seed).items()}
    model = _Site(d1, d2)
    with torch.no_grad():
        model.to_k.weight.copy_(tensors["w"].T)
    target = tensors["w"] + tensors["a"] @ tensors["b"]

    def losses(draw: torch.Generator) -> dict[str, Tensor]:
        x = tensors["x"][None, torch.randperm(n, generator=draw)]
        times = torch.randint(Times().total, (1,), generator=draw)
        return {"loss": (model(x, times) - x @ target).square().mean()}

    return Task(f"site {n}x{d1}x{d2}", model, losses, match=("to_k",))


class _Site(nn.Module):
    """A linear layer that is called as denoisers are: with tokens of samples, and their times."""

    def __init__(self, d1: int, d2: int) -> None:
        super().__init__()
        self.to_k = nn.Linear(d1, d2, bias=False)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """Return (samples, n, d2) of x (samples, n, d1); times are for experts and schedules."""
        return self.to_k(x)


@dataclass(frozen=True)
class Compared:
    """The losses of two engines, step by step, and whether every trained bit is the same."""

    losses: list[float]
    expected: list[float]
    exact: bool


def compare(
    task: Callable[[], Task],
    method: Method,
    engines: tuple[Engine, Engine],
    steps: int,
    *,
    rank: int,
    scaling: Fraction | float = 1,
    watch: Callable[[int, float], None] | None = None,
) -> Compared:
    """Train a task twice, with an engine each.

    Parameters
    ----------
    task : callable
        Makes the task anew.
    engines : pair of Engine
        Who is judged, and whom it must equal.
    scaling : number
        alpha / r.
    watch : callable, optional
        See `Trainer.run`; of the first engine.
    """
    trainers = []
    for engine in engines:
        made = task()
        adapted = adapt(made.model, made.match, method, rank=rank, alpha=float(scaling) * rank,
                        engine=engine)  # fmt: skip
        trainers.append(Trainer(made, adapted, Settings(learning_rate=1e-2, measure_every=0)))
    for trainer, looks in zip(trainers, (watch, None), strict=True):
        trainer.run(steps, looks)
    (losses, expected), (first, second) = (
        [[row["loss"] for row in trainer.history.losses] for trainer in trainers],
        [trainer.adapted.parameters() for trainer in trainers],
    )
    exact = losses == expected and all(map(torch.equal, first, second))
    return Compared(losses, expected, exact)
