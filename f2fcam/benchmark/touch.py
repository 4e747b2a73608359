"""The yardsticks' kernels: each reads and writes the arrays of the kernel that it is held against, with the multiplications
and additions that these values need, in the same order of places, and decides nothing: no edge functions, no clipping, no
divisions, roots or powers, no borders. What is compared to what is said in `yardsticks`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from f2fcam.simd import bicubic, colour, lane, lanes4, lanes8, nothing4, nothing8, plus, put8, put_colour, relit, scaled


@njit("f4(f4[::1])", nogil=True, cache=True, fastmath=True)
def read(values):
    """Add up: one reading of memory."""
    total = np.float32(0)
    for i in range(len(values)):
        total += values[i]
    return total


@njit(
    "f4(i2[:,:,::1], f4[::1], f4[:,::1], f4[::1], f4[:,:,::1], f4[:,::1], f4[:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def rows(packed, along, spin, weight, slope, gain, basis):
    """Samples' rows (p, 3, 80) times a vector, and every other number of each sample read once."""
    total = np.float32(0)
    for i in range(len(weight)):
        x = y = z = np.float32(0)
        for k in range(80):
            x += np.float32(packed[i, 0, k]) * along[k]
            y += np.float32(packed[i, 1, k]) * along[k]
            z += np.float32(packed[i, 2, k]) * along[k]
        light = np.float32(0)
        for b in range(9):
            light += basis[i, b]
        for c in range(3):
            light += slope[i, c, 0] * x + slope[i, c, 1] * y + slope[i, c, 2] * z + gain[i, c] * spin[i, c]
        total += weight[i] * light
    return total


@njit("void(f4[:,::1], f4[:,::1], f4[:,::1])", nogil=True, cache=True, fastmath=True)
def blend(weights, basis, out):
    """Two vectors (2, k) times a basis (k, n), read once; k a multiple of four."""
    out[:] = 0
    for k in range(0, len(basis), 4):
        a0, a1, a2, a3 = weights[0, k], weights[0, k + 1], weights[0, k + 2], weights[0, k + 3]
        b0, b1, b2, b3 = weights[1, k], weights[1, k + 1], weights[1, k + 2], weights[1, k + 3]
        for i in range(basis.shape[1]):
            p, q, r, s = basis[k, i], basis[k + 1, i], basis[k + 2, i], basis[k + 3, i]
            out[0, i] += a0 * p + a1 * q + a2 * r + a3 * s
            out[1, i] += b0 * p + b1 * q + b2 * r + b3 * s


@njit("void(f4[:,::1], i4[:,::1], f4[:,::1])", nogil=True, cache=True, fastmath=True)
def normals(points, triangles, out):
    """Every triangle's corners read, a cross product, added to its three vertices."""
    out[:] = 0
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (a, b, c):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz


@njit("void(f4[::1], i4[:,::1], i8, f4[::1])", nogil=True, cache=True, fastmath=True)
def smooth(values, triangles, passes, out):
    """Every triangle's values read and added to its three vertices, so many times over."""
    for _ in range(passes):
        out[:] = 0
        for t in range(len(triangles)):
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            total = values[a] + values[b] + values[c]
            out[a] += total
            out[b] += total
            out[c] += total


@njit("void(i4[::1], i4[::1], f4[::1], f4[:,::1], f4[:,::1])", nogil=True, cache=True, fastmath=True)
def carry(indptr, indices, data, coarse, out):
    """A CSR operator times twelve columns (m, 12), and sixteen numbers written per row (n, 16)."""
    for i in range(len(out)):
        eight, four = nothing8(), nothing4()
        for k in range(indptr[i], indptr[i + 1]):
            at = 12 * np.intp(indices[k])
            eight = plus(eight, scaled(lanes8(coarse, at), data[k]))
            four = plus(four, scaled(lanes4(coarse, at + 8), data[k]))
        put8(eight, out, 16 * i)
        put8(eight, out, 16 * i + 8)
        out[i, 15] = lane(four, 0)


@njit("i8(f4[:,::1], i4[:,::1], i8, i8, i4[::1], i4[:,::1])", nogil=True, cache=True)
def find_spans(pixels, triangles, width, height, first, spans):
    """Not a yardstick, but its preparation: the rows of pixels, (row, from, to), that each front-facing triangle covers.

    `first` (t + 1,) says where a triangle's begin in `spans`; answers how many there are, also where they do not fit.
    """
    count = 0
    for t in range(len(triangles)):
        first[t] = count
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = (
            pixels[a, 0], pixels[a, 1], pixels[b, 0], pixels[b, 1], pixels[c, 0], pixels[c, 1]
        )  # fmt: skip
        if (cx - ax) * (by - ay) - (cy - ay) * (bx - ax) <= 0:
            continue
        for y in range(max(0, int(min(ay, by, cy))), min(height - 1, int(max(ay, by, cy))) + 1):
            left, right, v = width, -1, y + 0.5
            for x in range(max(0, int(min(ax, bx, cx))), min(width - 1, int(max(ax, bx, cx))) + 1):
                u = x + 0.5
                inside = (bx - cx) * (v - cy) - (by - cy) * (u - cx) >= 0
                inside &= (cx - ax) * (v - ay) - (cy - ay) * (u - ax) >= 0
                inside &= (ax - bx) * (v - by) - (ay - by) * (u - bx) >= 0
                if inside:
                    left, right = min(left, x), x
            if right >= left:
                if count < len(spans):
                    spans[count, 0], spans[count, 1], spans[count, 2] = y, left, right + 1
                count += 1
    first[len(triangles)] = count
    return count


