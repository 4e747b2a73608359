"""Pictures as cameras and video files store them, to RGB and back, with the matrix and range always said (`DECISIONS` 2).

`frame.py` holds RGB and linear light; this is its other half, apart because it needs compiled kernels.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8
from numba import njit, types

Matrix = Literal["bt601", "bt709", "bt2020"]

LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
"""Share of red and of blue in luma."""

HD_LINES = 720
"""From this many lines an untagged stream is BT.709, below BT.601."""

_SHIFT = 14


_SCRATCH = threading.local()


def _planes(height: int, width: int) -> UInt8[np.ndarray, "3 h w"]:
    """This thread's planes: fresh memory for each picture would cost a fifth of its conversion."""
    planes = getattr(_SCRATCH, "planes", None)
    if planes is None or planes.shape[1:] != (height, width):
        planes = _SCRATCH.planes = np.empty((3, height, width), np.uint8)
    return planes


@dataclass(frozen=True, slots=True)
class Coding:
    """How luma and chroma stand for colours."""

    matrix: Matrix
    full_range: bool

    @classmethod
    def untagged(cls, lines: int) -> Coding:
        """What a stream that does not say means."""
        return cls("bt709" if lines >= HD_LINES else "bt601", full_range=False)


def yuv_to_rgb_factors(coding: Coding) -> np.ndarray:
    """`(offset_y, y, r_from_v, g_from_u, g_from_v, b_from_u)` as fixed-point int32 with 14 fractional bits (offset: plain)."""
    red, blue = LUMA_WEIGHTS[coding.matrix]
    green = 1 - red - blue
    luma, chroma = (1.0, 1.0) if coding.full_range else (255 / 219, 255 / 224)
    factors = (
        luma,
        2 * (1 - red) * chroma,
        -2 * (1 - blue) * blue / green * chroma,
        -2 * (1 - red) * red / green * chroma,
        2 * (1 - blue) * chroma,
    )
    return np.array([0 if coding.full_range else 16, *(round(f * (1 << _SHIFT)) for f in factors)], np.int32)


def i420_to_rgb(
    y: UInt8[np.ndarray, "h_padded w_padded"],
    u: UInt8[np.ndarray, "hc_padded wc_padded"],
    v: UInt8[np.ndarray, "hc_padded wc_padded"],
    coding: Coding,
    out: UInt8[np.ndarray, "h w 3"],
) -> UInt8[np.ndarray, "h w 3"]:
    """RGB of planar 4:2:0 into `out`; planes may be padded on the right and below, as decoders leave them.

    Chroma is interpolated from its MPEG place: level with the left of two columns, between two rows.
    """
    planes = _planes(*out.shape[:2])
    _i420_to_planes(y, u, v, yuv_to_rgb_factors(coding), planes)
    # OpenCV weaves planes ten times faster than a compiled loop does.
    cv2.merge(list(planes), out)
    return out


def rgb_to_i420(
    rgb: UInt8[np.ndarray, "h w 3"],
    coding: Coding,
    y: UInt8[np.ndarray, "h_padded w_padded"],
    u: UInt8[np.ndarray, "hc_padded wc_padded"],
    v: UInt8[np.ndarray, "hc_padded wc_padded"],
) -> None:
    """Planar 4:2:0 of a picture with even sides, chroma averaged around its MPEG place; the inverse of `i420_to_rgb`."""
    planes = _planes(*rgb.shape[:2])
    cv2.split(rgb, list(planes))
    _planes_to_i420(planes, rgb_to_yuv_factors(coding), y, u, v)


def rgb_to_yuv_factors(coding: Coding) -> np.ndarray:
    """Rows for Y, U, V: factors of R, G, B as fixed-point int32 with 14 fractional bits; fourth column: luma's offset."""
    red, blue = LUMA_WEIGHTS[coding.matrix]
    luma = np.array([red, 1 - red - blue, blue])
    u = (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - blue))
    v = (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - red))
    scales = (1.0, 1.0, 1.0) if coding.full_range else (219 / 255, 224 / 255, 224 / 255)
    factors = np.zeros((3, 4), np.int32)
    for row, (weights, scale) in enumerate(zip((luma, u, v), scales)):
        factors[row, :3] = np.round(weights * scale * (1 << _SHIFT))
    factors[0, 3] = 0 if coding.full_range else 16
    return factors


