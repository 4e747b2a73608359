"""Light between two frames: the SH shading's ratio on the skin, and what of the colour is still apart around the opening."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8
from numba import njit, types

from f2fcam.frame import SRGB_TO_LINEAR
from f2fcam.render.shade import LUMINANCE, _irradiance

SHADING_LIMITS = (0.6, 1.6)
"""Of the shading's ratio (`DECISIONS` 9)."""
GAIN_LIMITS = (0.7, 1.4)
"""Of the colour match in linear light; more is a fault of the fit."""
FEWEST_POINTS = 24
"""Ring points below which colours are left alone."""
TILT_WEIGHT = 0.3
"""Prior that the gain is the same everywhere, as part of the points' weight."""

PICTURE = types.Array(types.uint8, 3, "C", readonly=True)
"""A picture as the kernels take it; profiles may be mapped read-only."""


def luminance(normals: Float32[np.ndarray, "v 3"], lighting: Float32[np.ndarray, "9 3"]) -> Float32[np.ndarray, " v"]:
    """Irradiance at unit normals in camera space, luminance only."""
    weights = np.ascontiguousarray(lighting @ np.array(LUMINANCE, np.float32)[:, None], np.float32)
    out = np.empty(len(normals), np.float32)
    _luminance(normals, weights, out)
    return out


@njit("void(f4[:,::1], f4[:,::1], f4[::1])", nogil=True, cache=True, fastmath=True)
def _luminance(normals, lighting, out):
    for i in range(len(out)):
        out[i] = _irradiance(normals[i, 0], normals[i, 1], normals[i, 2], lighting, 0)


def shading_ratio(now: Float32[np.ndarray, " v"], then: Float32[np.ndarray, " v"]) -> Float32[np.ndarray, " v"]:
    """New over old luminance, within limits."""
    floor = np.float32(0.1 * np.abs(then).mean() + 1e-6)
    return np.clip(np.maximum(now, floor) / np.maximum(then, floor), *SHADING_LIMITS)


@njit(types.void(PICTURE, types.int64, types.int64, types.float32[:, ::1], types.float32[:, ::1], types.int32[::1],
                 types.float32[::1], types.float32[:, ::1], types.boolean[::1]), nogil=True, cache=True)  # fmt: skip
def _colours_at(picture, left, top, pixels, normals, points, table, out, seen):
    height, width = picture.shape[:2]
    for k in range(len(points)):
        i = points[k]
        x, y = int(np.floor(pixels[i, 0])) - left, int(np.floor(pixels[i, 1])) - top
        seen[k] = 1 <= x < width - 1 and 1 <= y < height - 1 and normals[i, 2] < -0.2
        for c in range(3):
            out[k, c] = 0
        if not seen[k]:
            continue
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                for c in range(3):
                    out[k, c] += table[picture[y + dy, x + dx, c]]
        for c in range(3):
            out[k, c] /= np.float32(9)


def colours_at(
    picture: UInt8[np.ndarray, "h w 3"],
    corner: tuple[int, int],
    pixels: Float32[np.ndarray, "v 2"],
    normals: Float32[np.ndarray, "v 3"],
    points: Int32[np.ndarray, " k"],
) -> tuple[Float32[np.ndarray, "k 3"], Bool[np.ndarray, " k"]]:
    """Linear colours, means of 3 x 3 pixels, at chosen vertices; and which of them the picture shows."""
    out, seen = np.empty((len(points), 3), np.float32), np.empty(len(points), np.bool_)
    _colours_at(np.ascontiguousarray(picture), *corner, pixels, normals, points, SRGB_TO_LINEAR, out, seen)
    return out, seen


def colour_match(
    theirs: Float32[np.ndarray, "k 3"], ours: Float32[np.ndarray, "k 3"], pixels: Float32[np.ndarray, "k 2"]
) -> Float32[np.ndarray, "3 3"]:
    """Gain per channel, (x, y, 1) x rgb in log linear light, that takes `theirs` to `ours`; robust least squares."""
    plane = np.zeros((3, 3), np.float32)
    if len(pixels) < FEWEST_POINTS:
        return plane
    middle, spread = pixels.mean(axis=0), pixels.std(axis=0) + 1e-3
    place = np.column_stack([(pixels - middle) / spread, np.ones(len(pixels))]).astype(np.float64)
    ratio = np.log((ours + 2e-3) / (theirs + 2e-3)).astype(np.float64)
    light = np.sqrt(ours.mean(axis=1) * theirs.mean(axis=1)).astype(np.float64)
    weight = light
    fit = np.zeros((3, 3))
    for _ in range(3):
        normal = (place * weight[:, None]).T @ place
        normal[[0, 1], [0, 1]] += TILT_WEIGHT * normal[2, 2]
        fit = np.linalg.solve(normal + 1e-9 * np.eye(3), (place * weight[:, None]).T @ ratio)
        away = np.abs(ratio - place @ fit).mean(axis=1)
        weight = light / np.maximum(away, 0.5 * np.median(away) + 1e-4)
    plane[:2] = fit[:2] / spread[:, None]
    plane[2] = fit[2] - middle @ plane[:2]
    return plane


def gain_at(plane: Float32[np.ndarray, "3 3"], pixels: Float32[np.ndarray, "v 2"]) -> Float32[np.ndarray, "v 3"]:
    """The fitted gain in linear light at pixels, within limits."""
    low, high = np.log(np.array(GAIN_LIMITS, np.float32))
    return np.exp(np.clip(pixels @ plane[:2] + plane[2], low, high))
