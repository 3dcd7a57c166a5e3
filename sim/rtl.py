"""Runs programs on the real hardware description, in Verilator or Icarus Verilog under cocotb."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hw.isa.config import Config
from hw.isa.encoding import decode_program
from hw.isa.instructions import (
    INSTRUCTION_BYTES,
    Absmax,
    Dataflow,
    Execute,
    Instruction,
)

from .axi import Fault, Hang, Stalls
from .outcome import results
from .request import BENCH, REQUEST_VARIABLE, Place, Reply, Request
from .result import BackendError, DramTiming, RunResult

if TYPE_CHECKING:
    from .builder import Design, Progress, Simulation

__all__ = ["Job", "build", "run", "run_sequence"]

_QUIET_CYCLES = 10_000


def build(
    config: Config,
    *,
    simulator: str = "verilator",
    waves: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Build the simulation of a configuration, unless it is in the cache; return its folder.

    Takes and raises what `sim.builder.build` does.
    """
    return _build(config, simulator, waves, progress, None).folder


@dataclass(frozen=True)
class Job:
    """A program, as encoded instructions, and the byte of DRAM where it goes."""

    program: bytes
    address: int


def run(
    config: Config, program: bytes, dram: np.ndarray, *, program_address: int, **options: Any
) -> RunResult:
    """Run a program from reset to its interrupt.

    Parameters
    ----------
    program : bytes
        Encoded instructions.
    program_address : int
        Byte where the program goes, a multiple of the bus width.
    config, dram, **options
        As in `run_sequence`, which also says what is returned and raised.
    """
    (result,) = run_sequence(config, [Job(program, program_address)], dram, **options)
    return result


