"""Two kinds of plots as plain SVG: a heat map and lines over categories.

Dark text on white, one hue or the Okabe-Ito colours with a marker each, so that nothing is told by hue alone. Okabe and
Ito (2008), Color Universal Design.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

INK, PALE = "#1a1a1a", "#d9d9d9"
FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
MARKERS = ("circle", "square", "triangle", "diamond", "cross")
LETTER = 0.56
"""Width of a letter of the font, of its size, on the safe side."""


@dataclass(slots=True)
class Drawing:
    """An SVG being drawn; y points down, units are px."""

    width: float
    height: float
    parts: list[str] = field(default_factory=list[str])

    def text(
        self, x: float, y: float, text: str, *, size: float = 12, anchor: str = "start", colour: str = INK,
        weight: str = "normal", turn: float = 0,
    ) -> None:  # fmt: skip
        """Text with its baseline at y; `turn` in degrees about (x, y)."""
        spin = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
        style = f'font-size="{size:g}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}"'
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {style}{spin}>{escape(text)}</text>')

    def rect(self, x: float, y: float, width: float, height: float, fill: str, edge: str = "none") -> None:
        """A filled rectangle."""
        place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        self.parts.append(f'<rect {place} fill="{fill}" stroke="{edge}"/>')

    def lines(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1, dash: str = "") -> None:
        """A polyline."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        style = f'stroke="{colour}" stroke-width="{width:g}" stroke-dasharray="{dash}"'
        self.parts.append(f'<polyline points="{path}" fill="none" {style}/>')

    def marker(self, x: float, y: float, kind: str, colour: str, size: float = 4.5) -> None:
        """One of `MARKERS`."""
        s = size
        shapes = {
            "square": [(-s, -s), (s, -s), (s, s), (-s, s)],
            "triangle": [(0, -1.2 * s), (1.1 * s, s), (-1.1 * s, s)],
            "diamond": [(0, -1.3 * s), (1.3 * s, 0), (0, 1.3 * s), (-1.3 * s, 0)],
        }
        if kind == "circle":
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{s:g}" fill="{colour}" stroke="white"/>')
        elif kind == "cross":
            self.lines([(x - s, y - s), (x + s, y + s)], colour, 2.2)
            self.lines([(x - s, y + s), (x + s, y - s)], colour, 2.2)
        else:
            path = " ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in shapes[kind])
            self.parts.append(f'<polygon points="{path}" fill="{colour}" stroke="white"/>')

    def source(self) -> str:
        """The file's text."""
        size = f'width="{self.width:.0f}" height="{self.height:.0f}" viewBox="0 0 {self.width:.0f} {self.height:.0f}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONT}">'
        return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *self.parts, "</svg>"]) + "\n"


def heat_map(
    title: str, note: str, rows: Sequence[str], columns: Sequence[str], values: Mapping[tuple[str, str], float],
    steps: Sequence[float], write: Mapping[tuple[str, str], str],
) -> str:  # fmt: skip
    """Values by row and column, darker for more; a cell without a value shows a dash.

    `steps` are the upper limits of the shades, ascending; more than the last is the darkest. `write` is each cell's
    text. `note` says what the values are and their unit.
    """
    wide, tall = 74.0, 30.0
    left = 24 + LETTER * 12 * max(map(len, rows))
    lean = 0.7 * LETTER * 12 * max(map(len, columns))
    top = 74 + lean
    needed = 40 + LETTER * 16 * max(len(title), 0.75 * len(note))
    drawing = Drawing(max(left + wide * len(columns) + lean + 20, needed), top + tall * len(rows) + 76)
    drawing.text(16, 28, title, size=16, weight="bold")
    drawing.text(16, 48, note)
    for j, column in enumerate(columns):
        drawing.text(left + (j + 0.45) * wide, top - 8, column, turn=-40)
    for i, row in enumerate(rows):
        y = top + i * tall
        drawing.text(left - 10, y + tall / 2 + 4, row, anchor="end", weight="bold" if i == 0 else "normal")
        for j, column in enumerate(columns):
            value = values.get((row, column))
            shade = _shade(value, steps) if value is not None else "white"
            drawing.rect(left + j * wide, y, wide, tall, shade, PALE)
            text = "–" if value is None else write[row, column]
            colour = "white" if value is not None and _dark(value, steps) else INK
            drawing.text(left + (j + 0.5) * wide, y + tall / 2 + 4, text, anchor="middle", colour=colour)
    _legend(drawing, 16, top + tall * len(rows) + 26, steps)
    return drawing.source()


