"""The on-chip memories of the functional model, and what has been written in them."""

from __future__ import annotations

import numpy as np

from hw.isa.config import Config

from .footprint import Access, Space, words_in

__all__ = ["Memories"]

POISON = {np.dtype(np.int8): 0x5A, np.dtype(np.int32): 0x5A5A5A5A, np.dtype(np.uint32): 0x00105A5A}
"""What memories hold at the start: anything but zeros, so that reliance on them shows."""


class Memories:
    """All memories, each an array (words, lanes) with a mask of the elements that were written."""

    def __init__(self, config: Config) -> None:
        self._config = config
        shapes = {
            Space.INPUT: (config.rows, np.int8),
            Space.WEIGHT: (config.columns, np.int8),
            Space.OUTPUT: (config.columns, np.int32),
            Space.ACCUMULATE_SCALE: (1, np.uint32),
            Space.ROW_SCALE: (1, np.uint32),
            Space.COLUMN_SCALE: (config.columns, np.uint32),
            Space.ROW_MAXIMUM: (1, np.uint32),
            Space.COLUMN_MAXIMUM: (1, np.uint32),
        }
        self._data = {
            space: np.full((words_in(config, space), lanes), POISON[np.dtype(kind)], kind)
            for space, (lanes, kind) in shapes.items()
        }
        self._written = {space: np.zeros(len(data), bool) for space, data in self._data.items()}
        # Only of column scales may a word be written in part.
        self._columns_written = np.zeros(self._data[Space.COLUMN_SCALE].shape, bool)

    def check(self, access: Access, columns: int) -> str | None:
        """Return what is wrong with an access, if anything; `columns` of its lanes are used."""
        words = words_in(self._config, access.space)
        if access.grid.last >= words:
            return f"reaches word {access.grid.last} of the {words} of the {access.space.title}"
        if access.write:
            overlaps = access.grid.has_repeats()
            return f"writes a word of the {access.space.title} twice" if overlaps else None
        index = access.grid.index()
        written = self._written[access.space][index]
        if access.space is Space.COLUMN_SCALE:
            lanes = self._columns_written[index].copy()
            lanes.reshape(-1)[columns:] = True
            written = lanes.all(axis=1)
        if written.all():
            return None
        first = np.arange(words)[index][np.argmin(written)]
        return f"reads word {first} of the {access.space.title}, which nothing has written"

    def read(self, access: Access) -> np.ndarray:
        """Return a matrix (rows, blocks * lanes)."""
        return self._data[access.space][access.grid.index()].reshape(access.grid.rows, -1)

    def word(self, space: Space, address: int) -> int:
        """Return a word of a memory of one lane."""
        return int(self._data[space][address, 0])

    def write(self, access: Access, values: np.ndarray) -> None:
        """Write a matrix (rows, blocks * lanes)."""
        data, index = self._data[access.space], access.grid.index()
        data[index] = values.reshape(-1, data.shape[1])
        self._written[access.space][index] = True

    def write_padded(self, access: Access, values: np.ndarray) -> None:
        """Write a matrix (rows, columns); the last word of each row is filled up with zeros."""
        data, grid = self._data[access.space], access.grid
        padded = np.zeros((grid.rows, grid.blocks * data.shape[1]), data.dtype)
        padded[:, : values.shape[1]] = values
        self.write(access, padded)

    def write_entries(self, access: Access, entries: np.ndarray) -> None:
        """Write rows of scale entries (rows, entries); lanes past the last keep their values."""
        data, grid = self._data[access.space], access.grid
        lanes = data.shape[1]
        for row in range(grid.rows):
            words = grid.base + row * grid.row_stride + np.arange(grid.blocks) * grid.block_stride
            place = np.arange(entries.shape[1])
            data[words[place // lanes], place % lanes] = entries[row]
            self._written[access.space][words] = True
            if access.space is Space.COLUMN_SCALE:
                self._columns_written[words[place // lanes], place % lanes] = True
