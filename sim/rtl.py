"""Runs a program on the real hardware description, in Verilator or Icarus Verilog under cocotb."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hw.isa.config import Config
from hw.isa.encoding import decode
from hw.isa.instructions import (
    INSTRUCTION_BYTES,
    Absmax,
    Dataflow,
    Engine,
    Execute,
    Instruction,
    InstructionError,
)
from hw.isa.registers import TRACE, ErrorCode, Status

from .axi import Fault, Stalls
from .protocol import ProtocolError
from .request import BENCH, REQUEST_VARIABLE, Reply, Request
from .result import BackendError, DramTiming, Event, RunResult

if TYPE_CHECKING:
    from .builder import Design, Progress, Simulation

__all__ = ["build", "run"]

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


def run(
    config: Config,
    program: bytes,
    dram: np.ndarray,
    *,
    program_address: int,
    timing: DramTiming | None = None,
    stalls: Stalls | None = None,
    seed: int = 0,
    faults: Sequence[Fault] = (),
    max_cycles: int | None = None,
    check_protocol: bool = False,
    simulator: str = "verilator",
    waves: Path | None = None,
    progress: Progress | None = None,
    design: Design | None = None,
) -> RunResult:
    """Run a program from reset to its interrupt.

    Parameters
    ----------
    config : Config
        The accelerator.
    program : bytes
        Encoded instructions.
    dram : ndarray of uint8, 1-D
        The memory, changed in place; the program is copied into it first.
    program_address : int
        Byte where the program goes, a multiple of the bus width.
    timing : DramTiming, optional
        Latency and bandwidth as `sim.dram.AxiDram` defines them; those of `config` by default.
    stalls : Stalls, optional
        Random back-pressure, drawn from `seed`.
    seed : int
        Seed of the stalls and, in Verilator, of the memories' first contents.
    faults : sequence of Fault
        Address ranges that answer with an error.
    max_cycles : int, optional
        Cycles after which a run is given up. One in which nothing moves for longer than its
        longest instruction can take is given up in any case.
    check_protocol : bool
        Check every AXI rule in every cycle, at some cost in speed.
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
    RunResult
        With every counter, and events in which cycle 0 is the first that the counter ``cycles``
        counts; the interrupt comes in cycle ``counters["cycles"]``.

    Raises
    ------
    BackendError
        A program is missing, the build fails, or the run does not end with an interrupt.
    ProtocolError
        An AXI rule was broken.
    ValueError
        The program does not fit its place, or `waves` or `simulator` is not as above.
    """
    _place(config, program, dram, program_address)
    if waves is not None and waves.suffix != ".vcd":
        raise ValueError(f"waves must be a .vcd file, not {str(waves)!r}")
    instructions = _decode(program)
    timing = timing or DramTiming.of(config)
    stalls = stalls or Stalls()
    simulation = _build(config, simulator, waves is not None, progress, design)
    with tempfile.TemporaryDirectory(prefix="cdmqta-run-") as name:
        folder = Path(name)
        request = Request(
            config=config,
            image=folder / "dram.npy",
            program_address=program_address,
            program_length=len(program) // INSTRUCTION_BYTES,
            latency=timing.latency,
            bytes_per_cycle=timing.bytes_per_cycle,
            stalls=stalls,
            faults=tuple(faults),
            seed=seed,
            max_cycles=max_cycles,
            quiet_cycles=_quiet_cycles(config, instructions, timing, stalls),
            check_protocol=check_protocol,
            reply=folder / "reply.json",
            progress=folder / "progress",
        )
        np.save(request.image, dram)
        reply = _simulate(simulation, request, folder, progress)
        dram[:] = np.load(request.image)
        if waves is not None:
            shutil.move(folder / "dump.vcd", waves)
    return _result(reply, instructions, f"rtl-{simulator}")


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


def _place(config: Config, program: bytes, dram: np.ndarray, address: int) -> None:
    if not program or len(program) % INSTRUCTION_BYTES:
        raise ValueError(
            f"a program is a multiple of {INSTRUCTION_BYTES} bytes, not {len(program)}"
        )
    if dram.dtype != np.uint8 or dram.ndim != 1:
        raise ValueError(f"dram must be 1-D uint8, not {dram.ndim}-D {dram.dtype}")
    if address % config.bus_bytes or not 0 <= address <= dram.size - len(program):
        raise ValueError(
            f"program_address {address:#x} must be a multiple of {config.bus_bytes} with "
            f"{len(program)} bytes behind it in a DRAM of {dram.size}"
        )
    dram[address : address + len(program)] = np.frombuffer(program, np.uint8)


def _decode(program: bytes) -> list[Instruction]:
    """Return the instructions up to the first illegal one, where the machine stops."""
    found: list[Instruction] = []
    for at in range(0, len(program), INSTRUCTION_BYTES):
        try:
            found.append(decode(program[at : at + INSTRUCTION_BYTES]))
        except InstructionError:
            break
    return found


def _quiet_cycles(
    config: Config, instructions: Sequence[Instruction], timing: DramTiming, stalls: Stalls
) -> int:
    """Return for how many cycles a run may show neither data on the bus nor a pulse of an engine.

    A generous bound on the longest instruction, because only EXECUTE and ABSMAX work in silence.
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
        text = file.read_text() if file.exists() else ""
        progress("run", int(text or 0))

    return report


def _result(reply: Reply, instructions: Sequence[Instruction], backend: str) -> RunResult:
    events = _events(reply.trace, instructions)
    if reply.failure is not None:
        if reply.rule:
            raise ProtocolError(reply.failure)
        raise BackendError(f"{reply.failure}; {_how_far(events, instructions)}")
    failed = bool(reply.status & Status.ERROR)
    return RunResult(
        backend=backend,
        error=ErrorCode(reply.status >> 8 & 0xFF) if failed else ErrorCode.NONE,
        error_instruction=reply.error_instruction if failed else None,
        counters=reply.counters,
        seconds=reply.seconds,
        events=events,
    )


def _events(
    trace: Sequence[tuple[int, int]], instructions: Sequence[Instruction]
) -> tuple[Event, ...]:
    """Return the steps of each instruction: the n-th pulse belongs to the engine's n-th."""
    queues = {
        engine: [n for n, instruction in enumerate(instructions) if instruction.engine is engine]
        for engine in Engine
    }
    seen: Counter[int] = Counter()
    events = []
    for cycle, bits in trace:
        for bit, (engine, kind) in enumerate(TRACE):
            if bits >> bit & 1:
                if seen[bit] == len(queues[engine]):
                    raise BackendError(
                        f"the {engine.name} engine pulsed {kind!r} in cycle {cycle}, but the "
                        f"program has only {len(queues[engine])} instructions for it"
                    )
                events.append(Event(cycle, engine, kind, queues[engine][seen[bit]]))
                seen[bit] += 1
    return tuple(events)


def _how_far(events: Sequence[Event], instructions: Sequence[Instruction]) -> str:
    parts = []
    for engine in Engine:
        total = sum(instruction.engine is engine for instruction in instructions)
        done = sum(event.engine is engine and event.kind == "done" for event in events)
        parts.append(f"{engine.name.lower()} {done} of {total}")
    return "instructions done: " + ", ".join(parts)
