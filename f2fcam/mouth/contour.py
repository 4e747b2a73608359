"""Where the lips really end in enrolled pictures: the rim of the mouth's opening, found by colour.

The fit and the detector place the inner edge of the lips within a few millimetres; what is then taken for teeth may still
be lip, and stretches into a second lip when the mouth opens. Here each half of the rim is moved to where lip turns into
teeth, tongue or darkness: a shortest path over the columns of the straightened mouth. What lip looks like, and what the
inside, is learnt from the clip itself, well away from the fitted rim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16
from numba import njit
from scipy.ndimage import gaussian_filter

from f2fcam.mouth.aperture import Aperture, Placed

COLUMNS = 40
"""Columns in which the rim is looked for, between the mouth's corners."""
ENDS = 0.04
"""Part of the mouth's width at each corner that is left alone."""
STEP_MM = 0.15
"""Rows of the straightened mouth."""
REACH_MM = 3.0
"""Farthest that the rim moves."""
LIP_MM = (1.5, 4.5)
"""Distance from the fitted rim, outwards, of what is surely lip."""
INSIDE_MM = 1.5
"""Distance from the fitted rim, inwards, of what is surely no lip."""
PRIOR_MM = 1.5
"""Standard deviation of the fitted rim."""
CORNER = 0.2
"""Part of the width at each end where the fitted rim is trusted more."""
SMOOTH_MM = 0.12
"""Standard deviation of a shift's change from column to column."""
PER_MM = 3.0
"""Independent looks at the colour per millimetre of a column."""
MOST = 4.0
"""Natural logarithm of the most that one pixel tells."""
DARK = 12.0
"""Grey levels added before the logarithm, so that noise in the dark has no colour."""
_LOGARITHM = np.log(np.arange(256, dtype=np.float32) + np.float32(DARK))
BINS = (20, 14, 12)
LOWEST = np.array([-2.4, -0.5, -0.4], np.float32)
HIGHEST = np.array([1.2, 0.4, 0.4], np.float32)
"""Range of log brightness, redness and blueness, less the frame's median lip."""
FEWEST = 500.0
"""Pixels that are imagined to be spread evenly over all colours before any is seen."""


@dataclass(frozen=True, slots=True)
class Straight:
    """A mouth whose corners' line runs across.

    Attributes:
        colour: each place's colour bin; r rows `step_px` apart, the first one at `top_px` below the corners' line.
        upper, lower: rows of the lips' fitted edges. share: the columns' places between the corners, 0 to 1.
        down: unit vector of the rows in the picture.
    """

    colour: UInt16[np.ndarray, "r 40"]
    upper: Float32[np.ndarray, " 40"]
    lower: Float32[np.ndarray, " 40"]
    share: Float[np.ndarray, " 40"]
    step_px: float
    down: Float[np.ndarray, " 2"]


def straighten(
    picture: UInt8[np.ndarray, "h w 3"], corner: tuple[int, int], placed: Placed, aperture: Aperture, px_per_mm: float
) -> Straight | None:
    """The mouth of a picture whose first pixel lies at `corner`; none if it is too small or not all in the picture."""
    upper = placed.pixels[aperture.upper].astype(np.float64)
    width = float(np.linalg.norm(upper[-1] - upper[0]))
    if width < COLUMNS / 4:
        return None
    along = (upper[-1] - upper[0]) / width
    turn = np.array([along, [-along[1], along[0]]])
    share = np.linspace(ENDS, 1 - ENDS, COLUMNS)
    edges = [
        _silhouette(placed.pixels, lip, upper[0], turn, share * width, sign)
        for lip, sign in ((aperture.upper_lip, 1), (aperture.lower_lip, -1))
    ]
    crossed = np.maximum(edges[0] - edges[1], 0) / 2
    edges = [edges[0] - crossed, edges[1] + crossed]
    step = STEP_MM * px_per_mm
    margin = int(np.ceil((REACH_MM + LIP_MM[1]) / STEP_MM)) + 2
    top = float(edges[0].min()) - margin * step
    rows = int(np.ceil((edges[1].max() - top) / step)) + margin
    spots = np.empty((2, rows, COLUMNS), np.float32)
    low_x, low_y, high_x, high_y = _spread_spots(upper[0] - corner, turn, share * width, top, step, spots)
    if min(low_x, low_y) < 1 or high_x > picture.shape[1] - 2 or high_y > picture.shape[0] - 2:
        return None
    features = _features(picture, spots, max(step, width / COLUMNS))
    places = [np.clip((edge - top) / step, 0, rows - 1).astype(np.float32) for edge in edges]
    outside = _beyond(rows, *places)
    lip = (outside > LIP_MM[0]) & (outside < LIP_MM[1])
    colour = np.empty((rows, COLUMNS), np.uint16)
    _bin_colours(features, np.median(features[:, lip], axis=1), colour)
    return Straight(colour, *places, share, step, turn[1])


