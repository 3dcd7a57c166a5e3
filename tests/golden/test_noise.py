"""The noise: what it is made of, and the statistics that rounding by chance relies on.

All samples are fixed, so that a bound holds or does not, whatever the day. A `z` is a deviation in
standard deviations of what independent uniform bits would show; bounds stand at 5, far above what
is measured (about 3.7, the largest of some thousand figures).
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from .noise import mix, noise
from .numerics import stochastic, stochastic8

SIZE = 256
SEEDS = [0, 1, 2, 0x1_0000, 12_345, 0xDEAD_BEEF, 0xFFFF_FFFF]
BOUND = 5.0
LAGS = [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (3, 5), (0, 4), (4, 0), (0, 64), (64, 0),
        (0, 128), (128, 0), (127, 127)]  # fmt: skip


@cache
def grid(seed: int, row: int = 0, column: int = 0) -> Tensor:
    """Return the bits of SIZE x SIZE places from (row, column) on."""
    places = torch.arange(SIZE)
    return noise(seed, (row + places)[:, None], column + places)


def centred(bits: Tensor) -> Tensor:
    """Return bits as numbers of mean 0 and variance 1, if uniform."""
    return (bits.double() / 2**32 - 0.5) * 12**0.5


def largest_z(samples: Tensor) -> float:
    """Return the largest deviation from 0 of the means of rows of unit-variance samples."""
    return float((samples.mean(-1).abs() * samples.shape[-1] ** 0.5).max())


class TestDefinition:
    def test_a_round_is_that_of_speck32(self):
        """Speck32/64's published vector, whose key schedule uses the same round."""
        words = [torch.tensor(w) for w in (0x0908, 0x1110, 0x1918)]
        key, x, y = torch.tensor(0x0100), torch.tensor(0x6574), torch.tensor(0x694C)
        for turn in range(22):
            x, y = mix(x, y, int(key))
            word, key = mix(words.pop(0), key, turn)
            words.append(word)
        assert (int(x), int(y)) == (0xA868, 0x42F2)

    def test_a_round_can_be_undone_seed_1(self):
        """So no two places share their bits under one seed."""
        g = torch.Generator().manual_seed(1)
        x, y, key = torch.randint(0, 1 << 16, (3, 1000), generator=g)
        for k in key[:20].tolist():
            after_x, after_y = mix(x, y, k)
            turned = after_y ^ after_x
            before_y = turned // 4 + turned % 4 * (1 << 14)
            turned = ((after_x ^ k) - before_y) % (1 << 16)
            before_x = turned * 128 % (1 << 16) + turned // 512
            assert torch.equal(before_x, x) and torch.equal(before_y, y)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_places_share_no_bits(self, seed):
        bits = [grid(seed, row, column) for row in (0, 65_536 - SIZE) for column in (0, 4096)]
        assert torch.cat(bits).unique().numel() == 4 * SIZE * SIZE

    def test_places_count_modulo_65536(self):
        assert torch.equal(grid(7, 1 << 16, 3 << 16), grid(7))

    def test_every_bit_of_the_seed_counts(self):
        assert len({int(noise(1 << bit, 5, 6)) for bit in range(32)} | {int(noise(0, 5, 6))}) == 33

    @pytest.mark.parametrize("seed", [-1, 1 << 32])
    def test_seeds_have_32_bits(self, seed):
        with pytest.raises(ValueError, match=f"^a seed must be from 0 to 4294967295, not {seed}$"):
            noise(seed, 0, 0)


