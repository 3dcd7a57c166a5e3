"""Every size, width and depth of an accelerator, declared once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from .instructions import Dataflow

__all__ = ["LEAST_GBPS", "PRESETS", "SIMULATED", "Config", "ConfigError"]


LEAST_GBPS = 0.001
"""Least DRAM bandwidth but none at all, which stands for unlimited."""

SIMULATED = ("clock_mhz", "dram_latency", "dram_gbps")
"""Keys of a configuration that its hardware does not depend on."""


class ConfigError(ValueError):
    """A value that cannot be built; the message names the key and what is accepted."""


def _size(default: int, low: int, high: int, *, power_of_two: bool = False, doc: str) -> Any:
    return field(
        default=default,
        metadata={"low": low, "high": high, "power_of_two": power_of_two, "doc": doc},
    )


@dataclass(frozen=True)
class Config:
    """One accelerator: array shape, memories, bus and the DRAM it is simulated with.

    The defaults are the ``tiny`` preset. A *word* of the input memory is ``rows`` bytes, of the
    weight memory ``columns`` bytes, of the output memory ``columns`` 32-bit sums. The array reads
    `macs_per_element` words of either operand memory in a cycle, side by side.

    Raises
    ------
    ConfigError
        A value has the wrong type, is out of range, or two values disagree.
    """

    rows: int = _size(4, 2, 256, doc="rows of the array: lanes of the left operand")
    columns: int = _size(4, 2, 256, doc="columns of the array: lanes of the right operand")
    weight_stationary: int = _size(1, 0, 1, doc="1 if the array has this dataflow")
    output_stationary: int = _size(1, 0, 1, doc="1 if the array has this dataflow")
    drain_overlap: int = _size(
        0, 0, 1, doc="1 if finished OS sums leave under the next fold: a second sum an element"
    )
    product_register: int = _size(
        0, 0, 1, doc="1 if elements have a register behind their multiplier"
    )
    macs_per_element: int = _size(
        1, 1, 4, power_of_two=True,
        doc="products of an element in a cycle, along the reduction: 1, 2 or 4",
    )  # fmt: skip
    input_depth: int = _size(
        64, 4, 32768, power_of_two=True, doc="words in each bank of the input memory"
    )
    weight_depth: int = _size(
        64, 4, 32768, power_of_two=True, doc="words in each bank of the weight memory"
    )
    output_depth: int = _size(
        64, 4, 32768, power_of_two=True, doc="words in each half of the output memory"
    )
    accumulate_scale_depth: int = _size(
        128, 4, 65536, power_of_two=True, doc="row scales of scale-and-accumulate"
    )
    row_scale_depth: int = _size(
        128, 4, 65536, power_of_two=True, doc="row scales of the requantiser"
    )
    column_scale_depth: int = _size(
        32, 2, 65536, power_of_two=True, doc="words of `columns` column scales of the requantiser"
    )
    bus_bytes: int = _size(8, 4, 128, power_of_two=True, doc="AXI4 data width in bytes")
    address_bits: int = _size(32, 16, 48, doc="AXI4 address width in bits")
    burst_beats: int = _size(16, 1, 256, doc="beats in the longest AXI4 burst")
    read_outstanding: int = _size(8, 1, 64, doc="read bursts in flight")
    write_outstanding: int = _size(8, 1, 64, doc="write bursts in flight")
    queue_depth: int = _size(4, 2, 64, doc="instructions waiting in front of each engine")
    token_bits: int = _size(8, 2, 8, doc="width of a dependency token counter")
    clock_mhz: int = _size(400, 1, 10000, doc="clock that turns cycles into seconds and GB/s")
    dram_latency: int = _size(
        60, 1, 100000, doc="cycles from a read address to its first beat, in simulation"
    )
    dram_gbps: float = field(
        default=0.0,
        metadata={"low": 0.0, "high": 1e6, "doc": "DRAM bandwidth in simulation, 0 = unlimited"},
    )

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check(item, getattr(self, item.name))
        if not (self.weight_stationary or self.output_stationary):
            raise ConfigError(
                "weight_stationary 0 and output_stationary 0 leave the array no dataflow: one of "
                "them must be 1"
            )
        if self.bus_bytes * self.burst_beats > 4096:
            raise ConfigError(
                f"burst_beats {self.burst_beats} of bus_bytes {self.bus_bytes} cross the 4096-byte "
                f"AXI boundary: burst_beats must be at most {4096 // self.bus_bytes}"
            )
        if 0 < self.dram_gbps < LEAST_GBPS:
            raise ConfigError(
                f"dram_gbps must be 0 (unlimited) or at least {LEAST_GBPS}, not {self.dram_gbps}"
            )
        if self.tile_cycles > self.longest_stream:
            several = self.macs_per_element > 1
            each = f" x macs_per_element {self.macs_per_element}" if several else ""
            raise ConfigError(
                f"a stationary tile of rows {self.rows}{each} x columns {self.columns} takes "
                f"{self.tile_cycles} cycles of a bus of bus_bytes {self.bus_bytes}, and the "
                f"longest stream that input_depth {self.input_depth} holds lasts "
                f"{self.longest_stream}: no load can hide under it; raise bus_bytes or input_depth"
            )
        self._check_memories()

    def _check_memories(self) -> None:
        """Refuse memories of which a half cannot keep the array busy while the other changes.

        Half of the weight memory takes the next stationary tile while the array reads this one;
        half of the output memory, a tile of output-stationary sums while the other is stored; half
        of the input memory, a stream as long as the array needs to turn from tile to tile.
        """
        for memory, what in (
            ("weight", "a stationary tile"),
            ("output", "a tile of sums"),
            ("input", "the shortest stream that keeps the array busy"),
        ):
            depth = getattr(self, f"{memory}_depth")
            words, each = self.rows, ""
            if memory != "output" and self.macs_per_element > 1:
                words, each = self.fold_reduction, f" x macs_per_element {self.macs_per_element}"
            if depth < words:
                raise ConfigError(
                    f"{what} of rows {self.rows}{each} takes {words} words of the {memory} memory, "
                    f"and half of it holds {memory}_depth {depth}: raise {memory}_depth"
                )

    @property
    def fold_reduction(self) -> int:
        """Length of the reduction that a stationary tile covers: rows of that tile."""
        return self.rows * self.macs_per_element

    @property
    def macs_per_cycle(self) -> int:
        """Products of a full array in a cycle."""
        return self.rows * self.columns * self.macs_per_element

    @property
    def dataflows(self) -> tuple[Dataflow, ...]:
        """The dataflows that the array has."""
        there = {Dataflow.WS: self.weight_stationary, Dataflow.OS: self.output_stationary}
        return tuple(dataflow for dataflow, has in there.items() if has)

    @property
    def tile_cycles(self) -> int:
        """Cycles in which the bus brings a stationary tile: what a stream takes to hide a load."""
        return self.fold_reduction * -(-self.columns // self.bus_bytes)

    @property
    def break_even_rows(self) -> int:
        """Waves of a stream under which the load of the next stationary tile just hides.

        The tile of D x R x C bytes, with D products an element, moves in ``B = D * R * ceil(C /
        bus)`` beats, at a beat a cycle, or at d bytes a cycle if the DRAM gives less than the bus
        carries; a stream of T waves takes T cycles, at least R. So T must be at least ``ceil(B *
        bus / min(bus, d))``. Shorter streams are bound by the DRAM, unless a tile is used more than
        once. Rows that stream in, and results, take bandwidth of their own; they are not counted.
        """
        if not self.dram_gbps:
            return self.tile_cycles
        # As dram_bytes_per_cycle, but exact: 12.8 means 128/10 here.
        rate = Fraction(str(self.dram_gbps)) * 1000 / self.clock_mhz
        return math.ceil(self.tile_cycles * self.bus_bytes / min(rate, self.bus_bytes))

    @property
    def longest_stream(self) -> int:
        """Waves of the longest stream that the input memory holds, both banks."""
        return 2 * self.input_depth // self.macs_per_element

    @property
    def dram_bound(self) -> str | None:
        """One line if a fold of `rows` waves, the shortest, cannot hide the load of a tile.

        Else None. If the longest stream cannot either, the line says that, too.
        """
        needed, longest = self.break_even_rows, self.longest_stream
        if needed <= self.rows:
            return None
        if needed == self.tile_cycles:
            source = f"a bus of bus_bytes {self.bus_bytes}"
        else:
            source = f"DRAM of dram_gbps {self.dram_gbps:g} at clock_mhz {self.clock_mhz}"
        line = (
            f"{source} brings a stationary tile of {self.fold_reduction}x{self.columns} "
            f"({self.tile_cycles * self.bus_bytes} bytes in beats) in {needed} cycles, and the "
            f"shortest fold takes {self.rows}: products that stream fewer than {needed} rows of "
            "the left operand to a tile wait for it"
        )
        if needed > longest:
            line += f"; all do, for input_depth {self.input_depth} holds no more than {longest}"
        return line

    @property
    def transpose_columns(self) -> int:
        """Columns that a transposed load takes at a time: a power of two, for any lanes and bus."""
        return 1 << (max(self.bus_bytes, self.rows, self.columns) - 1).bit_length()

    @property
    def input_bytes(self) -> int:
        """Capacity of the input memory, both banks."""
        return 2 * self.input_depth * self.rows

    @property
    def weight_bytes(self) -> int:
        """Capacity of the weight memory, both banks."""
        return 2 * self.weight_depth * self.columns

    @property
    def output_bytes(self) -> int:
        """Capacity of the output memory, both halves."""
        return 2 * self.output_depth * self.columns * 4

    @property
    def dram_bytes_per_cycle(self) -> float | None:
        """DRAM bandwidth in bytes a cycle, or None for the bus width every cycle."""
        return self.dram_gbps * 1000 / self.clock_mhz if self.dram_gbps else None

    def replace(self, /, **changes: Any) -> Config:
        """Return a copy with some values changed and everything checked again."""
        unknown = sorted(set(changes) - set(self.names()))
        if unknown:
            raise ConfigError(
                f"unknown configuration key {unknown[0]!r}; accepted: {', '.join(self.names())}"
            )
        return dataclasses.replace(self, **changes)

    def parse(self, name: str, text: str) -> Config:
        """Return a copy with `name` set from command-line text."""
        if name not in self.names():
            return self.replace(**{name: text})
        kind = type(getattr(self, name))
        try:
            value = kind(text)
        except ValueError:
            raise ConfigError(f"{name} must be a {_KIND[kind]}, not {text!r}") from None
        return self.replace(**{name: value})

    def to_mapping(self) -> dict[str, int | float]:
        """Return every value by name, in declaration order."""
        return dataclasses.asdict(self)

    def digest(self) -> str:
        """Return 16 hexadecimal digits that identify this configuration's hardware.

        DRAM timing and clock only exist in simulation, so they are left out.
        """
        built = {k: v for k, v in self.to_mapping().items() if k not in SIMULATED}
        return hashlib.sha256(json.dumps(built, sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the configuration keys in declaration order."""
        return tuple(item.name for item in dataclasses.fields(cls))

    @classmethod
    def preset(cls, name: str) -> Config:
        """Return a named preset: tiny (4x4), small (16x16) or paper (64x64)."""
        if name not in PRESETS:
            raise ConfigError(f"unknown preset {name!r}; accepted: {', '.join(PRESETS)}")
        return PRESETS[name]

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Config:
        """Return the defaults with `values` laid over them."""
        return cls().replace(**values)


