"""Which INT8 copy each operand of a float graph needs.

A scale can leave a sum only if it does not belong to the reduced axis: so a left operand is scaled
by row, a right one by column, and weights by tensor, which serves both ways. Copies of what the
host makes are made by the host, copies of sums by the array. Where the array has made one copy of a
matrix, by the axis of its first product, and a later product reduces that axis against an operand
of the host, the host folds the scales into that operand, and no second copy is made. The left
operand of a scale-and-accumulate term has a copy for that alone: its maxima are joint over all
sites.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hw.isa.instructions import Axis

from ..models.product import Role
from .build import TEXT
from .ir import Gemm, GraphError, View
from .shape import Shape

__all__ = ["Copies", "Need", "Place", "places"]

SIDES = "left", "right"


@dataclass(frozen=True)
class Place:
    """Where a value lies in a joint one of `rows` x `columns`."""

    joint: str
    row: int
    column: int
    rows: int
    columns: int


def places(shape: Shape) -> dict[str, Place]:
    """Return the places of the values of text sites in joint ones."""
    rows, width = shape.rows, shape.text_width
    deepest = max(site.width for site in shape.sites)
    most = max(site.rank for site in shape.sites)
    found = {}
    for index, s in enumerate(shape.sites):
        for name, place in {
            "W": Place("W", 0, s.first, width, shape.columns),
            "Y": Place("Y", 0, s.first, rows, shape.columns),
            "dY": Place("dY", 0, s.first, rows, shape.columns),
            "A": Place("A", 0, s.column, width, shape.ranks),
            "H": Place("H", 0, s.column, rows, shape.ranks),
            "dH": Place("dH", 0, s.column, rows, shape.ranks),
            "dA": Place("dA", 0, s.column, width, shape.ranks),
            "Bt": Place("Bt", s.row, s.first, deepest, shape.columns),
            "dBt": Place("dBt", 0, s.first, most, shape.columns),
            "dX": Place("dX.sites", index * rows, 0, len(shape.sites) * rows, width),
        }.items():
            joint = f"{TEXT}.{place.joint}"
            found[f"{s.path}.{name}"] = Place(
                joint, place.row, place.column, place.rows, place.columns
            )
    return found


@dataclass
class Need:
    """An INT8 copy that products read.

    Members
    -------
    name : str
    of : str
        The value, a joint one if it has parts.
    axis : Axis
        What shares a scale, of the value as it lies.
    chip : bool
        Whether the array makes it, from its sums.
    readers : list of (int, str)
        Index of each gemm that reads it, and on which side.
    weights : str
        The copy whose scales are folded in.
    """

    name: str
    of: str
    axis: Axis
    chip: bool
    readers: list[tuple[int, str]] = field(default_factory=list)
    weights: str = ""


class Copies:
    """The copies that the gemms of a float graph need, by name.

    Members
    -------
    needs : dict of Need
    row_scales, column_scales : dict
        For the sums of each value: the copies whose scales its rows and columns carry.
    """

    def __init__(self, gemms: list[Gemm], joints: dict[str, Place]) -> None:
        self._gemms, self._joints = gemms, joints
        self._made = {gemm.out.value for gemm in gemms}
        self._chosen: dict[tuple[int, str], str] = {}
        self._first: dict[str, Axis] = {}
        self.needs: dict[str, Need] = {}
        self.row_scales: dict[str, str] = {}
        self.column_scales: dict[str, str] = {}
        for index in range(len(gemms)):
            self._choose(index)
        for index in range(len(gemms)):
            self._fold(index)

    def of(self, index: int, side: str) -> Need:
        """Return the copy that a gemm reads."""
        return self.needs[self._chosen[index, side]]

    def joint(self, name: str) -> str:
        """Return the name of the value that a value is a part of; its own if of none."""
        return self._joints[name].joint if name in self._joints else name

    def made(self, name: str) -> bool:
        """Tell whether a value is made by gemms."""
        return name in self._made

    def _choose(self, index: int) -> None:
        gemm = self._gemms[index]
        for side in SIDES:
            view: View = getattr(gemm, side)
            joint, axis = self.joint(view.value), _axis(view, side)
            need = self._need(gemm, view.value, joint, axis)
            partner = getattr(gemm, SIDES[side == "left"])
            first = self._first.get(joint)
            if need.chip and not gemm.updates:
                if first not in (None, axis) and not self.made(partner.value):
                    need = self._need(gemm, view.value, joint, first)
                self._first.setdefault(joint, axis)
            self.needs.setdefault(need.name, need).readers.append((index, side))
            self._chosen[index, side] = need.name
        if not gemm.updates:
            out = self.joint(gemm.out.value)
            left, right = (self.of(index, side) for side in SIDES)
            if left.axis is not Axis.TENSOR:
                self.row_scales[out] = left.name
            if right.axis is not Axis.TENSOR:
                self.column_scales[out] = right.name

    def _need(self, gemm: Gemm, name: str, joint: str, axis: Axis) -> Need:
        chip, tail = self.made(name), name.rpartition(".")[2]
        if gemm.name == Role.LORA_DX and tail == "A":
            # The update sums over all sites, so that their scales must be folded into A.
            return Need(f"{TEXT}.Au", f"{TEXT}.At", Axis.TENSOR, False, weights=f"{TEXT}.Bt")
        if not chip and tail in ("W", "A", "Bt", "Wq", "Wo"):
            return Need(joint, joint, Axis.TENSOR, False)
        if name.startswith("plain."):
            return Need(joint, joint, axis, chip)
        stays = joint.startswith(f"{TEXT}.") or tail in ("K", "V")
        suffix = ("row", "column") if stays else ("text", "token")
        return Need(f"{joint}.{suffix[axis]}", joint, axis, chip)

    def _fold(self, index: int) -> None:
        """Fold scales that lie on the reduced axis into the operand of the host."""
        gemm = self._gemms[index]
        if gemm.updates:
            return
        for side in SIDES:
            own, partner = self.of(index, side), self.of(index, SIDES[side == "left"])
            view: View = getattr(gemm, side)
            weights = ""
            if own.chip:
                if own.axis is not _axis(view, side):
                    weights = own.name
                elif own.axis is Axis.COLUMN and not self.loaded(own):
                    weights = self.row_scales.get(own.of, "")
            elif own.axis is Axis.TENSOR and self._sums_sites(gemm) and side == "right":
                weights = own.name
            if not weights:
                continue
            if partner.chip or partner.weights not in ("", weights):
                raise GraphError(
                    f"gemm {gemm.name} of {gemm.site}: {own.name} has scales along the reduced "
                    f"axis, which {partner.name} cannot take"
                )
            partner.weights = weights

    def _sums_sites(self, gemm: Gemm) -> bool:
        return gemm.name == Role.DX and gemm.out.value in self._joints

    def loaded(self, need: Need) -> bool:
        """Tell whether the host gives the scales of a copy of sums.

        It does where both operands of the product have scales of their own: then heads join.
        """
        return need.chip and need.of in self.row_scales and need.of in self.column_scales


def _axis(view: View, side: str) -> Axis:
    """Return the axis, of the value as it lies, that a product does not reduce."""
    return Axis.ROW if (side == "left") != view.transposed else Axis.COLUMN
