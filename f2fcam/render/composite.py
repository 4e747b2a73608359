"""The output picture: the target frame sampled along the field, relit, patched, and untouched everywhere else."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from numba import njit

from f2fcam.render import Fragments
from f2fcam.render.scratch import Scratch
from f2fcam.render.shade import ENCODED_OFFSET
from f2fcam.render.warp import Field

LEAST_DOUBT = 1e-3
"""A frame's own pixel that is trusted but for this is taken as it is."""

PHASES = 256
"""Sub-pixel positions of the sampling kernel's table."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Pixels from elsewhere that replace part of the picture: a retrieved mouth or eye, warped to the output already.

    Attributes:
        rgb: sRGB-encoded colours.
        alpha: coverage, 0 to 255.
        x, y: where in the picture the patch's first pixel lies.
        rows, pull: level-0 vertices that the patch shows elsewhere than the target frame would, and how far aside, pixels.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    alpha: UInt8[np.ndarray, "h w"]
    x: int
    y: int
    rows: Int32[np.ndarray, " c"] = field(default_factory=lambda: np.empty(0, np.int32))
    pull: Float32[np.ndarray, "c 2"] = field(default_factory=lambda: np.empty((0, 2), np.float32))


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
    texture: Float32[np.ndarray, "n 4"],
    cavity: Float32[np.ndarray, " 3"],
    patches: tuple[Patch, ...],
    out: UInt8[np.ndarray, "H W 3"],
    scratch: Scratch,
) -> None:
    """Write the whole output picture. Pixels outside `field.mask` are the frame's, bit for bit.

    `texture` is `shade.shade_uncertain`'s, `cavity` (0..255) the mouth's darkness.
    """
    np.copyto(out, frame)
    x0, y0 = field.region[:2]
    left, top, right, bottom = _window(field.sampled, x0, y0, frame.shape[1], frame.shape[0])
    if right > left:
        source = scratch.take("source", ((bottom - top) * (right - left) * 3,))
        _copy_window(frame, left, top, right - left, bottom - top, source)
        _sample(
            source, right - left, bottom - top, x0 - left, y0 - top, x0, y0,
            field.mask, field.shift, field.gain, field.confidence, field.cavity,
            fragments.triangle, fragments.barycentric, triangles, texture, cavity, CATMULL_ROM, out,
        )  # fmt: skip
    for patch in patches:
        _paste(patch.rgb, patch.alpha, patch.x, patch.y, x0, y0, field.mask, out)


def _window(
    sampled: tuple[float, float, float, float], x0: int, y0: int, width: int, height: int
) -> tuple[int, int, int, int]:
    """The part of the frame that the masked pixels sample, with the kernel's margin; it may reach past the border."""
    low_x, low_y, high_x, high_y = sampled
    if high_x < low_x:
        return 0, 0, 0, 0
    left, right = (min(max(int(np.floor(x)) + x0, 0), width - 1) for x in (low_x, high_x))
    top, bottom = (min(max(int(np.floor(y)) + y0, 0), height - 1) for y in (low_y, high_y))
    return left - 1, top - 1, right + 4, bottom + 4


@njit("void(u1[:,:,::1], i8, i8, i8, i8, f4[::1])", nogil=True, cache=True, fastmath=True)
def _copy_window(frame, left, top, width, height, out):
    """The window as numbers, border pixels repeated, so that sampling neither converts nor checks."""
    at = 0
    for y in range(height):
        yy = min(max(y + top, 0), frame.shape[0] - 1)
        for x in range(width):
            xx = min(max(x + left, 0), frame.shape[1] - 1)
            for k in range(3):
                out[at + k] = frame[yy, xx, k]
            at += 3


