"""State of a unit: named whole numbers in one block of memory.

Compiled code reads and writes a record's fields by name, a whole machine can be compared or copied
as a run of bytes, and a record nests in another.
"""

from __future__ import annotations

import numpy as np

__all__ = ["record"]


def record(**fields: int | np.dtype | tuple[np.dtype, int]) -> np.dtype:
    """Return the type of a record.

    Parameters
    ----------
    **fields : int, dtype or tuple of dtype and int
        1 for a 64-bit signed number, a larger int for as many of them, a dtype for another record,
        or a record and how many.
    """
    members = []
    for name, kind in fields.items():
        if kind == 1:
            members.append((name, np.int64))
        elif isinstance(kind, int):
            members.append((name, np.int64, (kind,)))
        elif isinstance(kind, tuple):
            members.append((name, kind[0], (kind[1],)))
        else:
            members.append((name, kind))
    return np.dtype(members, align=True)
