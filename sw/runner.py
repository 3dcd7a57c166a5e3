"""Running program files and telling what came of it, for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hw.isa.config import SIMULATED, Config, ConfigError
from sim.arithmetic import (
    matmul,
)
from sim.functional import ProgramError
from sim.report import timeline
from sim.result import RunResult

from .arrays import maxima_of
from .console import Report
from .demo import make_site
from .driver import Device
from .gemm import GemmResult, run_gemm_program
from .graph.program import StepProgram
from .layer_run import quantise_site, run_layer
from .options import Settings
from .product_rows import product_rows
from .program import Program
from .program_file import ProgramFileError, read_programs, write_files

__all__ = [
    "configuration",
    "gemm_outputs",
    "load_job",
    "print_choices",
    "print_limited",
    "print_products",
    "print_totals",
    "program_figures",
    "run_programs",
    "write_trace",
]


def load_job(file: str) -> tuple[Program, ...] | StepProgram:
    """Read a program file that holds the program of a job, or a step.

    Raises
    ------
    ProgramFileError
        The file cannot be read, or holds something else.
    """
    programs = read_programs(file)
    if isinstance(programs, StepProgram):
        return programs
    if not programs:
        raise ProgramFileError(f"{file} holds no program")
    meta = programs[0].meta
    kind = meta.get("kind")
    if kind not in ("gemm", "lora"):
        raise ProgramFileError(f"{file} holds a job of kind {kind!r}; accepted: gemm, lora")
    if len(programs) != 1:
        raise ProgramFileError(f"{file} holds {len(programs)} programs, but its job is one")
    return programs


def configuration(
    file: str, programs: Sequence[Program] | StepProgram, settings: Settings
) -> Config:
    """Return the configuration of a job or a step, with the settings laid over it.

    Raises
    ------
    ConfigError
        The settings ask for other hardware.
    """
    own = programs.config if isinstance(programs, StepProgram) else programs[0].config
    asked = settings.over(own)
    for key, value in own.to_mapping().items():
        if key not in SIMULATED and getattr(asked, key) != value:
            raise ConfigError(
                f"{file} is compiled for {key} = {value}, not {getattr(asked, key)}; "
                f"a run may change {', '.join(SIMULATED)}"
            )
    return asked


def run_programs(
    device: Device, programs: Sequence[Program], seed: int, file: str
) -> tuple[dict[str, np.ndarray], tuple[RunResult, ...]]:
    """Run the programs of a file on data made from a seed; return its outputs by name.

    Raises
    ------
    ProgramFileError
        What the file says of its job makes no sense, or what its programs do is undefined.
    MachineError
        The machine stopped.
    """
    try:
        if programs[0].meta["kind"] == "gemm":
            return _run_gemm(device, programs, seed)
        return _run_lora(device, programs, seed)
    except ProgramError as error:
        raise ProgramFileError(f"{file}: {error}") from None
    except (LookupError, TypeError, ValueError) as error:
        raise ProgramFileError(f"{file} does not describe a whole job: {error}") from None


def _run_gemm(
    device: Device, programs: Sequence[Program], seed: int
) -> tuple[dict[str, np.ndarray], tuple[RunResult, ...]]:
    rng = np.random.default_rng(seed)
    program = programs[0]
    a, b = (
        rng.integers(-128, 128, program.inputs[name].host_shape, dtype=np.int8) for name in "AB"
    )
    maxima = None
    if "scales" in program.inputs:  # as if the step before had had the same data
        meta = program.meta
        sums = matmul(a.T if meta["transpose_a"] else a, b.T if meta["transpose_b"] else b)
        maxima = maxima_of(sums, meta["requantise"])
    done = run_gemm_program(device, program, a, b, maxima=maxima, noise_seed=seed)
    return gemm_outputs(done), done.results


def gemm_outputs(done: GemmResult) -> dict[str, np.ndarray]:
    """Return what a product gives, by name."""
    found = {"C": done.c, "maxima": done.maxima, "scales": done.scales}
    return {name: array for name, array in found.items() if array is not None}


def _run_lora(
    device: Device, programs: Sequence[Program], seed: int
) -> tuple[dict[str, np.ndarray], tuple[RunResult, ...]]:
    meta = programs[0].meta
    tensors = make_site(**{name: int(meta[name]) for name in ("n", "d1", "d2", "r")}, seed=seed)
    inputs = quantise_site(
        *(tensors[name] for name in ("x", "w", "a", "b", "dy")),
        column_copies=meta["column_copies"],
    )
    layer = run_layer(device, programs[0], inputs, noise_seed=seed)
    return layer.arrays, layer.results


def program_figures(programs: Sequence[Program], results: Sequence[RunResult]) -> dict[str, Any]:
    """Return the totals over programs, and a row for each of their products.

    `results` is empty for programs that did not run.
    """
    rows: list[dict[str, Any]] = []
    for index, program in enumerate(programs):
        if results:
            found = product_rows(program, results[index])
        else:
            found = product_rows(program, None)
        rows += [{"program": program.name} | row for row in found]
    total = {
        name: sum(result.counters.get(name, 0) for result in results)
        for name in (results[0].counters if results else ())
    }
    total.setdefault("macs", sum(program.macs for program in programs))
    figures: dict[str, Any] = {**total, "products": rows}
    if results:
        figures["backend"] = results[0].backend
        figures["seconds"] = sum(result.seconds for result in results)
    if "cycles" in total:
        config = programs[0].config
        figures["utilisation"] = total["macs"] / (total["cycles"] * config.macs_per_cycle)
    return figures


def print_products(report: Report, products: Sequence[dict[str, Any]]) -> None:
    """Print a row for each product, and below them where one is not exact."""
    shown = []
    for product in products:
        m, k, n = product["shape"]
        shown.append({
            "program": product["program"], "product": product["product"],
            "MxKxN": f"{m}x{k}x{n}", "dataflow": product["dataflow"],
            "cycles": product.get("cycles"), "MACs": product["macs"],
            "util.": product.get("utilisation"), "exact": product.get("exact"),
        })  # fmt: skip
    report.table(shown, section="program")
    if any(product.get("utilisation", 0) > 1 for product in products):
        report.line("cycles count from the end of the product before: products overlap")
    for product in products:
        if not product.get("exact", True):
            report.line(f"{product['product']} differs first at {product['first_difference']}")


def print_choices(report: Report, products: Sequence[dict[str, Any]]) -> None:
    """Print how good the tiling of each product is known to be."""
    for product in products:
        swapped = ", transposed" if product["swapped"] else ""
        report.line(f"{product['product']} ({product['dataflow']}{swapped}): {product['choice']}")


def print_totals(report: Report, figures: dict[str, Any]) -> None:
    """Print the counters of a run."""
    seconds = figures["seconds"]
    ran = f"{figures['backend']}: {seconds:.2f} s"
    if "cycles" in figures:
        array, utilisation = figures["array_cycles"], figures["utilisation"]
        report.line(
            f"{figures['cycles']:,} cycles, {array:,} of them from first operand to last result"
        )
        report.line(f"{figures['macs']:,} MACs, utilisation {utilisation:.3f}")
        report.line(
            f"DRAM: {figures['dram_read_bytes']:,} bytes read, "
            f"{figures['dram_write_bytes']:,} written"
        )
        ran += f", {figures['cycles'] / seconds:,.0f} cycles/s" if seconds else ""
    report.line(ran)
    _print_stalls(report, figures)


def _print_stalls(report: Report, figures: dict[str, Any]) -> None:
    """Print what each engine did with its time, where the backend knows."""
    if "load_stalled_on_token" not in figures:
        return
    columns = ("busy", "load", "execute", "store", "DRAM", "memory")
    rows = []
    for engine in ("load", "execute", "store"):
        row = {"engine": engine, "busy": f"{engine}_busy"}
        row |= {name: f"{engine}_stalled_on_{name.lower()}" for name in columns[1:]}
        shares = {
            name: f"{figures[key] / max(figures['cycles'], 1):.1%}" if key in figures else ""
            for name, key in row.items()
            if name != "engine"
        }
        rows.append({"counters": "", "engine": engine} | shares)
    report.line("of all cycles, busy, and waiting for")
    report.table(rows, section="counters")
    if figures.get("saturations"):
        print_limited(report, figures)
    if figures.get("accumulate_saturations"):
        limited = figures["accumulate_saturations"]
        report.line(f"{limited:,} updated sums were limited to int32")


def print_limited(report: Report, figures: dict[str, Any]) -> None:
    """Print how many elements requantising limited, where the backend knows."""
    if "saturations" in figures:
        report.line(f"{figures['saturations']:,} INT8 values were limited to 127")


def write_trace(
    path: str, programs: Sequence[Program], results: Sequence[RunResult], clock_mhz: int
) -> list[Path]:
    """Write the timeline of a program's run, of several programs one each; return the files."""
    files = {}
    for index, (program, result) in enumerate(zip(programs, results, strict=True)):
        target = Path(path)
        if len(programs) > 1:
            target = target.with_stem(f"{target.stem}.{index}")
        files[target] = timeline(program.instructions, result, clock_mhz).encode()
    write_files(files)
    return list(files)
