"""The reference rasteriser: a numba z-buffer, one thread, buffers reused from call to call."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from numba import njit

from f2fcam.face.camera import Intrinsics
from f2fcam.render import Fragments, Region, bounding_region

SUBPIXEL_BITS = 12
"""Corners are snapped to 1/4096 pixel, so that edge functions are exact and shared edges are drawn once."""
SUBPIXELS = 1 << SUBPIXEL_BITS

GUARD_PX = 32768.0
"""Triangles with a corner further out than this are dropped: keeps the edge functions within 64 bits."""

KEEPS_INFINITY = {"contract", "arcp", "nsz", "reassoc"}
"""Fast-math without the licence to assume that nothing is infinite: an empty pixel's depth is."""

NEAR_MM = 10.0
"""Triangles with a corner nearer than this are dropped; a face is never that near."""


class CpuRasterizer:
    """Perspective-correct z-buffer with back-face culling and the top-left fill rule.

    Not thread-safe: each thread owns one.
    """

    def __init__(self) -> None:
        self._snapped = np.empty((0, 2), np.int32)
        self._inverse_depth = np.empty(0, np.float32)
        self._triangle = np.empty(0, np.int32)
        self._depth = np.empty(0, np.float32)
        self._barycentric = np.empty((0, 3), np.float32)

    def rasterize(
        self,
        points_camera: Float32[np.ndarray, "n 3"],
        triangles: Int32[np.ndarray, "m 3"],
        intrinsics: Intrinsics,
        region: Region | None = None,
        cull_back: bool = True,
    ) -> Fragments:
        """Draw a mesh in camera space (millimetres) over `region`, or over the whole picture.

        Front faces wind counter-clockwise as seen in the picture.
        """
        triangles = np.ascontiguousarray(triangles, np.int32)
        x0, y0, x1, y1 = region = region or (0, 0, intrinsics.width, intrinsics.height)
        height, width = y1 - y0, x1 - x0
        self._reserve(len(points_camera), height * width)
        size = height * width
        triangle = self._triangle[:size].reshape(height, width)
        depth = self._depth[:size].reshape(height, width)
        barycentric = self._barycentric[:size].reshape(height, width, 3)
        snapped, inverse_depth = self._snapped[: len(points_camera)], self._inverse_depth[: len(points_camera)]
        _project(
            np.ascontiguousarray(points_camera, np.float32),
            np.float32(intrinsics.focal),
            np.float32(intrinsics.center_x - x0),
            np.float32(intrinsics.center_y - y0),
            snapped,
            inverse_depth,
        )
        _fill(snapped, inverse_depth, triangles, cull_back, triangle, barycentric, depth)
        return Fragments(triangle, barycentric, depth, region)

    def _reserve(self, points: int, pixels: int) -> None:
        if points > len(self._inverse_depth):
            self._snapped = np.empty((points, 2), np.int32)
            self._inverse_depth = np.empty(points, np.float32)
        if pixels > len(self._depth):
            self._triangle = np.empty(pixels, np.int32)
            self._depth = np.empty(pixels, np.float32)
            self._barycentric = np.empty((pixels, 3), np.float32)


@njit("void(f4[:,::1], f4, f4, f4, i4[:,::1], f4[::1])", nogil=True, cache=True, fastmath=True)
def _project(points, focal, center_x, center_y, snapped, inverse_depth):
    """Fixed-point pixels relative to the region, and 1/z; 1/z = 0 marks a corner that cannot be drawn."""
    for i in range(len(points)):
        z = points[i, 2]
        if z < NEAR_MM:
            inverse_depth[i] = 0.0
            continue
        w = np.float32(1.0) / z
        x = points[i, 0] * w * focal + center_x
        y = points[i, 1] * w * focal + center_y
        if abs(x) > GUARD_PX or abs(y) > GUARD_PX:
            inverse_depth[i] = 0.0
            continue
        inverse_depth[i] = w
        snapped[i, 0] = np.int32(np.floor(x * np.float32(SUBPIXELS) + np.float32(0.5)))
        snapped[i, 1] = np.int32(np.floor(y * np.float32(SUBPIXELS) + np.float32(0.5)))


