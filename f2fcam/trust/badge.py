"""The visible mark "AI MODIFIED", top right, opaque, put on last (`DECISIONS` 17).

The process that hands pictures to the device stamps it, so the module needs no library: the badge's rows are made once
per picture size and copied into each picture. It is grey, so that both kinds of picture show the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from f2fcam.trust.lettering import draw_text, text_width

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

TEXT = "AI MODIFIED"
BACKGROUND, FOREGROUND = 18, 250
"""Grey levels of the plate and the letters, full range."""


def badge_box(width: int, height: int) -> tuple[int, int, int, int]:
    """The badge's rectangle `x0, y0, x1, y1` (half-open, pixels, even) in a picture of that size."""
    capital = _capital(width, height)
    box_width = min(_even(text_width(TEXT) * capital + 2.0 * capital), width // 2 * 2)
    box_height = min(_even(2.1 * capital), height // 2 * 2)
    margin = _even(0.022 * min(width, height))
    x1 = max(width // 2 * 2 - margin, box_width)
    y0 = min(margin, height // 2 * 2 - box_height)
    return x1 - box_width, y0, x1, y0 + box_height


def stamp_i420(buffer: bytearray | memoryview, width: int, height: int) -> None:
    """Put the badge on an I420 picture (limited range; sides even), in place."""
    view = memoryview(buffer).cast("B") if not isinstance(buffer, bytearray) else buffer
    for offset, row in _i420_rows(width, height):
        view[offset : offset + len(row)] = row


def stamp_rgb(rgb: UInt8[np.ndarray, "h w 3"]) -> None:
    """Put the badge on an RGB picture, in place."""
    height, width = rgb.shape[:2]
    for x0, y, row in _grey_rows(width, height):
        rgb[y, x0 : x0 + len(row)] = memoryview(row).cast("B", (len(row), 1))


def _capital(width: int, height: int) -> float:
    """Height of the capitals: 2.6 % of the picture's, as far as the badge stays within half of its width."""
    wanted = max(7.0, 0.026 * min(height, width))
    return min(wanted, 0.9 * width / (text_width(TEXT) + 2.0))


def _even(value: float) -> int:
    return max(2, round(value / 2) * 2)


@lru_cache(maxsize=8)
def _grey_rows(width: int, height: int) -> tuple[tuple[int, int, bytes], ...]:
    """`x0, y, grey levels` of each row of the badge, corners rounded."""
    x0, y0, x1, y1 = badge_box(width, height)
    text = draw_text(TEXT, _capital(width, height))
    left, top = (x1 - x0 - text.width) // 2, (y1 - y0 - text.height) // 2
    radius = (y1 - y0) // 4 // 2 * 2
    rows = []
    for y in range(y1 - y0):
        row = bytearray([BACKGROUND]) * (x1 - x0)
        if 0 <= y - top < text.height:
            for x, covered in enumerate(text.rows[y - top]):
                if covered and 0 <= left + x < len(row):
                    row[left + x] = BACKGROUND + (FOREGROUND - BACKGROUND) * covered // 255
        inset = _corner(min(y, y1 - y0 - 1 - y), radius)
        rows.append((x0 + inset, y0 + y, bytes(row[inset : len(row) - inset])))
    return tuple(rows)


def _corner(depth: int, radius: int) -> int:
    """How far a row `depth` rows from the badge's edge is drawn in."""
    if depth >= radius:
        return 0
    return round(radius - (radius**2 - (radius - depth - 0.5) ** 2) ** 0.5)


@lru_cache(maxsize=8)
def _i420_rows(width: int, height: int) -> tuple[tuple[int, bytes], ...]:
    """`offset, bytes` of the badge's rows in the three planes."""
    patches = []
    u, v = width * height, width * height * 5 // 4
    for x0, y, grey in _grey_rows(width, height):
        patches.append((y * width + x0, bytes(16 + level * 219 // 255 for level in grey)))
        if y % 2 == 0:
            start, stop = x0 // 2, (x0 + len(grey) + 1) // 2
            at = y // 2 * (width // 2) + start
            patches += [(plane + at, bytes([128]) * (stop - start)) for plane in (u, v)]
    return tuple(patches)
