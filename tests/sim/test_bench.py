"""The cocotb bench on a probe: a handshake is a rising edge with valid and ready."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.encoding import encode
from hw.isa.instructions import Halt
from sim import rtl
from sim.axi import Stalls
from sim.builder import build
from sim.protocol import ProtocolError
from sim.result import BackendError, DramTiming, RunResult

from .probe import BUS_BYTES, TRANSFERS, WRITE_BASE, Probe
from .tools import needs_icarus, needs_verilator

SIMULATORS = [
    pytest.param("verilator", marks=needs_verilator),
    pytest.param("icarus", marks=needs_icarus),
]
PROGRAM_ADDRESS = 0x800
"""The probe runs no program, but a run has one."""


def run(design: Probe, dram: np.ndarray, **options) -> RunResult:
    config = Config(bus_bytes=BUS_BYTES, read_outstanding=TRANSFERS, write_outstanding=TRANSFERS)
    return rtl.run(
        config, encode(Halt()), dram, program_address=PROGRAM_ADDRESS, design=design, **options
    )


def memory() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, 4096, dtype=np.uint8)


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize(
    ("stalls", "timing"),
    [
        (0.0, DramTiming(1)),
        (0.0, DramTiming(13, 5.3)),
        (0.5, DramTiming(1)),
        (0.9, DramTiming(7)),
    ],
    ids=["fast", "slow", "stalls", "many-stalls"],
)
def test_both_sides_see_the_same_handshakes(simulator, stalls, timing):
    dram = memory()
    expected = dram.copy()
    words = dram[: BUS_BYTES * TRANSFERS].view("<u4")[::2]
    total = int(words.sum(dtype=np.uint32))
    target = expected[WRITE_BASE : WRITE_BASE + BUS_BYTES * TRANSFERS].view("<u4")
    target[::2] = (total + np.arange(TRANSFERS)).astype(np.uint32)

    result = run(
        Probe(),
        dram,
        simulator=simulator,
        timing=timing,
        stalls=Stalls.everywhere(stalls),
        seed=5,
        check_protocol=True,
    )

    counters = result.counters
    assert counters["macs"] == counters["load_busy"] == counters["store_busy"] == TRANSFERS
    assert counters["execute_busy"] == total
    expected[PROGRAM_ADDRESS : PROGRAM_ADDRESS + 32] = list(encode(Halt()))
    np.testing.assert_array_equal(dram, expected)


@needs_verilator
@needs_icarus
def test_simulators_agree_in_every_cycle():
    options = {"stalls": Stalls.everywhere(0.3), "seed": 2, "timing": DramTiming(3, 4.7)}
    verilator, icarus = (
        run(Probe(), memory(), simulator=name, **options) for name in ("verilator", "icarus")
    )
    assert verilator.counters == icarus.counters
    assert verilator.counters["cycles"] > 100


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_master_that_breaks_a_rule_is_named(simulator):
    with pytest.raises(ProtocolError, match="AXI AR channel, cycle .*: valid fell before ready"):
        run(
            Probe(drops_valid=True),
            memory(),
            simulator=simulator,
            stalls=Stalls(ar=0.9),
            check_protocol=True,
        )


@needs_icarus
def test_undefined_outputs_are_named():
    with pytest.raises(BackendError, match="an output flag is undefined: XXXXXXX000000"):
        run(Probe(undefined_trace=True), memory(), simulator="icarus")


@needs_verilator
def test_a_design_that_does_not_build_shows_why():
    broken = dataclasses.replace(Probe(), top="missing")
    with pytest.raises(BackendError, match="(?s)building the simulation failed.*missing"):
        run(broken, memory())


@needs_icarus
def test_two_builds_at_once_make_one(tmp_path, monkeypatch):
    monkeypatch.setenv("CDMQTA_CACHE", str(tmp_path))
    config = Config(bus_bytes=BUS_BYTES)
    with ThreadPoolExecutor(2) as pool:
        builds = [pool.submit(build, config, simulator="icarus", design=Probe()) for _ in range(2)]
        folders = {done.result().folder for done in builds}
    assert [path for path in (tmp_path / "rtl").iterdir() if path.is_dir()] == list(folders)
    assert (folders.pop() / "sim.vvp").is_file()
