"""The command line: the one place where everything meets."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import click
import numpy as np

from hw.isa.config import Config
from sim.result import MachineError

from . import arrays, runner
from .compare.command import compare_command
from .console import BAD_INPUT, Report, keep_clear, progress
from .explore.command import explore_command
from .firmware.command import firmware_command
from .gemm import SCALINGS, run_gemm
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
    Margin,
    OutputFile,
    Settings,
    Target,
    backend_options,
    check_requantise,
    config_options,
    gemm_paths,
    rounding_options,
    settings_options,
)
from .program_file import (
    ProgramFileError,
    read_programs,
    write_files,
    write_programs,
)
from .program_text import assemble_text, disassemble_text
from .quantise import Group
from .tile_search import GOALS
from .workload import compile_workload, naming
from .workload_command import workload

__all__ = ["main"]

DATAFLOW = click.Choice(["ws", "os", "auto"])
OBJECTIVE = click.option(
    "--objective", type=click.Choice(GOALS), default="latency", show_default=True,
    help="What the plan of each product makes small.",
)  # fmt: skip
SEED = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True,
    help="Of the data the program makes.",
)  # fmt: skip


class Commands(click.Group):
    """The commands; a missing or unknown one is told with all that there are."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words before the command."""
        if not args and not ctx.resilient_parsing:
            raise click.UsageError(f"a command is missing; {self._accepted()}", ctx)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            raise click.UsageError(f"no command {args[0]!r}; {self._accepted()}", ctx)
        return super().resolve_command(ctx, args)

    def _accepted(self) -> str:
        return f"accepted: {', '.join(self.commands)}"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cdmqta")
def cli() -> None:
    """Generate, simulate and program an INT8 systolic array for LoRA fine-tuning."""


@cli.command()
@config_options("paper")
@backend_options("rtl")
@click.option("--dataflow", type=DATAFLOW, default="auto", show_default=True)
@OBJECTIVE
@rounding_options
@SEED
def demo(config: Config, report: Report, target: Target, **options: Any) -> None:
    """Run all training products of one Stable Diffusion K site, and check every bit."""
    from .demo import SHAPE, run_demo

    report.keep_clear({})
    shape = f"{SHAPE['n']}x{SHAPE['d1']} -> {SHAPE['d2']}, rank {SHAPE['r']}"
    with progress() as show:
        figures = run_demo(target.device(config, show), **options)
    report.line(f"SD 1.5 cross-attention K site {shape}, on a {config.rows}x{config.columns} array")
    runner.print_products(report, figures["products"])
    runner.print_totals(report, figures)
    report.json(figures)
    if not figures["exact"]:
        fail(f"not exact: {figures['differences']}")
    report.line("every output equals the torch golden model, bit for bit")


@cli.command()
@config_options("paper")
@click.option("-o", "--output", required=True, metavar="DIR", help="Made if it is not there.")
@click.option(
    "--memories", type=click.Choice(["behavioural", "blackbox"]), default="behavioural",
    show_default=True, help="Models of the memories, or modules left to be provided.",
)  # fmt: skip
def generate(config: Config, report: Report, output: str, memories: str) -> None:
    """Write cdmqta.v, memories.json and config.toml."""
    import tomli_w

    from hw.emit import emit
    from sim.toolchain import yosys_environment

    yosys_environment()
    folder = Path(output)
    names = ("cdmqta.v", "memories.json", "config.toml")
    report.keep_clear({f"output {name}": folder / name for name in names})
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--output: cannot make {folder}: {error.strerror}") from None
    with progress() as show:
        if show is not None:
            show("emit", 0)
        emission = emit(config, memories)
    listed = [memory.listing() for memory in emission.memories]
    memory_list = json.dumps(listed, indent=2) + "\n"
    texts = (emission.verilog, memory_list, tomli_w.dumps(config.to_mapping()))
    contents = {folder / name: text.encode() for name, text in zip(names, texts, strict=True)}
    write_files(contents)
    for path, data in contents.items():
        report.line(f"{path}: {len(data):,} bytes")
    report.line(
        f"a stationary tile is loaded in {config.break_even_rows} cycles at best: "
        "streams of that many rows or more hide it"
    )
    if config.dram_bound is not None:
        click.echo(f"cdmqta: warning: {config.dram_bound}", err=True)
    report.json(
        {
            "files": [str(path) for path in contents],
            "memories": listed,
            "tile_cycles": config.tile_cycles,
            "break_even_rows": config.break_even_rows,
            "dram_bound": config.dram_bound is not None,
        }
    )


