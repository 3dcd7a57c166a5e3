"""A cross-attention module's segments by plain integers, and the host's parts by their formulas."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from .attention import Sizes
from .attention_host import (
    by_head,
    by_window,
    latent_scale,
    merge_heads,
    softmax,
    softmax_backward,
    split_heads,
    tensor_entry,
    text_copies,
    windows_by_column,
)
from .module_data import module_data
from .numerics import absmax, gemm, multiplier
from .scales import parts
from .test_module import ODD, run


@pytest.fixture(scope="module")
def known() -> dict[str, Tensor]:
    """Return all that a step of a small module reads and writes."""
    forward, backward, _ = run(module_data(42, ODD, 11, rank=2))
    return forward.values | backward.values


def nearest(product: int, shift: int) -> int:
    """Return product / 2^shift, rounded half away from zero."""
    quotient = Fraction(abs(product)) / Fraction(2) ** shift
    return int((quotient + Fraction(1, 2)).__floor__()) * (1 if product > 0 else -1)


class TestSegments:
    """Each element by its formula in plain integers."""

    @pytest.mark.parametrize(
        "name, weight, latent, heads, text, copy",
        [
            ("Q", "Wq", "X.token", "Q.token", "K.row", "S"),
            ("dO", "Wo", "dY.token", "dO.token", "V.row", "dP"),
        ],
    )
    def test_scores(self, known, name, weight, latent, heads, text, copy):
        matrix = known[weight].T if name == "dO" else known[weight]
        sums = matrix.long() @ known[latent].long()
        for w in ODD.windows:
            for i in range(ODD.columns):
                largest = int(sums[w.channels, i].abs().max())
                assert int(known[f"{name}.maxima"][w.head, i]) == largest
                m, s = multiplier(127, largest)
                for c in range(w.channels.start, w.channels.stop):
                    assert int(known[heads][c, i]) == nearest(int(sums[c, i]) * m, s)
        m, s = (int(part) for part in parts(known[f"{copy}.entry"]))
        for w in ODD.windows:
            for t in range(ODD.text):
                for i in range(ODD.tokens):
                    column = known[heads][w.channels, w.tokens.start + i].long()
                    total = int((known[text][w.stacked.start + t].long() * column).sum())
                    assert int(known[copy][w.stacked.start + t, i]) == nearest(total * m, s)

    @pytest.mark.parametrize(
        "text, weights, unit, entries, made",
        [
            ("V.column", "P.token", "V.unit", "O.entries", "O.token"),
            ("K.column", "dS.token", "K.unit", "dQ.entries", "dQ.token"),
        ],
    )
    def test_latent_copies(self, known, text, weights, unit, entries, made):
        """Rows are brought to the unit of the largest, then columns to that of the copy."""
        for w in ODD.windows:
            sums = known[text][w.stacked].long().T @ known[weights][w.stacked].long()
            for d in range(ODD.width):
                row = parts(known[unit][w.sample, w.head * ODD.width + d])
                for i in range(ODD.tokens):
                    column = parts(known[entries][w.head, w.tokens.start + i])
                    rescaled = nearest(int(sums[d, i]) * int(row[0]), int(row[1]))
                    wanted = nearest(rescaled * int(column[0]), int(column[1]))
                    place = w.head * ODD.width + d, w.tokens.start + i
                    assert int(known[made][place]) == max(-127, min(127, wanted))

    def test_results_are_plain_products(self, known):
        for made, left, right in (
            ("out", known["Wo"], known["O.token"]), ("dX", known["Wq"].T, known["dQ.token"])
        ):  # fmt: skip
            assert torch.equal(known[made], gemm(left, right))
        for made, left, right in (("dK", "dS.text", "Q.token"), ("dV", "P.text", "dO.token")):
            for w in ODD.windows:
                sums = gemm(known[left][w.stacked], known[right][w.channels, w.tokens].T)
                assert torch.equal(known[made][w.stacked], sums), made


class TestScales:
    def test_a_margin_leaves_room(self):
        entry = tensor_entry(1000, Fraction(5, 4))
        assert entry.shape == (1, 1)
        assert tuple(int(part) for part in parts(entry)) == multiplier(127, 1250)

    def test_the_latent_scale_is_the_bound(self):
        weights = torch.tensor([[0.5, -1.0], [0.25, 0.0], [1.0, 0.0], [0.0, 2.0]]).double()
        text = torch.tensor([[1.0, -2.0], [4.0, 0.0], [3.0, 1.0], [0.5, 0.0]]).double()
        scale = latent_scale(weights, text, Sizes(batch=1, text=2, tokens=2, heads=2, width=2))
        torch.testing.assert_close(scale * 127, torch.tensor([[3.0, 2.0]]).double())
        two = latent_scale(weights, text, Sizes(batch=2, text=2, tokens=2, heads=1, width=2))
        torch.testing.assert_close(two * 127, torch.tensor([[2.0, 2.0, 3.0, 1.0]]).double())

    def test_units_are_ratios_to_the_largest_of_a_sample(self):
        copies = text_copies(torch.randn(ODD.stacked, ODD.width).double(), ODD)
        m, s = parts(copies.unit)
        ratio = m / torch.exp2(s.double())
        torch.testing.assert_close(ratio, copies.column_scale / copies.top, rtol=2**-16, atol=0)
        assert torch.equal(ratio.amax(dim=1), torch.ones(ODD.batch).double())


class TestSoftmax:
    def test_both_ways_are_those_of_autograd_seed_45(self):
        g = torch.Generator().manual_seed(45)
        products = [
            torch.randint(-127, 128, (ODD.stacked, ODD.tokens), generator=g).to(torch.int8)
            for _ in range(2)
        ]
        texts = torch.rand(2, ODD.stacked, 1, generator=g).double()
        heads = torch.rand(2, ODD.heads, ODD.columns, generator=g).double() / 100
        entry = tensor_entry(254)
        real = [
            (2 * products[i].double() * texts[i] * by_window(heads[i], ODD)).requires_grad_()
            for i in range(2)
        ]
        p = softmax(products[0], entry, texts[0], heads[0], ODD)
        ds = softmax_backward(p, products[1], entry, texts[1], heads[1], ODD)
        shape = (ODD.batch * ODD.heads, ODD.text, ODD.tokens)
        wanted = torch.softmax(real[0].reshape(shape) / ODD.width**0.5, dim=1)
        (gradient,) = torch.autograd.grad(wanted, real[0], real[1].detach().reshape(shape))
        torch.testing.assert_close(p, wanted.detach().reshape(ODD.stacked, -1))
        torch.testing.assert_close(ds, gradient)

    def test_scores_of_zero_give_equal_probabilities(self):
        zeros = torch.zeros(ODD.stacked, ODD.tokens, dtype=torch.int8)
        scales = torch.zeros(ODD.stacked, 1), torch.zeros(ODD.heads, ODD.columns)
        p = softmax(zeros, tensor_entry(0), *scales, ODD)
        torch.testing.assert_close(p, torch.full_like(p, 1 / ODD.text))
        assert not softmax_backward(p, zeros, tensor_entry(0), *scales, ODD).any()


class TestLayouts:
    def test_heads_are_split_and_merged(self):
        real = torch.arange(ODD.batch * ODD.text * ODD.channels).double()
        real = real.reshape(ODD.batch * ODD.text, ODD.channels)
        stacked = split_heads(real, ODD)
        for w in ODD.windows:
            rows = slice(w.sample * ODD.text, (w.sample + 1) * ODD.text)
            assert torch.equal(stacked[w.stacked], real[rows, w.channels])
        assert torch.equal(merge_heads(stacked, ODD), real)

    def test_tables_of_heads_and_of_windows(self):
        windows = torch.arange(ODD.batch * ODD.heads * ODD.tokens).reshape(-1, ODD.tokens)
        table = by_head(windows, ODD)
        spread = by_window(table, ODD)
        for index, w in enumerate(ODD.windows):
            assert torch.equal(table[w.head, w.tokens], windows[index])
            assert torch.equal(spread[w.stacked], windows[index].expand(ODD.text, -1))

    def test_windows_have_scales_of_their_own(self):
        real = torch.randn(ODD.stacked, 4).double()
        copies, scales = windows_by_column(real, ODD)
        assert scales.shape == (ODD.batch * ODD.heads, 4)
        for index, w in enumerate(ODD.windows):
            assert bool((absmax(copies[w.stacked], "column") == 127).all())
            torch.testing.assert_close(scales[index] * 127, real[w.stacked].abs().amax(dim=0))