@njit(
    "void(f4[::1], i8, i8, i8, i8, i8, i8, u1[:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1],"
    " i4[:,::1], f4[:,:,::1], i4[:,::1], f4[:,::1], f4[::1], f4[:,::1], u1[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _sample(
    source, columns, rows, dx, dy, x0, y0,
    mask, shift, gain, confidence, cavity, triangle, barycentric, triangles, texture, dark, kernel, out,
):  # fmt: skip
    """Bicubic sample -> gain -> texture -> cavity, per masked pixel."""
    offset = np.float32(255 * ENCODED_OFFSET)
    half, zero, top = np.float32(0.5), np.float32(0), np.float32(255)
    stride = np.uint64(3 * columns)
    limit_x, limit_y = np.float32(columns - 3), np.float32(rows - 3)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x] == 0:
                continue
            sx = min(max(np.float32(x + dx) + shift[y, x, 0], np.float32(1)), limit_x)
            sy = min(max(np.float32(y + dy) + shift[y, x, 1], np.float32(1)), limit_y)
            ix, iy = np.uint64(sx), np.uint64(sy)
            px = np.uint64((sx - np.float32(ix)) * np.float32(PHASES) + half)
            py = np.uint64((sy - np.float32(iy)) * np.float32(PHASES) + half)
            w0, w1, w2, w3 = kernel[px, 0], kernel[px, 1], kernel[px, 2], kernel[px, 3]
            at = (iy - np.uint64(1)) * stride + np.uint64(3) * (ix - np.uint64(1))
            red = green = blue = zero
            for j in range(4):
                v = kernel[py, j]
                red += v * (
                    w0 * source[at]
                    + w1 * source[at + np.uint64(3)]
                    + w2 * source[at + np.uint64(6)]
                    + w3 * source[at + np.uint64(9)]
                )
                green += v * (
                    w0 * source[at + np.uint64(1)]
                    + w1 * source[at + np.uint64(4)]
                    + w2 * source[at + np.uint64(7)]
                    + w3 * source[at + np.uint64(10)]
                )
                blue += v * (
                    w0 * source[at + np.uint64(2)]
                    + w1 * source[at + np.uint64(5)]
                    + w2 * source[at + np.uint64(8)]
                    + w3 * source[at + np.uint64(11)]
                )
                at += stride
            red = (red + offset) * gain[y, x, 0] - offset
            green = (green + offset) * gain[y, x, 1] - offset
            blue = (blue + offset) * gain[y, x, 2] - offset
            t = triangle[y, x]
            k = np.float32(1) - confidence[y, x]
            if k > np.float32(LEAST_DOUBT) and t >= 0:
                i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                u, v, w = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
                share = u * texture[i0, 3] + v * texture[i1, 3] + w * texture[i2, 3]
                if share > np.float32(1e-4):
                    scale = k / share
                    u, v, w, k = u * scale, v * scale, w * scale, np.float32(1) - k
                    red = k * red + u * texture[i0, 0] + v * texture[i1, 0] + w * texture[i2, 0]
                    green = k * green + u * texture[i0, 1] + v * texture[i1, 1] + w * texture[i2, 1]
                    blue = k * blue + u * texture[i0, 2] + v * texture[i1, 2] + w * texture[i2, 2]
            k = cavity[y, x]
            if k > 0:
                red, green, blue = red + k * (dark[0] - red), green + k * (dark[1] - green), blue + k * (dark[2] - blue)
            out[y + y0, x + x0, 0] = np.uint8(min(max(red + half, zero), top))
            out[y + y0, x + x0, 1] = np.uint8(min(max(green + half, zero), top))
            out[y + y0, x + x0, 2] = np.uint8(min(max(blue + half, zero), top))


@njit(
    "void(u1[:,:,:], u1[:,:], i8, i8, i8, i8, u1[:,::1], u1[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _paste(rgb, alpha, left, top, x0, y0, mask, out):
    """Blend a patch in. Stays within the field's region."""
    rows, columns = mask.shape
    for j in range(alpha.shape[0]):
        y = top + j - y0
        if y < 0 or y >= rows:
            continue
        for i in range(alpha.shape[1]):
            x = left + i - x0
            if x < 0 or x >= columns or alpha[j, i] == 0:
                continue
            a = np.float32(alpha[j, i]) / np.float32(255)
            for k in range(3):
                old = np.float32(out[y + y0, x + x0, k])
                out[y + y0, x + x0, k] = np.uint8(old + a * (np.float32(rgb[j, i, k]) - old) + np.float32(0.5))
            mask[y, x] = 255
