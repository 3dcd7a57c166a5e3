"""What layers take in memory, counted by hand."""

from __future__ import annotations

import pytest
from torch import nn

from sw.train.adapt import adapt
from sw.train.memory import memory
from sw.train.precision import METHODS

from .small_task import timeless

COUNT, LORA = 10 * 6, 3 * (10 + 6)
EXPECTED = {
    "fp32": (4 * COUNT, LORA), "int8": (COUNT + 4, LORA), "int8-4bit": (COUNT + 4, LORA),
    "fp32-full": (0, COUNT), "int8-full": (COUNT + 4, COUNT),
    "int8-tuneqdm": (COUNT // 2 + 24, 16), "fp32-tuneqdm": (COUNT // 2 + 24, 16),
    "int8-tuneqdm-8bit": (COUNT + 24, 16),
}  # fmt: skip


@pytest.mark.parametrize("method", EXPECTED)
def test_memory(method):
    model = nn.Sequential(nn.Linear(10, 6))
    found = memory(adapt(model, "0", timeless(method), rank=3))
    weights, trained = EXPECTED[method]
    assert (found.weights, found.trained) == (weights, 4 * trained)
    assert found.optimiser == 8 * trained and found.total == weights + 12 * trained


class Denoiser(nn.Module):
    """A model that knows times, and so takes experts."""

    def __init__(self) -> None:
        super().__init__()
        self.to_k = nn.Linear(10, 6)

    def forward(self, images, times):
        return self.to_k(images)


def test_experts_multiply_what_trains():
    found = memory(adapt(Denoiser(), "to_k", METHODS["int8-tuneqdm"]))
    assert found.trained == 4 * 4 * 16
