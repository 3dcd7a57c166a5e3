"""Write docs/figure6.md and its figures: ``nox -s figures``; tests hold the page to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from hw.isa.config import Config
from sw.compare.plot import draw_bars
from sw.compare.roofline import draw_roofline, roofline_rows
from sw.compare.step import ALL_MODELS, OURS, PAPER, SCHEMES, Comparison, compare
from sw.compare.text import assumptions, bandwidth, heading
from sw.cost import Prices
from sw.models import TrainingStep, load_step

PAGE = Path(__file__).parent / "figure6.md"
CONFIG = Config.preset("paper")
OPTIMISERS = (0, 16, 28)
"""Bytes of DRAM traffic a trained weight; the page charges the second unless it says otherwise."""
CHARGED = OPTIMISERS[1]
COLUMNS = ("full", "full_hybrid", "lora_os", "lora_ws", "lora_hybrid")
FACTORS = tuple(PAPER["latency"])
MOST_PRODUCTS = 16
BUS = 25.6
"""GB/s at which products are listed: what the bus carries in one direction."""

TEXT = """# The paper's Figure 6, again

This page and its figures are written by `nox -s figures` from `docs/figure6.py`. `cdmqta compare`
prints the same for any model, reading, batch, rank and configuration.

Figure 6 of the paper ([arXiv 2504.07998](https://arxiv.org/abs/2504.07998)) compares training the
full model with LoRA: all products output-stationary (OS), all weight-stationary (WS), or each in
the better of the two (hybrid). LoRA-hybrid is {paper.full:.2f} times faster than the full model there,
{paper.lora_os:.2f} times than LoRA-OS and {paper.lora_ws:.2f} times than LoRA-WS.

![bars for each cycle model and DRAM bandwidth](figure6.svg)

- **Under SCALE-Sim's cycle model the paper's factors come out** with nothing tuned: {scalesim.lora_os:.2f} over
  LoRA-OS and {scalesim.lora_ws:.2f} over LoRA-WS. Every fold pays for its own fill and drain there, and OS and
  WS pay most for different products, so choosing saves cycles.
- **On an array whose folds overlap they do not**: {overlap.lora_os:.2f} and {overlap.lora_ws:.2f} under `overlap`. The overhead
  that choosing saves is gone, and everything is faster: LoRA-hybrid takes {overlap.ms:.1f} ms instead of
  {scalesim.ms:.1f} ms.{ours}
- **{paper.full:.2f} over the full model takes more than LoRA.** Without limits of DRAM it is {scalesim.full:.2f} if
  the full model runs in OS, and {scalesim.full_hybrid:.2f} if it may choose its dataflow too. The traffic of
  dense gradients and optimiser does the rest: at 51.2 GB/s it is {optimisers} a weight.
- **EDP**, energy of chip and DRAM times latency: the paper has {paper_edp.full:.2f}, {paper_edp.lora_os:.2f} and {paper_edp.lora_ws:.2f},
  `scalesim` at 51.2 GB/s {limited.full:.2f}, {limited.lora_os:.2f} and {limited.lora_ws:.2f}. Partial sums of WS cost energy here; the paper seems
  not to charge them, nor does it say what its DRAM costs.

## What is assumed

{assumed}

## Latency

Millions of cycles, milliseconds of LoRA-hybrid, and multiples of LoRA-hybrid.

{latency}

## Energy and energy-delay product

Millijoules and EDP of LoRA-hybrid, and multiples of that EDP: with DRAM, then of the chip alone.

{edp}

## What the optimiser costs

Full model (OS) over LoRA-hybrid in latency, by the bytes of DRAM traffic a trained weight.

{optimiser}
"""
MEASURED = """ This machine, of which every cycle is known, gives {ours.lora_os:.2f} and {ours.lora_ws:.2f},
  and takes {ours.ms:.1f} ms."""
ROOFLINE = """
## Where our cycles go

Each product of the LoRA-hybrid step against the bounds of array, bus and DRAM. The area of a mark
is its part of the step, its colour what takes most of its time.

![roofline of LoRA-hybrid](figure6_roofline.svg)

The {most} that take most of it, at {bus} GB/s:

{products}
"""


@cache
def steps() -> tuple[TrainingStep, TrainingStep]:
    """Return the step that the page is about, with all weights trained and with LoRA."""
    return load_step("sd15", "xattn", 2, None, full=True), load_step("sd15", "xattn", 2, 4)


prices = cache(Prices)  # products are timed once for all optimisers


@cache
def results(models: tuple[str, ...], optimiser_bytes: float) -> list[Comparison]:
    """Return the comparison."""
    return compare(CONFIG, *steps(), models=models, optimiser_bytes=optimiser_bytes, prices=prices)


def page(models: tuple[str, ...] = ALL_MODELS) -> str:
    """Return the text of the page; without ours among the models, without what is said of it."""
    found = {(each.model, each.dram_gbps): each for each in results(models, CHARGED)}
    names: dict[str, object] = {model: _names(found[model, None], "seconds") for model in models}
    optimisers = [
        f"{_limited(models, each).ratio('seconds', 'full'):.2f} with {each} bytes"
        for each in OPTIMISERS[1:]
    ]
    text = TEXT.format(
        **names | {"ours": MEASURED.format(**names) if OURS in models else ""},
        paper=SimpleNamespace(**PAPER["latency"]),
        paper_edp=SimpleNamespace(**PAPER["edp"]),
        limited=_names(found["scalesim", 51.2], "edp"),
        optimisers=" and ".join(optimisers),
        assumed="\n".join(f"- {line}" for line in assumptions(CONFIG, *steps(), CHARGED)),
        latency=latency_table(models),
        edp=edp_table(models),
        optimiser=optimiser_table(models),
    )
    if OURS in models:
        text += ROOFLINE.format(most=MOST_PRODUCTS, bus=BUS, products=product_table(models))
    return text


def _names(each: Comparison, figure: str) -> SimpleNamespace:
    """Return the factors of a comparison by name, and its milliseconds."""
    factors = {name: each.ratio(figure, name) for name in SCHEMES}
    return SimpleNamespace(**factors, ms=each.entries["lora_hybrid"].seconds * 1e3)


def _limited(models: tuple[str, ...], optimiser_bytes: float) -> Comparison:
    """Return SCALE-Sim's at 51.2 GB/s."""
    found = results(models, optimiser_bytes)
    return next(e for e in found if (e.model, e.dram_gbps) == ("scalesim", 51.2))


def latency_table(models: tuple[str, ...]) -> str:
    """Return the table of latency."""
    headings = ["DRAM", "model", *(SCHEMES[name].label for name in COLUMNS), "ms", *_over()]
    rows = []
    for each in results(models, CHARGED):
        cycles = [f"{each.entries[name].cycles / 1e6:.2f}" for name in COLUMNS]
        milliseconds = f"{each.entries['lora_hybrid'].seconds * 1e3:.1f}"
        rows.append([*_labels(each), *cycles, milliseconds, *_factors(each, "seconds")])
    return table(headings, [*rows, _paper("latency", before=len(COLUMNS) + 1)])


def edp_table(models: tuple[str, ...]) -> str:
    """Return the table of energy and EDP."""
    headings = ["DRAM", "model", "chip mJ", "DRAM mJ", "EDP mJ·s", *_over(), *_over("chip: ")]
    rows = []
    for each in results(models, CHARGED):
        hybrid = each.entries["lora_hybrid"]
        own = (hybrid.energy * 1e3, hybrid.dram_energy * 1e3, hybrid.edp * 1e3)
        factors = *_factors(each, "edp"), *_factors(each, "edp_chip")
        rows.append([*_labels(each), *(f"{value:.2f}" for value in own), *factors])
    return table(headings, [*rows, _paper("edp", before=3, after=len(FACTORS))])


def optimiser_table(models: tuple[str, ...]) -> str:
    """Return the table of optimisers."""
    columns = [results(models, each) for each in OPTIMISERS]
    rows = [
        [*_labels(row[0]), *(f"{each.ratio('seconds', 'full'):.2f}" for each in row)]
        for row in zip(*columns, strict=True)
    ]
    return table(["DRAM", "model", *(f"{each} bytes" for each in OPTIMISERS)], rows)


def product_table(models: tuple[str, ...]) -> str:
    """Return the table of products."""
    own = next(e for e in results(models, 0) if (e.model, e.dram_gbps) == (OURS, BUS))
    rows = []
    for row in roofline_rows(own.hybrid)[:MOST_PRODUCTS]:
        flow = row["dataflow"].upper() + (", swapped" if row["swapped"] else "")
        utilisation = row["macs_per_cycle"] / (CONFIG.rows * CONFIG.columns)
        rows.append([
            row["role"], "x".join(map(str, row["shape"])), f"{row['runs']:,}", flow,
            f"{row['cycles']:,}", f"{row['total_cycles'] / own.hybrid.cycles:.1%}",
            f"{utilisation:.2f}", f"{row['intensity']:.0f}", row["limit"],
        ])  # fmt: skip
    headings = [
        "product", "MxKxN", "runs", "dataflow", "cycles", "of the step", "utilisation",
        "MACs a byte", "limit",
    ]  # fmt: skip
    return table(headings, rows)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table: two columns of text, then numbers."""
    rule = [":--" if column < 2 else "--:" for column in range(len(headings))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rule, *rows))


def _over(prefix: str = "") -> list[str]:
    return [f"{prefix}{SCHEMES[name].label} / hybrid" for name in FACTORS]


def _labels(each: Comparison) -> tuple[str, str]:
    return bandwidth(each.dram_gbps), f"`{each.model}`"


def _factors(each: Comparison, figure: str) -> list[str]:
    return [f"{each.ratio(figure, name):.2f}" for name in FACTORS]


def _paper(figure: str, before: int, after: int = 0) -> list[str]:
    """Return the paper's row, with empty cells before and after its factors."""
    factors = [f"{value:.2f}" for value in PAPER[figure].values()]
    return ["", "the paper", *[""] * before, *factors, *[""] * after]


def figures(models: tuple[str, ...] = ALL_MODELS) -> dict[Path, bytes]:
    """Return the figures of the page as files."""
    title = heading(CONFIG, steps()[1])
    found = results(models, CHARGED)
    files = {
        PAGE.with_suffix(suffix): draw_bars(found, title, suffix) for suffix in (".svg", ".png")
    }
    own = [each for each in found if each.model == OURS]
    if own:
        data = draw_roofline(own, f"LoRA-hybrid, {title}", ".svg")
        files[PAGE.with_name("figure6_roofline.svg")] = data
    return files


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    for path, data in figures().items():
        path.write_bytes(data)
