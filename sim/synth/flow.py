"""Technology mapping with yosys: Verilog in, cells of a library out, module by module."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..cache import digest
from ..toolchain import yosys_version
from .buffers import limit_loads
from .cell_maps import full_adder_map, register_pins, use_complements
from .flat import flatten
from .kept import kept
from .liberty import Library
from .netlist import Macro, parse_modules
from .sizing import strengthen
from .slack import Slack
from .yosys import MappingError, run_yosys

__all__ = ["FAST", "MAKERS", "MappingError", "Recipe", "map_design", "netlist_verilog"]

MAKERS = (
    "buffers", "cell_maps", "clock", "constants", "delays", "errors", "flat", "flow", "function",
    "graph", "kept", "kernels", "liberty", "netlist", "size_kernels", "sizing", "slack", "strength",
    "table", "yosys",
)  # fmt: skip
"""Modules of this package that a netlist depends on: what they made is not used once they change.
"""

_LIBRARY, _DESIGN, _NETLIST = "library.lib", "design.v", "netlist.json"


_SCRIPT = """\
read_verilog -sv -D CDMQTA_CELLS {design}
hierarchy -top {top}
{adders}
{flatten}
proc
opt
wreduce
peepopt
opt_clean
alumacc
opt
booth
memory -nomap
memory_map
opt -full
techmap
opt -fast
clockgate -liberty {library} -min_net_size {gated}
dfflibmap -liberty {library}
opt_clean
{quick}
abc -liberty {library}
opt_clean -purge
check -mapped
write_json {netlist}
"""

_BALANCED, _SHARED = "balance", "balance;rewrite,-l;balance"
"""Commands for abc in place of its usual ones, which make logic small, and in doing so undo what
an adder has to be quick: they leave a carry that ripples. The first keep logic as it is written;
the second then look for what is smaller, once."""
_QUICK = "abc -liberty {library} -script +strash;{commands};&get,-n;&nf;&put {modules}"

_GATED = 3
"""Fewest flip-flops that a clock gate is worth: one costs as much as two multiplexers."""

_QUICK_MODULES = (
    (_SHARED, ("cdmqta_scale_product",)),
    (
        _BALANCED,
        (
            "cdmqta_lane",
            "*.execute.feed",
            "*.execute.walk",
            "*.registers",
            "*.fresh",
            "*.updated",
        ),
    ),
)
"""Those that would bound the clock of the whole, all of them few but the first two."""


@dataclass(frozen=True)
class Recipe:
    """What is done beside the common steps.

    Members
    -------
    whole : tuple of str
        Modules into which those inside dissolve; all others keep their boundaries.
    quick : tuple of (str, tuple of str)
        Commands for abc, and the modules, as patterns, whose logic they prepare; that of all others
        is made small.
    periods_ns : tuple of (str, float)
        Modules whose cells are strengthened, each by itself, until they are as fast as that.
    period_ns : float or None
        Then the same with the whole design; None to leave it.
    """

    whole: tuple[str, ...] = ("cdmqta_pe",)
    quick: tuple[tuple[str, tuple[str, ...]], ...] = _QUICK_MODULES
    periods_ns: tuple[tuple[str, float], ...] = (("cdmqta_pe", 1.95),)
    period_ns: float | None = 2.0


FAST = Recipe(
    quick=(*_QUICK_MODULES, (_BALANCED, ("cdmqta_pe",))),
    periods_ns=(("cdmqta_pe", 0.98),),
    period_ns=1.0,
)
"""For elements with a register between multiplier and adder."""


def map_design(
    verilog: str,
    top: str,
    library: Library,
    liberty: Path,
    recipe: Recipe | None = None,
    macros: Mapping[str, Macro] | None = None,
) -> Path:
    """Map a design, or find it mapped already; return the folder of what was made.

    The folder holds ``netlist.json``, which `sim.synth.netlist.read_netlist` reads. It is named by
    a digest of all that it depends on, and used only if it is as it was written.

    Parameters
    ----------
    verilog : str
        The design; memories may be black boxes.
    top : str
        Its top module. Every module keeps its boundaries, so each is mapped once.
    library : Library
        The parsed library.
    liberty : Path
        The same as an unpacked Liberty file.
    macros : mapping of str to Macro, optional
        Black boxes of the design.

    Raises
    ------
    MappingError
        yosys fails.
    NetlistError
        What comes out cannot be timed, so that it cannot be made fast either.
    """
    recipe, macros = recipe or Recipe(), dict(sorted((macros or {}).items()))
    facts = [_makers_digest(), yosys_version(), top, repr(recipe), library.digest, verilog]
    facts.append(repr(macros))
    return kept(
        facts,
        _NETLIST,
        lambda folder: _make(folder, verilog, top, library, liberty, recipe, macros),
    )


def netlist_verilog(folder: Path) -> str:
    """Return the netlist in a folder of `map_design` as Verilog of cells."""
    with tempfile.TemporaryDirectory(prefix="cdmqta-netlist-") as name:
        work = Path(name)
        shutil.copyfile(folder / _NETLIST, work / _NETLIST)
        # What has dissolved in others is not part of the design any more.
        purge = "hierarchy -auto-top"
        run_yosys(work, f"read_json {_NETLIST}\n{purge}\nwrite_verilog -noattr netlist.v\n")
        return (work / "netlist.v").read_text(encoding="utf-8")


@cache
def _makers_digest() -> str:
    folder = Path(__file__).parent
    return digest((), (folder / f"{name}.py" for name in MAKERS))


def _make(
    folder: Path,
    verilog: str,
    top: str,
    library: Library,
    liberty: Path,
    recipe: Recipe,
    macros: Mapping[str, Macro],
) -> None:
    """Map in a folder, and leave the netlist there."""
    (folder / _DESIGN).write_text(verilog, encoding="utf-8")
    shutil.copyfile(liberty, folder / _LIBRARY)
    pins = register_pins(library)
    run_yosys(folder, _script(folder, top, library, recipe))
    netlist = json.loads((folder / _NETLIST).read_bytes())
    use_complements(netlist, library, pins)
    _quicken(netlist["modules"], top, library, recipe, macros)
    (folder / _NETLIST).write_text(json.dumps(netlist, separators=(",", ":")), encoding="utf-8")
    for used in (_LIBRARY, _DESIGN):
        (folder / used).unlink()


def _quicken(
    modules: dict[str, Any],
    top: str,
    library: Library,
    recipe: Recipe,
    macros: Mapping[str, Macro],
) -> None:
    """Add buffers to a netlist, and strengthen its cells."""

    def strengthened(some: dict[str, Any], top: str, period_ns: float) -> None:
        flat = flatten(parse_modules(some, library, macros), top)
        strengthen(some, Slack(flat, library, None, period_ns, recipe.whole))

    for module, period_ns in recipe.periods_ns:
        if module in modules:
            strengthened({module: modules[module]}, module, period_ns)
    if recipe.period_ns is not None:
        # Wherever these stand so often, a buffer would cost more than it brings.
        limit_loads(modules, library, recipe.whole, macros)
        strengthened(modules, top, recipe.period_ns)


def _script(folder: Path, top: str, library: Library, recipe: Recipe) -> str:
    """Return yosys' commands, and leave the maps they name in the folder."""
    adders = ""
    if (text := full_adder_map(library)) is not None:
        (folder / "adders.v").write_text(text, encoding="ascii")
        adders = "techmap -map adders.v"
    whole = "\n".join(f"flatten {name}" for name in recipe.whole)
    quick = "\n".join(
        _QUICK.format(library=_LIBRARY, commands=commands, modules=" ".join(modules))
        for commands, modules in recipe.quick
    )
    return _SCRIPT.format(
        design=_DESIGN, top=top, library=_LIBRARY, netlist=_NETLIST, gated=_GATED,
        flatten=whole, adders=adders, quick=quick,
    )  # fmt: skip
