"""Which frames to bundle (Face2Face, section 6): sharp ones that cover pose, expression and light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from f2fcam.face.rigid import so3_log
from f2fcam.face.state import Performance

POSE_SPREAD, EXPRESSION_SPREAD, LIGHT_SPREAD = 0.12, 0.25, 0.3
"""Differences that count as one unit: radians, expression weight (l2), relative light."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame that could become a keyframe: its fit, its landmark misfit in deviations and its sharpness."""

    performance: Performance
    landmark_error: float
    sharpness: float


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


def descriptor(performance: Performance) -> Float[np.ndarray, " d"]:
    """Where a frame lies in the space that keyframes should cover."""
    light = performance.lighting[1:4].sum(axis=1) / max(float(performance.lighting[0].sum()), 1e-6)
    return np.concatenate(
        [
            so3_log(performance.camera_from_model.rotation @ np.diag([1.0, -1.0, -1.0])) / POSE_SPREAD,
            performance.expression / EXPRESSION_SPREAD,
            light / LIGHT_SPREAD,
        ]
    )


def choose_keyframes(candidates: list[Candidate], count: int) -> list[int]:
    """Indices of `count` candidates, the one nearest to the median first, each next the farthest from all chosen.

    Blurred and badly fitted frames, the worst quarter of each kind, only take part where the others are fewer than `count`.
    """
    if len(candidates) <= count:
        return list(range(len(candidates)))
    points = np.stack([descriptor(c.performance) for c in candidates])
    sharp = np.array([c.sharpness for c in candidates])
    misfit = np.array([c.landmark_error for c in candidates])
    good = (sharp >= np.quantile(sharp, 0.25)) & (misfit <= np.quantile(misfit, 0.75))
    if good.sum() < count:
        good[:] = True
    pool = np.flatnonzero(good)
    center = np.median(points[pool], axis=0)
    chosen = [int(pool[np.argmin(np.linalg.norm(points[pool] - center, axis=1))])]
    distance = np.linalg.norm(points[pool] - points[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(pool[np.argmax(distance)]))
        distance = np.minimum(distance, np.linalg.norm(points[pool] - points[chosen[-1]], axis=1))
    return sorted(chosen)
