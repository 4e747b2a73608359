"""A retrieved mouth or eye at its new place in the displayed frame, in the displayed frame's light (section 8).

Skin and lips go through the mesh: each pixel of the patch sees a surface point, and takes its colour from where that point
was in the retrieved frame. The inside goes through `interior`. Both meet at the rim with antialiased coverage.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit, types

from f2fcam.face.camera import Intrinsics
from f2fcam.face.mesh import sparse_times_points
from f2fcam.mouth.aperture import Aperture, Placed
from f2fcam.mouth.interior import Content, InsideMap, Rim, _inside_source, inside_map, opening_mask, rim, rim_coverage
from f2fcam.mouth.light import (
    PICTURE,
    SHADING_LIMITS,
    colour_match,
    colours_at,
    darkest,
    log_gain,
    luminance,
    shading_ratio,
)
from f2fcam.render import Fragments, bounding_region
from f2fcam.render.composite import CATMULL_ROM, PHASES, Patch
from f2fcam.render.cpu import CpuRasterizer
from f2fcam.render.shade import ENCODED_OFFSET

RING = (0.02, 0.9)
"""Vertices with an alpha in this range tell the light around the opening."""
RING_STRIDE = 3
EDGE_SHARE = 1 / 15
"""Width of a lip's edge, of the mouth's width: no camera's is as sharp as a pixel."""
SHADED = (0.5, 0.7, 0.7)
"""What lips that all but meet take off the red, green and blue of bright teeth between them: what light is left is red."""
SHADED_FROM, SHADED_FULLY = 40.0, 120.0
"""Brightest channel (code values): dark insides are shaded by nature."""
SLIVER_PX = 5
"""Side of the square whose median displacement each pixel takes."""
FEATHER_MM = 2.5
"""Least width of a patch's edge: where the skin folds (a lip drawn up under the nose) the surface's own fading is hidden."""
GAMMA = 1 / 2.4
_power = np.polynomial.Chebyshev.interpolate(lambda ratio: ratio**GAMMA, 7, SHADING_LIMITS)
POWER_MIDDLE = sum(SHADING_LIMITS) / 2
POWER = tuple(
    float(c) for c in _power.convert(kind=np.polynomial.Polynomial, domain=(POWER_MIDDLE - 1, POWER_MIDDLE + 1)).coef
)
"""A shading ratio to the power `GAMMA` is this polynomial of its distance from the middle, within 1e-6."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Pixels that a patch can be made of: a crop of a frame of the target, and where the face lay in it.

    Attributes:
        rgb: the crop. x, y: its first pixel in the frame.
        placed: the aperture's surface in the frame's pixels.
        light: luminance that falls on it.
        rim, content: its opening's visible outline, and what it shows.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    x: int
    y: int
    placed: Placed
    light: Float32[np.ndarray, " v"]
    rim: Rim
    content: Content


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a patch will stand: the new surface, the light on it, its pixels, and its opening.

    `coverage` (0..255) says how much of each pixel is opening; antialiased. `tint` is what the displayed frame's skin changes
    by, log encoded. `px_per_mm`: scale of the picture there.
    """

    placed: Placed
    light: Float32[np.ndarray, " v"]
    drawn: Fragments
    coverage: UInt8[np.ndarray, "h w"]
    rim: Rim
    tint: Float32[np.ndarray, "v 3"]
    px_per_mm: float


