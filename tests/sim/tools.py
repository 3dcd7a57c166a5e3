"""Marks for tests that need programs from outside Python."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sim.result import BackendError
from sim.toolchain import find_icarus, find_verilator

__all__ = ["needs_icarus", "needs_verilator"]


def _needs(find: Callable[[], object]) -> pytest.MarkDecorator:
    try:
        find()
    except BackendError as error:
        return pytest.mark.skipif(True, reason=str(error))
    return pytest.mark.skipif(False, reason="")


needs_verilator = _needs(find_verilator)
needs_icarus = _needs(find_icarus)
