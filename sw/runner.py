"""Running program files and telling what came of it, for the command line."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hw.isa.config import Config
from sim.arithmetic import decode_scales, matmul, requantise8
from sim.report import timeline
from sim.result import RunResult

from .console import Report
from .demo import make_site
from .driver import Device
from .gemm import run_gemm_programs
from .layer_run import quantise_site, run_layer
from .product_rows import product_rows
from .program import Program
from .program_file import ProgramFileError, write_file
from .quantise import fresh_scales

__all__ = [
    "expected_gemm",
    "print_products",
    "print_totals",
    "program_figures",
    "run_programs",
    "write_array",
    "write_trace",
]


def write_array(path: str, array: np.ndarray) -> None:
    """Write a .npy file whole or not at all."""
    data = io.BytesIO()
    np.save(data, array)
    write_file(path, data.getvalue())


def expected_gemm(
    config: Config,
    left: np.ndarray,
    right: np.ndarray,
    *,
    transpose_a: bool,
    transpose_b: bool,
    requantise: str | None,
    **_: Any,
) -> np.ndarray:
    """Return what `gemm` must give, without a program: int32 sums, or these requantised."""
    sums = matmul(left.T if transpose_a else left, right.T if transpose_b else right)
    if requantise is None:
        return sums
    axes = {"row": 1, "column": 0, "tensor": None}[requantise]
    maxima = np.abs(sums.astype(np.int64)).max(axis=axes, keepdims=True)
    m, s = decode_scales(fresh_scales(maxima.ravel()).reshape(maxima.shape))
    return requantise8(sums, m, s)


def run_programs(
    device: Device, programs: Sequence[Program], seed: int
) -> tuple[dict[str, np.ndarray], tuple[RunResult, ...]]:
    """Run the programs of a file on data made from a seed; return its outputs by name."""
    meta = programs[0].meta
    rng = np.random.default_rng(seed)
    if meta.get("kind") == "gemm":
        shapes = [programs[0].inputs[name].host_shape for name in "AB"]
        a, b = (rng.integers(-128, 128, shape, dtype=np.int8) for shape in shapes)
        done = run_gemm_programs(device, tuple(programs), a, b)
        scales = {} if done.scales is None else {"scales": done.scales}
        return {"C": done.c} | scales, done.results
    if meta.get("kind") == "lora":
        sizes = {name: int(meta[name]) for name in ("n", "d1", "d2", "r")}
        tensors = make_site(**sizes, seed=seed)
        copies = meta["column_copies"]
        inputs = quantise_site(
            *(tensors[name] for name in ("x", "w", "a", "b", "dy")), column_copies=copies
        )
        layer = run_layer(device, programs, inputs)
        return layer.arrays, layer.results
    raise ProgramFileError(
        f"the file holds a job of kind {meta.get('kind')!r}; accepted: gemm, lora"
    )


def program_figures(
    programs: Sequence[Program], results: Sequence[RunResult]
) -> dict[str, Any]:
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
        figures["utilisation"] = total["macs"] / (total["cycles"] * config.rows * config.columns)
    return figures


def print_products(report: Report, products: Sequence[dict[str, Any]]) -> None:
    """Print a row for each product."""
    shown = []
    for product in products:
        m, k, n = product["shape"]
        row = {
            "program": product["program"], "product": product["product"],
            "M x K x N": f"{m} x {k} x {n}", "dataflow": product["dataflow"],
            "cycles": product.get("cycles"), "MACs": product["macs"],
            "utilisation": product.get("utilisation"),
        }  # fmt: skip
        if "exact" in product:
            row["exact"] = "yes" if product["exact"] else product["first_difference"]
        shown.append(row)
    report.table("Products", shown)


def print_totals(report: Report, figures: dict[str, Any]) -> None:
    """Print the counters of a run."""
    if "cycles" in figures:
        report.line(
            f"{figures['cycles']:,} cycles from start to interrupt, "
            f"{figures['array_cycles']:,} of them from first operand to last result; "
            f"{figures['macs']:,} MACs, utilisation {figures['utilisation']:.3f}; "
            f"DRAM {figures['dram_read_bytes']:,} bytes read, "
            f"{figures['dram_write_bytes']:,} written"
        )
    seconds = figures["seconds"]
    speed = f", {figures['cycles'] / seconds:,.0f} cycles/s" if figures.get("cycles") else ""
    report.line(f"{figures['backend']}: {seconds:.2f} s{speed}")


def write_trace(path: str, programs: Sequence[Program], results: Sequence[RunResult]) -> None:
    """Write the timeline of a program's run; of several programs, that of each.

    Raises
    ------
    ProgramFileError
        The backend keeps no time.
    """
    if not all(result.events for result in results):
        raise ProgramFileError("--trace needs a backend that keeps time: rtl")
    for index, (program, result) in enumerate(zip(programs, results, strict=True)):
        target = Path(path)
        if len(programs) > 1:
            target = target.with_stem(f"{target.stem}.{index}")
        text = timeline(program.instructions, result.events, program.config.clock_mhz)
        write_file(target, text.encode())
