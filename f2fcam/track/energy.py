"""The energy of one frame (Face2Face, section 4) and its derivatives: photometric, landmark and prior terms.

Every residual is whitened (`DECISIONS` 1), so the weights are of order one. Unknowns are ordered
`[rotation 3, translation 3, expression 76, lighting 27]`; the rotation is a left-multiplied so(3) update in camera
axes about the model's origin, lighting is (9, 3) row-major.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int16
from numba import njit

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import C0, C1, C2, C3, C4
from f2fcam.face.rigid import RigidTransform

POSE, EXPRESSION, LIGHT = slice(0, 6), slice(6, 82), slice(82, 109)
UNKNOWNS = 109
FIRST_LIGHT = 82
LANES = 80
"""Rows of the expression basis are padded with zeros to this length: a constant one is what compilers vectorise."""
COLOR_SIGMA = 0.03
"""Standard deviation of the sRGB-encoded colour residual (`DECISIONS` 1)."""
RESIDUAL_FLOOR = 0.5
"""Whitened residual below which the l2,1 norm turns quadratic: sensor noise, where IRLS would divide by zero."""
NEAREST_MM = 10.0
"""Samples nearer to the camera than this, or behind it, do not count; a face is never that near."""
DARKEST = 1e-4
"""Linear light below which the sRGB curve's slope is kept constant."""


@dataclass(frozen=True, slots=True)
class Photometric:
    """Linearised photometric term at one iterate, one row per surface sample; buffers that are reused.

    Attributes:
        residual: (p, 3) whitened colour difference, rendered minus observed.
        weight: (p,) sample weight times the IRLS weight, zero where invisible; sums to at most 1 / RESIDUAL_FLOOR.
        slope: (p, 3, 3) derivative of the residual by the sample's position in camera space, colour x axis.
        gain: (p, 3) derivative of the residual by the shading, colour.
        basis: (p, 9) spherical harmonics at the normal.
    """

    residual: Float32[np.ndarray, "p 3"]
    weight: Float32[np.ndarray, " p"]
    slope: Float32[np.ndarray, "p 3 3"]
    gain: Float32[np.ndarray, "p 3"]
    basis: Float32[np.ndarray, "p 9"]

    @classmethod
    def empty(cls, count: int, dtype: type = np.float32) -> Photometric:
        """Buffers for `count` samples."""
        shapes = ((count, 3), (count,), (count, 3, 3), (count, 3), (count, 9))
        return cls(*(np.zeros(shape, dtype) for shape in shapes))


CURVE_STEPS = 2048
"""Pieces of the encoding curve up to white; a straight piece is off by a fiftieth of a grey level at most."""
_LINEAR = np.arange(CURVE_STEPS + 1) / CURVE_STEPS
_CURVE = np.where(_LINEAR <= 0.0031308, 12.92 * _LINEAR, 1.055 * _LINEAR ** (1 / 2.4) - 0.055)


@njit(inline="always")
def encode_with_slope(linear):
    """sRGB-encoded value of linear light and its derivative; extended past 1."""
    kind = type(linear)
    if linear >= 1:
        root = linear ** kind(1 / 2.4)
        return kind(1.055) * root - kind(0.055), kind(1.055 / 2.4) * root / linear
    place = linear * kind(CURVE_STEPS)
    piece = min(max(int(place), 0), CURVE_STEPS - 1)  # a fit that diverges is not a number
    start = kind(_CURVE[piece])
    rise = kind(_CURVE[piece + 1]) - start
    return start + (place - kind(piece)) * rise, rise * kind(CURVE_STEPS)


def packed_rows(rows: Float[np.ndarray, "p 3 76"]) -> tuple[Int16[np.ndarray, "p 3 80"], Float32[np.ndarray, " 80"]]:
    """Expression rows as the kernels take them, with zeros up to `LANES`, and what a unit of each column is, mm.

    Two bytes are enough (a thousandth of a millimetre), and half of what a step has to read.
    """
    padded = np.pad(rows, ((0, 0), (0, 0), (0, LANES - rows.shape[2])))
    unit = np.maximum(np.abs(padded).max(axis=(0, 1)) / np.iinfo(np.int16).max, 1e-12)
    return np.ascontiguousarray(np.rint(padded / unit), np.int16), unit.astype(np.float32)


@njit(inline="always")
def _moved(row, along, kind):
    """A sample's motion in model space for the expression `along`, in units of the rows."""
    mx = my = mz = kind(0)  # a plain 0 would make the sums double, at half the speed
    for k in range(LANES):
        mx += kind(row[0, k]) * along[k]
        my += kind(row[1, k]) * along[k]
        mz += kind(row[2, k]) * along[k]
    return mx, my, mz


