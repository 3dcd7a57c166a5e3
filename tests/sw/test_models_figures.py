"""Figures that are known of the U-Nets, and that only a right derivation gives."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from math import ceil
from pathlib import Path

import pytest

from sw.models import DESCRIPTIONS, Reading, Role, TrainingStep, load_step, walk
from sw.models.layers import Dense, Pair

PAGE = Path(__file__).resolve().parents[2] / "docs" / "workloads.md"
SIDE = 64  # of the array that the cycles are of
FILL = 2 * SIDE + SIDE - 2
GMAC = {"kv": (4.43, 3.00), "xattn": (48.14, 33.92), "transformer": (577, 448), "unet": (1205, 866)}
"""Of the full model and of LoRA, batch 1, rank 4."""
CYCLES = {
    "kv": ("1.83", "0.95", "0.73"),
    "xattn": ("12.5", "9.8", "8.3"),
    "unet": ("254", "239", "212"),
}
"""Millions, under `scalesim`, `overlap` and `ideal`, the better dataflow a product."""


def folds(m: int, k: int, n: int) -> Iterator[tuple[int, int, int]]:
    """Yield for WS, then OS: folds, waves of each, and what SCALE-Sim adds to each."""
    yield ceil(k / SIDE) * ceil(n / SIDE), m, FILL
    yield ceil(m / SIDE) * ceil(n / SIDE), k, FILL - SIDE


def cycles(step: TrainingStep, model: str) -> tuple[float, float, float]:
    """Return cycles in WS, in OS, and in the better of them a product."""
    ws = os = hybrid = 0.0
    for product in step.products:
        found = []
        for count, waves, added in folds(product.m, product.k, product.n):
            if model == "scalesim":
                found.append(count * (waves + added) - 1)
            elif model == "overlap":
                found.append(count * max(waves, SIDE) + FILL)
            else:
                found.append(product.m * product.k * product.n / SIDE**2)
        ws, os = ws + product.count * found[0], os + product.count * found[1]
        hybrid += product.count * min(found)
    return ws, os, hybrid


@pytest.mark.parametrize(
    "name,parameters,weights",
    [
        ("sd15", 859_520_964, 859_077_120),
        ("sd21", 865_910_724, 865_466_880),
        ("sdxl", 2_567_463_684, 2_565_880_320),
    ],
)
def test_parameters_are_those_of_the_published_models(name, parameters, weights):
    model = walk(DESCRIPTIONS[name])
    assert (model.parameters, model.weights) == (parameters, weights)
    paths = [layer.path for layer in model.layers if not isinstance(layer, Pair)]
    assert len(set(paths)) == len(paths)


def test_sd15_weights_and_forward_work():
    model = walk(DESCRIPTIONS["sd15"])
    step = load_step("sd15", "unet", full=True)
    assert round(step.weights / 1e6, 1) == 859.1
    assert round(step.forward_macs / 1e9, 1) == 401.6
    sites = [layer for layer in model.dense if layer.reading is Reading.KV]
    assert len(sites) == 32 and {(each.rows, each.inputs) for each in sites} == {(77, 768)}
    assert round(sum(each.weights for each in sites) / 1e6, 2) == 19.17
    cross = [layer for layer in model.dense if Reading.XATTN.holds(layer.reading)]
    projections = sum(each.weights for each in cross)
    assert len(cross) == 64 and round(projections / 1e6, 2) == 43.95
    assert round(100 * projections / model.weights, 1) == 5.1


def test_sd15_grids():
    """Tokens, heads, head width and transformer blocks of each grid."""
    scores = [layer for layer in walk(DESCRIPTIONS["sd15"]).layers
              if isinstance(layer, Pair) and layer.scores]  # fmt: skip
    own = Counter((each.m, each.n, each.count, each.k) for each in scores)
    grids = {(4096, 40): 5, (1024, 80): 5, (256, 160): 5, (64, 160): 1}
    expected = {}
    for (tokens, width), blocks in grids.items():
        expected |= {(tokens, tokens, 8, width): blocks, (tokens, 77, 8, width): blocks}
    assert own == expected


@pytest.mark.parametrize("rank,millions", [(4, 0.198), (8, 0.396), (16, 0.793)])
def test_lora_parameters(rank, millions):
    step = load_step("sd15", "kv", rank=rank)
    assert (round(step.trained / 1e6, 3), step.sites, step.rank) == (millions, 32, rank)


@pytest.mark.parametrize("reading,full,lora", [(key, *pair) for key, pair in GMAC.items()])
def test_work_of_a_step(reading, full, lora):
    digits = 2 if full < 100 else 0
    for expected, dense in ((full, True), (lora, False)):
        macs = load_step("sd15", reading, 1, None if dense else 4, dense).macs
        assert round(macs / 1e9, digits) == expected


@pytest.mark.parametrize("reading", CYCLES)
def test_hybrid_cycles(reading):
    """They depend on the shape of every product."""
    step = load_step("sd15", reading, 1, 4)
    for model, expected in zip(("scalesim", "overlap", "ideal"), CYCLES[reading], strict=True):
        digits = len(expected.partition(".")[2])
        assert f"{cycles(step, model)[2] / 1e6:.{digits}f}" == expected


def test_ratios_of_the_primary_benchmark():
    lora, full = load_step("sd15", "xattn", 2, 4), load_step("sd15", "xattn", 2, full=True)
    ws, os, hybrid = cycles(lora, "scalesim")
    assert (round(os / hybrid, 2), round(ws / hybrid, 2)) == (1.22, 1.25)
    assert round(cycles(full, "scalesim")[1] / hybrid, 2) == 1.55
    ws, os, hybrid = cycles(lora, "overlap")
    assert (round(os / hybrid, 2), round(ws / hybrid, 2)) == (1.05, 1.06)


def test_sd21_differs_in_heads_text_and_projections():
    model = walk(DESCRIPTIONS["sd21"])
    sites = [layer for layer in model.dense if layer.reading is Reading.KV]
    assert len(sites) == 32 and {(each.rows, each.inputs) for each in sites} == {(77, 1024)}
    pairs = [layer for layer in model.layers if isinstance(layer, Pair) and layer.scores]
    assert {each.k for each in pairs} == {64}
    assert {each.count for each in pairs} == {5, 10, 20}
    (projection,) = [each for each in model.dense if each.path == "mid_block.attentions.0.proj_in"]
    assert projection.kernel == () and projection.rows == 12 * 12


def test_sdxl_has_blocks_of_other_depths():
    model = walk(DESCRIPTIONS["sdxl"])
    blocks = Counter(
        layer.path.partition(".transformer_blocks.")[0]
        for layer in model.dense
        if layer.path.endswith("attn2.to_k")
    )
    deep = ("down_blocks.2", "up_blocks.0")
    expected = {f"{path}.attentions.{index}": 10
                for path, count in zip(deep, (2, 3), strict=True)
                for index in range(count)}  # fmt: skip
    for path, count in (("down_blocks.1", 2), ("up_blocks.1", 3)):
        expected |= {f"{path}.attentions.{index}": 2 for index in range(count)}
    assert blocks == expected | {"mid_block.attentions.0": 10}
    added = [each for each in model.dense if each.path.startswith("add_embedding")]
    assert [(each.inputs, each.outputs) for each in added] == [(2816, 1280), (1280, 1280)]
    assert all(each.conditioning for each in added)


def test_the_page_has_the_figures_of_the_code():
    text = PAGE.read_text()
    for reading in GMAC:
        full, lora = (load_step("sd15", reading, full=dense).macs / 1e9 for dense in (True, False))
        assert f"| `{reading}` | {full:.2f} | {lora:.2f} |" in text
    for reading, row in CYCLES.items():
        assert f"| `{reading}` | {' | '.join(row)} |" in text
    steps = {name: load_step(name, "unet", full=True) for name in DESCRIPTIONS}
    for line in (
        [f"{step.parameters:,}" for step in steps.values()],
        [f"{step.weights:,}" for step in steps.values()],
        [f"{step.forward_macs / 1e9:.2f}" for step in steps.values()],
        [str(load_step(name, "kv").sites) for name in DESCRIPTIONS],
    ):
        assert f" | {' | '.join(line)} |" in text


def test_the_page_says_what_autograd_would_save():
    """dX of what runs before the first site, and dQ there."""
    step = load_step("sd15", "unet")
    first = next(i for i, each in enumerate(step.products) if each.role is Role.LORA_H)
    module = step.products[first].site.rpartition(".")[0]
    before = {each.site for each in step.products[: first - 1]}  # but the site's own forward
    saved = sum(
        each.macs
        for each in step.products
        if (each.site in before and not each.role.forward)
        or (each.site == module and each.role is Role.DQ)
    )
    found = re.search(r"dX all the same, ([\d.]+) of its\s+([\d.]+) GMAC \(([\d.]+) %\)",
                      PAGE.read_text())  # fmt: skip
    expected = saved / 1e9, step.macs / 1e9, 100 * saved / step.macs
    assert found.groups() == tuple(f"{each:.1f}" for each in expected)


def test_every_site_of_a_step_has_its_products():
    step = load_step("sd15", "unet")
    roles: dict[str, Counter] = {}
    for product in step.products:
        roles.setdefault(product.site, Counter())[product.role] += 1
    model = walk(DESCRIPTIONS["sd15"])
    for layer in model.layers:
        if isinstance(layer, Pair):
            wanted = {Role.QK, Role.PV, Role.DQ, Role.DK, Role.DV, Role.DP}
        elif isinstance(layer, Dense):
            wanted = {Role.FORWARD} if layer.conditioning else {Role.FORWARD, Role.DX}
            if layer.reading is Reading.KV:
                wanted |= {Role.LORA_H, Role.LORA_UP, Role.DH, Role.DB, Role.DA, Role.LORA_DX}
        else:
            assert layer.path not in roles
            continue
        assert set(roles.pop(layer.path, wanted)) == wanted, layer.path
    assert not roles