def line_plot(
    title: str, note: str, names: Sequence[str], series: Mapping[str, Sequence[float | None]]
) -> str:  # fmt: skip
    """One line a series over named places. Values from 0 to 1 on a logarithmic axis, with a level of its own for 0.

    None leaves a place out. The first series is thick.
    """
    left, top, tall = 70.0, 76.0, 340.0
    wide = max(78.0 * (len(names) - 1), 200.0)
    lean = 0.7 * LETTER * 12 * max(map(len, names))
    room = 60 + LETTER * 12 * max(map(len, series))
    width = max(left + wide + room, 40 + LETTER * 16 * max(len(title), 0.75 * len(note)))
    drawing = Drawing(width, max(top + tall + lean + 40, top + 24 * len(series) + 20))
    drawing.text(16, 28, title, size=16, weight="bold")
    drawing.text(16, 48, note)
    decades = _decades([value for values in series.values() for value in values if value])

    def height(value: float) -> float:
        return top - tall * math.log10(value) / (decades + 0.6) if value > 0 else top + tall

    for tick in [*(10.0**-n for n in range(decades + 1)), 0.0]:
        drawing.lines([(left, height(tick)), (left + wide, height(tick))], PALE)
        drawing.text(left - 12, height(tick) + 4, f"{tick:.{decades}f}".rstrip("0").rstrip(".") or "0", anchor="end")
    xs = [left + wide * i / max(len(names) - 1, 1) for i in range(len(names))]
    for x, name in zip(xs, names, strict=True):
        drawing.text(x + 4, top + tall + 20, name, anchor="end", turn=-40)
    # The first is drawn last, on top.
    for i, (label, values) in reversed(list(enumerate(series.items()))):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        stroke, dash = 3.0 if i == 0 else 1.4, "" if i < len(COLOURS) else "5 3"
        points = [(x, height(value)) for x, value in zip(xs, values, strict=True) if value is not None]
        key = left + wide + 18, top + 8 + 24 * i
        drawing.lines(points, colour, stroke, dash)
        drawing.lines([key, (key[0] + 24, key[1])], colour, stroke, dash)
        for x, y in [*points, (key[0] + 12, key[1])]:
            drawing.marker(x, y, marker, colour)
        drawing.text(key[0] + 32, key[1] + 4, label, weight="bold" if i == 0 else "normal")
    return drawing.source()


def _decades(values: Sequence[float]) -> int:
    """How many decades below 1 hold all values."""
    return min(max(math.ceil(-math.log10(value)) for value in values), 8) if values else 1


def _level(value: float, steps: Sequence[float]) -> float:
    """0 for the lightest shade to 1 for the darkest."""
    return sum(value > step for step in steps) / len(steps)


def _shade(value: float, steps: Sequence[float]) -> str:
    """White to dark blue."""
    level = _level(value, steps)
    return "#" + "".join(
        f"{round(a + (b - a) * level):02x}" for a, b in zip((247, 251, 255), (8, 48, 107), strict=True)
    )


def _dark(value: float, steps: Sequence[float]) -> bool:
    return _level(value, steps) > 0.6


def _legend(drawing: Drawing, x: float, y: float, steps: Sequence[float]) -> None:
    names = [f"{steps[0]:g}", *(f"≤ {step:g}" for step in steps[1:]), f"> {steps[-1]:g}"]
    for i, name in enumerate(names):
        value = steps[i] if i < len(steps) else steps[-1] + 1
        drawing.rect(x + 64 * i, y, 64, 18, _shade(value, steps), PALE)
        drawing.text(
            x + 64 * (i + 0.5), y + 13, name, anchor="middle", size=11, colour="white" if _dark(value, steps) else INK
        )
