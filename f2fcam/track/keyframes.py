"""Which frames to bundle (Face2Face, section 6): sharp ones that cover pose, expression and light."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import sh_basis
from f2fcam.face.mesh import vertex_normals
from f2fcam.face.morphable import FaceModel
from f2fcam.face.rigid import so3_log
from f2fcam.face.state import Performance
from f2fcam.frame import SRGB_TO_LINEAR

POSE_SPREAD, EXPRESSION_SPREAD, LIGHT_SPREAD = 0.12, 0.25, 0.3
"""Differences that count as one unit: radians, expression weight (l2), light relative to the mean."""
LEAST_FACING = 0.3
"""Cosine of the angle to the line of sight below which a vertex says nothing of the light."""
EVEN_LIGHT = 0.1
"""How much a face of average contrast holds the light to an even one: seen from one side only, it says little of depth."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame that could become a keyframe.

    Attributes:
        performance: its pose and expression, fitted to the landmarks. landmark_error: their misfit in deviations.
        sharpness: of the face. light: where the light comes from, as `light_direction` has it.
    """

    performance: Performance
    landmark_error: float
    sharpness: float
    light: Float[np.ndarray, " 3"] = field(default_factory=lambda: np.zeros(3))


def sharpness(rgb: UInt8[np.ndarray, "h w 3"], xy: Float[np.ndarray, "l 2"]) -> float:
    """Standard deviation of the Laplacian over the face, reduced to 200 px: the larger, the sharper."""
    x0, y0 = np.maximum(xy.min(axis=0).astype(int), 0)
    x1, y1 = np.minimum(xy.max(axis=0).astype(int) + 1, [rgb.shape[1], rgb.shape[0]])
    if x1 - x0 < 8 or y1 - y0 < 8:
        return 0.0
    gray = cv2.cvtColor(rgb[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY)
    factor = min(200.0 / (x1 - x0), 1.0)
    small = cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(small, cv2.CV_32F).std())


def light_direction(
    model: FaceModel, performance: Performance, rgb: UInt8[np.ndarray, "h w 3"], camera: Intrinsics
) -> Float[np.ndarray, " 3"]:
    """First band of the light over its mean (y, z, x in camera space), as the mean skin on the mean shape explains it."""
    triangles = model.triangles(0)
    geometry = model.geometry0(np.zeros(80, np.float32), performance.expression)
    points = performance.camera_from_model.apply(geometry).astype(np.float32)
    normals = np.empty_like(points)
    vertex_normals(points, triangles, normals)
    pixels = np.floor(camera.project(points)).astype(int)
    inside = (pixels >= 0).all(axis=1) & (pixels < [rgb.shape[1], rgb.shape[0]]).all(axis=1)
    facing = -np.einsum("nc,nc->n", normals, points / np.linalg.norm(points, axis=1, keepdims=True))
    face = np.zeros(len(points), bool)
    face[triangles[model.face_triangles0]] = True
    seen = np.flatnonzero(face & inside & (facing > LEAST_FACING))
    if not len(seen):
        return np.zeros(3)
    x, y = pixels[seen].T
    brightness = SRGB_TO_LINEAR[rgb[y, x]].mean(axis=1)
    skin = model.vertex_albedo(np.zeros(80, np.float32), 0)[seen].mean(axis=1)
    basis = sh_basis(normals[seen])[:, :4] * (skin / skin.mean())[:, None]
    normal = basis.T @ basis / len(seen) + EVEN_LIGHT * np.diag([0.0, 1.0, 1.0, 1.0]) * float(basis[:, 0].mean()) ** 2
    light = np.linalg.solve(normal, basis.T @ brightness / len(seen))
    return light[1:] / max(float(light[0]), 1e-6)


def descriptor(candidate: Candidate) -> Float[np.ndarray, " d"]:
    """Where a frame lies in the space that keyframes should cover."""
    performance = candidate.performance
    return np.concatenate(
        [
            so3_log(performance.camera_from_model.rotation @ np.diag([1.0, -1.0, -1.0])) / POSE_SPREAD,
            performance.expression / EXPRESSION_SPREAD,
            candidate.light / LIGHT_SPREAD,
        ]
    )


def choose_keyframes(candidates: list[Candidate], count: int) -> list[int]:
    """Indices of `count` candidates, in their order: the one nearest to the median, then always the farthest from the chosen.

    Blurred and badly fitted frames, the worst quarter of each kind, only fill up where the others are fewer than `count`.
    """
    if len(candidates) <= count:
        return list(range(len(candidates)))
    points = np.stack([descriptor(c) for c in candidates])
    sharp = np.array([c.sharpness for c in candidates])
    misfit = np.array([c.landmark_error for c in candidates])
    good = (sharp >= np.quantile(sharp, 0.25)) & (misfit <= np.quantile(misfit, 0.75))
    if not good.any():
        good[:] = True
    pool = np.flatnonzero(good)
    center = np.median(points[pool], axis=0)
    chosen = [int(pool[np.argmin(np.linalg.norm(points[pool] - center, axis=1))])]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < count:
        pool = np.setdiff1d(np.flatnonzero(good), chosen)
        if not len(pool):
            good[:] = True
            continue
        chosen.append(int(pool[np.argmax(distance[pool])]))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return sorted(chosen)
