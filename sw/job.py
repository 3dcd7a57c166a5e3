"""A product with everything decided: operands as they lie, tiles, and what becomes of the sums."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hw.isa.instructions import Axis, Dataflow

from .lora import Gemm
from .tile import Tiling

__all__ = ["Copy", "Job", "Maxima", "Operand", "Output", "Sums", "swapped"]


@dataclass(frozen=True)
class Operand:
    """A matrix in DRAM that feeds a product.

    Members
    -------
    buffer : str
    rows, columns : int
        As it lies there.
    transposed : bool
        Whether the array wants its transpose, so that loads transpose it.
    packed : bool
        Whether its elements have four bits, two a byte.
    """

    buffer: str
    rows: int
    columns: int
    transposed: bool = False
    packed: bool = False


@dataclass(frozen=True)
class Sums:
    """The int32 sums of a product go to `buffer`, (M, N)."""

    buffer: str


@dataclass(frozen=True)
class Copy:
    """An INT8 copy goes to `buffer`, (M, N), requantised by the entries of a table.

    Members
    -------
    buffer : str
    axis : Axis
        What shares a scale.
    scales : str
        The table, (1, M), (1, N) or (1, 1): one that `Maxima` of the same job, or of one before,
        make on the chip, or a buffer.
    loaded : bool
        Whether it is a buffer.
    unit : str
        With COLUMN: buffer of entries, (1, M), by which sums are rescaled by row before.
    unit_row : int
        Row of that buffer, if it has several.
    scales_row : int
        Row of the buffer of scales, if it has several.
    stochastic : bool
        Whether rounding is stochastic, or to nearest.
    """

    buffer: str
    axis: Axis
    scales: str
    loaded: bool = False
    unit: str = ""
    stochastic: bool = False
    unit_row: int = 0
    scales_row: int = 0


@dataclass(frozen=True)
class Maxima:
    """Absolute maxima are taken, and go where the members say.

    Members
    -------
    axis : Axis
        What shares a maximum.
    buffer : str
        Where they are written, (1, M), (1, N) or (1, 1); nowhere if empty.
    scales : str
        Name of the table of scales that is made of them on the chip; they are kept in the place of
        that name in any case.
    makes : bool
        Whether the table is made at all.
    unit : str
        Buffer of entries, (1, M), by which sums are rescaled by row before.
    unit_row : int
        Row of that buffer, if it has several.
    updates, factor : str
        Name of the table of update scales that is made of maxima of rows, with the one entry in
        the buffer `factor`.
    kept : bool
        Whether a job behind this one goes on with the place, or uses the scales.
    """

    axis: Axis
    buffer: str
    scales: str
    makes: bool = True
    unit: str = ""
    updates: str = ""
    factor: str = ""
    kept: bool = False
    unit_row: int = 0


Output = Sums | Copy | Maxima


@dataclass(frozen=True)
class Job:
    """A product with everything decided.

    Members
    -------
    gemm : Gemm
    tiling : Tiling
        Of all rows of the product, or of some.
    left, right : Operand
        `left` gives the left matrix in WS, its transpose in OS.
    outputs : tuple of Output
        What is made of each tile of sums.
    late : tuple of Output
        What is made when `outputs` of a whole group of tiles are, with scales that these made.
    group : Axis
        ROW: tiles of the same rows; COLUMN: of the same columns; TENSOR: all.
    update_dataflow : Dataflow
    update_left, update_right : Operand or None
        The update's operands.
    update_scales : str
        Its table of row scales, made on the chip; empty without an update.
    diagonal : bool
        Whether the left matrix is zero but for its diagonal: it lies as the tiles on that, below
        one another, and the reduction of a tile of the result is its own rows.
    swapped : bool
        Whether `gemm` is the transpose of the product that was asked for.
    frees : tuple of str
        Tables that nobody uses after this job.
    choice : str
        How good its tiling is known to be, in words.
    """

    gemm: Gemm
    tiling: Tiling
    left: Operand
    right: Operand
    outputs: tuple[Output, ...]
    late: tuple[Output, ...] = ()
    group: Axis = Axis.TENSOR
    update_dataflow: Dataflow = Dataflow.WS
    update_left: Operand | None = None
    update_right: Operand | None = None
    update_scales: str = ""
    diagonal: bool = False
    swapped: bool = False
    frees: tuple[str, ...] = ()
    choice: str = ""

    @property
    def dataflow(self) -> str:
        """Name of the dataflow, both if the update runs in the other one."""
        used = [self.tiling.dataflow]
        if self.gemm.update is not None and self.update_dataflow not in used:
            used.append(self.update_dataflow)
        return "+".join(dataflow.name.lower() for dataflow in used)

    def __str__(self) -> str:
        update = ""
        if self.gemm.update is not None:
            update = f"; update {self.update_dataflow.name}"
        outputs = ", ".join(output.buffer for output in (*self.outputs, *self.late))
        return f"{self.gemm.name}: {self.tiling}{update} -> {outputs}"


_OTHER = {Axis.ROW: Axis.COLUMN, Axis.COLUMN: Axis.ROW, Axis.TENSOR: Axis.TENSOR}


def swapped(output: Output) -> Output:
    """Return what makes the transpose of an output of the transposed product.

    Raises
    ------
    ValueError
        It has no transpose: its rows are rescaled, or its rounding knows rows from columns.
    """
    if isinstance(output, Sums):
        return output
    if output.unit or (isinstance(output, Copy) and output.stochastic):
        raise ValueError(f"{output.buffer} cannot be made by the transposed product")
    return replace(output, axis=_OTHER[output.axis])
