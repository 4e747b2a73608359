"""Landmarks with the head pose removed: similarity alignment on points that expressions hardly move, and the neutral.

Frames without a face are NaN throughout and stay NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from f2fcam.track.landmarks import (
    CHIN,
    INNER_LIP_PAIRS,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_EYE_OUTER,
    LEFT_LID_PAIRS,
    LIPS,
    NOSE_BASE,
    NOSE_BRIDGE,
    NOSE_TIP,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_EYE_OUTER,
    RIGHT_LID_PAIRS,
    STABLE,
)

FOREHEAD_TOP = 10
MOUTH = np.array(LIPS)
INNER_FACE = np.array(
    sorted({*LIPS, *LEFT_EYE, *RIGHT_EYE, *LEFT_BROW, *RIGHT_BROW, *NOSE_BRIDGE, NOSE_TIP, NOSE_BASE})
)
_STABLE = np.array(STABLE)
_EXPRESSIVE = np.array(sorted({*LIPS, *LEFT_EYE, *RIGHT_EYE, *LEFT_BROW, *RIGHT_BROW}))


def align(
    points: Float[np.ndarray, "n p d"], anchors: Float[np.ndarray, "n s d"], anchor_index: np.ndarray = _STABLE
) -> Float[np.ndarray, "n p d"]:
    """Move every frame's points by the similarity that best takes `points[:, anchor_index]` to `anchors` (Umeyama 1991).

    `anchors` may have one frame for all.
    """
    source = points[:, anchor_index].astype(np.float64)
    anchors = np.broadcast_to(anchors.astype(np.float64), source.shape)
    middle, goal = source.mean(axis=1, keepdims=True), anchors.mean(axis=1, keepdims=True)
    scale, rotation = _scaled_rotation(source - middle, anchors - goal)
    return scale[:, None, None] * np.einsum("nij,npj->npi", rotation, points - middle) + goal


def head_rotations(points: Float[np.ndarray, "n p 3"]) -> Float[np.ndarray, "n 3 3"]:
    """Every frame's head rotation against a common one, from the points that expressions hardly move."""
    stable = points[:, _STABLE].astype(np.float64)
    middle = np.nanmedian(stable - stable.mean(axis=1, keepdims=True), axis=0, keepdims=True)
    return _scaled_rotation(np.broadcast_to(middle, stable.shape), stable - stable.mean(axis=1, keepdims=True))[1]


