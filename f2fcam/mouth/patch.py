"""A retrieved mouth or eye at its new place in the displayed frame, in the displayed frame's light (section 8).

Skin and lips go through the mesh: each pixel of the patch sees a surface point, and takes its colour from where that point
was in the retrieved frame. The inside goes through `interior`. Both meet at the rim with antialiased coverage.

As in `render.warp` the mesh is drawn no finer than it is: on a large face in cells of `stride` pixels, between which each
pixel finds its own place.
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
    shading_ratio,
)
from f2fcam.render import Fragments, Region, bounding_region
from f2fcam.render.composite import Patch, pixels_of
from f2fcam.render.cpu import CpuRasterizer
from f2fcam.render.sampling import ACROSS, CATMULL_ROM, place_of, tap
from f2fcam.render.shade import ENCODED_OFFSET
from f2fcam.simd import colour, lane, lanes8, low4, mix, nothing8, plus, put8, put_colour, relit, scaled, times

RING = (0.02, 0.9)
"""Vertices with an alpha in this range tell the light around the opening."""
EDGE_SHARE = 1 / 15
"""Width of a lip's edge, of the mouth's width: no camera's is as sharp as a pixel."""
SHADED = (0.5, 0.7, 0.7)
"""What lips that all but meet take off the red, green and blue of bright teeth between them: what light is left is red."""
SHADED_FROM, SHADED_FULLY = 40.0, 120.0
"""Brightest channel (code values): dark insides are shaded by nature."""
CELLS_PER_MM = 1.6
"""Least resolution of a patch: finer than `warp.CELLS_PER_MM`, for lids and lips are narrow."""
SLIVER_CELLS = 5
"""Side of the square whose median displacement each cell takes."""
GAIN, SHIFT_X, SHIFT_Y, ALPHA, SEEN = 0, 3, 4, 5, 6
"""Lanes of a cell: the gain is three, the shift in pixels; all but alpha times `SEEN`, which is 1 on a surface."""
CELL = 8
INSIDE_X, INSIDE_Y, DARK, THIN = 0, 1, 2, 3
"""Lanes of a cell of the opening: from the pixel to what is found for it, pixels; see `interior._inside_source`."""
NEAR_OPENING = 5
"""Side of the square of cells around one that shows some of the opening: a pixel beside it may, too."""
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
        rim, content: its opening's visible outline, and what it shows.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    x: int
    y: int
    placed: Placed
    rim: Rim
    content: Content


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a patch will stand: the new surface, its pixels, and its opening.

    Attributes:
        drawn: what each cell of `stride` pixels sees.
        region: the pixels of these cells.
        opened: how much of each cell (0..255) is opening. coverage: the same of each pixel; antialiased.
        tint: what the displayed frame's skin changes by, log encoded.
        px_per_mm: scale of the picture there.
    """

    placed: Placed
    drawn: Fragments
    stride: int
    region: Region
    opened: UInt8[np.ndarray, "rows columns"]
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
        self._ring = ring.astype(np.int32)
        self._rim = np.concatenate([aperture.upper, aperture.lower])
        self._attributes = np.zeros((len(aperture.vertices), CELL), np.float32)
        self._attributes[:, ALPHA], self._attributes[:, SEEN] = aperture.alpha, 1

    def outline(self, placed: Placed, intrinsics: Intrinsics) -> Rim:
        """A surface's opening as a picture shows it, to the pixel."""
        drawn, mask = self._draw(placed, intrinsics, 1)
        return rim(placed, self.aperture, mask, drawn.region[:2], 1)

    def stage(
        self,
        new: Placed,
        intrinsics: Intrinsics,
        tint: Float32[np.ndarray, "m 3"] | None = None,
    ) -> Stage:
        """Draw the new surface. The fragments live until the next call. `tint`: see `Complexion.log_gain`."""
        px_per_mm = intrinsics.focal / float(new.points[:, 2].mean())
        stride = max(1, int(px_per_mm / CELLS_PER_MM))
        drawn, mask = self._draw(new, intrinsics, stride)
        outline = rim(new, self.aperture, mask, drawn.region[:2], stride)
        region = pixels_of(drawn.region, stride, (intrinsics.height, intrinsics.width))
        opened, coverage = self._coverage(new, outline, mask, drawn.region, region, stride)
        own_tint = np.zeros_like(new.points)
        if tint is not None:
            operator = self.aperture.operator
            sparse_times_points(operator.indptr, operator.indices, operator.data, tint[self.aperture.columns], own_tint)
        return Stage(new, drawn, stride, region, opened, coverage, outline, own_tint, px_per_mm)

    def _draw(self, placed: Placed, intrinsics: Intrinsics, stride: int) -> tuple[Fragments, UInt8[np.ndarray, "h w"]]:
        """What each cell sees, and where it sees into the opening."""
        camera, cells = intrinsics.coarser(stride), placed.pixels * np.float32(1 / stride)
        drawn = self._rasterizer.rasterize(
            placed.points, self.aperture.triangles, camera, bounding_region(cells, camera, 1.0)
        )
        return drawn, opening_mask(cells, self.aperture, drawn)

    def _coverage(
        self, new: Placed, outline: Rim, mask: np.ndarray, cells: Region, pixels: Region, stride: int
    ) -> tuple[UInt8[np.ndarray, "rows columns"], UInt8[np.ndarray, "h w"]]:
        """How much of each cell and of each pixel is opening."""
        if self.aperture.has_jaw:
            ends = new.pixels[self.aperture.upper[[0, -1]]]
            edge = EDGE_SHARE * float(np.linalg.norm(ends[1] - ends[0]))
            coverage = rim_coverage(outline, pixels, edge)
            return coverage if stride == 1 else rim_coverage(outline, cells, edge, stride), coverage
        opened = cv2.GaussianBlur(mask, (3, 3), 0)
        if stride == 1:
            return opened, opened
        height, width = pixels[3] - pixels[1], pixels[2] - pixels[0]
        whole = cv2.resize(opened, (stride * mask.shape[1], stride * mask.shape[0]), interpolation=cv2.INTER_LINEAR)
        return opened, np.ascontiguousarray(whole[:height, :width])

    def make(self, stage: Stage, origin: Origin, displayed: Origin) -> Patch:
        """The patch that shows `origin`'s pixels on the stage; its colours meet those of the `displayed` frame."""
        new = stage.placed
        plane = np.zeros((3, 3), np.float32)
        if origin is not displayed:
            plane = self._colour_match(stage, origin, displayed)
        inner_gain = np.empty(3, np.float32)
        _relate(
            new.pixels,
            origin.placed.pixels,
            new.light,
            origin.placed.light,
            plane,
            self._rim,
            self._attributes,
            inner_gain,
        )
        if origin is displayed:
            self._attributes[:, GAIN : GAIN + 3] *= np.exp(stage.tint)
        inside = inside_map(new, origin.placed, stage.rim, origin.rim, origin.content)
        return self._sample(origin, stage, inside, inner_gain)

    def _colour_match(self, stage: Stage, origin: Origin, displayed: Origin) -> np.ndarray:
        """See `light.colour_match`: the retrieved ring's colours against the displayed one's, both in the new light."""
        (theirs, in_theirs), (ours, in_ours) = (
            colours_at(
                side.rgb, (side.x, side.y), placed.pixels, placed.facing, self._ring, placed.light, stage.placed.light
            )
            for side, placed in ((origin, origin.placed), (displayed, displayed.placed))
        )
        ours *= np.exp(stage.tint[self._ring] / np.float32(GAMMA))
        return colour_match(theirs, ours, stage.placed.pixels[self._ring], in_theirs & in_ours)

    def _sample(self, origin: Origin, stage: Stage, inside: InsideMap, inner_gain: np.ndarray) -> Patch:
        drawn, coverage, (x0, y0, _, _) = stage.drawn, stage.coverage, stage.region
        rgb, alpha = np.empty((*coverage.shape, 3), np.uint8), np.empty(coverage.shape, np.uint8)
        cells = np.empty((*stage.opened.shape, CELL), np.float32)
        _interpolate(drawn.triangle, drawn.barycentric, self.aperture.triangles, self._attributes, cells)
        _without_slivers(cells)
        covered = _covered(cells, stage.opened)
        _feather(covered, FEATHER_MM * stage.px_per_mm / stage.stride)
        cells[..., ALPHA] = covered
        _patch(
            cells, self._inside(stage, inside), stage.stride, coverage, np.ascontiguousarray(origin.rgb),
            x0 - origin.x, y0 - origin.y, inner_gain, CATMULL_ROM, ACROSS, rgb, alpha,
        )  # fmt: skip
        return Patch(rgb, alpha, x0, y0)

    def _inside(self, stage: Stage, inside: InsideMap) -> Float32[np.ndarray, "rows columns 8"]:
        """Where each cell in and around the opening finds its inside."""
        square = np.ones((NEAR_OPENING, NEAR_OPENING), np.uint8)
        near = cv2.dilate(stage.opened, square, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
        out, (x0, y0, _, _) = np.zeros((*near.shape, CELL), np.float32), stage.drawn.region
        maps, numbers = inside.arrays()
        _inside_cells(
            near, stage.stride, x0, y0, maps, numbers,
            inside.new.upper, inside.new.lower, inside.old.upper, inside.old.lower, inside.content.give, out,
        )  # fmt: skip
        return out


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
        attributes[i, SHIFT_X] = old[i, 0] - new[i, 0]
        attributes[i, SHIFT_Y] = old[i, 1] - new[i, 1]
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
            attributes[i, GAIN + c] = lit * grown
    x = y = np.float32(0)
    for i in rim:
        x += new[i, 0] / np.float32(len(rim))
        y += new[i, 1] / np.float32(len(rim))
    for c in range(3):
        inner_gain[c] = np.exp(gamma * log_gain(plane, x, y, c))


@njit(inline="always")
def _surface_at(row, column, triangle, barycentric, triangles, attributes):
    """The attributes of what a cell sees."""
    t = triangle[row, column]
    sums = scaled(lanes8(attributes, CELL * triangles[t, 0]), barycentric[row, column, 0])
    sums = plus(sums, scaled(lanes8(attributes, CELL * triangles[t, 1]), barycentric[row, column, 1]))
    return plus(sums, scaled(lanes8(attributes, CELL * triangles[t, 2]), barycentric[row, column, 2]))


@njit("void(i4[:,::1], f4[:,:,::1], i4[:,::1], f4[:,::1], f4[:,:,::1])", nogil=True, cache=True, fastmath=True)
def _interpolate(triangle, barycentric, triangles, attributes, cells):
    """Per cell the surface's attributes (h, w, 8), 0 where there is none; the rim borrows its neighbours' surface, for the
    part that the lip covers."""
    rows, columns = triangle.shape
    for y in range(rows):
        for x in range(columns):
            at = CELL * (y * columns + x)
            if triangle[y, x] >= 0:
                put8(_surface_at(y, x, triangle, barycentric, triangles, attributes), cells, at)
                continue
            sums, count = nothing8(), 0
            for yy in range(max(y - 1, 0), min(y + 2, rows)):
                for xx in range(max(x - 1, 0), min(x + 2, columns)):
                    if triangle[yy, xx] >= 0:
                        sums = plus(sums, _surface_at(yy, xx, triangle, barycentric, triangles, attributes))
                        count += 1
            put8(scaled(sums, np.float32(1) / np.float32(max(count, 1))), cells, at)


def _without_slivers(cells: Float32[np.ndarray, "h w 8"]) -> None:
    """Replace displacements that only a line of cells has, in place.

    Where a lip hangs over the skin below it, the last pixel of its underside comes from somewhere else: a bright line.
    """
    square = np.ones((SLIVER_CELLS, SLIVER_CELLS), np.uint8)
    seen = (cells[..., SEEN] > 0).view(np.uint8)
    inside = cv2.erode(seen, square, borderType=cv2.BORDER_CONSTANT, borderValue=(0,)).view(np.bool_)
    for number in (SHIFT_X, SHIFT_Y):
        plane = cells[..., number]
        np.copyto(plane, cv2.medianBlur(np.ascontiguousarray(plane), SLIVER_CELLS), where=inside)


def _covered(cells: Float32[np.ndarray, "h w 8"], opened: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """What of each cell is the patch's, 0 to 255: its skin's share or its opening's; all of what only the opening shows."""
    covered = np.maximum((cells[..., ALPHA] * np.float32(255) + np.float32(0.5)).astype(np.uint8), opened)
    covered[(cells[..., SEEN] == 0) & (opened > 0)] = 255
    return covered


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


@njit(inline="always")
def _inside_colour(sample, inner_gain, dark, thin):
    """What an opening shows, in the new light: none in the cavity, little between lips that all but meet."""
    offset, one = np.float32(255 * ENCODED_OFFSET), np.float32(1)
    brightest = max(lane(sample, 0), lane(sample, 1), lane(sample, 2))
    bright = (brightest - np.float32(SHADED_FROM)) * np.float32(1 / (SHADED_FULLY - SHADED_FROM))
    thin *= min(max(bright, np.float32(0)), one)
    red, green, blue = (
        one - np.float32(SHADED[0]) * thin,
        one - np.float32(SHADED[1]) * thin,
        one - np.float32(SHADED[2]) * thin,
    )
    return times(scaled(relit(sample, inner_gain, offset), one - dark), colour(red, green, blue))


@njit(
    "void(u1[:,::1], i8, i8, i8, f4[:,:,::1], f4[::1], f4[::1], f4[::1], f4[::1], f4[::1], f4[::1], f4[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _inside_cells(near, stride, x0, y0, maps, numbers, new_upper, new_lower, old_upper, old_lower, give, out):
    """`interior._inside_source` for the cells that are marked `near`; the region's first cell is (x0, y0)."""
    half, cell = np.float32(0.5), np.float32(stride)
    for y in range(near.shape[0]):
        for x in range(near.shape[1]):
            if near[y, x] > 0:
                px, py = cell * (np.float32(x + x0) + half), cell * (np.float32(y + y0) + half)
                sx, sy, dark, thin = _inside_source(
                    px, py, maps, numbers, new_upper, new_lower, old_upper, old_lower, give
                )
                out[y, x, INSIDE_X], out[y, x, INSIDE_Y] = sx - px, sy - py
                out[y, x, DARK], out[y, x, THIN] = dark, thin


@njit(inline="always")
def _mix_rows(cells, upper, lower, share, line):
    """A line between two rows of cells, its last cell twice."""
    wide = cells.shape[1]
    for c in range(wide + 1):
        at = CELL * min(c, wide - 1)
        one, other = lanes8(cells, CELL * wide * upper + at), lanes8(cells, CELL * wide * lower + at)
        put8(mix(one, other, share), line, CELL * c)


@njit(
    types.void(
        types.float32[:, :, ::1], types.float32[:, :, ::1], types.int64, types.uint8[:, ::1], PICTURE, types.int64, types.int64,
        types.float32[::1], types.float32[:, ::1], types.float32[:, ::1], types.uint8[:, :, ::1], types.uint8[:, ::1],
    ),
    nogil=True,
    cache=True,
    fastmath=True,
)  # fmt: skip
def _patch(cells, inside, stride, coverage, picture, dx, dy, inner_gain, down, across, rgb, alpha):
    """Skin through the mesh, inside through the opening's map, mixed by coverage. `dx, dy`: the first pixel's place in the
    picture."""
    (high, wide), (rows, columns) = cells.shape[:2], coverage.shape
    half, zero, one = np.float32(0.5), np.float32(0), np.float32(1)
    offset, per_pixel = np.float32(255 * ENCODED_OFFSET), one / np.float32(stride)
    inner, black = colour(inner_gain[0], inner_gain[1], inner_gain[2]), colour(zero, zero, zero)
    skin_line, inner_line = np.empty(CELL * (wide + 1), np.float32), np.empty(CELL * (wide + 1), np.float32)
    beside, share = np.empty(columns, np.intp), np.empty(columns, np.float32)
    for x in range(columns):
        beside[x], share[x] = place_of(x, per_pixel, wide)
    for y in range(rows):
        upper, v = place_of(y, per_pixel, high)
        lower = min(upper + 1, high - 1)
        _mix_rows(cells, upper, lower, v, skin_line)
        _mix_rows(inside, upper, lower, v, inner_line)
        for x in range(columns):
            at = CELL * beside[x]
            cell = mix(lanes8(skin_line, at), lanes8(skin_line, at + CELL), share[x])
            opening, seen = np.float32(coverage[y, x]) * np.float32(1 / 255), lane(cell, SEEN)
            covered = np.uint8(lane(cell, ALPHA) + half)
            if covered == 0 or (seen < half and opening <= zero):
                alpha[y, x] = 0
                put_colour(black, rgb, 3 * (y * columns + x))
                continue
            alpha[y, x] = covered
            if seen < half:
                opening = one
            shown = black
            if opening < one:
                cell = scaled(cell, one / seen)
                sx, sy = np.float32(x + dx) + lane(cell, SHIFT_X), np.float32(y + dy) + lane(cell, SHIFT_Y)
                shown = relit(tap(picture, sx, sy, down, across), low4(cell), offset)
            if opening > zero:
                found = mix(lanes8(inner_line, at), lanes8(inner_line, at + CELL), share[x])
                sx, sy = np.float32(x + dx) + lane(found, INSIDE_X), np.float32(y + dy) + lane(found, INSIDE_Y)
                sample = tap(picture, sx, sy, down, across)
                shown = mix(shown, _inside_colour(sample, inner, lane(found, DARK), lane(found, THIN)), opening)
            put_colour(shown, rgb, 3 * (y * columns + x))
