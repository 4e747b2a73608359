"""From linear light to the picture that a camera gives: sRGB codes and sensor noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit

from f2fcam.frame import LINEAR_TO_SRGB

GRAINS = 1 << 20


@lru_cache(maxsize=1)
def _grain() -> Float32[np.ndarray, " g"]:
    """Normal deviates; rows of a picture start at random places in them."""
    return np.random.default_rng(9).standard_normal(GRAINS, np.float32)


@njit("void(f4[:,:,::1], f4[::1], f4, f4[::1], i8[::1], u1[:,:,::1])", nogil=True, cache=True, fastmath=True)
def _expose(linear, table, noise, grain, start, out):
    height, width = out.shape[:2]
    last = np.float32(len(table) - 1)
    for y in range(height):
        g = start[y]
        for x in range(width):
            for channel in range(3):
                step = int(max(min(linear[y, x, channel] * last, last), np.float32(0)))
                code = table[step] * np.float32(255) + noise * grain[g] + np.float32(0.5)
                g += 1
                out[y, x, channel] = np.uint8(max(min(code, np.float32(255)), np.float32(0)))


def encode(linear: Float32[np.ndarray, "h w 3"], noise: float = 0.0, seed: int = 0) -> UInt8[np.ndarray, "h w 3"]:
    """sRGB picture of linear light with `noise` grey levels (standard deviation) added, the same for the same `seed`."""
    height, width = linear.shape[:2]
    start = np.random.default_rng([seed, 9]).integers(0, GRAINS - 3 * width, height)
    out = np.empty((height, width, 3), np.uint8)
    _expose(np.ascontiguousarray(linear, np.float32), LINEAR_TO_SRGB, np.float32(noise), _grain(), start, out)
    return out
