"""Tables of the nonlinear delay model: one value over two axes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axis", "Table"]


class Axis(StrEnum):
    """What a table's axis is; the names are those of Liberty."""

    INPUT_SLEW = "input_net_transition"
    INPUT_TRANSITION = "input_transition_time"
    LOAD = "total_output_net_capacitance"
    DATA_SLEW = "constrained_pin_transition"
    RELATED_SLEW = "related_pin_transition"


LATER = (Axis.LOAD, Axis.RELATED_SLEW)
"""Axes that lie along the columns."""


@dataclass(frozen=True, eq=False)
class Table:
    """A value by slew (rows) and load or slew of the related pin (columns).

    Parameters
    ----------
    rows : array of float64, shape (R,)
        Slews in ns; one entry if the value does not depend on it.
    columns : array of float64, shape (C,)
        Loads in fF, or slews in ns; one entry if the value does not depend on it.
    values : array of float64, shape (R, C)
        Times in ns, or energies in fJ.
    """

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    values: NDArray[np.float64]

    def at(
        self, row: float | NDArray[np.float64], column: float | NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return values between the entries, by the bilinear form of the four around a point.

        Outside the table the outermost form goes on: slews of 0 are extrapolated.
        """
        i, across = _between(self.rows, row)
        j, along = _between(self.columns, column)
        v = self.values
        i1, j1 = np.minimum(i + 1, len(self.rows) - 1), np.minimum(j + 1, len(self.columns) - 1)
        low = (1 - along) * v[i, j] + along * v[i, j1]
        high = (1 - along) * v[i1, j] + along * v[i1, j1]
        return (1 - across) * low + across * high


def _between(
    axis: NDArray[np.float64], value: float | NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the interval that a value lies in, and how far along, in its lengths."""
    value = np.asarray(value, dtype=np.float64)
    if len(axis) == 1:
        return np.zeros(value.shape, dtype=np.intp), np.zeros(value.shape)
    place = np.clip(np.searchsorted(axis, value, side="right") - 1, 0, len(axis) - 2)
    return place, (value - axis[place]) / (axis[place + 1] - axis[place])
