"""The main job: all training products of one LoRA site, in two programs.

The first program makes H and dH and the absolute maxima of their rows and columns. The host turns
these into scale entries, exactly. The second makes H and dH again, now with their INT8 copies, and
with these everything else. (The maxima stay on the chip, and one program is enough, once the
requantiser makes its own scales.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow

from .compile import compile_jobs, decide, input_matrix, input_table, output_requests
from .dataflow import Choice, choose_update
from .lora import Gemm, Site, site_products
from .lower import Copy, Job, Maxima, Output, Sums
from .place import Request
from .program import Program
from .quantise import COLUMN_COPIES, ColumnCopies
from .tile import Demand

__all__ = ["LayerPrograms", "compile_layer"]

LOW_RANK = ("H", "dH")
"""The products whose sums become INT8 copies."""
UPDATED_BY = {"Y": "H", "dX": "dH"}
"""The products that a low-rank product is added to, and that product."""


@dataclass(frozen=True)
class LayerPrograms:
    """Both programs of a site.

    Members
    -------
    site : Site
    maxima : Program
        Outputs int32 ``H``, ``dH`` and uint32 ``H.row_maxima``, ``H.column_maxima``, ...
    products : Program
        Takes scale entries ``H.row_scales``, ``H.column_scales``, ``Y.update_scales``, ...
        (both take ``H.unit_scales``, ... if column copies are rescaled);
        outputs INT8 ``H.row``, ``H.column``, ``dH.row``, ``dH.column``, int32 ``Y``, ``dX``,
        ``dA`` (d1, r), ``dB`` (d2, r).
    """

    site: Site
    maxima: Program
    products: Program

    @property
    def programs(self) -> tuple[Program, Program]:
        """Both, in the order in which they run."""
        return self.maxima, self.products

    def __str__(self) -> str:
        return f"{self.site}\n{self.maxima}\n{self.products}"


def compile_layer(
    config: Config,
    n: int,
    d1: int,
    d2: int,
    r: int,
    *,
    dataflow: Choice = "auto",
    column_copies: ColumnCopies = "weighted",
) -> LayerPrograms:
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

    Raises
    ------
    ValueError
        A size is below 1, or an option is unknown.
    TileError, PlacementError
        A product does not fit the memories, or DRAM.
    """
    site = Site(n, d1, d2, r)
    if column_copies not in COLUMN_COPIES:
        raise ValueError(
            f"column_copies must be one of {'|'.join(COLUMN_COPIES)}, not {column_copies!r}"
        )
    meta = {
        "kind": "lora", "n": n, "d1": d1, "d2": d2, "r": r,
        "dataflow": dataflow, "column_copies": column_copies,
    }  # fmt: skip
    planner = _Planner(config, site, dataflow, column_copies == "rescaled")
    return LayerPrograms(
        site,
        planner.program("maxima", planner.first_jobs(), meta),
        planner.program("products", planner.second_jobs(), meta),
    )


