"""The command line: the one place where everything meets."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import numpy as np

from hw.isa.config import Config
from sim.result import MachineError

from . import arrays, interruption, runner
from .compare.command import compare_command
from .console import BAD_INPUT, Report, fail, progress
from .explore.command import explore_command
from .firmware.command import firmware_command
from .gemm import SCALINGS, run_gemm
from .options import (
    DATAFLOW,
    OBJECTIVE,
    SEED,
    Margin,
    OutputFile,
    Target,
    backend_options,
    check_requantise,
    config_options,
    gemm_paths,
    rounding_options,
)
from .program_command import assemble, compile_command, disassemble, run
from .program_file import (
    write_files,
)
from .quantise import Group
from .synth.command import synth_command
from .train_command import train_command
from .workload import naming
from .workload_command import workload

__all__ = ["entry", "main"]


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


cli.add_command(compile_command)
cli.add_command(disassemble)
cli.add_command(assemble)
cli.add_command(run)
cli.add_command(compare_command)
cli.add_command(explore_command)
cli.add_command(firmware_command)
cli.add_command(synth_command)
cli.add_command(train_command)
cli.add_command(workload)


def entry() -> None:
    """Run the command line as a program, which ends soon when it is interrupted."""
    interruption.watch()
    main()


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
        message, code = "interrupted", interruption.CODE
    else:
        return
    click.echo(f"cdmqta: {' '.join(message.split())}", err=True)
    if code == interruption.CODE:
        interruption.said.set()
    sys.exit(code)


def usage(error: click.ClickException) -> str:
    """Return the message of an error, and for an unknown option those that there are."""
    message = error.format_message()
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        options = [param.opts[-1] for param in error.ctx.command.get_params(error.ctx)
                   if isinstance(param, click.Option)]  # fmt: skip
        return f"no option {error.option_name}; accepted: {', '.join(options)}"
    return message
