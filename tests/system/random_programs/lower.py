"""From a case to instructions, straight from the page of instructions: not the way `sw` does it."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

from hw.isa.instructions import (
    Dataflow,
    Execute,
    Halt,
    Instruction,
    Load,
    Memory,
)
from sim.footprint import Space, blocks
from sw.tokens import add_tokens

from .case import Case, Misfit, Operand, Output, Product, Step
from .emitter import Emitter, Scales, Span, Tile
from .layout import Layout, Matrix, spans
from .order import gathered, shuffled
from .outputs import Outputs
from .words import Region

__all__ = ["beyond_lanes", "lower", "padding_counts", "plain"]

_LONGEST = 500


def plain(case: Case, layout: Layout) -> list[Instruction]:
    """Return the instructions in the order of the case, without tokens and halt.

    Raises
    ------
    Misfit
        Something does not fit a memory, or would be overwritten while it is needed.
    """
    lowering = _Lowering(layout)
    for number, step in enumerate(case.steps):
        lowering.step(number, step, clean=padding_counts(case, number))
    if len(lowering.instructions) > _LONGEST:
        raise Misfit(f"{len(lowering.instructions)} instructions")
    return lowering.instructions


def lower(case: Case, layout: Layout) -> tuple[Instruction, ...]:
    """Return the program, tokens included; raises what `plain` does."""
    program = plain(case, layout)
    if case.order is not None:
        program = shuffled(layout.config, program, case.order)
    tokened = add_tokens(layout.config, [*program, Halt()]).instructions
    return gathered(layout.config, tokened) if case.gather else tokened


def beyond_lanes(operand: Operand, lanes: int, width: int) -> int:
    """Return how many lanes more than the matrix has are loaded, in words of `width` lanes."""
    return 0 if operand.source else min(operand.beyond, -lanes % width)


def padding_counts(case: Case, number: int) -> bool:
    """Return whether a step's padding lanes must be zero: maxima of rows and tensors have them.

    Those of later steps that keep its sums count as well.
    """
    later = case.steps[number + 1 :]
    kept = takewhile(lambda step: step.keep, later)
    return any(
        maxima.axis != "column"
        for step in (case.steps[number], *kept)
        for action in step.actions
        if isinstance(action, Output)
        for maxima in action.maxima
    )


class _Lowering(Emitter):
    """Lowers the sums and the products of steps."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self._tiles: dict[Tile, Region] = {}
        self._of_tiles: tuple[tuple[int, ...], tuple[int, ...]] = (), ()
        self._turn = 0
        self._clean = True

    def step(self, number: int, step: Step, *, clean: bool) -> None:
        """Lower one matrix of sums, whose padding lanes are zero if it must be `clean`."""
        self._clean = clean
        if not step.keep:
            self._place_tiles(step)
        elif self._of_tiles != (step.m, step.n):
            raise Misfit(f"step {number} keeps sums of other tiles")
        if not step.keep and not (
            isinstance(step.actions[0], Product) and not step.actions[0].accumulate
        ):
            raise Misfit(f"step {number} starts from sums that are not there")
        for turn, action in enumerate(step.actions):
            if isinstance(action, Product):
                self._multiply((number, turn), step, action)
            else:
                Outputs(self, (number, turn), step, action, self._tiles).lower()

    def _place_tiles(self, step: Step) -> None:
        """Put the tiles of the sums one behind the other."""
        shapes = {
            (i, j): (m, blocks(n, self.config.columns))
            for i, m in enumerate(step.m)
            for j, n in enumerate(step.n)
        }
        regions, used = {}, 0
        for tile, (rows, count) in shapes.items():
            place = step.place
            if place.strides(rows, count)[0] % 2 == 0:  # rows must lie in the banks by turns
                wider = {"step": place.step + 1} if place.by_block else {"gap": place.gap + 1}
                place = replace(place, **wider)
            row_stride, block_stride = place.strides(rows, count)
            regions[tile] = Region(used, rows, count, row_stride, block_stride)
            used = regions[tile].word(rows - 1, count - 1) + 1
        base = self.words.run(Space.OUTPUT, step.place.base, used)
        self._tiles = {t: replace(each, base=base + each.base) for t, each in regions.items()}
        self._of_tiles = step.m, step.n

    def _multiply(self, where: Tile, step: Step, product: Product) -> None:
        scales = self._accumulate_scales(where, step, product)
        k = sum(product.parts)
        for i, m in enumerate(spans(step.m)):
            for j, n in enumerate(spans(step.n)):
                if product.whole:
                    operands = self._operands(where, product, m, (0, k), n)
                for part, (start, stop) in enumerate(spans(product.parts)):
                    if product.whole:
                        at = start
                    else:
                        operands, at = self._operands(where, product, m, (start, stop), n), 0
                    accumulate = product.accumulate or part > 0
                    execute = self._execute(product, operands, at, stop - start, n)
                    out = self._tiles[i, j]
                    if scales is not None:
                        self.words.expect(
                            Space.ACCUMULATE_SCALE, range(scales.base, scales.base + scales.count),
                            scales.owner,
                        )  # fmt: skip
                    self.emit(
                        replace(
                            execute, accumulate=int(accumulate), rows=m[1] - m[0],
                            out_base=out.base, out_row_stride=out.row_stride,
                            out_block_stride=out.block_stride, scale=int(scales is not None),
                            scale_base=scales.base + m[0] if scales else 0,
                        )
                    )  # fmt: skip

    def _accumulate_scales(self, where: Tile, step: Step, product: Product) -> Scales | None:
        count = sum(step.m)
        if product.made:
            if self.updates.count != count:
                raise Misfit(f"{self.updates.count} updates for {count} rows")
            return self.updates
        if product.scale is None:
            return None
        base = self.words.run(Space.ACCUMULATE_SCALE, product.scale_place, count)
        return self.table(Memory.ACCUMULATE_SCALE, self.layout.matrices[*where, "scale"], base)

    def _operands(
        self, where: Tile, product: Product, m: Span, k: Span, n: Span
    ) -> tuple[Region, Region]:
        """Load both operands of a tile's part, by turns into either half."""
        self._turn += 1
        lanes, rows = (k, m) if product.dataflow == "ws" else (m, k)
        left = self.layout.matrices[*where, "left"]
        right = self.layout.matrices[*where, "right"]
        by_row = product.dataflow == "ws"
        return (
            self._load(Memory.INPUT, left, product.left, rows, lanes, by_row),
            self._load(Memory.WEIGHT, right, product.right, k, n),
        )

    def _load(
        self,
        memory: Memory,
        matrix: Matrix,
        operand: Operand,
        rows: Span,
        lanes: Span,
        by_row: bool = False,
    ) -> Region:
        width = self.config.rows if memory is Memory.INPUT else self.config.columns
        high, wide = rows[1] - rows[0], lanes[1] - lanes[0]
        region = self.words.operand(
            Space(memory), operand.place, high, blocks(wide, width), self._turn, by_row
        )
        first, across = (lanes, rows) if operand.transpose else (rows, lanes)
        beyond = beyond_lanes(operand, wide, width)
        if memory is Memory.WEIGHT and self._clean:
            beyond = 0
        self.emit(
            Load(
                memory=memory, transpose=int(operand.transpose),
                dram=matrix.at(first[0], across), pitch=matrix.pitch,
                rows=first[1] - first[0] + beyond * operand.transpose,
                columns=across[1] - across[0] + beyond * (not operand.transpose),
                base=region.base, row_stride=region.row_stride, block_stride=region.block_stride,
                packed=int(operand.packed and not operand.source),
            )
        )  # fmt: skip
        return region

    def _execute(
        self, product: Product, operands: tuple[Region, Region], at: int, k: int, n: Span
    ) -> Execute:
        """Return the EXECUTE of a part that starts `at` this index of the reduction loaded."""
        left, right = operands
        stationary = product.dataflow == "ws"
        together = self.config.fold_reduction if stationary else self.config.macs_per_element
        if at % together:
            raise Misfit(f"the reduction is cut at {at}, inside a word or words read at once")
        corner = left.word(0, at // self.config.rows) if stationary else left.word(at, 0)
        return Execute(
            dataflow=Dataflow[product.dataflow.upper()], rows=1, reduction=k, columns=n[1] - n[0],
            left_base=corner, left_row_stride=left.row_stride, left_block_stride=left.block_stride,
            right_base=right.word(at, 0), right_row_stride=right.row_stride,
            right_block_stride=right.block_stride, out_row_stride=0, out_block_stride=0,
        )  # fmt: skip
