"""A time code in the lower left corner, for tests and `selftest`: what arrived at the far end of a call, and how old it is.

Two rows of ten squares, a bit each, the highest first: sixteen bits of the time in milliseconds, then four of a checksum.
The squares are a fortieth of the width, so that they outlive a video codec and a smaller size. `tests/e2e/page.html` reads it.
"""

from __future__ import annotations

import time
from functools import lru_cache

TIME_BITS, CHECK_BITS = 16, 4
COLUMNS, ROWS = 10, 2
SQUARES_ACROSS = 40
DARK, LIGHT, GREY = 20, 230, 128


def code_of(time_ms: int) -> int:
    """The twenty bits for a time; the checksum is the sum of the time's four digits to the base of sixteen, and seven."""
    value = time_ms % (1 << TIME_BITS)
    check = (sum(value >> shift for shift in range(0, TIME_BITS, 4)) + 7) % (1 << CHECK_BITS)
    return value << CHECK_BITS | check


def wall_clock_ms(monotonic_ns: int) -> int:
    """A time of `time.monotonic_ns` in milliseconds of the wall clock: what a browser's `Date.now()` was then."""
    return (time.time_ns() - time.monotonic_ns() + monotonic_ns) // 1_000_000


def square_side(width: int, height: int) -> int:
    """Side of a square in pixels, even."""
    return max(2, min(width // SQUARES_ACROSS, height // ROWS) // 2 * 2)


def stamp_barcode(buffer: bytearray | memoryview, width: int, height: int, time_ms: int) -> None:
    """Put `time_ms` into an I420 picture (limited range; sides even), in place; one that is too small stays as it is."""
    side, code = square_side(width, height), code_of(time_ms)
    across = COLUMNS * side
    if across > width:
        return
    top = height - ROWS * side
    for row in range(ROWS):
        bits = [code >> (TIME_BITS + CHECK_BITS - 1 - row * COLUMNS - column) & 1 for column in range(COLUMNS)]
        line = b"".join((bytes([LIGHT]) if bit else bytes([DARK])) * side for bit in bits)
        for y in range(top + row * side, top + (row + 1) * side):
            buffer[y * width : y * width + across] = line
    grey = _grey(across // 2)
    for plane in (width * height, width * height * 5 // 4):
        for y in range(top // 2, height // 2):
            at = plane + y * (width // 2)
            buffer[at : at + across // 2] = grey


def read_barcode(luma: bytes | bytearray | memoryview, width: int, height: int) -> int:
    """The twenty bits in the squares' middles; right where it is the `code_of` of its own time."""
    side, code = square_side(width, height), 0
    for row in range(ROWS):
        y = height - (ROWS - row) * side + side // 2
        for column in range(COLUMNS):
            code = code << 1 | (luma[y * width + column * side + side // 2] > (DARK + LIGHT) // 2)
    return code


@lru_cache(maxsize=8)
def _grey(length: int) -> bytes:
    return bytes([GREY]) * length
