"""Whole training steps on the command line: `cdmqta compile MODEL` and `cdmqta run` of its file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import click
import numpy as np

from hw.isa.config import Config
from sim.result import DramTiming, RunResult

from ..console import Report
from ..models import DESCRIPTIONS, Reading, load_model
from ..options import Target
from ..parallel import spread
from ..program_file import ProgramFileError, write_programs
from ..runner import write_trace
from .figures import print_step, print_time, step_figures, time_figures
from .fusions import Fusions
from .host import QuadraticLoss
from .ir import GraphError
from .program import StepProgram
from .session import StepResult, StepSession, shape_in
from .tensors import load_weights, random_tensors
from .timing import time_step

__all__ = [
    "compile_model",
    "is_model",
    "refuse_options",
    "refuse_run_options",
    "run_options",
    "run_step_file",
    "step_options",
]

Show = Callable[[str, int], None] | None


def is_model(workload: str) -> bool:
    """Tell whether a workload is a model, by its name or as ``module:function``."""
    kind, colon, function = workload.partition(":")
    return workload in DESCRIPTIONS or bool(kind and colon and function and kind not in _KINDS)


_KINDS = ("gemm", "lora")
"""Workloads that look like ``module:function``, and are not."""


def step_options(command: Callable) -> Callable:
    """Add the options of a model; the command gets them as a dict `model`, None where not given."""

    @click.option(
        "--reading", type=click.Choice([str(each) for each in Reading]), show_default="xattn",
        help="Of a model: which layers a step runs.",
    )  # fmt: skip
    @click.option("--batch", type=click.IntRange(1), show_default="1", help="Of a model: samples.")
    @click.option("--rank", type=int, help="Of a model: of LoRA; 4, or that of its LoRA layers.")
    @click.option(
        "--fusions", metavar="all|none|NAMES", show_default="all",
        help=f"Of a model: {', '.join(Fusions.names())}; with - before each, those that are off.",
    )  # fmt: skip
    @click.option("--dump-after", metavar="PASS", help="Of a model: print what a pass makes.")
    @wraps(command)
    def run(**options: Any) -> None:
        command(model={name: options.pop(name) for name in _NAMES}, **options)

    return run


_NAMES = "reading", "batch", "rank", "fusions", "dump_after"


def refuse_options(model: dict[str, Any], workload: str) -> None:
    """Refuse options of a model for another workload."""
    for name, value in model.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} {value} is of a model, not of {workload}")


def compile_model(
    config: Config,
    report: Report,
    workload: str,
    output: str,
    model: dict[str, Any],
    *,
    dataflow: str,
    objective: str,
    show: Show,
) -> None:
    """Compile a step of a model to a file."""
    if dataflow != "auto":
        raise click.UsageError(
            f"--dataflow {dataflow} is of gemm: and lora:, a step has the best for each product"
        )
    from .compile import PASSES, compile_step  # what else the command line does is quick to load

    given = {"reading": "xattn", "batch": 1} | {k: v for k, v in model.items() if v is not None}
    wanted = given.pop("dump_after", None)
    if wanted not in (None, *PASSES):
        raise click.UsageError(f"--dump-after must be one of {', '.join(PASSES)}, not {wanted!r}")
    fusions = Fusions.parse(given.pop("fusions", "all"))
    if show is not None:
        show("compile", 0)
    started = time.perf_counter()
    with spread() as each:
        step = compile_step(
            config, load_model(workload), **given, fusions=fusions, objective=objective,
            dump=None if wanted is None else _printer(report, wanted), spread=each,
        )  # fmt: skip
    seconds = time.perf_counter() - started
    write_programs(output, step)
    figures = step_figures(step) | {"fusions": str(fusions), "seconds": seconds}
    print_step(report, figures)
    report.line(f"{output}: {Path(output).stat().st_size:,} bytes, compiled in {seconds:.1f} s")
    report.json(figures)


def _printer(report: Report, wanted: str) -> Callable[[str, object], None]:
    """Return what prints the stage behind one pass."""

    def dump(name: str, stage: object) -> None:
        if name == wanted:
            report.line(str(stage))

    return dump


def run_options(command: Callable) -> Callable:
    """Add what only runs of steps take: `weights` and `check`."""
    weights = click.option(
        "--weights", metavar="FILE.safetensors",
        help="Of a step: its weights by name; others are made from the seed.",
    )  # fmt: skip
    check = click.option(
        "--check",
        is_flag=True,
        help="Of a step, with --backend timing: run data on the functional model, too.",
    )
    return weights(check(command))


def refuse_run_options(file: str, weights: str | None, check: bool) -> None:
    """Refuse options of a step for a file that holds none."""
    for option, given in (("--weights", weights is not None), ("--check", check)):
        if given:
            raise click.UsageError(f"{option} is of a step, and {file} holds none")


def run_step_file(
    step: StepProgram,
    config: Config,
    report: Report,
    target: Target,
    *,
    file: str,
    seed: int,
    weights: str | None,
    check: bool,
    trace: str | None,
    waves: str | None,
    show: Show,
) -> bool:
    """Run the step of a file; return whether all that was compared is the same.

    With the timing model no data is needed. The functional model and the RTL run data: weights of a
    checkpoint or of the seed, inputs of the seed, and a quadratic loss whose targets are, too.
    """
    if waves is not None:
        raise click.UsageError(f"--waves is of a single program, and {file} holds a step of many")
    if check and target.backend != "timing":
        raise click.UsageError(f"--check is of --backend timing: {target.backend} runs data anyway")
    if weights is not None and target.backend == "timing" and not check:
        raise click.UsageError("--weights needs data: --backend functional or rtl, or --check")
    step = _simulated(step, config)
    results: tuple[RunResult, ...] = ()
    done = exact = None
    if target.backend != "timing" or check:
        done, exact = _run_data(step, target, weights, seed, file, trace is not None, show)
        results = done.results
    if target.backend == "timing":
        timing = DramTiming.of(config.replace(**target.dram))
        results = time_step(step, timing, timeline=trace is not None, progress=show)
    figures = step_figures(step) | {"exact": exact}
    print_step(report, figures)
    if "cycles" in results[0].counters:
        figures |= time_figures(step, results)
        print_time(report, figures)
    else:
        figures |= {"seconds": sum(result.seconds for result in results)}
    _print_run(report, figures, results, done)
    if trace is not None:
        for path in write_trace(trace, list(step.programs), results, config.clock_mhz):
            report.line(f"timeline: {path}")
    report.json(figures)
    return exact is not False


def _simulated(step: StepProgram, config: Config) -> StepProgram:
    """Return a step with a configuration that differs in what is simulated only."""
    steps = tuple(replace(s, config=config) if hasattr(s, "config") else s for s in step.steps)
    return replace(step, config=config, steps=steps)


def _run_data(
    step: StepProgram,
    target: Target,
    weights: str | None,
    seed: int,
    file: str,
    timeline: bool,
    show: Show,
) -> tuple[StepResult, bool | None]:
    """Return a run on data, and of the RTL whether it equals the functional model bit for bit."""
    shape = shape_in(step)
    given = {} if weights is None else load_weights(weights, shape)
    tensors = random_tensors(shape, seed, given)

    def run(backend: str, **options: Any) -> StepResult:
        device = replace(target, backend=backend).device(step.config, show, **options)
        return StepSession(device, step, loss=QuadraticLoss(seed)).run(tensors, noise_seed=seed)

    try:
        expected = run("functional")
        if target.backend != "rtl":
            return expected, None
        found = run("rtl", **({"timeline": True} if timeline else {}))
    except GraphError as error:
        raise ProgramFileError(f"{file}: {error}") from None
    pairs = ((found.values[name], array) for name, array in expected.values.items())
    return found, all(np.array_equal(*pair) for pair in pairs)


def _print_run(
    report: Report,
    figures: dict[str, Any],
    results: tuple[RunResult, ...],
    done: StepResult | None,
) -> None:
    """Print totals, and what a run on data gave."""
    if "cycles" in figures:
        report.line(
            f"{figures['cycles']:,} cycles, {figures['array_cycles']:,} of them from first operand "
            f"to last result; utilisation {figures['utilisation']:.3f}"
        )
        report.line(
            f"DRAM: {figures['dram_read_bytes']:,} bytes read, "
            f"{figures['dram_write_bytes']:,} written"
        )
    if done is not None:
        report.line(
            f"{len(done.outputs):,} outputs and {len(done.gradients):,} gradients of data of the "
            "seed"
        )
    report.line(f"{results[0].backend}: {figures['seconds']:.2f} s")
