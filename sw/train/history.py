"""What a run logs: rows of losses and of the state of quantisation, as CSV and for TensorBoard."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..program_file import write_file
from .monitor import Measure

__all__ = ["History"]

_LOSSES = "losses.csv"
_QUANTISATION = "quantisation.csv"


class History:
    """Everything logged since the first step of a run.

    Members
    -------
    losses : list of dict
        A row a step: ``step``, ``loss``, other parts of it, ``saturations`` in it.
    quantisation : list of dict
        Rows of ``step``, ``layer``, ``kind``, ``tensor``, ``value``, of `sw.train.monitor`.
    """

    def __init__(self) -> None:
        self.losses: list[dict[str, Any]] = []
        self.quantisation: list[dict[str, Any]] = []

    def add(self, step: int, losses: dict[str, float], measures: Iterable[Measure]) -> None:
        """Add a step."""
        self.losses.append({"step": step, **losses})
        self.quantisation += [{"step": step, **measure._asdict()} for measure in measures]

    def write(self, folder: Path) -> None:
        """Write the CSV files of a run, each whole or not at all."""
        for name, rows in ((_LOSSES, self.losses), (_QUANTISATION, self.quantisation)):
            if rows:
                text = io.StringIO()
                table = csv.DictWriter(text, rows[0], lineterminator="\n")
                table.writeheader()
                table.writerows(rows)
                write_file(os.fspath(folder / name), text.getvalue().encode())

    def to_tensorboard(self, folder: Path, start: int = 0) -> None:
        """Write the rows from a step on as a file that TensorBoard reads, beside those there."""
        from tensorboardX import SummaryWriter

        # The name tells the second only: a resumed run must not take the file of the one before.
        with SummaryWriter(os.fspath(folder), filename_suffix=f".{start}") as writer:
            for row in self.losses:
                for name, value in row.items():
                    if name != "step" and row["step"] >= start:
                        writer.add_scalar(f"train/{name}", value, row["step"])
            for row in self.quantisation:
                if row["step"] >= start and math.isfinite(row["value"]):
                    tag = f"{row['kind']}/{row['layer']}/{row['tensor']}"
                    writer.add_scalar(tag, row["value"], row["step"])

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"losses": self.losses, "quantisation": self.quantisation}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.losses, self.quantisation = list(state["losses"]), list(state["quantisation"])
