"""Bar charts and lines as SVG text, readable on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 40, 64
COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f", "#76b7b2", "#edc948")
INK = "#808080"
"""Between black and white: seen on both."""
TICKS = 5
MOST_SHARES = 100
ENTRY_PX, LINE_PX = 7.2, 16
"""Width of a legend's letter, and height of its lines."""

Point = tuple[float, float]


def stacked_bars(
    title: str, unit: str, bars: Sequence[str], parts: Mapping[str, Sequence[float]], limit: float | None = None
) -> str:
    """One bar per name of `bars`, each the sum of its values in `parts` (part -> a value per bar).

    `limit` draws a line, such as the time of a picture at 30 a second.
    """
    top = _rounded_up(max([sum(values) for values in zip(*parts.values(), strict=True)] + [limit or 0.0]))
    step = (WIDTH - LEFT - RIGHT) / max(len(bars), 1)
    body = []
    for number, name in enumerate(bars):
        base, x = 0.0, LEFT + step * (number + 0.2)
        for colour, (part, values) in zip(_colours(len(parts)), parts.items(), strict=True):
            y0, y1 = _y(base, top), _y(base + values[number], top)
            tip = escape(f"{name}, {part}: {values[number]:.3g} {unit}")
            body.append(
                f'<rect x="{x:.1f}" y="{y1:.1f}" width="{0.6 * step:.1f}" height="{y0 - y1:.1f}" fill="{colour}">'
                f"<title>{tip}</title></rect>"
            )
            base += values[number]
        body.append(_text(x + 0.3 * step, _y(base, top) - 4, f"{base:.3g}", "middle"))
        body.append(_text(x + 0.3 * step, HEIGHT - BOTTOM + 16, name, "middle"))
    if limit is not None:
        body.append(_rule(limit, top))
    return _page(title, _y_axis(unit, top), body, list(parts))


def lines(title: str, x_label: str, y_label: str, curves: Mapping[str, Sequence[Point]], *, log_x: bool = False) -> str:
    """Curves through points (x, y), y from 0; `log_x`: equal factors of x are equally wide.

    Where there are but few places x, they are the axis's; else it is even, and begins at 0.
    """
    points = [point for curve in curves.values() for point in curve]
    xs = sorted({x for x, _ in points})
    top = _rounded_up(max(y for _, y in points))
    few = len(xs) <= 2 * TICKS
    ticks = xs if few else [_rounded_up(xs[-1]) * k / TICKS for k in range(TICKS + 1)]
    way = math.log if log_x else float
    low, high = way(ticks[0]), way(ticks[-1])

    def place(x: float) -> float:
        return LEFT + 12 + (WIDTH - LEFT - RIGHT - 24) * ((way(x) - low) / (high - low) if high > low else 0.5)

    body = []
    for colour, curve in zip(_colours(len(curves)), curves.values(), strict=True):
        path = " ".join(f"{place(x):.1f},{_y(y, top):.1f}" for x, y in curve)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(curve) <= 2 * TICKS:
            body += [f'<circle cx="{place(x):.1f}" cy="{_y(y, top):.1f}" r="3" fill="{colour}"/>' for x, y in curve]
    for x in ticks:
        body.append(_text(place(x), HEIGHT - BOTTOM + 16, _number(x), "middle"))
    body.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 34, x_label, "middle"))
    return _page(title, _y_axis(y_label, top), body, list(curves) if len(curves) > 1 else [])


def shares(values: Sequence[float]) -> list[Point]:
    """Points (value, percent of all that are no larger) of a distribution, for `lines`; a hundred at most."""
    ordered, count = sorted(values), len(values)
    kept = sorted({round((count - 1) * k / (MOST_SHARES - 1)) for k in range(MOST_SHARES)}) if count else []
    return [(ordered[k], 100.0 * (k + 1) / count) for k in kept]


def _colours(count: int) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(count)]


def _rounded_up(value: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten, of which an axis is made."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10) if power * step >= value * 0.999)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top


def _rule(value: float, top: float) -> str:
    y = _y(value, top)
    label = _text(WIDTH - RIGHT, y - 4, f"{value:.3g}", "end")
    return f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-dasharray="6 4"/>' + label


def _y_axis(label: str, top: float) -> list[str]:
    drawn = []
    for k in range(TICKS + 1):
        value = top * k / TICKS
        y = _y(value, top)
        drawn.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-opacity="0.3"/>')
        drawn.append(_text(LEFT - 6, y + 4, _number(value), "end"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    drawn.append(f'<g transform="translate(16 {middle:.0f}) rotate(-90)">{_text(0, 0, label, "middle")}</g>')
    return drawn


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _page(title: str, axis: list[str], body: list[str], legend: list[str]) -> str:
    shown, height = _legend(legend)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}" role="img">'
    )
    name = f'<title>{escape(title)}</title><g font-size="14">{_text(LEFT, 20, title, "start")}</g>'
    return "\n".join([head, name, *axis, *body, *shown, "</svg>", ""])


def _legend(names: list[str]) -> tuple[list[str], int]:
    """Coloured names in as many lines as they need, below the chart; and how much height that adds."""
    x, y, drawn = float(LEFT), HEIGHT - 12, []
    for colour, name in zip(_colours(len(names)), names, strict=True):
        width = 24 + ENTRY_PX * len(name)
        if x > LEFT and x + width > WIDTH - RIGHT:
            x, y = float(LEFT), y + LINE_PX
        drawn.append(f'<rect x="{x:.1f}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        drawn.append(_text(x + 14, y, name, "start"))
        x += width
    return drawn, y - (HEIGHT - 12)
