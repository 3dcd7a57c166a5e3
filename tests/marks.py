"""Marks of single cases of a test."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["nightly"]


def nightly(*cases: Any) -> list[Any]:
    """Return cases for `pytest.mark.parametrize` that only the nightly session runs.

    Parameters
    ----------
    *cases
        Each a value, or a tuple of one for each parameter.
    """
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.nightly)
        for case in cases
    ]