@njit(nogil=True, cache=True, fastmath=True)
def place_samples(neutral, rows, unit, expression, rotation, translation, points):
    """`points = rotation @ (neutral + unit * rows @ expression) + translation`; (p, 3)."""
    kind = neutral.dtype.type
    along = np.zeros(LANES, neutral.dtype)
    along[: len(expression)] = expression * unit[: len(expression)]
    for i in range(len(points)):
        mx, my, mz = _moved(rows[i], along, kind)
        x, y, z = neutral[i, 0] + mx, neutral[i, 1] + my, neutral[i, 2] + mz
        for c in range(3):
            points[i, c] = rotation[c, 0] * x + rotation[c, 1] * y + rotation[c, 2] * z + translation[c]


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def linearize_photometric(
    neutral,
    rows,
    unit,
    expression,
    rotation,
    translation,
    normals,
    image,
    focal,
    center_x,
    center_y,
    albedo,
    lighting,
    area,
    visible,
    spin,
    residual,
    weight,
    slope,
    gain,
    basis,
):
    """Place the samples and fill a `Photometric`; returns the energy, sum of weighted l2,1 norms.

    neutral (p, 3), rows (p, 3, 80) and unit (`packed_rows`) model space; normals (p, 3) camera space; image (h, w, 3)
    sRGB-encoded [0, 1]; albedo (p, 3) linear; lighting (9, 3); area (p,) mm^2; visible (p,) bool; spin (p, 3) becomes
    rotation @ model position. A sample's share is its projected area; shares sum to one. All that comes in is finite.
    """
    height, width = image.shape[:2]
    kind = albedo.dtype.type
    along = np.zeros(LANES, albedo.dtype)
    along[: len(expression)] = expression * unit[: len(expression)]
    total = energy = kind(0)
    for i in range(len(weight)):
        weight[i] = 0
        if not visible[i]:
            continue
        row = rows[i]
        mx, my, mz = _moved(row, along, kind)
        mx, my, mz = neutral[i, 0] + mx, neutral[i, 1] + my, neutral[i, 2] + mz
        for c in range(3):
            spin[i, c] = rotation[c, 0] * mx + rotation[c, 1] * my + rotation[c, 2] * mz
        x, y, z = spin[i, 0] + translation[0], spin[i, 1] + translation[1], spin[i, 2] + translation[2]
        if z < kind(NEAREST_MM):
            continue
        u, v = focal * x / z + center_x - kind(0.5), focal * y / z + center_y - kind(0.5)
        if u < 0 or v < 0 or u >= width - 1 or v >= height - 1:
            continue
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        facing = -(nx * x + ny * y + nz * z) / (x * x + y * y + z * z) ** kind(0.5)
        if facing <= 0:
            continue
        basis[i, 0] = C0
        basis[i, 1], basis[i, 2], basis[i, 3] = C1 * ny, C1 * nz, C1 * nx
        basis[i, 4], basis[i, 5], basis[i, 7] = C2 * nx * ny, C2 * ny * nz, C2 * nx * nz
        basis[i, 6], basis[i, 8] = C3 * (3 * nz * nz - 1), C4 * (nx * nx - ny * ny)
        column, line = int(u), int(v)
        fu, fv = u - column, v - line
        squared = kind(0)
        for c in range(3):
            shading = kind(0)
            for b in range(9):
                shading += basis[i, b] * lighting[b, c]
            rendered, derivative = encode_with_slope(max(albedo[i, c] * shading, kind(DARKEST)))
            p00, p01 = image[line, column, c], image[line, column + 1, c]
            p10, p11 = image[line + 1, column, c], image[line + 1, column + 1, c]
            top, bottom = p00 + fu * (p01 - p00), p10 + fu * (p11 - p10)
            along_u = (1 - fv) * (p01 - p00) + fv * (p11 - p10)
            along_v = bottom - top
            difference = (rendered - (top + fv * along_v)) * kind(1 / COLOR_SIGMA)
            residual[i, c] = difference
            squared += difference * difference
            gain[i, c] = derivative * albedo[i, c] * kind(1 / COLOR_SIGMA)
            per_mm = -focal / (z * kind(COLOR_SIGMA))
            du, dv = along_u * per_mm, along_v * per_mm
            slope[i, c, 0], slope[i, c, 1], slope[i, c, 2] = du, dv, -(du * x + dv * y) / z
        share = area[i] * facing / (z * z)
        norm = squared ** kind(0.5)
        total += share
        energy += share * norm
        weight[i] = share / max(norm, kind(RESIDUAL_FLOOR))
    if total <= 0:
        return energy
    whole = kind(1) / total
    for i in range(len(weight)):
        weight[i] *= whole
    return energy * whole


