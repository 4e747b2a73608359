"""The output picture: the target frame sampled along the field, relit, patched, and untouched everywhere else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit

from f2fcam.render import Fragments
from f2fcam.render.shade import ENCODED_OFFSET
from f2fcam.render.warp import Field

PHASES = 256
"""Sub-pixel positions of the sampling kernel's table."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Pixels from elsewhere that replace part of the picture: a retrieved mouth or eye, warped to the output already.

    Attributes:
        rgb: sRGB-encoded colours.
        alpha: coverage, 0 to 255.
        x, y: where in the picture the patch's first pixel lies.
        opening: number of the aperture (1 = first) that alone shows the patch, behind lips or lids; 0 = in front of all.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    alpha: UInt8[np.ndarray, "h w"]
    x: int
    y: int
    opening: int = 0


def _catmull_rom() -> Float32[np.ndarray, "257 4"]:
    """Weights of the four taps at -1, 0, 1, 2 for each phase; interpolates, so that phase 0 copies."""
    t = np.arange(PHASES + 1) / PHASES
    taps = [-0.5 * t + t**2 - 0.5 * t**3, 1 - 2.5 * t**2 + 1.5 * t**3, 0.5 * t + 2 * t**2 - 1.5 * t**3]
    return np.stack([*taps, 1 - sum(taps)], axis=1).astype(np.float32)


CATMULL_ROM = _catmull_rom()


def composite(
    frame: UInt8[np.ndarray, "H W 3"],
    field: Field,
    fragments: Fragments,
    triangles: np.ndarray,
    texture: Float32[np.ndarray, "n 3"],
    cavity: Float32[np.ndarray, " 3"],
    patches: tuple[Patch, ...],
    out: UInt8[np.ndarray, "H W 3"],
) -> None:
    """Write the whole output picture. Pixels outside `field.mask` are the frame's, bit for bit.

    `texture` holds the vertices' encoded colours (0..255) under the frame's light, `cavity` the mouth's darkness.
    """
    np.copyto(out, frame)
    x0, y0 = field.region[:2]
    _sample(
        frame, x0, y0, field.mask, field.shift, field.gain, field.confidence, field.cavity,
        fragments.triangle, fragments.barycentric, triangles, texture, cavity, CATMULL_ROM, out,
    )  # fmt: skip
    for patch in patches:
        _paste(patch.rgb, patch.alpha, patch.x, patch.y, patch.opening, field.opening, x0, y0, field.mask, out)


@njit(
    "void(u1[:,:,::1], i8, i8, u1[:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], f4[:,::1],"
    " i4[:,::1], f4[:,:,::1], i4[:,::1], f4[:,::1], f4[::1], f4[:,::1], u1[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _sample(
    frame, x0, y0, mask, shift, gain, confidence, cavity, triangle, barycentric, triangles, texture, dark, kernel, out
):
    height, width = frame.shape[:2]
    offset = np.float32(255 * ENCODED_OFFSET)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x] == 0:
                continue
            sx, sy = x + x0 + shift[y, x, 0], y + y0 + shift[y, x, 1]
            ix, iy = int(np.floor(sx)), int(np.floor(sy))
            px, py = int((sx - ix) * PHASES + np.float32(0.5)), int((sy - iy) * PHASES + np.float32(0.5))
            red = green = blue = np.float32(0)
            if 1 <= ix < width - 2 and 1 <= iy < height - 2:
                for j in range(4):
                    wy = kernel[py, j]
                    r = g = b = np.float32(0)
                    for i in range(4):
                        w = kernel[px, i]
                        r += w * np.float32(frame[iy + j - 1, ix + i - 1, 0])
                        g += w * np.float32(frame[iy + j - 1, ix + i - 1, 1])
                        b += w * np.float32(frame[iy + j - 1, ix + i - 1, 2])
                    red, green, blue = red + wy * r, green + wy * g, blue + wy * b
            else:
                for j in range(4):
                    yy = min(max(iy + j - 1, 0), height - 1)
                    for i in range(4):
                        xx = min(max(ix + i - 1, 0), width - 1)
                        w = kernel[py, j] * kernel[px, i]
                        red += w * np.float32(frame[yy, xx, 0])
                        green += w * np.float32(frame[yy, xx, 1])
                        blue += w * np.float32(frame[yy, xx, 2])
            g = gain[y, x]
            red, green, blue = (red + offset) * g - offset, (green + offset) * g - offset, (blue + offset) * g - offset
            t = triangle[y, x]
            k = np.float32(1) - confidence[y, x]
            if k > 0 and t >= 0:
                i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                u, v, w = k * barycentric[y, x, 0], k * barycentric[y, x, 1], k * barycentric[y, x, 2]
                k = np.float32(1) - k
                red = k * red + u * texture[i0, 0] + v * texture[i1, 0] + w * texture[i2, 0]
                green = k * green + u * texture[i0, 1] + v * texture[i1, 1] + w * texture[i2, 1]
                blue = k * blue + u * texture[i0, 2] + v * texture[i1, 2] + w * texture[i2, 2]
            k = cavity[y, x]
            if k > 0:
                red, green, blue = red + k * (dark[0] - red), green + k * (dark[1] - green), blue + k * (dark[2] - blue)
            out[y + y0, x + x0, 0] = np.uint8(min(max(red + np.float32(0.5), np.float32(0)), np.float32(255)))
            out[y + y0, x + x0, 1] = np.uint8(min(max(green + np.float32(0.5), np.float32(0)), np.float32(255)))
            out[y + y0, x + x0, 2] = np.uint8(min(max(blue + np.float32(0.5), np.float32(0)), np.float32(255)))


@njit(
    "void(u1[:,:,:], u1[:,:], i8, i8, i8, u1[:,::1], i8, i8, u1[:,::1], u1[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _paste(rgb, alpha, left, top, number, opening, x0, y0, mask, out):
    """Blend a patch in; behind lips or lids where it belongs to an opening. Stays within the field's region."""
    rows, columns = opening.shape
    for j in range(alpha.shape[0]):
        y = top + j - y0
        if y < 0 or y >= rows:
            continue
        for i in range(alpha.shape[1]):
            x = left + i - x0
            if x < 0 or x >= columns or alpha[j, i] == 0:
                continue
            if number > 0 and opening[y, x] != number:
                continue
            a = np.float32(alpha[j, i]) / np.float32(255)
            for k in range(3):
                old = np.float32(out[y + y0, x + x0, k])
                out[y + y0, x + x0, k] = np.uint8(old + a * (np.float32(rgb[j, i, k]) - old) + np.float32(0.5))
            mask[y, x] = 255