def run_sequence(
    config: Config,
    jobs: Sequence[Job],
    dram: np.ndarray,
    *,
    reset: bool = False,
    watchdog: int | None = None,
    noise_seed: int = 0,
    timing: DramTiming | None = None,
    stalls: Stalls | None = None,
    seed: int = 0,
    faults: Sequence[Fault | Hang] = (),
    max_cycles: int | None = None,
    check_protocol: bool = False,
    timeline: bool = False,
    simulator: str = "verilator",
    waves: Path | None = None,
    progress: Progress | None = None,
    design: Design | None = None,
) -> tuple[RunResult, ...]:
    """Run programs on one machine, one after the other, each from its start to its interrupt.

    Parameters
    ----------
    config : Config
        The accelerator.
    jobs : sequence of Job
        The programs. All are in DRAM from the beginning.
    dram : ndarray of uint8, 1-D
        The memory, changed in place; the programs are copied into it first.
    reset : bool
        Reset the machine through its register before each program but the first. A program that
        ends in an error is followed by a reset in any case.
    watchdog : int, optional
        Cycles in which nothing moves before the machine stops with a timeout, 0 for never; by
        default more than its longest instruction and the slowest answer of DRAM can take.
    noise_seed : int
        Register.SEED, of stochastic rounding.
    timing : DramTiming, optional
        Latency and bandwidth as `sim.dram.AxiDram` defines them; those of `config` by default.
    stalls : Stalls, optional
        Random back-pressure, drawn from `seed`.
    seed : int
        Seed of the stalls and, in Verilator, of the memories' first contents.
    faults : sequence of Fault or Hang
        Address ranges that answer with an error, or not at all.
    max_cycles : int, optional
        Cycles after which a program is given up. One in which nothing moves for longer than the
        watchdog allows and its longest instruction can take is given up in any case.
    check_protocol : bool
        Check every AXI rule in every cycle, at some cost in speed.
    timeline : bool
        Record the activity of every cycle, at a small cost in speed; else results have none.
    simulator : str
        ``verilator`` or ``icarus``.
    waves : Path, optional
        ``.vcd`` file for all signals of the run.
    progress : callable, optional
        Called with ``"emit"``, ``"build"`` or ``"run"`` and, in a run, the cycle reached.
    design : Design, optional
        Verilog to run instead of what `hw.emit` writes for `config`.

    Returns
    -------
    tuple of RunResult
        One a program, with every counter and event.

    Raises
    ------
    BackendError
        A program is missing, the build fails, or a run does not end with an interrupt.
    ProtocolError
        An AXI rule was broken.
    ValueError
        A program does not fit its place, or `waves` or `simulator` is not as above.
    """
    _place(config, jobs, dram)
    if waves is not None and waves.suffix != ".vcd":
        raise ValueError(f"waves must be a .vcd file, not {str(waves)!r}")
    programs = [decode_program(job.program) for job in jobs]
    timing = timing or DramTiming.of(config)
    stalls = stalls or Stalls()
    quiet = max(_quiet_cycles(config, each, timing, stalls) for each in programs)
    watchdog = quiet if watchdog is None else watchdog
    simulation = _build(config, simulator, waves is not None, progress, design)
    with tempfile.TemporaryDirectory(prefix="cdmqta-run-") as name:
        folder = Path(name)
        request = Request(
            config=config,
            image=folder / "dram.npy",
            programs=tuple(
                Place(job.address, len(job.program) // INSTRUCTION_BYTES) for job in jobs
            ),
            reset=reset,
            watchdog=watchdog,
            noise_seed=noise_seed,
            latency=timing.latency,
            bytes_per_cycle=timing.bytes_per_cycle,
            stalls=stalls,
            faults=tuple(faults),
            seed=seed,
            max_cycles=max_cycles,
            quiet_cycles=quiet + watchdog,
            check_protocol=check_protocol,
            timeline=timeline,
            reply=folder / "reply.json",
            progress=folder / "progress",
        )
        np.save(request.image, dram)
        reply = _simulate(simulation, request, folder, progress)
        dram[:] = np.load(request.image)
        if waves is not None:
            shutil.move(folder / "dump.vcd", waves)
    return results(reply, programs, f"rtl-{simulator}")


def _build(
    config: Config,
    simulator: str,
    waves: bool,
    progress: Progress | None,
    design: Design | None,
) -> Simulation:
    try:
        from . import builder
    except ImportError as error:
        raise BackendError(f"the RTL backend needs cdmqta[rtl]: {error}") from None
    return builder.build(config, simulator=simulator, waves=waves, progress=progress, design=design)


def _place(config: Config, jobs: Sequence[Job], dram: np.ndarray) -> None:
    """Check the programs and copy them into DRAM."""
    if dram.dtype != np.uint8 or dram.ndim != 1:
        raise ValueError(f"dram must be 1-D uint8, not {dram.ndim}-D {dram.dtype}")
    if not jobs:
        raise ValueError("there is no program to run")
    for job in jobs:
        size, address = len(job.program), job.address
        if not size or size % INSTRUCTION_BYTES:
            raise ValueError(f"a program is a multiple of {INSTRUCTION_BYTES} bytes, not {size}")
        if address % config.bus_bytes or not 0 <= address <= dram.size - size:
            raise ValueError(
                f"program_address {address:#x} must be a multiple of {config.bus_bytes} with "
                f"{size} bytes behind it in a DRAM of {dram.size}"
            )
        dram[address : address + size] = np.frombuffer(job.program, np.uint8)
    for job in jobs:
        if dram[job.address : job.address + len(job.program)].tobytes() != job.program:
            raise ValueError(f"the program at {job.address:#x} overlaps another")


def _quiet_cycles(
    config: Config, instructions: Sequence[Instruction], timing: DramTiming, stalls: Stalls
) -> int:
    """Return for how many cycles a run may show neither data on the bus nor a pulse of an engine.

    Seen from outside, EXECUTE and ABSMAX work in silence for as long as they take: `_work` is a
    generous bound. A LOAD is silent for one block at most, while it leaves the transposer, and
    what is on its way in a pipeline is short; `_QUIET_CYCLES` covers these. The watchdog sees all
    that moves, and would do with less (Register.WATCHDOG).
    """
    work = max((_work(config, instruction) for instruction in instructions), default=0)
    beat = config.bus_bytes / timing.bytes_per_cycle if timing.bytes_per_cycle else 1
    calm = 1 - max(stalls.ar, stalls.r, stalls.aw, stalls.w, stalls.b)
    return _QUIET_CYCLES + 4 * work + int((4 * timing.latency + 16 * beat) / calm)


def _work(config: Config, instruction: Instruction) -> int:
    match instruction:
        case Execute(dataflow=Dataflow.WS, rows=rows, reduction=reduction, columns=columns):
            folds = -(-reduction // config.rows) * -(-columns // config.columns)
            waves = rows
        case Execute(rows=rows, reduction=reduction, columns=columns):
            folds = -(-rows // config.rows) * -(-columns // config.columns)
            waves = reduction
        case Absmax(rows=rows, columns=columns):
            folds, waves = -(-columns // config.columns), rows
        case _:
            return 0
    return folds * (max(waves, config.rows) + config.rows + config.columns)


def _simulate(
    simulation: Simulation, request: Request, folder: Path, progress: Progress | None
) -> Reply:
    from .builder import tail

    request.write(folder / "request.json")
    log = simulation.run(
        BENCH,
        folder=folder,
        environment={REQUEST_VARIABLE: str(folder / "request.json")},
        seed=request.seed,
        progress=_reporter(request.progress, progress),
    )
    if not request.reply.exists():
        raise BackendError(f"the simulation ended without a result:\n{tail(log)}")
    return Reply.read(request.reply)


def _reporter(file: Path, progress: Progress | None) -> Callable[[], None] | None:
    if progress is None:
        return None

    def report() -> None:
        text = file.read_text() if file.exists() else "0"
        if text:  # it is empty for a moment while it is written
            progress("run", int(text))

    return report
