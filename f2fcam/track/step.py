"""What a Gauss-Newton step needs beside the samples (`energy`): priors, landmark rows, the move along a step, errors.

Each is a few thousand sums. Compiled they cost a tenth of what they do as calls of numpy, which keep the interpreter busy, and
other threads waiting for it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from f2fcam.face.rigid import nudged_rotation
from f2fcam.track.energy import fill_landmark_rows

FEWEST_SAMPLES = 12
"""Of which a region's error is taken."""


@njit(
    "void(f4[::1], f4[:,::1], f4[::1], f4[:,::1], f4[::1], f8[::1], f8, f8, f8, f8[::1], f8[::1])",
    nogil=True,
    cache=True,
)
def prior_terms(
    expression, lighting, last_expression, last_lighting, neutral, precision, prior, temporal, light_temporal, diagonal,
    gradient,
):  # fmt: skip
    """Diagonal (109,) and gradient (109,) of the statistical and the temporal prior, into the last two.

    `precision` (76,): inverse variances of the expressions. Weights of nought leave the last frame out.
    """
    diagonal[:6], gradient[:6] = 1e-6, 0.0
    for k in range(len(expression)):
        weight, pull = prior * precision[k], temporal * precision[k]
        diagonal[6 + k] = 1e-6 + weight + pull
        gradient[6 + k] = weight * (expression[k] - neutral[k]) + pull * (expression[k] - last_expression[k])
    light = 6 + len(expression)
    for b in range(9):
        for c in range(3):
            diagonal[light + 3 * b + c] = 1e-6 + 1e-4 + light_temporal
            gradient[light + 3 * b + c] = light_temporal * (lighting[b, c] - last_lighting[b, c])


@njit("void(f8[:,::1], f4[:,:,::1], f4[::1], f8[:,::1])", nogil=True, cache=True, fastmath=True)
def landmark_points(neutral, rows, expression, out):
    """`out` (l, 3) = neutral + rows (l, 3, 76) @ expression, model space, mm."""
    for i in range(len(out)):
        for c in range(3):
            total = np.float32(0)
            for k in range(len(expression)):
                total += rows[i, c, k] * expression[k]
            out[i, c] = neutral[i, c] + total


@njit(nogil=True, fastmath=True)
def _to_camera(points, rotation, translation):
    """Points (n, 3) moved in place; their mean depth."""
    depth = 0.0
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        for c in range(3):
            points[i, c] = rotation[c, 0] * x + rotation[c, 1] * y + rotation[c, 2] * z + translation[c]
        depth += points[i, 2]
    return depth / len(points)


@njit(nogil=True, fastmath=True, error_model="numpy")
def _landmark_residuals(points, xy, sigma_mm, confidence, weight, depth, focal, center_x, center_y, scale, residual):
    """`energy.landmark_residuals` and `energy.landmark_scale` times sqrt(weight); the sum of the squares."""
    whole = 0.0
    for i in range(len(confidence)):
        whole += confidence[i]
    whole = max(whole, 1e-9)
    squares = 0.0
    for i in range(len(points)):
        scale[i] = np.sqrt(weight * confidence[i] / whole) * depth / (sigma_mm[i] * focal)
        per_mm = focal / points[i, 2]
        residual[2 * i] = scale[i] * (points[i, 0] * per_mm + center_x - xy[i, 0])
        residual[2 * i + 1] = scale[i] * (points[i, 1] * per_mm + center_y - xy[i, 1])
        squares += residual[2 * i] ** 2 + residual[2 * i + 1] ** 2
    return squares


@njit(
    "void(f8[:,::1], f4[:,:,::1], f4[::1], f8[:,::1], f8[::1], f8[:,::1], f8[::1], f8[::1], f8, f8, f8, f8, f8[:,::1],"
    " f8[::1], f8[::1], f4[:,::1], f8[::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def add_landmarks(
    neutral, rows, expression, rotation, translation, xy, sigma_mm, confidence, weight, focal, center_x, center_y,
    points, scale, residual, jacobian, gradient,
):  # fmt: skip
    """The landmark term's rows into `jacobian` (2l, 109), whose light stays nought, and its gradient on top of `gradient`.

    points (l, 3), scale (l,) and residual (2l,) are room to work in.
    """
    landmark_points(neutral, rows, expression, points)
    depth = _to_camera(points, rotation, translation)
    _landmark_residuals(points, xy, sigma_mm, confidence, weight, depth, focal, center_x, center_y, scale, residual)
    fill_landmark_rows(points, translation, rotation, rows, scale, focal, jacobian)
    count = 6 + rows.shape[2]
    slope = np.zeros(count, np.float32)
    for i in range(len(residual)):
        value, row = np.float32(residual[i]), jacobian[i]
        for k in range(count):
            slope[k] += row[k] * value
    for k in range(count):
        gradient[k] += slope[k]