@njit(
    "void(f4[:,::1], i4[:,::1], i4[::1], i4[:,::1], f4[:,::1], i4[:,::1], f4[:,::1], f4[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def cover(points, triangles, first, spans, projected, out_triangle, out_depth, out_barycentric):
    """Points read and written once, every triangle's corners read, every covered pixel's depth read, compared and written."""
    for i in range(len(points)):
        projected[i, 0] = points[i, 0] * points[i, 2]
        projected[i, 1] = points[i, 1] * points[i, 2]
        projected[i, 2] = points[i, 2]
    out_triangle[:] = -1
    out_depth[:] = 1e30
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        u = projected[a, 0] + projected[b, 0] + projected[c, 0]
        v = projected[a, 1] + projected[b, 1] + projected[c, 1]
        z = projected[a, 2] + projected[b, 2] + projected[c, 2]
        for s in range(first[t], first[t + 1]):
            y = spans[s, 0]
            for x in range(spans[s, 1], spans[s, 2]):
                depth = z + np.float32(1e-6) * np.float32(x)
                if depth < out_depth[y, x]:
                    out_depth[y, x] = depth
                    out_triangle[y, x] = t
                    out_barycentric[y, x, 0] = u * depth
                    out_barycentric[y, x, 1] = v * depth
                    out_barycentric[y, x, 2] = z * depth


@njit(
    "void(i4[:,::1], f4[:,:,::1], i4[:,::1], f4[:,::1], f4[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def interpolate(triangle, barycentric, triangles, attributes, out):
    """Seven attributes (n, 7) of every covered pixel's corners weighed, and eight numbers written per pixel."""
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            t = triangle[y, x]
            if t < 0:
                for k in range(8):
                    out[y, x, k] = 0
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            u, v, w = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            for k in range(7):
                out[y, x, k] = u * attributes[a, k] + v * attributes[b, k] + w * attributes[c, k]
            out[y, x, 7] = u


@njit(
    "void(u1[:,:,::1], i8, u1[:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], i8, i8, f4[:,::1], f4[:,::1],"
    " u1[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def resample(source, stride, mask, shift, gain, confidence, cavity, x0, y0, down, across, out):
    """Sixteen source pixels weighed per masked pixel at its own place, all that its cell says read, three bytes out.

    Cells are `stride` pixels wide, the first at (x0, y0); what lies at the picture's border is left out.
    """
    row, one = np.intp(3 * source.shape[1]), np.float32(1)
    for y in range(max(y0, 1), min(y0 + mask.shape[0] * stride, source.shape[0] - 3)):
        r = (y - y0) // stride
        for c in range(mask.shape[1]):
            if mask[r, c] == 0:
                continue
            more = shift[r, c, 0] + shift[r, c, 1] + confidence[r, c] + cavity[r, c]
            lit = colour(gain[r, c, 0] + more, gain[r, c, 1] + more, gain[r, c, 2] + more)
            first = x0 + c * stride
            for x in range(max(first, 1), min(first + stride, source.shape[1] - 3)):
                found = bicubic(source, (y - 1) * row + 3 * (x - 1), row, down, across, 1, 1)
                put_colour(relit(found, lit, one), out, y * row + 3 * x)


@njit("void(u1[:,:,:], u1[:,:], i8, i8, u1[:,:,::1])", nogil=True, cache=True, fastmath=True)
def paste(rgb, alpha, left, top, out):
    """A patch mixed in where it covers."""
    for y in range(alpha.shape[0]):
        for x in range(alpha.shape[1]):
            if alpha[y, x] == 0:
                continue
            a = np.int32(alpha[y, x])
            for k in range(3):
                old = np.int32(out[y + top, x + left, k])
                out[y + top, x + left, k] = np.uint8(old + ((a * (np.int32(rgb[y, x, k]) - old)) >> 8))


@njit("void(u1[:,:,::1], u1[:,:], f4[:,::1], f4[:,::1], u1[:,:,::1])", nogil=True, cache=True, fastmath=True)
def sample(source, alpha, down, across, out):
    """Sixteen pixels weighed per covered pixel of a patch, three bytes written; the source is four rows and columns larger."""
    row = np.intp(3 * source.shape[1])
    for y in range(alpha.shape[0]):
        for x in range(alpha.shape[1]):
            if alpha[y, x] > 0:
                put_colour(bicubic(source, y * row + 3 * x, row, down, across, 1, 1), out, 3 * (y * alpha.shape[1] + x))