class _Planner:
    """Decides dataflow, tiles and layouts, and keeps which buffers that takes."""

    def __init__(self, config: Config, site: Site, choice: Choice, rescaled: bool) -> None:
        self._config, self._site, self._choice = config, site, choice
        self._rescaled = rescaled
        self._gemms = {gemm.name: gemm for gemm in site_products(site)}
        self._update = choose_update(config, choice, site.r)
        self._requests: dict[str, Request] = {}

    def program(self, name: str, jobs: list[Job], meta: dict[str, int | str]) -> Program:
        """Return the program of jobs, with the buffers they were found to need."""
        requests, self._requests = self._requests, {}
        return compile_jobs(self._config, name, jobs, requests.values(), meta)

    def first_jobs(self) -> list[Job]:
        """Return H and dH with their maxima."""
        jobs = []
        for name in LOW_RANK:
            rows = Maxima(f"{name}.row_maxima", Axis.ROW)
            columns = Maxima(f"{name}.column_maxima", Axis.COLUMN, self._unit(name))
            jobs.append(self._job(self._gemms[name], (Sums(name), rows, columns)))
        return jobs

    def second_jobs(self) -> list[Job]:
        """Return all products; H and dH first, because the others read their copies."""
        jobs = []
        for name in LOW_RANK:
            row = Copy(f"{name}.row", Axis.ROW, f"{name}.row_scales")
            scales = f"{name}.column_scales"
            column = Copy(f"{name}.column", Axis.COLUMN, scales, self._unit(name))
            if self._update is Dataflow.WS:
                jobs.append(self._job(self._gemms[name], (row, column)))
            else:
                jobs.append(self._job(self._gemms[name], (column,)))
                jobs.append(self._transposed_copy(self._gemms[name], row))
        jobs += [self._job(self._gemms[name], (Sums(name),)) for name in ("Y", "dX", "dA", "dB")]
        return jobs

    def _unit(self, name: str) -> str:
        return f"{name}.unit_scales" if self._rescaled else ""

    def _transposed_copy(self, gemm: Gemm, row: Copy) -> Job:
        """Return H^T = A^T.X^T with H's row copy, lying transposed: what an update in OS reads.

        The sums are the same, so a scale for each column gives the same bits as one for each row.
        """
        transposed = Gemm(f"{gemm.name}^T", gemm.right.T, gemm.left.T)
        return self._job(transposed, (Copy(f"{row.buffer}.T", Axis.COLUMN, row.scales),))

    def _job(self, gemm: Gemm, outputs: tuple[Output, ...]) -> Job:
        config = self._config
        demand = Demand(
            update_reduction=gemm.update.k if gemm.update else 0,
            update_dataflow=self._update,
            row_table=gemm.update is not None or _has_table(outputs, Axis.ROW) or self._rescaled,
            column_table=_has_table(outputs, Axis.COLUMN),
            out_bytes=sum(4 if isinstance(output, Sums) else 1 for output in outputs),
        )
        tiling = decide(config, self._choice, gemm, demand)
        left, right = self._operands(gemm, tiling.dataflow)
        job = Job(gemm, tiling, left, right, outputs, self._update)
        if gemm.update is not None:
            left, right = self._operands(gemm.update, self._update)
            scales = f"{gemm.name}.update_scales"
            job = replace(job, update_left=left, update_right=right, update_scales=scales)
            self._need(input_table(scales, gemm.m))
        self._need_outputs(job)
        return job

    def _operands(self, gemm: Gemm, dataflow: Dataflow) -> tuple[str, str]:
        """Return the buffers of a product's operands, lying as the dataflow reads them."""
        names = []
        left = gemm.left if dataflow is Dataflow.WS else gemm.left.T
        for view in (left, gemm.right):
            if view.tensor in self._site.inputs:
                shape = self._site.inputs[view.tensor]
                names.append(self._need(input_matrix(view.tensor, shape, view.transposed)))
            else:
                names.append(f"{view.tensor}.T" if view.transposed else view.tensor)
        return names[0], names[1]

    def _need(self, request: Request) -> str:
        self._requests.setdefault(request.name, request)
        return request.name

    def _need_outputs(self, job: Job) -> None:
        """Ask for a job's output buffers and scale tables."""
        sources = {f"{name}.row.T": (f"{name}.row", True) for name in LOW_RANK}
        for request in output_requests(job, sources):
            self._need(request)
        for output in job.outputs:
            if isinstance(output, Copy):
                entries = job.gemm.m if output.axis is Axis.ROW else job.gemm.n
                self._need(input_table(output.scales, entries))
            if isinstance(output, (Copy, Maxima)) and output.unit:
                self._need(input_table(output.unit, job.gemm.m))


def _has_table(outputs: tuple[Output, ...], axis: Axis) -> bool:
    return any(isinstance(o, (Copy, Maxima)) and o.axis is axis for o in outputs)
