"""The output picture: the target frame sampled along the field, relit, patched, and untouched everywhere else."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from numba import njit

from f2fcam.render import Fragments, Region
from f2fcam.render.scratch import Scratch
from f2fcam.render.shade import ENCODED_OFFSET
from f2fcam.render.warp import Field

LEAST_DOUBT = 1e-3
"""A frame's own pixel that is trusted but for this is taken as it is."""

LINE = 8
"""Numbers per cell between two rows: shift, gain, confidence, cavity, and whether it is masked."""

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
) -> tuple[UInt8[np.ndarray, "rows columns"], Region]:
    """Write the whole output picture; `fragments` are the field's, `texture` is `shade.shade_uncertain`'s per vertex,
    `cavity` (0..255) the mouth's darkness.

    Returns the mask, 255 where pixels may differ from the frame's, and the region of the picture that it covers; everywhere
    else the picture is the frame's, bit for bit.
    """
    np.copyto(out, frame)
    region = pixels_of(field.region, field.stride, frame.shape)
    x0, y0, x1, y1 = region
    mask = scratch.take("mask", (y1 - y0, x1 - x0), np.uint8)
    left, top, right, bottom = _window(field.sampled, field.stride, x0, y0, frame.shape[1], frame.shape[0])
    if right > left:
        source = scratch.take("source", ((bottom - top) * (right - left) * 3,))
        _copy_window(frame, left, top, right - left, bottom - top, source)
        lines, pixels = scratch.take("lines", (LINE, field.mask.shape[1])), scratch.take("pixels", (LINE, x1 - x0))
        _sample(
            source, right - left, bottom - top, x0 - left, y0 - top, x0, y0, field.stride,
            field.mask, field.shift, field.gain, field.confidence, field.cavity,
            fragments.triangle, fragments.barycentric, triangles, texture, cavity, CATMULL_ROM, lines, pixels, mask, out,
        )  # fmt: skip
    else:
        mask[:] = 0
    for patch in patches:
        _paste(patch.rgb, patch.alpha, patch.x, patch.y, x0, y0, mask, out)
    return mask, region


def pixels_of(region: Region, stride: int, shape: tuple[int, ...]) -> Region:
    """The pixels that the cells of a region cover."""
    x0, y0, x1, y1 = (stride * side for side in region)
    return x0, y0, min(x1, shape[1]), min(y1, shape[0])


def _window(
    sampled: tuple[float, float, float, float], stride: int, x0: int, y0: int, width: int, height: int
) -> tuple[int, int, int, int]:
    """The part of the frame that the masked cells sample, with the kernel's margin; it may reach past the border."""
    low_x, low_y, high_x, high_y = sampled
    if high_x < low_x:
        return 0, 0, 0, 0
    around = 0 if stride == 1 else stride  # pixels between two cells, of which one may not be masked
    low, high = (stride * (low_x + 0.5) - 0.5 - around, stride * (low_y + 0.5) - 0.5 - around), (
        stride * (high_x + 0.5) - 0.5 + around, stride * (high_y + 0.5) - 0.5 + around)  # fmt: skip
    left, right = (min(max(int(np.floor(x)) + x0, 0), width - 1) for x in (low[0], high[0]))
    top, bottom = (min(max(int(np.floor(y)) + y0, 0), height - 1) for y in (low[1], high[1]))
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


@njit(inline="always")
def _mix_line(upper, lower, share, cells, shift, gain, confidence, cavity, lines):
    """The field between two rows of cells; False where none of them is masked."""
    any_masked = np.uint8(0)
    for c in range(lines.shape[1]):
        any_masked |= cells[upper, c] | cells[lower, c]
    if any_masked == 0:
        return False
    for c in range(lines.shape[1]):
        lines[0, c] = shift[upper, c, 0] + share * (shift[lower, c, 0] - shift[upper, c, 0])
        lines[1, c] = shift[upper, c, 1] + share * (shift[lower, c, 1] - shift[upper, c, 1])
    for c in range(lines.shape[1]):
        lines[2, c] = gain[upper, c, 0] + share * (gain[lower, c, 0] - gain[upper, c, 0])
        lines[3, c] = gain[upper, c, 1] + share * (gain[lower, c, 1] - gain[upper, c, 1])
        lines[4, c] = gain[upper, c, 2] + share * (gain[lower, c, 2] - gain[upper, c, 2])
    for c in range(lines.shape[1]):
        lines[5, c] = confidence[upper, c] + share * (confidence[lower, c] - confidence[upper, c])
        lines[6, c] = cavity[upper, c] + share * (cavity[lower, c] - cavity[upper, c])
        lines[7, c] = np.float32(cells[upper, c] | cells[lower, c])
    return True


