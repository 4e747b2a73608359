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
from f2fcam.face.lighting import sh_basis
from f2fcam.frame import SRGB_TO_LINEAR
from f2fcam.mouth.aperture import Aperture, Placed
from f2fcam.mouth.interior import Content, InsideMap, Rim, _inside_source, inside_map, opening_mask, rim
from f2fcam.render import Fragments, Region, bounding_region
from f2fcam.render.composite import CATMULL_ROM, PHASES, Patch
from f2fcam.render.cpu import CpuRasterizer
from f2fcam.render.shade import ENCODED_OFFSET, LUMINANCE

GAIN_LIMITS = (0.7, 1.4)
"""Of the colour match in linear light; more is a fault of the fit."""
SHADING_LIMITS = (0.6, 1.6)
RING = (0.02, 0.9)
"""Vertices with an alpha in this range tell the light around the opening."""
RING_STRIDE = 2
GAMMA = 1 / 2.4


@dataclass(frozen=True, slots=True)
class Origin:
    """Pixels that a patch can be made of: a crop of a frame of the target, and where the face lay in it.

    Attributes:
        rgb: the crop. x, y: its first pixel in the frame.
        placed: the aperture's surface in the frame's pixels.
        lighting: the frame's.
        rim, content: its opening's visible outline, and what it shows.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    x: int
    y: int
    placed: Placed
    lighting: Float32[np.ndarray, "9 3"]
    rim: Rim
    content: Content


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a patch will stand: the new surface, its pixels, and its opening.

    `coverage` (0..255) says how much of each pixel is opening; antialiased.
    """

    placed: Placed
    drawn: Fragments
    coverage: UInt8[np.ndarray, "h w"]
    rim: Rim


class PatchMaker:
    """Makes patches of one aperture, reusing its memory; not thread-safe."""

    def __init__(self, aperture: Aperture) -> None:
        self.aperture = aperture
        self._rasterizer = CpuRasterizer()
        ring = np.flatnonzero((aperture.alpha > RING[0]) & (aperture.alpha < RING[1]))
        self._ring = ring[::RING_STRIDE]
        self._attributes = np.ones((len(aperture.vertices), 6), np.float32)
        self._attributes[:, 5] = aperture.alpha

    def region(self, new: Placed, intrinsics: Intrinsics) -> Region:
        """The part of the picture that the patch covers."""
        return bounding_region(new.pixels[self.aperture.alpha > 0], intrinsics, 1.0)

    def stage(self, new: Placed, intrinsics: Intrinsics) -> Stage:
        """Draw the new surface. The fragments live until the next call."""
        region = self.region(new, intrinsics)
        drawn = self._rasterizer.rasterize(new.points, self.aperture.triangles, intrinsics, region)
        mask = opening_mask(new, self.aperture, drawn)
        outline = rim(new, self.aperture, mask, (region[0], region[1]))
        return Stage(new, drawn, cv2.GaussianBlur(mask, (3, 3), 0), outline)

    def make(
        self,
        stage: Stage,
        lighting: Float32[np.ndarray, "9 3"],
        origin: Origin,
        displayed: Origin,
    ) -> Patch:
        """The patch that shows `origin`'s pixels on the stage under the displayed frame's `lighting`."""
        new = stage.placed
        shading = shading_ratio(new, lighting, origin)
        gain = np.ones((3, 3), np.float32)
        gain[:2] = 0
        if origin is not displayed:
            gain = self._colour_match(new, shading, lighting, origin, displayed)
        inside = inside_map(new, origin.placed, stage.rim, origin.rim, origin.content)
        attributes = self._attributes
        attributes[:, :2] = origin.placed.pixels - new.pixels
        field = gain[0] * new.pixels[:, :1] + gain[1] * new.pixels[:, 1:] + gain[2]
        limited = np.clip(field, *GAIN_LIMITS) * shading[:, None]
        attributes[:, 2:5] = limited ** np.float32(GAMMA)
        middle = np.concatenate([new.pixels[self.aperture.upper], new.pixels[self.aperture.lower]]).mean(axis=0)
        inner_gain = np.clip(gain[0] * middle[0] + gain[1] * middle[1] + gain[2], *GAIN_LIMITS) ** np.float32(GAMMA)
        return self._sample(origin, stage.drawn, stage.coverage, inside, inner_gain.astype(np.float32))

    def _sample(
        self, origin: Origin, drawn: Fragments, coverage: np.ndarray, inside: InsideMap, inner_gain: np.ndarray
    ) -> Patch:
        height, width = coverage.shape
        rgb, alpha = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.uint8)
        maps, numbers = inside.arrays()
        x0, y0 = drawn.region[:2]
        _patch(
            drawn.triangle, drawn.barycentric, self.aperture.triangles, self._attributes, coverage,
            maps, numbers, inside.new.upper, inside.new.lower, inside.old.upper, inside.old.lower, inside.content.give,
            np.ascontiguousarray(origin.rgb), origin.x, origin.y, x0, y0, inner_gain, CATMULL_ROM, rgb, alpha,
        )  # fmt: skip
        return Patch(rgb, alpha, x0, y0)

    def _colour_match(
        self, new: Placed, shading: np.ndarray, lighting: np.ndarray, origin: Origin, displayed: Origin
    ) -> np.ndarray:
        """Linear-light gain per channel as a plane over the picture, (x, y, 1) x rgb, that makes the rings alike.

        Weighted least squares of displayed colour ~ gain x retrieved colour over the ring's vertices.
        """
        ring = self._ring
        theirs = ring_colours(origin, ring) * shading[ring, None]
        ours = ring_colours(displayed, ring) * shading_ratio(new, lighting, displayed)[ring, None]
        seen = np.isfinite(theirs).all(axis=1) & np.isfinite(ours).all(axis=1)
        plane = np.zeros((3, 3), np.float32)
        plane[2] = 1
        if seen.sum() < 24:
            return plane
        pixels = new.pixels[ring][seen].astype(np.float64)
        middle, spread = pixels.mean(axis=0), pixels.std(axis=0) + 1e-6
        place = np.column_stack([(pixels - middle) / spread, np.ones(len(pixels))])
        for channel in range(3):
            mine, wanted = theirs[seen, channel].astype(np.float64), ours[seen, channel].astype(np.float64)
            rows = place * mine[:, None]
            robust = np.ones(len(rows))
            for _ in range(2):
                normal = rows.T @ (rows * robust[:, None])
                normal[np.diag_indices(2)] += 0.3 * normal[2, 2]
                fit = np.linalg.solve(normal + 1e-9 * np.eye(3), rows.T @ (wanted * robust))
                away = np.abs(rows @ fit - wanted)
                robust = 1 / np.maximum(away, np.median(away) + 1e-6)
            plane[:2, channel] = fit[:2] / spread
            plane[2, channel] = fit[2] - (fit[:2] / spread) @ middle
        return plane


