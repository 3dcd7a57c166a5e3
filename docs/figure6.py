"""Write docs/figure6.md, its figures and a section of the README: ``nox -s figures``.

Tests hold both to it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

from hw.isa.config import Config
from sw.compare.plot import draw_bars
from sw.compare.roofline import draw_roofline, roofline_rows
from sw.compare.step import ALL_MODELS, OURS, PAPER, SCHEMES, Comparison, compare
from sw.compare.text import assumptions, bandwidth, heading
from sw.markdown import table
from sw.models import TrainingStep, load_step
from sw.parallel import spread
from sw.prices import Prices

PAGE = Path(__file__).parent / "figure6.md"
README = PAGE.parent.parent / "README.md"
BEGIN, END = "<!-- from docs/figure6.py -->", "<!-- end -->"
CONFIG = Config.preset("paper")
OPTIMISERS = (0, 16, 28)
"""Bytes of DRAM traffic a trained weight; the page charges the second unless it says otherwise."""
CHARGED = OPTIMISERS[1]
COLUMNS = ("full", "full_hybrid", "lora_os", "lora_ws", "lora_hybrid")
FACTORS = tuple(PAPER["latency"])
MOST_PRODUCTS = 16
LIMITED = 51.2
"""GB/s at which the page speaks of the optimiser, and the README of everything."""
BUS = 25.6
"""GB/s at which products are listed: what the bus carries in one direction."""

TEXT = """# The paper's Figure 6, again

This page and its figures are written by `nox -s figures` from `docs/figure6.py`. `cdmqta compare`
prints the same for any model, reading, batch, rank and configuration.

`ours` runs every product as a program of its own, as the other models count them. The same step compiled as a
whole takes a quarter fewer cycles: see [training steps](step.md).

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
  not to charge them. Hybrid chooses by latency: where both dataflows take nearly the same time, another choice may
  have less EDP.

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
SUMMARY = """{begin}
SD 1.5, the cross-attention modules of a step of two samples, rank 4, on the 64x64 array at 400 MHz with DRAM of
{bandwidth}: the full model (OS), LoRA-OS and LoRA-WS in multiples of LoRA-hybrid. The paper's factors of latency come out
where folds do not overlap (`scalesim`); where they do (`overlap`), everything is faster and there is less to choose. `ours`
counts what these do not: bus, latency, and the start and end of each product ([docs/figure6.md](docs/figure6.md)). Hybrid
chooses by latency, so another choice may have less EDP.

{table}

![Figure 6 under four cycle models](docs/figure6.svg)
{end}"""
MEASURED = """ This machine, which hides loads and no drains,
  gives {ours.lora_os:.2f} and {ours.lora_ws:.2f} with every cycle counted, and takes {ours.ms:.1f} ms: products of attention heads wait for its bus (below),
  which the other models do not have."""
ROOFLINE = """
## Where our cycles go

Each product of the LoRA-hybrid step against the bounds of array, bus and DRAM. The area of a mark
is its part of the step, its colour what takes most of its time.

![roofline of LoRA-hybrid](figure6_roofline.svg)

The {most} that take most of it, at {bus} GB/s:

{products}
"""


Results = dict[float, list[Comparison]]
"""Comparisons by the optimiser's bytes a trained weight: `OPTIMISERS`."""


@cache
def steps() -> tuple[TrainingStep, TrainingStep]:
    """Return the step that the page is about, with all weights trained and with LoRA."""
    return load_step("sd15", "xattn", 2, None, full=True), load_step("sd15", "xattn", 2, 4)


def results(models: tuple[str, ...] = ALL_MODELS, spread: Callable = map) -> Results:
    """Return the comparisons that the page shows; without ours it takes a second or two."""
    prices = cache(partial(Prices, spread=spread))  # times products once for all optimisers
    return {
        each: compare(CONFIG, *steps(), models=models, optimiser_bytes=each, prices=prices)
        for each in OPTIMISERS
    }


def page(found: Results) -> str:
    """Return the text of the page; without ours among the results, without what is said of it."""
    at = {(each.model, each.dram_gbps): each for each in found[CHARGED]}
    names = {model: _names(each, "seconds") for (model, gbps), each in at.items() if gbps is None}
    optimisers = [
        f"{next(e for e in found[each] if _is(e, 'scalesim', LIMITED)).ratio('seconds', 'full'):.2f} "
        f"with {each} bytes"
        for each in OPTIMISERS[1:]
    ]
    text = TEXT.format(
        **names | {"ours": MEASURED.format(**names) if OURS in names else ""},
        paper=SimpleNamespace(**PAPER["latency"]),
        paper_edp=SimpleNamespace(**PAPER["edp"]),
        limited=_names(at["scalesim", LIMITED], "edp"),
        optimisers=" and ".join(optimisers),
        assumed="\n".join(f"- {line}" for line in assumptions(CONFIG, *steps(), CHARGED)),
        latency=latency_table(found),
        edp=edp_table(found),
        optimiser=optimiser_table(found),
    )
    if OURS in names:
        text += ROOFLINE.format(most=MOST_PRODUCTS, bus=BUS, products=product_table(found))
    return text


