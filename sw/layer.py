"""The main job: all training products of one LoRA site, in one program, or in one a direction.

H and dH come first: their maxima become the scales of their INT8 copies, and of the updates of Y
and dX, on the chip. The copies go to DRAM, from where the other products load them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow

from .compile import compile_jobs, input_matrix, output_requests
from .dataflow import Choice, choose_update
from .decide import Objective, check_reduction, decide
from .gemm import ROUNDINGS, Rounding, operands
from .job import Copy, Job, Maxima, Output, Sums
from .lora import Gemm, Site, site_products
from .program import Program
from .quantise import COLUMN_COPIES, ColumnCopies
from .tile import Span, TileError, Tiling, spans
from .tile_problem import Demand, Problem

__all__ = ["LOW_RANK", "PARTS", "UPDATED_BY", "LayerProgram", "Part", "compile_layer"]

Part = Literal["step", "forward", "backward"]
"""What a program does: all products, or those of one direction. A training loop needs two
programs, since dY is made of Y."""
PARTS: tuple[str, ...] = get_args(Part)

LOW_RANK = ("H", "dH")
"""The products whose sums become INT8 copies."""
_LOW_RANK_OF: dict[str, tuple[str, ...]] = {
    "step": LOW_RANK, "forward": ("H",), "backward": ("dH",),
}  # fmt: skip
_GRADIENTS_OF: dict[str, tuple[str, ...]] = {
    "step": ("dA", "dB"), "forward": (), "backward": ("dA", "dB"),
}  # fmt: skip
UPDATED_BY = {"Y": "H", "dX": "dH"}
"""The products that a low-rank product is added to, and that product."""
UPDATES = {low_rank: name for name, low_rank in UPDATED_BY.items()}


@dataclass(frozen=True)
class LayerProgram:
    """The program of a site.

    Members
    -------
    site : Site
    program : Program
        Takes the INT8 copies of `Site.inputs`, the factors ``Y.factor`` and ``dX.factor``, and, if
        column copies are rescaled, the entries ``H.unit_scales`` and ``dH.unit_scales``. Gives
        int32 ``H``, ``dH``, ``Y``, ``dX``, ``dA`` (d1, r), ``dB`` (d2, r), INT8 ``H.row``,
        ``H.column``, ``dH.row``, ``dH.column``, and uint32 ``H.row_maxima``, ``H.column_maxima``,
        ``dH.row_maxima``, ``dH.column_maxima``. That of one direction takes and gives what its
        products do, but no sums ``H`` or ``dH``; the backward one takes ``H.column``.
    """

    site: Site
    program: Program

    def __str__(self) -> str:
        return f"{self.site}\n{self.program}"


def compile_layer(
    config: Config,
    n: int,
    d1: int,
    d2: int,
    r: int,
    *,
    dataflow: Choice = "auto",
    column_copies: ColumnCopies = "weighted",
    rounding: Rounding = "nearest",
    objective: Objective = "latency",
    part: Part = "step",
) -> LayerProgram:
    """Compile the training products of a LoRA site.

    Parameters
    ----------
    n, d1, d2, r : int
        Tokens, width in, width out, rank.
    dataflow : "auto", "ws" or "os"
        For all products. Updates longer than the array has rows run in OS in any case, because
        there is one rounding in them.
    column_copies : "weighted" or "rescaled"
        How row scales leave the column copies, see `sw.quantise.ColumnCopies`.
    rounding : "nearest" or "stochastic"
        Of the INT8 copies of H and dH.
    objective : "latency", "energy", "edp" or "array"
        What each product's plan makes small, see `sw.decide.Objective`.
    part : "step", "forward" or "backward"
        Which products.

    Raises
    ------
    ValueError
        A size is below 1, or an option is unknown.
    TileError, PlacementError
        A product does not fit the memories, or DRAM.
    """
    site = Site(n, d1, d2, r)
    for name, value, accepted in (
        ("column_copies", column_copies, COLUMN_COPIES),
        ("rounding", rounding, ROUNDINGS),
        ("part", part, PARTS),
    ):
        if value not in accepted:
            raise ValueError(f"{name} must be one of {'|'.join(accepted)}, not {value!r}")
    meta = {
        "kind": "lora", "n": n, "d1": d1, "d2": d2, "r": r,
        "dataflow": dataflow, "column_copies": column_copies, "rounding": rounding, "part": part,
    }  # fmt: skip
    rescaled = column_copies == "rescaled"
    planner = _Planner(config, site, dataflow, rescaled, rounding, objective, part)
    jobs = planner.jobs()
    requests = [input_matrix(name, shape) for name, shape in _inputs(site, part).items()]
    for job in jobs:
        requests += output_requests(job)
    program = compile_jobs(config, "products", jobs, requests, meta)
    return LayerProgram(site, program)


def _inputs(site: Site, part: Part) -> dict[str, tuple[int, int]]:
    """Return the shapes of the INT8 copies that a program takes."""
    if part == "step":
        return site.inputs
    names = ("X.row", "W", "A", "B")
    if part == "backward":
        names = ("dY.row", "X.column", "dY.column", "H.column", "W", "A", "B")
    shapes = site.inputs | site.copies
    return {name: shapes[name] for name in names}


class _Planner:
    """Decides dataflow and tiles of every product, and which rows go together.

    Update scales stay on the chip from the maxima that they are made of to their use. So where
    there are more tokens than the memory has scales for, they are worked on in slabs, and the
    column copies, which need the maxima of all, are made of sums that are computed again.
    """

    def __init__(
        self,
        config: Config,
        site: Site,
        choice: Choice,
        rescaled: bool,
        rounding: Rounding,
        objective: Objective,
        part: Part,
    ) -> None:
        self._config, self._site, self._choice = config, site, choice
        self._objective = objective
        self._low_rank_of, self._gradients = _LOW_RANK_OF[part], _GRADIENTS_OF[part]
        self._sums = part == "step"
        self._rescaled, self._stochastic = rescaled, rounding == "stochastic"
        self._gemms = {gemm.name: gemm for gemm in site_products(site)}
        self._update = choose_update(config, choice, site.r)

    def jobs(self) -> list[Job]:
        """Return the jobs in an order in which each finds its operands made."""
        # All at once, since what comes before a product that is refused may take long to decide.
        for name in (*self._low_rank_of, *self._gradients):  # Y and dX reduce as H and dH
            check_reduction(self._gemms[name].left.columns)
        slabs = self._slabs()
        jobs = []
        for slab in slabs:
            jobs += [self._low_rank(name, slab, len(slabs) > 1) for name in self._low_rank_of]
            jobs += [self._updated(UPDATES[name], slab) for name in self._low_rank_of]
        if len(slabs) > 1:
            jobs += [self._columns(name) for name in self._low_rank_of]
        for name in self._gradients:
            draft = partial(self._draft, self._gemms[name], (Sums(name),), (), Demand())
            jobs.append(decide(self._config, self._choice, draft, objective=self._objective).job)
        return jobs

    def _slabs(self) -> tuple[Span, ...]:
        """Return the rows that are worked on together."""
        config, n = self._config, self._site.n
        # Two tables of updates; a row scale and a unit for each row, and two factors.
        most = min(config.accumulate_scale_depth // 2, config.row_scale_depth // 2 - 1)
        if n <= most:
            return (Span(0, n),)
        step = config.bus_bytes
        if most < step:
            raise TileError(
                f"the scales of {n} tokens do not fit: there is room for {most} at a time, and "
                f"they are cut at multiples of {step}"
            )
        return spans(n, most - most % step)

    def _low_rank(self, name: str, slab: Span, parted: bool) -> Job:
        """Return H or dH: its maxima, its row copy, and, if all rows are there, its column copy."""
        update = UPDATES[name]
        row_scales, column_scales, unit = f"{name}.row_scales", f"{name}.column_scales", ""
        if self._rescaled:
            unit = f"{name}.unit_scales"
        outputs = (
            Maxima(
                Axis.ROW, f"{name}.row_maxima", row_scales,
                updates=f"{update}.updates", factor=f"{update}.factor",
            ),
            Maxima(Axis.COLUMN, f"{name}.column_maxima", column_scales, unit=unit, kept=parted),
            Copy(f"{name}.row", Axis.ROW, row_scales, stochastic=self._stochastic),
            *([Sums(name)] if self._sums else []),
        )  # fmt: skip
        late = () if parted else (self._column_copy(name),)
        demand = Demand(
            # With the rows of one tile those of all tiles stay until the group is done.
            row_tables=1 + self._rescaled, row_fixed=2 + (0 if slab.size <= 1 else slab.size),
            column_tables=1, column_fixed=-(-self._site.r // self._config.columns),
            row_vectors=True, column_vectors=True, whole_rows=True,
            group=Axis.TENSOR, late=not parted,
        )  # fmt: skip
        return self._part(self._gemms[name], slab, outputs, late, demand)

    def _column_copy(self, name: str) -> Copy:
        unit = f"{name}.unit_scales" if self._rescaled else ""
        scales = f"{name}.column_scales"
        return Copy(f"{name}.column", Axis.COLUMN, scales, unit=unit, stochastic=self._stochastic)

    def _columns(self, name: str) -> Job:
        """Return the column copy of H or dH alone, with scales that are on the chip."""
        demand = Demand(
            row_tables=int(self._rescaled), row_vectors=self._rescaled, whole_rows=True,
            column_tables=1, column_fixed=-(-self._site.r // self._config.columns),
        )  # fmt: skip
        draft = partial(self._draft, self._gemms[name], (self._column_copy(name),), (), demand)
        job = decide(self._config, self._choice, draft, objective=self._objective).job
        return replace(job, frees=(f"{name}.column_scales",))

    def _updated(self, name: str, slab: Span) -> Job:
        """Return Y or dX."""
        job = self._part(self._gemms[name], slab, (Sums(name),), (), Demand())
        return replace(job, frees=(f"{name}.updates",))

    def _part(
        self,
        gemm: Gemm,
        slab: Span,
        outputs: tuple[Output, ...],
        late: tuple[Output, ...],
        demand: Demand,
    ) -> Job:
        """Return the job of some rows of a product."""
        n = self._site.n
        if slab.size < n:
            gemm = _rows(gemm, slab)
        draft = partial(self._draft, gemm, outputs, late, demand)
        job = decide(self._config, self._choice, draft, objective=self._objective).job
        return replace(job, tiling=replace(job.tiling, first_row=slab.start, all_rows=n))

    def _draft(
        self,
        gemm: Gemm,
        outputs: tuple[Output, ...],
        late: tuple[Output, ...],
        demand: Demand,
        dataflow: Dataflow,
    ) -> tuple[Job, Problem]:
        """Return a product's job and problem."""
        left, right = self._operands(gemm, dataflow)
        sizes = [
            4 if isinstance(o, Sums) else 1 for o in (*outputs, *late) if not isinstance(o, Maxima)
        ]
        demand = replace(
            demand, out_bytes=sum(sizes), narrowest=min(sizes),
            left_transposed=left.transposed, right_transposed=right.transposed,
        )  # fmt: skip
        tiling = Tiling(dataflow, gemm.m, gemm.k, gemm.n, 1, 1, 1)
        job = Job(gemm, tiling, left, right, outputs, late)
        if gemm.update is not None:
            first, second = self._operands(gemm.update, self._update)
            job = replace(
                job, update_dataflow=self._update, update_left=first, update_right=second,
                update_scales=f"{gemm.name.partition('[')[0]}.updates",
            )  # fmt: skip
            demand = replace(
                demand, update_reduction=gemm.update.k, update_dataflow=self._update,
                update_left_transposed=first.transposed, update_right_transposed=second.transposed,
            )  # fmt: skip
        return job, Problem(self._config, dataflow, gemm.m, gemm.k, gemm.n, demand)

    def _operands(self, gemm: Gemm, dataflow: Dataflow) -> tuple:
        """Return operands of the whole tensors: of a slab's rows, tiles know which they are."""
        found = []
        for operand in operands(gemm, dataflow):
            rows, columns = (self._site.inputs | self._site.copies)[operand.buffer]
            found.append(replace(operand, rows=rows, columns=columns))
        return tuple(found)


def _rows(gemm: Gemm, slab: Span) -> Gemm:
    """Return the product of some rows of the left operand, which does not lie transposed."""
    update = None if gemm.update is None else _rows(gemm.update, slab)
    name = f"{gemm.name}[{slab.start}:{slab.start + slab.size}]"
    return Gemm(name, replace(gemm.left, rows=slab.size), gemm.right, update)
