"""Figures as files: matplotlib where it is installed, and the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import OutputFile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "FigureFile", "figure_style", "render"]

FORMATS = (".svg", ".png")


class FigureFile(OutputFile):
    """A figure to be written, refused before any work if it cannot be drawn or written."""

    def convert(self, value: str, param: Any, ctx: Any) -> str:
        """Return the name, unless its suffix is unknown or matplotlib is missing."""
        if Path(value).suffix not in FORMATS:
            self.fail(f"must end in {' or '.join(FORMATS)}, not {value!r}", param, ctx)
        if find_spec("matplotlib") is None:
            raise click.UsageError(
                f"{param.opts[0]} needs matplotlib: pip install 'cdmqta[plot]'", ctx
            )
        return super().convert(value, param, ctx)


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw on a light background, in files that depend on nothing but what is drawn."""
    import matplotlib

    style = {
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.facecolor": "white",
        "font.family": "DejaVu Sans",  # comes with matplotlib
        "font.size": 9,
        "grid.color": "0.9",
        "grid.linewidth": 0.6,
        "svg.hashsalt": "cdmqta",
    }
    with matplotlib.rc_context(style):
        yield


def render(figure: Figure, suffix: str) -> bytes:
    """Return a figure as a file of one of `FORMATS`; call it inside `figure_style`."""
    data = io.BytesIO()
    dated = {"Date": None} if suffix == ".svg" else None
    figure.savefig(data, format=suffix[1:], dpi=150, metadata=dated)
    return data.getvalue()
