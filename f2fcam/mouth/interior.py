"""Where an opening's inside is found in a retrieved frame: teeth, tongue and eyeball are rigid, lips and lids only occlude.

What hangs on the skull (upper teeth, eyeball) and what hangs on the jaw (lower teeth, tongue) each move rigidly; between
them lies a seam, the darkest row of the retrieved mouth, where content appears or vanishes. Pixels never come from beyond
the retrieved frame's own rim: where the new opening shows more than the old one did, the inside is stretched, at most by
`STRETCH`, and the rest of the gap is the seam's darkness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8
from numba import njit

from f2fcam.mouth.aperture import Aperture, Placed, affine

STRETCH = 1.15
"""Largest magnification of teeth (`DECISIONS` 10)."""
COLUMNS = 64
"""Columns into which an opening is divided between its corners."""
SEAM_BLEND = 0.06
"""Width of the change from skull to jaw, as part of the opening's width."""
EVEN_SEAM = 0.5
"""Where the seam lies in an opening too small to tell."""
SMALLEST_GAP_PX = 3.0


@dataclass(frozen=True, slots=True)
class Rim:
    """An opening's outline in its own axes: along the corners' line from the person's right, and down.

    Attributes:
        to_axes: (2, 3) pixels to (along, down).
        first, last: where the corners lie along.
        upper, lower: how far down the two lines run, per column.
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


def rim(placed: Placed, aperture: Aperture) -> Rim:
    """The outline of an opening in a picture."""
    upper, lower = placed.pixels[aperture.upper].astype(np.float64), placed.pixels[aperture.lower].astype(np.float64)
    along = upper[-1] - upper[0]
    along /= max(float(np.linalg.norm(along)), 1e-6)
    turn = np.array([along, [-along[1], along[0]]])
    to_axes = np.column_stack([turn, -turn @ upper[0]])
    upper, lower = upper @ turn.T + to_axes[:, 2], lower @ turn.T + to_axes[:, 2]
    first, last = float(upper[0, 0]), float(max(upper[-1, 0], upper[0, 0] + 1.0))
    columns = np.linspace(first, last, COLUMNS)
    tops = np.interp(columns, *_monotone(upper))
    bottoms = np.maximum(np.interp(columns, *_monotone(lower)), tops)
    return Rim(to_axes, first, last, tops.astype(np.float32), bottoms.astype(np.float32))


def _monotone(line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A line as a function of its first coordinate: backward steps are flattened."""
    return np.maximum.accumulate(line[:, 0]) + 1e-9 * np.arange(len(line)), line[:, 1]


