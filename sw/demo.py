"""The main job on real shapes: one Stable Diffusion 1.5 K site, on the RTL, against torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from hw.isa.config import Config
from sim.result import BackendError

from .dataflow import Choice
from .decide import Objective
from .driver import Device
from .gemm import Rounding
from .layer import compile_layer
from .layer_run import LayerResult, quantise_site, run_layer
from .product_rows import product_rows

__all__ = ["SHAPE", "compare", "golden", "make_site", "run_demo"]

SHAPE = {"n": 77, "d1": 768, "d2": 320, "r": 4}
"""Text tokens, text width, channels of the 64x64 level, LoRA rank."""


def make_site(n: int, d1: int, d2: int, r: int, seed: int) -> dict[str, np.ndarray]:
    """Return synthetic tensors of a site, float32: ``x w a b dy``.

    Activations have outlier channels and gradients log-normal rows, as measured on text encoders;
    the first row of the gradient is zero, since the first text token is detached.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d1)) * (1 + 15 * (rng.random(d1) < 0.02))
    dy = rng.standard_normal((n, d2)) * rng.lognormal(0, 1, (n, 1)) * 1e-3
    dy[0] = 0
    tensors = {
        "x": x,
        "w": rng.standard_normal((d1, d2)) / np.sqrt(d1),
        "a": rng.standard_normal((d1, r)) / np.sqrt(d1),
        "b": rng.standard_normal((r, d2)) * 0.02,
        "dy": dy,
    }
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def golden(
    tensors: dict[str, np.ndarray], *, rounding: Rounding = "nearest", noise_seed: int = 0
) -> dict[str, np.ndarray]:
    """Return every output of a site as the torch golden model computes it, by the compiler's names.

    Raises
    ------
    BackendError
        Torch, or the golden model, is not installed.
    """
    try:
        import torch
        from cdmqta_golden.lora import lora_site
    except ImportError as error:
        raise BackendError(f"checking against torch needs the golden extra: {error}") from None
    site = lora_site(
        *(torch.from_numpy(tensors[name]) for name in ("x", "w", "a", "b", "dy")),
        column_copies="rescaled", rounding=rounding, seed=noise_seed,
    )  # fmt: skip
    outputs = {
        "H": site.h.sums, "H.row": site.h_row.values, "H.column": site.h_column.values,
        "Y": site.y.sums, "dH": site.dh.sums, "dH.row": site.dh_row.values,
        "dH.column": site.dh_column.values, "dX": site.dx.sums,
        "dA": site.da.sums, "dB": site.db.sums,
    }  # fmt: skip
    return {name: value.numpy() for name, value in outputs.items()}


def compare(seen: np.ndarray, expected: np.ndarray) -> str | None:
    """Return None if two arrays are equal, or a description of the first element that is not."""
    if seen.shape != expected.shape or seen.dtype != expected.dtype:
        return f"{seen.dtype} {seen.shape}, not {expected.dtype} {expected.shape}"
    wrong = np.argwhere(seen != expected)
    if not wrong.size:
        return None
    place = tuple(int(index) for index in wrong[0])
    return f"{list(place)}: {seen[place]}, not {expected[place]}"


def run_demo(
    device: Device,
    *,
    seed: int,
    dataflow: Choice,
    rounding: Rounding = "nearest",
    noise_seed: int = 0,
    objective: Objective = "latency",
) -> dict[str, Any]:
    """Compile, run and check the site; return every figure, with a row a product."""
    tensors = make_site(**SHAPE, seed=seed)
    expected = golden(tensors, rounding=rounding, noise_seed=noise_seed)
    layer = compile_layer(
        device.config, **SHAPE, dataflow=dataflow, column_copies="rescaled", rounding=rounding,
        objective=objective,
    )  # fmt: skip
    inputs = quantise_site(
        *(tensors[name] for name in ("x", "w", "a", "b", "dy")), column_copies="rescaled"
    )
    result = run_layer(device, layer.program, inputs, noise_seed=noise_seed)
    differences = {name: compare(result.arrays[name], expected[name]) for name in expected}
    return figures(device.config, result, differences)


def figures(
    config: Config,
    result: LayerResult,
    differences: dict[str, str | None],
) -> dict[str, Any]:
    """Return totals, and a row for each product of each program."""
    rows = []
    for program, run in zip(result.programs, result.results, strict=True):
        for row in product_rows(program, run):
            name = row["product"].partition("[")[0]
            own = [diff for key, diff in differences.items() if key.split(".")[0] == name]
            wrong = next((diff for diff in own if diff), None)
            checked = {"exact": wrong is None, "first_difference": wrong}
            rows.append({"program": program.name} | row | checked)
    total = {
        name: sum(run.counters.get(name, 0) for run in result.results)
        for name in result.results[0].counters
    }
    cycles = total.get("cycles", 0)
    places = config.macs_per_cycle
    return {
        **total,
        "utilisation": total["macs"] / (cycles * places) if cycles else None,
        "backend": result.results[0].backend,
        "seconds": sum(run.seconds for run in result.results),
        "exact": not any(differences.values()),
        "differences": {name: diff for name, diff in differences.items() if diff},
        "products": rows,
    }
