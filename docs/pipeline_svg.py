"""Draw docs/pipeline.svg and the table of docs/pipeline.md: ``python docs/generate.py``."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from pipeline_trace import Activity, Tile, Trace

from hw.isa.instructions import Dataflow

__all__ = ["DRAWING", "PAGE", "drawing", "with_table"]

DRAWING = Path(__file__).parent / "pipeline.svg"
PAGE = Path(__file__).parent / "pipeline.md"
BEGIN, END = "<!-- from docs/generate.py -->", "<!-- end -->"

CYCLE = 18
LANE, BAR, STRIP = 22, 8, 5
LEFT, TOP = 74, 58
GROUP_GAP = 8
# Of medium lightness: they stand out from a white and from a black page.
INK, FAINT = "#6e7781", "#8b949e"
COLOURS = ("#3b82f6", "#e8830c", "#1f9d55", "#a855f7")
TEXT = 'font-family="system-ui, sans-serif" font-size="11"'
SITE = {"n": 77, "d1": 768, "d2": 320}
ARRAY = 64


def drawing(trace: Trace) -> str:
    """Return the drawing of a chain as SVG."""
    stop = max(item.stop for item in trace.activities) + 1
    bottom = TOP + trace.rows * (trace.columns * LANE + GROUP_GAP)
    width, height = LEFT + stop * CYCLE + 12, bottom + 92
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" {TEXT}>',
        f"<title>A {trace.rows}x{trace.columns} array in every cycle of a chain of "
        f"{', '.join(map(name_of, trace.tiles))}</title>",
        _patterns(len(trace.tiles)),
        *_axes(trace, stop, bottom),
        *(_activity(item, trace.columns) for item in trace.activities),
        *_switches(trace),
        *_legend(trace, bottom + 52),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def name_of(tile: Tile) -> str:
    """Return what a fold is called in the drawing."""
    return f"{tile.dataflow.name} tile {tile.number}"


def _patterns(tiles: int) -> str:
    """Return one hatching to the right (load) and one to the left (drain) for each fold."""
    parts = ["<defs>"]
    for tile in range(tiles):
        for kind, path in (("load", "M-1,1 l2,-2 M0,5 l5,-5 M4,6 l2,-2"),
                           ("drain", "M-1,4 l2,2 M0,0 l5,5 M4,-1 l2,2")):  # fmt: skip
            parts.append(
                f'<pattern id="{kind}{tile}" width="5" height="5" patternUnits="userSpaceOnUse">'
                f'<path d="{path}" stroke="{COLOURS[tile]}" stroke-width="1.5" fill="none"/>'
                "</pattern>"
            )
    return "".join(parts) + "</defs>"


def _x(cycle: int) -> int:
    return LEFT + cycle * CYCLE


def _y(row: int, column: int, columns: int) -> int:
    return TOP + row * (columns * LANE + GROUP_GAP) + column * LANE


def _text(x: float, y: float, words: str, anchor: str = "start", fill: str = INK) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{fill}">{words}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, more: str = "") -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{INK}" {more}/>'


def _axes(trace: Trace, stop: int, bottom: int) -> list[str]:
    parts = []
    for cycle in range(0, stop + 1):
        strong = cycle % 5 == 0
        more = f'stroke-opacity="{0.45 if strong else 0.15}" stroke-width="1"'
        parts.append(_line(_x(cycle), TOP - 4, _x(cycle), bottom - GROUP_GAP + 4, more))
        if strong:
            parts.append(_text(_x(cycle) + CYCLE / 2, bottom + 10, str(cycle), "middle"))
    parts.append(_text(_x(0) + stop * CYCLE / 2, bottom + 28, "cycle", "middle"))
    for row in range(trace.rows):
        middle = _y(row, 0, trace.columns) + trace.columns * LANE / 2
        parts.append(_text(4, middle + 4, f"row {row}"))
        for column in range(trace.columns):
            y = _y(row, column, trace.columns) + LANE / 2 + 4
            parts.append(_text(LEFT - 6, y, f"{column}", "end", FAINT))
    parts.append(_text(LEFT - 6, TOP - 8, "column", "end", FAINT))
    return parts


def _activity(item: Activity, columns: int) -> str:
    """Return a bar: loads above, products in the middle, drains below."""
    x, y = _x(item.start), _y(item.row, item.column, columns)
    width = (item.stop - item.start) * CYCLE
    if item.kind == "multiply":
        return (
            f'<rect x="{x}" y="{y + STRIP + 2}" width="{width}" height="{BAR}" '
            f'fill="{COLOURS[item.tile]}"/>'
        )
    top = y + 1 if item.kind == "load" else y + STRIP + BAR + 3
    return (
        f'<rect x="{x + 0.5}" y="{top}" width="{width - 1}" height="{STRIP}" '
        f'fill="url(#{item.kind}{item.tile})" stroke="{COLOURS[item.tile]}" stroke-width="0.8"/>'
    )


def _switches(trace: Trace) -> list[str]:
    """Return brackets over the first element's gaps between folds of different dataflows."""
    first = [a for a in trace.activities if (a.row, a.column, a.kind) == (0, 0, "multiply")]
    parts = []
    for before, after in pairwise(first):
        one, other = (trace.tiles[item.tile].dataflow for item in (before, after))
        if one is other:
            continue
        gap = after.start - before.stop
        price = f"{gap} cycles" + (" = R - 1" if gap and gap == trace.rows - 1 else "")
        y = TOP - 22
        for cycle in sorted({before.stop, after.start}):
            parts.append(_line(_x(cycle), y, _x(cycle), TOP + STRIP + BAR + 2, 'stroke-width="2"'))
        parts.append(_line(_x(before.stop), y, _x(after.start), y, 'stroke-width="2"'))
        words = f"{one.name} → {other.name}: {price}"
        # A price of zero is written to the left of its line, to leave room for the next.
        anchor = "start" if gap else "end"
        parts.append(_text(_x(before.stop) + (0 if gap else 4), y - 8, words, anchor))
    return parts