def seam(picture: UInt8[np.ndarray, "h w 3"], outline: Rim, origin: tuple[int, int]) -> float:
    """Where between upper (0) and lower rim (1) a mouth's picture is darkest: below the upper teeth."""
    if outline.gap_px < SMALLEST_GAP_PX:
        return EVEN_SEAM
    columns, rows = np.arange(COLUMNS // 4, 3 * COLUMNS // 4), np.linspace(0.12, 0.88, 20)
    along = outline.first + (outline.last - outline.first) * columns / (COLUMNS - 1)
    down = outline.upper[columns] + rows[:, None] * (outline.lower - outline.upper)[columns]
    points = np.stack([np.broadcast_to(along, down.shape), down], axis=-1)
    pixels = points @ outline.to_pixels[:, :2].T + outline.to_pixels[:, 2] - origin
    x = np.clip(pixels[..., 0].astype(int), 0, picture.shape[1] - 1)
    y = np.clip(pixels[..., 1].astype(int), 0, picture.shape[0] - 1)
    light = picture[y, x].astype(np.float64).mean(axis=(1, 2))
    light += 0.15 * np.ptp(light) * np.abs(rows - EVEN_SEAM)
    return float(rows[int(np.argmin(light))])


@dataclass(frozen=True, slots=True)
class InsideMap:
    """From an opening's new inside to its old one, both in their own axes.

    Attributes:
        new, old: the outlines.
        skull, jaw: (2, 3) new axes to old axes for what hangs on either.
        scale: old pixels per new pixel.
        seam: where the two meet in the old opening, 0 (upper rim) to 1.
    """

    new: Rim
    old: Rim
    skull: Float[np.ndarray, "2 3"]
    jaw: Float[np.ndarray, "2 3"]
    scale: float
    seam: float

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """The maps (5, 2, 3) and numbers (6,) as the sampling kernel takes them."""
        maps = np.stack([self.new.to_axes, self.skull, self.jaw, self.old.to_pixels]).astype(np.float32)
        numbers = [self.new.first, self.new.last, self.old.first, self.old.last, self.scale, self.seam]
        return np.ascontiguousarray(maps), np.array(numbers, np.float32)


def inside_map(new: Placed, old: Placed, new_rim: Rim, old_rim: Rim, seam_at: float) -> InsideMap:
    """How an opening's inside gets from where it is in the old picture to where it belongs in the new one."""
    skull, jaw = affine(new.upper_inside, old.upper_inside), affine(new.lower_inside, old.lower_inside)
    scale = float(np.sqrt(abs(np.linalg.det(skull[:, :2]))))
    return InsideMap(
        new_rim, old_rim, _between(skull, new_rim, old_rim), _between(jaw, new_rim, old_rim), scale, seam_at
    )


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
def _inside_source(x, y, maps, numbers, new_upper, new_lower, old_upper, old_lower):
    """Old picture's pixel for the new picture's (x, y) inside the opening."""
    along = maps[0, 0, 0] * x + maps[0, 0, 1] * y + maps[0, 0, 2]
    down = maps[0, 1, 0] * x + maps[0, 1, 1] * y + maps[0, 1, 2]
    per_new = np.float32(COLUMNS - 1) / (numbers[1] - numbers[0])
    per_old = np.float32(COLUMNS - 1) / (numbers[3] - numbers[2])
    column = (along - numbers[0]) * per_new
    pull = numbers[4] / np.float32(STRETCH)
    below = max(down - _at(new_upper, column), np.float32(0)) * pull
    above = max(_at(new_lower, column) - down, np.float32(0)) * pull

    skull_along = maps[1, 0, 0] * along + maps[1, 0, 1] * down + maps[1, 0, 2]
    skull_along = min(max(skull_along, numbers[2]), numbers[3])
    at = (skull_along - numbers[2]) * per_old
    top, bottom = _at(old_upper, at), _at(old_lower, at)
    meet = top + numbers[5] * (bottom - top)
    upper = max(maps[1, 1, 0] * along + maps[1, 1, 1] * down + maps[1, 1, 2], top + below)
    from_skull = min(upper, meet)

    jaw_along = maps[2, 0, 0] * along + maps[2, 0, 1] * down + maps[2, 0, 2]
    jaw_along = min(max(jaw_along, numbers[2]), numbers[3])
    at = (jaw_along - numbers[2]) * per_old
    top, bottom = _at(old_upper, at), _at(old_lower, at)
    jaw_meet = top + numbers[5] * (bottom - top)
    from_jaw = max(min(maps[2, 1, 0] * along + maps[2, 1, 1] * down + maps[2, 1, 2], bottom - above), jaw_meet)

    soft = np.float32(SEAM_BLEND) * (numbers[3] - numbers[2])
    w = min(max((upper - meet) / soft + np.float32(0.5), np.float32(0)), np.float32(1))
    along, down = skull_along + w * (jaw_along - skull_along), from_skull + w * (from_jaw - from_skull)
    sx = maps[3, 0, 0] * along + maps[3, 0, 1] * down + maps[3, 0, 2]
    sy = maps[3, 1, 0] * along + maps[3, 1, 1] * down + maps[3, 1, 2]
    return sx, sy
