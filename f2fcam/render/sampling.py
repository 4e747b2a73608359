"""Pictures and grids between their pixels: bicubic weights for the kernels, and where a pixel lies between cells."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from numba import njit

from f2fcam.simd import bicubic, colour

PHASE_BITS = 8
PHASES = 1 << PHASE_BITS
"""Sub-pixel positions of the sampling kernel's table."""


def _catmull_rom() -> Float32[np.ndarray, "257 4"]:
    """Weights of the four taps at -1, 0, 1, 2 for each phase; interpolates, so that phase 0 copies."""
    t = np.arange(PHASES + 1) / PHASES
    taps = [-0.5 * t + t**2 - 0.5 * t**3, 1 - 2.5 * t**2 + 1.5 * t**3, 0.5 * t + 2 * t**2 - 1.5 * t**3]
    return np.stack([*taps, 1 - sum(taps)], axis=1).astype(np.float32)


CATMULL_ROM = _catmull_rom()
ACROSS = np.ascontiguousarray(np.repeat(CATMULL_ROM, 3, axis=1))
"""The same weights once per channel."""


@njit(inline="always")
def place_of(pixel, per_pixel, cells):
    """Where the middle of a pixel lies between the middles of cells: the first of two, and the share of the second."""
    place = (np.float32(pixel) + np.float32(0.5)) * per_pixel - np.float32(0.5)
    place = min(max(place, np.float32(0)), np.float32(cells - 1))
    first = np.intp(place)
    return first, place - np.float32(first)


@njit(inline="always")
def tap(picture, sx, sy, down, across):
    """Catmull-Rom sample of a picture at index coordinates, edges repeated."""
    height, width = picture.shape[:2]
    x = np.intp(np.int32(np.floor(sx * np.float32(PHASES) + np.float32(0.5))))
    y = np.intp(np.int32(np.floor(sy * np.float32(PHASES) + np.float32(0.5))))
    ix, iy, px, py = x >> PHASE_BITS, y >> PHASE_BITS, x & (PHASES - 1), y & (PHASES - 1)
    if 1 <= ix < width - 2 and 1 <= iy < height - 3:
        return bicubic(picture, 3 * ((iy - 1) * width + ix - 1), 3 * width, down, across, py, px)
    red = green = blue = np.float32(0)
    for j in range(4):
        yy = min(max(iy + j - 1, 0), height - 1)
        for i in range(4):
            xx = min(max(ix + i - 1, 0), width - 1)
            w = down[py, j] * down[px, i]
            red += w * np.float32(picture[yy, xx, 0])
            green += w * np.float32(picture[yy, xx, 1])
            blue += w * np.float32(picture[yy, xx, 2])
    return colour(red, green, blue)
