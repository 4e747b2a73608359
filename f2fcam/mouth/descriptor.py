"""What a mouth or an eye looks like, in numbers (Face2Face, section 8: K = {R, delta, F, L}).

The descriptor of an enrolled frame is its head rotation, its expression as motion of the skin around the opening, a few
distances between its landmarks, and a histogram of local binary patterns of its picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from numba import njit

from f2fcam.face.rigid import so3_log
from f2fcam.mouth.aperture import ApertureName
from f2fcam.track import landmarks as lm

_LEFT_LIDS, _RIGHT_LIDS = lm.LEFT_LID_PAIRS, lm.RIGHT_LID_PAIRS

PAIRS: dict[ApertureName, tuple[tuple[int, int], ...]] = {
    "mouth": (
        (13, 14),
        (81, 178),
        (311, 402),
        (lm.RIGHT_INNER_CORNER, lm.LEFT_INNER_CORNER),
        (lm.RIGHT_MOUTH_CORNER, lm.LEFT_MOUTH_CORNER),
        (0, 13),
        (14, 17),
        (37, 84),
        (267, 314),
    ),
    "eye_left": (*_LEFT_LIDS[1:-1], (lm.LEFT_EYE_INNER, lm.LEFT_EYE_OUTER)),
    "eye_right": (*_RIGHT_LIDS[1:-1], (lm.RIGHT_EYE_INNER, lm.RIGHT_EYE_OUTER)),
}
"""Landmark pairs whose distances describe an opening."""
GAPS: dict[ApertureName, slice] = {"mouth": slice(0, 3), "eye_left": slice(0, 5), "eye_right": slice(0, 5)}
"""Those of them that are gaps between lips or lids."""

GAP_UNIT_MM, GAP_WEIGHT = 2.0, 3.0
"""A gap's weight is `GAP_WEIGHT` at zero and 1 at twice the unit."""

LBP_SIZE = (48, 32)
"""Width and height in pixels of the picture whose patterns are counted."""
LBP_GRID = (3, 2)
"""Cells across and down with a histogram each."""
UNIFORM_PATTERNS = 59
"""Uniform 8-neighbour patterns, and one bin for all others (Ojala et al. 2002)."""


def _uniform_bins() -> UInt8[np.ndarray, " 256"]:
    codes = np.arange(256)
    bits = (codes[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    bins = np.full(256, UNIFORM_PATTERNS - 1, np.uint8)
    bins[changes <= 2] = np.arange((changes <= 2).sum())
    return bins


LBP_BINS = _uniform_bins()


def pair_distances(points: Float[np.ndarray, "n 478 d"], name: ApertureName) -> Float[np.ndarray, "n p"]:
    """Distances of the opening's landmark pairs, in the points' unit."""
    first, second = np.array(PAIRS[name]).T
    return np.linalg.norm(points[:, first] - points[:, second], axis=2)


def felt(distances_mm: Float[np.ndarray, "*n p"], name: ApertureName) -> Float32[np.ndarray, "*n p"]:
    """Distances as they are seen: a millimetre counts in a gap that is almost shut, not in one that is wide open."""
    out = np.array(distances_mm, np.float32)
    gaps = out[..., GAPS[name]]
    out[..., GAPS[name]] = GAP_UNIT_MM * GAP_WEIGHT * np.log1p(np.maximum(gaps, 0) / GAP_UNIT_MM)
    return out


@njit(inline="always")
def felt_gap(distance_mm):
    """The same for one gap, in a kernel."""
    return np.float32(GAP_UNIT_MM * GAP_WEIGHT) * np.log1p(max(distance_mm, np.float32(0)) / np.float32(GAP_UNIT_MM))


def gaze(xy: Float[np.ndarray, "n 478 2"], name: ApertureName) -> Float32[np.ndarray, "n 2"]:
    """Where the iris stands between the eye's corners: along their line from -0.5 to 0.5, and down, in eye widths."""
    left = name == "eye_left"
    inner, outer = (lm.LEFT_EYE_INNER, lm.LEFT_EYE_OUTER) if left else (lm.RIGHT_EYE_INNER, lm.RIGHT_EYE_OUTER)
    iris = xy[:, (lm.LEFT_IRIS if left else lm.RIGHT_IRIS)[0]]
    axis = xy[:, outer] - xy[:, inner] if left else xy[:, inner] - xy[:, outer]
    width = np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-6)
    axis = axis / width
    middle = (xy[:, inner] + xy[:, outer]) / 2
    offset = (iris - middle) / width
    down = np.stack([-axis[:, 1], axis[:, 0]], axis=1)
    return np.stack([(offset * axis).sum(axis=1), (offset * down).sum(axis=1)], axis=1).astype(np.float32)


def rotation_vectors(rotations: Float[np.ndarray, "n 3 3"]) -> Float32[np.ndarray, "n 3"]:
    """Head rotations as rotation vectors (radians) from the frontal pose: near it, |R - R'|_F = sqrt(2) |r - r'|."""
    frontal = np.diag([1.0, -1.0, -1.0])
    return np.stack([so3_log(frontal.T @ rotation) for rotation in rotations]).astype(np.float32)


def local_binary_patterns(crop: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " 354"]:
    """Histograms of the uniform 8-neighbour patterns of the crop's cells, together summing to 1."""
    gray = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), LBP_SIZE, interpolation=cv2.INTER_AREA)
    histogram = np.zeros((LBP_GRID[0] * LBP_GRID[1], UNIFORM_PATTERNS), np.float32)
    _count_patterns(np.ascontiguousarray(gray), LBP_BINS, LBP_GRID[0], LBP_GRID[1], histogram)
    return (histogram / histogram.sum()).ravel()


