"""Program files on the command line: compile, disassemble, assemble, run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from hw.isa.config import Config

from . import runner
from .console import Report, fail, keep_clear, progress
from .graph.command import (
    compile_model,
    is_model,
    refuse_options,
    refuse_run_options,
    run_options,
    run_step_file,
    step_options,
)
from .graph.program import StepProgram
from .options import (
    DATAFLOW,
    OBJECTIVE,
    SEED,
    OutputFile,
    Settings,
    Target,
    backend_options,
    config_options,
    settings_options,
)
from .program_file import ProgramFileError, read_programs, write_programs
from .program_text import assemble_text, disassemble_text
from .workload import compile_workload

__all__ = ["assemble", "compile_command", "disassemble", "run"]


@click.command("compile")
@click.argument("workload")
@config_options("paper")
@click.option("-o", "--output", type=OutputFile(), required=True, metavar="FILE")
@click.option("--dataflow", type=DATAFLOW, default="auto", show_default=True)
@OBJECTIVE
@step_options
def compile_command(
    config: Config,
    report: Report,
    workload: str,
    output: str,
    model: dict[str, Any],
    **options: Any,
) -> None:
    """Compile WORKLOAD to a program file.

    It is gemm:MxKxN, lora:NxD1xD2:rR, or, for a whole training step with LoRA, a model: sd15, sd21,
    sdxl or module:function, as `workload` takes them.
    """
    report.keep_clear({"--output": output})
    if is_model(workload):
        with progress() as show:
            compile_model(config, report, workload, output, model, show=show, **options)
        return
    refuse_options(model, workload)
    with progress() as show:
        if show is not None:
            show("compile", 0)
        programs = compile_workload(config, workload, **options)
    write_programs(output, programs)
    figures = runner.program_figures(programs, ())
    runner.print_products(report, figures["products"])
    runner.print_choices(report, figures["products"])
    report.line(f"{output}: {sum(len(program.instructions) for program in programs)} instructions")
    report.json(figures)


@click.command()
@click.argument("file")
def disassemble(file: str) -> None:
    """Print a program file as text, one instruction a line."""
    click.echo(disassemble_text(read_programs(file)), nl=False)


@click.command()
@click.argument("file")
@click.option("-o", "--output", type=OutputFile(), required=True, metavar="FILE")
def assemble(file: str, output: str) -> None:
    """Turn the text that disassemble prints back into the same program file."""
    keep_clear({"--output": output}, (file,))
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{file}: is not text") from None
    try:
        contents = assemble_text(text)
    except ProgramFileError as error:
        raise ProgramFileError(f"{file}: {error}") from None
    write_programs(output, contents)


@click.command()
@click.argument("file")
@settings_options(None)
@backend_options("functional")
@click.option("--trace", type=OutputFile(), metavar="FILE", help="Timeline that opens in Perfetto.")
@click.option(
    "--waves", type=OutputFile(), metavar="FILE.vcd",
    help="Every signal of the RTL, cycle by cycle.",
)  # fmt: skip
@run_options
@SEED
def run(
    settings: Settings,
    report: Report,
    target: Target,
    file: str,
    trace: str | None,
    waves: str | None,
    weights: str | None,
    check: bool,
    seed: int,
) -> None:
    """Run a program file on data made from the seed; the RTL is checked bit for bit.

    --backend timing gives the counters of the RTL, all of them to the cycle, in a fraction of the
    time; those of a whole training step without any data.

    The configuration is the file's own; --preset, --config and --set may change only what its
    hardware does not depend on.
    """
    report.keep_clear({"--trace": trace, "--waves": waves}, (file, weights))
    programs = runner.load_job(file)
    config = runner.configuration(file, programs, settings)
    check_recording(target, trace, waves)
    extra = recording(trace, waves)
    if isinstance(programs, StepProgram):
        with progress() as show:
            same = run_step_file(
                programs, config, report, target, file=file, seed=seed, weights=weights,
                check=check, trace=trace, waves=waves, show=show,
            )  # fmt: skip
        if not same:
            fail("what the RTL gives differs from the functional model")
        return
    refuse_run_options(file, weights, check)
    with progress() as show:
        device = target.device(config, show, **extra)
        outputs, results = runner.run_programs(device, programs, seed, file)
        exact = None
        if target.backend == "rtl":
            checker = replace(target, backend="functional").device(config)
            expected, _ = runner.run_programs(checker, programs, seed, file)
            exact = all(np.array_equal(outputs[name], expected[name]) for name in expected)
    figures = runner.program_figures(programs, results) | {"exact": exact}
    runner.print_products(report, figures["products"])
    runner.print_totals(report, figures)
    if trace is not None:
        for path in runner.write_trace(trace, programs, results, config.clock_mhz):
            report.line(f"timeline: {path}")
    report.json(figures)
    if exact is False:
        fail("the outputs differ from those of the functional model")


def check_recording(target: Target, trace: str | None, waves: str | None) -> None:
    """Refuse, before a run, to record what it will not have."""
    if trace is not None and target.backend == "functional":
        raise click.UsageError("--trace needs --backend timing or rtl, not functional")
    if waves is not None and not waves.endswith(".vcd"):
        raise click.UsageError(f"--waves must name a .vcd file, not {waves!r}")


def recording(trace: str | None, waves: str | None) -> dict[str, Any]:
    """Return the options of a backend that records what is asked for."""
    options: dict[str, Any] = {}
    if waves is not None:
        options["waves"] = Path(waves)
    if trace is not None:
        options["timeline"] = True
    return options
