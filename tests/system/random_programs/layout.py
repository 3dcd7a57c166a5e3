"""Where everything of a case lies in DRAM, and what is there at first."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np

from hw.isa.config import Config
from hw.isa.instructions import INSTRUCTION_BYTES
from hw.isa.numerics import encode_scale

from .case import INT8_FORMATS, Case, Misfit, Operand, Output, Product, Step, Table, config_of

__all__ = ["Layout", "Matrix", "Spot", "spans", "table_entries"]

Spot = tuple[int, int, str]
"""A matrix's owner: number of the step, number of its action, and role there."""
_PROGRAM_ROOM = 600


@dataclass(frozen=True)
class Matrix:
    """A matrix in DRAM, cut into pieces of whole columns that each start on a bus word.

    Without such pieces no tile but the first could be read or written: addresses are multiples of
    the bus width. Of what is `packed` two elements are a byte, the first its lower half.
    """

    name: str
    address: int
    rows: int
    pieces: tuple[int, ...]
    pitch: int
    element: int
    bus: int
    packed: bool = False

    @property
    def columns(self) -> int:
        return sum(self.pieces)

    @property
    def size(self) -> int:
        """Bytes from the first to the end of the last row's pitch."""
        return self.rows * self.pitch

    def offset(self, column: int) -> int:
        """Return the byte of a column in its row."""
        offset = 0
        for piece in self.pieces:
            if column < piece:
                break
            column -= piece
            offset += round_up(piece_bytes(piece, self.element, self.packed), self.bus)
        return offset + (column // 2 if self.packed else column * self.element)

    def at(self, row: int, columns: tuple[int, int]) -> int:
        """Return the address of some columns of a row.

        Raises
        ------
        Misfit
            They do not start on a bus word, or do not lie behind one another.
        """
        first, last = (self.offset(column) for column in (columns[0], columns[1] - 1))
        size = columns[1] - columns[0]
        expected = (size - 1) // 2 if self.packed else (size - 1) * self.element
        if first % self.bus or last - first != expected or self._halves()[columns[0]]:
            raise Misfit(f"{self.name}: columns {columns} are no run of bus words")
        return self.address + row * self.pitch + first

    def places(self) -> np.ndarray:
        """Return the address of every byte, (rows, columns * element)."""
        offsets = np.array([self.offset(column) for column in range(self.columns)])
        bytes_of = (offsets[:, None] + np.arange(self.element)).ravel()
        return self.address + np.arange(self.rows)[:, None] * self.pitch + bytes_of

    def read(self, image: np.ndarray) -> np.ndarray:
        """Return the elements: int8, or little-endian int32."""
        if self.packed:
            values = image[self.places()].astype(np.int64) >> 4 * self._halves() & 15
            return (values - 16 * (values > 7)).astype(np.int8)
        kind = np.int8 if self.element == 1 else np.dtype("<i4")
        return np.ascontiguousarray(image[self.places()]).view(kind)

    def write(self, image: np.ndarray, values: np.ndarray) -> None:
        """Write all elements; the bytes between stay as they are."""
        if self.packed:
            for half, kept in enumerate((0xF0, 0x0F)):
                own = self._halves() == half
                at = self.places()[:, own]
                image[at] = image[at] & kept | (values[:, own] & 15) << 4 * half
            return
        image[self.places()] = np.ascontiguousarray(values).view(np.uint8)

    def _halves(self) -> np.ndarray:
        """Return which half of its byte each column is, if it is packed; else zeros."""
        places = np.concatenate([np.arange(piece) for piece in self.pieces])
        return places % 2 * self.packed


@dataclass
class Layout:
    """Every matrix of a case, by owner, and the DRAM it starts with.

    Raises
    ------
    Misfit
        An operand refers to a copy that is not there, or is too small.
    """

    config: Config
    start: int = 0
    matrices: dict[Spot, Matrix] = field(default_factory=dict)
    program: int = 0
    image: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    _end: int = 0
    _copies: list[Matrix] = field(default_factory=list)

    @classmethod
    def of(cls, case: Case, start: int = 0) -> Layout:
        """Place everything from byte `start` on, one after the other, with random gaps."""
        layout = cls(config_of(case.config), start)
        layout._end = start
        gaps = random.Random(case.noise)
        room = round_up(_PROGRAM_ROOM * INSTRUCTION_BYTES, layout.config.bus_bytes)
        if case.program_first:
            layout.program = start
            layout._end += room
        for number, step in enumerate(case.steps):
            for turn, action in enumerate(step.actions):
                layout._end += layout.config.bus_bytes * gaps.choice((0, 0, 1, 3))
                if isinstance(action, Product):
                    layout._place_product((number, turn), step, action)
                else:
                    layout._place_output((number, turn), step, action)
        if not case.program_first:
            layout.program = layout._end
            layout._end += room
        layout._fill(case)
        return layout

    def owner(self, address: int) -> str:
        """Return what a byte belongs to, for messages; of two copies there, the later one."""
        found = "no matrix"
        for spot, matrix in self.matrices.items():
            if matrix.name != _title(spot):
                continue  # a copy, read as an operand
            if matrix.address <= address < matrix.address + matrix.size:
                row, byte = divmod(address - matrix.address, matrix.pitch)
                found = f"{matrix.name}, row {row}, byte {byte} of its pitch of {matrix.pitch}"
        return found

    def _new(
        self, spot: Spot, rows: int, pieces: tuple[int, ...], *, element: int = 1, pad: int = 0,
        packed: bool = False,
    ) -> Matrix:  # fmt: skip
        bus = self.config.bus_bytes
        sizes = (piece_bytes(piece, element, packed) for piece in pieces)
        pitch = sum(round_up(size, bus) for size in sizes) + pad * bus
        matrix = Matrix(_title(spot), self._end, rows, pieces, pitch, element, bus, packed)
        self._end += matrix.size
        self.matrices[spot] = matrix
        return matrix

    def _place_product(self, where: tuple[int, int], step: Step, product: Product) -> None:
        parts = (sum(product.parts),) if product.whole else product.parts
        # Rows and lanes of each operand as the array wants it.
        left = (step.m, parts) if product.dataflow == "ws" else (parts, step.m)
        self._place_operand((*where, "left"), product.left, *left)
        self._place_operand((*where, "right"), product.right, parts, step.n)
        if product.scale is not None and not product.made:
            self._new((*where, "scale"), 1, (sum(step.m),), element=4)

    def _place_operand(
        self, spot: Spot, operand: Operand, rows: tuple[int, ...], lanes: tuple[int, ...]
    ) -> None:
        rows, lanes = (lanes, rows) if operand.transpose else (rows, lanes)
        if not operand.source:
            room = round_up(operand.beyond, self.config.bus_bytes) // self.config.bus_bytes
            pad = operand.pad + (0 if operand.transpose else room)
            matrix = self._new(spot, sum(rows), lanes, pad=pad, packed=operand.packed)
            if operand.transpose:
                self._end += operand.beyond * matrix.pitch
            return
        if operand.source > len(self._copies):
            raise Misfit(f"{spot}: there is no copy {operand.source} before")
        copy = self._copies[-operand.source]
        piece = operand.piece % len(copy.pieces)
        if copy.rows < sum(rows) or copy.pieces[piece] < sum(lanes):
            raise Misfit(f"{spot}: {copy.name} is too small")
        start = copy.at(0, (sum(copy.pieces[:piece]), sum(copy.pieces[: piece + 1])))
        self.matrices[spot] = replace(
            copy,
            name=f"{copy.name} as operand",
            address=start,
            rows=sum(rows),
            pieces=(sum(lanes),),
        )

    def _place_output(self, where: tuple[int, int], step: Step, output: Output) -> None:
        m, n = sum(step.m), step.n
        self._new((*where, "rows"), 1, (m,), element=4)
        self._new((*where, "columns"), 1, n, element=4)
        for index, maxima in enumerate(output.maxima):
            if maxima.to_updates:
                self._new((*where, f"factor {index}"), 1, (1,), element=4)
            if maxima.to_dram:
                groups = {"row": step.m, "column": step.n, "tensor": (1,)}[maxima.axis]
                self._new((*where, f"maxima {index}"), 1, groups, element=4)
        if output.form is None:
            return
        element = 4 if output.form == "int32" else 1
        if output.over:
            self._place_over((*where, "copy"), m, n, element, output)
        else:
            self._new((*where, "copy"), m, n, element=element, pad=output.pad)
        if output.form in INT8_FORMATS:
            self._copies.append(self.matrices[*where, "copy"])

    def _place_over(
        self, spot: Spot, rows: int, pieces: tuple[int, ...], element: int, output: Output
    ) -> None:
        """Place a copy where an earlier one lies, whose readers then come before it."""
        if output.over > len(self._copies):
            raise Misfit(f"{spot}: there is no copy {output.over} before")
        old, end = self._copies[-output.over], self._end
        new = self._new(spot, rows, pieces, element=element, pad=output.pad)
        if new.size > old.size:
            raise Misfit(f"{spot}: larger than {old.name}")
        self.matrices[spot] = replace(new, address=old.address)
        self._end = end

    def _fill(self, case: Case) -> None:
        """Make the first image: noise, and in it what the host prepares."""
        rng = np.random.default_rng(case.noise)
        self.image = rng.integers(0, 256, self._end + self.config.bus_bytes, dtype=np.uint8)
        for (number, turn, role), matrix in self.matrices.items():
            action = case.steps[number].actions[turn]
            if role in ("left", "right"):
                operand = getattr(action, role)
                if not operand.source:
                    matrix.write(self.image, operand_values(operand, matrix.rows, matrix.columns))
            elif role in ("scale", "rows", "columns"):
                entries = table_entries(getattr(action, role), matrix.columns, role)
                words = [encode_scale(m, s) for m, s in entries]
                matrix.write(self.image, np.array([words], "<u4"))
            elif role.startswith("factor"):
                m, s = action.maxima[int(role.split()[1])].factor
                matrix.write(self.image, np.array([[m | (s & 0xFF) << 16]], "<u4"))


def _title(spot: Spot) -> str:
    return f"step {spot[0]} action {spot[1]} {spot[2]}"


def operand_values(operand: Operand, rows: int, columns: int) -> np.ndarray:
    """Return the data of an operand as it lies in DRAM, int8."""
    rng = np.random.default_rng([operand.seed, rows, columns])
    values = rng.integers(-128, 128, (rows, columns)).astype(np.int8)
    match operand.fill:
        case "minus128":
            values[:] = -128
        case "full":
            values = rng.choice(np.array([-128, 127], np.int8), (rows, columns))
        case "ones":
            values[:] = 1
        case "zeros":
            values[:] = 0
        case "sparse":
            values[rng.random(rows) < 0.5] = 0
            values[:, rng.random(columns) < 0.3] = 0
    return ((values & 15) ^ 8) - 8 if operand.packed else values


def table_entries(table: Table, count: int, role: str) -> list[tuple[int, int]]:
    """Return (m, s) of each entry; what fits INT8 outputs is large for rescaling, and so on."""
    rng = random.Random(f"{table.seed} {count}")
    low, high = {"scale": (12, 20), "rows": (17, 26), "columns": (17, 26)}[role]
    shifts = {"fit": (low, high), "large": (-16, 6), "small": (30, 63), "rescale": (15, 17)}
    entries = []
    for _ in range(count):
        m, s = rng.randrange(1 << 15, 1 << 16), 0
        match table.fill:
            case "zero":
                m = 0
            case "extreme":
                m = rng.choice((0, 1, 1 << 15, (1 << 16) - 1, m))
                s = rng.choice((-16, -1, 0, 1, 2, 15, 16, 31, 32, 46, 47, 48, 62, 63))
            case fill:
                s = rng.randint(*shifts[fill])
        entries.append((m, s))
    return entries


def piece_bytes(columns: int, element: int, packed: bool) -> int:
    """Return the bytes of so many elements side by side."""
    return -(-columns // 2) if packed else columns * element


def spans(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return first and last-but-one of each tile."""
    ends = list(accumulate(sizes))
    return [(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def round_up(size: int, unit: int) -> int:
    """Return the least multiple of `unit` that is not below `size`."""
    return -(-size // unit) * unit
