"""The instructions, one frozen dataclass each; field widths are in the annotations.

Every tensor in an on-chip memory is a matrix of rows by *blocks*: block ``b`` of row ``r`` is the
word ``base + r * row_stride + b * block_stride``, and holds as many elements of that row as the
memory has lanes. The last block of a row is padded with zeros.

Addresses number all words of a memory: the lowest bit is the bank of the input and the weight
memory, the top bit the half of the output memory. With `macs_per_element` D above 1, the array
reads D words of an operand memory at once: the lowest log2 D bits choose among them, and the next
is the bank. Engines run in program order each, and run ahead
of one another. They meet only at tokens: an instruction first takes ``wait_X`` tokens that engine X
has sent to its engine, and, if ``signal_X`` is set, sends one token to engine X when it is done.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, ClassVar, get_args, get_origin, get_type_hints

__all__ = [
    "INSTRUCTION_BYTES",
    "Absmax",
    "Axis",
    "Dataflow",
    "Engine",
    "Execute",
    "Field",
    "Format",
    "Halt",
    "Instruction",
    "InstructionError",
    "Load",
    "Memory",
    "Opcode",
    "Store",
    "fields_of",
]

INSTRUCTION_BYTES = 32


class InstructionError(ValueError):
    """A field, a word or a line that is no instruction; the message names what was wrong."""


class Opcode(IntEnum):
    """First byte of every instruction. Zero is illegal, so that empty memory stops the machine."""

    LOAD = 1
    EXECUTE = 2
    STORE = 3
    ABSMAX = 4
    HALT = 5


class Engine(IntEnum):
    """The three engines that run ahead of one another."""

    LOAD = 0
    EXECUTE = 1
    STORE = 2


class Memory(IntEnum):
    """Destination of a load."""

    INPUT = 0
    """Left operand: words of `rows` INT8 lanes."""
    WEIGHT = 1
    """Right operand: words of `columns` INT8 lanes."""
    ACCUMULATE_SCALE = 2
    """Row scales that scale-and-accumulate applies: words of one 32-bit scale entry."""
    ROW_SCALE = 3
    """Row scales of the requantiser: words of one 32-bit scale entry."""
    COLUMN_SCALE = 4
    """Column scales of the requantiser: words of `columns` scale entries, loaded in groups."""


class Dataflow(IntEnum):
    """Which operand stays in the array."""

    WS = 0
    """Weight-stationary: right operand stays, left operand streams, partial sums move down."""
    OS = 1
    """Output-stationary: both operands stream, sums stay, then drain downwards."""


class Format(IntEnum):
    """What a store writes."""

    INT32 = 0
    """The sums as they are, four bytes each, little-endian."""
    INT8_ROW = 1
    """Requantised with the scale of each row."""
    INT8_COLUMN = 2
    """Requantised with the scale of each column."""
    INT8_ROW_COLUMN = 3
    """Each sum first rescaled to int32 with the scale of its row, then requantised with that of its
    column: two multipliers, each with one rounding. Sums of a row-scaled operand need it before
    rows may share a column scale."""
    INT8_TENSOR = 4
    """Requantised with one scale, that of the first row."""


class Axis(IntEnum):
    """Group of an absolute maximum."""

    ROW = 0
    COLUMN = 1
    TENSOR = 2


@dataclass(frozen=True)
class Width:
    """Annotation: number of bits of an unsigned field, and its least value."""

    bits: int
    low: int = 0


U1 = Annotated[int, Width(1)]
U4 = Annotated[int, Width(4)]
U16 = Annotated[int, Width(16)]
Size = Annotated[int, Width(16, low=1)]
U32 = Annotated[int, Width(32)]
U48 = Annotated[int, Width(48)]
MemoryField = Annotated[Memory, Width(3)]
DataflowField = Annotated[Dataflow, Width(1)]
FormatField = Annotated[Format, Width(3)]
AxisField = Annotated[Axis, Width(2)]


@dataclass(frozen=True)
class Field:
    """One field of an instruction word: place, width, type if an enumeration, and least value."""

    name: str
    offset: int
    bits: int
    enum: type[IntEnum] | None
    low: int = 0


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """What all instructions share: the tokens taken before and sent after.

    Raises
    ------
    InstructionError
        A field does not fit its width or is not of its enumeration.
    """

    opcode: ClassVar[Opcode]
    engine: ClassVar[Engine | None] = None

    wait_load: U4 = 0
    wait_execute: U4 = 0
    wait_store: U4 = 0
    signal_load: U1 = 0
    signal_execute: U1 = 0
    signal_store: U1 = 0

    def __post_init__(self) -> None:
        for item in fields_of(type(self)):
            value = getattr(self, item.name)
            if item.enum is not None:
                if not isinstance(value, item.enum):
                    raise InstructionError(
                        f"{self.mnemonic()} {item.name} must be one of {names(item.enum)}, "
                        f"not {value!r}"
                    )
            elif (
                type(value) is bool
                or not isinstance(value, int)
                or not item.low <= value < 1 << item.bits
            ):
                raise InstructionError(
                    f"{self.mnemonic()} {item.name} must be a whole number from {item.low} to "
                    f"{(1 << item.bits) - 1}, not {value!r}"
                )

    @classmethod
    def mnemonic(cls) -> str:
        """Return the name used in text form."""
        return cls.opcode.name.lower()


@dataclass(frozen=True, kw_only=True)
class Load(Instruction):
    """Copy `rows` rows of `columns` bytes from DRAM into an on-chip memory.

    Row ``r`` starts at byte ``dram + r * pitch``; both must be multiples of the bus width. Block
    ``b`` of row ``r`` becomes the word ``base + r * row_stride + b * block_stride``; bytes past
    `columns` in the last word are zero. Into the scale memories a row is a list of 4-byte entries
    and `columns` counts their bytes; a word of the row scale memories is one entry, a word of
    COLUMN_SCALE is `columns` of the array entries, of which only those given are written.

    With `transpose`, for the input and the weight memory only, what lands there is the transpose
    of what lies in DRAM: row ``r`` on the chip is byte ``r`` of every DRAM row. There are then
    `columns` rows on the chip, each of `rows` bytes in ``ceil(rows / lanes)`` blocks.

    With `packed`, for the same memories, a byte in DRAM is two elements of four bits, from -8 to 7,
    the first in its lower half: a row is ``ceil(columns / 2)`` bytes. With `transpose`, too, each
    beat of a row is read twice where columns are turned a beat at a time.
    """

    opcode = Opcode.LOAD
    engine = Engine.LOAD

    memory: MemoryField
    transpose: U1 = 0
    dram: U48
    pitch: U32 = 0
    rows: Size
    columns: Size
    base: U16 = 0
    row_stride: U16 = 0
    block_stride: U16 = 0
    packed: U1 = 0


@dataclass(frozen=True, kw_only=True)
class Execute(Instruction):
    """Multiply ``rows x reduction`` by ``reduction x columns`` into the output memory.

    The left operand lies in the input memory with lanes along the reduction and one row per
    matrix row (WS), or with lanes along the matrix rows and one row per reduction index (OS).
    The right operand lies in the weight memory with one row per reduction index and lanes along
    the matrix columns. The result is one output row per matrix row, lanes along the columns.

    WS walks column blocks, and inside them folds of the reduction, each streaming `rows` waves,
    every other one from the last row to the first. OS walks row blocks, and inside them column
    blocks, each streaming `reduction` waves.

    With `accumulate`, sums are added to what the output memory holds; without, the first
    reduction fold overwrites. With `scale`, each sum is first multiplied by the accumulate-scale
    entry ``scale_base + row``, rounded once to int32, and the addition saturates. In WS each fold
    of the reduction is scaled by itself, so one rounding in all needs a reduction of one fold.

    On an array of D products an element (`macs_per_element`), a fold of WS covers D times as many
    rows of the reduction as the array has, and a wave of OS D of its indices. With D above 1, words
    along the reduction are read D at once: the right operand's `right_row_stride` must be 1, and
    so must the left one's `left_block_stride` (WS) or `left_row_stride` (OS), if there is more than
    one such word; both bases, and the strides across, must be multiples of D.

    With several rows, `out_row_stride` must be odd: the lowest address bit of the output memory is
    the bank within a half, and a bank reads or writes one word in a cycle.

    A token to STORE is sent when the last result has been written. A token to LOAD is sent when the
    last operand has been read, or, with `scale`, when the last result has been written, since
    scales are read until then; instructions behind one that scales keep their tokens to LOAD
    until it has ended.
    """

    opcode = Opcode.EXECUTE
    engine = Engine.EXECUTE

    dataflow: DataflowField
    accumulate: U1 = 0
    scale: U1 = 0
    rows: Size
    reduction: Size
    columns: Size
    left_base: U16 = 0
    left_row_stride: U16
    left_block_stride: U16
    right_base: U16 = 0
    right_row_stride: U16
    right_block_stride: U16
    out_base: U16 = 0
    out_row_stride: U16
    out_block_stride: U16
    scale_base: U16 = 0


@dataclass(frozen=True, kw_only=True)
class Store(Instruction):
    """Write `rows` rows of `columns` elements of the output memory to DRAM, as sums or requantised.

    Row ``r`` goes to byte ``dram + r * pitch``; both must be multiples of the bus width. Bytes
    between the end of a row and the next multiple of the bus width are not written. The scale is
    row-scale entry ``row_scale + r``, or `row_scale` for all rows (INT8_TENSOR), or lane ``c`` of
    column-scale word ``column_scale + b`` for block ``b``.

    With `stochastic`, requantising to INT8 rounds up with the probability of what is cut off: the
    element of row ``r`` and column ``c`` by the noise of ``origin_row + r`` and
    ``origin_column + c``, both modulo 2^16, under the seed register (`hw.isa.numerics.noise`). The
    origin is the tile's place in its matrix, so that every tiling rounds alike. Rescaling of rows
    by INT8_ROW_COLUMN rounds to nearest in any case.
    """

    opcode = Opcode.STORE
    engine = Engine.STORE

    format: FormatField
    stochastic: U1 = 0
    dram: U48
    pitch: U32 = 0
    rows: Size
    columns: Size
    base: U16 = 0
    row_stride: U16
    block_stride: U16
    row_scale: U16 = 0
    column_scale: U16 = 0
    origin_row: U16 = 0
    origin_column: U16 = 0


@dataclass(frozen=True, kw_only=True)
class Absmax(Instruction):
    """Find the absolute maximum of each row, each column or the whole tensor, and use it.

    With `scaled`, each sum is first rescaled to int32 with row-scale entry ``row_scale + r``, as
    INT8_ROW_COLUMN does. Maxima of rows and of the tensor include the padding lanes of the last
    block.

    Maxima are unsigned 32-bit. Each has a place in a memory of the store engine: ``scale_base + r``
    for row ``r``, `scale_base` for a tensor, and, in a memory of its own, ``scale_base * C + c``
    for column ``c`` of the matrix on an array of C columns. With `merge`, a maximum starts from
    what stands there, so that a group may span tiles; without, from zero. It is kept there, and

    - with `to_dram`, written to DRAM, one after the other from byte `dram`, a multiple of the bus
      width: `rows` of them, `columns` of them, or one;
    - with `to_scales`, turned into the entry of 127/maximum: row-scale entry ``scale_base + r``, or
      `scale_base` for a tensor, or lane ``c % C`` of column-scale word ``scale_base + c // C``;
    - with `to_updates` (rows and tensor only), turned into the accumulate-scale entry
      ``update_base + r`` of maximum times factor, the factor being row-scale entry `factor`, whose
      shift counts unlimited (`hw.isa.numerics.update_entry`).
    """

    opcode = Opcode.ABSMAX
    engine = Engine.STORE

    axis: AxisField
    scaled: U1 = 0
    merge: U1 = 0
    to_dram: U1 = 0
    to_scales: U1 = 0
    to_updates: U1 = 0
    dram: U48 = 0
    rows: Size
    columns: Size
    base: U16 = 0
    row_stride: U16
    block_stride: U16
    row_scale: U16 = 0
    scale_base: U16 = 0
    update_base: U16 = 0
    factor: U16 = 0


@dataclass(frozen=True, kw_only=True)
class Halt(Instruction):
    """End the program: wait until all engines are idle, then raise the interrupt."""

    opcode = Opcode.HALT


_FIELDS: dict[type, tuple[Field, ...]] = {}


def names(enum: type[IntEnum]) -> str:
    """Return the text names of an enumeration, for messages."""
    return "|".join(member.name.lower() for member in enum)


def fields_of(cls: type[Instruction]) -> tuple[Field, ...]:
    """Return the fields of an instruction class after the opcode, packed from bit 8 upwards."""
    if cls not in _FIELDS:
        hints = get_type_hints(cls, include_extras=True)
        offset, found = 8, []
        for item in dataclasses.fields(cls):
            kind, width = _annotation(hints[item.name])
            enum = kind if kind is not int else None
            found.append(Field(item.name, offset, width.bits, enum, width.low))
            offset += width.bits
        if offset > 8 * INSTRUCTION_BYTES:
            raise TypeError(f"{cls.__name__} needs {offset} bits of {8 * INSTRUCTION_BYTES}")
        _FIELDS[cls] = tuple(found)
    return _FIELDS[cls]


def _annotation(hint: Any) -> tuple[type, Width]:
    if get_origin(hint) is not Annotated:
        raise TypeError(f"instruction field annotation {hint!r} has no width")
    kind, width = get_args(hint)
    return kind, width
