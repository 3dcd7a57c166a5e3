"""Units with one thing broken, to show that a proof notices."""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from typing import Any

__all__ = ["mutant"]


def mutant(unit: Any, *changes: tuple[str, str]) -> Any:
    """Return a class or function whose source has each `old` text replaced by `new`.

    Raises
    ------
    ValueError
        An `old` text is not there exactly once: the mutation has to follow the code.
    """
    source = textwrap.dedent(inspect.getsource(unit))
    for old, new in changes:
        if source.count(old) != 1:
            raise ValueError(f"{unit.__name__} has {old!r} {source.count(old)} times, not once")
        source = source.replace(old, new)
    names = dict(vars(sys.modules[unit.__module__]))
    # How the module's file reads annotations is part of its meaning.
    flags = __future__.annotations.compiler_flag if "annotations" in names else 0
    exec(compile(source, inspect.getfile(unit), "exec", flags, dont_inherit=True), names)
    return names[unit.__name__]
