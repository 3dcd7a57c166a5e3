"""A group of LoRA sites that share their input: INT8 golden ~ float autograd, and its rules.

Data: 8 sites 768 -> 320 of rank 4 on 77 tokens of `site_data`'s text; the weights W and B of each
site are scaled by a factor of its own, 2 to a normal power, and dY of site i by spread^(-i/7).
`FLOORS` stand 1.2 to 2 dB below the worst of all sites of seeds 0 to 7.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from .layout import Layout, TextSite
from .lora import lora_site
from .numerics import absmax, gemm, scale_accumulate, update_entry
from .scales import parts
from .test_lora import site_data, snr
from .text import TextBackward, TextForward, text_backward, text_forward

SITES = 8
FLOORS = {
    1: {"y": 25.0, "dx": 27.5, "da": 15.0, "da_first": 22.5, "db": 19.0},
    10: {"y": 25.0, "dx": 28.0, "da": 8.5, "da_first": 27.0, "db": 19.0},
    100: {"y": 25.0, "dx": 28.5, "da": 4.5, "da_first": 29.5, "db": 19.0},
}
"""By spread. `da` is that of the worst site, `da_first` that of the one with the largest dY."""


def text_data(
    seed: int,
    widths: tuple[int, ...] = (320,) * SITES,
    rows: int = 77,
    width: int = 768,
    rank: int = 4,
    spread: float = 1,
) -> tuple[Tensor, list[TextSite], list[Tensor]]:
    """Return X, the sites and dY of each; sites' gradients span a factor of `spread`."""
    g = torch.Generator().manual_seed(1000 + seed)
    sites, gradients = [], []
    for i, columns in enumerate(widths):
        data = site_data(100 * seed + i, rows, width, columns, rank)
        w, b = torch.exp2(torch.randn(2, generator=g))
        sites.append(TextSite(data.w * w, data.a, data.b * b))
        gradients.append(data.dy * spread ** (-i / max(1, len(widths) - 1)))
    return site_data(seed, rows, width, 1, rank).x, sites, gradients


def run(
    data: tuple[Tensor, list[TextSite], list[Tensor]], unit: int = 64, scaling: float = 1
) -> tuple[TextForward, TextBackward]:
    """Run a whole step of the sites."""
    x, sites, gradients = data
    forward = text_forward(x, sites, scaling=scaling, unit=unit)
    return forward, text_backward(forward, gradients)


def float_text(
    x: Tensor, sites: list[TextSite], gradients: list[Tensor], scaling: float = 1
) -> dict[str, list[Tensor]]:
    """Return y, da, db of each site, and dx, in float64, by autograd."""
    leaf = x.double().requires_grad_()
    a, b = ([getattr(s, name).double().requires_grad_() for s in sites] for name in "ab")
    y = [leaf @ s.w.double() + scaling * (leaf @ a[i]) @ b[i] for i, s in enumerate(sites)]
    found = torch.autograd.grad(y, [leaf, *a, *b], [each.double() for each in gradients])
    count = len(sites)
    return {
        "y": [each.detach() for each in y],
        "dx": [found[0]],
        "da": list(found[1 : 1 + count]),
        "db": list(found[1 + count :]),
    }


def measured(
    reference: dict[str, list[Tensor]], forward: TextForward, backward: TextBackward
) -> dict[str, list[float]]:
    """Return the signal-to-noise ratios of every site's results, in dB."""
    found = {"y": forward.y, "da": backward.da, "db": backward.db}
    ratios = {
        name: [snr(wanted, found[name](i)) for i, wanted in enumerate(reference[name])]
        for name in found
    }
    return ratios | {"dx": [snr(reference["dx"][0], backward.dx)]}


@pytest.mark.parametrize("spread", FLOORS)
@pytest.mark.parametrize("seed", range(4))
def test_golden_is_near_float(seed, spread):
    data = text_data(seed, spread=spread)
    ratios = measured(float_text(*data), *run(data))
    worst = {name: min(values) for name, values in ratios.items()} | {"da_first": ratios["da"][0]}
    low = {name: value for name, value in worst.items() if value < FLOORS[spread][name]}
    assert not low, f"SNR in dB too low at a spread of {spread}: {low}"


