"""``cdmqta synth``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hw.isa.config import Config
from sim.synth.design import DERATE, UNIT_NAMES
from sim.synth.targets import TARGETS

from ..console import Report, progress
from ..options import Finite, OutputFile, config_options
from ..plotting import FigureFile
from ..program_file import write_files

if TYPE_CHECKING:
    from sim.synth.synthesis import Synthesis

__all__ = ["synth_command"]


@click.command("synth")
@config_options("paper")
@click.option("--unit", type=click.Choice(UNIT_NAMES), default="top", show_default=True)
@click.option("--target", type=click.Choice(list(TARGETS)), help="An FPGA instead of cells.")
@click.option(
    "--liberty", metavar="FILE", help="A cell library; Nangate45, fetched once, by default."
)
@click.option(
    "--wire-load", default="none", show_default=True, metavar="NAME",
    help="Wires by fanout: none, default, or a model of the library.",
)  # fmt: skip
@click.option(
    "--derate", type=Finite(min=1.0), default=DERATE, show_default=True,
    help="Factor on the period for wires, clock skew and corners.",
)  # fmt: skip
@click.option("--paths", type=click.IntRange(0), default=1, show_default=True, metavar="N",
              help="Longest paths to print.")  # fmt: skip
@click.option("--power", is_flag=True,
              help="Measure energy on this netlist, which takes a minute or more.")  # fmt: skip
@click.option("--netlist", type=OutputFile(), metavar="FILE.v", help="The mapped netlist.")
@click.option(
    "--plot", type=FigureFile(), metavar="FILE.svg|png", help="Area and energy as a plot."
)
@click.pass_context
def synth_command(
    context: click.Context, config: Config, report: Report, unit: str, target: str | None,
    liberty: str | None, wire_load: str, derate: float, paths: int, power: bool,
    netlist: str | None, plot: str | None,
) -> None:  # fmt: skip
    """Map the hardware to cells: how large, how fast, how hungry.

    Memories are taken from a CACTI table; nothing is placed or routed. With --target it is mapped
    to an FPGA: LUTs, flip-flops, multipliers and block memories.
    """
    if target is not None:
        from .fpga import refuse_cell_options, report_fpga

        refuse_cell_options(context, target)
        report_fpga(config, report, unit, target, config_line(config))
        return
    from sim.synth.library import LibraryError
    from sim.synth.synthesis import synthesise

    from . import rows
    from .power import (
        energy_parts,
        measured,
        power_rows,
        recorded_line,
        swallowed,
        swallowed_line,
    )  # fmt: skip
    from .recorded import report_recorded

    if liberty == "":
        raise click.UsageError("--liberty names no file")
    report.keep_clear({"--netlist": netlist, "--plot": plot}, (liberty,))
    with progress() as show:
        if show is not None:
            show("map to cells", 0)
        try:
            result = synthesise(config, unit, liberty=liberty, wire_load=wire_load, power=power)
        except LibraryError:
            report_recorded(config, report, unit, config_line(config))
            raise
        figures = rows.figures(result, derate)
        found = None
        if power:
            if show is not None:
                show("simulate the netlist", 0)
            found = measured(result)
    # Recorded energies are those of the library in use where none is named.
    if power or liberty is None:
        figures["energy"] = power_rows(config, unit, found.costs if found else None)
        figures["pj_a_mac_by_component"] = energy_parts(config, unit, found)
        figures["energy_recorded"] = not power
    if found is not None:
        figures["pj_a_mac_swallowed"] = swallowed(config, found)
    _print(report, result, figures, paths)
    if "energy" in figures:
        report.table(figures["energy"])
        report.line(swallowed_line(figures["pj_a_mac_swallowed"]) if power else recorded_line())
    files: dict[Path, bytes] = {}
    if netlist is not None:
        files[Path(netlist)] = result.netlist_verilog().encode()
    if plot is not None:
        from .plot import draw

        files[Path(plot)] = draw(figures, Path(plot).suffix)
    write_files(files)
    report.json(figures)


def _print(report: Report, result: Synthesis, figures: dict[str, Any], paths: int) -> None:
    from . import rows

    library = result.library
    report.line(
        f"{result.design.top}, {config_line(result.config)}, in cells of {library.name} "
        f"({library.voltage_v:g} V, {library.temperature_c:g} C)"
    )
    report.table(rows.area_rows(figures["units"], figures["total_mm2"]))
    if figures["memories"]:
        report.table(figures["memories"])
    for line in (*rows.summary(figures), *rows.overload_lines(result)):
        report.line(line)
    for path in result.timing.worst(paths):
        report.line("")
        report.line(rows.path_text(path))


def config_line(config: Config) -> str:
    """Return what of a configuration decides over its array."""
    words = [
        f"{config.rows}x{config.columns}",
        " and ".join(dataflow.name for dataflow in config.dataflows),
    ]
    if config.macs_per_element > 1:
        words.insert(1, f"{config.macs_per_element} products an element")
    if config.output_stationary:
        words.append("drains overlapped" if config.drain_overlap else "drains not overlapped")
    if config.product_register:
        words.append("a register behind the multiplier")
    return ", ".join(words)
