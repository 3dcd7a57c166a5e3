"""Runs a case on each rung of the ladder: golden = functional model = RTL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hw.isa.encoding import encode
from hw.isa.instructions import Instruction
from hw.isa.registers import ErrorCode
from sim import functional
from sim.protocol import ProtocolError
from sim.result import BackendError, RunResult

from .case import Case
from .expect import Expected, expect
from .layout import Layout
from .lower import lower

__all__ = ["COUNTERS", "Failure", "Prepared", "check", "compare", "prepare"]

COUNTERS = (
    "instructions", "macs", "dram_read_bytes", "dram_write_bytes", "saturations",
    "accumulate_saturations",
)  # fmt: skip
"""Those that do not depend on time, and must agree."""

Runner = Callable[..., RunResult]


@dataclass(frozen=True)
class Failure:
    """Which comparison failed, in words that are the same for the same fault, and how."""

    rung: str
    detail: str


@dataclass(frozen=True)
class Prepared:
    """A case made ready to run: its program, and DRAM before and after."""

    case: Case
    layout: Layout
    program: tuple[Instruction, ...]
    expected: Expected

    @property
    def code(self) -> bytes:
        """The encoded program."""
        return b"".join(encode(each) for each in self.program)

    def run(self, runner: Runner, image: np.ndarray, **options: object) -> RunResult:
        """Run on a backend; `image` is changed."""
        return runner(
            self.layout.config, self.code, image, program_address=self.layout.program,
            noise_seed=self.case.rounding, **options,
        )  # fmt: skip

    def difference(self, found: np.ndarray, wanted: np.ndarray) -> str | None:
        """Return where two images first differ, and whose byte that is."""
        places = np.flatnonzero(found != wanted)
        if not places.size:
            return None
        at = int(places[0])
        return (
            f"byte {at:#x} is {found[at]}, not {wanted[at]} ({places.size} bytes differ): "
            f"{self.layout.owner(at)}"
        )


def prepare(case: Case, start: int = 0) -> Prepared:
    """Lower a case that has DRAM from byte `start` on, and compute what it leaves.

    Raises
    ------
    Misfit
        It cannot be done.
    """
    layout = Layout.of(case, start)
    program = lower(case, layout)
    expected = expect(case, layout)
    code = b"".join(encode(each) for each in program)
    expected.image[layout.program : layout.program + len(code)] = np.frombuffer(code, np.uint8)
    return Prepared(case, layout, program, expected)


def check(
    case: Case, *, model: Runner = functional.run, hardware: Runner | None = None
) -> Failure | None:
    """Run a case on the model, and on the hardware if there is one; return what broke first."""
    ready = prepare(case)
    image = ready.layout.image.copy()
    try:
        modelled = ready.run(model, image)
    except functional.ProgramError as error:
        return Failure("functional model", f"refuses the program: {error}")
    if modelled.error is not ErrorCode.NONE:
        return Failure("functional model", f"stopped with {modelled.error.name}")
    difference = ready.difference(image, ready.expected.image)
    if difference is not None:
        return Failure("functional model = golden", difference)
    wanted = {name: getattr(ready.expected, name) for name in ("macs", "saturations")}
    failure = compare(modelled.counters, wanted, "functional model = golden")
    if failure is not None:
        return failure
    if hardware is None:
        return None
    return _check_hardware(ready, modelled, image, hardware)


def _check_hardware(
    ready: Prepared, modelled: RunResult, wanted: np.ndarray, hardware: Runner
) -> Failure | None:
    case, image = ready.case, ready.layout.image.copy()
    try:
        result = ready.run(
            hardware, image, timing=case.timing, stalls=case.stalls, seed=case.noise,
            check_protocol=True,
        )  # fmt: skip
    except ProtocolError as error:
        return Failure("AXI", str(error))
    except BackendError as error:
        return Failure("RTL runs", str(error))
    if result.error is not ErrorCode.NONE:
        return Failure("RTL runs", f"stopped with {result.error.name}")
    difference = ready.difference(image, wanted)
    if difference is not None:
        return Failure("RTL = functional model", difference)
    wanted_counters = {name: modelled.counters[name] for name in COUNTERS}
    return compare(result.counters, wanted_counters, "RTL = functional model")


def compare(found: dict[str, int], wanted: dict[str, int], rung: str) -> Failure | None:
    """Return the first counter that differs."""
    for name, value in wanted.items():
        if found[name] != value:
            return Failure(f"counter {name}: {rung}", f"{found[name]}, not {value}")
    return None
