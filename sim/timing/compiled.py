"""Compiles a function, and keeps what was compiled until any source changes.

Numba keeps compiled code beside a function's own file and looks at that file alone; code of other
files that is part of it may be old. Here the place is named by all sources that matter.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, partial

import numba

from ..compiled import folder

__all__ = ["compiled"]


_FOLDER = str(folder())


@cache
def _warn() -> None:
    """Say once that there is no place to keep what is compiled."""
    line = f"{_FOLDER} cannot be written: the timing model is compiled anew in each process"
    warnings.warn(line, RuntimeWarning, stacklevel=2)


def compiled(function: Callable | None = None, *, inline: str = "never") -> Callable:
    """Return a function compiled for speed, from the cache if it can be; for use as a decorator.

    Parameters
    ----------
    inline : str
        ``always`` for functions that take arrays and are called in every cycle: a call counts
        references to each array, with locked accesses to memory; records are free.
    """
    if function is None:
        return partial(compiled, inline=inline)
    config = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, _FOLDER
    try:
        return numba.njit(cache=True, inline=inline)(function)
    except RuntimeError:
        _warn()
        return numba.njit(inline=inline)(function)
    finally:
        config.CACHE_DIR = before