@njit(nogil=True, cache=True, fastmath=True)
def photometric_gradient(rows, unit, spin, rotation, residual, weight, slope, gain, basis, out):
    """`out = J^T W r`."""
    kind = spin.dtype.type
    out[:] = 0
    shape = np.zeros(LANES, spin.dtype)
    for i in range(len(weight)):
        w = weight[i]
        if w == 0:
            continue
        q0, q1, q2 = w * residual[i, 0], w * residual[i, 1], w * residual[i, 2]
        fx = slope[i, 0, 0] * q0 + slope[i, 1, 0] * q1 + slope[i, 2, 0] * q2
        fy = slope[i, 0, 1] * q0 + slope[i, 1, 1] * q1 + slope[i, 2, 1] * q2
        fz = slope[i, 0, 2] * q0 + slope[i, 1, 2] * q1 + slope[i, 2, 2] * q2
        x, y, z = spin[i, 0], spin[i, 1], spin[i, 2]
        out[0] += y * fz - z * fy
        out[1] += z * fx - x * fz
        out[2] += x * fy - y * fx
        out[3] += fx
        out[4] += fy
        out[5] += fz
        mx = rotation[0, 0] * fx + rotation[1, 0] * fy + rotation[2, 0] * fz
        my = rotation[0, 1] * fx + rotation[1, 1] * fy + rotation[2, 1] * fz
        mz = rotation[0, 2] * fx + rotation[1, 2] * fy + rotation[2, 2] * fz
        row = rows[i]
        for k in range(LANES):
            shape[k] += kind(row[0, k]) * mx + kind(row[1, k]) * my + kind(row[2, k]) * mz
        g0, g1, g2 = gain[i, 0] * q0, gain[i, 1] * q1, gain[i, 2] * q2
        for b in range(9):
            out[FIRST_LIGHT + 3 * b] += basis[i, b] * g0
            out[FIRST_LIGHT + 3 * b + 1] += basis[i, b] * g1
            out[FIRST_LIGHT + 3 * b + 2] += basis[i, b] * g2
    for k in range(FIRST_LIGHT - 6):
        out[6 + k] = shape[k] * unit[k]


@njit(nogil=True, cache=True, fastmath=True)
def photometric_curvature(rows, unit, spin, rotation, weight, slope, gain, basis, vector):
    """`vector^T J^T W J vector` without forming J: one pass over the rows (p, 3, 80)."""
    kind = spin.dtype.type
    along = np.zeros(LANES, spin.dtype)
    along[: FIRST_LIGHT - 6] = vector[6:FIRST_LIGHT] * unit[: FIRST_LIGHT - 6]
    total = kind(0)
    for i in range(len(weight)):
        w = weight[i]
        if w == 0:
            continue
        mx, my, mz = _moved(rows[i], along, kind)
        x, y, z = spin[i, 0], spin[i, 1], spin[i, 2]
        dx = rotation[0, 0] * mx + rotation[0, 1] * my + rotation[0, 2] * mz
        dy = rotation[1, 0] * mx + rotation[1, 1] * my + rotation[1, 2] * mz
        dz = rotation[2, 0] * mx + rotation[2, 1] * my + rotation[2, 2] * mz
        dx += vector[1] * z - vector[2] * y + vector[3]
        dy += vector[2] * x - vector[0] * z + vector[4]
        dz += vector[0] * y - vector[1] * x + vector[5]
        for c in range(3):
            light = kind(0)
            for b in range(9):
                light += basis[i, b] * vector[FIRST_LIGHT + 3 * b + c]
            q = slope[i, c, 0] * dx + slope[i, c, 1] * dy + slope[i, c, 2] * dz + gain[i, c] * light
            total += w * q * q
    return total