@pytest.mark.parametrize("scaling", [0.25, 3.0])
def test_scaling_acts_as_in_float_seed_20(scaling):
    data = text_data(20, widths=(24, 40, 32), rows=16, width=96)
    ratios = measured(float_text(*data, scaling), *run(data, scaling=scaling))
    assert min(min(values) for values in ratios.values()) > 15, ratios


@pytest.mark.parametrize("rank", [1, 3, 4, 6, 7])
def test_no_result_depends_on_the_array_seed_21(rank):
    """Ranks that do not divide U, that are U, and that are more; the rest is padding."""
    data = text_data(21, widths=(5, 7, 3, 6, 4), rows=6, width=9, rank=rank)
    wanted = run(data, unit=64)
    for unit in (1, 4, 6, 16):
        found = run(data, unit=unit)
        for name, values in without_padding(*wanted).items():
            assert torch.equal(without_padding(*found)[name], values), (unit, name)
        for i in range(5):
            assert torch.equal(found[1].da(i), wanted[1].da(i))
            assert torch.equal(found[1].db(i), wanted[1].db(i))


def without_padding(forward: TextForward, backward: TextBackward) -> dict[str, Tensor]:
    """Return all values with the sites' places alone."""
    values, layout = forward.values | backward.values, forward.layout
    ranks = torch.cat([torch.arange(layout.places)[layout.ranks(i)] for i in layout.sites])
    outputs = torch.cat([torch.arange(layout.outputs)[layout.columns(i)] for i in layout.sites])
    for name in ("A", "H.row", "H.column", "H.column_maxima", "dH.row", "dH.column", "dA"):
        values[name] = values[name][:, ranks]
    for name in ("W", "Y", "dY.row", "dY.column", "dBt"):
        values[name] = values[name][:, outputs]
    values["dH.column_maxima"] = values["dH.column_maxima"][:, ranks]
    values["Au"] = values["Au"][ranks]
    del values["Bt"]  # whose rows are those of groups: H.row times it is in Y
    return values


