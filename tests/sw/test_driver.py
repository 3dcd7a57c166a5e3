"""The driver: inputs are checked, errors of the machine come out, rows show where time went."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hw.isa.config import Config
from hw.isa.instructions import Engine
from hw.isa.registers import ErrorCode
from sim.functional import ProgramError
from sim.result import DramTiming, Event, MachineError, RunResult
from sw.driver import Device
from sw.gemm import compile_gemm
from sw.image import InputError
from sw.product_rows import product_rows

CONFIG = Config(rows=2, columns=3)
(PROGRAM,) = compile_gemm(CONFIG, 4, 5, 6)
A, B = np.ones((4, 5), np.int8), np.ones((5, 6), np.int8)


def test_a_program_runs_again_with_new_inputs():
    device = Device(CONFIG)
    for factor in (1, 2, 3):
        run = device.run(PROGRAM, {"A": A * np.int8(factor), "B": B})
        assert (run.outputs["C"] == 5 * factor).all()
        assert run.outputs["C"].flags.owndata and run.result.error is ErrorCode.NONE


@pytest.mark.parametrize(
    "inputs,message",
    [
        ({"A": A}, "^input 'B' of program gemm is missing$"),
        ({"A": A, "B": B, "D": B}, "^program gemm has no input 'D'; it takes: A, B$"),
        ({"A": A, "B": B.astype(np.int16)}, "^input 'B' must be int8, not int16$"),
        ({"A": A, "B": B.astype(float)}, "^input 'B' must be int8, not float64$"),
        ({"A": A.T, "B": B}, "^input 'A' must be 4x5, not 5x4$"),
        ({"A": A[0], "B": B}, "^input 'A' must be 4x5, not 5$"),
    ],
)
def test_inputs_are_checked(inputs, message):
    with pytest.raises(InputError, match=message):
        Device(CONFIG).run(PROGRAM, inputs)


def test_the_program_must_be_for_the_device():
    with pytest.raises(
        ValueError, match=r"^the program is compiled for 2x3 \(.*\), not for this 4x4"
    ):
        Device(Config()).run(PROGRAM, {"A": A, "B": B})
    slow = CONFIG.replace(dram_latency=500)  # another DRAM is not another accelerator
    assert (Device(slow).run(PROGRAM, {"A": A, "B": B}).outputs["C"] == 5).all()


def test_backends_are_named():
    with pytest.raises(
        ValueError, match=r"^backend must be one of functional\|timing\|rtl, not 'fpga'$"
    ):
        Device(CONFIG, backend="fpga")


def test_the_timing_is_that_of_the_configuration_or_given():
    assert Device(CONFIG).timing == DramTiming.of(CONFIG)
    assert Device(CONFIG, timing=DramTiming(7)).timing == DramTiming(7)


def test_a_machine_that_stops_is_reported():
    endless = replace(PROGRAM, instructions=PROGRAM.instructions[:-1])
    with pytest.raises(MachineError, match=r"stopped with PROGRAM_END \(code 2\) after"):
        Device(CONFIG).run(endless, {"A": A, "B": B})


def test_a_program_without_its_tokens_is_refused():
    instructions = [
        replace(each, signal_execute=0) if each.engine is Engine.LOAD else each
        for each in PROGRAM.instructions
    ]
    with pytest.raises(ProgramError, match="waits for 1 tokens of LOAD, but only 0 were sent"):
        Device(CONFIG).run(replace(PROGRAM, instructions=tuple(instructions)), {"A": A, "B": B})


def test_rows_share_out_the_cycles():
    (product,) = PROGRAM.products
    first = replace(product, name="first", stop=2)
    program = replace(PROGRAM, products=(first, replace(product, name="second", start=2)))
    events = [Event(cycle, Engine.LOAD, kind, index) for cycle, kind, index in
              [(3, "start", 0), (10, "done", 0), (40, "done", 1), (35, "done", 2), (60, "done", 3)]
              ]  # fmt: skip
    result = RunResult("rtl", ErrorCode.NONE, None, {}, 0.0, tuple(events))
    rows = product_rows(program, result)
    assert [row["cycles"] for row in rows] == [40, 20]
    assert rows[1] == {
        "product": "second", "shape": [4, 5, 6], "dataflow": product.dataflow,
        "swapped": product.swapped, "macs": 120,
        "choice": product.choice,
        "instructions": [2, product.stop - 1], "cycles": 20, "utilisation": 120 / (20 * 6),
    }  # fmt: skip


def test_rows_without_events_have_no_cycles():
    run = Device(CONFIG).run(PROGRAM, {"A": A, "B": B})
    (row,) = product_rows(PROGRAM, run.result)
    assert "cycles" not in row and row["macs"] == 120
