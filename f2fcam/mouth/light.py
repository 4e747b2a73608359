"""Light between two frames: the SH shading's ratio on the skin, and what of the colour is still apart around the opening."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8
from numba import njit, types

from f2fcam.frame import SRGB_TO_LINEAR
from f2fcam.render.shade import LUMINANCE, _irradiance

SHADING_LIMITS = (0.6, 1.6)
"""Of the shading's ratio (`DECISIONS` 9)."""
GAIN_LIMITS = (0.7, 1.4)
"""Of the colour match in linear light; more is a fault of the fit."""
LOG_GAIN_LIMITS = (math.log(GAIN_LIMITS[0]), math.log(GAIN_LIMITS[1]))
FEWEST_POINTS = 24
"""Ring points below which colours are left alone."""
TILT_WEIGHT = 0.3
"""Prior that the gain is the same everywhere, as part of the points' weight."""

LUMINANCE_OF_RGB = np.array(LUMINANCE, np.float32)

PICTURE = types.Array(types.uint8, 3, "C", readonly=True)
"""A picture as the kernels take it; profiles may be mapped read-only."""


def luminance_weights(lighting: Float32[np.ndarray, "9 3"]) -> Float32[np.ndarray, "9 1"]:
    """SH coefficients of luminance."""
    weights = np.asarray(lighting, np.float32) @ LUMINANCE_OF_RGB
    return np.ascontiguousarray(weights[:, None])


@njit(inline="always")
def luminance_of(x, y, z, weights):
    """Irradiance at a unit normal in camera space, luminance only."""
    return _irradiance(x, y, z, weights, 0)


@njit("f4(f4[::1])", nogil=True, cache=True, fastmath=True)
def darkest(then):
    """Least luminance that a shading ratio believes, of a surface's luminances."""
    total = np.float32(0)
    for i in range(len(then)):
        total += abs(then[i])
    return np.float32(0.1) * total / np.float32(len(then)) + np.float32(1e-6)


@njit(inline="always")
def shading_ratio(now, then, floor):
    """New over old luminance, within limits; `floor` is `darkest`'s."""
    return min(max(max(now, floor) / max(then, floor), np.float32(SHADING_LIMITS[0])), np.float32(SHADING_LIMITS[1]))


@njit(types.void(PICTURE, types.int64, types.int64, types.float32[:, ::1], types.float32[::1], types.int32[::1],
                 types.float32[::1], types.float32[::1], types.float32[::1], types.float32[:, ::1], types.boolean[::1]),
      nogil=True, cache=True)  # fmt: skip
def _colours_at(picture, left, top, pixels, facing, points, light, new_light, table, out, seen):
    height, width = picture.shape[:2]
    floor = darkest(light)
    for k in range(len(points)):
        i = points[k]
        x, y = int(np.floor(pixels[i, 0])) - left, int(np.floor(pixels[i, 1])) - top
        seen[k] = 1 <= x < width - 1 and 1 <= y < height - 1 and facing[i] < -0.2
        for c in range(3):
            out[k, c] = 0
        if not seen[k]:
            continue
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                for c in range(3):
                    out[k, c] += table[picture[y + dy, x + dx, c]]
        factor = shading_ratio(new_light[i], light[i], floor) / np.float32(9)
        for c in range(3):
            out[k, c] *= factor


def colours_at(
    picture: UInt8[np.ndarray, "h w 3"],
    corner: tuple[int, int],
    pixels: Float32[np.ndarray, "v 2"],
    facing: Float32[np.ndarray, " v"],
    points: Int32[np.ndarray, " k"],
    light: Float32[np.ndarray, " v"],
    new_light: Float32[np.ndarray, " v"],
) -> tuple[Float32[np.ndarray, "k 3"], Bool[np.ndarray, " k"]]:
    """Linear colours, means of 3 x 3 pixels, at chosen vertices under a new light; and which of them the picture shows."""
    out, seen = np.empty((len(points), 3), np.float32), np.empty(len(points), np.bool_)
    _colours_at(picture, *corner, pixels, facing, points, light, new_light, SRGB_TO_LINEAR, out, seen)
    return out, seen


def colour_match(
    theirs: Float32[np.ndarray, "k 3"],
    ours: Float32[np.ndarray, "k 3"],
    pixels: Float32[np.ndarray, "k 2"],
    seen: Bool[np.ndarray, " k"],
) -> Float32[np.ndarray, "3 3"]:
    """Gain per channel, (x, y, 1) x rgb in log linear light, that takes `theirs` to `ours` where both are seen.

    Robust least squares; none for a handful of points.
    """
    plane = np.zeros((3, 3), np.float32)
    if np.count_nonzero(seen) >= FEWEST_POINTS:
        _colour_match(theirs[seen], ours[seen], pixels[seen], plane)
    return plane


@njit("void(f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1])", nogil=True, cache=True)
def _colour_match(theirs, ours, pixels, plane):
    count = len(pixels)
    middle, spread = np.zeros(2), np.zeros(2)
    for k in range(2):
        middle[k] = pixels[:, k].mean()
        spread[k] = pixels[:, k].std() + 1e-3
    place, ratio = np.ones((count, 3)), np.empty((count, 3))
    light, weight, away = np.empty(count), np.empty(count), np.empty(count)
    for i in range(count):
        our, their = 0.0, 0.0
        for c in range(3):
            ratio[i, c] = np.log((ours[i, c] + np.float32(2e-3)) / (theirs[i, c] + np.float32(2e-3)))
            our, their = our + ours[i, c] / 3, their + theirs[i, c] / 3
        for k in range(2):
            place[i, k] = (pixels[i, k] - middle[k]) / spread[k]
        light[i] = weight[i] = np.sqrt(our * their)
    fit = np.zeros((3, 3))
    for _ in range(3):
        normal, right = np.zeros((3, 3)), np.zeros((3, 3))
        for i in range(count):
            for k in range(3):
                for c in range(3):
                    normal[k, c] += weight[i] * place[i, k] * place[i, c]
                    right[k, c] += weight[i] * place[i, k] * ratio[i, c]
        for k in range(3):
            normal[k, k] += 1e-9 + (TILT_WEIGHT * normal[2, 2] if k < 2 else 0.0)
        fit = np.linalg.solve(normal, right)
        for i in range(count):
            away[i] = 0.0
            for c in range(3):
                away[i] += abs(ratio[i, c] - place[i, 0] * fit[0, c] - place[i, 1] * fit[1, c] - fit[2, c]) / 3
        least = 0.5 * np.median(away) + 1e-4
        for i in range(count):
            weight[i] = light[i] / max(away[i], least)
    for c in range(3):
        for k in range(2):
            plane[k, c] = fit[k, c] / spread[k]
        plane[2, c] = fit[2, c] - middle[0] * fit[0, c] / spread[0] - middle[1] * fit[1, c] / spread[1]


@njit(inline="always")
def log_gain(plane, x, y, channel):
    """The fitted gain at a pixel, natural logarithm in linear light, within limits."""
    fitted = x * plane[0, channel] + y * plane[1, channel] + plane[2, channel]
    return min(max(fitted, np.float32(LOG_GAIN_LIMITS[0])), np.float32(LOG_GAIN_LIMITS[1]))
