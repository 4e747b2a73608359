"""Solid noise: smooth random fields over space, the same for the same seed whatever samples them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from numba import njit


@njit("f4(i8, i8, i8, i8)", nogil=True, cache=True, inline="always")
def _hash(x, y, z, seed):
    """A lattice point's value in [-1, 1]."""
    h = np.uint64(x) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(y) * np.uint64(0xC2B2AE3D27D4EB4F)
    h ^= np.uint64(z) * np.uint64(0x165667B19E3779F9) ^ np.uint64(seed) * np.uint64(0x27D4EB2F165667C5)
    h ^= h >> np.uint64(29)
    h *= np.uint64(0xBF58476D1CE4E5B9)
    h ^= h >> np.uint64(32)
    return np.float32(np.float64(h >> np.uint64(11)) * (2.0 / 9007199254740992.0) - 1.0)


@njit("void(f4[:,::1], f4, i8, i8, f4[::1])", nogil=True, cache=True, fastmath=True)
def _fractal(points, frequency, octaves, seed, out):
    for i in range(len(points)):
        total, weight, f = np.float32(0), np.float32(1), frequency
        for octave in range(octaves):
            x, y, z = points[i, 0] * f, points[i, 1] * f, points[i, 2] * f
            ix, iy, iz = np.int64(np.floor(x)), np.int64(np.floor(y)), np.int64(np.floor(z))
            u, v, w = x - np.float32(ix), y - np.float32(iy), z - np.float32(iz)
            u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
            s = seed * 131 + octave
            a = _hash(ix, iy, iz, s) * (1 - u) + _hash(ix + 1, iy, iz, s) * u
            b = _hash(ix, iy + 1, iz, s) * (1 - u) + _hash(ix + 1, iy + 1, iz, s) * u
            c = _hash(ix, iy, iz + 1, s) * (1 - u) + _hash(ix + 1, iy, iz + 1, s) * u
            d = _hash(ix, iy + 1, iz + 1, s) * (1 - u) + _hash(ix + 1, iy + 1, iz + 1, s) * u
            total += weight * ((a * (1 - v) + b * v) * (1 - w) + (c * (1 - v) + d * v) * w)
            weight *= np.float32(0.5)
            f *= np.float32(2.03)
        out[i] = total


@njit("void(f4[:,::1], f4, i8, f4[::1])", nogil=True, cache=True, fastmath=True)
def _cells(points, frequency, seed, out):
    for i in range(len(points)):
        x, y, z = points[i, 0] * frequency, points[i, 1] * frequency, points[i, 2] * frequency
        # the points keep to the middle of their cubes: the nearest is in one of the eight around the closest corner
        ix, iy, iz = (
            np.int64(np.floor(x - np.float32(0.5))),
            np.int64(np.floor(y - np.float32(0.5))),
            np.int64(np.floor(z - np.float32(0.5))),
        )
        nearest = np.float32(9)
        for dx in range(2):
            for dy in range(2):
                for dz in range(2):
                    cx, cy, cz = ix + dx, iy + dy, iz + dz
                    px = np.float32(cx) + np.float32(0.5) + np.float32(0.38) * _hash(cx, cy, cz, seed * 7 + 1) - x
                    py = np.float32(cy) + np.float32(0.5) + np.float32(0.38) * _hash(cx, cy, cz, seed * 7 + 2) - y
                    pz = np.float32(cz) + np.float32(0.5) + np.float32(0.38) * _hash(cx, cy, cz, seed * 7 + 3) - z
                    nearest = min(nearest, px * px + py * py + pz * pz)
        out[i] = np.sqrt(nearest)


def fractal(
    points: Float32[np.ndarray, "n 3"], size_mm: float, seed: int, octaves: int = 1
) -> Float32[np.ndarray, " n"]:
    """Value noise of about unit amplitude whose coarsest features are `size_mm` wide; each octave halves size and height."""
    out = np.empty(len(points), np.float32)
    _fractal(np.ascontiguousarray(points, np.float32), 1.0 / size_mm, octaves, seed, out)
    return out


def cells(points: Float32[np.ndarray, "n 3"], size_mm: float, seed: int) -> Float32[np.ndarray, " n"]:
    """Distance to the nearest of scattered points, one per cube of `size_mm`, in units of `size_mm` (Worley 1996)."""
    out = np.empty(len(points), np.float32)
    _cells(np.ascontiguousarray(points, np.float32), 1.0 / size_mm, seed, out)
    return out


def smoothstep(zero: float, one: float, value: np.ndarray) -> np.ndarray:
    """0 at `zero`, 1 at `one`, smooth between."""
    t = np.clip((value - zero) / (one - zero), 0, 1)
    return t * t * (3 - 2 * t)
