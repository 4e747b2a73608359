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
from jaxtyping import Float, Float32, Float64, Int64, UInt8
from numba import njit
from scipy.ndimage import gaussian_filter1d

from f2fcam.mouth.aperture import Aperture, Placed
from f2fcam.render import Fragments, Region

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
BLACK = 0.3
"""Of the median brightness (code values) of the lips and the skin around: darker is neither teeth nor tongue."""
STIFFEST = 0.06
"""How much the brightest row (teeth) stretches, the darkest being 1."""
DARK_BELOW, DARK_FROM = 0.10, 0.35
"""Old over new height of an opening: below the one the inside is the cavity's darkness, above the other as retrieved."""
DARKNESS = 0.8
"""Of what no retrieved pixel shows."""
THIN = 0.1
"""Height over width of an opening: below, little light comes in, and what is closed further than it was is shaded."""
SMOOTHING_COLUMNS, SMOOTHING_CELLS = 1.5, 2.0
"""Spread of the Gaussian along an edge: the larger of the two, so that a small mouth shows no steps of pixels."""


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
        out = np.empty((2, 3))
        out[:, :2] = self.to_axes[:, :2].T
        out[:, 2] = -out[:, :2] @ self.to_axes[:, 2]
        return out

    @property
    def gap_px(self) -> float:
        """Mean height of the opening's middle third."""
        third = slice(COLUMNS // 3, 2 * COLUMNS // 3)
        return float((self.lower[third] - self.upper[third]).mean())


def opening_mask(
    vertices: Float32[np.ndarray, "v 2"], aperture: Aperture, drawn: Fragments
) -> UInt8[np.ndarray, "h w"]:
    """255 where one sees into the opening: inside the rim's loop, and no lip or lid in front. `vertices` in `drawn`'s cells."""
    outline = np.concatenate([aperture.upper, aperture.lower[-2:0:-1]])
    corners = np.round((vertices[outline] - np.array(drawn.region[:2], np.float32) - 0.5) * 16).astype(np.int32)
    mask = np.zeros(drawn.triangle.shape, np.uint8)
    cv2.fillPoly(mask, [corners], 255, lineType=cv2.LINE_8, shift=4)
    mask[drawn.triangle >= 0] = 0
    return mask


def rim_coverage(outline: Rim, region: Region, edge_px: float = 1.0, stride: int = 1) -> UInt8[np.ndarray, "h w"]:
    """How much of each cell (0..255) of `region`, of `stride` pixels, lies between the rim's edges, as sharp as given.

    None where they meet.
    """
    coverage = np.empty((region[3] - region[1], region[2] - region[0]), np.uint8)
    to_axes = outline.to_axes.astype(np.float32)
    _cover(
        to_axes, outline.first, outline.last, outline.upper, outline.lower, max(edge_px, stride), region[0], region[1],
        stride, coverage,
    )  # fmt: skip
    return coverage


def rim(
    placed: Placed, aperture: Aperture, mask: UInt8[np.ndarray, "h w"], corner: tuple[int, int], stride: int
) -> Rim:
    """The outline of what `mask`, whose cells are `stride` pixels and begin at cell `corner`, shows of an opening.

    A line where it is shut.
    """
    to_axes, ends, edges = np.empty((2, 3)), np.empty(2), np.empty((2, COLUMNS), np.float32)
    _outline(placed.pixels, aperture.upper, aperture.lower, mask, *corner, stride, to_axes, ends, edges)
    return Rim(to_axes, float(ends[0]), float(ends[1]), edges[0], edges[1])


@njit("i8(u1[:,::1], i8, i8, f8, f8[:,::1], f8[::1], f8[::1], f8[::1])", nogil=True, cache=True)
def _edges(mask, x0, y0, cell, to_axes, ends, tops, bottoms):
    """Where the masked cells begin and end, pixels: along, and down per column (infinite where there is none). Their number."""
    count, half = 0, 0.5 * cell
    ends[0], ends[1] = np.inf, -np.inf
    tops[:] = np.inf
    bottoms[:] = -np.inf
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x] > 0:
                count += 1
                px, py = cell * (x + 0.5 + x0), cell * (y + 0.5 + y0)
                along = to_axes[0, 0] * px + to_axes[0, 1] * py + to_axes[0, 2]
                ends[0], ends[1] = min(ends[0], along - half), max(ends[1], along + half)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x] > 0:
                px, py = cell * (x + 0.5 + x0), cell * (y + 0.5 + y0)
                along = to_axes[0, 0] * px + to_axes[0, 1] * py + to_axes[0, 2]
                down = to_axes[1, 0] * px + to_axes[1, 1] * py + to_axes[1, 2]
                column = min(max(int((along - ends[0]) / (ends[1] - ends[0]) * COLUMNS), 0), COLUMNS - 1)
                tops[column] = min(tops[column], down - half)
                bottoms[column] = max(bottoms[column], down + half)
    return count