@njit(nogil=True, cache=True, fastmath=True)
def photometric_rows(rows, unit, spin, rotation, weight, slope, gain, basis, stride, strength, out):
    """Rows of `sqrt(strength W) J` for every stride-th sample that counts into `out` (3 * ceil(p / stride), n); their number."""
    kind = spin.dtype.type
    line = 0
    for i in range(0, len(weight), stride):
        root = (strength * weight[i]) ** kind(0.5)
        if root <= 0:
            continue
        for c in range(3):
            out[line, FIRST_LIGHT:] = 0
            fx, fy, fz = root * slope[i, c, 0], root * slope[i, c, 1], root * slope[i, c, 2]
            x, y, z = spin[i, 0], spin[i, 1], spin[i, 2]
            out[line, 0], out[line, 1], out[line, 2] = y * fz - z * fy, z * fx - x * fz, x * fy - y * fx
            out[line, 3], out[line, 4], out[line, 5] = fx, fy, fz
            mx = rotation[0, 0] * fx + rotation[1, 0] * fy + rotation[2, 0] * fz
            my = rotation[0, 1] * fx + rotation[1, 1] * fy + rotation[2, 1] * fz
            mz = rotation[0, 2] * fx + rotation[1, 2] * fy + rotation[2, 2] * fz
            for k in range(FIRST_LIGHT - 6):
                moved = kind(rows[i, 0, k]) * mx + kind(rows[i, 1, k]) * my + kind(rows[i, 2, k]) * mz
                out[line, 6 + k] = moved * unit[k]
            for b in range(9):
                out[line, FIRST_LIGHT + 3 * b + c] = root * gain[i, c] * basis[i, b]
            line += 1
    return line


@dataclass(frozen=True, slots=True)
class LandmarkTargets:
    """Detected landmarks that the fit may use.

    Attributes:
        xy: (l, 2) pixels. sigma_mm: (l,) spread of the embedding. confidence: (l,) in [0, 1].
    """

    xy: Float[np.ndarray, "l 2"]
    sigma_mm: Float[np.ndarray, " l"]
    confidence: Float[np.ndarray, " l"]


def landmark_residuals(
    points_camera: Float[np.ndarray, "l 3"], targets: LandmarkTargets, intrinsics: Intrinsics
) -> Float[np.ndarray, "l 2"]:
    """Landmark term E_lan (Face2Face, section 4), whitened: projected minus detected, in standard deviations.

    A standard deviation in pixels is the embedding's spread in mm times the projected pixels per mm. The squares sum
    to the confidence-weighted mean over landmarks.
    """
    scale = landmark_scale(points_camera, targets, intrinsics)
    return scale[:, None] * (intrinsics.project(points_camera) - targets.xy)


def landmark_scale(
    points_camera: Float[np.ndarray, "l 3"], targets: LandmarkTargets, intrinsics: Intrinsics
) -> Float[np.ndarray, " l"]:
    """What a pixel counts at each landmark: sqrt(confidence / sum) over the deviation in pixels at the face's depth."""
    sigma_px = targets.sigma_mm * intrinsics.pixels_per_mm(float(np.mean(points_camera[:, 2])))
    return np.sqrt(targets.confidence / max(float(targets.confidence.sum()), 1e-9)) / sigma_px


def landmark_jacobian(
    points_camera: Float[np.ndarray, "l 3"],
    pose: RigidTransform,
    rows: Float[np.ndarray, "l 3 k"],
    scale: Float[np.ndarray, " l"],
    intrinsics: Intrinsics,
    out: Float[np.ndarray, "2*l 6+k"] | None = None,
) -> Float[np.ndarray, "2*l 6+k"]:
    """Derivative of `landmark_residuals` by pose and shape weights (`rows` in model space), scale held fixed."""
    if out is None:
        out = np.empty((2 * len(rows), 6 + rows.shape[2]), rows.dtype)
    fill_landmark_rows(points_camera, pose.translation, pose.rotation, rows, scale, intrinsics.focal, out)
    return out


@njit(nogil=True, cache=True, fastmath=True)
def fill_landmark_rows(points, translation, rotation, rows, scale, focal, out):
    """`landmark_jacobian` into `out`."""
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        sx, sy, sz = x - translation[0], y - translation[1], z - translation[2]
        per_mm = scale[i] * focal / z
        for c in range(2):
            line = 2 * i + c
            fx, fy = per_mm * (1 - c), per_mm * c
            fz = -per_mm * (x if c == 0 else y) / z
            out[line, 0], out[line, 1], out[line, 2] = sy * fz - sz * fy, sz * fx - sx * fz, sx * fy - sy * fx
            out[line, 3], out[line, 4], out[line, 5] = fx, fy, fz
            mx = rotation[0, 0] * fx + rotation[1, 0] * fy + rotation[2, 0] * fz
            my = rotation[0, 1] * fx + rotation[1, 1] * fy + rotation[2, 1] * fz
            mz = rotation[0, 2] * fx + rotation[1, 2] * fy + rotation[2, 2] * fz
            wx, wy, wz = out.dtype.type(mx), out.dtype.type(my), out.dtype.type(mz)
            for k in range(rows.shape[2]):
                out[line, 6 + k] = rows[i, 0, k] * wx + rows[i, 1, k] * wy + rows[i, 2, k] * wz
