"""Counts every access to every memory of the accelerator, at the enables of its ports."""

from __future__ import annotations

from collections import Counter
from typing import Any

from amaranth.hdl._ir import Fragment

from hw.edge import Edge
from hw.isa.config import Config
from hw.isa.registers import Control, Register, Status
from hw.postlane import PostLane
from hw.sram import Macro, SinglePortSram, Sram
from hw.top import Accelerator
from hw.words import Words
from sim.dram import AxiDram

from .bench import LIMIT, simulate
from .host import Host
from .machine import serve

__all__ = ["Taps"]

_OWNERS = {
    "transposer": "transposer",
    "left": "input",
    "right": "weight",
    "accumulate": "output",
    "scales": "accumulate_scale",
    "row_scales": "row_scale",
    "column_scales": "column_scale",
    "row_maxima": "row_maximum",
    "column_maxima": "column_maximum",
}
"""Which memory of the architecture a macro is of, by the submodule it is or lies in."""


class Taps:
    """An accelerator in plain form whose memories, and the transposer's words, are watched.

    Members
    -------
    macros : dict of str to Counter of Macro
        The macros each memory consists of, and how many.
    """

    def __init__(self, config: Config) -> None:
        self.dut = Accelerator(config)
        self._design = Fragment.get(self.dut, None)
        self._stores: list[tuple[str, Sram | Words]] = []
        self._lanes: list[PostLane] = []
        self._walk(self._design, ())
        self.macros: dict[str, Counter[Macro]] = {}
        for owner, store in self._stores:
            if isinstance(store, Sram):
                self.macros.setdefault(owner, Counter())[store.macro] += 1

    def _walk(self, fragment: Fragment, path: tuple[str, ...]) -> None:
        for origin in fragment.origins or ():
            if isinstance(origin, Sram | Words):
                (owner,) = {_OWNERS[name] for name in path if name in _OWNERS}
                self._stores.append((owner, origin))
            elif isinstance(origin, PostLane):
                self._lanes.append(origin)
            elif isinstance(origin, Edge):
                self._edge = origin
        for inner, name, _ in fragment.subfragments:
            self._walk(inner, (*path, name))

    def run(
        self, memory: AxiDram, address: int, length: int, counters: tuple[str, ...]
    ) -> tuple[Counter[str], dict[str, int]]:
        """Run the `length` instructions that lie in `memory` at byte `address`, to their halt.

        Returns
        -------
        Counter, dict
            Accesses of macros: ``<memory>_reads``, ``<memory>_writes`` (where lanes are written by
            themselves, the lanes), ``requantised``, the lanes that made an INT8, ``folds_ws`` and
            ``folds_os``, the tiles that began to load and to drain; and the performance counters
            asked for.
        """
        host, counts, found = Host(self.dut), Counter(), {}

        async def bench(ctx: Any) -> None:
            await host.write(ctx, Register.PROGRAM_LOW, address)
            await host.write(ctx, Register.PROGRAM_LENGTH, length)
            await host.write(ctx, Register.CONTROL, Control.START | Control.INTERRUPT_ENABLE)
            for _ in range(LIMIT):
                if ctx.get(self.dut.irq):
                    break
                await ctx.tick()
            assert await host.read(ctx, Register.STATUS) == Status.DONE
            for name in counters:
                found[name] = await host.counter(ctx, name)

        async def dram(ctx: Any) -> None:
            await serve(ctx, self.dut, memory)

        async def watch(ctx: Any) -> None:
            edge = self._edge
            signals = {
                "requantised": self._lanes[0].lanes,
                "folds_ws": edge.load_first,
                "folds_os": edge.wave & edge.os & edge.last,
            }
            names = list(signals)
            tapped = list(signals.values())
            for owner, store in self._stores:
                names += [f"{owner}_reads", f"{owner}_writes"]
                tapped += _enables(store)
            async for _, _, *values in ctx.tick().sample(*tapped):
                for name, value in zip(names, values, strict=True):
                    counts[name] += value if name == "requantised" else value.bit_count()

        simulate(self._design, bench, background=[dram, watch])
        return counts, found


def _enables(store: Sram | Words) -> tuple[Any, Any]:
    """Return what is set in a cycle in which a macro, or words, are read, and written."""
    if isinstance(store, SinglePortSram):
        return store.enable & ~store.write, store.enable & store.write
    return store.read_enable, store.write_enable