def yuyv_to_rgb(
    yuyv: UInt8[np.ndarray, "h w 2"], coding: Coding, out: UInt8[np.ndarray, "h w 3"] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """RGB of packed 4:2:2 (Y0 U Y1 V), the uncompressed format that nearly every webcam has."""
    if out is None:
        out = np.empty((*yuyv.shape[:2], 3), np.uint8)
    _yuyv_to_rgb(yuyv, yuv_to_rgb_factors(coding), out)
    return out


_READ_ONLY = types.Array(types.uint8, 3, "C", readonly=True)
"""A webcam's picture: bytes, which nobody may write to."""


@njit(inline="always")
def _colour_line(luma, line_u, line_v, factors, planes, out):
    """One line to RGB; chroma has 4 fractional bits. The three planes first, so that the arithmetic is vectorised."""
    width = out.shape[0]
    offset, scale, red_v, green_u, green_v, blue_u = (
        factors[0],
        factors[1],
        factors[2],
        factors[3],
        factors[4],
        factors[5],
    )
    half = np.int32(1 << (_SHIFT - 1))
    for j in range(width):
        base = (np.int32(luma[j]) - offset) * scale + half
        red = (base + ((red_v * line_v[j]) >> 4)) >> _SHIFT
        green = (base + ((green_u * line_u[j] + green_v * line_v[j]) >> 4)) >> _SHIFT
        blue = (base + ((blue_u * line_u[j]) >> 4)) >> _SHIFT
        planes[0, j] = min(max(red, np.int32(0)), np.int32(255))
        planes[1, j] = min(max(green, np.int32(0)), np.int32(255))
        planes[2, j] = min(max(blue, np.int32(0)), np.int32(255))
    for j in range(width):
        out[j, 0] = planes[0, j]
        out[j, 1] = planes[1, j]
        out[j, 2] = planes[2, j]


@njit("void(uint8[:,::1], uint8[:,::1], uint8[:,::1], int32[:], uint8[:,:,::1])", nogil=True, cache=True, fastmath=True)
def _i420_to_planes(y, u, v, factors, out):
    """Red, green and blue planes. Small loops over 32-bit numbers: a plain literal would make them 64 bits wide."""
    height, width = out.shape[1:]
    rows, columns = (height + 1) // 2, (width + 1) // 2
    chroma = np.empty((2, columns * 2 + 1), np.int32)
    coarse = np.empty(columns + 1, np.int32)
    luma = np.empty(width, np.int32)
    offset, scale, red_v = factors[0], factors[1], factors[2]
    green_u, green_v, blue_u = factors[3], factors[4], factors[5]
    half, one, four = np.int32(1 << (_SHIFT - 1)), np.int32(1), np.int32(4)
    shift, none, most = np.int32(_SHIFT), np.int32(0), np.int32(255)
    for i in range(height):
        near = min(i >> 1, rows - 1)
        far = min(max(near + (1 if i & 1 else -1), 0), rows - 1)
        for c in range(2):
            plane, line = (u, chroma[0]) if c == 0 else (v, chroma[1])
            first, second = plane[near], plane[far]
            for j in range(columns):
                coarse[j] = (np.int32(3) * np.int32(first[j]) + np.int32(second[j])) * four - np.int32(2048)
            coarse[columns] = coarse[columns - 1]
            for j in range(columns):
                line[2 * j] = coarse[j]
                line[2 * j + 1] = (coarse[j] + coarse[j + 1]) >> one
        line_y, line_u, line_v = y[i], chroma[0], chroma[1]
        red, green, blue = out[0, i], out[1, i], out[2, i]
        for j in range(width):
            luma[j] = (np.int32(line_y[j]) - offset) * scale + half
        for j in range(width):
            red[j] = min(max((luma[j] + ((red_v * line_v[j]) >> four)) >> shift, none), most)
        for j in range(width):
            value = (luma[j] + ((green_u * line_u[j] + green_v * line_v[j]) >> four)) >> shift
            green[j] = min(max(value, none), most)
        for j in range(width):
            blue[j] = min(max((luma[j] + ((blue_u * line_u[j]) >> four)) >> shift, none), most)


@njit(types.void(_READ_ONLY, types.int32[:], types.uint8[:, :, ::1]), nogil=True, cache=True, fastmath=True)
def _yuyv_to_rgb(yuyv, factors, out):
    height, width = yuyv.shape[:2]
    columns = width // 2
    luma = np.empty(width, np.uint8)
    line_u = np.empty(width, np.int32)
    line_v = np.empty(width, np.int32)
    planes = np.empty((3, width), np.uint8)
    for i in range(height):
        for j in range(width):
            luma[j] = yuyv[i, j, 0]
        for j in range(columns):
            following = min(j + 1, columns - 1)
            u = np.int32(yuyv[i, 2 * j, 1]) - np.int32(128)
            v = np.int32(yuyv[i, 2 * j + 1, 1]) - np.int32(128)
            line_u[2 * j] = u * np.int32(16)
            line_v[2 * j] = v * np.int32(16)
            line_u[2 * j + 1] = (u + np.int32(yuyv[i, 2 * following, 1]) - np.int32(128)) * np.int32(8)
            line_v[2 * j + 1] = (v + np.int32(yuyv[i, 2 * following + 1, 1]) - np.int32(128)) * np.int32(8)
        _colour_line(luma, line_u, line_v, factors, planes, out[i])


@njit(
    "void(uint8[:,:,::1], int32[:,::1], uint8[:,::1], uint8[:,::1], uint8[:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _planes_to_i420(planes, factors, y, u, v):
    height, width = planes.shape[1:]
    columns = width // 2
    sums = np.empty((3, width + 2), np.int32)  # two rows added up; one column repeated on the left
    y0, y1, y2, offset = factors[0, 0], factors[0, 1], factors[0, 2], factors[0, 3]
    u0, u1, u2 = factors[1, 0], factors[1, 1], factors[1, 2]
    v0, v1, v2 = factors[2, 0], factors[2, 1], factors[2, 2]
    shift, further, two = np.int32(_SHIFT), np.int32(_SHIFT + 3), np.int32(2)
    base = (offset << shift) + np.int32(1 << (_SHIFT - 1))
    middle = np.int32((128 << (_SHIFT + 3)) + (1 << (_SHIFT + 2)))
    for i in range(height):
        red, green, blue, luma = planes[0, i], planes[1, i], planes[2, i], y[i]
        for j in range(width):
            luma[j] = (y0 * np.int32(red[j]) + y1 * np.int32(green[j]) + y2 * np.int32(blue[j]) + base) >> shift
        if i & 1 == 0:
            continue
        for c in range(3):
            above, below, line = planes[c, i - 1], planes[c, i], sums[c]
            for j in range(width):
                line[j + 1] = np.int32(above[j]) + np.int32(below[j])
            line[0] = line[1]
        row = i >> 1
        for j in range(columns):
            r = sums[0, 2 * j] + two * sums[0, 2 * j + 1] + sums[0, 2 * j + 2]
            g = sums[1, 2 * j] + two * sums[1, 2 * j + 1] + sums[1, 2 * j + 2]
            b = sums[2, 2 * j] + two * sums[2, 2 * j + 1] + sums[2, 2 * j + 2]
            cb = (u0 * r + u1 * g + u2 * b + middle) >> further
            cr = (v0 * r + v1 * g + v2 * b + middle) >> further
            u[row, j] = min(max(cb, np.int32(0)), np.int32(255))
            v[row, j] = min(max(cr, np.int32(0)), np.int32(255))
