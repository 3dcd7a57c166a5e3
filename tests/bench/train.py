"""How fast a layer trains in the accelerator's integers, beside the same layer in float."""

from __future__ import annotations

import copy
import statistics
import time

__all__ = ["layers"]

Rows = list[tuple[str, str, str, bool | None]]
"""As in `rates`. Seconds depend on the machine: they are shown beside their goal, not judged."""

SITES = {
    "K of SD 1.5, batch 2": (154, 768, 320),
    "square, many rows": (2048, 320, 320),
    "wide": (1024, 1280, 1280),
}
METHODS = ("int8", "int8-tensor", "int8-stochastic", "int8-tuneqdm-one")
REPEATS = 7


def layers() -> Rows:
    """Measure CPU time of a step, forward and backward, on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [row for name, sizes in SITES.items() for row in _site(name, *sizes)]
    finally:
        torch.set_num_threads(threads)


def _site(name: str, rows: int, d1: int, d2: int) -> Rows:
    import torch
    from torch import nn

    from sw.train.adapt import adapt

    generator = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(rows, width, generator=generator) for width in (d1, d2))
    plain = nn.Sequential(nn.Linear(d1, d2))
    models = {"fp32": copy.deepcopy(plain)} | {method: copy.deepcopy(plain) for method in METHODS}
    for method, model in models.items():
        adapt(model, "0", method)

    def seconds(model: nn.Module) -> float:
        start = time.process_time()
        model.zero_grad()
        model(x.requires_grad_()).backward(dy)
        return time.process_time() - start

    # In turns, so that a busy machine slows all alike.
    times = {method: [] for method in models}
    for _ in range(REPEATS):
        for method, model in models.items():
            times[method].append(seconds(model))
    float32 = statistics.median(times.pop("fp32"))
    return [
        (f"{name} ({rows} x {d1} -> {d2}), {method}",
         f"{float32 / statistics.median(taken):.2f} of float32's speed", "0.25", None)
        for method, taken in times.items()
    ]  # fmt: skip
