"""The table of docs/choice.md: ``python docs/choice_table.py`` makes it anew, in some minutes.

Every distinct product of a training step is decided, and where that is not too long, every tiling
of it is compiled and timed, too.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from hw.isa.config import Config
from hw.isa.instructions import Axis, Dataflow
from sw.decide import Decision, decide
from sw.gemm import draft_gemm
from sw.job import Copy, Maxima, Sums
from sw.lora import Gemm, View
from sw.models import Product, load_step
from sw.prices import LEFT_TRANSPOSED, RIGHT_TRANSPOSED
from sw.tile import TileError
from sw.tile_search import Space
from sw.trial import Trial

PAGE = Path(__file__).parent / "choice.md"
MARK = re.compile(r"(<!-- table from docs/choice_table\.py -->).*?(<!-- end -->)", re.DOTALL)
PAPER = Config.preset("paper")
STEP = ("sd15", "xattn", 2, 4)
MOST = 6_000_000
"""Cycles of all tilings of a product, about, that are timed for the last column."""
HEADING = (
    "| product | tilings | timed | chosen | tile M x K x N | estimate | cycles | below it at most "
    "| best of all |\n|---|---|---|---|---|---|---|---|---|"
)


def draft(product: Product, dataflow: Dataflow, *, swap: bool):
    """Return the job and the problem of a product as `sw.prices` compiles it."""
    left, right = product.role in LEFT_TRANSPOSED, product.role in RIGHT_TRANSPOSED
    gemm = Gemm("C", View("A", product.m, product.k, left), View("B", product.k, product.n, right))
    outputs, late = ((Sums("C"),), ())
    if not product.gradient:
        outputs = (Maxima(Axis.ROW, "maxima", "fresh"),)
        late = (Copy("C", Axis.ROW, "fresh"),)
    return draft_gemm(PAPER, gemm, outputs, late, dataflow, swap=swap)


def products() -> list[Product]:
    """Return the distinct products of the step, the smallest first."""
    found = {}
    for each in load_step(*STEP).products:
        lies = each.role in LEFT_TRANSPOSED, each.role in RIGHT_TRANSPOSED
        found.setdefault((each.m, each.k, each.n, *lies, each.gradient), each)
    return sorted(found.values(), key=lambda each: each.m * each.k * each.n)


def space_of(product: Product) -> Space:
    """Return all tilings of a product."""
    drafts = [draft(product, flow, swap=swap) for flow in Dataflow for swap in (False, True)]
    return Space.of(drafts, "latency")


def best_of_all(space: Space) -> int | None:
    """Return the cycles of the best tiling, every one timed; None if that takes too long."""
    if (space.estimate + 100 * space.instructions).sum() > MOST:
        return None
    found = []
    for index in range(space.size):
        try:
            found.append(Trial(PAPER, space.job(index)).counters["cycles"])
        except TileError:
            continue
    return min(found)


def estimate(space: Space, decision: Decision) -> float:
    """Return the estimate of the job that was chosen."""
    return next(
        space.estimate[i] for i in range(space.size) if space.job(i).tiling == decision.job.tiling
        and space.drafts[space.draft[i]][0].swapped == decision.job.swapped
    )  # fmt: skip


def row(product: Product) -> str:
    """Return the line of a product."""
    decision = decide(PAPER, "auto", *(partial(draft, product, swap=s) for s in (False, True)))
    space, job = space_of(product), decision.job
    cycles, best = Trial(PAPER, job).counters["cycles"], best_of_all(space)
    tiling, about = job.tiling, estimate(space, decision)
    cells = (
        f"{product.m}x{product.k}x{product.n} {product.role}",
        f"{decision.candidates:,}",
        decision.timed,
        f"{tiling.dataflow.name}{', transposed' if job.swapped else ''}",
        f"{tiling.tile_m}x{tiling.tile_k}x{tiling.tile_n}",
        f"{about:,.0f} ({about / cycles - 1:+.1%})",
        f"{cycles:,}",
        "proven" if decision.proven else f"{1 - decision.bound / cycles:.1%}",
        "" if best is None else f"{best:,} ({cycles / best - 1:+.1%})",
    )
    return f"| {' | '.join(map(str, cells))} |"


def with_table(page: str) -> str:
    """Return the text of the page with its table made anew."""
    table = "\n".join([HEADING, *map(row, products())])
    return MARK.sub(lambda match: f"{match[1]}\n\n{table}\n\n{match[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
