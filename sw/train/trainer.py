"""The training loop: steps that are refused whole or done whole, checkpoints, and logs."""

from __future__ import annotations

import copy
import math
import os
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoint
from .adapt import Adapted, check_tensors
from .history import History
from .operand import NotFinite
from .task import Task

__all__ = ["Settings", "StepRefused", "Trainer"]

_CHECKPOINT = "checkpoint.pt"
_COLUMNS = {"step", "saturations"}
"""Of a row of losses, what is no loss."""


class StepRefused(RuntimeError):
    """A step would have made the model worthless; nothing has changed."""


@dataclass(frozen=True)
class Settings:
    """How a run is driven.

    Members
    -------
    learning_rate : float
        Of Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
    weight_decay : float
    decay_steps : int
        Steps over which the learning rate falls linearly to zero; 0: it stays.
    seed : int
        Of the batches.
    measure_every : int
        Steps from one look at the state of quantisation to the next; 0: none.
    checkpoint_every : int
        Steps from one checkpoint to the next.

    Raises
    ------
    ValueError
        A member is out of range.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    decay_steps: int = 0
    seed: int = 0
    measure_every: int = 25
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for name, least in (("decay_steps", 0), ("measure_every", 0), ("checkpoint_every", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"{name} must be a whole number of at least {least}, not {value!r}"
                )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"learning_rate must be a finite number above 0, not {self.learning_rate}"
            )
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(
                f"weight_decay must be a finite number of at least 0, not {self.weight_decay}"
            )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        left = 1 - step / self.decay_steps if self.decay_steps else 1.0
        return self.learning_rate * max(0.0, left)


class Trainer:
    """Trains an adapted model of a task, from the start or from a checkpoint.

    The batch of a step depends on the seed and the step's number alone, so that a resumed run is
    the run that was never stopped, bit for bit.

    Parameters
    ----------
    task : Task
    adapted : Adapted
        Of the task's model.
    settings : Settings
    folder : Path or None
        Where checkpoints and logs go; nowhere if None.

    Members
    -------
    step : int
        Steps done.
    history : History

    Raises
    ------
    ModuleNotFoundError
        There is a folder, but not the package that writes logs.
    """

    def __init__(
        self, task: Task, adapted: Adapted, settings: Settings, folder: Path | None = None
    ) -> None:
        self.task, self.adapted, self.settings, self.folder = task, adapted, settings, folder
        self.step, self.history = 0, History()
        if folder is not None:
            if find_spec("tensorboardX") is None:  # it is imported at the first checkpoint
                raise ModuleNotFoundError("logs of a run need tensorboardX, of the extra `train`")
            folder.mkdir(parents=True, exist_ok=True)
        self._parameters = dict(adapted.named_parameters()) | task.also
        for parameter in task.also.values():
            parameter.requires_grad_(True)
        self._optimiser = torch.optim.AdamW(
            self._parameters.values(),
            lr=settings.learning_rate, weight_decay=settings.weight_decay,
        )  # fmt: skip
        self._written = 0
        self._model = ""

    def run(self, steps: int, watch: Callable[[int, float], None] | None = None) -> None:
        """Train until so many steps are done, counted from the start of the run.

        Parameters
        ----------
        watch : callable, optional
            Called after each step with the number of steps done and the loss.

        Raises
        ------
        StepRefused
            A loss or gradient, or what goes into a product, is not finite. The steps before are
            kept, and in the checkpoint if there is a folder.
        ValueError
            The task's losses cannot be trained on, or more steps are done already.
        """
        if steps < self.step:
            raise ValueError(f"{self.step} steps are done already: {steps} cannot be had any more")
        try:
            while self.step < steps:
                loss = self._one()
                if self.step % self.settings.checkpoint_every == 0 and self.step < steps:
                    self.save()
                if watch is not None:
                    watch(self.step, loss)
        except StepRefused:
            self.save()
            raise
        self.save()  # an interrupted step may be half done: then the last checkpoint stands

    def _one(self) -> float:
        """Do one step; return its loss."""
        context, settings = self.adapted.context, self.settings
        generator = torch.Generator().manual_seed(_mixed(settings.seed, self.step))
        if context is not None:
            context.step = self.step
            every = settings.measure_every
            context.monitor.listening = every > 0 and self.step % every == 0
            context.monitor.take()  # what a step that was refused has left
        limited = context.engine.saturations if context else 0
        self._optimiser.zero_grad(set_to_none=True)
        try:
            losses = self._usable(self.task.losses(generator))
            self._check({name: loss.detach() for name, loss in losses.items()})
            losses["loss"].backward()
        except NotFinite as error:
            raise StepRefused(f"step {self.step} is refused: {error}") from None
        gradients = {f"the gradient of {n}": p.grad for n, p in self._parameters.items()}
        self._check({name: value for name, value in gradients.items() if value is not None})
        for group in self._optimiser.param_groups:
            group["lr"] = settings.rate(self.step)
        self._optimiser.step()
        values = {name: loss.item() for name, loss in losses.items()}
        if context is not None:
            values["saturations"] = context.engine.saturations - limited
        self.history.add(self.step, values, context.monitor.take() if context else ())
        self.step += 1
        return values["loss"]

    def _usable(self, losses: Any) -> dict[str, Tensor]:
        """Return the losses of a task.

        Raises
        ------
        ValueError
            They are none that can be trained on, or logged.
        """
        name, rows = self.task.name, self.history.losses
        if not isinstance(losses, dict) or "loss" not in losses:
            raise ValueError(f"{name}: losses must be tensors by name, 'loss' among them")
        if taken := _COLUMNS & losses.keys():
            raise ValueError(f"{name}: no loss may be called {' or '.join(sorted(taken))}")
        if rows and losses.keys() != rows[0].keys() - _COLUMNS:
            raise ValueError(
                f"{name}: losses of step {self.step} are {', '.join(losses)}, those of the first "
                f"were {', '.join(key for key in rows[0] if key not in _COLUMNS)}"
            )
        for key, value in losses.items():
            if not isinstance(value, Tensor) or value.is_complex():
                kind = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"{name}: {key} must be a tensor of a real number, not {kind}")
            if value.numel() != 1:
                raise ValueError(f"{name}: {key} must be a single number, not {value.numel()}")
        if not losses["loss"].requires_grad:
            raise ValueError(f"{name}: the loss depends on nothing that trains")
        return dict(losses)

    def _check(self, tensors: dict[str, Tensor]) -> None:
        for name, value in tensors.items():
            if not bool(value.isfinite().all()):
                raise StepRefused(
                    f"step {self.step} is refused: {name} is not finite: "
                    f"it holds NaN or an infinity"
                )

    def _identity(self) -> dict[str, Any]:
        """Return what a checkpoint must be of."""
        if not self._model:
            # What is frozen stays: it is looked at once.
            self._model = checkpoint.fingerprint(self.adapted, self.task.also.values())
        return {
            "task": self.task.name,
            **asdict(self.adapted.method),
            "rank": self.adapted.rank,
            "alpha": self.adapted.alpha,
            "total": self.adapted.total,
            "settings": {
                name: value
                for name, value in asdict(self.settings).items()
                if name not in ("measure_every", "checkpoint_every")
            },
            "model": self._model,
        }

    def save(self) -> None:
        """Write the checkpoint and the logs, if there is a folder."""
        if self.folder is None:
            return
        state = self._state()
        self.history.write(self.folder)
        if self._written < self.step:
            # A run that is killed behind this writes these rows again: none is lost.
            self.history.to_tensorboard(self.folder, self._written)
            self._written = self.step
        checkpoint.write(self.folder / _CHECKPOINT, self._identity(), state)

    def resume(self) -> bool:
        """Go on from the checkpoint in the folder; return whether there is one.

        Raises
        ------
        CheckpointError
            It is damaged, or of another version, model or run. Nothing has changed then.
        """
        if self.folder is None or not (self.folder / _CHECKPOINT).exists():
            return False
        path = self.folder / _CHECKPOINT
        state, before = checkpoint.read(path, self._identity()), copy.deepcopy(self._state())
        try:
            check_tensors(dict(self.task.also), state["also"], os.fspath(path))
            self._take(state)
        except ValueError as error:
            self._take(before)
            raise checkpoint.CheckpointError(f"{path} is of another run: {error}") from None
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError):
            self._take(before)
            raise checkpoint.CheckpointError(f"{path} is damaged: its parts do not fit") from None
        return True

    def _state(self) -> dict[str, Any]:
        """Return all that a run goes on from."""
        return {
            "step": self.step,
            "adapted": self.adapted.state_dict(),
            "also": {name: value.detach().clone() for name, value in self.task.also.items()},
            "optimiser": self._optimiser.state_dict(),
            "history": self.history.state_dict(),
        }

    def _take(self, state: dict[str, Any]) -> None:
        """Take back what `_state` gave."""
        self.adapted.load_state_dict(state["adapted"])
        with torch.no_grad():
            for name, parameter in self.task.also.items():
                parameter.copy_(state["also"][name])
        self._optimiser.load_state_dict(state["optimiser"])
        self.history.load_state_dict(state["history"])
        self.step = self._written = int(state["step"])


def _mixed(seed: int, step: int) -> int:
    """Return a seed of a step; steps of seeds that follow one another share none."""
    return zlib.crc32(f"{seed}/{step}".encode()) << 32 | zlib.crc32(f"{step}/{seed}".encode())
