"""Deferred shading of what the rasteriser saw: spherical-harmonics light on texels, gloss, layers with opacity."""

from __future__ import annotations

import numpy as np
from numba import njit

GLOSS = np.array(
    [  # exponent, strength at normal incidence, rise towards grazing angles
        [14.0, 0.055, 0.25],
        [260.0, 1.6, 0.6],
        [60.0, 0.22, 0.4],
        [24.0, 0.05, 0.3],
        [6.0, 0.0, 0.02],
    ],
    np.float32,
)
"""Per `Material`."""


@njit(nogil=True, inline="always")
def _texel(texels, first, cells, second_triangle, b, c):
    """Bilinear texel of a quad at barycentrics (1 - b - c, b, c) of one of its two triangles: red, green, blue, fourth."""
    one = np.float32(1)
    u = b if second_triangle else b + c
    v = b + c if second_triangle else c
    fu = min(max(u, np.float32(0)), one) * np.float32(cells)
    fv = min(max(v, np.float32(0)), one) * np.float32(cells)
    iu, iv = min(int(fu), cells - 1), min(int(fv), cells - 1)
    fu, fv = fu - np.float32(iu), fv - np.float32(iv)
    scale = np.float32(1.0 / 65535.0)
    w00, w10 = (one - fu) * (one - fv) * scale, fu * (one - fv) * scale
    w01, w11 = (one - fu) * fv * scale, fu * fv * scale
    p = first + iv * (cells + 1) + iu
    q = p + cells + 1
    red = w00 * texels[p, 0] + w10 * texels[p + 1, 0] + w01 * texels[q, 0] + w11 * texels[q + 1, 0]
    green = w00 * texels[p, 1] + w10 * texels[p + 1, 1] + w01 * texels[q, 1] + w11 * texels[q + 1, 1]
    blue = w00 * texels[p, 2] + w10 * texels[p + 1, 2] + w01 * texels[q, 2] + w11 * texels[q + 1, 2]
    fourth = w00 * texels[p, 3] + w10 * texels[p + 1, 3] + w01 * texels[q, 3] + w11 * texels[q + 1, 3]
    return red, green, blue, fourth


@njit(nogil=True, inline="always")
def _diffuse(lighting, channel, x, y, z):
    """Spherical-harmonics light at a unit normal."""
    total = np.float32(0.282095) * lighting[0, channel]
    total += np.float32(0.488603) * (y * lighting[1, channel] + z * lighting[2, channel] + x * lighting[3, channel])
    total += np.float32(1.092548) * (
        x * y * lighting[4, channel] + y * z * lighting[5, channel] + x * z * lighting[7, channel]
    )
    total += np.float32(0.315392) * (3 * z * z - np.float32(1)) * lighting[6, channel]
    return total + np.float32(0.546274) * (x * x - y * y) * lighting[8, channel]


@njit(nogil=True, inline="always")
def _unit(x, y, z):
    scale = np.float32(1) / np.sqrt(max(x * x + y * y + z * z, np.float32(1e-12)))
    return x * scale, y * scale, z * scale


@njit(
    "void(i4[:,::1], f4[:,:,::1], i4[:,::1], f4[:,::1], f4[:,::1], f4[::1], u2[:,::1], i4[::1], i4[::1], u1[::1],"
    "f4[:,::1], f4[:,::1], f4[::1], f4[::1], f4, f4[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def shade(
    triangle,
    barycentric,
    triangles,
    points,
    normals,
    occlusion,
    texels,
    texel_start,
    texel_cells,
    material,
    gloss,
    lighting,
    key_direction,
    key_colour,
    highlight,
    out,
):
    """Linear radiance of every pixel that sees a triangle, over what `out` (h, w, 3) holds already."""
    height, width = triangle.shape
    one = np.float32(1.0)
    for y in range(height):
        for x in range(width):
            t = triangle[y, x]
            if t < 0:
                continue
            ia, ib, ic = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            a, b, c = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            nx, ny, nz = _unit(
                a * normals[ia, 0] + b * normals[ib, 0] + c * normals[ic, 0],
                a * normals[ia, 1] + b * normals[ib, 1] + c * normals[ic, 1],
                a * normals[ia, 2] + b * normals[ib, 2] + c * normals[ic, 2],
            )
            open_sky = a * occlusion[ia] + b * occlusion[ib] + c * occlusion[ic]
            quad = t >> 1
            red, green, blue, shine = _texel(texels, texel_start[quad], texel_cells[quad], t & 1, b, c)
            spark = np.float32(0)
            if highlight > 0:
                kind = material[quad]
                vx, vy, vz = _unit(
                    -(a * points[ia, 0] + b * points[ib, 0] + c * points[ic, 0]),
                    -(a * points[ia, 1] + b * points[ib, 1] + c * points[ic, 1]),
                    -(a * points[ia, 2] + b * points[ib, 2] + c * points[ic, 2]),
                )
                hx, hy, hz = _unit(vx + key_direction[0], vy + key_direction[1], vz + key_direction[2])
                facing = max(nx * hx + ny * hy + nz * hz, np.float32(0))
                graze = one - max(nx * vx + ny * vy + nz * vz, np.float32(0))
                rise = gloss[kind, 1] * (one + gloss[kind, 2] * 8 * graze * graze * graze * graze)
                spark = highlight * shine * open_sky * rise * facing ** gloss[kind, 0]
            for channel in range(3):
                albedo = red if channel == 0 else (green if channel == 1 else blue)
                light = max(albedo * open_sky * _diffuse(lighting, channel, nx, ny, nz), np.float32(0))
                out[y, x, channel] = light + spark * key_colour[channel]


@njit(
    "void(i4[:,::1], f4[:,:,::1], f4[:,::1], i4[:,::1], f4[:,::1], f4[:,::1], u2[:,::1], i4, f4[:,::1],"
    "f4[:,::1], f4[:,:,::1])",
    nogil=True,
    cache=True,
    fastmath={"contract", "arcp", "nsz", "reassoc"},
)
def shade_layer(triangle, barycentric, depth, triangles, points, normals, texels, cells, lighting, nearest, out):
    """Blend a layer, whose texels carry opacity, over `out` where it lies before `nearest` (h, w); dense parts hide others."""
    height, width = triangle.shape
    per_quad = (cells + 1) * (cells + 1)
    for y in range(height):
        for x in range(width):
            t = triangle[y, x]
            if t < 0 or depth[y, x] > nearest[y, x]:
                continue
            b, c = barycentric[y, x, 1], barycentric[y, x, 2]
            red, green, blue, opacity = _texel(texels, (t >> 1) * per_quad, cells, t & 1, b, c)
            if opacity < np.float32(0.004):
                continue
            ia, ib, ic = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            a = barycentric[y, x, 0]
            nx, ny, nz = _unit(
                a * normals[ia, 0] + b * normals[ib, 0] + c * normals[ic, 0],
                a * normals[ia, 1] + b * normals[ib, 1] + c * normals[ic, 1],
                a * normals[ia, 2] + b * normals[ib, 2] + c * normals[ic, 2],
            )
            if nx * points[ia, 0] + ny * points[ia, 1] + nz * points[ia, 2] > 0:
                nx, ny, nz = -nx, -ny, -nz
            if opacity > np.float32(0.6):
                nearest[y, x] = depth[y, x]
            for channel in range(3):
                albedo = red if channel == 0 else (green if channel == 1 else blue)
                light = max(albedo * _diffuse(lighting, channel, nx, ny, nz), np.float32(0))
                out[y, x, channel] += opacity * (light - out[y, x, channel])