@njit(
    "f8(f8[:,::1], f4[:,:,::1], f4[::1], f8[:,::1], f8[::1], f8[:,::1], f8[::1], f8[::1], f8, f8, f8)",
    nogil=True,
    cache=True,
    fastmath=True,
)
def landmark_error(
    neutral, rows, expression, rotation, translation, xy, sigma_mm, confidence, focal, center_x, center_y
):
    """Root of the sum of the squares of `energy.landmark_residuals`."""
    count = len(neutral)
    points, scale, residual = np.empty((count, 3)), np.empty(count), np.empty(2 * count)
    landmark_points(neutral, rows, expression, points)
    depth = _to_camera(points, rotation, translation)
    return np.sqrt(
        _landmark_residuals(points, xy, sigma_mm, confidence, 1.0, depth, focal, center_x, center_y, scale, residual)
    )


@njit("f8(f8[::1], f4[:,::1], f8[::1])", nogil=True, cache=True, fastmath=True)
def known_curvature(diagonal, jacobian, step):
    """Of the priors and the landmarks along a step (109,): d^T (D + J^T J) d; rows (2l, 109) end before the light."""
    total = 0.0
    for k in range(len(step)):
        total += diagonal[k] * step[k] * step[k]
    count = 82
    along = step[:count].astype(np.float32)
    squares = np.float32(0)
    for i in range(len(jacobian)):
        row, moved = jacobian[i], np.float32(0)
        for k in range(count):
            moved += row[k] * along[k]
        squares += moved * moved
    return total + squares


@njit("void(f4[:,::1], f8[::1], f8[:,::1])", nogil=True, cache=True)
def mirrored(upper, diagonal, out):
    """The symmetric matrix whose upper triangle is given, and a diagonal on top, into `out`."""
    for i in range(len(out)):
        out[i, i] = upper[i, i] + diagonal[i]
        for j in range(i):
            out[i, j] = out[j, i] = upper[j, i]


@njit(
    "void(f4[::1], f8[:,::1], f8[::1], f4[:,::1], f8[::1], f8, f8, f4[::1], f8[:,::1], f8[::1], f4[:,::1])",
    nogil=True,
    cache=True,
)
def move_along(
    expression, rotation, translation, lighting, step, share, upper, new_expression, new_rotation, new_translation,
    new_lighting,
):  # fmt: skip
    """`share` of a step (109,) on from an iterate, expressions within 0 and `upper`, into the last four."""
    vector = np.empty(3)
    for c in range(3):
        vector[c] = share * step[c]
        new_translation[c] = translation[c] + share * step[3 + c]
    nudged_rotation(rotation, vector, new_rotation)
    for k in range(len(expression)):
        new_expression[k] = min(max(expression[k] + share * step[6 + k], 0.0), upper)
    light = 6 + len(expression)
    for b in range(9):
        for c in range(3):
            new_lighting[b, c] = lighting[b, c] + share * step[light + 3 * b + c]


@njit("b1(f4[::1], f8[:,::1], f8[::1], f4[:,::1])", nogil=True, cache=True)
def is_finite(expression, rotation, translation, lighting):
    """Whether an iterate can be looked at: kernels with fast arithmetic may assume that every number is one."""
    total = 0.0
    for value in expression:
        total += value * 0
    for values in rotation:
        for value in values:
            total += value * 0
    for value in translation:
        total += value * 0
    for values in lighting:
        for value in values:
            total += value * 0
    return total == 0


@njit("void(f4[:,::1], f4[::1], b1[:,::1], f8, f8[::1])", nogil=True, cache=True)
def mean_norms(residual, weight, regions, unit, out):
    """Mean l2 norm, times `unit`, of residuals (p, 3) of non-zero weight, then of those in each of `regions` (r, p).

    Infinite where there are none, not a number where a region has fewer than `FEWEST_SAMPLES`.
    """
    sums, counts = np.zeros(len(regions) + 1), np.zeros(len(regions) + 1)
    for i in range(len(weight)):
        if weight[i] <= 0:
            continue
        norm = np.sqrt(residual[i, 0] ** 2 + residual[i, 1] ** 2 + residual[i, 2] ** 2)
        sums[0] += norm
        counts[0] += 1
        for r in range(len(regions)):
            if regions[r, i]:
                sums[r + 1] += norm
                counts[r + 1] += 1
    out[0] = unit * sums[0] / counts[0] if counts[0] > 0 else np.inf
    for r in range(1, len(out)):
        out[r] = unit * sums[r] / counts[r] if counts[r] >= FEWEST_SAMPLES else np.nan


@njit(
    "void(f4[:,::1], f4[:,::1], f4[:,::1], f8, f8, f8, f8, f8, b1[::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def shown_samples(points, normals, depth, focal, center_x, center_y, least_facing, margin_mm, out):
    """Which points (p, 3) in camera space face the camera and lie no farther behind `depth` (h, w) than the margin."""
    height, width = depth.shape
    f, x0, y0 = np.float32(focal), np.float32(center_x), np.float32(center_y)
    for i in range(len(out)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        along = normals[i, 0] * x + normals[i, 1] * y + normals[i, 2] * z
        u, v = np.floor(f / z * x + x0), np.floor(f / z * y + y0)
        out[i] = False
        if u >= 0 and v >= 0 and u < width and v < height:
            facing = along < -least_facing * np.sqrt(x * x + y * y + z * z)
            out[i] = facing and z < depth[int(v), int(u)] + np.float32(margin_mm)
