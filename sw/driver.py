"""Puts buffers in DRAM, runs a backend, reads back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hw.isa.config import Config
from hw.isa.registers import ErrorCode
from sim.result import DramTiming, MachineError, RunResult

from .place import Buffer, Role
from .program import Program

__all__ = ["BACKENDS", "Device", "InputError", "Run"]

Backend = Callable[..., RunResult]


class InputError(ValueError):
    """An input of a program is missing, unknown, or has another type or shape."""


@dataclass(frozen=True, eq=False)
class Run:
    """Outputs of a program by name, and how it went."""

    outputs: dict[str, np.ndarray]
    result: RunResult


def _functional() -> Backend:
    from sim.functional import run

    return run


def _timing() -> Backend:
    from sim.timed import run

    return run


def _rtl() -> Backend:
    from sim.rtl import run

    return run


# Imported only when chosen: the RTL needs Amaranth and Verilator, the timing model Numba.
BACKENDS: dict[str, Callable[[], Backend]] = {
    "functional": _functional,
    "timing": _timing,
    "rtl": _rtl,
}


class Device:
    """An accelerator with its DRAM.

    Parameters
    ----------
    config : Config
    backend : str
        One of `BACKENDS`.
    timing : DramTiming, optional
        Of the simulated DRAM; by default that of `config`.
    options : dict, optional
        Passed to the backend as keywords.

    Raises
    ------
    ValueError
        The backend is unknown.
    """

    def __init__(
        self,
        config: Config,
        backend: str = "functional",
        timing: DramTiming | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {'|'.join(BACKENDS)}, not {backend!r}")
        self.config, self.backend = config, backend
        self.timing = timing or DramTiming.of(config)
        self._options = dict(options or {})
        self._run = BACKENDS[backend]()

    def run(
        self, program: Program, inputs: Mapping[str, np.ndarray], *, noise_seed: int = 0
    ) -> Run:
        """Run a program on new inputs.

        Parameters
        ----------
        inputs : dict of arrays
            By name, each as `Program.inputs` says.
        noise_seed : int
            Of stochastic rounding, 32 bits.

        Raises
        ------
        ValueError
            The program is for another configuration.
        InputError
            An input does not fit.
        MachineError
            The machine stopped with an error.
        """
        if program.config.digest() != self.config.digest():
            raise ValueError(
                f"the program is compiled for {_brief(program.config)}, "
                f"not for this {_brief(self.config)}"
            )
        dram = np.zeros(program.dram_bytes, np.uint8)
        write_inputs(program, inputs, dram)
        result = self._run(
            self.config, program.encode(), dram,
            program_address=program.layout.program_address, timing=self.timing,
            noise_seed=noise_seed, **self._options,
        )  # fmt: skip
        if result.error is not ErrorCode.NONE:
            raise MachineError(result)
        return Run({name: _host(b, dram) for name, b in program.outputs.items()}, result)


def _brief(config: Config) -> str:
    return f"{config.rows}x{config.columns} ({config.digest()})"


def _host(buffer: Buffer, dram: np.ndarray) -> np.ndarray:
    window = buffer.window(dram)
    return np.array(window.T if buffer.transposed else window, order="C")


def write_inputs(program: Program, inputs: Mapping[str, np.ndarray], dram: np.ndarray) -> None:
    """Check every input and write it to its place in a DRAM image.

    Raises
    ------
    InputError
        An input is missing or unknown, or its type or shape is not the buffer's.
    """
    expected = program.inputs
    for name in inputs:
        if name not in expected:
            raise InputError(
                f"program {program.name} has no input {name!r}; it takes: {', '.join(expected)}"
            )
    for name, buffer in expected.items():
        if name not in inputs:
            raise InputError(f"input {name!r} of program {program.name} is missing")
        _check(name, buffer, inputs[name])
    for buffer in program.buffers:
        if buffer.role is Role.INPUT:
            buffer.window(dram)[:] = inputs[buffer.name]


def _check(name: str, buffer: Buffer, array: np.ndarray) -> None:
    array = np.asarray(array)
    if array.dtype != buffer.dtype:
        raise InputError(f"input {name!r} must be {buffer.dtype}, not {array.dtype}")
    if array.shape != buffer.host_shape:
        wanted = "x".join(map(str, buffer.host_shape))
        given = "x".join(map(str, array.shape))
        raise InputError(f"input {name!r} must be {wanted}, not {given}")
