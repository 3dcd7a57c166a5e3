"""Places in DRAM, by how long each value is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hw.isa.config import Config

from ..place import LINE, Buffer, Layout, PlacementError, Request, Role, align, place, row_bytes
from .ir import Copy, Fused, Maxima, Product, Segment, Sums, Updates

__all__ = ["Lifetime", "Placed", "place_values", "read_by", "used_by", "written_by"]


@dataclass(frozen=True)
class Lifetime:
    """The first and the last segment that needs a value, by place."""

    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Tell whether both are needed at one time."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Placed:
    """A step with a place in DRAM for every value of its programs.

    Members
    -------
    fused : Fused
    layouts : dict
        Of each segment, by name: the buffers that it uses, their roles not yet known. Code goes
        behind `data_end`.
    lifetimes : dict
        Of each value, by name.
    data_end : int
    """

    fused: Fused
    layouts: Mapping[str, Layout]
    lifetimes: Mapping[str, Lifetime]
    data_end: int

    @property
    def bytes_of_values(self) -> int:
        """Bytes that all values would take side by side."""
        return sum(buffer.size for buffer in self._buffers().values())

    def __str__(self) -> str:
        lines = [
            f"DRAM of {self.fused.name}: {self.data_end} bytes for values of {self.bytes_of_values}"
        ]
        for name, buffer in sorted(self._buffers().items(), key=lambda item: item[1].address):
            life = self.lifetimes[name]
            lines.append(
                f"{buffer.address:#012x}-{buffer.end:#012x} {name}: {buffer.dtype} "
                f"{buffer.rows}x{buffer.columns}, segments {life.first} to {life.last}"
            )
        return "\n".join(lines)

    def _buffers(self) -> dict[str, Buffer]:
        return {b.name: b for layout in self.layouts.values() for b in layout.buffers}


def place_values(config: Config, fused: Fused) -> Placed:
    """Give every value of the programs a place; those never needed together may share one.

    Constants have a place of their own in every step.

    Raises
    ------
    PlacementError
        A value does not fit DRAM beside those that are needed with it.
    """
    segments = list(fused.segments)
    lifetimes = _lifetimes(fused, segments)
    step = max(config.bus_bytes, LINE)
    buffers: dict[str, Buffer] = {}
    sizes = {name: _pitch(config, fused, name) * fused.values[name].rows for name in lifetimes}
    # The largest first: what is small finds a gap anywhere.
    for name in sorted(lifetimes, key=lambda n: (-sizes[n], n)):
        value, life = fused.values[name], lifetimes[name]
        taken = sorted(
            (b.address, b.end) for other, b in buffers.items() if lifetimes[other].meets(life)
        )
        address = 0
        for start, end in taken:
            if address + sizes[name] <= start:
                break
            address = max(address, align(end, step))
        if address + sizes[name] > 1 << config.address_bits:
            raise PlacementError(
                f"{name} of {sizes[name]} bytes does not fit DRAM: {address} of the "
                f"{1 << config.address_bits} bytes that address_bits {config.address_bits} reach "
                f"are taken while it is needed"
            )
        request = Request(name, value.dtype, value.rows, value.columns, Role.INPUT)
        buffers[name] = Buffer(**vars(request), pitch=_pitch(config, fused, name), address=address)
    end = align(max((b.end for b in buffers.values()), default=0), step)
    layouts = {
        segment.name: Layout(tuple(buffers[name] for name in used_by(segment)), end)
        for segment in segments
    }
    return Placed(fused, layouts, lifetimes, end)


def _pitch(config: Config, fused: Fused, name: str) -> int:
    value = fused.values[name]
    return align(row_bytes(value.dtype, value.columns), config.bus_bytes)


def _lifetimes(fused: Fused, segments: list[Segment]) -> dict[str, Lifetime]:
    found: dict[str, Lifetime] = {}
    for index, segment in enumerate(segments):
        for name in used_by(segment):
            first = found[name].first if name in found else index
            found[name] = Lifetime(first, index)
    last = len(segments) - 1
    return {
        name: Lifetime(0, last) if fused.values[name].constant else life
        for name, life in found.items()
    }


def template_layout(config: Config, fused: Fused, segment: Segment) -> Layout:
    """Return a layout of one segment's values alone."""
    values = (fused.values[name] for name in used_by(segment))
    return place(config, [Request(v.name, v.dtype, v.rows, v.columns, Role.INPUT) for v in values])


def used_by(segment: Segment) -> list[str]:
    """Return the values in DRAM that a segment reads or writes, in the order of its products."""
    names: dict[str, None] = {}
    for product in segment.products:
        names |= dict.fromkeys([*_read(segment, product), *_written(product)])
    return list(names)


def read_by(segment: Segment) -> set[str]:
    """Return the values in DRAM that a segment reads."""
    return {name for product in segment.products for name in _read(segment, product)}


def written_by(segment: Segment) -> set[str]:
    """Return the values in DRAM that a segment writes."""
    return {name for product in segment.products for name in _written(product)}


def _read(segment: Segment, product: Product) -> Iterator[str]:
    tables = {o.table for p in segment.products for o in p.outputs if isinstance(o, Updates)}
    for term in product.terms:
        yield term.left.value
        yield term.right.value
        if term.updates and term.updates not in tables:
            yield term.updates
    for output in product.outputs:
        if isinstance(output, Updates):
            yield output.factor.value
        if isinstance(output, Maxima | Copy) and output.unit is not None:
            yield output.unit.value
        if isinstance(output, Copy) and output.entries is not None:
            yield output.entries.value


def _written(product: Product) -> Iterator[str]:
    for output in product.outputs:
        if isinstance(output, Sums | Maxima | Copy):
            yield output.to.value
