"""The products of a LoRA site: shapes, operands, work."""

from __future__ import annotations

import numpy as np
import pytest

from sw.lora import Gemm, Site, View, site_products

SITE = Site(n=77, d1=768, d2=320, r=4)


def test_products_of_a_stable_diffusion_site():
    assert [str(product) for product in site_products(SITE)] == [
        "H = X.row . A  77x768x4",
        "dH = dY.row . B^T  77x320x4",
        "Y = X.row . W + g.(H.row . B)  77x768x320",
        "dX = dY.row . W^T + g.(dH.row . A^T)  77x320x768",
        "dA = X.column^T . dH.column  768x77x4",
        "dB = dY.column^T . H.column  320x77x4",
    ]


def test_work_of_a_stable_diffusion_site():
    n, d1, d2, r = 77, 768, 320, 4
    macs = {product.name: product.macs for product in site_products(SITE)}
    assert macs == {
        "H": n * d1 * r, "dH": n * d2 * r, "dA": n * d1 * r, "dB": n * d2 * r,
        "Y": n * d1 * d2 + n * r * d2, "dX": n * d1 * d2 + n * r * d1,
    }  # fmt: skip


def test_products_compute_the_gradients_seed_1():
    """The views, applied to float tensors, give the products of the module's docstring."""
    rng = np.random.default_rng(1)
    site = Site(5, 7, 3, 2)
    x, w, a, b, dy = (rng.normal(size=s) for s in [(5, 7), (7, 3), (7, 2), (2, 3), (5, 3)])
    tensors = {"X": x, "W": w, "A": a, "B": b, "dY": dy}

    def value(view: View) -> np.ndarray:
        tensor = tensors[view.tensor.partition(".")[0]]
        matrix = tensor.T if view.transposed else tensor
        assert matrix.shape == (view.rows, view.columns)
        return matrix

    for gemm in site_products(site):
        result = value(gemm.left) @ value(gemm.right)
        if gemm.update is not None:
            result = result + value(gemm.update.left) @ value(gemm.update.right)
        tensors[gemm.name] = result
    h, dh = x @ a, dy @ b.T
    expected = {"Y": x @ w + h @ b, "dX": dy @ w.T + dh @ a.T, "dA": x.T @ dh, "dB": dy.T @ h}
    for name, matrix in expected.items():
        np.testing.assert_allclose(tensors[name], matrix)


def test_a_transposed_view_twice_is_the_view():
    view = View("W", 3, 5)
    assert view.T == View("W", 5, 3, True) and view.T.T == view


def test_sizes_are_checked():
    with pytest.raises(ValueError, match=r"^d1 must be a whole number of at least 1, not 0$"):
        Site(1, 0, 1, 1)
    with pytest.raises(ValueError, match=r"^r must be a whole number of at least 1, not 2.0$"):
        Site(1, 1, 1, 2.0)
    with pytest.raises(ValueError, match=r"^C: A has 3 columns, but B has 4 rows$"):
        Gemm("C", View("A", 2, 3), View("B", 4, 5))
    with pytest.raises(ValueError, match=r"^Y is 2x5, but its update is 2x4$"):
        update = Gemm("U", View("H", 2, 1), View("B", 1, 4))
        Gemm("Y", View("X", 2, 3), View("W", 3, 5), update)
