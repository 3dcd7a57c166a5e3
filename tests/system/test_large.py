"""Products on the 64x64 RTL, and many random ones on small arrays: minutes, so nightly."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from hw.isa.config import Config
from sim.axi import Stalls
from sim.result import DramTiming
from sw.driver import Device
from sw.gemm import run_gemm

from ..golden import numerics as golden
from .test_gemm import CONFIGS, check, device, int32

pytestmark = pytest.mark.nightly

PAPER = Config.preset("paper")
SHAPES = [(77, 768, 320), (768, 77, 4), (320, 77, 4), (77, 320, 768), (130, 70, 129), (1, 1, 1)]


@pytest.mark.parametrize("dataflow", ["ws", "os"])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_on_64x64(shape: tuple[int, int, int], dataflow: str) -> None:
    m, k, n = shape
    data = np.random.default_rng(m)
    a = data.integers(-128, 128, (m, k), dtype=np.int8)
    b = data.integers(-128, 128, (k, n), dtype=np.int8)
    options = {"stalls": Stalls.everywhere(0.05), "seed": m, "check_protocol": True}
    rtl = Device(PAPER, "rtl", DramTiming(latency=60, bytes_per_cycle=48.0), options)
    result = run_gemm(rtl, a, b, dataflow=dataflow)
    expected = golden.gemm(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    check(result, run_gemm(Device(PAPER), a, b, dataflow=dataflow), expected, (shape, dataflow))


@pytest.mark.parametrize("seed", range(1000, 1200))
def test_random_products(seed: int) -> None:
    rng, data = random.Random(seed), np.random.default_rng(seed)
    name = rng.choice(list(CONFIGS))
    m, k, n = (rng.choice((1, 2, 3, 4, 5, 8, 13, rng.randint(1, 90))) for _ in range(3))
    a = data.integers(-128, 128, (m, k), dtype=np.int8)
    b = data.integers(-128, 128, (k, n), dtype=np.int8)
    options = {
        "dataflow": rng.choice(("ws", "os")),
        "requantise": rng.choice((None, "row", "column", "tensor")),
    }
    rtl = device(
        CONFIGS[name], "rtl", stall=rng.choice((0, 0.2, 0.7)), seed=seed,
        latency=rng.choice((1, 5, 90)), bytes_per_cycle=rng.choice((None, 1.25, 7.0)),
    )  # fmt: skip
    result = run_gemm(rtl, a, b, **options)
    model = run_gemm(device(CONFIGS[name], "functional"), a, b, **options)
    what = f"seed {seed}, {name}, {m}x{k}x{n}, {options}"
    if options["requantise"] is None:
        check(result, model, int32(a, b), what)
    assert np.array_equal(result.c, model.c), f"RTL = functional model: {what}"
