"""What a random program is to do, as values: a `Case` is all that a run depends on.

Nothing here holds data. Matrices and tables are named by a fill and a seed, places by numbers
that are taken modulo the room there is, so that a case stays legal when a part of it is made
smaller or left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from hw.isa.config import Config
from sim.dram import Stalls
from sim.result import DramTiming

__all__ = [
    "CONFIGS",
    "INT8_FORMATS",
    "SEVERAL",
    "Case",
    "Maxima",
    "Misfit",
    "Operand",
    "Output",
    "Place",
    "Product",
    "Step",
    "Table",
    "config_of",
]


class Misfit(ValueError):
    """A case that asks for more than its configuration has, or for what the ISA cannot do."""


CONFIGS: dict[str, Config] = {
    "4x4": Config(input_depth=128, weight_depth=128, output_depth=128),
    "3x5": Config(
        rows=3, columns=5, bus_bytes=4, input_depth=64, weight_depth=128, output_depth=64,
        accumulate_scale_depth=64, row_scale_depth=64, column_scale_depth=16, burst_beats=5,
        read_outstanding=2, write_outstanding=3, queue_depth=3, token_bits=4, drain_overlap=1,
    ),
    "5x4": Config(
        rows=5, columns=4, bus_bytes=16, input_depth=64, weight_depth=64, output_depth=128,
        column_scale_depth=64, burst_beats=3, write_outstanding=2, queue_depth=5, token_bits=3,
    ),
    "7x8": Config(
        rows=7, columns=8, bus_bytes=32, input_depth=128, weight_depth=64, output_depth=64,
        read_outstanding=16, write_outstanding=8, queue_depth=8, address_bits=40, drain_overlap=1,
    ),
    "8x4": Config(
        rows=8, columns=4, bus_bytes=64, input_depth=64, weight_depth=256, output_depth=256,
        burst_beats=64, read_outstanding=5, queue_depth=2, token_bits=2, drain_overlap=1,
    ),
    "8x8": Config(
        rows=8, columns=8, bus_bytes=8, input_depth=64, weight_depth=64, output_depth=64,
        burst_beats=1, read_outstanding=1, write_outstanding=1, queue_depth=2, token_bits=2,
    ),
}  # fmt: skip
"""A few arrays, so that few simulators are built: every bus width, depths of every kind, and
drains overlapped and not."""

SEVERAL: dict[str, Config] = {
    "4x4 of 2": Config(
        macs_per_element=2, input_depth=128, weight_depth=128, output_depth=128, bus_bytes=16,
        drain_overlap=1,
    ),
    "3x5 of 4": Config(
        rows=3, columns=5, macs_per_element=4, bus_bytes=8, input_depth=128, weight_depth=128,
        output_depth=64, accumulate_scale_depth=64, row_scale_depth=64, column_scale_depth=16,
        product_register=1,
    ),
}  # fmt: skip
"""Arrays whose elements have several products."""


def config_of(name: str) -> Config:
    """Return a configuration by its name."""
    return (CONFIGS | SEVERAL)[name]


INT8_FORMATS = ("row", "column", "row_column", "tensor")


@dataclass(frozen=True)
class Place:
    """How a matrix of words lies in an on-chip memory.

    Blocks of a row are `step` words apart, and `gap` words lie between rows; with `by_block`, rows
    and blocks change roles. `base` counts modulo the bases that fit.
    """

    base: int = 0
    gap: int = 0
    step: int = 1
    by_block: bool = False

    def strides(self, rows: int, blocks: int) -> tuple[int, int]:
        """Return the strides of rows and of blocks."""
        inner, outer = self.step, self.step * (rows if self.by_block else blocks) + self.gap
        return (inner, outer) if self.by_block else (outer, inner)


@dataclass(frozen=True)
class Table:
    """Scale entries: `fit` for sums of a few products, or `small`, `large`, `zero`, `extreme`."""

    fill: str = "fit"
    seed: int = 0


@dataclass(frozen=True)
class Operand:
    """One operand of a product.

    Its matrix is made of `fill` (`random`, `minus128`, `full`, `ones`, `zeros`) and `seed`, or is
    the `source`-th last INT8 copy stored before, column tile `piece` of it, from its first element.
    With `transpose` it lies in DRAM transposed against what the array wants, and LOAD turns it.
    `pad` bus words lie between its rows in DRAM. Up to `beyond` lanes more than it has are loaded,
    as far as its last words have room, with bytes that mean nothing; columns only where no maxima
    of rows or tensors are taken of the sums, as these include padding lanes.
    """

    fill: str = "random"
    seed: int = 0
    transpose: bool = False
    pad: int = 0
    beyond: int = 0
    source: int = 0
    piece: int = 0
    place: Place = Place()
    packed: bool = False
    """Whether it lies in DRAM with four bits an element; not with `source`."""


@dataclass(frozen=True)
class Product:
    """A product that is written over the step's sums, or added to them.

    The reduction is cut into `parts`, an EXECUTE each; with `whole`, all are loaded as one. Rows
    are scaled by `scale`, or with `made` by the entries that the last ABSMAX to_updates made.
    """

    parts: tuple[int, ...]
    dataflow: str = "ws"
    whole: bool = False
    accumulate: bool = False
    left: Operand = Operand()
    right: Operand = Operand()
    scale: Table | None = None
    made: bool = False
    scale_place: int = 0


@dataclass(frozen=True)
class Maxima:
    """One group of absolute maxima over all tiles of a step, and what becomes of them.

    `eager` asks every tile for the results, whose last counts; otherwise only the last is asked.
    `factor` is (m, s) of to_updates.
    """

    axis: str
    scaled: bool = False
    to_dram: bool = True
    to_scales: bool = False
    to_updates: bool = False
    eager: bool = False
    factor: tuple[int, int] = (1 << 15, 30)
    update_place: int = 0


@dataclass(frozen=True)
class Output:
    """Maxima of the step's sums, then a copy of them in DRAM, either of which may be missing.

    `form` is `int32` or of `INT8_FORMATS`. Row and column scales come from tables, until maxima
    with to_scales have made others. `over` writes the copy where the `over`-th last INT8 copy lies.
    """

    form: str | None
    maxima: tuple[Maxima, ...] = ()
    rows: Table = Table()
    columns: Table = Table()
    stochastic: bool = False
    origin: tuple[int, int] = (0, 0)
    pad: int = 0
    over: int = 0
    row_place: int = 0
    column_place: int = 0

    @property
    def makes_updates(self) -> bool:
        """Whether it leaves entries for a later product to scale by."""
        return any(maxima.to_updates for maxima in self.maxima)


@dataclass(frozen=True)
class Step:
    """A matrix of sums in the output memory: tiles of `m` by tiles of `n`, and what is done to it.

    The first action is a product. With `keep`, the sums of the step before, of the same tiles, stay
    where they are and are added to.
    """

    m: tuple[int, ...]
    n: tuple[int, ...]
    actions: tuple[Product | Output, ...]
    place: Place = Place()
    keep: bool = False


@dataclass(frozen=True)
class Case:
    """One random program and the world it runs in.

    `order` reorders independent instructions; with `gather`, an instruction takes at once all the
    tokens that were sent before it and are waited for behind it, so that waits above 1 occur;
    `rounding` is what Register.SEED holds; `noise` draws
    stalls, memories' first contents and the bytes of DRAM that nothing writes.
    """

    config: str
    steps: tuple[Step, ...]
    timing: DramTiming = DramTiming(1)
    stalls: Stalls = Stalls()
    noise: int = 0
    order: int | None = None
    gather: bool = False
    rounding: int = 0
    program_first: bool = False
