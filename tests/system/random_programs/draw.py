"""Draws a case from a seed. What is rare in real programs is likely here."""

from __future__ import annotations

import functools
import random
from dataclasses import replace

from sim.dram import Stalls
from sim.result import DramTiming

from .case import (
    CONFIGS,
    INT8_FORMATS,
    SEVERAL,
    Case,
    Maxima,
    Misfit,
    Operand,
    Output,
    Place,
    Product,
    Step,
    Table,
    config_of,
)
from .layout import Layout
from .lower import plain

__all__ = ["draw"]

_TRIES = 40
"""Of a step; each is drawn smaller, so that the last ones always fit."""
_SHIFT_LIMITS = (-128, -60, -17, -16, 0, 63, 64, 127)


@functools.lru_cache(maxsize=2048)
def draw(seed: int, *, several: bool = False) -> Case:
    """Return the case of a seed, for elements of one product or of several."""
    return _Draw(random.Random(seed), list(SEVERAL if several else CONFIGS)).case()


class _Draw:
    """The state of drawing one case: what earlier steps left for later ones to use.

    A loud case has sums near the ends of int32, and factors that bring them back.
    """

    def __init__(self, rng: random.Random, configs: list[str]) -> None:
        self.rng = rng
        self.config = rng.choice(configs)
        self.most = 40
        self.loud = self.chance(0.1)
        self.steps: tuple[Step, ...] = ()
        self.copies: list[tuple[int, tuple[int, ...]]] = []
        self.updates = 0

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def seed(self) -> int:
        return self.rng.randrange(1 << 16)

    def size(self) -> int:
        """Return a size, often 1."""
        high = self.rng.choices((1, 9, 20, 40), (15, 43, 27, 15))[0]
        return self.rng.randint(1, min(high, self.most))

    def case(self) -> Case:
        rng = self.rng
        world = {
            "timing": DramTiming(rng.choice((1, 2, 7, 30, 60, 100)), self.bandwidth()),
            "stalls": self.stalls(),
            "noise": rng.randrange(1 << 32),
            "order": self.seed() if self.chance(0.4) else None,
            "gather": self.chance(0.3),
            "rounding": rng.choice((0, 1, (1 << 32) - 1, rng.randrange(1 << 32))),
            "program_first": self.chance(0.5),
        }
        case = Case(self.config, (), **world)
        for _ in range(rng.choices((1, 2, 3), (40, 35, 25))[0]):
            case = self.add_step(case, world)
        return case

    def bandwidth(self) -> float | None:
        bus = config_of(self.config).bus_bytes
        return self.rng.choice((None, None, 1.25, 3.5, 0.37 * bus, 1.1 * bus))

    def stalls(self) -> Stalls:
        if self.chance(0.3):
            return Stalls()
        return Stalls(*(self.rng.choice((0, 0.1, 0.3, 0.5, 0.8)) for _ in range(5)))

    def add_step(self, case: Case, world: dict) -> Case:
        """Return the case with one more step, the first drawn that fits."""
        left, meets = (len(self.copies), self.updates), self.chance(0.1)
        for turn in range(_TRIES):
            self.most = max(1, 40 - 2 * turn)
            step = self.meeting() if meets else self.step()
            larger = Case(self.config, (*self.steps, step), **world)
            try:
                plain(larger, Layout.of(larger))
            except Misfit:
                del self.copies[left[0] :]
                self.updates = left[1]
                continue
            self.steps = larger.steps
            return larger
        raise AssertionError(f"no step fits {case.config}")

    def step(self) -> Step:
        keep = bool(self.steps) and self.chance(0.2)
        m, n = (self.steps[-1].m, self.steps[-1].n) if keep else self.tiles()
        actions: list[Product | Output] = [self.product(m, n, first=not keep)]
        wanted = self.rng.choice((1, 1, 2, 3))
        while wanted:
            made = self.updates in (1, sum(m)) and isinstance(actions[-1], Output)
            if made or (isinstance(actions[-1], Output) and self.chance(0.5)):
                actions.append(self.product(m, n, first=False))
                if actions[-1].made and self.chance(0.5):
                    # A table may be loaded while entries for the product before are still made.
                    both = replace(self.product(m, n, first=False), made=False)
                    actions.append(replace(both, scale=Table("fit", self.seed()), accumulate=True))
            actions.append(self.output(m, n))
            wanted -= 1
            if not wanted and actions[-1].makes_updates and len(actions) < 8:
                wanted = int(self.chance(0.6))
        return Step(m, n, tuple(actions), self.place(1 << 10), keep)

    def meeting(self) -> Step:
        """Return a step in which a table is loaded while an ABSMAX makes entries beside it.

        Only a copy that is waited for just before brings the two together: LOADs are early else.
        """
        rng, most = self.rng, max(1, self.most // 2)
        m, n = rng.randint(1 + most // 2, most), rng.randint(1 + most // 2, most)
        tables = Table("fit", self.seed()), Table("fit", self.seed())
        made = Maxima(
            "row", to_dram=self.chance(0.3), to_updates=True, factor=(40000, rng.choice((20, 30)))
        )
        k = rng.randint(1, 9)
        actions = (
            Product((k,), rng.choice(("ws", "os")), left=Operand(seed=self.seed()),
                    right=Operand(seed=self.seed())),
            Output("row", rows=tables[0]),
            Output(None, (made,)),
            Product((rng.randint(1, n),), accumulate=True, left=Operand(source=1), made=True),
            Product((k,), rng.choice(("ws", "os")), accumulate=True, scale=tables[1],
                    scale_place=m),
            Output("int32"),
        )  # fmt: skip
        self.copies.append((m, (n,)))
        self.updates = m
        return Step((m,), (n,), actions, self.place(1 << 10))

    def tiles(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the sizes of tiles: up to four, sometimes as an earlier copy has them."""
        counts = self.rng.choices(
            ((1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (1, 3), (4, 1)), (45, 15, 15, 10, 5, 5, 5)
        )[0]
        m, n = (tuple(self.size() for _ in range(count)) for count in counts)
        if self.copies and self.chance(0.6):
            rows, pieces = self.rng.choice(self.copies)
            size = min(self.rng.choice((rows, *pieces)), self.most)
            m, n = self.rng.choice((((size,), n), (m, (size,)), ((size,), (size,))))
        return m, n

    def place(self, bases: int) -> Place:
        rng = self.rng
        if self.chance(0.3):
            return Place(rng.randrange(bases))
        gap, step = rng.choice((0, 0, 1, 2, 5)), rng.choice((1, 1, 1, 2, 3))
        return Place(rng.randrange(bases), gap, step, self.chance(0.4))

    def product(self, m: tuple[int, ...], n: tuple[int, ...], *, first: bool) -> Product:
        dataflow = self.rng.choice(("ws", "os"))
        left, high = self.operand(sum(m), dataflow == "ws")
        right, wide = self.operand(sum(n), False)
        k = min(self.size() if self.chance(0.8) else self.most, high, wide)
        borrowed = bool(left.source or right.source)
        whole = self.chance(0.8 if borrowed else 0.5)
        config = config_of(self.config)
        unit = config.macs_per_element if whole else 1
        if whole and dataflow == "ws":
            unit = config.fold_reduction
        parts = self.parts(k, unit)
        scale, made = self.scale(sum(m))
        return Product(
            parts, dataflow, whole, not first and self.chance(0.8), left, right, scale, made,
            self.seed(),
        )  # fmt: skip

    def parts(self, k: int, unit: int) -> tuple[int, ...]:
        """Return a reduction in parts, cut at multiples of `unit`."""
        cuts = range(unit, k, unit)
        chosen = self.rng.sample(cuts, min(len(cuts), self.rng.choice((0, 0, 1, 2))))
        edges = [0, *sorted(chosen), k]
        return tuple(b - a for a, b in zip(edges, edges[1:], strict=False))

    def operand(self, extent: int, reduction_across: bool) -> tuple[Operand, int]:
        """Return an operand, and the longest reduction it allows.

        `extent` is its size along M or N; `reduction_across` says whether the array wants its
        reduction along the columns.
        """
        rng = self.rng
        fill = rng.choices(
            ("random", "minus128", "full", "ones", "zeros", "sparse"), (60, 8, 12, 5, 5, 10)
        )[0]
        if self.loud and self.chance(0.7):
            fill = "minus128"
        operand = Operand(
            fill, self.seed(), self.chance(0.35), rng.choice((0, 0, 1, 3)),
            rng.choice((0, 0, 0, 1, 7)), place=self.place(1 << 12),
        )  # fmt: skip
        # Of the seed, so that whatever is drawn besides is what it was before there were such.
        operand = replace(operand, packed=operand.seed % 3 == 0)
        if not self.copies or self.chance(0.3):
            return operand, self.most
        source = rng.randint(1, len(self.copies))
        rows, pieces = self.copies[-source]
        piece = rng.randrange(len(pieces))
        across = reduction_across != operand.transpose
        along, other = (rows, pieces[piece]) if across else (pieces[piece], rows)
        if along < extent:
            return operand, self.most
        borrowed = Operand(transpose=operand.transpose, source=source, piece=piece,
                           place=operand.place)  # fmt: skip
        return borrowed, rng.choice((other, rng.randint(1, other)))

    def scale(self, rows: int) -> tuple[Table | None, bool]:
        if self.updates == rows and self.chance(0.7):
            return None, True
        if self.loud and self.chance(0.6):
            return Table("large", self.seed()), False
        if self.chance(0.7):
            return None, False
        return self.table(("fit", "large", "small", "extreme", "zero"), (50, 20, 5, 20, 5)), False

    def table(self, fills: tuple[str, ...], weights: tuple[int, ...]) -> Table:
        return Table(self.rng.choices(fills, weights)[0], self.seed())

    def output(self, m: tuple[int, ...], n: tuple[int, ...]) -> Output:
        rng = self.rng
        form = rng.choices(("int32", *INT8_FORMATS, None), (18, 18, 18, 18, 18, 10))[0]
        maxima = self.maxima(form)
        rows = self.table(("fit", "rescale", "large", "extreme", "zero"), (45, 30, 8, 12, 5))
        columns = self.table(("fit", "large", "extreme", "zero"), (75, 8, 12, 5))
        for each in maxima:
            if each.to_updates:
                self.updates = sum(m) if each.axis == "row" else 1
        over = rng.randint(1, len(self.copies)) if self.copies and self.chance(0.12) else 0
        if form in INT8_FORMATS:
            self.copies.append((sum(m), n))
        near = (0, 1, 65535, 65530, rng.randrange(1 << 16))
        return Output(
            form, maxima, rows, columns, form in INT8_FORMATS and self.chance(0.4),
            (rng.choice(near), rng.choice(near)), rng.choice((0, 0, 0, 1, 2)), over, self.seed(),
            self.seed(),
        )  # fmt: skip

    def maxima(self, form: str | None) -> tuple[Maxima, ...]:
        """Return the maxima before a copy, whose scales are then often made of them."""
        wanted = {"row": "row", "column": "column", "row_column": "column", "tensor": "tensor"}
        found = []
        if form is None or self.chance(0.3):
            found.append(self.one_maximum(self.rng.choice(("row", "column", "tensor")), False))
        if form in wanted and self.chance(0.6):
            scales = self.one_maximum(wanted[form], True, scaled=form == "row_column")
            found.append(scales)
        return tuple(found)

    def one_maximum(self, axis: str, to_scales: bool, *, scaled: bool = False) -> Maxima:
        m = self.rng.choice(
            (0, 1 << 15, (1 << 16) - 1, *[self.rng.randrange(1 << 15, 1 << 16)] * 5)
        )
        s = self.rng.choice((*_SHIFT_LIMITS, *[self.rng.randint(26, 36)] * 12))
        if self.loud:
            s = self.rng.randint(44, 67)
        return Maxima(
            axis, scaled or self.chance(0.25), self.chance(0.6), to_scales or self.chance(0.2),
            axis != "column" and self.chance(0.45), self.chance(0.3), (m, s), self.seed(),
        )  # fmt: skip