@njit("void(u1[:,::1], u1[::1], i8, i8, f4[:,::1])", nogil=True, cache=True)
def _count_patterns(gray, bins, across, down, histogram):
    height, width = gray.shape
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            middle = int(gray[y, x])
            code = 0
            # A neighbour counts as brighter from 2 grey levels on, so that flat skin's noise does not.
            code |= (int(gray[y - 1, x - 1]) > middle + 1) << 0
            code |= (int(gray[y - 1, x]) > middle + 1) << 1
            code |= (int(gray[y - 1, x + 1]) > middle + 1) << 2
            code |= (int(gray[y, x + 1]) > middle + 1) << 3
            code |= (int(gray[y + 1, x + 1]) > middle + 1) << 4
            code |= (int(gray[y + 1, x]) > middle + 1) << 5
            code |= (int(gray[y + 1, x - 1]) > middle + 1) << 6
            code |= (int(gray[y, x - 1]) > middle + 1) << 7
            cell = (y * down // height) * across + x * across // width
            histogram[cell, bins[code]] += np.float32(1)


def chi_squared(histogram: Float32[np.ndarray, " b"], others: Float32[np.ndarray, "n b"]) -> Float32[np.ndarray, " n"]:
    """Chi-squared distances, 0 to 1, of one normalised histogram to others."""
    out = np.empty(len(others), np.float32)
    _chi_squared(np.ascontiguousarray(histogram, np.float32), np.ascontiguousarray(others, np.float32), out)
    return out


@njit("void(f4[::1], f4[:,::1], f4[::1])", nogil=True, cache=True, fastmath=True)
def _chi_squared(histogram, others, out):
    for i in range(others.shape[0]):
        total = np.float32(0)
        for b in range(others.shape[1]):
            both = histogram[b] + others[i, b]
            if both > 0:
                apart = histogram[b] - others[i, b]
                total += apart * apart / both
        out[i] = np.float32(0.5) * total


def thumbnail(crop: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " 384"]:
    """The crop as 24 x 16 greys, zero-mean and unit-length: the product of two is their correlation."""
    gray = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (24, 16), interpolation=cv2.INTER_AREA)
    flat = gray.astype(np.float32).ravel()
    flat -= flat.mean()
    return flat / max(float(np.linalg.norm(flat)), 1e-6)


def fill_gaps(values: Float[np.ndarray, "n c"], known: np.ndarray) -> Float32[np.ndarray, "n c"]:
    """Unknown rows interpolated over time from known ones (a closed eye's gaze from before and after the blink)."""
    if not known.any():
        return np.zeros_like(values, dtype=np.float32)
    rows, at = np.arange(len(values)), np.flatnonzero(known)
    return np.stack([np.interp(rows, at, column[at]) for column in values.T], axis=1).astype(np.float32)