class PatchMaker:
    """Makes patches of one aperture, reusing its memory; not thread-safe."""

    def __init__(self, aperture: Aperture) -> None:
        self.aperture = aperture
        self._rasterizer = CpuRasterizer()
        ring = np.flatnonzero((aperture.alpha > RING[0]) & (aperture.alpha < RING[1]))
        self._ring = ring[::RING_STRIDE].astype(np.int32)
        self._rim = np.concatenate([aperture.upper, aperture.lower])
        self._attributes = np.ones((len(aperture.vertices), 6), np.float32)
        self._attributes[:, 5] = aperture.alpha

    def stage(
        self,
        new: Placed,
        lighting: Float32[np.ndarray, "9 3"],
        intrinsics: Intrinsics,
        tint: Float32[np.ndarray, "m 3"] | None = None,
    ) -> Stage:
        """Draw the new surface under a light. The fragments live until the next call. `tint`: see `Complexion.log_gain`."""
        region = bounding_region(new.pixels, intrinsics, 1.0)
        drawn = self._rasterizer.rasterize(new.points, self.aperture.triangles, intrinsics, region)
        mask = opening_mask(new, self.aperture, drawn)
        outline = rim(new, self.aperture, mask, (region[0], region[1]))
        if self.aperture.has_jaw:
            ends = new.pixels[self.aperture.upper[[0, -1]]]
            coverage = rim_coverage(outline, region, EDGE_SHARE * float(np.linalg.norm(ends[1] - ends[0])))
        else:
            coverage = cv2.GaussianBlur(mask, (3, 3), 0)
        own_tint = np.zeros_like(new.points)
        if tint is not None:
            operator = self.aperture.operator
            sparse_times_points(operator.indptr, operator.indices, operator.data, tint[self.aperture.columns], own_tint)
        scale = intrinsics.focal / float(new.points[:, 2].mean())
        return Stage(new, luminance(new.normals, lighting), drawn, coverage, outline, own_tint, scale)

    def make(self, stage: Stage, origin: Origin, displayed: Origin) -> Patch:
        """The patch that shows `origin`'s pixels on the stage; its colours meet those of the `displayed` frame."""
        new = stage.placed
        plane = np.zeros((3, 3), np.float32)
        if origin is not displayed:
            plane = self._colour_match(stage, origin, displayed)
        inner_gain = np.empty(3, np.float32)
        _relate(
            new.pixels, origin.placed.pixels, stage.light, origin.light, plane, self._rim, self._attributes, inner_gain
        )
        if origin is displayed:
            self._attributes[:, 2:5] *= np.exp(stage.tint)
        inside = inside_map(new, origin.placed, stage.rim, origin.rim, origin.content)
        return self._sample(origin, stage, inside, inner_gain)

    def _colour_match(self, stage: Stage, origin: Origin, displayed: Origin) -> np.ndarray:
        """See `light.colour_match`: the retrieved ring's colours against the displayed one's, both in the new light."""
        (theirs, in_theirs), (ours, in_ours) = (
            colours_at(
                side.rgb, (side.x, side.y), side.placed.pixels, side.placed.normals, self._ring, side.light, stage.light
            )
            for side in (origin, displayed)
        )
        ours *= np.exp(stage.tint[self._ring] / np.float32(GAMMA))
        return colour_match(theirs, ours, stage.placed.pixels[self._ring], in_theirs & in_ours)

    def _sample(self, origin: Origin, stage: Stage, inside: InsideMap, inner_gain: np.ndarray) -> Patch:
        drawn, coverage = stage.drawn, stage.coverage
        height, width = coverage.shape
        rgb, alpha = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.uint8)
        maps, numbers = inside.arrays()
        x0, y0 = drawn.region[:2]
        values, seen = np.empty((6, height, width), np.float32), np.empty((height, width), np.uint8)
        _interpolate(drawn.triangle, drawn.barycentric, self.aperture.triangles, self._attributes, values, seen)
        _without_slivers(values, seen)
        _patch(
            values, seen, coverage, maps, numbers,
            inside.new.upper, inside.new.lower, inside.old.upper, inside.old.lower, inside.content.give,
            np.ascontiguousarray(origin.rgb), origin.x, origin.y, x0, y0, inner_gain, CATMULL_ROM, rgb, alpha,
        )  # fmt: skip
        _feather(alpha, FEATHER_MM * stage.px_per_mm)
        return Patch(rgb, alpha, x0, y0)


