"""Puts buffers in DRAM, runs a backend, reads back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hw.isa.config import Config, ConfigError
from hw.isa.registers import ErrorCode
from sim.result import DramTiming, MachineError, RunResult

from .image import read_outputs, unshared, write_inputs
from .program import Program

if TYPE_CHECKING:
    from .graph.program import StepProgram
    from .graph.session import StepResult, StepSession

__all__ = [
    "BACKENDS",
    "Device",
    "Run",
    "Session",
]

Backend = Callable[..., RunResult]


@dataclass(frozen=True, eq=False)
class Run:
    """Outputs of a program by name, and how it went."""

    outputs: dict[str, np.ndarray]
    result: RunResult

    def torch(self) -> dict[str, Any]:
        """Return the outputs as torch tensors, on the arrays' memory."""
        from torch import from_numpy

        return {name: from_numpy(array) for name, array in self.outputs.items()}


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
    """An accelerator. Each run has a DRAM of its own, each session one for all its runs.

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
        self,
        program: Program | StepProgram,
        inputs: Mapping[str, Any],
        *,
        noise_seed: int = 0,
        **options: Any,
    ) -> Run | StepResult:
        """Run a program, or a step, on new inputs.

        Parameters
        ----------
        inputs : dict of arrays
            By name: numpy arrays or torch tensors, as `Program.inputs` says, or, for a step, the
            float tensors of `sw.graph.tensors.tensor_shapes`.
        noise_seed : int
            Of stochastic rounding, 32 bits.
        **options
            For a step, those of `sw.graph.session.StepSession`.

        Raises
        ------
        ConfigError
            The program is for another configuration.
        InputError
            An input does not fit.
        MachineError
            The machine stopped with an error.
        """
        return self.session(program, **options).run(inputs, noise_seed=noise_seed)

    def session(self, program: Program | StepProgram, **options: Any) -> Session | StepSession:
        """Return a session of a program or a step, in which DRAM is kept from run to run.

        Raises
        ------
        ConfigError
            The program is for another configuration.
        """
        from .graph.program import StepProgram

        if isinstance(program, StepProgram):
            from .graph.session import StepSession

            return StepSession(self, program, **options)
        return Session(self, program, **options)

    def check(self, config: Config) -> None:
        """Refuse a program of another configuration.

        Raises
        ------
        ConfigError
            The message names both, and what differs.
        """
        if config.digest() == self.config.digest():
            return
        own, other = self.config.to_mapping(), config.to_mapping()
        differing = [f"{key} {other[key]} is {own[key]} here" for key in own
                     if other[key] != own[key]]  # fmt: skip
        raise ConfigError(
            f"the program is compiled for {_brief(config)}, not for this {_brief(self.config)}: "
            + ", ".join(differing)
        )

    def execute(self, program: Program, dram: np.ndarray, noise_seed: int = 0) -> RunResult:
        """Run a program on a DRAM image (uint8), changed in place.

        Raises
        ------
        MachineError
            The machine stopped with an error.
        """
        result = self._run(
            self.config, program.encode(), dram,
            program_address=program.layout.program_address, timing=self.timing,
            noise_seed=noise_seed, **self._options,
        )  # fmt: skip
        if result.error is not ErrorCode.NONE:
            raise MachineError(result)
        return result


class Session:
    """A program on a device whose DRAM is kept from run to run.

    Parameters
    ----------
    device : Device
    program : Program

    Raises
    ------
    ConfigError
        The program is for another configuration.
    """

    def __init__(self, device: Device, program: Program) -> None:
        device.check(program.config)
        self._device, self._program = device, program
        self._dram = np.zeros(program.dram_bytes, np.uint8)
        self._kept: frozenset[str] = frozenset()

    def run(self, inputs: Mapping[str, Any], *, noise_seed: int = 0) -> Run:
        """Run the program; inputs that are left out stay as the run before had them.

        Raises
        ------
        InputError, MachineError
            As `Device.run`. After an InputError nothing has changed.
        """
        program = self._program
        write_inputs(program, inputs, self._dram, kept=self._kept)
        # What shares its place with another buffer may be gone after the run.
        self._kept = unshared(program.buffers) & program.inputs.keys()
        result = self._device.execute(program, self._dram, noise_seed)
        return Run(read_outputs(program, self._dram), result)


def _brief(config: Config) -> str:
    return f"{config.rows}x{config.columns} ({config.digest()})"
