"""Area and timing of a design at a cell library, as `cdmqta synth` prints them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hw.isa.config import Config

from ..macros import SRAM
from ..sram_table import Organisation
from .cells import verilog_models
from .census import Census, Share, census
from .design import Design, Sram, design_of
from .flat import flatten
from .flow import FAST, Recipe, map_design, netlist_verilog
from .liberty import Library, WireLoad
from .library import find_library, library_file
from .netlist import Netlist, read_netlist
from .path import Path as TimedPath
from .sta import Timing, analyse, chosen_wire_load
from .suffices import require_mappable, require_power

__all__ = ["Synthesis", "synthesise"]

_FAST_NS = 1.5


@dataclass(frozen=True, eq=False)
class Synthesis:
    """A mapped design.

    Members
    -------
    config : Config
    design : Design
    folder : Path
        With the netlist in it.
    netlist : Netlist
    wire_load : WireLoad or None
        Of all timing.
    """

    config: Config
    design: Design
    folder: Path
    netlist: Netlist
    wire_load: WireLoad | None

    @property
    def library(self) -> Library:
        """The cell library."""
        return self.netlist.library

    @cached_property
    def census(self) -> Census:
        """Cells and areas."""
        return census(self.netlist)

    @cached_property
    def timing(self) -> Timing:
        """Timing of the whole design, flat."""
        return analyse(flatten(self.netlist), self.wire_load)

    @property
    def memories(self) -> tuple[Sram, ...]:
        """Memories, the largest first."""
        return tuple(sorted(self.design.memories, key=lambda memory: -memory.area_mm2))

    @property
    def units(self) -> tuple[Share, ...]:
        """Units of cells, the largest first; of less than an accelerator, its modules."""
        found = self.census
        return found.units(self.netlist) if self.design.unit == "top" else found.modules

    @property
    def cells_mm2(self) -> float:
        """Area of all cells."""
        return self.census.area_um2 * 1e-6

    @property
    def memories_mm2(self) -> float:
        """Area of all memories."""
        return sum((memory.area_mm2 for memory in self.design.memories), 0.0)

    @property
    def total_mm2(self) -> float:
        """Cells and memories."""
        return self.cells_mm2 + self.memories_mm2

    @property
    def memory_cycle_ns(self) -> float:
        """Shortest time between accesses of the slowest memory; 0 without memories."""
        return max((m.banks.point.cycle_ns for m in self.design.memories), default=0.0)

    @property
    def period_ns(self) -> float:
        """Shortest period: of the longest path, or of the slowest memory."""
        return max(self.timing.period_ns, self.memory_cycle_ns)

    @property
    def path(self) -> TimedPath | None:
        """The longest path."""
        return self.timing.path

    def netlist_verilog(self) -> str:
        """Return the mapped netlist as Verilog, and the library's cells as they behave."""
        models = verilog_models(self.library, sorted(self.census.kinds))
        return f"{netlist_verilog(self.folder)}\n{models}"

    def fmax_mhz(self, derate: float = 1.0) -> float:
        """Return the fastest clock, if everything takes `derate` times as long."""
        return 1e3 / (self.period_ns * derate)


def synthesise(
    config: Config,
    unit: str = "top",
    *,
    liberty: str | Path | None = None,
    wire_load: str = "none",
    sram: Organisation = SRAM,
    power: bool = False,
) -> Synthesis:
    """Map a unit to cells, or find it mapped already, and count and time what comes out.

    Parameters
    ----------
    config : Config
    unit : str
        ``pe``, ``array`` or ``top``.
    liberty : str or Path, optional
        A Liberty file; by default Nangate45, which is fetched once.
    wire_load : str
        ``none``, ``default``, or one of the library's.
    sram : Organisation
        How memories are laid out.
    power : bool
        Whether energy is to be measured: a library that tells none is refused at once.

    Raises
    ------
    ValueError
        An unknown unit.
    LibertyError, LibraryError
        There is no such library, it is damaged, or a design cannot be mapped to it.
    MappingError, NetlistError, TimingError
        The library does not suffice, or there is no such wire load.
    """
    library = find_library(liberty)
    require_mappable(library)
    if power:
        require_power(library)
    chosen = chosen_wire_load(library, wire_load)
    design = design_of(config, unit, sram)
    recipe = Recipe()
    if config.product_register:
        # The rest of an accelerator does not keep up with such an element.
        recipe = dataclasses.replace(FAST, period_ns=_FAST_NS) if unit == "top" else FAST
    macros = design.macros()
    folder = map_design(design.verilog, design.top, library, library_file(liberty), recipe, macros)
    netlist = read_netlist(folder / "netlist.json", library, macros)
    return Synthesis(config, design, folder, netlist, chosen)
