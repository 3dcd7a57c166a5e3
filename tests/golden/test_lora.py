"""First rung of the ladder of truth: float torch LoRA ~ INT8 torch golden; and the golden's rules.

Signal-to-noise ratios, measured over seeds 0 to 7 of `site_data` (worst of both ways to make
column copies), in dB: H 25.8, Y 27.6, LoRA's own part of Y 25.5, dH 33.6, dX 37.1, LoRA's own part
of dX 32.7, dA 28.3, dB 24.8. The thresholds stand about 1.5 dB below.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from .lora import LoraSite, lora_site
from .numerics import absmax, gemm, multiplier

COLUMN_COPIES = ["weighted", "rescaled"]
FLOORS = {"h": 24.0, "y": 26.0, "y_lora": 24.0, "dh": 32.0, "dx": 35.5, "dx_lora": 31.0,
          "da": 27.0, "db": 23.0}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Data:
    """Float32 inputs of a site."""

    x: Tensor
    w: Tensor
    a: Tensor
    b: Tensor
    dy: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        return self.x, self.w, self.a, self.b, self.dy


def site_data(seed: int, n: int = 77, d1: int = 768, d2: int = 320, r: int = 4) -> Data:
    """Return text-like data: outlier channels, a large first token, log-normal gradient rows.

    Row 0 of dY is zero, as for the detached first token of Custom Diffusion.
    """
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    x = normal(n, d1)
    x[:, torch.randperm(d1, generator=g)[: max(1, d1 // 128)]] *= 20
    x[0] *= 4
    x *= torch.exp(0.2 * normal(n, 1))
    w, a, b = normal(d1, d2) / d1**0.5, normal(d1, r) / r, normal(r, d2) * 0.02
    dy = normal(n, d2) * torch.exp(normal(n, 1)) * 1e-4
    dy[0] = 0
    return Data(x, w, a, b, dy)


def float_site(data: Data, c: float = 1.0) -> dict[str, Tensor]:
    """Return the site's products in float64, by formula."""
    x, w, a, b, dy = (t.double() for t in data.tensors())
    h, dh = x @ a, dy @ b.T
    return {
        "h": h, "y": x @ w + c * h @ b, "y_lora": c * h @ b,
        "dh": dh, "dx": dy @ w.T + c * dh @ a.T, "dx_lora": c * dh @ a.T,
        "da": c * x.T @ dh, "db": c * dy.T @ h,
    }  # fmt: skip


def golden_site(site: LoraSite) -> dict[str, Tensor]:
    """Return the same products of the golden model, dequantised."""
    found = {name: getattr(site, name).real for name in ("h", "y", "dh", "dx", "da", "db")}
    found["y_lora"] = site.y.real - site.y_base.real
    found["dx_lora"] = site.dx.real - site.dx_base.real
    return found


def snr(reference: Tensor, estimate: Tensor) -> float:
    """Return the signal-to-noise ratio in dB."""
    noise = (reference - estimate).square().sum()
    return float(10 * torch.log10(reference.square().sum() / noise))


@pytest.mark.parametrize("c", [1.0, 0.25])
def test_the_float_formulas_are_the_gradients_seed_1(c):
    data = site_data(1, n=5, d1=7, d2=3, r=2)
    x, w, a, b, dy = (t.double() for t in data.tensors())
    leaves = [t.clone().requires_grad_() for t in (x, a, b)]
    y = leaves[0] @ w + c * (leaves[0] @ leaves[1]) @ leaves[2]
    dx, da, db = torch.autograd.grad(y, leaves, dy)
    formulas = float_site(data, c)
    torch.testing.assert_close(formulas["y"], y.detach())
    torch.testing.assert_close(formulas["dx"], dx)
    torch.testing.assert_close(formulas["da"], da)
    torch.testing.assert_close(formulas["db"], db.T)  # the page keeps dB as d2 x r


@pytest.mark.parametrize("column_copies", COLUMN_COPIES)
@pytest.mark.parametrize("seed", range(8))
def test_golden_is_near_float(seed, column_copies):
    data = site_data(seed)
    reference = float_site(data)
    estimate = golden_site(lora_site(*data.tensors(), column_copies=column_copies))
    measured = {name: snr(reference[name], estimate[name]) for name in FLOORS}
    low = {name: value for name, value in measured.items() if value < FLOORS[name]}
    assert not low, f"rung 'float torch LoRA ~ INT8 torch golden': SNR in dB too low: {low}"


