"""Running program files and telling what came of it, for the command line."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hw.isa.config import Config, ConfigError
from sim.arithmetic import decode_scales, matmul, requantise8
from sim.functional import ProgramError
from sim.report import timeline
from sim.result import RunResult

from .console import Report
from .demo import make_site
from .driver import Device, InputError
from .gemm import run_gemm_programs
from .layer_run import quantise_site, run_layer
from .options import Settings
from .product_rows import product_rows
from .program import Program
from .program_file import ProgramFileError, read_programs, write_files
from .quantise import fresh_scales

__all__ = [
    "configuration",
    "expected_gemm",
    "load_job",
    "load_matrix",
    "npy",
    "print_products",
    "print_totals",
    "program_figures",
    "run_programs",
    "write_trace",
]


def load_matrix(file: str) -> np.ndarray:
    """Return an int8 matrix of a .npy file.

    Raises
    ------
    InputError
        The file cannot be read, or holds something else.
    """
    try:
        with open(file, "rb") as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    except (MemoryError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{file}: is not a .npy file of numbers: {error}") from None
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{file}: must hold a matrix, not an array of shape {array.shape}")
    if array.dtype != np.int8:
        raise InputError(f"{file}: must be int8, not {array.dtype}")
    return array


_SIMULATED = ("clock_mhz", "dram_latency", "dram_gbps")
"""Values of a configuration that its hardware does not depend on, see `Config.digest`."""


def npy(array: np.ndarray) -> bytes:
    """Return the contents of a .npy file."""
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


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


def load_job(file: str) -> tuple[Program, ...]:
    """Read a program file that holds all programs of a job.

    Raises
    ------
    ProgramFileError
        The file cannot be read, or holds something else.
    """
    programs = read_programs(file)
    if not programs:
        raise ProgramFileError(f"{file} holds no program")
    meta = programs[0].meta
    kind = meta.get("kind")
    if kind not in ("gemm", "lora"):
        raise ProgramFileError(f"{file} holds a job of kind {kind!r}; accepted: gemm, lora")
    needed = 2 if kind == "lora" or meta.get("requantise") else 1
    if len(programs) != needed:
        raise ProgramFileError(f"{file} holds {len(programs)} of the {needed} programs of its job")
    return programs


def configuration(file: str, programs: Sequence[Program], settings: Settings) -> Config:
    """Return the configuration of a job, with the settings laid over it.

    Raises
    ------
    ConfigError
        The settings ask for other hardware.
    """
    own = programs[0].config
    asked = settings.over(own)
    for key, value in own.to_mapping().items():
        if key not in _SIMULATED and getattr(asked, key) != value:
            raise ConfigError(
                f"{file} is compiled for {key} = {value}, not {getattr(asked, key)}; "
                f"a run may change {', '.join(_SIMULATED)}"
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
    shapes = [programs[0].inputs[name].host_shape for name in "AB"]
    a, b = (rng.integers(-128, 128, shape, dtype=np.int8) for shape in shapes)
    done = run_gemm_programs(device, tuple(programs), a, b)
    scales = {} if done.scales is None else {"scales": done.scales}
    return {"C": done.c} | scales, done.results


def _run_lora(
    device: Device, programs: Sequence[Program], seed: int
) -> tuple[dict[str, np.ndarray], tuple[RunResult, ...]]:
    meta = programs[0].meta
    tensors = make_site(**{name: int(meta[name]) for name in ("n", "d1", "d2", "r")}, seed=seed)
    inputs = quantise_site(
        *(tensors[name] for name in ("x", "w", "a", "b", "dy")),
        column_copies=meta["column_copies"],
    )
    layer = run_layer(device, programs, inputs)
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
        figures["utilisation"] = total["macs"] / (total["cycles"] * config.rows * config.columns)
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
    for product in products:
        if not product.get("exact", True):
            report.line(f"{product['product']} differs first at {product['first_difference']}")


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


def write_trace(
    path: str, programs: Sequence[Program], results: Sequence[RunResult], clock_mhz: int
) -> list[Path]:
    """Write the timeline of a program's run, of several programs one each; return the files."""
    files = {}
    for index, (program, result) in enumerate(zip(programs, results, strict=True)):
        target = Path(path)
        if len(programs) > 1:
            target = target.with_stem(f"{target.stem}.{index}")
        files[target] = timeline(program.instructions, result.events, clock_mhz).encode()
    write_files(files)
    return list(files)
