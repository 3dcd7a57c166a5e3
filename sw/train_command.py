"""``cdmqta train``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hw.isa.config import Config
from sim.activity import Activity, activity
from sim.energy import energy
from sim.result import DramTiming

from .console import Report, fail
from .driver import BACKENDS, Device
from .graph.compile import compile_step
from .graph.timing import time_step
from .models import load_model
from .options import Finite, config_options, dram_values
from .parallel import spread
from .prices import DRAM_CLASS
from .train_options import TORCH, TRAINS, Asked, need_packages, refuse_what_has_no_effect

if TYPE_CHECKING:
    import torch

    from .train.precision import Method
    from .train.task import Losses

__all__ = ["train_command"]

_EXAMPLE_STEPS, _DEVICE_STEPS = 400, 3
_SITE = (77, 768, 320)
"""Tokens and widths of what a device trains: the K site of SD 1.5 that `cdmqta demo` runs."""
_EXAMPLE = "sw.example.traced:example"
_TIMED = ((_EXAMPLE, "kv", 16), (_EXAMPLE, "xattn", 16), ("sd15", "kv", 2), ("sd15", "xattn", 2))
"""Model, reading and batch of the steps that are timed."""

Watch = Callable[[str, int, int], None]


@click.command("train")
@click.argument("task", required=False)
@config_options("paper")
@click.option(
    "--backend", type=click.Choice([TORCH, *BACKENDS]), default=TORCH, show_default=True,
    help="Who computes the integer products; timing says what a step takes on the accelerator.",
)  # fmt: skip
@click.option(
    "--method", "trains", type=click.Choice(TRAINS), help="What is trained of a layer.",
)  # fmt: skip
@click.option(
    "--precision", metavar="NAME",
    help="Arithmetic: fp32; int8 (a scale for each row or column), int8-tensor, int8-stochastic; "
    "int6, int4, int4-weights, int4-activations, int4-gradients; int8-low-noise and "
    "int8-high-noise (8 bits where there is little or much noise, 6 in between, 4 elsewhere).",
)  # fmt: skip
@click.option("--weight-bits", type=click.Choice(["4", "8"]), show_default="4 for tuneqdm",
              help="Of the frozen weight in memory, with scales by output channel.")  # fmt: skip
@click.option("--experts", type=click.IntRange(1), show_default="4 for tuneqdm",
              help="Sets of scales, for parts of the noise schedule.")  # fmt: skip
@click.option("--no-input-scales", is_flag=True, help="Of tuneqdm: scales of outputs only.")
@click.option("--policies", is_flag=True,
              help="Of the example: compare bit widths by tensor and by noise.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), show_default="400; 3 on a device")
@click.option("--rank", type=click.IntRange(1), default=4, show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, metavar="N",
              help="Runs of each method, with seeds from 0 on.")  # fmt: skip
@click.option("--samples", type=click.IntRange(2), default=128, show_default=True,
              help="Images that the example is judged by, of concept and prior each.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Of a task of your own: of A, its batches and stochastic rounding.")  # fmt: skip
@click.option("--learning-rate", type=Finite(0, min_open=True), default=1e-3,
              show_default=True, help="Of a task of your own.")  # fmt: skip
@click.option("-o", "--output", default="train", show_default=True, metavar="DIR",
              help="Takes report, logs, adapters and checkpoints; runs in it go on.")  # fmt: skip
@click.option("--dram-gbps", metavar="X|unlimited", help="DRAM bandwidth, of timing and rtl.")
@click.option("--dram-latency", type=int, metavar="CYCLES")
def train_command(
    task: str | None,
    config: Config,
    report: Report,
    backend: str,
    trains: str | None,
    precision: str | None,
    dram_gbps: str | None,
    dram_latency: int | None,
    **options: Any,
) -> None:
    """Fine-tune with products of chosen layers in the accelerator's integers.

    Without a name, the built-in example: a small diffusion model learns a concept, in float and in
    integers, and a report is written. In integers are Q, K, V and output projections of its
    cross-attention, and Q.K^T and P.V; its convolutions, its text encoder, and the layers that
    embed the time are in float. A function of your own returns a `sw.train.task.Task`. With
    --backend functional or rtl, a model of one site is trained on the accelerator, and every loss
    compared with torch's; with --backend timing, steps are timed.
    """
    # Threads of torch that spin while they wait take the cores from those that work. It is read
    # when torch is imported, which is below.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    need_packages(task, backend)
    if task is not None and backend != TORCH:
        raise click.UsageError(f"a task of your own is for --backend {TORCH}, not {backend}")
    refuse_what_has_no_effect(task, backend, trains)
    config = config.replace(**dram_values(dram_gbps, dram_latency))
    report.keep_clear({})
    asked = Asked(trains, precision, *(options[name] for name in Asked._fields[2:]))
    if backend == "timing":
        report.json({"steps": _timed(config, report, options["rank"])})
    elif backend != TORCH:
        _on_device(Device(config, backend, DramTiming.of(config)), report,
                   asked.method(), options)  # fmt: skip
    elif task is not None:
        _own_task(task, report, asked.method(), options)
    else:
        _example(report, asked, options)


def _folder(output: str) -> Path:
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--output: cannot make {folder}: {error.strerror}") from None
    return folder


def _example(report: Report, asked: Asked, options: dict[str, Any]) -> None:
    """Run the example with each method, and write the report."""
    from .example.report import figures, rows, write_report
    from .example.runs import Plan, captions_shown, run_all
    from .train.checkpoint import CheckpointError
    from .train.trainer import StepRefused

    plan = Plan(
        methods=asked.methods(), seeds=tuple(range(options["seeds"])),
        steps=options["steps"] or _EXAMPLE_STEPS, rank=options["rank"], samples=options["samples"],
    )  # fmt: skip
    folder, captions = _folder(options["output"]), captions_shown()
    with _bar() as watch, spread() as side_by_side:
        try:
            outcomes, images, how = run_all(plan, folder, captions, watch, side_by_side)
        except CheckpointError as error:
            raise click.UsageError(f"--output: {error}; another folder starts anew") from None
        except StepRefused as error:
            fail(str(error))
    written = write_report(folder, plan, outcomes, images, captions, how)
    report.table(rows(outcomes))
    for path in written:
        report.line(f"written: {path}")
    report.json(figures(plan, outcomes, how))


def _own_task(name: str, report: Report, method: Method, options: dict[str, Any]) -> None:
    """Train a task that a function makes."""
    from .models.load import call_named
    from .models.product import one_line
    from .train.adapt import adapt
    from .train.adapter_file import save_adapter
    from .train.checkpoint import CheckpointError
    from .train.task import Task
    from .train.trainer import Settings, StepRefused, Trainer

    task = call_named(name)
    if not isinstance(task, Task):
        raise click.UsageError(
            f"{name}: must return a sw.train.task.Task, not {type(task).__name__}"
        )
    steps = options["steps"] or _EXAMPLE_STEPS
    settings = Settings(learning_rate=options["learning_rate"], seed=options["seed"])
    try:
        adapted = adapt(
            task.model, task.match, method, rank=options["rank"], alpha=task.alpha,
            frozen=task.frozen, attention=task.attention, seed=options["seed"],
            detach_first=task.detach_first, total=task.total,
        )  # fmt: skip
        folder = _folder(options["output"])
        trainer = Trainer(replace(task, losses=_told(task.losses)), adapted, settings, folder)
        if trainer.resume():
            if trainer.step > steps:
                raise click.UsageError(
                    f"--steps must be at least {trainer.step}, which {folder} has done already, "
                    f"not {steps}; another folder starts anew"
                )
            what = "goes on from" if trainer.step < steps else "has done all: it is at"
            report.line(f"{folder}: {what} step {trainer.step}")
        with _bar() as watch:
            trainer.run(steps, lambda step, _: watch(task.name, step, steps))
        if method.trains == "lora":
            save_adapter(adapted, folder / "adapter", also=task.also, base=task.name)
    except CheckpointError as error:
        raise click.UsageError(f"--output: {error}; another folder starts anew") from None
    except StepRefused as error:
        fail(str(error))
    except ValueError as error:
        raise click.UsageError(f"{name}: {error}") from None
    except RuntimeError as error:  # of torch, going back through what the losses have done
        raise click.UsageError(
            f"{name}: its losses cannot be trained on: {one_line(error)}"
        ) from None
    losses = trainer.history.losses
    report.line(f"{len(adapted.trained)} layers, {trainer.step} steps: loss "
                f"{losses[0]['loss']:.6g} at first, {losses[-1]['loss']:.6g} at last")  # fmt: skip
    report.line(f"written: {folder}")
    report.json({"task": task.name, "layers": list(adapted.trained), "losses": losses})


def _told(losses: Losses) -> Losses:
    """Return the losses of a user's task, whose errors are ValueErrors of one line."""
    from .models.product import one_line
    from .train.operand import NotFinite

    def draw(generator: torch.Generator) -> dict[str, torch.Tensor]:
        try:
            return losses(generator)
        except NotFinite:  # of our layers: the step is refused
            raise
        except (Exception, SystemExit) as error:  # it is the user's, and may do anything
            raise ValueError(f"its losses fail: {one_line(error)}") from None

    return draw


