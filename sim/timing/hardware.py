"""Latencies and depths of the store engine, from where the hardware has them."""

from __future__ import annotations

from hw.maxima import LEAD
from hw.pack import MAXIMUM_BYTES, Kind
from hw.retire import REGIONS
from hw.scales import FreshEntry, UpdateEntry
from hw.store import (
    INSTRUCTIONS,
    MAXIMA_DEPTH,
    NARROW_DEPTH,
    RESULT,
    ROW_MAXIMUM,
    SUM,
    wide_depth,
)

__all__ = [
    "INSTRUCTIONS",
    "LEAD",
    "MAXIMA_DEPTH",
    "MAXIMUM_BYTES",
    "NARROW_DEPTH",
    "REGIONS",
    "RESULT",
    "ROW_MAXIMUM",
    "SUM",
    "FreshEntry",
    "Kind",
    "UpdateEntry",
    "wide_depth",
]
