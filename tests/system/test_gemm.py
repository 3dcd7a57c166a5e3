"""RTL = functional model = golden, for single products of every size, in both dataflows."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from hw.isa.config import Config
from sim.axi import Stalls
from sim.result import DramTiming
from sw.driver import Device
from sw.gemm import GemmResult, run_gemm

from ..golden import numerics as golden
from ..marks import nightly
from .random_programs import case as cases

# Memories of a few words: most sizes below are larger than a half and need tiles.
CRAMPED = Config(rows=4, columns=4, input_depth=16, weight_depth=16, output_depth=16)
# Both are built for random programs, too.
OBLONG, WIDE = cases.CONFIGS["3x5"], cases.CONFIGS["7x8"]
CONFIGS = {"4x4 cramped": CRAMPED, "3x5": OBLONG, "7x8": WIDE}
FLAT = Config(rows=2, columns=24, bus_bytes=4)
"""Rows of sums that take many beats."""
SIZES = (1, 2, 3, 5, 7, 11, 13, 16, 17, 31)


def device(config: Config, backend: str, *, stall: float = 0.1, seed: int = 0, **timing) -> Device:
    """Return a device; on the RTL every channel stalls, and every AXI rule is checked."""
    if backend == "functional":
        return Device(config, backend)
    options = {"stalls": Stalls.everywhere(stall), "seed": seed, "check_protocol": True}
    return Device(config, backend, DramTiming(**timing) if timing else None, options)


def int32(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the golden sums."""
    return golden.gemm(torch.from_numpy(a), torch.from_numpy(b)).numpy()


def check(result: GemmResult, model: GemmResult, expected: np.ndarray, what: object) -> None:
    """Compare the rungs one by one, so that a failure names the one that broke."""
    assert np.array_equal(model.c, expected), f"functional model = golden: {what}"
    assert np.array_equal(result.c, model.c), f"RTL = functional model: {what}"


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", [*range(4), *nightly(*range(4, 8))])
def test_random_products(name: str, seed: int) -> None:
    """Any size, transposed or not, with and without stalls on every channel."""
    config, rng = CONFIGS[name], random.Random(f"{name} {seed}")
    data = np.random.default_rng(seed)
    m, k, n = (rng.choice((*SIZES, rng.randint(1, 70))) for _ in range(3))
    options = {
        "dataflow": ("ws", "os", "auto")[seed % 3],
        "transpose_a": rng.random() < 0.3,
        "transpose_b": rng.random() < 0.3,
    }
    a = data.integers(-128, 128, (m, k), dtype=np.int8)
    b = data.integers(-128, 128, (k, n), dtype=np.int8)
    given = (
        a.T.copy() if options["transpose_a"] else a,
        b.T.copy() if options["transpose_b"] else b,
    )
    rtl = device(
        config, "rtl", stall=rng.choice((0, 0.3, 0.6)), seed=seed,
        latency=rng.choice((1, 10, 60)), bytes_per_cycle=rng.choice((None, 3.5)),
    )  # fmt: skip
    result = run_gemm(rtl, *given, **options)
    model = run_gemm(device(config, "functional"), *given, **options)
    check(result, model, int32(a, b), f"{name}, seed {seed}, {m}x{k}x{n}, {options}")
    assert result.results[0].counters["macs"] == m * k * n


@pytest.mark.parametrize("requantise", ["row", "column", "tensor"])
@pytest.mark.parametrize("dataflow", ["ws", "os"])
@pytest.mark.parametrize("name", CONFIGS)
def test_requantised_products(name: str, dataflow: str, requantise: str) -> None:
    config, data = CONFIGS[name], np.random.default_rng(5)
    a = data.integers(-127, 128, (13, 19), dtype=np.int8)
    b = data.integers(-127, 128, (19, 11), dtype=np.int8)
    a[3] = 0  # a row of zeros: absmax 0, scale 0
    options = {"dataflow": dataflow, "requantise": requantise}
    result = run_gemm(device(config, "rtl", stall=0.2), a, b, **options)
    model = run_gemm(device(config, "functional"), a, b, **options)
    sums = golden.gemm(torch.from_numpy(a), torch.from_numpy(b))
    maxima = golden.absmax(sums, requantise)
    pairs = [golden.multiplier(127, int(most)) for most in maxima.flatten()]
    m, s = (torch.tensor(values).reshape(maxima.shape) for values in zip(*pairs, strict=True))
    expected = golden.requantise8(sums, m, s).numpy()
    check(result, model, expected, f"{name} {dataflow} {requantise}")
    assert np.array_equal(result.scales, maxima.numpy().ravel() / 127)


@pytest.mark.nightly
@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_sums_wider_than_the_bus(dataflow: str) -> None:
    data = np.random.default_rng(4)
    a = data.integers(-128, 128, (3, 5), dtype=np.int8)
    b = data.integers(-128, 128, (5, 60), dtype=np.int8)
    result = run_gemm(device(FLAT, "rtl"), a, b, dataflow=dataflow)
    model = run_gemm(device(FLAT, "functional"), a, b, dataflow=dataflow)
    check(result, model, int32(a, b), dataflow)


@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_all_minus_128(dataflow: str) -> None:
    a, b = np.full((9, 21), -128, np.int8), np.full((21, 6), -128, np.int8)
    result = run_gemm(device(CRAMPED, "rtl"), a, b, dataflow=dataflow)
    model = run_gemm(device(CRAMPED, "functional"), a, b, dataflow=dataflow)
    check(result, model, np.full((9, 6), 21 * 128 * 128, np.int32), dataflow)


@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_a_reduction_that_needs_30_bits(dataflow: str) -> None:
    """SD 1.5's longest reduction, 23 040, with every product at its extreme."""
    a, b = np.full((1, 23040), 127, np.int8), np.full((23040, 2), 127, np.int8)
    b[:, 1] = -127
    result = run_gemm(device(WIDE, "rtl"), a, b, dataflow=dataflow)
    model = run_gemm(device(WIDE, "functional"), a, b, dataflow=dataflow)
    extreme = 23040 * 127 * 127
    assert extreme.bit_length() == 29, "29 bits and a sign"
    check(result, model, np.array([[extreme, -extreme]], np.int32), dataflow)


@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_rounding_ties_of_both_signs(dataflow: str) -> None:
    """Sums of which 127 and an even absmax 254 make halves."""
    sums = np.array([[254, 1, -1, 3, -3, 253, -253, 0]], np.int64)
    a = np.ones((1, 3), np.int8)
    b = np.zeros((3, 8), np.int8)
    b[0] = np.clip(sums, -127, 127)
    b[1] = np.clip(sums - b[0], -127, 127)
    b[2] = sums - b[0] - b[1]
    options = {"dataflow": dataflow, "requantise": "tensor"}
    result = run_gemm(device(OBLONG, "rtl"), a, b, **options)
    assert result.c.tolist() == [[127, 1, -1, 2, -2, 127, -127, 0]], "half away from zero"