class TestStatistics:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_means(self, seed):
        """Of all places, of each row and of each column."""
        values = centred(grid(seed))
        assert largest_z(values.flatten()) < BOUND
        assert largest_z(values) < BOUND
        assert largest_z(values.T) < BOUND

    @pytest.mark.parametrize("seed", SEEDS)
    def test_every_byte_is_uniform(self, seed):
        """Chi-square of 256 classes: mean 255, standard deviation sqrt(510)."""
        bits = grid(seed).flatten()
        for shift in (0, 8, 16, 24):
            counts = torch.bincount(bits >> shift & 0xFF, minlength=256).double()
            expected = bits.numel() / 256
            chi_square = float(((counts - expected) ** 2 / expected).sum())
            assert abs(chi_square - 255) < BOUND * 510**0.5, shift

    @pytest.mark.parametrize("seed", SEEDS)
    def test_pairs_of_neighbours_are_uniform(self, seed):
        """Leading four bits of a place and of the next one in its row, and in its column."""
        leading = grid(seed) >> 28
        for first, second in ((leading[:, :-1], leading[:, 1:]), (leading[:-1], leading[1:])):
            counts = torch.bincount((first * 16 + second).flatten(), minlength=256).double()
            expected = first.numel() / 256
            chi_square = float(((counts - expected) ** 2 / expected).sum())
            assert abs(chi_square - 255) < BOUND * 510**0.5

    @pytest.mark.parametrize("seed", SEEDS)
    def test_neighbours_do_not_correlate(self, seed):
        for rows, columns in LAGS:
            there = centred(grid(seed, rows, columns % (1 << 16)))
            assert largest_z((centred(grid(seed)) * there).flatten()) < BOUND, (rows, columns)

    @pytest.mark.parametrize("bit", range(32))
    def test_neighbouring_seeds_do_not_correlate(self, bit, seed=2):
        """Seeds that differ in one bit: no correlation, and half of each bit's values differ.

        Eight rounds are few enough for a trace of the seed: bit 16 differs in 48.4 % of places
        between seeds that differ in bit 22. It weighs 2^-16 of a rounding step.
        """
        one, other = grid(seed), grid(seed ^ 1 << bit)
        assert largest_z((centred(one) * centred(other)).flatten()) < BOUND
        shares = torch.stack([((one ^ other) >> b & 1).double().mean() for b in range(32)])
        assert float((shares - 0.5).abs().max()) < 0.02
        assert float((shares[24:] - 0.5).abs().max()) < BOUND * 0.5 / SIZE

    def test_the_statistics_would_see_a_weak_noise(self):
        """A place number times a constant, a usual short cut, fails each of them."""
        places = torch.arange(SIZE)
        weak = (places[:, None] * 0x9E37 + places) * 0x9E37_79B1 % (1 << 32)
        values = centred(weak)
        assert largest_z((values[:, :-1] * values[:, 1:]).flatten()) > 2 * BOUND
        leading = weak >> 28
        counts = torch.bincount((leading[:, :-1] * 16 + leading[:, 1:]).flatten(), minlength=256)
        expected = leading[:, 1:].numel() / 256
        assert float(((counts - expected) ** 2 / expected).sum()) > 2 * (255 + BOUND * 510**0.5)


class TestUnbiased:
    @pytest.mark.parametrize("sixteenths", range(1, 16))
    @pytest.mark.parametrize("sign", [-1, 1])
    def test_many_roundings_of_one_value(self, sixteenths, sign):
        """5 and so many sixteenths, at 65 536 places: the mean is that value."""
        acc = torch.full((SIZE, SIZE), sign * (5 * 16 + sixteenths), dtype=torch.int32)
        found = stochastic8(acc, 1 << 15, 19, grid(99)).double()
        assert set(found.unique().tolist()) == {sign * 5.0, sign * 6.0}
        share = sixteenths / 16
        deviation = (share * (1 - share)) ** 0.5 / SIZE
        assert abs(float(found.mean()) - sign * (5 + share)) < BOUND * deviation

    @pytest.mark.parametrize("s", [20, 25, 31, 32, 33, 40, 46])
    def test_many_roundings_of_many_values_seed_2(self, s):
        """Errors have mean 0 and the variance f (1 - f) of their rests f, in rows and columns too.

        Rounding to nearest fails the same test on the same values: they are small against a step.
        """
        g = torch.Generator().manual_seed(2)
        spread = 2.0**s / 40_000 * 0.3
        acc = (torch.rand(SIZE, SIZE, generator=g, dtype=torch.float64) * spread).to(torch.int32)
        exact = acc.double() * 40_000 / 2.0**s
        variance = exact * (1 - exact)  # all below one step
        error = stochastic(acc, 40_000, s, grid(5)).double() - exact
        for dims in ((0, 1), (0,), (1,)):
            z = error.sum(dims) / variance.sum(dims).clamp(min=1e-9).sqrt()
            assert float(z.abs().max()) < BOUND
        nearest = -exact  # every one is below a half
        assert float(nearest.sum().abs() / variance.sum().sqrt()) > 20 * BOUND

    def test_sums_of_rounded_gradients_seed_3(self):
        """What it is for: many gradients below half a step vanish at once, but not by chance."""
        g = torch.Generator().manual_seed(3)
        acc = (torch.rand(64, 4096, generator=g) * 4000).to(torch.int32)  # steps of 10 000
        m, s = 53_687, 29
        exact = acc.double() * m / 2**s
        bits = noise(3, torch.arange(64)[:, None], torch.arange(4096))
        kept = stochastic8(acc, m, s, bits).double().sum(1)
        assert float(exact.max()) < 0.5
        assert float((kept / exact.sum(1) - 1).abs().max()) < 0.12  # measured 0.08