def _is(each: Comparison, model: str, gbps: float) -> bool:
    return (each.model, each.dram_gbps) == (model, gbps)


def _names(each: Comparison, figure: str) -> SimpleNamespace:
    """Return the factors of a comparison by name, and its milliseconds."""
    factors = {name: each.ratio(figure, name) for name in SCHEMES}
    return SimpleNamespace(**factors, ms=each.entries["lora_hybrid"].seconds * 1e3)


def latency_table(found: Results) -> str:
    """Return the table of latency."""
    headings = ["DRAM", "model", *(SCHEMES[name].label for name in COLUMNS), "ms", *_over()]
    rows = []
    for each in found[CHARGED]:
        cycles = [f"{each.entries[name].cycles / 1e6:.2f}" for name in COLUMNS]
        milliseconds = f"{each.entries['lora_hybrid'].seconds * 1e3:.1f}"
        rows.append([*_labels(each), *cycles, milliseconds, *_factors(each, "seconds")])
    return table(headings, [*rows, _paper("latency", before=len(COLUMNS) + 1)], words=2)


def edp_table(found: Results) -> str:
    """Return the table of energy and EDP."""
    headings = ["DRAM", "model", "chip mJ", "DRAM mJ", "EDP mJ·s", *_over(), *_over("chip: ")]
    rows = []
    for each in found[CHARGED]:
        hybrid = each.entries["lora_hybrid"]
        own = (hybrid.energy * 1e3, hybrid.dram_energy * 1e3, hybrid.edp * 1e3)
        factors = *_factors(each, "edp"), *_factors(each, "edp_chip")
        rows.append([*_labels(each), *(f"{value:.2f}" for value in own), *factors])
    return table(headings, [*rows, _paper("edp", before=3, after=len(FACTORS))], words=2)


def optimiser_table(found: Results) -> str:
    """Return the table of optimisers."""
    columns = [found[each] for each in OPTIMISERS]
    rows = [
        [*_labels(row[0]), *(f"{each.ratio('seconds', 'full'):.2f}" for each in row)]
        for row in zip(*columns, strict=True)
    ]
    return table(["DRAM", "model", *(f"{each} bytes" for each in OPTIMISERS)], rows, words=2)


def product_table(found: Results) -> str:
    """Return the table of products."""
    own = next(each for each in found[CHARGED] if _is(each, OURS, BUS))
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
    return table(headings, rows, words=2)


def summary(found: Results) -> str:
    """Return the section of the README, with its marks."""
    rows = []
    for each in found[CHARGED]:
        if each.dram_gbps == LIMITED:
            milliseconds = f"{each.entries['lora_hybrid'].seconds * 1e3:.1f}"
            factors = *_factors(each, "seconds"), *_factors(each, "edp")
            rows.append([f"`{each.model}`", milliseconds, *factors])
    paper = [f"{value:.2f}" for figure in PAPER.values() for value in figure.values()]
    rows.append(["the paper", "", *paper])
    headings = ["cycle model", "LoRA-hybrid, ms", "full", "OS", "WS", "EDP: full", "OS", "WS"]
    text = table(headings, rows, words=2)
    return SUMMARY.format(begin=BEGIN, end=END, bandwidth=bandwidth(LIMITED), table=text)


def with_summary(readme: str, section: str) -> str:
    """Return the README with its section replaced."""
    before, _, rest = readme.partition(BEGIN)
    return before + section + rest.partition(END)[2]


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


def figures(found: Results) -> dict[Path, bytes]:
    """Return the figures of the page as files; the roofline only with ours among the results."""
    title = heading(CONFIG, steps()[1])
    files = {
        PAGE.with_suffix(suffix): draw_bars(found[CHARGED], title, suffix)
        for suffix in (".svg", ".png")
    }
    own = [each for each in found[CHARGED] if each.model == OURS]
    if own:
        data = draw_roofline(own, f"LoRA-hybrid, {title}", ".svg")
        files[PAGE.with_name("figure6_roofline.svg")] = data
    return files


def write() -> None:
    """Write the page, its figures and the section of the README."""
    with spread() as side_by_side:
        found = results(spread=side_by_side)
    PAGE.write_text(page(found), encoding="utf-8")
    readme = README.read_text(encoding="utf-8")
    README.write_text(with_summary(readme, summary(found)), encoding="utf-8")
    for path, data in figures(found).items():
        path.write_bytes(data)


if __name__ == "__main__":
    write()