@njit("void(f8[::1])", nogil=True, cache=True)
def _fill_gaps(line):
    """Infinite columns interpolated from their neighbours, in place; beyond the outermost ones as these."""
    last = -1
    for c in range(COLUMNS):
        if not np.isfinite(line[c]):
            continue
        for k in range(last + 1, c):
            line[k] = line[c] if last < 0 else line[last] + (k - last) / (c - last) * (line[c] - line[last])
        last = c
    for k in range(last + 1, COLUMNS):
        line[k] = line[last]


@njit("void(f8[::1], f8, f4[::1])", nogil=True, cache=True)
def _smooth(line, spread, out):
    """Pixel steps taken out: the median of three, then a Gaussian of some columns' spread; the ends repeated."""
    median = line.copy()
    for c in range(1, COLUMNS - 1):
        left, middle, right = line[c - 1], line[c], line[c + 1]
        median[c] = max(min(left, middle), min(max(left, middle), right))
    reach = int(np.ceil(3 * spread))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / spread) ** 2)
    weights /= weights.sum()
    for c in range(COLUMNS):
        total = 0.0
        for k in range(len(weights)):
            total += weights[k] * median[min(max(c + k - reach, 0), COLUMNS - 1)]
        out[c] = total


@njit("void(f4[:,::1], i4[::1], f8[:,::1], f8[::1], f8[::1])", nogil=True, cache=True)
def _add_hidden(pixels, half, to_axes, ends, middle):
    """Add half of how far down a hidden half of the rim runs to each of the columns between `ends`."""
    k, count = 0, len(half)
    along, down = np.empty(count), np.empty(count)
    for i in range(count):
        x, y = pixels[half[i], 0], pixels[half[i], 1]
        along[i] = to_axes[0, 0] * x + to_axes[0, 1] * y + to_axes[0, 2]
        down[i] = to_axes[1, 0] * x + to_axes[1, 1] * y + to_axes[1, 2]
        along[i] = max(along[i], along[i - 1]) if i > 0 else along[i]
    for c in range(COLUMNS):
        at = ends[0] + (ends[1] - ends[0]) * c / (COLUMNS - 1)
        while k + 2 < count and along[k + 1] <= at:
            k += 1
        share = (at - along[k]) / max(along[k + 1] - along[k], 1e-9)
        middle[c] += 0.5 * (down[k] + min(max(share, 0.0), 1.0) * (down[k + 1] - down[k]))