def _on_device(device: Device, report: Report, method: Method, options: dict[str, Any]) -> None:
    """Train a site on a device and with torch; fail unless every bit is the same."""
    from .train.device import DeviceEngine
    from .train.engine import TorchEngine
    from .train.one_site import compare, make_task

    if method.precision is None:
        raise click.UsageError("--precision fp32 has no integer products for a device to compute")
    steps, rank, engine = options["steps"] or _DEVICE_STEPS, options["rank"], DeviceEngine(device)
    with _bar() as watch:
        found = compare(
            lambda: make_task(*_SITE, rank), method, (engine, TorchEngine()), steps,
            rank=rank, watch=lambda step, _: watch(f"train on {device.backend}", step, steps),
        )  # fmt: skip
    report.line(f"site {_SITE[0]}x{_SITE[1]} -> {_SITE[2]}, rank {rank}, on a "
                f"{device.config.rows}x{device.config.columns} array")  # fmt: skip
    pairs = enumerate(zip(found.losses, found.expected, strict=True))
    rows = [
        {"step": str(step), device.backend: f"{own:.9g}", TORCH: f"{other:.9g}",
         "equal": own == other}
        for step, (own, other) in pairs
    ]  # fmt: skip
    report.table(rows)
    totals = {"programs": engine.runs, "macs": engine.macs}
    if engine.cycles:
        totals["cycles"] = engine.cycles
    report.line(", ".join(f"{value:,} {name}" for name, value in totals.items()))
    report.json({
        "backend": device.backend, "exact": found.exact, **totals,
        "products": [{"step": i, "loss": loss} for i, loss in enumerate(found.losses)],
    })  # fmt: skip
    if not found.exact:
        fail(f"not exact: the losses or weights of {device.backend} and {TORCH} differ")
    report.line("every loss and every trained weight equals torch's, bit for bit")