def test_plain_column_copies_would_be_wrong_seed_0():
    """Row scales left on the reduction axis ruin dA and dB: this is what the module is about.

    Measured, with the best single factor for the result: dA 2.6 dB, dB 10.6 dB.
    """
    data = site_data(0)
    reference = float_site(data)
    plain = lora_site(*data.tensors(), column_copies="rescaled")  # plain copies of X and dY
    unscaled = lora_site(*data.tensors(), column_copies="weighted")  # copies of plain H, dH sums
    for name, left, right in (
        ("da", plain.x_column, unscaled.dh_column),
        ("db", plain.dy_column, unscaled.h_column),
    ):
        estimate = gemm(left.values.T, right.values).double() * left.scale.T * right.scale
        best = (estimate * reference[name]).sum() / estimate.square().sum()
        assert snr(reference[name], best * estimate) < FLOORS[name] - 10


@pytest.mark.parametrize("column_copies", COLUMN_COPIES)
def test_every_shape_and_type_seed_2(column_copies):
    n, d1, d2, r = 5, 7, 3, 2
    site = lora_site(*site_data(2, n, d1, d2, r).tensors(), column_copies=column_copies)
    shapes = {"h": (n, r), "y_base": (n, d2), "y_update": (n, d2), "y": (n, d2),
              "dh": (n, r), "dx_base": (n, d1), "dx_update": (n, d1), "dx": (n, d1),
              "da": (d1, r), "db": (d2, r)}  # fmt: skip
    for name, shape in shapes.items():
        product = getattr(site, name)
        assert product.sums.dtype == torch.int32, name
        assert product.sums.shape == product.real.shape == shape, name
    for name, shape in {"h_row": (n, 1), "h_column": (1, r), "dh_row": (n, 1),
                        "dh_column": (1, r)}.items():  # fmt: skip
        copy = getattr(site, name)
        assert copy.values.dtype == torch.int8, name
        assert copy.values.shape == (n, r), name
        shapes_of = {copy.scale.shape, copy.absmax.shape, copy.gain.m.shape, copy.gain.s.shape}
        assert shapes_of == {torch.Size(shape)}, name
        assert int(absmax(copy.values, "tensor")) == 127, name
    assert (site.h_column.unit is None) == (column_copies == "weighted")


@pytest.mark.parametrize("column_copies", COLUMN_COPIES)
@pytest.mark.parametrize("n,d1,d2,r", [(1, 1, 1, 1), (1, 7, 3, 1), (2, 3, 5, 1), (3, 2, 1, 4)])
def test_odd_shapes_stay_near_float_seed_3(n, d1, d2, r, column_copies):
    data = site_data(3, n, d1, d2, r)
    data.dy.copy_(torch.randn(n, d2, generator=torch.Generator().manual_seed(33)))
    reference = float_site(data)
    estimate = golden_site(lora_site(*data.tensors(), column_copies=column_copies))
    for name in ("h", "y", "dh", "dx", "da", "db"):
        assert snr(reference[name], estimate[name]) > 20, name


def test_the_exact_gain_is_the_rational_of_the_page_seed_4():
    data = site_data(4, n=6, d1=9, d2=5, r=2)
    site = lora_site(*data.tensors(), scaling=Fraction(1, 3), update_scales="exact")
    s_a, s_b, s_w = (Fraction(float(t.abs().max())) / 127 for t in (data.a, data.b, data.w))
    for gain, copy in ((site.y_gain, site.h_row), (site.dx_gain, site.dh_row)):
        for i, largest in enumerate(copy.absmax.flatten().tolist()):
            ratio = s_a * s_b * largest / (3 * 127 * s_w)
            assert (int(gain.m[i]), int(gain.s[i])) == multiplier(ratio), i


def test_the_gain_of_the_chip_has_two_roundings_seed_4():
    """The factor of all rows is rounded, then its product with the maximum of each row."""
    data = site_data(4, n=6, d1=9, d2=5, r=2)
    site = lora_site(*data.tensors(), scaling=Fraction(1, 3))
    s_a, s_b, s_w = (Fraction(float(t.abs().max())) / 127 for t in (data.a, data.b, data.w))
    m, s = multiplier(s_a * s_b / (3 * 127 * s_w))
    for gain, copy in ((site.y_gain, site.h_row), (site.dx_gain, site.dh_row)):
        for i, largest in enumerate(copy.absmax.flatten().tolist()):
            pair = multiplier(largest * m / Fraction(2) ** s)
            assert (int(gain.m[i]), int(gain.s[i])) == pair, i


