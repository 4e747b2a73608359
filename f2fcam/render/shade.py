"""Light on the surface: how much brighter the new shape is than the old one, and what a surface point looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int32
from numba import njit
from scipy import sparse

from f2fcam.face.lighting import C0, C1, C2, C3, C4
from f2fcam.frame import LINEAR_STEPS, LINEAR_TO_SRGB

Appearance = Literal["video", "model"]

SMALLEST_RATIO, LARGEST_RATIO = 0.6, 1.6
"""Limits of the shading ratio (`DECISIONS` 9): beyond them the light's fit is to blame, not the face."""

ENCODED_OFFSET = 0.055
"""sRGB's power segment is v = 1.055 L^(1/2.4) - 0.055: a factor r on linear light takes v to (v + 0.055) r^(1/2.4) - 0.055."""

GAIN_SMOOTHING = 8
"""Passes of `smooth_gain` over the level-0 mesh: about two centimetres. What is finer is the fits' noise, and flickers."""

LIGHT_S = 0.2
"""How fast the change of light and skin follows (time constant): what is faster is mostly the fits' noise, and flickers."""

LIGHT_ROWS = 4
"""Target frames further apart do not follow each other: their light is their own at once."""

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Rec. 709 weights of linear RGB."""


@dataclass(frozen=True, slots=True)
class LightState:
    """What one output picture hands to the next: the change of light and skin that was shown, on which target frame, when.

    Attributes:
        gain: factors of the level-0 vertices; None at the start.
    """

    gain: Float32[np.ndarray, "m 3"] | None = None
    row: int = -1
    time_s: float = 0.0

    def share(self, row: int, time_s: float) -> float:
        """How much of the change of light is new in the picture of a target frame `row`; all of it after a jump."""
        passed = time_s - self.time_s
        if self.gain is None or abs(row - self.row) > LIGHT_ROWS or passed < 0:
            return 1.0
        return 1.0 - float(np.exp(-passed / LIGHT_S))


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


@njit("void(f4[:,::1], f4[:,::1], f4[:,::1], f4[::1])", nogil=True, cache=True, fastmath=True)
def encoded_gain(new_normals, old_normals, lighting, out):
    """Factor on `encoded + 0.055` that turns the old shading into the new, per vertex (n,).

    `lighting` (9, 3) is the target frame's. Luminance only: the colour of the light is already in the picture. Meant for
    level 0: finer normals would put the model's own creases into the picture.
    """
    luminance = np.empty((9, 1), np.float32)
    for k in range(9):
        luminance[k, 0] = (
            np.float32(LUMINANCE[0]) * lighting[k, 0]
            + np.float32(LUMINANCE[1]) * lighting[k, 1]
            + np.float32(LUMINANCE[2]) * lighting[k, 2]
        )
    # where the fitted light says darkness, keep the ratio's denominator away from zero
    floor = np.float32(0.1) * abs(np.float32(C0) * luminance[0, 0]) + np.float32(1e-6)
    for i in range(len(out)):
        new = _irradiance(new_normals[i, 0], new_normals[i, 1], new_normals[i, 2], luminance, 0)
        old = _irradiance(old_normals[i, 0], old_normals[i, 1], old_normals[i, 2], luminance, 0)
        ratio = min(max(max(new, floor) / max(old, floor), SMALLEST_RATIO), LARGEST_RATIO)
        out[i] = np.float32(ratio) ** np.float32(1 / 2.4)


@njit("void(f4[::1], i4[:,::1], i8, f4[:,::1])", nogil=True, cache=True, fastmath=True)
def smooth_gain(gain, triangles, passes, memory):
    """Average over neighbours, in place: the fitted light is soft, and the shapes' sharp creases are not this person's.

    `memory` (n, 2) is overwritten.
    """
    for _ in range(passes):
        for i in range(len(gain)):
            memory[i, 0] = gain[i]
            memory[i, 1] = 1.0
        for t in range(len(triangles)):
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            total = gain[a] + gain[b] + gain[c]
            for v in (a, b, c):
                memory[v, 0] += total
                memory[v, 1] += 3.0
        for i in range(len(gain)):
            gain[i] = memory[i, 0] / memory[i, 1]


def shade_uncertain(
    operator: sparse.csr_matrix,
    rows: Int32[np.ndarray, " n"],
    normals0: Float32[np.ndarray, "m 3"],
    albedo: Float32[np.ndarray, "v 3"],
    lighting: Float32[np.ndarray, "9 3"],
    confidence: Float32[np.ndarray, " n"],
    out: Float32[np.ndarray, "n 4"],
) -> None:
    """What the personal texture contributes per vertex: (1 - confidence) x (sRGB-encoded colour in 0..255, 1).

    Colour is albedo x light (Face2Face, section 3), encoded; premultiplied so that certain vertices need none.
    `normals0` are level-0 normals in camera space, carried by `operator`; `rows` are the vertices' places in `albedo`.
    """
    _shade(
        operator.indptr, operator.indices, operator.data, rows, normals0, albedo, lighting, confidence, LINEAR_TO_SRGB, out
    )  # fmt: skip


@njit(
    "void(i4[::1], i4[::1], f4[::1], i4[::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[:], f4[::1], f4[:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _shade(indptr, indices, data, rows, normals0, albedo, lighting, confidence, table, out):
    for i in range(len(out)):
        share = np.float32(1) - confidence[i]
        if share <= 0:
            out[i, 0] = out[i, 1] = out[i, 2] = out[i, 3] = 0.0
            continue
        x = y = z = np.float32(0)
        for k in range(indptr[i], indptr[i + 1]):
            x += data[k] * normals0[indices[k], 0]
            y += data[k] * normals0[indices[k], 1]
            z += data[k] * normals0[indices[k], 2]
        scale = np.float32(1) / np.sqrt(max(x * x + y * y + z * z, np.float32(1e-12)))
        x, y, z = x * scale, y * scale, z * scale
        for channel in range(3):
            linear = albedo[rows[i], channel] * np.float32(_irradiance(x, y, z, lighting, channel))
            position = min(max(linear, np.float32(0)), np.float32(1)) * (LINEAR_STEPS - 1)
            low = min(int(position), LINEAR_STEPS - 2)
            step = table[low + 1] - table[low]
            out[i, channel] = share * np.float32(255) * (table[low] + step * (position - low))
        out[i, 3] = share
