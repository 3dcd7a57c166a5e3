"""What store and absmax instructions do, on plain integers."""

from __future__ import annotations

import random

from hw.isa.config import Config
from hw.isa.instructions import Absmax, Axis, Format, Instruction, Store
from hw.isa.numerics import (
    decode_scale,
    fresh_entry,
    noise,
    requantise8,
    requantise32,
    stochastic8,
    update_entry,
)

SEED = 0xC0FFEE11


class Model:
    """What instructions do to memories, one after the other."""

    def __init__(self, config: Config, seed: int, bits: int = 32) -> None:
        rng = self.rng = random.Random(seed)
        self.config = config
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        edges = (low, low + 1, -1, 0, 1, high)
        self.words = [
            [
                rng.choice(edges) if rng.random() < 0.1 else rng.randint(low, high)
                for _ in range(config.columns)
            ]
            for _ in range(2 * config.output_depth)
        ]
        # Multipliers that bring most sums near the range of INT8, some far beyond it.
        shifts = (bits + 5, bits + 11)
        self.row_scale = [self._entry(shifts) for _ in range(config.row_scale_depth)]
        self.column_scale = [
            [self._entry(shifts) for _ in range(config.columns)]
            for _ in range(config.column_scale_depth)
        ]
        self.row_maxima: dict[int, int] = {}
        self.column_maxima: dict[tuple[int, int], int] = {}
        self.dram: dict[int, int] = {}
        self.saturations = 0

    def _entry(self, shifts: tuple[int, int]) -> int:
        return self.rng.randrange(1 << 15, 1 << 16) | self.rng.randint(*shifts) << 16

    def sums(self, e: Store | Absmax, row: int) -> list[list[int]]:
        """Return the words of a row."""
        blocks = -(-e.columns // self.config.columns)
        start = e.base + row * e.row_stride
        return [list(self.words[start + block * e.block_stride]) for block in range(blocks)]

    def rescaled(self, e: Store | Absmax, row: int, words: list[list[int]]) -> list[list[int]]:
        """Return a row's words rescaled by row."""
        m, s = decode_scale(self.row_scale[(e.row_scale + row) % self.config.row_scale_depth])
        return [[requantise32(value, m, s) for value in word] for word in words]

    def run(self, e: Instruction) -> tuple[dict[int, int], dict[int, int]]:
        """Do what an instruction says; return the bytes and the updates it writes."""
        data, updates = self.store(e) if isinstance(e, Store) else self.absmax(e)
        self.dram |= data
        return data, updates

    def store(self, e: Store) -> tuple[dict[int, int], dict[int, int]]:
        """Return the bytes of a store."""
        data = {}
        for row in range(e.rows):
            words = self.sums(e, row)
            if e.format == Format.INT8_ROW_COLUMN:
                words = self.rescaled(e, row, words)
            line = b""
            for column in range(e.columns):
                value = words[column // self.config.columns][column % self.config.columns]
                size, value = self._element(e, row, column, value)
                line += value.to_bytes(size, "little", signed=True)
            data |= {e.dram + row * e.pitch + index: byte for index, byte in enumerate(line)}
        return data, {}

    def _element(self, e: Store, row: int, column: int, value: int) -> tuple[int, int]:
        if e.format == Format.INT32:
            return 4, value
        depth, lanes = self.config.row_scale_depth, self.config.columns
        if e.format == Format.INT8_ROW:
            entry = self.row_scale[(e.row_scale + row) % depth]
        elif e.format == Format.INT8_TENSOR:
            entry = self.row_scale[e.row_scale % depth]
        else:
            word = (e.column_scale + column // lanes) % self.config.column_scale_depth
            entry = self.column_scale[word][column % lanes]
        m, s = decode_scale(entry)
        if e.stochastic:
            bits = noise(SEED, e.origin_row + row, e.origin_column + column)
            result = stochastic8(value, m, s, bits)
            added = (bits << s >> 32) if s > 0 else 0
        else:
            result = requantise8(value, m, s)
            added = (1 << s - 1) if s > 0 else 0
        # Limited, and not just 127: the rounded magnitude needs an eighth bit.
        self.saturations += (abs(value) * m + added << 16 >> s + 16) > 127
        return 1, result

    def absmax(self, e: Absmax) -> tuple[dict[int, int], dict[int, int]]:
        """Return the bytes and the updates of an absmax, and keep its maxima and entries."""
        factor = self.row_scale[e.factor % self.config.row_scale_depth]
        rows = [self.sums(e, row) for row in range(e.rows)]
        if e.scaled:
            rows = [self.rescaled(e, row, words) for row, words in enumerate(rows)]
        rows = [[abs(value) for word in words for value in word] for words in rows]
        if e.axis == Axis.COLUMN:
            found = [max(row[column] for row in rows) for column in range(e.columns)]
        else:
            found = [max(row) for row in rows]
            found = [max(found)] if e.axis == Axis.TENSOR else found
        data, updates = {}, {}
        for index, value in enumerate(found):
            value = self._kept(e, index, value)
            if e.to_dram:
                place = e.dram + 4 * index
                data |= dict(zip(range(place, place + 4), value.to_bytes(4, "little"), strict=True))
            if e.to_updates and e.axis != Axis.COLUMN:
                address = (e.update_base + index) % self.config.accumulate_scale_depth
                updates[address] = update_entry(value, factor)
        return data, updates

    def _kept(self, e: Absmax, index: int, value: int) -> int:
        """Merge a maximum with its place, keep it and its entry; return it."""
        lanes = self.config.columns
        if e.axis == Axis.COLUMN:
            word, lane = (e.scale_base + index // lanes) % self.config.column_scale_depth, 0
            kept, place = self.column_maxima, (word, index % lanes)
            entries, lane = self.column_scale[word], index % lanes
        else:
            place = (e.scale_base + index) % self.config.row_scale_depth
            kept, entries, lane = self.row_maxima, self.row_scale, place
        value = max(value, kept[place]) if e.merge else value
        kept[place] = value
        if e.to_scales:
            entries[lane] = fresh_entry(value)
        return value