def _scaled_rotation(source: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares scale (n,) and proper rotation (n, d, d) of centred points; NaN for frames with NaN."""
    covariance = np.einsum("nsi,nsj->nij", goal, source)
    known = np.isfinite(covariance).all(axis=(1, 2))
    u, spread, vt = np.linalg.svd(np.where(known[:, None, None], covariance, np.eye(covariance.shape[-1])))
    sign = np.ones_like(spread)
    sign[:, -1] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[:, None, :]) @ vt
    scale = (spread * sign).sum(axis=1) / np.maximum((source**2).sum(axis=(1, 2)), 1e-12)
    return np.where(known, scale, np.nan), rotation


@dataclass(frozen=True, slots=True)
class Template:
    """A person's own mean face in the head's frame: x to the person's left, y down, z away; outer eye corners 1 apart.

    Attributes:
        mean: all points.
        neutral: the relaxed face.
    """

    mean: Float[np.ndarray, "478 3"]
    neutral: Float[np.ndarray, "478 3"]

    @classmethod
    def of(cls, points: Float[np.ndarray, "n 478 3"]) -> Template:
        """From the landmarks (pixels) of a clip of this person; generalised Procrustes, three rounds."""
        seen = points[np.isfinite(points[:, 0, 0])].astype(np.float64)
        mean = _upright(seen[len(seen) // 2])
        for _ in range(3):
            mean = _upright(align(seen, mean[None, _STABLE]).mean(axis=0))
        template = cls(mean, mean)
        shapes = template.shapes(seen)
        return cls(mean, np.median(shapes[neutral_frames(shapes)], axis=0))

    def shapes(self, points: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "n 478 3"]:
        """Landmarks in pixels moved into the head's frame."""
        return align(points, self.mean[None, _STABLE])


def _upright(face: np.ndarray) -> np.ndarray:
    """Origin midway between the outer eye corners, x along them, y down the face, corners 1 apart."""
    across = face[LEFT_EYE_OUTER] - face[RIGHT_EYE_OUTER]
    size = np.linalg.norm(across)
    x = across / size
    down = face[CHIN] - face[FOREHEAD_TOP]
    y = down - x * (down @ x)
    y /= np.linalg.norm(y)
    axes = np.stack([x, y, np.cross(x, y)])
    return (face - (face[LEFT_EYE_OUTER] + face[RIGHT_EYE_OUTER]) / 2) @ axes.T / size


def neutral_frames(shapes: Float[np.ndarray, "n 478 3"]) -> Bool[np.ndarray, " n"]:
    """Frames of the relaxed face: lips closed, lids open, slow, and of those the densest fifth (`DECISIONS` 7)."""
    count = len(shapes)
    upper, lower = np.array(INNER_LIP_PAIRS).T
    gap = np.linalg.norm(shapes[:, upper] - shapes[:, lower], axis=2).mean(axis=1)
    motion = np.linalg.norm(np.diff(shapes[:, _EXPRESSIVE], axis=0, prepend=shapes[:1, _EXPRESSIVE]), axis=2)
    speed = np.convolve(motion.mean(axis=1), np.ones(5) / 5, mode="same")
    upper, lower = np.array(LEFT_LID_PAIRS + RIGHT_LID_PAIRS).T
    lids = np.linalg.norm(shapes[:, upper] - shapes[:, lower], axis=2).mean(axis=1)
    calm = (gap <= max(np.percentile(gap, 25), 0.02)) & (lids >= 0.7 * np.percentile(lids, 90))
    slow = calm & (speed <= np.percentile(speed, 60))
    calm = next(mask for mask in (slow, calm, gap <= np.percentile(gap, 25)) if mask.sum() >= min(5, count // 4))
    candidates = np.flatnonzero(calm)
    candidates = candidates[:: max(1, len(candidates) // 400)]
    flat = shapes[candidates][:, _EXPRESSIVE].reshape(len(candidates), -1)
    squares = (flat**2).sum(axis=1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * flat @ flat.T, 0))
    neighbours = max(3, len(candidates) // 5)
    near = np.sort(distance, axis=1)[:, : neighbours + 1].mean(axis=1)
    chosen = candidates[np.argsort(distance[int(np.argmin(near))])[: neighbours + 1]]
    out = np.zeros(count, bool)
    out[chosen] = True
    return out


def landmark_error_percent(
    output: Float[np.ndarray, "n 478 3"], truth: Float[np.ndarray, "n 478 3"], index: np.ndarray = MOUTH
) -> Float[np.ndarray, " n"]:
    """Mean 3D distance of the points `index`, head pose removed, in % of the outer-eye-corner distance, per frame."""
    moved = align(output, truth[:, _STABLE])
    eyes = np.linalg.norm(truth[:, LEFT_EYE_OUTER] - truth[:, RIGHT_EYE_OUTER], axis=1)
    return 100 * np.linalg.norm(moved[:, index] - truth[:, index], axis=2).mean(axis=1) / eyes


def jitter(shapes: Float[np.ndarray, "n 478 3"], index: np.ndarray) -> float:
    """Standard deviation of the points' frame-to-frame noise, in % of the eye distance, over the calmer half of the frames.

    From the second difference, which slow motion leaves at zero: noise of deviation s gives it s * sqrt(6).
    """
    points = shapes[:, index, :2]
    second = points[2:] - 2 * points[1:-1] + points[:-2]
    noise = np.sqrt((second**2).sum(axis=2).mean(axis=1) / 2) / np.sqrt(6)
    speed = np.linalg.norm(points[2:] - points[:-2], axis=2).mean(axis=1)
    known = np.isfinite(noise)
    if known.sum() < 5:
        return float("nan")
    smooth = np.convolve(speed[known], np.ones(9) / 9, mode="same")
    return float(100 * np.median(noise[known][smooth <= np.median(smooth)]))
