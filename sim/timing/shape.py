"""Sizes of a machine and of its DRAM, as compiled code takes them."""

from __future__ import annotations

import numpy as np

from hw.isa.config import Config
from hw.isa.pipeline import ENTRY_BYTES, fetch_burst, inside_depth, meeting_delay, scale_group

from ..result import DramTiming
from .record import record

__all__ = ["SHAPE", "shape_of"]

SHAPE = record(
    rows=1, columns=1, together_bits=1, wide_bytes=1, bank_mask=1,
    output_depth=1, drain_overlap=1, meeting=1,
    bus=1, bus_bits=1, page=1, burst_beats=1, fetch_burst=1,
    read_outstanding=1, write_outstanding=1,
    queue_depth=1, transpose_columns=1, chunk_beats=1, inside_depth=1, group_bytes=1,
    latency=1, rate=1, cost=1,
)  # fmt: skip
"""Values of the Config of the same names; `output_depth` is words of a half. `together_bits` is
the logarithm of the words of an operand memory that are read together, `bank_mask` twice their
number less one: the bits of an address that choose the bank, and the word in it; `wide_bytes` are
what a load may write at once into the input memory, 0 if that is a word. `meeting` is cycles from a
wave to the operation of its sums. `bus` is bytes of a beat, `bus_bits` its logarithm; `fetch_burst`
is the beats of a burst of fetch; `page` is beats of 4096 bytes, a power of two, `chunk_beats` those
of a chunk that is transposed; `inside_depth` is the instructions in the execute engine at most;
`group_bytes` are those of the column scales that a load writes in a cycle, in DRAM.
`latency` is cycles of the DRAM; with a bandwidth, each cycle brings `rate` and a beat takes `cost`,
in the units of `sim.dram`; `rate` is 0 without."""


def shape_of(config: Config, timing: DramTiming) -> np.ndarray:
    """Return a SHAPE, as an array of one."""
    shape = np.zeros(1, SHAPE)
    rate = timing.rate
    values = {name: getattr(config, name) for name in SHAPE.names if hasattr(config, name)} | {
        "together_bits": config.macs_per_element.bit_length() - 1,
        "wide_bytes": config.fold_reduction if config.macs_per_element > 1 else 0,
        "bank_mask": 2 * config.macs_per_element - 1,
        "bus": config.bus_bytes,
        "bus_bits": config.bus_bytes.bit_length() - 1,
        "fetch_burst": fetch_burst(config.burst_beats, config.bus_bytes),
        "page": 4096 // config.bus_bytes,
        "chunk_beats": config.transpose_columns // config.bus_bytes,
        "inside_depth": inside_depth(config.rows, config.columns),
        "meeting": meeting_delay(config.rows, config.product_register),
        "group_bytes": ENTRY_BYTES * scale_group(config.bus_bytes, config.columns),
        "latency": timing.latency,
        "rate": rate.numerator,
        "cost": config.bus_bytes * rate.denominator,
    }
    for name in SHAPE.names:
        shape[name] = values[name]
    return shape
