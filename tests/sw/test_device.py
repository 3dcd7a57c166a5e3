"""Devices as people use them: arrays and tensors, several runs on one program, other hardware."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from hw.isa.config import Config, ConfigError
from sw.driver import Device, Session
from sw.gemm import compile_gemm
from sw.image import InputError, unshared
from sw.place import Buffer, Role

CONFIG = Config(rows=2, columns=3)
(PROGRAM,) = compile_gemm(CONFIG, 4, 5, 6)


def inputs(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"A": (4, 5), "B": (5, 6)}
    return {name: rng.integers(-128, 128, shape, np.int8) for name, shape in shapes.items()}


def product(given: dict[str, np.ndarray]) -> np.ndarray:
    return given["A"].astype(np.int32) @ given["B"].astype(np.int32)


def test_tensors_go_in_and_come_out():
    given = inputs()
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}
    strided = torch.from_numpy(np.repeat(given["A"].T, 2, axis=1))[:, ::2].T
    assert not strided.is_contiguous()
    for a in (tensors["A"], strided):
        run = Device(CONFIG).run(PROGRAM, {"A": a, "B": tensors["B"]})
        out = run.torch()["C"]
        assert out.dtype == torch.int32
        assert torch.equal(out, tensors["A"].int() @ tensors["B"].int())
        assert np.shares_memory(out.numpy(), run.outputs["C"])


def test_arrays_that_are_not_contiguous():
    given = inputs()
    reverse = np.asfortranarray(given["B"][::-1])[::-1]
    run = Device(CONFIG).run(PROGRAM, {"A": given["A"], "B": reverse})
    assert np.array_equal(run.outputs["C"], product(given))


@pytest.mark.parametrize(
    "value,message",
    [
        (torch.ones(4, 5), "^input 'A' must be int8, not float32$"),
        (torch.ones(5, 4, dtype=torch.int8), "^input 'A' must be 4x5, not 5x4$"),
        (torch.ones(4, 5, dtype=torch.bfloat16),
         "^input 'A' is a tensor of torch.bfloat16, which numpy does not have$"),
        ([[1, 2], [3]], "^input 'A' must be an array, not list$"),
        ([[1, 2], [3, 4]], "^input 'A' must be int8, not int64$"),
        (np.int8(1), "^input 'A' must be 4x5, not a single number$"),
        (None, "^input 'A' must be int8, not object$"),
    ],
)  # fmt: skip
def test_inputs_of_other_kinds(value, message):
    with pytest.raises(InputError, match=message):
        Device(CONFIG).run(PROGRAM, inputs() | {"A": value})


def test_several_steps_on_one_program_equal_fresh_runs():
    device = Device(CONFIG)
    session = device.session(PROGRAM)
    assert isinstance(session, Session)
    weights = inputs(0)["B"]
    for seed in range(3):
        given = inputs(seed) | {"B": weights}
        later = given if seed == 0 else {"A": given["A"]}  # the weights stay in DRAM
        run = session.run(later)
        assert np.array_equal(run.outputs["C"], device.run(PROGRAM, given).outputs["C"])
        assert np.array_equal(run.outputs["C"], product(given))


def test_the_first_run_of_a_session_needs_all_inputs():
    with pytest.raises(InputError, match="^input 'B' of program gemm is missing$"):
        Device(CONFIG).session(PROGRAM).run({"A": inputs()["A"]})


def test_after_a_refused_input_nothing_has_changed():
    session, given = Device(CONFIG).session(PROGRAM), inputs()
    session.run(given)
    bad = {"A": np.zeros((4, 5), np.int8), "B": np.zeros((6, 5), np.int8)}
    with pytest.raises(InputError):
        session.run(bad)
    assert np.array_equal(session.run({}).outputs["C"], product(given))


def test_buffers_that_share_no_place():
    def buffer(name: str, address: int, size: int) -> Buffer:
        return Buffer(name, "int8", 1, size, Role.INPUT, pitch=size, address=address)

    apart = [buffer("a", 0, 64), buffer("b", 64, 64), buffer("c", 192, 8)]
    assert unshared(apart) == {"a", "b", "c"}
    around = [*apart, buffer("d", 64, 128), buffer("e", 100, 8), buffer("f", 128, 8)]
    assert unshared(around) == {"a", "c"}
    assert unshared([]) == frozenset()


def test_a_program_for_other_hardware_names_both_and_what_differs():
    here = Config(queue_depth=8)
    message = (
        rf"^the program is compiled for 2x3 \({CONFIG.digest()}\), not for this 4x4 "
        rf"\({here.digest()}\): rows 2 is 4 here, columns 3 is 4 here, queue_depth 4 is 8 here$"
    )
    for use in (lambda device: device.run(PROGRAM, inputs()), lambda d: d.session(PROGRAM)):
        with pytest.raises(ConfigError, match=message):
            use(Device(here))


def test_torch_is_not_imported_unless_it_is_used():
    code = """
import sys, numpy as np
from hw.isa.config import Config
from sw.driver import Device
from sw.gemm import compile_gemm
(program,) = compile_gemm(Config(), 2, 2, 2)
ones = np.ones((2, 2), np.int8)
run = Device(Config()).run(program, {"A": ones, "B": ones})
assert "torch" not in sys.modules
print(type(run.torch()["C"]).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "Tensor\n"), done.stderr