@cli.command()
@click.argument("a", metavar="A.npy")
@click.argument("b", metavar="B.npy")
@config_options("small")
@backend_options("functional")
@click.option("-o", "--output", type=OutputFile(), required=True, metavar="C.npy")
@click.option("--dataflow", type=DATAFLOW, default="auto", show_default=True)
@OBJECTIVE
@click.option("--transpose-a", is_flag=True, help="The file holds A transposed, K x M.")
@click.option("--transpose-b", is_flag=True, help="The file holds B transposed, N x K.")
@click.option(
    "--requantise", type=click.Choice([group.value for group in Group]),
    help="Write C as int8, its scales to C.scales.npy, its maxima to C.maxima.npy.",
)  # fmt: skip
@click.option(
    "--scaling", type=click.Choice(SCALINGS), default="fresh", show_default=True,
    help="Scales of C's own maxima, or of --maxima times --margin.",
)  # fmt: skip
@click.option("--maxima", metavar="FILE.npy", help="C.maxima.npy of an earlier step.")
@click.option(
    "--margin", type=Margin(), show_default="1.25",
    help="By how much maxima may have grown.",
)  # fmt: skip
@rounding_options
def gemm(
    config: Config,
    report: Report,
    target: Target,
    a: str,
    b: str,
    output: str,
    maxima: str | None,
    **options: Any,
) -> None:
    """Multiply two INT8 matrices: A (M x K) by B (K x N), C in int32."""
    left, right = arrays.load_matrix(a), arrays.load_matrix(b)
    inner, rows = left.shape[:: 1 if options["transpose_a"] else -1]
    other, columns = right.shape[:: -1 if options["transpose_b"] else 1]
    if inner != other:
        raise click.UsageError(f"{a} has K = {inner} and {b} has K = {other}: they must be equal")
    check_requantise(maxima=maxima, **options)
    options["margin"] = options["margin"] or Fraction("1.25")
    paths = gemm_paths(output, options["requantise"])
    report.keep_clear({f"output {name}": path for name, path in paths.items()}, (a, b, maxima))
    if maxima is not None:
        entries = {"row": rows, "column": columns, "tensor": 1}[options["requantise"]]
        options["maxima"] = arrays.load_maxima(maxima, entries)
    with progress() as show, naming(f"{a}, {b}"):
        result = run_gemm(target.device(config, show), left, right, **options)
    found = runner.gemm_outputs(result)
    expected = arrays.expected_gemm(left, right, **{"maxima": None} | options)
    exact = all(np.array_equal(found[name], array) for name, array in expected.items())
    write_files({path: arrays.npy(found[name]) for name, path in paths.items()})
    figures = runner.program_figures(result.programs, result.results) | {"exact": exact}
    runner.print_products(report, figures["products"])
    runner.print_choices(report, figures["products"])
    if "cycles" in figures:
        runner.print_totals(report, figures)
    if options["requantise"] is not None:
        runner.print_limited(report, figures)
    report.json(figures)
    if not exact:
        fail(f"{output} differs from the exact product")


@cli.command("compile")
@click.argument("workload")
@config_options("paper")
@click.option("-o", "--output", type=OutputFile(), required=True, metavar="FILE")
@click.option("--dataflow", type=DATAFLOW, default="auto", show_default=True)
@OBJECTIVE
@step_options
def compile_(
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


@cli.command()
@click.argument("file")
def disassemble(file: str) -> None:
    """Print a program file as text, one instruction a line."""
    click.echo(disassemble_text(read_programs(file)), nl=False)


@cli.command()
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


@cli.command()
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


cli.add_command(compare_command)
cli.add_command(explore_command)
cli.add_command(firmware_command)
cli.add_command(workload)


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


def fail(message: str) -> NoReturn:
    """End with exit code 1: a result is wrong."""
    click.echo(f"cdmqta: {message}", err=True)
    sys.exit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: exit code 0 done, 1 a wrong result, 2 bad input in one line."""
    try:
        cli.main(args=arguments, prog_name="cdmqta", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        message, code = usage(error), 2
    except BAD_INPUT as error:
        message, code = str(error), 2
    except MachineError as error:
        message, code = str(error), 1
    except BrokenPipeError:  # who read the output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full disk, a temporary folder that is gone
        message, code = str(error), 2
    except click.Abort:
        message, code = "interrupted", 130
    else:
        return
    click.echo(f"cdmqta: {' '.join(message.split())}", err=True)
    sys.exit(code)


def usage(error: click.ClickException) -> str:
    """Return the message of an error, and for an unknown option those that there are."""
    message = error.format_message()
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        options = [param.opts[-1] for param in error.ctx.command.get_params(error.ctx)
                   if isinstance(param, click.Option)]  # fmt: skip
        return f"no option {error.option_name}; accepted: {', '.join(options)}"
    return message