def _timed(config: Config, report: Report, rank: int) -> list[dict[str, Any]]:
    """Print and return what steps of the example and of Stable Diffusion 1.5 take."""
    rows: list[dict[str, Any]] = []
    with _bar() as watch, spread() as side_by_side:
        for done, (model, reading, batch) in enumerate(_TIMED):
            watch(f"time {model}, {reading}", done, len(_TIMED))
            step = compile_step(config, load_model(model), reading=reading, batch=batch,
                                rank=rank, spread=side_by_side)  # fmt: skip
            cycles = sum(result.counters["cycles"] for result in time_step(step))
            events = sum((activity(config, p.instructions) for p in step.programs), Activity())
            spent, macs = energy(config, events, cycles), sum(p.macs for p in step.programs)
            called = "example" if ":" in model else model
            rows.append(
                {
                    "model": called, "reading": reading, "batch": batch, "macs": macs,
                    "cycles": cycles, "ms": cycles / (config.clock_mhz * 1e3),
                    "chip_mj": spent.chip * 1e3, "dram_mj": spent.dram[DRAM_CLASS] * 1e3,
                    "utilisation": macs / (cycles * config.macs_per_cycle),
                }
            )  # fmt: skip
    report.line(f"one step at {config.clock_mhz} MHz on a {config.rows}x{config.columns} array")
    report.table(rows)
    return rows


@contextmanager
def _bar() -> Iterator[Watch]:
    """Give a callback that shows what is done; it does nothing where no one looks."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("start", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield show
