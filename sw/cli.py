"""The command line: the one place where everything meets."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
import numpy as np

from hw.isa.config import Config
from sim.result import MachineError

from . import runner
from .console import BAD_INPUT, Report, backend_options, config_options, device, progress
from .gemm import compile_gemm, run_gemm
from .layer import compile_layer
from .program import Program
from .program_file import (
    ProgramFileError,
    assemble_programs,
    disassemble_programs,
    read_programs,
    write_file,
    write_programs,
)
from .quantise import Group

__all__ = ["main"]

DATAFLOW = click.Choice(["ws", "os", "auto"])
SEED = click.option("--seed", default=0, show_default=True, help="Of the data the program makes.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cdmqta")
def cli() -> None:
    """Generate, simulate and program an INT8 systolic array for LoRA fine-tuning."""


@cli.command()
@config_options("paper")
@backend_options("rtl")
@click.option("--dataflow", type=DATAFLOW, default="auto", show_default=True)
@SEED
def demo(config: Config, report: Report, target: Any, dataflow: str, seed: int) -> None:
    """Run all training products of one Stable Diffusion K site, and check every bit."""
    from .demo import SHAPE, run_demo

    shape = f"{SHAPE['n']}x{SHAPE['d1']} -> {SHAPE['d2']}, rank {SHAPE['r']}"
    report.line(f"SD 1.5 cross-attention K site {shape}, on a {config.rows}x{config.columns} array")
    with progress(report) as show:
        figures = run_demo(config, target, seed=seed, dataflow=dataflow, show=show)
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

    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--output: cannot make {folder}: {error.strerror}") from None
    emission = emit(config, memories)
    listed = [
        {
            "name": memory.macro.name, "depth": memory.macro.depth, "width": memory.macro.width,
            "ports": memory.macro.ports, "write_granularity": memory.macro.granularity,
            "instances": memory.instances,
        }
        for memory in emission.memories
    ]  # fmt: skip
    files = {
        "cdmqta.v": emission.verilog,
        "memories.json": json.dumps(listed, indent=2) + "\n",
        "config.toml": tomli_w.dumps(config.to_mapping()),
    }
    for name, text in files.items():
        write_file(folder / name, text.encode())
        report.line(f"{folder / name}: {len(text):,} bytes")
    report.json({"files": [str(folder / name) for name in files], "memories": listed})


def load_matrix(file: str) -> np.ndarray:
    """Return an int8 matrix of a .npy file."""
    try:
        array = np.load(file, allow_pickle=False)
    except OSError as error:
        raise click.UsageError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError):
        raise click.UsageError(f"{file}: is not a .npy file") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.size == 0:
        shape = getattr(array, "shape", None)
        raise click.UsageError(f"{file}: must hold a matrix, not an array of shape {shape}")
    if array.dtype != np.int8:
        raise click.UsageError(f"{file}: must be int8, not {array.dtype}")
    return array


@cli.command()
@click.argument("a", metavar="A.npy")
@click.argument("b", metavar="B.npy")
@config_options("small")
@backend_options("functional")
@click.option("-o", "--output", required=True, metavar="C.npy")
@click.option("--dataflow", type=DATAFLOW, default="auto", show_default=True)
@click.option("--transpose-a", is_flag=True, help="The file holds A transposed, K x M.")
@click.option("--transpose-b", is_flag=True, help="The file holds B transposed, N x K.")
@click.option(
    "--requantise", type=click.Choice([group.value for group in Group]),
    help="Write C as int8, and its scales to C.scales.npy.",
)  # fmt: skip
def gemm(
    config: Config, report: Report, target: Any, a: str, b: str, output: str, **options: Any
) -> None:
    """Multiply two INT8 matrices: A (M x K) by B (K x N), C in int32."""
    left, right = load_matrix(a), load_matrix(b)
    inner = left.shape[0 if options["transpose_a"] else 1]
    other = right.shape[1 if options["transpose_b"] else 0]
    if inner != other:
        raise click.UsageError(f"{a} has K = {inner} and {b} has K = {other}: they must be equal")
    with progress(report) as show:
        result = run_gemm(device(config, target, show), left, right, **options)
    expected = runner.expected_gemm(config, left, right, **options)
    exact = np.array_equal(result.c, expected)
    runner.write_array(output, result.c)
    if result.scales is not None:
        runner.write_array(str(Path(output).with_suffix(".scales.npy")), result.scales)
    figures = runner.program_figures(result.programs, result.results) | {"exact": exact}
    runner.print_products(report, figures["products"])
    report.json(figures)
    if not exact:
        fail(f"{output} differs from the exact product")


_WORKLOADS = {
    "gemm": (re.compile(r"gemm:(\d+)x(\d+)x(\d+)"), "gemm:MxKxN"),
    "lora": (re.compile(r"lora:(\d+)x(\d+)x(\d+):r(\d+)"), "lora:NxD1xD2:rR"),
}


def compile_workload(config: Config, workload: str, dataflow: str) -> tuple[Program, ...]:
    """Return the programs of ``gemm:MxKxN`` or ``lora:NxD1xD2:rR`` (tokens, widths, rank)."""
    for kind, (pattern, _) in _WORKLOADS.items():
        found = pattern.fullmatch(workload)
        if not found:
            continue
        sizes = [int(text) for text in found.groups()]
        if min(sizes) < 1:
            raise click.UsageError(f"workload {workload}: sizes must be at least 1")
        if kind == "gemm":
            return compile_gemm(config, *sizes, dataflow=dataflow)
        programs = compile_layer(config, *sizes, dataflow=dataflow, column_copies="rescaled")
        return programs.programs
    accepted = " or ".join(form for _, form in _WORKLOADS.values())
    raise click.UsageError(f"workload must be {accepted}, not {workload!r}")


@cli.command("compile")
@click.argument("workload")
@config_options("paper")
@click.option("-o", "--output", required=True, metavar="FILE")
@click.option("--dataflow", type=DATAFLOW, default="auto", show_default=True)
def compile_(config: Config, report: Report, workload: str, output: str, dataflow: str) -> None:
    """Compile WORKLOAD, gemm:MxKxN or lora:NxD1xD2:rR, to a program file."""
    programs = compile_workload(config, workload, dataflow)
    write_programs(output, programs)
    figures = runner.program_figures(programs, ())
    runner.print_products(report, figures["products"])
    report.line(f"{output}: {sum(len(program.instructions) for program in programs)} instructions")
    report.json(figures)


@cli.command()
@click.argument("file")
def disassemble(file: str) -> None:
    """Print a program file as text, one instruction a line."""
    click.echo(disassemble_programs(read_programs(file)), nl=False)


@cli.command()
@click.argument("file")
@click.option("-o", "--output", required=True, metavar="FILE")
def assemble(file: str, output: str) -> None:
    """Turn the text that disassemble prints back into the same program file."""
    try:
        text = Path(file).read_text()
    except OSError as error:
        raise click.UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{file}: is not text") from None
    try:
        programs = assemble_programs(text)
    except ProgramFileError as error:
        raise ProgramFileError(f"{file}: {error}") from None
    write_programs(output, programs)


@cli.command()
@click.argument("file")
@config_options("paper")
@backend_options("functional")
@click.option("--trace", metavar="FILE", help="Timeline that opens in Perfetto.")
@click.option("--waves", metavar="FILE.vcd", help="Every signal of the RTL, cycle by cycle.")
@SEED
def run(
    config: Config,
    report: Report,
    target: Any,
    file: str,
    trace: str | None,
    waves: str | None,
    seed: int,
) -> None:
    """Run a program file on data made from the seed; the RTL is checked bit for bit.

    The configuration is the file's own; --preset, --config and --set may change what its
    hardware does not depend on.
    """
    del config  # a program carries the configuration it is compiled for
    programs = read_programs(file)
    if waves is not None and not waves.endswith(".vcd"):
        raise click.UsageError(f"--waves must name a .vcd file, not {waves!r}")
    extra = {} if waves is None else {"waves": Path(waves)}
    if extra and len(programs) != 1:
        raise click.UsageError("--waves takes a file of one program")
    with progress(report) as show:
        own = device(programs[0].config, target, show, **extra)
        outputs, results = runner.run_programs(own, programs, seed)
    exact = None
    if target[0] != "functional":
        checker = device(programs[0].config, ("functional", target[1]), None)
        expected, _ = runner.run_programs(checker, programs, seed)
        exact = all(np.array_equal(outputs[name], expected[name]) for name in expected)
    figures = runner.program_figures(programs, results) | {"exact": exact}
    runner.print_products(report, figures["products"])
    runner.print_totals(report, figures)
    if trace is not None:
        runner.write_trace(trace, programs, results)
    report.json(figures)
    if exact is False:
        fail("the outputs differ from those of the functional model")


def fail(message: str) -> NoReturn:
    """End with exit code 1: a result is wrong."""
    click.echo(f"cdmqta: {message}", err=True)
    sys.exit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: exit code 0 done, 1 a wrong result, 2 bad input in one line."""
    try:
        cli.main(args=arguments, prog_name="cdmqta", standalone_mode=False)
    except click.ClickException as error:
        message, code = error.format_message(), 2
    except BAD_INPUT as error:
        message, code = str(error), 2
    except MachineError as error:
        message, code = str(error), 1
    except click.Abort:
        message, code = "interrupted", 130
    else:
        return
    click.echo(f"cdmqta: {' '.join(message.split())}", err=True)
    sys.exit(code)
