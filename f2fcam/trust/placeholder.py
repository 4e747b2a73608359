"""The picture that the camera shows while there is no other: made without any library, within milliseconds."""

from __future__ import annotations

from functools import lru_cache

from f2fcam.trust.badge import stamp_i420
from f2fcam.trust.lettering import draw_text

TITLE = "F2F CAMERA"
TOP, BOTTOM = 46, 24
"""Luma of the background's first and last row."""


@lru_cache(maxsize=8)
def placeholder_i420(width: int, height: int, caption: str) -> bytes:
    """An I420 picture with the program's name, `caption` below it in capitals, and the badge."""
    luma = bytearray()
    for y in range(height):
        luma += bytes([round(TOP + (BOTTOM - TOP) * y / max(1, height - 1))]) * width
    unit = min(height, width * 9 / 16)
    _write(luma, width, height, TITLE, 0.075 * unit, 0.44, 215)
    _write(luma, width, height, caption, 0.03 * unit, 0.56, 150)
    picture = luma + bytes([134]) * (width * height // 4) + bytes([124]) * (width * height // 4)
    stamp_i420(picture, width, height)
    return bytes(picture)


def _write(luma: bytearray, width: int, height: int, text: str, capital: float, centre: float, level: int) -> None:
    """Centre `text` on the row at `centre` of the height."""
    drawn = draw_text(text, max(5.0, capital), stroke=0.13)
    left, top = (width - drawn.width) // 2, round(height * centre) - drawn.height // 2
    for y, row in enumerate(drawn.rows):
        for x, covered in enumerate(row):
            if covered and 0 <= left + x < width and 0 <= top + y < height:
                at = (top + y) * width + left + x
                luma[at] += (level - luma[at]) * covered // 255
