"""Runs a compiled step on a device, again and again with new inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from hw.isa.config import Config
from sim.machine import ProgramError
from sim.result import RunResult

from ..image import InputError, read_outputs, unshared, write_inputs
from ..program import Program
from .host import MARGIN, HostState, Loss, QuadraticLoss
from .host_operations import check_operations, run_host
from .ir import GraphError, Host
from .program import StepProgram
from .shape import Shape
from .tensors import check_tensors

__all__ = ["StepResult", "StepSession", "run_step", "shape_in"]


class Machine(Protocol):
    """What runs programs, as `sw.driver.Device` does."""

    def check(self, config: Config) -> None:
        """Refuse a program of another configuration."""

    def execute(self, program: Program, dram: np.ndarray, noise_seed: int = 0) -> RunResult:
        """Run a program on a DRAM image."""


@dataclass(frozen=True, eq=False)
class StepResult:
    """What a step gives.

    Members
    -------
    outputs : dict
        Real outputs (batch, tokens, width) by the path of the module; in the reading kv, of the
        site.
    gradients : dict
        By the name of the tensor, and of its shape: LoRA weights, the text, latent inputs.
    values : dict
        Every integer matrix that the device read or made.
    results : tuple of RunResult
        Of each program.
    """

    outputs: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    results: tuple[RunResult, ...]

    def torch(self) -> dict[str, Any]:
        """Return outputs and gradients as torch tensors, float64, by name."""
        from torch import from_numpy

        found = self.outputs | self.gradients
        return {name: from_numpy(np.ascontiguousarray(array)) for name, array in found.items()}


class StepSession:
    """A step on a device whose DRAM is kept from run to run: frozen weights are written once.

    Scales of the scores, of O and of dQ come from the maxima of the run before.

    Parameters
    ----------
    device : sw.driver.Device
    step : StepProgram
    loss : callable, optional
        See `sw.graph.host.Loss`; by default `QuadraticLoss`.
    scaling : number
        alpha / r of LoRA.
    margin : float
        By how much those maxima may grow, from 1 on.

    Raises
    ------
    ConfigError
        The step is compiled for another configuration.
    GraphError
        The step has an operation that the host does not know, or says nothing of its sizes.
    InputError
        `scaling` or `margin` is out of range.
    """

    def __init__(
        self,
        device: Machine,
        step: StepProgram,
        *,
        loss: Loss | None = None,
        scaling: int | float | Fraction = 1,
        margin: float = MARGIN,
    ) -> None:
        device.check(step.config)
        check_operations([each for each in step.steps if isinstance(each, Host)])
        if not scaling > 0:
            raise InputError(f"scaling must be above 0, not {scaling}")
        if not margin >= 1:
            raise InputError(f"margin must be at least 1, not {margin}")
        self._device, self._step = device, step
        self._state = HostState(shape_in(step), loss or QuadraticLoss(), scaling, margin)
        self._dram = np.zeros(step.dram_bytes, np.uint8)
        self._constants = _lasting(step)
        self._written: set[str] = set()
        self._begun = False

    def run(self, inputs: Mapping[str, Any], *, noise_seed: int = 0) -> StepResult:
        """Run a step.

        Parameters
        ----------
        inputs : dict of arrays
            Float tensors by name, see `sw.graph.tensors.tensor_shapes`, from numpy or torch. The
            first run takes all; later ones keep those that are left out, and take no frozen ones.

        Raises
        ------
        InputError
            A tensor does not fit: nothing has changed then. Or the loss gives no gradient.
        GraphError
            What a program does is undefined.
        MachineError
            The machine stopped with an error.
        """
        state, first = self._state, not self._begun
        state.tensors |= check_tensors(
            state.shape, inputs, kept=() if first else state.tensors, fixed=not first
        )
        results = []
        for step in self._step.steps:
            if isinstance(step, Program):
                results.append(self._execute(step, noise_seed))
            elif step.kind != "weights" or first:
                run_host(state, step, self._step.values)
                self._begun = True  # what the weights are is settled
        return StepResult(
            dict(state.outputs), dict(state.gradients), dict(state.values), tuple(results)
        )

    def _execute(self, program: Program, noise_seed: int) -> RunResult:
        """Give a program what it reads, run it, and take what it makes."""
        names = program.inputs.keys() - self._written
        try:
            given = {name: self._state.values[name] for name in names}
        except KeyError as error:
            raise GraphError(
                f"program {program.name} reads {error}, which no operation of the step makes"
            ) from None
        write_inputs(program, given, self._dram, kept=self._written)
        self._written |= names & self._constants
        try:
            result = self._device.execute(program, self._dram, noise_seed)
        except ProgramError as error:
            raise GraphError(f"program {program.name}: {error}") from None
        self._state.values |= read_outputs(program, self._dram)
        return result


def _lasting(step: StepProgram) -> frozenset[str]:
    """Return the constants that stay in DRAM from step to step: whose place is no other's."""
    buffers = step.buffers
    code = min(program.layout.program_address for program in step.programs)
    return frozenset(
        name for name in unshared(buffers.values())
        if step.values[name].constant and buffers[name].end <= code
    )  # fmt: skip


def shape_in(step: StepProgram) -> Shape:
    """Return the sizes that a step's `meta` tells.

    Raises
    ------
    GraphError
        It tells none.
    """
    try:
        return Shape.of({item.name: step.meta[item.name] for item in fields(Shape)})
    except (LookupError, TypeError) as error:
        raise GraphError(f"step {step.name} does not tell its sizes: {error}") from None


def run_step(
    device: Machine, step: StepProgram, tensors: Mapping[str, Any], loss: Loss | None = None
) -> StepResult:
    """Run one step; parameters, results and errors are those of `StepSession`."""
    return StepSession(device, step, loss=loss).run(tensors)