@njit(
    "void(f4[:,::1], f4[:,::1], f4[::1], f4[::1], f4[:,::1], i4[::1], f4[:,::1], f4[::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _relate(new, old, new_light, old_light, plane, rim, attributes, inner_gain):
    """Per vertex: old - new pixel, and the factor per channel on encoded colours; and that of the inside (3,)."""
    floor, gamma, one = darkest(old_light), np.float32(GAMMA), np.float32(1)
    for i in range(len(new)):
        attributes[i, 0] = old[i, 0] - new[i, 0]
        attributes[i, 1] = old[i, 1] - new[i, 1]
        away = shading_ratio(new_light[i], old_light[i], floor) - np.float32(POWER_MIDDLE)
        lit = np.float32(0)
        for coefficient in POWER[::-1]:
            lit = lit * away + np.float32(coefficient)
        for c in range(3):
            # exp by its series: the exponent is at most 0.15
            e = gamma * log_gain(plane, new[i, 0], new[i, 1], c)
            grown = one + e * (
                one + e * np.float32(1 / 2) * (one + e * np.float32(1 / 3) * (one + e * np.float32(1 / 4)))
            )
            attributes[i, 2 + c] = lit * grown
    x = y = np.float32(0)
    for i in rim:
        x += new[i, 0] / np.float32(len(rim))
        y += new[i, 1] / np.float32(len(rim))
    for c in range(3):
        inner_gain[c] = np.exp(gamma * log_gain(plane, x, y, c))


@njit(inline="always")
def _tap(picture, sx, sy, kernel):
    """Catmull-Rom sample of a picture at index coordinates, edges repeated."""
    height, width = picture.shape[:2]
    ix, iy = int(np.floor(sx)), int(np.floor(sy))
    px, py = int((sx - ix) * PHASES + np.float32(0.5)), int((sy - iy) * PHASES + np.float32(0.5))
    red = green = blue = np.float32(0)
    for j in range(4):
        yy = min(max(iy + j - 1, 0), height - 1)
        for i in range(4):
            xx = min(max(ix + i - 1, 0), width - 1)
            w = kernel[py, j] * kernel[px, i]
            red += w * np.float32(picture[yy, xx, 0])
            green += w * np.float32(picture[yy, xx, 1])
            blue += w * np.float32(picture[yy, xx, 2])
    return red, green, blue


@njit(inline="always")
def _encoded(value, gain):
    """A colour under another light, rounded."""
    offset = np.float32(255 * ENCODED_OFFSET)
    return np.uint8(min(max((value + offset) * gain - offset + np.float32(0.5), np.float32(0)), np.float32(255)))


@njit(
    "void(i4[:,::1], f4[:,:,::1], i4[:,::1], f4[:,::1], f4[:,:,::1], u1[:,::1])", nogil=True, cache=True, fastmath=True
)
def _interpolate(triangle, barycentric, triangles, attributes, values, seen):
    """Per pixel the surface's attributes (6, h, w), and 1 where there is any; the rim borrows its neighbours' surface."""
    rows, columns = triangle.shape
    for y in range(rows):
        for x in range(columns):
            weight = np.float32(0)
            for k in range(6):
                values[k, y, x] = 0
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    # At the rim a pixel without a surface borrows its neighbours', for the part that the lip covers.
                    centre = dx == 0 and dy == 0
                    if triangle[y, x] >= 0 and not centre:
                        continue
                    yy, xx = y + dy, x + dx
                    if yy < 0 or xx < 0 or yy >= rows or xx >= columns or triangle[yy, xx] < 0:
                        continue
                    t = triangle[yy, xx]
                    for corner in range(3):
                        b, v = barycentric[yy, xx, corner], triangles[t, corner]
                        for k in range(6):
                            values[k, y, x] += b * attributes[v, k]
                    weight += np.float32(1)
            seen[y, x] = 1 if weight > 0 else 0
            if weight > 0:
                for k in range(6):
                    values[k, y, x] /= weight


def _without_slivers(values: Float32[np.ndarray, "6 h w"], seen: UInt8[np.ndarray, "h w"]) -> None:
    """Replace displacements that only a line of pixels has, in place.

    Where a lip hangs over the skin below it, the last pixel of its underside comes from somewhere else: a bright line.
    """
    inside = cv2.erode(
        seen, np.ones((SLIVER_PX, SLIVER_PX), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=(0,)
    )
    for plane in values[:2]:
        np.copyto(plane, cv2.medianBlur(plane, SLIVER_PX), where=inside > 0)


@njit("void(u1[:,::1], f8)", nogil=True, cache=True)
def _feather(alpha, width_px):
    """Let no edge be steeper than `width_px`, in place: from both sides of a steeper one the patch fades to nothing."""
    rows, columns = alpha.shape
    step = 255.0 / max(width_px, 1.0)
    limit = np.empty((rows, columns), np.float32)
    for y in range(rows):
        for x in range(columns):
            here, most = int(alpha[y, x]), 0
            for yy, xx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                there = int(alpha[yy, xx]) if 0 <= yy < rows and 0 <= xx < columns else 0
                most = max(most, abs(there - here))
            limit[y, x] = 0.0 if most > step else here
    aside, across = np.float32(step), np.float32(step * np.sqrt(2.0))
    for y in range(rows):
        for x in range(columns):
            if y > 0:
                limit[y, x] = min(limit[y, x], limit[y - 1, x] + aside)
                if x > 0:
                    limit[y, x] = min(limit[y, x], limit[y - 1, x - 1] + across)
                if x + 1 < columns:
                    limit[y, x] = min(limit[y, x], limit[y - 1, x + 1] + across)
            if x > 0:
                limit[y, x] = min(limit[y, x], limit[y, x - 1] + aside)
    for y in range(rows - 1, -1, -1):
        for x in range(columns - 1, -1, -1):
            if y + 1 < rows:
                limit[y, x] = min(limit[y, x], limit[y + 1, x] + aside)
                if x > 0:
                    limit[y, x] = min(limit[y, x], limit[y + 1, x - 1] + across)
                if x + 1 < columns:
                    limit[y, x] = min(limit[y, x], limit[y + 1, x + 1] + across)
            if x + 1 < columns:
                limit[y, x] = min(limit[y, x], limit[y, x + 1] + aside)
            alpha[y, x] = np.uint8(limit[y, x])


@njit(
    types.void(
        types.float32[:, :, ::1], types.uint8[:, ::1], types.uint8[:, ::1],
        types.float32[:, :, ::1], types.float32[::1], types.float32[::1], types.float32[::1], types.float32[::1],
        types.float32[::1], types.float32[::1], PICTURE, types.int64, types.int64, types.int64, types.int64, types.float32[::1],
        types.float32[:, ::1], types.uint8[:, :, ::1], types.uint8[:, ::1],
    ),
    nogil=True,
    cache=True,
    fastmath=True,
)  # fmt: skip
def _patch(
    values, seen, coverage, maps, numbers, new_upper, new_lower, old_upper, old_lower, give, picture, left, top, x0, y0,
    inner_gain, kernel, rgb, alpha
):  # fmt: skip
    """Skin through the mesh, inside through the opening's map, mixed by coverage. `left, top`: the crop's first pixel."""
    rows, columns = coverage.shape
    half = np.float32(0.5)
    for y in range(rows):
        for x in range(columns):
            opening = np.float32(coverage[y, x]) / np.float32(255)
            if seen[y, x] == 0 and opening > 0:
                opening = np.float32(1)
            if seen[y, x] == 0 and opening <= 0:
                alpha[y, x] = 0
                rgb[y, x, 0] = rgb[y, x, 1] = rgb[y, x, 2] = 0
                continue
            red = green = blue = np.float32(0)
            if opening < 1:
                red, green, blue = _tap(
                    picture, x + x0 - left + values[0, y, x], y + y0 - top + values[1, y, x], kernel
                )
                offset = np.float32(255 * ENCODED_OFFSET)
                red = (red + offset) * values[2, y, x] - offset
                green = (green + offset) * values[3, y, x] - offset
                blue = (blue + offset) * values[4, y, x] - offset
            if opening > 0:
                sx, sy, dark, thin = _inside_source(
                    x + x0 + half, y + y0 + half, maps, numbers, new_upper, new_lower, old_upper, old_lower, give
                )
                r, g, b = _tap(picture, sx - half - left, sy - half - top, kernel)
                offset = np.float32(255 * ENCODED_OFFSET)
                bright = (max(r, g, b) - np.float32(SHADED_FROM)) * np.float32(1 / (SHADED_FULLY - SHADED_FROM))
                thin *= min(max(bright, np.float32(0)), np.float32(1))
                r = ((r + offset) * inner_gain[0] - offset) * (1 - dark) * (1 - np.float32(SHADED[0]) * thin)
                g = ((g + offset) * inner_gain[1] - offset) * (1 - dark) * (1 - np.float32(SHADED[1]) * thin)
                b = ((b + offset) * inner_gain[2] - offset) * (1 - dark) * (1 - np.float32(SHADED[2]) * thin)
                red, green, blue = red + opening * (r - red), green + opening * (g - green), blue + opening * (b - blue)
            rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2] = _encoded(red, 1), _encoded(green, 1), _encoded(blue, 1)
            covered = max(values[5, y, x], opening)
            alpha[y, x] = np.uint8(min(max(covered, np.float32(0)), np.float32(1)) * np.float32(255) + half)