def shading_ratio(new: Placed, lighting: Float32[np.ndarray, "9 3"], origin: Origin) -> Float32[np.ndarray, " v"]:
    """New over old luminance per vertex by the frames' spherical harmonics."""
    weights = np.array(LUMINANCE, np.float32)
    now, then = (
        sh_basis(new.normals) @ (lighting @ weights),
        sh_basis(origin.placed.normals) @ (origin.lighting @ weights),
    )
    floor = 0.1 * float(np.abs(then).mean()) + 1e-6
    return np.clip(np.maximum(now, floor) / np.maximum(then, floor), *SHADING_LIMITS).astype(np.float32)


def ring_colours(origin: Origin, ring: np.ndarray) -> Float32[np.ndarray, "k 3"]:
    """Linear colours of a slightly blurred picture at vertices; NaN outside."""
    smooth = cv2.blur(origin.rgb, (3, 3))
    x = (origin.placed.pixels[ring, 0] - origin.x).astype(np.int32)
    y = (origin.placed.pixels[ring, 1] - origin.y).astype(np.int32)
    height, width = smooth.shape[:2]
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    inside &= origin.placed.normals[ring, 2] < -0.2
    colours = SRGB_TO_LINEAR[smooth[np.where(inside, y, 0), np.where(inside, x, 0)]]
    colours[~inside] = np.nan
    return colours


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


_PICTURE = types.Array(types.uint8, 3, "C", readonly=True)
"""Profiles may be mapped read-only."""


@njit(
    types.void(
        types.int32[:, ::1], types.float32[:, :, ::1], types.int32[:, ::1], types.float32[:, ::1], types.uint8[:, ::1],
        types.float32[:, :, ::1], types.float32[::1], types.float32[::1], types.float32[::1], types.float32[::1],
        types.float32[::1], types.float32[::1], _PICTURE, types.int64, types.int64, types.int64, types.int64, types.float32[::1],
        types.float32[:, ::1], types.uint8[:, :, ::1], types.uint8[:, ::1],
    ),
    nogil=True,
    cache=True,
    fastmath=True,
)  # fmt: skip
def _patch(
    triangle, barycentric, triangles, attributes, coverage, maps, numbers, new_upper, new_lower, old_upper,
    old_lower, give, picture, left, top, x0, y0, inner_gain, kernel, rgb, alpha
):  # fmt: skip
    """Skin through the mesh, inside through the opening's map, mixed by coverage. `left, top`: the crop's first pixel."""
    rows, columns = coverage.shape
    half = np.float32(0.5)
    values = np.empty(6, np.float32)
    for y in range(rows):
        for x in range(columns):
            opening = np.float32(coverage[y, x]) / np.float32(255)
            weight = np.float32(0)
            values[:] = 0
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
                            values[k] += b * attributes[v, k]
                    weight += np.float32(1)
            if weight > 0:
                for k in range(6):
                    values[k] /= weight
            elif opening > 0:
                opening = np.float32(1)
            if triangle[y, x] < 0 and opening <= 0:
                alpha[y, x] = 0
                rgb[y, x, 0] = rgb[y, x, 1] = rgb[y, x, 2] = 0
                continue
            red = green = blue = np.float32(0)
            if opening < 1:
                red, green, blue = _tap(picture, x + x0 - left + values[0], y + y0 - top + values[1], kernel)
                offset = np.float32(255 * ENCODED_OFFSET)
                red = (red + offset) * values[2] - offset
                green = (green + offset) * values[3] - offset
                blue = (blue + offset) * values[4] - offset
            if opening > 0:
                sx, sy, dark = _inside_source(
                    x + x0 + half, y + y0 + half, maps, numbers, new_upper, new_lower, old_upper, old_lower, give
                )
                r, g, b = _tap(picture, sx - half - left, sy - half - top, kernel)
                offset = np.float32(255 * ENCODED_OFFSET)
                r = ((r + offset) * inner_gain[0] - offset) * (1 - dark)
                g = ((g + offset) * inner_gain[1] - offset) * (1 - dark)
                b = ((b + offset) * inner_gain[2] - offset) * (1 - dark)
                red, green, blue = red + opening * (r - red), green + opening * (g - green), blue + opening * (b - blue)
            rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2] = _encoded(red, 1), _encoded(green, 1), _encoded(blue, 1)
            covered = max(values[5] if weight > 0 else np.float32(0), opening)
            alpha[y, x] = np.uint8(min(max(covered, np.float32(0)), np.float32(1)) * np.float32(255) + half)
