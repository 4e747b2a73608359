"""Light on the surface: how much brighter the new shape is than the old one, and what a surface point looks like."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit

from f2fcam.face.lighting import C0, C1, C2, C3, C4
from f2fcam.frame import LINEAR_STEPS, LINEAR_TO_SRGB

Appearance = Literal["video", "model"]

SMALLEST_RATIO, LARGEST_RATIO = 0.6, 1.6
"""Limits of the shading ratio (`DECISIONS` 9): beyond them the light's fit is to blame, not the face."""

ENCODED_OFFSET = 0.055
"""sRGB's power segment is v = 1.055 L^(1/2.4) - 0.055: a factor r on linear light takes v to (v + 0.055) r^(1/2.4) - 0.055."""

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Rec. 709 weights of linear RGB."""


@njit(inline="always")
def _irradiance(x, y, z, lighting, channel):
    """SH bands 0 to 2 of one channel at a unit normal; `f2fcam.face.lighting.sh_basis`, unrolled."""
    return (
        C0 * lighting[0, channel]
        + C1 * (y * lighting[1, channel] + z * lighting[2, channel] + x * lighting[3, channel])
        + C2 * (x * y * lighting[4, channel] + y * z * lighting[5, channel] + x * z * lighting[7, channel])
        + C3 * (3 * z * z - 1) * lighting[6, channel]
        + C4 * (x * x - y * y) * lighting[8, channel]
    )


@njit("void(f4[:,::1], f4[:,::1], f4[:,::1], f4[::1], f4[::1])", nogil=True, cache=True, fastmath=True)
def encoded_gain(new_normals, old_normals, lighting, weight, out):
    """Factor on `encoded + 0.055` that turns the old shading into the new, per vertex; 1 where `weight` (0..1) is 0.

    `lighting` (9, 3) is the target frame's. Luminance only: the colour of the light is already in the picture.
    """
    luminance = np.empty((9, 1), np.float32)
    for k in range(9):
        luminance[k, 0] = (
            np.float32(LUMINANCE[0]) * lighting[k, 0]
            + np.float32(LUMINANCE[1]) * lighting[k, 1]
            + np.float32(LUMINANCE[2]) * lighting[k, 2]
        )
    # light from behind the fitted range: keep the ratio's denominator away from zero
    floor = np.float32(0.1) * abs(np.float32(C0) * luminance[0, 0]) + np.float32(1e-6)
    for i in range(len(out)):
        if weight[i] <= 0:
            out[i] = 1.0
            continue
        new = _irradiance(new_normals[i, 0], new_normals[i, 1], new_normals[i, 2], luminance, 0)
        old = _irradiance(old_normals[i, 0], old_normals[i, 1], old_normals[i, 2], luminance, 0)
        ratio = max(new, floor) / max(old, floor)
        ratio = min(max(ratio, SMALLEST_RATIO), LARGEST_RATIO)
        out[i] = np.float32(1) + weight[i] * (np.float32(ratio) ** np.float32(1 / 2.4) - np.float32(1))


@njit("void(f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[::1])", nogil=True, cache=True, fastmath=True)
def _shade(albedo, normals, lighting, out, table):
    for i in range(len(out)):
        for channel in range(3):
            light = _irradiance(normals[i, 0], normals[i, 1], normals[i, 2], lighting, channel)
            linear = min(max(albedo[i, channel] * np.float32(light), np.float32(0)), np.float32(1))
            position = linear * (LINEAR_STEPS - 1)
            low = min(int(position), LINEAR_STEPS - 2)
            step = table[low + 1] - table[low]
            out[i, channel] = np.float32(255) * (table[low] + step * (position - low))


def shade(albedo: np.ndarray, normals: np.ndarray, lighting: np.ndarray, out: np.ndarray) -> np.ndarray:
    """sRGB-encoded colours (n, 3) in 0..255 of surface points (Face2Face, section 3): albedo x light, into `out`.

    `albedo` (n, 3) is linear reflectance, `normals` (n, 3) are unit vectors in camera space, `lighting` is (9, 3).
    """
    _shade(albedo, normals, np.ascontiguousarray(lighting, np.float32), out, LINEAR_TO_SRGB)
    return out