def _legend(trace: Trace, y: int) -> list[str]:
    parts, x = [], LEFT
    for index, tile in enumerate(trace.tiles):
        parts.append(f'<rect x="{x}" y="{y}" width="26" height="{BAR}" fill="{COLOURS[index]}"/>')
        parts.append(_text(x + 32, y + BAR, f"{name_of(tile)} multiplies"))
        x += 152
    x, y = LEFT, y + 20
    os = next(i for i, tile in enumerate(trace.tiles) if tile.dataflow is Dataflow.OS)
    for kind, tile, words in (
        ("load", 0, "a stationary tile loads, in the colour of its fold"),
        ("drain", os, "finished sums of OS pass down"),
    ):
        parts.append(
            f'<rect x="{x + 0.5}" y="{y + 1}" width="26" height="{STRIP + 1}" '
            f'fill="url(#{kind}{tile})" stroke="{COLOURS[tile]}" stroke-width="0.8"/>'
        )
        parts.append(_text(x + 32, y + BAR, words))
        x += 304
    return parts


def chain_cycles(rows: int, columns: int, waves: int, folds: int, to_ws: int) -> int:
    """Return the page's cycles of a chain whose last fold is WS, with `to_ws` switches from OS."""
    own = max(waves, rows)
    return (folds - 1) * own + waves + to_ws * (rows - 1) + 2 * rows + columns + 6


def alone_cycles(rows: int, columns: int, waves: int, folds: int) -> int:
    """Return the cycles of folds that each load, stream and drain by themselves."""
    return folds * (2 * rows + columns + waves - 2)


def _table(trace: Trace) -> str:
    """Return the comparison, with both counts of the chain drawn and of a real product."""
    rows, columns, waves, folds = trace.rows, trace.columns, trace.waves, len(trace.tiles)
    real = -(-SITE["d1"] // ARRAY) * -(-SITE["d2"] // ARRAY)
    shape = "{n}x{d1}x{d2}".format(**SITE)
    lines = [
        "| | this array, drains overlapped | empty between folds |",
        "|---|---|---|",
        "| a fold in a chain | max(T, R) | 2R + C + T - 2 |",
        f"| WS to OS | {trace.ws_to_os} | contained |",
        f"| OS to WS | R - 1 (measured: {trace.os_to_ws}) | contained |",
        "| a chain of n folds, s switches from OS to WS | "
        "(n - 1).max(T, R) + T + s.(R - 1) + 2R + C + 6 | n.(2R + C + T - 2) |",
        f"| the chain drawn: R = {rows}, C = {columns}, T = {waves}, n = {folds}, s = 1 | "
        f"{trace.array_cycles} (measured) | {alone_cycles(rows, columns, waves, folds)} |",
        f"| X.W of {shape} in WS on {ARRAY}x{ARRAY}: T = {SITE['n']}, n = {real}, s = 0 | "
        f"{chain_cycles(ARRAY, ARRAY, SITE['n'], real, 0)} | "
        f"{alone_cycles(ARRAY, ARRAY, SITE['n'], real)} |",
    ]
    return "\n".join(lines)


def with_table(page: str, trace: Trace) -> str:
    """Return the text of the page with its table made anew."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{_table(trace)}\n\n{END}{after}"
