"""What of an instruction time depends on: equal kinds of instruction take equal time.

Operands matter by the bank that they lie in, sums by half and bank of their memory, places in DRAM
by the boundaries of 4096 bytes that bursts may not cross. Whatever cannot make a difference is
replaced by one value.
"""

from __future__ import annotations

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import Axis, Engine, Format, Memory, Opcode

__all__ = ["instruction_kinds", "kinds_of", "settle"]

_TIMELESS = (
    "row_scale", "column_scale", "origin_row", "origin_column", "scale_base", "update_base",
    "factor",
)  # fmt: skip
"""Fields on which no time depends."""
_FOLDS = (
    "rows", "reduction", "columns", "dataflow", "accumulate",
    *(f"{part}_{field}" for part in ("left", "right", "out")
      for field in ("base", "row_stride", "block_stride")),
)  # fmt: skip
"""Fields of EXECUTE that its folds stand for."""


def settle(config: Config, code: np.ndarray) -> np.ndarray:
    """Return a copy of a table of CODE in which all that makes no difference in time is alike."""
    code = code.copy()
    for name in _TIMELESS:
        code[name] = 0
    _settle_loads(config, code, np.flatnonzero(code["opcode"] == Opcode.LOAD))
    stores = np.flatnonzero(code["engine"] == Engine.STORE)
    _settle_stores(config, code, stores)
    _settle_dram(config, code)
    return code


def kinds_of(table: np.ndarray) -> np.ndarray:
    """Return the number of the kind of each record; equal records are of one kind, from 0 on."""
    rows = np.ascontiguousarray(table).view(np.dtype((np.void, table.dtype.itemsize)))
    return np.unique(rows, return_inverse=True)[1].astype(np.int64).ravel()


def instruction_kinds(code: np.ndarray) -> np.ndarray:
    """Return the kind of each instruction of a settled table, not looking at its folds."""
    code = code.copy()
    executes = code["opcode"] == Opcode.EXECUTE
    for name in (*_FOLDS, "first_fold", "folds"):
        code[name][executes] = 0
    return kinds_of(code)


def _settle_loads(config: Config, code: np.ndarray, at: np.ndarray) -> None:
    """Replace places by their banks; scale memories have none."""
    places = 2 * config.macs_per_element
    operands = np.isin(code["memory"][at], (Memory.INPUT, Memory.WEIGHT))
    # Words that follow one another may be written several at once; others that look alike are not.
    alike = (code["block_stride"][at] % places == 1) & (code["block_stride"][at] != 1)
    apart = operands & alike & (places > 2)
    for name in ("base", "row_stride", "block_stride"):
        code[name][at] = np.where(operands, code[name][at] % places, 0)
    code["block_stride"][at[apart]] += places


def _settle_stores(config: Config, code: np.ndarray, at: np.ndarray) -> None:
    """Replace places within one half by its first words: even ones by even ones."""
    part, half = code[at], config.output_depth
    blocks = -(-part["columns"] // config.columns)
    last = (
        part["base"] + (part["rows"] - 1) * part["row_stride"] + (blocks - 1) * part["block_stride"]
    )
    within = (last < 2 * half) & (part["base"] // half == last // half)
    base = part["base"] - part["base"] % half + part["base"] % 2
    code["base"][at] = np.where(within, base, part["base"])
    for name, count in (("row_stride", part["rows"]), ("block_stride", blocks)):
        code[name][at] = np.where(within, part[name] % 2 * (count > 1), part[name])


def _settle_dram(config: Config, code: np.ndarray) -> None:
    """Replace places of rows that no boundary cuts by address 0 and pitch 0."""
    bus, limit = config.bus_bytes, config.burst_beats
    page = 4096 // bus
    is_load, reduces = code["opcode"] == Opcode.LOAD, code["opcode"] == Opcode.ABSMAX
    moves = is_load | (code["engine"] == Engine.STORE)
    size = (
        np.where((code["opcode"] == Opcode.STORE) & (code["format"] == Format.INT32), 4, 1)
        * code["columns"]
    )
    in_bytes = -(-size // bus)
    size = np.where(is_load & (code["packed"] == 1), -(-size // 2), size)
    maxima = np.select(
        [code["axis"] == Axis.ROW, code["axis"] == Axis.COLUMN], [code["rows"], code["columns"]], 1
    )
    size = np.where(reduces, 4 * maxima, size)
    beats = -(-size // bus)
    rows = np.where(reduces, 1, code["rows"])
    start, pitch = code["dram"] // bus, code["pitch"] // bus
    merged = (pitch == beats) | (rows == 1)
    # Chunks of a transposed load are regions of their own, which merge if they have the pitch.
    cut = is_load & (code["transpose"] == 1) & (in_bytes > config.transpose_columns // bus)
    merged &= ~cut
    step = np.where(merged, page, np.gcd(pitch, page))
    inside = start % step + beats <= step
    aligned = (page % limit == 0) & (start % limit == 0) & (merged | (pitch % limit == 0))
    free = (inside & ~merged) | aligned | (merged & (start % page + rows * beats <= page))
    rest = pitch % page
    rest = np.where(rest == beats, rest + page, rest)
    pitch = np.where(merged & (rows > 1), pitch, np.where(free | (rows == 1), 0, rest))
    free &= ~cut
    pitch = np.where(cut, code["pitch"] // bus, pitch)
    code["dram"] = np.where(moves, np.where(free, 0, start % page) * bus, 0)
    code["pitch"] = np.where(moves, pitch * bus, 0)