_KIND = {int: "whole number", float: "number"}


def _check(item: dataclasses.Field, value: Any) -> None:
    kind = float if isinstance(item.default, float) else int
    accepted = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, accepted):
        raise ConfigError(f"{item.name} must be a {_KIND[kind]}, not {value!r}")
    low, high = item.metadata["low"], item.metadata["high"]
    if value != value or value < low:
        raise ConfigError(f"{item.name} must be at least {low}, not {value}")
    if value > high:
        raise ConfigError(f"{item.name} must be at most {high}, not {value}")
    if item.metadata.get("power_of_two") and value & (value - 1):
        raise ConfigError(f"{item.name} must be a power of two, not {value}")


PRESETS: dict[str, Config] = {
    "tiny": Config(),
    "small": Config(
        rows=16,
        columns=16,
        input_depth=512,
        weight_depth=512,
        output_depth=256,
        accumulate_scale_depth=512,
        row_scale_depth=512,
        column_scale_depth=64,
        bus_bytes=16,
    ),
    # The paper's memories: 512 KB input, 512 KB weight, 1 MB output, each as two banks or halves.
    "paper": Config(
        rows=64,
        columns=64,
        input_depth=4096,
        weight_depth=4096,
        output_depth=2048,
        accumulate_scale_depth=2048,
        row_scale_depth=2048,
        column_scale_depth=64,
        bus_bytes=64,
        # Rows of one beat are bursts of their own: as many in flight as DRAM latency has cycles.
        read_outstanding=64,
        write_outstanding=16,
        queue_depth=8,
    ),
}
