"""What the golden site's options change, and what they leave alone: update scales, rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from .lora import LoraSite, lora_site
from .noise import noise
from .test_lora import FLOORS, Data, float_site, golden_site, site_data, snr

COPIES = ["h_row", "h_column", "dh_row", "dh_column"]


def differences(data: Data, name: str) -> tuple[Tensor, LoraSite, LoraSite]:
    """Return by how many units Y or dX differs between scales of the chip and exact ones."""
    chip = lora_site(*data.tensors())
    exact = lora_site(*data.tensors(), update_scales="exact")
    return (getattr(chip, name).sums.long() - getattr(exact, name).sums).abs(), chip, exact


class TestUpdateScales:
    @pytest.mark.parametrize("name", ["y", "dx"])
    @pytest.mark.parametrize("seed", range(8))
    def test_the_chip_is_within_a_unit_of_the_exact_ratio(self, seed, name):
        """Measured: 0.15 to 1.6 % of Y and 0.1 to 3.8 % of dX differ, each by one unit of int32."""
        data = site_data(seed)
        units, chip, exact = differences(data, name)
        assert int(units.max()) == 1
        assert 0 < float((units > 0).double().mean()) < 0.05
        reference = float_site(data)
        found, wanted = golden_site(chip), golden_site(exact)
        for key in (name, f"{name}_lora"):
            change = snr(reference[key], found[key]) - snr(reference[key], wanted[key])
            assert abs(change) < 0.005, f"SNR of {key} changes by {change:.4f} dB"

    @pytest.mark.parametrize("name", ["y", "dx"])
    def test_multipliers_are_at_most_one_apart(self, name):
        gains = [getattr(site, f"{name}_gain") for site in differences(site_data(1), name)[1:]]
        values = [gain.m / torch.exp2(gain.s.double()) for gain in gains]
        rows = values[1] > 0  # the first row of dY is zero
        relative = (values[0][rows] / values[1][rows] - 1).abs()
        assert 0 < float(relative.max()) <= 2**-15
        same = gains[0].s == gains[1].s
        assert int((gains[0].m - gains[1].m)[same].abs().max()) == 1

    def test_everything_else_stays(self):
        _, chip, exact = differences(site_data(2, n=9, d1=32, d2=16), "y")
        for name in ("h", "y_base", "y_update", "dh", "dx_base", "dx_update", "da", "db"):
            assert torch.equal(getattr(chip, name).sums, getattr(exact, name).sums), name


class TestRounding:
    @pytest.mark.parametrize("column_copies", ["weighted", "rescaled"])
    @pytest.mark.parametrize("seed", range(4))
    def test_stochastic_copies_stay_near_float(self, seed, column_copies):
        """Twice the noise power of rounding to nearest in these copies, so 3 dB are allowed."""
        data = site_data(seed)
        reference = float_site(data)
        site = lora_site(
            *data.tensors(), column_copies=column_copies, rounding="stochastic", seed=seed
        )
        measured = {name: snr(reference[name], value) for name, value in golden_site(site).items()}
        low = {name: value for name, value in measured.items() if value < FLOORS[name] - 3}
        assert not low, f"SNR in dB too low: {low}"

    def test_copies_differ_by_a_unit_and_only_by_chance(self):
        data = site_data(5)
        nearest = lora_site(*data.tensors())
        chance = lora_site(*data.tensors(), rounding="stochastic", seed=5)
        for name in COPIES:
            one, other = getattr(nearest, name), getattr(chance, name)
            assert torch.equal(one.gain.m, other.gain.m) and torch.equal(one.gain.s, other.gain.s)
            units = (one.values.long() - other.values).abs()
            assert int(units.max()) == 1, name
            assert 0.15 < float(units.double().mean()) < 0.35, name  # a quarter, if rests are even

    def test_the_seed_alone_decides(self):
        data = site_data(6, n=9, d1=32, d2=16)
        one, same, other = (
            lora_site(*data.tensors(), rounding="stochastic", seed=seed) for seed in (1, 1, 2)
        )
        for name in COPIES:
            assert torch.equal(getattr(one, name).values, getattr(same, name).values)
        assert any(
            not torch.equal(getattr(one, name).values, getattr(other, name).values)
            for name in COPIES
        )

    def test_a_copy_takes_the_noise_of_its_token_and_rank(self):
        data = site_data(7, n=9, d1=32, d2=16)
        site = lora_site(*data.tensors(), rounding="stochastic", seed=77)
        copy = site.h_column
        for row in range(9):
            for column in range(4):
                m, s = int(copy.gain.m[0, column]), int(copy.gain.s[0, column])
                acc = int(copy.source.sums[row, column])
                u = int(noise(77, row, column)) * (1 << s) // (1 << 32)
                size = min(127, (abs(acc) * m + u) // (1 << s))
                assert int(copy.values[row, column]) == (size if acc > 0 else -size)

    @pytest.mark.parametrize("seed", [3, 8])
    def test_rounding_by_chance_is_unbiased_in_the_copies(self, seed):
        """The mean of a copy over many seeds goes to what is rounded; nearest has no such mean."""
        data = site_data(seed, n=16, d1=64, d2=32)
        copies = []
        for draw in range(100):
            site = lora_site(*data.tensors(), rounding="stochastic", seed=1000 * seed + draw)
            copies.append(site.dh_row.values.double())
        gain = site.dh_row.gain
        exact = (site.dh.sums.double() * gain.m / torch.exp2(gain.s.double())).clamp(-127, 127)
        error = torch.stack(copies).mean(0) - exact
        rest = exact.abs() - exact.abs().floor()
        variance = rest * (1 - rest) / len(copies)
        assert abs(float(error.sum() / variance.sum().sqrt())) < 5
        # One draw more than expected is allowed to elements whose rest is next to nothing.
        assert float((error.abs() - 5 * variance.sqrt()).max()) < 1 / len(copies)
