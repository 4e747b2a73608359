"""Letters drawn without any library, for the badge and the placeholder: strokes with round ends, anti-aliased.

A glyph is a list of polylines in a box whose capital height is 1, y down; the distance to them gives the coverage.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

Point = tuple[float, float]

GAP = 0.31
SPACE = 0.5


def _arc(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> list[Point]:
    """Points of an ellipse about (x, y); angles in degrees, 0 = right, 90 = down."""
    steps = max(3, round(abs(stop - start) / 15))
    angles = [math.radians(start + (stop - start) * i / steps) for i in range(steps + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


GLYPHS: dict[str, tuple[float, list[list[Point]]]] = {
    "A": (0.78, [[(0, 1), (0.39, 0), (0.78, 1)], [(0.14, 0.66), (0.64, 0.66)]]),
    "B": (0.6, [[(0, 1), (0, 0), (0.3, 0), *_arc(0.3, 0.25, 0.26, 0.25, -90, 90), (0, 0.5)],
                [(0.3, 0.5), *_arc(0.31, 0.75, 0.29, 0.25, -90, 90), (0, 1)]]),
    "C": (0.74, [_arc(0.44, 0.5, 0.44, 0.5, -48, -312)]),
    "D": (0.72, [[(0, 0), (0, 1), (0.26, 1), *_arc(0.26, 0.5, 0.46, 0.5, 90, -90), (0, 0)]]),
    "E": (0.54, [[(0.54, 0), (0, 0), (0, 1), (0.54, 1)], [(0, 0.49), (0.46, 0.49)]]),
    "F": (0.52, [[(0.52, 0), (0, 0), (0, 1)], [(0, 0.49), (0.44, 0.49)]]),
    "G": (0.78, [[*_arc(0.44, 0.5, 0.44, 0.5, -48, -330), (0.83, 0.54), (0.5, 0.54)]]),
    "I": (0.0, [[(0, 0), (0, 1)]]),
    "K": (0.62, [[(0, 0), (0, 1)], [(0.6, 0), (0, 0.6)], [(0.2, 0.42), (0.62, 1)]]),
    "L": (0.5, [[(0, 0), (0, 1), (0.5, 1)]]),
    "M": (0.86, [[(0, 1), (0, 0), (0.43, 0.68), (0.86, 0), (0.86, 1)]]),
    "N": (0.7, [[(0, 1), (0, 0), (0.7, 1), (0.7, 0)]]),
    "O": (0.88, [_arc(0.44, 0.5, 0.44, 0.5, 0, 360)]),
    "P": (0.58, [[(0, 1), (0, 0), (0.3, 0), *_arc(0.3, 0.28, 0.28, 0.28, -90, 90), (0, 0.56)]]),
    "R": (0.62, [[(0, 1), (0, 0), (0.3, 0), *_arc(0.3, 0.27, 0.27, 0.27, -90, 90), (0, 0.54)], [(0.3, 0.54), (0.62, 1)]]),
    "S": (0.58, [[*_arc(0.29, 0.25, 0.27, 0.25, -25, -270), *_arc(0.29, 0.75, 0.29, 0.25, -90, 155)]]),
    "T": (0.68, [[(0, 0), (0.68, 0)], [(0.34, 0), (0.34, 1)]]),
    "U": (0.7, [[(0, 0), (0, 0.65), *_arc(0.35, 0.65, 0.35, 0.35, 180, 0), (0.7, 0)]]),
    "V": (0.74, [[(0, 0), (0.37, 1), (0.74, 0)]]),
    "W": (1.06, [[(0, 0), (0.27, 1), (0.53, 0.25), (0.79, 1), (1.06, 0)]]),
    "Y": (0.72, [[(0, 0), (0.36, 0.5), (0.72, 0)], [(0.36, 0.5), (0.36, 1)]]),
    "2": (0.58, [[*_arc(0.29, 0.29, 0.28, 0.29, -170, 25), (0, 1), (0.6, 1)]]),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of each pixel the letters cover, 0..255, one `bytes` a row."""

    width: int
    height: int
    rows: tuple[bytes, ...]


def text_width(text: str) -> float:
    """Width of `text` in capital heights, without the stroke's thickness."""
    width = 0.0
    for i, letter in enumerate(text):
        width += SPACE if letter == " " else GLYPHS[letter][0] + (GAP if i + 1 < len(text) else 0.0)
    return width


def draw_text(text: str, capital_px: float, stroke: float = 0.15) -> Coverage:
    """Letters `capital_px` high with strokes `stroke` of that wide; the picture fits them tightly."""
    radius = max(0.5, capital_px * stroke / 2)
    margin = radius + 1.0
    width = math.ceil(text_width(text) * capital_px + 2 * margin)
    height = math.ceil(capital_px + 2 * margin)
    rows = [bytearray(width) for _ in range(height)]
    x = 0.0
    for letter in text:
        if letter == " ":
            x += SPACE
            continue
        advance, lines = GLYPHS[letter]
        for line in lines:
            points = [(margin + (x + u) * capital_px, margin + v * capital_px) for u, v in line]
            for start, stop in itertools.pairwise(points):
                _draw_segment(rows, start, stop, radius)
        x += advance + GAP
    return Coverage(width, height, tuple(bytes(row) for row in rows))


def _draw_segment(rows: list[bytearray], start: Point, stop: Point, radius: float) -> None:
    """Cover the pixels within `radius` of a segment, with one pixel of soft edge."""
    (x0, y0), (x1, y1) = start, stop
    dx, dy = x1 - x0, y1 - y0
    length2 = dx * dx + dy * dy or 1.0
    reach = radius + 1.0
    for row in range(max(0, int(min(y0, y1) - reach)), min(len(rows), int(max(y0, y1) + reach) + 1)):
        line, y = rows[row], row + 0.5
        for column in range(max(0, int(min(x0, x1) - reach)), min(len(line), int(max(x0, x1) + reach) + 1)):
            x = column + 0.5
            along = min(1.0, max(0.0, ((x - x0) * dx + (y - y0) * dy) / length2))
            distance = math.hypot(x - x0 - along * dx, y - y0 - along * dy)
            covered = min(255, max(0, round((radius + 0.5 - distance) * 255)))
            if covered > line[column]:
                line[column] = covered