@njit(
    "void(i4[:,::1], f4[::1], i4[:,::1], b1, i4[:,::1], f4[:,:,::1], f4[:,::1])",
    nogil=True,
    cache=True,
    fastmath=KEEPS_INFINITY,
)
def _fill(snapped, inverse_depth, triangles, cull_back, out_triangle, out_barycentric, out_depth):
    """Scan-convert all triangles. Edge functions are 64-bit integers over the snapped corners: exact."""
    height, width = out_triangle.shape
    half = np.int64(SUBPIXELS // 2)
    step = np.int64(SUBPIXELS)
    for y in range(height):
        for x in range(width):
            out_triangle[y, x] = -1
            out_depth[y, x] = np.float32(np.inf)
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ra, rb, rc = inverse_depth[a], inverse_depth[b], inverse_depth[c]
        if ra == 0 or rb == 0 or rc == 0:
            continue
        ax, ay = np.int64(snapped[a, 0]), np.int64(snapped[a, 1])
        bx, by = np.int64(snapped[b, 0]), np.int64(snapped[b, 1])
        cx, cy = np.int64(snapped[c, 0]), np.int64(snapped[c, 1])
        # y points down: counter-clockwise in the picture is a negative area here
        area = (cx - ax) * (by - ay) - (cy - ay) * (bx - ax)
        if area == 0:
            continue
        flipped = area < 0
        if flipped:
            if cull_back:
                continue
            area = -area
            bx, by, cx, cy = cx, cy, bx, by
            rb, rc = rc, rb
        first_x = max(0, (min(ax, bx, cx) + half - 1) >> SUBPIXEL_BITS)
        last_x = min(width - 1, (max(ax, bx, cx) - half) >> SUBPIXEL_BITS)
        first_y = max(0, (min(ay, by, cy) + half - 1) >> SUBPIXEL_BITS)
        last_y = min(height - 1, (max(ay, by, cy) - half) >> SUBPIXEL_BITS)
        if first_x > last_x or first_y > last_y:
            continue
        # edge opposite to each corner: w(p) >= 0 inside, d/dx and d/dy per pixel
        ea_x, ea_y = bx - cx, by - cy
        eb_x, eb_y = cx - ax, cy - ay
        ec_x, ec_y = ax - bx, ay - by
        px, py = first_x * step + half, first_y * step + half
        wa_row = ea_x * (py - cy) - ea_y * (px - cx)
        wb_row = eb_x * (py - ay) - eb_y * (px - ax)
        wc_row = ec_x * (py - by) - ec_y * (px - bx)
        ta = 0 if (ea_y < 0 or (ea_y == 0 and ea_x > 0)) else 1
        tb = 0 if (eb_y < 0 or (eb_y == 0 and eb_x > 0)) else 1
        tc = 0 if (ec_y < 0 or (ec_y == 0 and ec_x > 0)) else 1
        inverse_area = np.float32(1.0) / np.float32(area)
        ra *= inverse_area
        rb *= inverse_area
        rc *= inverse_area
        for y in range(first_y, last_y + 1):
            wa, wb, wc = wa_row, wb_row, wc_row
            for x in range(first_x, last_x + 1):
                if wa >= ta and wb >= tb and wc >= tc:
                    pa, pb, pc = np.float32(wa) * ra, np.float32(wb) * rb, np.float32(wc) * rc
                    z = np.float32(1.0) / (pa + pb + pc)
                    if z < out_depth[y, x]:
                        out_depth[y, x] = z
                        out_triangle[y, x] = t
                        out_barycentric[y, x, 0] = pa * z
                        if flipped:
                            out_barycentric[y, x, 1] = pc * z
                            out_barycentric[y, x, 2] = pb * z
                        else:
                            out_barycentric[y, x, 1] = pb * z
                            out_barycentric[y, x, 2] = pc * z
                wa -= ea_y * step
                wb -= eb_y * step
                wc -= ec_y * step
            wa_row += ea_x * step
            wb_row += eb_x * step
            wc_row += ec_x * step


@njit(
    "void(i4[:,::1], f4[::1], i4[:,::1], f4[:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _fill_nearest(snapped, inverse_depth, triangles, nearest):
    """`_fill` with back faces culled, of the depth alone: the greatest 1/z per pixel into `nearest` (h, w), 0 where empty."""
    height, width = nearest.shape
    half, step = np.int64(SUBPIXELS // 2), np.int64(SUBPIXELS)
    nearest[:] = np.float32(0)
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ra, rb, rc = inverse_depth[a], inverse_depth[b], inverse_depth[c]
        ax, ay = np.int64(snapped[a, 0]), np.int64(snapped[a, 1])
        bx, by = np.int64(snapped[b, 0]), np.int64(snapped[b, 1])
        cx, cy = np.int64(snapped[c, 0]), np.int64(snapped[c, 1])
        area = (cx - ax) * (by - ay) - (cy - ay) * (bx - ax)
        if area <= 0 or ra == 0 or rb == 0 or rc == 0:
            continue
        first_x = max(0, (min(ax, bx, cx) + half - 1) >> SUBPIXEL_BITS)
        last_x = min(width - 1, (max(ax, bx, cx) - half) >> SUBPIXEL_BITS)
        first_y = max(0, (min(ay, by, cy) + half - 1) >> SUBPIXEL_BITS)
        last_y = min(height - 1, (max(ay, by, cy) - half) >> SUBPIXEL_BITS)
        if first_x > last_x or first_y > last_y:
            continue
        ea_x, ea_y = bx - cx, by - cy
        eb_x, eb_y = cx - ax, cy - ay
        ec_x, ec_y = ax - bx, ay - by
        px, py = first_x * step + half, first_y * step + half
        ta = 0 if (ea_y < 0 or (ea_y == 0 and ea_x > 0)) else 1
        tb = 0 if (eb_y < 0 or (eb_y == 0 and eb_x > 0)) else 1
        tc = 0 if (ec_y < 0 or (ec_y == 0 and ec_x > 0)) else 1
        wa_row = ea_x * (py - cy) - ea_y * (px - cx)
        wb_row = eb_x * (py - ay) - eb_y * (px - ax)
        wc_row = ec_x * (py - by) - ec_y * (px - bx)
        inverse_area = np.float32(1.0) / np.float32(area)
        for y in range(first_y, last_y + 1):
            wa, wb, wc = wa_row, wb_row, wc_row
            for x in range(first_x, last_x + 1):
                if wa >= ta and wb >= tb and wc >= tc:
                    here = (np.float32(wa) * ra + np.float32(wb) * rb + np.float32(wc) * rc) * inverse_area
                    nearest[y, x] = max(nearest[y, x], here)
                wa -= ea_y * step
                wb -= eb_y * step
                wc -= ec_y * step
            wa_row += ea_x * step
            wb_row += eb_x * step
            wc_row += ec_x * step


VISIBLE_WITHIN_MM = 2.5
"""A vertex this far behind what the z-buffer holds is still seen: the depth of the pixel's centre is not its own."""


def vertex_visibility(
    fragments: Fragments,
    points_camera: Float32[np.ndarray, "n 3"],
    pixels: Float32[np.ndarray, "n 2"],
    out: UInt8[np.ndarray, " n"],
) -> None:
    """1 into `out` for each vertex that the drawn picture shows, 0 for hidden ones and those outside the region."""
    _visible(fragments.depth, *fragments.region[:2], points_camera, pixels, out)


@njit("void(f4[:,::1], i8, i8, f4[:,::1], f4[:,::1], u1[::1])", nogil=True, cache=True)
def _visible(depth, x0, y0, points, pixels, out):
    height, width = depth.shape
    for i in range(len(out)):
        x, y = int(np.floor(pixels[i, 0])) - x0, int(np.floor(pixels[i, 1])) - y0
        if x < 0 or y < 0 or x >= width or y >= height:
            out[i] = 0
            continue
        out[i] = points[i, 2] < depth[y, x] + VISIBLE_WITHIN_MM


class VertexVisibility:
    """`vertex_visibility` without drawing anything else: half the time. Not thread-safe: each thread owns one."""

    def __init__(self, count: int) -> None:
        self._snapped, self._inverse_depth = np.empty((count, 2), np.int32), np.empty(count, np.float32)
        self._pixels, self._nearest = np.empty((count, 2), np.float32), np.empty(0, np.float32)

    def __call__(
        self,
        points_camera: Float32[np.ndarray, "n 3"],
        triangles: Int32[np.ndarray, "m 3"],
        intrinsics: Intrinsics,
        out: UInt8[np.ndarray, " n"],
    ) -> None:
        """1 into `out` for each vertex that the picture shows, 0 for hidden ones and those outside."""
        camera = intrinsics
        _pixels(points_camera, camera.focal, camera.center_x, camera.center_y, self._pixels)
        x0, y0, x1, y1 = bounding_region(self._pixels, camera, 1)
        if (x1 - x0) * (y1 - y0) > len(self._nearest):
            self._nearest = np.empty((x1 - x0) * (y1 - y0), np.float32)
        nearest = self._nearest[: (x1 - x0) * (y1 - y0)].reshape(y1 - y0, x1 - x0)
        _project(
            points_camera, np.float32(camera.focal), np.float32(camera.center_x - x0), np.float32(camera.center_y - y0),
            self._snapped, self._inverse_depth,
        )  # fmt: skip
        _fill_nearest(self._snapped, self._inverse_depth, triangles, nearest)
        _before(nearest, x0, y0, points_camera, self._pixels, out)


@njit("void(f4[:,::1], f8, f8, f8, f4[:,::1])", nogil=True, cache=True)
def _pixels(points, focal, center_x, center_y, out):
    """`Intrinsics.project`."""
    f, x0, y0 = np.float32(focal), np.float32(center_x), np.float32(center_y)
    for i in range(len(points)):
        inverse = f / points[i, 2]
        out[i, 0], out[i, 1] = points[i, 0] * inverse + x0, points[i, 1] * inverse + y0


@njit("void(f4[:,::1], i8, i8, f4[:,::1], f4[:,::1], u1[::1])", nogil=True, cache=True)
def _before(nearest, x0, y0, points, pixels, out):
    """`_visible` of the greatest 1/z per pixel."""
    height, width = nearest.shape
    for i in range(len(out)):
        x, y = int(np.floor(pixels[i, 0])) - x0, int(np.floor(pixels[i, 1])) - y0
        if x < 0 or y < 0 or x >= width or y >= height:
            out[i] = 0
            continue
        out[i] = (points[i, 2] - np.float32(VISIBLE_WITHIN_MM)) * nearest[y, x] < 1
