"""What the source says of the members of an enumeration, for pages and headers made from it."""

from __future__ import annotations

import ast
import inspect
from enum import Enum
from itertools import pairwise

__all__ = ["documentation"]


def documentation(enum: type[Enum]) -> dict[str, str]:
    """Return the text that follows each member in the source, on one line; no key without one."""
    (tree,) = ast.parse(inspect.getsource(enum)).body
    found = {}
    for member, text in pairwise(tree.body):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr):
            found[member.targets[0].id] = " ".join(ast.literal_eval(text.value).split())
    return found