@njit(inline="always")
def _widen(lines, stride, pixels):
    """The line between its cells; pixels beyond the outermost cells' middles repeat them."""
    cells, width = lines.shape[1], pixels.shape[1]
    first = stride // 2
    for k in range(LINE):
        for phase in range(stride):
            u = np.float32(first + phase + 0.5) / np.float32(stride) - np.float32(0.5)
            whole = min(cells - 1, (width - first - phase + stride - 1) // stride)
            for c in range(whole):
                pixels[k, first + phase + stride * c] = lines[k, c] + u * (lines[k, c + 1] - lines[k, c])
        for x in range(min(first, width)):
            pixels[k, x] = lines[k, 0]
        for x in range(first + stride * (cells - 1), width):
            pixels[k, x] = lines[k, cells - 1]


@njit(inline="always")
def _textured(row, column, weight, triangle, barycentric, triangles, texture, sums):
    """Add what the texture gives for a cell."""
    t = triangle[row, column]
    if weight <= 0 or t < 0:
        return
    for corner in range(3):
        share, vertex = weight * barycentric[row, column, corner], triangles[t, corner]
        for k in range(4):
            sums[k] += share * texture[vertex, k]


@njit(
    "void(f4[::1], i8, i8, i8, i8, i8, i8, i8, u1[:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1],"
    " i4[:,::1], f4[:,:,::1], i4[:,::1], f4[:,::1], f4[::1], f4[:,::1], f4[:,::1], f4[:,::1], u1[:,::1], u1[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _sample(
    source, columns, rows, dx, dy, x0, y0, stride,
    cells, shift, gain, confidence, cavity, triangle, barycentric, triangles, texture, dark, kernel, lines, pixels,
    mask, out,
):  # fmt: skip
    """Per pixel: the field between its cells -> bicubic sample -> gain -> texture -> cavity; and which pixels change."""
    offset = np.float32(255 * ENCODED_OFFSET)
    half, zero, one, top = np.float32(0.5), np.float32(0), np.float32(1), np.float32(255)
    row_size = np.uint64(3 * columns)
    limit_x, limit_y = np.float32(columns - 3), np.float32(rows - 3)
    high, wide = cells.shape
    per_pixel, scale = one / np.float32(stride), np.float32(stride)
    sums = np.empty(4, np.float32)
    for y in range(mask.shape[0]):
        fy = min(max((np.float32(y) + half) * per_pixel - half, zero), np.float32(high - 1))
        upper = int(fy)
        v, lower = fy - np.float32(upper), min(upper + 1, high - 1)
        if stride > 1:
            if not _mix_line(upper, lower, v, cells, shift, gain, confidence, cavity, lines):
                mask[y, :] = 0
                continue
            _widen(lines, stride, pixels)
        for x in range(mask.shape[1]):
            if stride == 1:
                if cells[y, x] == 0:
                    mask[y, x] = 0
                    continue
                move_x, move_y = shift[y, x, 0], shift[y, x, 1]
                gain_red, gain_green, gain_blue = gain[y, x, 0], gain[y, x, 1], gain[y, x, 2]
                doubt, hollow = one - confidence[y, x], cavity[y, x]
            else:
                if pixels[7, x] == zero:
                    mask[y, x] = 0
                    continue
                move_x, move_y = scale * pixels[0, x], scale * pixels[1, x]
                gain_red, gain_green, gain_blue = pixels[2, x], pixels[3, x], pixels[4, x]
                doubt, hollow = one - pixels[5, x], pixels[6, x]
            mask[y, x] = 255
            sx = min(max(np.float32(x + dx) + move_x, one), limit_x)
            sy = min(max(np.float32(y + dy) + move_y, one), limit_y)
            ix, iy = np.uint64(sx), np.uint64(sy)
            px = np.uint64((sx - np.float32(ix)) * np.float32(PHASES) + half)
            py = np.uint64((sy - np.float32(iy)) * np.float32(PHASES) + half)
            w0, w1, w2, w3 = kernel[px, 0], kernel[px, 1], kernel[px, 2], kernel[px, 3]
            at = (iy - np.uint64(1)) * row_size + np.uint64(3) * (ix - np.uint64(1))
            red = green = blue = zero
            for j in range(4):
                w = kernel[py, j]
                red += w * (
                    w0 * source[at]
                    + w1 * source[at + np.uint64(3)]
                    + w2 * source[at + np.uint64(6)]
                    + w3 * source[at + np.uint64(9)]
                )
                green += w * (
                    w0 * source[at + np.uint64(1)]
                    + w1 * source[at + np.uint64(4)]
                    + w2 * source[at + np.uint64(7)]
                    + w3 * source[at + np.uint64(10)]
                )
                blue += w * (
                    w0 * source[at + np.uint64(2)]
                    + w1 * source[at + np.uint64(5)]
                    + w2 * source[at + np.uint64(8)]
                    + w3 * source[at + np.uint64(11)]
                )
                at += row_size
            red = (red + offset) * gain_red - offset
            green = (green + offset) * gain_green - offset
            blue = (blue + offset) * gain_blue - offset
            if doubt > np.float32(LEAST_DOUBT):
                fx = min(max((np.float32(x) + half) * per_pixel - half, zero), np.float32(wide - 1))
                a = int(fx)
                u, b = fx - np.float32(a), min(a + 1, wide - 1)
                sums[:] = zero
                _textured(upper, a, (one - u) * (one - v), triangle, barycentric, triangles, texture, sums)
                _textured(upper, b, u * (one - v), triangle, barycentric, triangles, texture, sums)
                _textured(lower, a, (one - u) * v, triangle, barycentric, triangles, texture, sums)
                _textured(lower, b, u * v, triangle, barycentric, triangles, texture, sums)
                if sums[3] > np.float32(1e-4):
                    weight, kept = doubt / sums[3], one - doubt
                    red = kept * red + weight * sums[0]
                    green = kept * green + weight * sums[1]
                    blue = kept * blue + weight * sums[2]
            if hollow > 0:
                red += hollow * (dark[0] - red)
                green += hollow * (dark[1] - green)
                blue += hollow * (dark[2] - blue)
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
