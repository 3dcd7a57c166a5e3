"""Several optimiser steps on the accelerator: losses and weights are the torch engine's."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from hw.isa.config import PRESETS, Config
from sw.driver import Device
from sw.train.adapt import adapt
from sw.train.device import DeviceEngine
from sw.train.engine import TorchEngine
from sw.train.one_site import compare, make_task
from sw.train.precision import METHODS, Method, Precision
from sw.train.trainer import Settings, Trainer
from tests.marks import nightly

KNOWN = METHODS | {"int8-rescaled": Method(precision=Precision(column_copies="rescaled"))}
QUANTISED = [name for name, method in KNOWN.items() if method.precision]
DIFFERENT = ["int8", "int8-stochastic", "int8-full", "int8-tuneqdm", "int8-low-noise",
             *nightly("int8-rescaled", "int8-tensor", "int8-tuneqdm-8bit")]  # fmt: skip
"""Methods whose programs differ, or that change between them; others differ in operands."""


@pytest.mark.parametrize("method", QUANTISED)
def test_functional_model(method):
    engine = DeviceEngine(Device(Config(rows=4, columns=3)))
    task = partial(make_task, 12, 16, 8, 2)
    found = compare(task, KNOWN[method], (engine, TorchEngine()), 4, rank=2, scaling=2)
    assert found.exact and found.losses == found.expected
    assert len(found.losses) == 4 and found.losses[-1] < found.losses[0]


@pytest.mark.parametrize("method", DIFFERENT)
def test_rtl(method):
    engine = DeviceEngine(Device(PRESETS["tiny"], "rtl"))
    task = partial(make_task, 9, 13, 11, 2)
    found = compare(task, KNOWN[method], (engine, TorchEngine()), 3, rank=2)
    assert found.exact
    assert engine.runs >= 6 and engine.cycles > engine.macs / 16


def test_a_difference_is_seen():
    class Wrong(TorchEngine):
        def forward(self, *arguments):
            found = super().forward(*arguments)
            found.y[0, 0] += 1
            return found

    task = partial(make_task, 9, 13, 11, 2)
    found = compare(task, METHODS["int8"], (Wrong(), TorchEngine()), 2, rank=2)
    assert not found.exact and found.losses != found.expected


def test_the_task_learns():
    task = make_task(32, 24, 16, 2)
    adapted = adapt(task.model, task.match, "int8", rank=2)
    trainer = Trainer(task, adapted, Settings(learning_rate=1e-2, measure_every=0))
    trainer.run(150)
    losses = torch.tensor([row["loss"] for row in trainer.history.losses])
    assert losses[-5:].mean() < 0.3 * losses[0]
