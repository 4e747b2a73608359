"""Where an opening's inside is found in a retrieved frame: teeth, tongue and eyeball are rigid, lips and lids only occlude.

What hangs on the skull (upper teeth, eyeball) and what hangs on the jaw (lower teeth, tongue) each move rigidly; they meet
at a seam, the darkest row of the retrieved mouth, where content vanishes when the mouth closes. Where the opening shows
more than it did in the retrieved frame, the content is stretched: mostly in the dark, where nothing shows it. Pixels
never come from beyond the retrieved frame's own rim.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from numba import njit
from scipy.ndimage import gaussian_filter1d

from f2fcam.mouth.aperture import Aperture, Placed, affine
from f2fcam.render import Fragments

STRETCH = 1.15
"""Largest magnification of teeth while lips move over them (`DECISIONS` 10)."""
COLUMNS = 64
"""Columns into which an opening is divided between its ends."""
ROWS = 24
"""Rows of its brightness profile."""
SEAM_BLEND = 0.06
"""Width of the change from skull to jaw, as part of the opening's width."""
SMALLEST_GAP_PX = 3.0
"""A lower opening tells nothing of its inside."""
STIFFEST = 0.06
"""How much the brightest row (teeth) stretches, the darkest being 1."""
DARK_BELOW, DARK_FROM = 0.10, 0.35
"""Old over new height of an opening: below the one the inside is the cavity's darkness, above the other as retrieved."""
SLIT_BELOW = 0.3
"""New over old height below which lips that all but meet shade what is left between them."""
DARKNESS = 0.8
_gaussian = np.exp(-0.5 * (np.arange(-6, 7) / 1.5) ** 2)
SMOOTHING = _gaussian / _gaussian.sum()
"""Along an edge, columns."""


@dataclass(frozen=True, slots=True)
class Rim:
    """An opening's visible outline in its own axes: along the corners' line from the person's right, and down.

    Attributes:
        to_axes: (2, 3) pixels to (along, down).
        first, last: where the opening begins and ends along.
        upper, lower: how far down its two edges run, per column; equal where it is shut.
    """

    to_axes: Float[np.ndarray, "2 3"]
    first: float
    last: float
    upper: Float32[np.ndarray, " 64"]
    lower: Float32[np.ndarray, " 64"]

    @property
    def to_pixels(self) -> Float[np.ndarray, "2 3"]:
        """The inverse of `to_axes`."""
        turn = self.to_axes[:, :2].T
        return np.column_stack([turn, -turn @ self.to_axes[:, 2]])

    @property
    def gap_px(self) -> float:
        """Mean height of the opening's middle third."""
        third = slice(COLUMNS // 3, 2 * COLUMNS // 3)
        return float((self.lower[third] - self.upper[third]).mean())


def opening_mask(placed: Placed, aperture: Aperture, drawn: Fragments) -> UInt8[np.ndarray, "h w"]:
    """255 where one sees into the opening: inside the rim's loop, and no lip or lid in front."""
    outline = np.concatenate([aperture.upper, aperture.lower[-2:0:-1]])
    corners = np.round((placed.pixels[outline] - np.array(drawn.region[:2], np.float32) - 0.5) * 16).astype(np.int32)
    mask = np.zeros(drawn.triangle.shape, np.uint8)
    cv2.fillPoly(mask, [corners], 255, lineType=cv2.LINE_8, shift=4)
    mask[drawn.triangle >= 0] = 0
    return mask


def rim(placed: Placed, aperture: Aperture, mask: UInt8[np.ndarray, "h w"], corner: tuple[int, int]) -> Rim:
    """The outline of what `mask` (first pixel at `corner`) shows of an opening; a line where it is shut."""
    upper, lower = placed.pixels[aperture.upper].astype(np.float64), placed.pixels[aperture.lower].astype(np.float64)
    along = upper[-1] - upper[0]
    along /= max(float(np.linalg.norm(along)), 1e-6)
    turn = np.array([along, [-along[1], along[0]]])
    to_axes = np.column_stack([turn, -turn @ upper[0]])
    tops, bottoms, ends = np.empty(COLUMNS), np.empty(COLUMNS), np.empty(2)
    if _edges(np.ascontiguousarray(mask), *corner, to_axes, ends, tops, bottoms) < 2 * SMALLEST_GAP_PX:
        return _shut(to_axes, upper, lower)
    known = np.flatnonzero(np.isfinite(tops))
    every = np.arange(COLUMNS)
    tops, bottoms = np.interp(every, known, tops[known]), np.interp(every, known, bottoms[known])
    return Rim(to_axes, float(ends[0]), float(ends[1]), _smooth(tops), _smooth(bottoms))


@njit("i8(u1[:,::1], i8, i8, f8[:,::1], f8[::1], f8[::1], f8[::1])", nogil=True, cache=True)
def _edges(mask, x0, y0, to_axes, ends, tops, bottoms):
    """Where the masked pixels begin and end: along, and down per column (infinite where there is none). Their number."""
    count = 0
    ends[0], ends[1] = np.inf, -np.inf
    tops[:] = np.inf
    bottoms[:] = -np.inf
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x] > 0:
                count += 1
                along = to_axes[0, 0] * (x + 0.5 + x0) + to_axes[0, 1] * (y + 0.5 + y0) + to_axes[0, 2]
                ends[0], ends[1] = min(ends[0], along - 0.5), max(ends[1], along + 0.5)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x] > 0:
                px, py = x + 0.5 + x0, y + 0.5 + y0
                along = to_axes[0, 0] * px + to_axes[0, 1] * py + to_axes[0, 2]
                down = to_axes[1, 0] * px + to_axes[1, 1] * py + to_axes[1, 2]
                column = min(max(int((along - ends[0]) / (ends[1] - ends[0]) * COLUMNS), 0), COLUMNS - 1)
                tops[column] = min(tops[column], down - 0.5)
                bottoms[column] = max(bottoms[column], down + 0.5)
    return count