@njit("void(f4[:,::1], i4[::1], i4[::1], u1[:,::1], i8, i8, f8, f8[:,::1], f8[::1], f4[:,::1])", nogil=True, cache=True)
def _outline(pixels, upper, lower, mask, x0, y0, cell, to_axes, ends, edges):
    """A `Rim` from its mask; where that is all but empty, the line along which shut lips or lids meet."""
    first, last = pixels[upper[0]], pixels[upper[-1]]
    x, y = np.float64(last[0]) - np.float64(first[0]), np.float64(last[1]) - np.float64(first[1])
    length = max(np.sqrt(x * x + y * y), 1e-6)
    x, y = x / length, y / length
    to_axes[0, 0], to_axes[0, 1], to_axes[0, 2] = x, y, -(x * first[0] + y * first[1])
    to_axes[1, 0], to_axes[1, 1], to_axes[1, 2] = -y, x, -(x * first[1] - y * first[0])
    tops, bottoms = np.empty(COLUMNS), np.empty(COLUMNS)
    if _edges(mask, x0, y0, cell, to_axes, ends, tops, bottoms) >= 2 * SMALLEST_GAP_PX:
        for line, out in ((tops, edges[0]), (bottoms, edges[1])):
            _fill_gaps(line)
            _smooth(line, max(SMOOTHING_COLUMNS, SMOOTHING_CELLS * cell * COLUMNS / (ends[1] - ends[0])), out)
        return
    ends[0], ends[1] = 0.0, max(length, 1.0)
    tops[:] = 0.0
    for half in (upper, lower):
        _add_hidden(pixels, half, to_axes, ends, tops)
    edges[0] = tops
    edges[1] = tops


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
    rows = (np.arange(ROWS) + 0.5) / ROWS
    inside = _inside(picture, outline, corner, np.arange(COLUMNS // 4, 3 * COLUMNS // 4))
    light = gaussian_filter1d(inside.mean(axis=(1, 2)), 0.8, mode="nearest")
    contrast = max(float(np.ptp(light)), 12.0)
    inner = light + contrast * np.where(np.abs(rows - 0.5) < 0.4, 0.15 * np.abs(rows - 0.5), 10.0)
    soft = STIFFEST + (1 - np.clip((light - light.min()) / contrast, 0, 1)) ** 3
    give = np.concatenate([[0], np.cumsum(soft)]) / soft.sum()
    return Content(float(rows[int(np.argmin(inner))]), give.astype(np.float32))


def darkness(picture: UInt8[np.ndarray, "h w 3"], outline: Rim, corner: tuple[int, int]) -> float:
    """The share of an opening's area that shows nothing: neither teeth nor tongue. All of it where it is all but shut."""
    if outline.gap_px < SMALLEST_GAP_PX:
        return 1.0
    inside = _inside(picture, outline, corner, np.arange(COLUMNS)).mean(axis=2)
    dark = (inside < BLACK * np.median(picture.mean(axis=2))).mean(axis=0)
    return float(np.average(dark, weights=np.maximum(outline.lower - outline.upper, 1e-3)))


def _inside(
    picture: UInt8[np.ndarray, "h w 3"], outline: Rim, corner: tuple[int, int], columns: Int64[np.ndarray, " c"]
) -> Float64[np.ndarray, "24 c 3"]:
    """An opening's inside sampled on rows from edge to edge at some of its columns."""
    rows = (np.arange(ROWS) + 0.5) / ROWS
    along = outline.first + (outline.last - outline.first) * columns / (COLUMNS - 1)
    down = outline.upper[columns] + rows[:, None] * (outline.lower - outline.upper)[columns]
    points = np.stack([np.broadcast_to(along, down.shape), down], axis=-1)
    pixels = points @ outline.to_pixels[:, :2].T + outline.to_pixels[:, 2] - corner
    x = np.clip(pixels[..., 0].astype(int), 0, picture.shape[1] - 1)
    y = np.clip(pixels[..., 1].astype(int), 0, picture.shape[0] - 1)
    return picture[y, x].astype(np.float64)


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
        maps = np.empty((4, 2, 3), np.float32)
        maps[0], maps[1], maps[2], maps[3] = self.new.to_axes, self.skull, self.jaw, self.old.to_pixels
        numbers = [self.new.first, self.new.last, self.old.first, self.old.last, self.scale, self.content.seam]
        return maps, np.array(numbers, np.float32)


def inside_map(new: Placed, old: Placed, new_rim: Rim, old_rim: Rim, shows: Content) -> InsideMap:
    """How an opening's inside gets from where it is in the old picture to where it belongs in the new one."""
    skull, jaw = np.empty((2, 3)), np.empty((2, 3))
    scale = _carried(new.upper_inside, old.upper_inside, new_rim.to_axes, old_rim.to_axes, skull)
    _carried(new.lower_inside, old.lower_inside, new_rim.to_axes, old_rim.to_axes, jaw)
    return InsideMap(new_rim, old_rim, skull, jaw, scale, shows)


@njit("f8(f8[:,::1], f8[:,::1], f8[:,::1], f8[:,::1], f8[:,::1])", nogil=True, cache=True)
def _carried(source, goal, source_axes, goal_axes, out):
    """The affine map `out` (2, 3) of axes that takes pixels `source` to `goal` in least squares; its magnification."""
    count = len(source)
    near, far = np.zeros(2), np.zeros(2)
    for i in range(count):
        for k in range(2):
            near[k] += source_axes[k, 0] * source[i, 0] + source_axes[k, 1] * source[i, 1] + source_axes[k, 2]
            far[k] += goal_axes[k, 0] * goal[i, 0] + goal_axes[k, 1] * goal[i, 1] + goal_axes[k, 2]
    near /= count
    far /= count
    square, cross = np.zeros((2, 2)), np.zeros((2, 2))
    for i in range(count):
        for k in range(2):
            a = source_axes[k, 0] * source[i, 0] + source_axes[k, 1] * source[i, 1] + source_axes[k, 2] - near[k]
            for j in range(2):
                b = source_axes[j, 0] * source[i, 0] + source_axes[j, 1] * source[i, 1] + source_axes[j, 2] - near[j]
                c = goal_axes[j, 0] * goal[i, 0] + goal_axes[j, 1] * goal[i, 1] + goal_axes[j, 2] - far[j]
                square[k, j] += a * b
                cross[j, k] += c * a
    inverse = 1.0 / max(square[0, 0] * square[1, 1] - square[0, 1] * square[1, 0], 1e-12)
    for j in range(2):
        out[j, 0] = (cross[j, 0] * square[1, 1] - cross[j, 1] * square[1, 0]) * inverse
        out[j, 1] = (cross[j, 1] * square[0, 0] - cross[j, 0] * square[0, 1]) * inverse
        out[j, 2] = far[j] - out[j, 0] * near[0] - out[j, 1] * near[1]
    return np.sqrt(abs(out[0, 0] * out[1, 1] - out[0, 1] * out[1, 0]))


@njit(inline="always")
def _at(table, position):
    """Linear interpolation in a table; position in columns."""
    position = min(max(position, np.float32(0)), np.float32(COLUMNS - 1))
    low = min(np.intp(position), COLUMNS - 2)
    return table[low] + (position - np.float32(low)) * (table[low + 1] - table[low])


@njit("void(f4[:,:], f8, f8, f4[::1], f4[::1], f8, i8, i8, f8, u1[:,::1])", nogil=True, cache=True, fastmath=True)
def _cover(to_axes, first, last, upper, lower, edge_px, x0, y0, cell, coverage):
    """Box-filtered over the width of a lip's edge downwards, and over the cell's width along."""
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    first, last, cell = np.float32(first), np.float32(last), np.float32(cell)
    reach, share = half * np.float32(edge_px), np.float32(255 / edge_px)
    highest, lowest = upper.min(), lower.max()
    per_column = np.float32(COLUMNS - 1) / max(last - first, np.float32(1e-3))
    for y in range(coverage.shape[0]):
        for x in range(coverage.shape[1]):
            coverage[y, x] = 0
            px, py = cell * (np.float32(x + x0) + half), cell * (np.float32(y + y0) + half)
            down = to_axes[1, 0] * px + to_axes[1, 1] * py + to_axes[1, 2]
            if down + reach <= highest or down - reach >= lowest:
                continue
            along = to_axes[0, 0] * px + to_axes[0, 1] * py + to_axes[0, 2]
            wide = (min(along + half * cell, last) - max(along - half * cell, first)) / cell
            if wide <= 0:
                continue
            column = (along - first) * per_column
            high = min(down + reach, _at(lower, column)) - max(down - reach, _at(upper, column))
            coverage[y, x] = np.uint8(share * max(high, zero) * min(wide, one) + half)


@njit(inline="always")
def _stretched(share, excess, give):
    """Where in the old opening (0..1) the new opening's place `share` (0..1) is found; `excess`: new over old height - 1."""
    low, high, step, one = 0, ROWS, np.float32(1 / ROWS), np.float32(1)
    per_height = one / (one + excess)
    for _ in range(5):
        middle = (low + high) >> 1
        if (np.float32(middle) * step + excess * give[middle]) * per_height <= share:
            low = middle
        else:
            high = middle
    low = min(low, ROWS - 1)
    a = (np.float32(low) * step + excess * give[low]) * per_height
    b = (np.float32(low + 1) * step + excess * give[low + 1]) * per_height
    return (np.float32(low) + min(max((share - a) / max(b - a, np.float32(1e-6)), np.float32(0)), one)) * step


@njit(inline="always")
def _inside_source(x, y, maps, numbers, new_upper, new_lower, old_upper, old_lower, give):
    """Old picture's pixel for the new picture's (x, y) inside the opening; how much of it is the cavity's darkness, and
    how far the lips have closed over it (both 0..1)."""
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
    dark = dark * np.float32(DARKNESS)
    wide = np.float32(THIN) * (numbers[3] - numbers[2])
    thin = max(one - max(wanted, zero) / wide, zero) - max(one - height / wide, zero)
    thin = min(max(thin, zero), one)
    sx = maps[3, 0, 0] * along + maps[3, 0, 1] * down + maps[3, 0, 2]
    sy = maps[3, 1, 0] * along + maps[3, 1, 1] * down + maps[3, 1, 2]
    return sx, sy, dark, thin
