"""``cdmqta synth --target``: what the hardware takes of an FPGA."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from click.core import ParameterSource

from hw.isa.config import Config
from sim.synth.fpga import FpgaSynthesis, estimate

from ..console import Report, progress

__all__ = ["fpga_figures", "refuse_cell_options", "report_fpga"]

_OF_CELLS = ("liberty", "wire_load", "derate", "paths", "power", "netlist", "plot")
"""Options that are about cells of a library."""


def refuse_cell_options(context: click.Context, target: str) -> None:
    """Refuse options that make no sense with an FPGA."""
    for name in _OF_CELLS:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"--{name.replace('_', '-')} is of cells of a library, and --target {target} "
                "counts those of an FPGA"
            )


def report_fpga(config: Config, report: Report, unit: str, target: str, line: str) -> None:
    """Map a unit to an FPGA and print what it takes; `line` says what the configuration is."""
    report.keep_clear({})
    with progress() as show:
        if show is not None:
            show("map to an FPGA", 0)
        result = estimate(config, unit, target)
    figures = fpga_figures(result)
    report.line(f"{unit}, {line}, in {result.target.title}")
    report.table(figures["units"])
    report.line(_summary(result))
    report.json(figures)


def fpga_figures(result: FpgaSynthesis) -> dict[str, Any]:
    """Return everything that is printed, with stable keys."""
    return {
        "unit": result.unit,
        "target": result.target.title,
        "units": [
            {"unit": part.name, "instances": part.instances, **asdict(part.resources)}
            for part in result.parts
        ],
        "total": asdict(result.total),
        "lut_inputs": result.target.lut_inputs,
        "bram_kbit": result.target.bram_kbit,
    }


def _summary(result: FpgaSynthesis) -> str:
    total, target = result.total, result.target
    return (
        f"in all {total.lut:,} LUTs of {target.lut_inputs} inputs and {total.lut_ram:,} as memory, "
        f"{total.carry:,} carry cells, {total.flip_flops:,} flip-flops, {total.dsp:,} "
        f"{target.dsp}, {total.bram:,} {target.bram} ({target.bram_kbit} Kbit); nothing is placed"
    )