@pytest.mark.parametrize(
    "rank, unit, places, starts, outputs",
    [
        (4, 16, 32, [0, 4, 8, 12, 16], [0, 1, 2, 3, 4]),
        (3, 4, 20, [0, 4, 8, 12, 16], [0, 1, 2, 3, 5]),
        (3, 6, 18, [0, 3, 6, 9, 12], [0, 1, 2, 3, 4]),
        (6, 6, 30, [0, 6, 12, 18, 24], [0, 1, 2, 3, 4]),
        (7, 6, 60, [0, 12, 24, 36, 48], [0, 1, 2, 3, 4]),
    ],
)
def test_places_of_sites(rank, unit, places, starts, outputs):
    layout = Layout((2, 3, 4, 5, 6), rank, unit)
    assert layout.places == places
    assert [layout.ranks(i).start for i in layout.sites] == starts
    for i in layout.sites:
        group, ranks = layout.group(i), layout.ranks(i)
        assert group.start % unit == 0 and (group.stop - group.start) % unit == 0
        assert group.start <= ranks.start and ranks.stop <= group.stop
    assert [layout.columns(i).start // unit for i in layout.sites] == outputs
    assert layout.columns(4).stop == outputs[4] * unit + 6 and layout.outputs % unit == 0


@pytest.mark.parametrize("seed", range(22, 26))
def test_a_group_of_one_is_the_site_of_its_own(seed):
    data = text_data(seed, widths=(24,), rows=9, width=40, rank=3)
    forward, backward = run(data, unit=3, scaling=0.5)
    x, (site,), (dy,) = data
    alone = lora_site(x, site.w, site.a, site.b, dy, scaling=0.5)
    for name, wanted in (
        ("H.row", alone.h_row.values), ("H.column", alone.h_column.values), ("Y", alone.y.sums),
    ):  # fmt: skip
        assert torch.equal(forward.values[name], wanted), name
    for name, wanted in (
        ("dY.row", alone.dy_row.values), ("dY.column", alone.dy_column.values),
        ("X.column", alone.x_column.values), ("dH.row", alone.dh_row.values),
        ("dX", alone.dx.sums), ("dA", alone.da.sums), ("dBt", alone.db.sums.T),
    ):  # fmt: skip
        assert torch.equal(backward.values[name], wanted), name
    for mine, wanted in (
        (forward.y(0), alone.y.real), (backward.dx, alone.dx.real),
        (backward.da(0), alone.da.real), (backward.db(0), alone.db.real.T),
    ):  # fmt: skip
        torch.testing.assert_close(mine, wanted, rtol=1e-12, atol=0)


def test_copies_of_h_share_their_rows_with_all_sites_seed_27():
    forward, backward = run(text_data(27, widths=(5, 7, 3), rows=6, width=9, rank=2), unit=4)
    h = gemm(forward.values["X.row"], forward.values["A"])
    assert torch.equal(forward.values["H.row_maxima"], absmax(h, "row").T)
    assert torch.equal(forward.values["H.column_maxima"], absmax(h, "column"))
    for copy in (forward.values["H.row"], backward.values["dH.row"][1:]):
        assert bool((absmax(copy, "row") == 127).all())
    # Each site's update has a factor of its own over the common maxima.
    y = gemm(forward.values["X.row"], forward.values["W"])
    for i in range(3):
        columns, ranks = forward.layout.columns(i), forward.layout.ranks(i)
        entries = update_entry(absmax(h, "row"), int(forward.values["Y.factor"][0, i]))
        update = gemm(forward.values["H.row"][:, ranks], forward.b[i].values)
        y[:, columns] = scale_accumulate(y[:, columns], update, *parts(entries))
    assert torch.equal(forward.values["Y"], y)


def test_first_step_every_b_is_zero_seed_28():
    x, sites, gradients = text_data(28, widths=(24, 40, 32), rows=16, width=96)
    sites = [TextSite(s.w, s.a, s.b * 0) for s in sites]
    data = x, sites, gradients
    forward, backward = run(data)
    f, b = forward.values, backward.values
    assert torch.equal(f["Y"], gemm(f["X.row"], f["W"]))
    assert torch.equal(b["dX"], gemm(b["dY.row"], f["W"].T))
    for name in ("dH.row", "dH.column", "dH.row_maxima", "dH.column_maxima", "dA", "Au"):
        assert not b[name].any(), name
    assert not f["Y.factor"].any() and not b["dX.factor"].any()
    reference = float_text(*data)
    for i in range(3):
        assert not backward.da(i).any() and not reference["da"][i].any()
        assert snr(reference["db"][i], backward.db(i)) > 20
    assert snr(reference["dx"][0], backward.dx) > 25


def test_one_site_whose_b_is_zero_seed_29():
    x, sites, gradients = text_data(29, widths=(24, 40), rows=16, width=96)
    sites[0] = TextSite(sites[0].w, sites[0].a, sites[0].b * 0)
    forward, backward = run((x, sites, gradients))
    columns = forward.layout.columns(0)
    base = gemm(forward.values["X.row"], forward.values["W"])
    assert torch.equal(forward.values["Y"][:, columns], base[:, columns])
    assert not torch.equal(forward.values["Y"], base)
    assert not backward.da(0).any() and backward.da(1).any()


def test_detached_tokens_give_exact_zeros_seed_30():
    data = text_data(30, widths=(24, 40, 32), rows=16, width=96)
    _, backward = run(data)
    b = backward.values
    for name in ("dY.row", "dY.column", "X.column", "dH.row", "dH.column", "dX"):
        assert not b[name][0].any(), name
    assert not backward.dx[0].any() and backward.dx[1:].any(dim=1).all()


def test_an_update_that_leaves_int32_is_limited_seed_31():
    x, sites, gradients = text_data(31, widths=(6, 5), rows=4, width=8)
    sites[1] = TextSite(sites[1].w * 1e-9, sites[1].a, sites[1].b * 1e3)
    forward, _ = run((x, sites, gradients))
    y = forward.values["Y"]
    limited = (y == 2**31 - 1) | (y == -(2**31))
    first, second = (limited[:, forward.layout.columns(i)] for i in range(2))
    assert second.any() and not first.any()


def test_a_weight_of_zeros_is_refused():
    x, sites, _ = text_data(32, widths=(6, 5), rows=4, width=8)
    sites[1] = TextSite(sites[1].w * 0, sites[1].a, sites[1].b)
    with pytest.raises(ValueError, match=r"w must not be all zero: its scale is the unit of Y"):
        text_forward(x, sites, unit=4)
