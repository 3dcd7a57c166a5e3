"""Small programs in Icarus Verilog, which shows X where Verilator has a value."""

from __future__ import annotations

import numpy as np
import pytest

from hw.isa.config import Config
from sim.axi import Stalls
from sim.result import BackendError
from sim.toolchain import find_icarus
from sw.driver import Device
from sw.gemm import run_gemm


def installed() -> bool:
    try:
        find_icarus()
    except BackendError:
        return False
    return True


pytestmark = pytest.mark.skipif(not installed(), reason="Icarus Verilog is not installed")

CONFIG = Config(rows=3, columns=2, input_depth=16, weight_depth=16, output_depth=16)


@pytest.mark.parametrize("requantise", [None, "row", "column"])
@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_no_unknown_value_reaches_a_result(dataflow: str, requantise: str | None) -> None:
    data = np.random.default_rng(1)
    a = data.integers(-128, 128, (5, 7), dtype=np.int8)
    b = data.integers(-128, 128, (7, 3), dtype=np.int8)
    options = {"dataflow": dataflow, "requantise": requantise}
    watched = {"simulator": "icarus", "stalls": Stalls.everywhere(0.2), "check_protocol": True}
    result = run_gemm(Device(CONFIG, "rtl", options=watched), a, b, **options)
    model = run_gemm(Device(CONFIG), a, b, **options)
    assert np.array_equal(result.c, model.c)
    assert result.results[0].backend == "rtl-icarus"