def inside_evidence(mouths: Sequence[Straight]) -> Float32[np.ndarray, " colours"]:
    """Log likelihood ratio of a colour bin, inside over lip, from places where the fit leaves no doubt."""
    lip, inside = np.zeros(np.prod(BINS)), np.zeros(np.prod(BINS))
    sixth = COLUMNS // 6
    for mouth in mouths:
        outside = _beyond(len(mouth.colour), mouth.upper, mouth.lower)[:, sixth:-sixth]
        colour = mouth.colour[:, sixth:-sixth]
        lip += np.bincount(colour[(outside > LIP_MM[0]) & (outside < LIP_MM[1])], minlength=len(lip))
        inside += np.bincount(colour[outside < -INSIDE_MM], minlength=len(inside))
    likely = [_density(counts.reshape(BINS)) for counts in (lip, inside)]
    return np.clip(np.log(likely[1] / likely[0]), -MOST, MOST).astype(np.float32).ravel()


def _density(counts: np.ndarray) -> np.ndarray:
    smooth = gaussian_filter(counts, 0.8, mode="nearest") + FEWEST / counts.size
    return smooth / smooth.sum()


def _beyond(rows: int, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """How far (mm) each place lies outside the opening; negative inside."""
    row = np.arange(rows)[:, None]
    return np.maximum(upper - row, row - lower) * STEP_MM


def rim_shifts(mouth: Straight, evidence: Float32[np.ndarray, " colours"], controls: int) -> Float32[np.ndarray, "k 2"]:
    """How far (pixels) the rim's control points (`Aperture.controls`: the upper ones, then the lower ones) lie off."""
    gain = evidence[mouth.colour] * np.float32(STEP_MM * PER_MM)
    total = np.concatenate([np.zeros((1, COLUMNS), np.float32), np.cumsum(gain, axis=0, dtype=np.float32)])
    reach = int(np.ceil(REACH_MM / STEP_MM))
    free = np.full(COLUMNS, np.inf, np.float32)
    upper = _path(total, mouth.upper, np.float32(1), reach, free)
    lower = _path(total, mouth.lower, np.float32(-1), reach, mouth.upper + upper)
    upper = _path(total, mouth.upper, np.float32(1), reach, mouth.lower + lower)
    at = np.linspace(0, 1, controls)
    moved = [np.interp(at, mouth.share, rows * mouth.step_px) for rows in (upper, lower)]
    return (np.concatenate(moved)[:, None] * mouth.down).astype(np.float32)


@njit("f8[::1](f4[:,::1], i4[::1], f8[::1], f8[:,::1], f8[::1], i8)", nogil=True, cache=True)
def _silhouette(pixels, lip, origin, turn, along, sign):
    """How far down a lip (numbers of pixels) reaches at places along: the lip turns inwards before its rim."""
    count = len(along)
    reach = np.full(count, -np.inf)
    for i in lip:
        x, y = pixels[i, 0] - origin[0], pixels[i, 1] - origin[1]
        across, down = x * turn[0, 0] + y * turn[0, 1], x * turn[1, 0] + y * turn[1, 1]
        column = int(np.round((across - along[0]) / (along[1] - along[0])))
        if 0 <= column < count:
            reach[column] = max(reach[column], sign * down)
    known = np.flatnonzero(np.isfinite(reach))
    return sign * np.interp(np.arange(count).astype(np.float64), known.astype(np.float64), reach[known])


@njit("UniTuple(f8, 4)(f8[::1], f8[:,::1], f8[::1], f8, f8, f4[:,:,::1])", nogil=True, cache=True)
def _spread_spots(origin, turn, along, top, step, out):
    """Places in the picture, x and y as `cv2.remap` counts, of rows `step` apart at columns `along`; their bounds in pixels."""
    low_x, low_y, high_x, high_y = np.inf, np.inf, -np.inf, -np.inf
    for r in range(out.shape[1]):
        down = top + step * r
        for c in range(out.shape[2]):
            x = origin[0] + along[c] * turn[0, 0] + down * turn[1, 0]
            y = origin[1] + along[c] * turn[0, 1] + down * turn[1, 1]
            low_x, high_x, low_y, high_y = min(low_x, x), max(high_x, x), min(low_y, y), max(high_y, y)
            out[0, r, c], out[1, r, c] = x - 0.5, y - 0.5
    return low_x, low_y, high_x, high_y


def _features(
    picture: UInt8[np.ndarray, "h w 3"], spots: Float32[np.ndarray, "2 r c"], pixel: float
) -> Float32[np.ndarray, "3 r c"]:
    """Log brightness, redness and blueness at spots; `pixel` is their spacing, for the blur against aliases."""
    logarithm = cv2.GaussianBlur(cv2.LUT(picture, _LOGARITHM), (0, 0), float(np.clip(0.4 * pixel, 0.4, 2.0)))
    sampled = cv2.remap(logarithm, spots[0], spots[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    out = np.empty((3, *sampled.shape[:2]), np.float32)
    _relate_colours(sampled, out)
    return out


@njit("void(f4[:,:,::1], f4[:,:,::1])", nogil=True, cache=True)
def _relate_colours(logarithm, out):
    """Logarithms of red, green and blue to brightness, redness and blueness."""
    for r in range(out.shape[1]):
        for c in range(out.shape[2]):
            red, green, blue = logarithm[r, c, 0], logarithm[r, c, 1], logarithm[r, c, 2]
            out[0, r, c] = (red + green + blue) / np.float32(3)
            out[1, r, c], out[2, r, c] = red - green, blue - green


@njit("void(f4[:,:,::1], f4[::1], u2[:,::1])", nogil=True, cache=True)
def _bin_colours(features, middle, out):
    """The bin of each place's colour (3, r, c), less `middle`."""
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            number = 0
            for k in range(3):
                share = (features[k, r, c] - middle[k] - LOWEST[k]) / (HIGHEST[k] - LOWEST[k])
                number = number * BINS[k] + min(max(int(share * np.float32(BINS[k])), 0), BINS[k] - 1)
            out[r, c] = number


@njit("f4[::1](f4[:,::1], f4[::1], f4, i8, f4[::1])", nogil=True, cache=True)
def _path(total, place, sign, reach, bound):
    """The shift (rows) per column of least cost (Viterbi); `sign` 1: the upper half, at most `bound`; -1: the lower."""
    columns, states = total.shape[1], 2 * reach + 1
    prior = np.float32(0.5 * (STEP_MM / PRIOR_MM) ** 2)
    stiff = np.float32(0.5 * (STEP_MM / SMOOTH_MM) ** 2)
    best = np.zeros((columns, states), np.float32)
    came = np.zeros((columns, states), np.int64)
    for c in range(columns):
        # Towards the corners shadow and beard pass for an opening: less may move there.
        end = min(np.float32(min(c, columns - 1 - c)) / np.float32(CORNER * columns), np.float32(1))
        held = prior / max(end, np.float32(0.4)) ** 2
        for s in range(states):
            shift = s - reach
            row = place[c] + shift
            position = min(max(row + np.float32(0.5), np.float32(0)), np.float32(total.shape[0] - 1.001))
            low = int(position)
            value = total[low, c] + (position - low) * (total[low + 1, c] - total[low, c])
            cost = sign * value + held * shift * shift
            if np.isfinite(bound[c]) and sign * (row - bound[c]) > 0:
                cost += np.float32(0.5) * sign * (row - bound[c])
            if c > 0:
                least, at = np.float32(np.inf), 0
                for p in range(states):
                    apart = np.float32(s - p)
                    through = best[c - 1, p] + stiff * apart * apart
                    if through < least:
                        least, at = through, p
                cost += least
                came[c, s] = at
            best[c, s] = cost
    out = np.empty(columns, np.float32)
    s = 0
    for k in range(states):
        if best[columns - 1, k] < best[columns - 1, s]:
            s = k
    for c in range(columns - 1, -1, -1):
        out[c] = s - reach
        s = came[c, s]
    return out