def _smooth(line: np.ndarray) -> np.ndarray:
    """Pixel steps taken out: the median of three, then a Gaussian; the ends repeated."""
    padded = np.concatenate([line[:1], line, line[-1:]])
    left, middle, right = padded[:-2], padded[1:-1], padded[2:]
    median = np.maximum(np.minimum(left, middle), np.minimum(np.maximum(left, middle), right))
    reach = len(SMOOTHING) // 2
    ends = np.concatenate([np.full(reach, median[0]), median, np.full(reach, median[-1])])
    return np.convolve(ends, SMOOTHING, "valid").astype(np.float32)


def _shut(to_axes: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> Rim:
    """The line along which shut lips or lids meet: midway between the hidden halves of the loop."""
    turn = to_axes[:, :2]
    upper, lower = upper @ turn.T + to_axes[:, 2], lower @ turn.T + to_axes[:, 2]
    first, last = float(upper[0, 0]), float(max(upper[-1, 0], upper[0, 0] + 1.0))
    columns = np.linspace(first, last, COLUMNS)
    line = [
        np.interp(columns, np.maximum.accumulate(h[:, 0]) + 1e-9 * np.arange(len(h)), h[:, 1]) for h in (upper, lower)
    ]
    middle = ((line[0] + line[1]) / 2).astype(np.float32)
    return Rim(to_axes, first, last, middle, middle)


@dataclass(frozen=True, slots=True)
class Content:
    """What an opening's inside looks like, from its upper edge (0) to its lower one (1).

    Attributes:
        seam: the darkest place, below the upper teeth.
        give: share of any stretching that lies above each of 25 places.
    """

    seam: float
    give: Float32[np.ndarray, " 25"]


def even_content() -> Content:
    """An inside that stretches alike everywhere."""
    return Content(0.5, np.linspace(0, 1, ROWS + 1, dtype=np.float32))


def content(picture: UInt8[np.ndarray, "h w 3"], outline: Rim, corner: tuple[int, int]) -> Content:
    """The inside of a mouth in a picture whose first pixel lies at `corner`: dark rows give, teeth do not."""
    if outline.gap_px < SMALLEST_GAP_PX:
        return even_content()
    columns, rows = np.arange(COLUMNS // 4, 3 * COLUMNS // 4), (np.arange(ROWS) + 0.5) / ROWS
    along = outline.first + (outline.last - outline.first) * columns / (COLUMNS - 1)
    down = outline.upper[columns] + rows[:, None] * (outline.lower - outline.upper)[columns]
    points = np.stack([np.broadcast_to(along, down.shape), down], axis=-1)
    pixels = points @ outline.to_pixels[:, :2].T + outline.to_pixels[:, 2] - corner
    x = np.clip(pixels[..., 0].astype(int), 0, picture.shape[1] - 1)
    y = np.clip(pixels[..., 1].astype(int), 0, picture.shape[0] - 1)
    light = gaussian_filter1d(picture[y, x].astype(np.float64).mean(axis=(1, 2)), 0.8, mode="nearest")
    contrast = max(float(np.ptp(light)), 12.0)
    inner = light + contrast * np.where(np.abs(rows - 0.5) < 0.4, 0.15 * np.abs(rows - 0.5), 10.0)
    soft = STIFFEST + (1 - np.clip((light - light.min()) / contrast, 0, 1)) ** 3
    give = np.concatenate([[0], np.cumsum(soft)]) / soft.sum()
    return Content(float(rows[int(np.argmin(inner))]), give.astype(np.float32))


@dataclass(frozen=True, slots=True)
class InsideMap:
    """From an opening's new inside to its old one, both in their own axes.

    Attributes:
        new, old: the outlines.
        skull, jaw: (2, 3) new axes to old axes for what hangs on either.
        scale: old pixels per new pixel.
        content: what the old opening shows.
    """

    new: Rim
    old: Rim
    skull: Float[np.ndarray, "2 3"]
    jaw: Float[np.ndarray, "2 3"]
    scale: float
    content: Content

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """The maps (4, 2, 3) and numbers (6,) as the sampling kernel takes them."""
        maps = np.stack([self.new.to_axes, self.skull, self.jaw, self.old.to_pixels]).astype(np.float32)
        numbers = [self.new.first, self.new.last, self.old.first, self.old.last, self.scale, self.content.seam]
        return np.ascontiguousarray(maps), np.array(numbers, np.float32)


def inside_map(new: Placed, old: Placed, new_rim: Rim, old_rim: Rim, shows: Content) -> InsideMap:
    """How an opening's inside gets from where it is in the old picture to where it belongs in the new one."""
    skull, jaw = affine(new.upper_inside, old.upper_inside), affine(new.lower_inside, old.lower_inside)
    scale = float(np.sqrt(abs(np.linalg.det(skull[:, :2]))))
    return InsideMap(new_rim, old_rim, _between(skull, new_rim, old_rim), _between(jaw, new_rim, old_rim), scale, shows)


def _between(pixels: np.ndarray, new: Rim, old: Rim) -> np.ndarray:
    """A map of pixels as a map of axes."""
    return _chain(old.to_axes, _chain(pixels, new.to_pixels))


def _chain(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


@njit(inline="always")
def _at(table, position):
    """Linear interpolation in a table; position in columns."""
    position = min(max(position, np.float32(0)), np.float32(COLUMNS - 1))
    low = min(int(position), COLUMNS - 2)
    return table[low] + (position - low) * (table[low + 1] - table[low])


@njit(inline="always")
def _stretched(share, excess, give):
    """Where in the old opening (0..1) the new opening's place `share` (0..1) is found; `excess`: new over old height - 1."""
    low, high = 0, ROWS
    for _ in range(5):
        middle = (low + high) // 2
        if (np.float32(middle) / ROWS + excess * give[middle]) / (1 + excess) <= share:
            low = middle
        else:
            high = middle
    low = min(low, ROWS - 1)
    a = (np.float32(low) / ROWS + excess * give[low]) / (1 + excess)
    b = (np.float32(low + 1) / ROWS + excess * give[low + 1]) / (1 + excess)
    return (low + min(max((share - a) / max(b - a, np.float32(1e-6)), np.float32(0)), np.float32(1))) / np.float32(ROWS)


@njit(inline="always")
def _inside_source(x, y, maps, numbers, new_upper, new_lower, old_upper, old_lower, give):
    """Old picture's pixel for the new picture's (x, y) inside the opening, and how dark the inside is there (0..1)."""
    zero, one = np.float32(0), np.float32(1)
    along = maps[0, 0, 0] * x + maps[0, 0, 1] * y + maps[0, 0, 2]
    down = maps[0, 1, 0] * x + maps[0, 1, 1] * y + maps[0, 1, 2]
    per_new = np.float32(COLUMNS - 1) / (numbers[1] - numbers[0])
    per_old = np.float32(COLUMNS - 1) / (numbers[3] - numbers[2])
    column = (along - numbers[0]) * per_new
    scale = numbers[4]
    new_top, new_bottom = _at(new_upper, column), _at(new_lower, column)
    # Negative for the odd pixel outside the smoothed rim, which keeps its distance from it.
    below, above = (down - new_top) * scale, (new_bottom - down) * scale
    outside_top, outside_bottom = min(below, zero), min(above, zero)

    # Each body's own place along, and the opening's edges there; both clamped to what the old opening shows.
    u_along = maps[1, 0, 0] * along + maps[1, 0, 1] * down + maps[1, 0, 2]
    u_along = min(max(u_along, numbers[2]), numbers[3])
    u_top, u_bottom = _at(old_upper, (u_along - numbers[2]) * per_old), _at(old_lower, (u_along - numbers[2]) * per_old)
    l_along = maps[2, 0, 0] * along + maps[2, 0, 1] * down + maps[2, 0, 2]
    l_along = min(max(l_along, numbers[2]), numbers[3])
    l_bottom = _at(old_lower, (l_along - numbers[2]) * per_old)
    rigid_upper = maps[1, 1, 0] * along + maps[1, 1, 1] * down + maps[1, 1, 2]
    rigid_lower = maps[2, 1, 0] * along + maps[2, 1, 1] * down + maps[2, 1, 2]
    pull = one / np.float32(STRETCH)
    below, above = max(below, zero), max(above, zero)
    upper = max(rigid_upper, u_top + outside_top + below * pull)
    lower = min(rigid_lower, l_bottom - outside_bottom - above * pull)

    # Closing: the lips cover the inside; skull's content down to the seam, jaw's below it. Where both agree, neither moves.
    meet = u_top + numbers[5] * (u_bottom - u_top)
    soft = np.float32(SEAM_BLEND) * (numbers[3] - numbers[2])
    w = min(max((upper - meet) / soft + np.float32(0.5), zero), one)
    covered = upper + w * (lower - upper)
    covered_along = u_along + w * (l_along - u_along)

    # Opening wider than the old one: stretched, the dark rows most.
    share = below / max(below + above, np.float32(1e-3))
    middle_along = u_along + share * (l_along - u_along)
    top = _at(old_upper, (middle_along - numbers[2]) * per_old)
    bottom = _at(old_lower, (middle_along - numbers[2]) * per_old)
    height, wanted = max(bottom - top, np.float32(0.5)), below + above
    excess = max(wanted / height - one, zero)
    stretched = top + _stretched(share, excess, give) * (bottom - top)
    w = min(max((upper - lower) / (np.float32(0.08) * height + one), zero), one)
    down, along = covered + w * (stretched - covered), covered_along + w * (middle_along - covered_along)

    down = min(max(down, top + outside_top), bottom - outside_bottom)

    missing = (np.float32(DARK_FROM) - height / max(wanted, np.float32(1))) / np.float32(DARK_FROM - DARK_BELOW)
    dark = min(max(missing, zero), one) * min(min(below, above) / np.float32(3), one)
    slit = one - max(wanted, zero) / (np.float32(SLIT_BELOW) * height)
    dark = max(dark, min(max(slit, zero), one)) * np.float32(DARKNESS)
    sx = maps[3, 0, 0] * along + maps[3, 0, 1] * down + maps[3, 0, 2]
    sy = maps[3, 1, 0] * along + maps[3, 1, 1] * down + maps[3, 1, 2]
    return sx, sy, dark