def test_gain_brings_the_update_to_the_unit_of_the_base_seed_5():
    site = lora_site(*site_data(5, n=6, d1=64, d2=32).tensors())
    gain = site.y_gain.m / torch.exp2(site.y_gain.s.double())
    torch.testing.assert_close(gain * site.y_base.scale, site.y_update.scale, rtol=2**-15, atol=0)
    added = (site.y.sums - site.y_base.sums).double()
    assert (added - gain * site.y_update.sums).abs().max() <= 0.5


@pytest.mark.parametrize("column_copies", COLUMN_COPIES)
def test_first_step_b_is_zero_seed_6(column_copies):
    data = site_data(6, n=9, d1=32, d2=16)
    data.b.zero_()
    site = lora_site(*data.tensors(), column_copies=column_copies)
    assert torch.equal(site.y.sums, site.y_base.sums)
    assert torch.equal(site.dx.sums, site.dx_base.sums)
    for gain in (site.y_gain, site.dx_gain, site.dh_row.gain, site.dh_column.gain):
        assert not gain.m.any() and not gain.s.any()
    assert not site.dh_row.scale.any() and not site.dh_column.scale.any()
    assert not site.da.real.any()
    assert snr(float_site(data)["db"], site.db.real) > 20


@pytest.mark.parametrize("column_copies", COLUMN_COPIES)
def test_the_detached_first_token_gives_exact_zeros_seed_7(column_copies):
    data = site_data(7, n=9, d1=32, d2=16)
    site = lora_site(*data.tensors(), column_copies=column_copies)
    assert site.dy_row.scale[0] == 0
    assert not site.dh.sums[0].any() and not site.dx.sums[0].any()
    assert (int(site.dx_gain.m[0]), int(site.dx_gain.s[0])) == (0, 0)
    assert site.dx_gain.m[1:].min() >= 1 << 15
    assert not site.dx.real[0].any()


@pytest.mark.parametrize("column_copies", COLUMN_COPIES)
def test_all_zero_inputs_give_zeros(column_copies):
    data = site_data(8, n=3, d1=4, d2=5, r=2)
    site = lora_site(data.x * 0, data.w, data.a, data.b, data.dy * 0, column_copies=column_copies)
    for name in ("h", "y", "dh", "dx", "da", "db"):
        assert not getattr(site, name).real.any(), name


@pytest.mark.parametrize("column_copies", COLUMN_COPIES)
def test_scaling_acts_as_in_float_seed_9(column_copies):
    data = site_data(9, n=16, d1=128, d2=64)
    reference = float_site(data, 0.25)
    estimate = golden_site(lora_site(*data.tensors(), scaling=0.25, column_copies=column_copies))
    for name in reference:
        assert snr(reference[name], estimate[name]) > 20, name


def test_saturating_update_seed_10():
    """A gain so large that the update leaves int32: clipped at both ends, never wrapped."""
    data = site_data(10, n=4, d1=8, d2=6)
    site = lora_site(data.x, data.w * 1e-9, data.a, data.b * 1e3, data.dy)
    clipped = (site.y.sums == 2**31 - 1) | (site.y.sums == -(2**31))
    assert clipped.any()
    assert torch.equal(site.y.sums[clipped].sign(), site.y_update.sums[clipped].sign())


def test_the_result_is_frozen_seed_11():
    site = lora_site(*site_data(11, n=2, d1=3, d2=2, r=1).tensors())
    with pytest.raises(dataclasses.FrozenInstanceError):
        site.y = site.h  # type: ignore[misc]


def test_arguments_are_checked():
    data = site_data(12, n=2, d1=3, d2=2, r=1)
    with pytest.raises(ValueError, match=r"w must not be all zero: its scale is the unit of Y"):
        lora_site(data.x, data.w * 0, data.a, data.b, data.dy)
    with pytest.raises(ValueError, match=r"scaling must be above 0, not 0"):
        lora_site(*data.tensors(), scaling=0)
    with pytest.raises(ValueError, match=r"column_copies must be one of .*, not 'plain'"):
        lora_site(*data.tensors(), column_copies="plain")
    with pytest.raises(ValueError, match=r"update_scales must be one of .*, not 'host'"):
        lora_site(*data.tensors(), update_scales="host")
    with pytest.raises(ValueError, match=r"rounding must be one of .*, not 'up'"):
        lora_site(*data.tensors(), rounding="up")
    with pytest.raises(ValueError, match=r"a seed must be from 0 to 4294967295, not -1"):
        lora_site(*data.tensors(), rounding="stochastic", seed=-1)
    with pytest.raises(ValueError, match=r"the shift of a factor must fit a signed byte"):
        lora_site(data.x, data.w * 1e-30, data.a * 1e30, data.b * 1e30, data.dy)
