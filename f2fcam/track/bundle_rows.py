"""The photometric rows of bundling (Face2Face, section 6): one keyframe's residuals and their derivatives by everything.

Unlike live tracking's, the normals move too: shading is what tells depth where keyframes see a point from like sides.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from f2fcam.face.lighting import C0, C1, C2, C3, C4
from f2fcam.track.energy import COLOR_SIGMA, DARKEST, RESIDUAL_FLOOR, encode_with_slope


@njit(nogil=True, cache=True, fastmath=True)
def bundle_rows(
    points, tangent_u, tangent_v, rotation, translation, image, focal, center_x, center_y, albedo, albedo_rows, lighting,
    area, visible, rows, rows_u, rows_v, term_weight, saturation, shading, jacobian, residual, reflectance,
):  # fmt: skip
    """Weighted photometric rows of one keyframe; returns the energy: the weighted l2,1 norm.

    Positions and tangents (p, 3) in model space; rows* (p, 3, 156): identity then expression; albedo_rows (p, 3, 80).
    A residual norm n counts as n / (1 + n / `saturation`), so that highlights and hair have no leverage.
    Columns of `jacobian`: identity 80, albedo 80, log focal, rotation 3, translation 3, expression 76, lighting 27.
    """
    height, width = image.shape[:2]
    count = len(points)
    share = np.zeros(count, np.float32)
    total = np.float32(0)
    r = rotation
    camera = np.zeros((count, 3), np.float32)
    normal = np.zeros((count, 4), np.float32)
    for i in range(count):
        for c in range(3):
            camera[i, c] = r[c, 0] * points[i, 0] + r[c, 1] * points[i, 1] + r[c, 2] * points[i, 2] + translation[c]
        u, v = tangent_u[i], tangent_v[i]
        a, b, d = u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]
        length = max((a * a + b * b + d * d) ** np.float32(0.5), np.float32(1e-9))
        normal[i, 0], normal[i, 1], normal[i, 2], normal[i, 3] = a / length, b / length, d / length, length
        if not visible[i]:
            continue
        x, y, z = camera[i, 0], camera[i, 1], camera[i, 2]
        px, py = focal * x / z + center_x - 0.5, focal * y / z + center_y - 0.5
        if px < 0 or py < 0 or px >= width - 1 or py >= height - 1:
            continue
        nx = r[0, 0] * normal[i, 0] + r[0, 1] * normal[i, 1] + r[0, 2] * normal[i, 2]
        ny = r[1, 0] * normal[i, 0] + r[1, 1] * normal[i, 1] + r[1, 2] * normal[i, 2]
        nz = r[2, 0] * normal[i, 0] + r[2, 1] * normal[i, 1] + r[2, 2] * normal[i, 2]
        facing = -(nx * x + ny * y + nz * z) / (x * x + y * y + z * z) ** np.float32(0.5)
        if facing > 0:
            share[i] = area[i] * facing / (z * z)
            total += share[i]
    energy = 0.0
    light = 161 + 82
    basis = np.zeros(9, np.float32)
    slope = np.zeros((3, 3), np.float32)
    gain, bend = np.zeros(3, np.float32), np.zeros(3, np.float32)
    rho, diff = np.zeros(3, np.float32), np.zeros(3, np.float32)
    turn = np.zeros((3, 3), np.float32)
    for i in range(count):
        jacobian[3 * i : 3 * i + 3, :] = 0
        residual[3 * i : 3 * i + 3] = 0
        reflectance[3 * i : 3 * i + 3] = 0
        if share[i] <= 0:
            continue
        x, y, z = camera[i, 0], camera[i, 1], camera[i, 2]
        nx = r[0, 0] * normal[i, 0] + r[0, 1] * normal[i, 1] + r[0, 2] * normal[i, 2]
        ny = r[1, 0] * normal[i, 0] + r[1, 1] * normal[i, 1] + r[1, 2] * normal[i, 2]
        nz = r[2, 0] * normal[i, 0] + r[2, 1] * normal[i, 1] + r[2, 2] * normal[i, 2]
        basis[0], basis[1], basis[2], basis[3] = C0, C1 * ny, C1 * nz, C1 * nx
        basis[4], basis[5], basis[7] = C2 * nx * ny, C2 * ny * nz, C2 * nx * nz
        basis[6], basis[8] = C3 * (3 * nz * nz - 1), C4 * (nx * nx - ny * ny)
        px, py = focal * x / z + center_x - 0.5, focal * y / z + center_y - 0.5
        column, row = int(px), int(py)
        fu, fv = px - column, py - row
        squared = np.float32(0)
        for c in range(3):
            shade = np.float32(0)
            for b in range(9):
                shade += basis[b] * lighting[b, c]
            value, derivative = encode_with_slope(max(albedo[i, c] * shade, np.float32(DARKEST)))
            p00, p01 = image[row, column, c], image[row, column + 1, c]
            p10, p11 = image[row + 1, column, c], image[row + 1, column + 1, c]
            along_u = (1 - fv) * (p01 - p00) + fv * (p11 - p10)
            along_v = (1 - fu) * (p10 - p00) + fu * (p11 - p01)
            observed = p00 + fu * (p01 - p00) + fv * along_v
            diff[c] = (value - observed) / np.float32(COLOR_SIGMA)
            squared += diff[c] * diff[c]
            gain[c] = derivative * albedo[i, c] / np.float32(COLOR_SIGMA)
            bend[c] = derivative * shade / np.float32(COLOR_SIGMA)
            rho[c] = gain[c] * shade
            du, dv = -along_u * focal / (z * np.float32(COLOR_SIGMA)), -along_v * focal / (z * np.float32(COLOR_SIGMA))
            slope[c, 0], slope[c, 1], slope[c, 2] = du, dv, -(du * x + dv * y) / z
            turn[c, 0] = (
                C1 * lighting[3, c] + C2 * (ny * lighting[4, c] + nz * lighting[7, c]) + 2 * C4 * nx * lighting[8, c]
            )
            turn[c, 1] = (
                C1 * lighting[1, c] + C2 * (nx * lighting[4, c] + nz * lighting[5, c]) - 2 * C4 * ny * lighting[8, c]
            )
            turn[c, 2] = (
                C1 * lighting[2, c] + C2 * (ny * lighting[5, c] + nx * lighting[7, c]) + 6 * C3 * nz * lighting[6, c]
            )
            for k in range(3):
                turn[c, k] *= gain[c] * shading
        norm = squared ** np.float32(0.5)
        w = term_weight * share[i] / total
        fade = np.float32(1.0)
        if norm > RESIDUAL_FLOOR:
            fade = 1 / (1 + norm / saturation)
            energy += w * (norm * fade - RESIDUAL_FLOOR / (1 + RESIDUAL_FLOOR / saturation) + RESIDUAL_FLOOR)
        else:
            energy += w * 0.5 * (squared / RESIDUAL_FLOOR + RESIDUAL_FLOOR)
        root = fade * (w / max(norm, np.float32(RESIDUAL_FLOOR))) ** np.float32(0.5)
        sx, sy, sz = x - translation[0], y - translation[1], z - translation[2]
        u, v = tangent_u[i], tangent_v[i]
        for c in range(3):
            line = 3 * i + c
            residual[line] = root * diff[c]
            reflectance[line] = root * rho[c]
            fx, fy, fz = root * slope[c, 0], root * slope[c, 1], root * slope[c, 2]
            tx, ty, tz = root * turn[c, 0], root * turn[c, 1], root * turn[c, 2]
            jacobian[line, 161] = sy * fz - sz * fy + ny * tz - nz * ty
            jacobian[line, 162] = sz * fx - sx * fz + nz * tx - nx * tz
            jacobian[line, 163] = sx * fy - sy * fx + nx * ty - ny * tx
            jacobian[line, 164], jacobian[line, 165], jacobian[line, 166] = fx, fy, fz
            jacobian[line, 160] = fx * x + fy * y
            mx = r[0, 0] * fx + r[1, 0] * fy + r[2, 0] * fz
            my = r[0, 1] * fx + r[1, 1] * fy + r[2, 1] * fz
            mz = r[0, 2] * fx + r[1, 2] * fy + r[2, 2] * fz
            gx = r[0, 0] * tx + r[1, 0] * ty + r[2, 0] * tz
            gy = r[0, 1] * tx + r[1, 1] * ty + r[2, 1] * tz
            gz = r[0, 2] * tx + r[1, 2] * ty + r[2, 2] * tz
            along = gx * normal[i, 0] + gy * normal[i, 1] + gz * normal[i, 2]
            gx = (gx - along * normal[i, 0]) / normal[i, 3]
            gy = (gy - along * normal[i, 1]) / normal[i, 3]
            gz = (gz - along * normal[i, 2]) / normal[i, 3]
            ax, ay, az = v[1] * gz - v[2] * gy, v[2] * gx - v[0] * gz, v[0] * gy - v[1] * gx
            bx, by, bz = gy * u[2] - gz * u[1], gz * u[0] - gx * u[2], gx * u[1] - gy * u[0]
            for k in range(156):
                s = rows[i, 0, k] * mx + rows[i, 1, k] * my + rows[i, 2, k] * mz
                s += rows_u[i, 0, k] * ax + rows_u[i, 1, k] * ay + rows_u[i, 2, k] * az
                s += rows_v[i, 0, k] * bx + rows_v[i, 1, k] * by + rows_v[i, 2, k] * bz
                jacobian[line, k if k < 80 else k + 87] = s
            for k in range(80):
                jacobian[line, 80 + k] = root * bend[c] * albedo_rows[i, c, k]
            for b in range(9):
                jacobian[line, light + 3 * b + c] = root * gain[c] * basis[b]
    return energy
