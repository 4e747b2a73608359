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
    inverse = np.float32(1.0 / 65535.0)
    one = np.float32(1.0)
    for y in range(height):
        for x in range(width):
            t = triangle[y, x]
            if t < 0:
                continue
            ia, ib, ic = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            a, b, c = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            nx = a * normals[ia, 0] + b * normals[ib, 0] + c * normals[ic, 0]
            ny = a * normals[ia, 1] + b * normals[ib, 1] + c * normals[ic, 1]
            nz = a * normals[ia, 2] + b * normals[ib, 2] + c * normals[ic, 2]
            scale = one / np.sqrt(max(nx * nx + ny * ny + nz * nz, np.float32(1e-12)))
            nx, ny, nz = nx * scale, ny * scale, nz * scale
            occluded = a * occlusion[ia] + b * occlusion[ib] + c * occlusion[ic]

            quad = t >> 1
            cells = texel_cells[quad]
            u = b + c if t & 1 == 0 else b
            v = c if t & 1 == 0 else b + c
            fu = min(max(u, np.float32(0)), one) * np.float32(cells)
            fv = min(max(v, np.float32(0)), one) * np.float32(cells)
            iu, iv = min(int(fu), cells - 1), min(int(fv), cells - 1)
            fu, fv = fu - np.float32(iu), fv - np.float32(iv)
            p = texel_start[quad] + iv * (cells + 1) + iu
            w00, w10 = (one - fu) * (one - fv) * inverse, fu * (one - fv) * inverse
            w01, w11 = (one - fu) * fv * inverse, fu * fv * inverse
            q = p + cells + 1
            red = w00 * texels[p, 0] + w10 * texels[p + 1, 0] + w01 * texels[q, 0] + w11 * texels[q + 1, 0]
            green = w00 * texels[p, 1] + w10 * texels[p + 1, 1] + w01 * texels[q, 1] + w11 * texels[q + 1, 1]
            blue = w00 * texels[p, 2] + w10 * texels[p + 1, 2] + w01 * texels[q, 2] + w11 * texels[q + 1, 2]
            shine = w00 * texels[p, 3] + w10 * texels[p + 1, 3] + w01 * texels[q, 3] + w11 * texels[q + 1, 3]

            y0 = np.float32(0.282095)
            y1, y2, y3 = np.float32(0.488603) * ny, np.float32(0.488603) * nz, np.float32(0.488603) * nx
            y4, y5, y7 = np.float32(1.092548) * nx * ny, np.float32(1.092548) * ny * nz, np.float32(1.092548) * nx * nz
            y6 = np.float32(0.315392) * (3 * nz * nz - one)
            y8 = np.float32(0.546274) * (nx * nx - ny * ny)
            spark = np.float32(0)
            kind = material[quad]
            if highlight > 0:
                px = a * points[ia, 0] + b * points[ib, 0] + c * points[ic, 0]
                py = a * points[ia, 1] + b * points[ib, 1] + c * points[ic, 1]
                pz = a * points[ia, 2] + b * points[ib, 2] + c * points[ic, 2]
                r = -one / np.sqrt(px * px + py * py + pz * pz)
                vx, vy, vz = px * r, py * r, pz * r
                hx, hy, hz = vx + key_direction[0], vy + key_direction[1], vz + key_direction[2]
                r = one / np.sqrt(max(hx * hx + hy * hy + hz * hz, np.float32(1e-9)))
                facing = max((nx * hx + ny * hy + nz * hz) * r, np.float32(0))
                graze = one - max(nx * vx + ny * vy + nz * vz, np.float32(0))
                graze *= graze
                rise = gloss[kind, 1] * (one + gloss[kind, 2] * 8 * graze * graze)
                spark = highlight * shine * occluded * rise * facing ** gloss[kind, 0]
            for channel in range(3):
                light = lighting[0, channel] * y0 + lighting[1, channel] * y1 + lighting[2, channel] * y2
                light += lighting[3, channel] * y3 + lighting[4, channel] * y4 + lighting[5, channel] * y5
                light += lighting[6, channel] * y6 + lighting[7, channel] * y7 + lighting[8, channel] * y8
                albedo = red if channel == 0 else (green if channel == 1 else blue)
                out[y, x, channel] = max(albedo * light * occluded, np.float32(0)) + spark * key_colour[channel]
