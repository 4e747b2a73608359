"""Landmarks of a simple face that can be moved, for the ruler's tests: known motion in, known numbers out."""

from __future__ import annotations

from functools import cache

import numpy as np

from f2fcam.track import landmarks as lm
from f2fcam.track.landmarks import MediaPipeDetector, _painted_face

EYES = 100.0
"""Distance of the outer eye corners in pixels."""


@cache
def _detected() -> np.ndarray:
    detector = MediaPipeDetector()
    found = detector.detect(_painted_face())
    detector.close()
    assert found is not None
    return found.points.astype(np.float64)


def flat_face() -> np.ndarray:
    """A relaxed upright face, (478, 3) in pixels: lips closed, lids open, `EYES` across."""
    face = _detected().copy()
    right, left = face[lm.RIGHT_EYE_OUTER], face[lm.LEFT_EYE_OUTER]
    face -= (right + left) / 2
    face *= EYES / np.linalg.norm(left - right)
    for upper, lower in lm.INNER_LIP_PAIRS:
        face[[upper, lower]] = face[[upper, lower]].mean(axis=0)
    for pairs in (lm.LEFT_LID_PAIRS, lm.RIGHT_LID_PAIRS):
        for upper, lower in pairs:
            middle = face[[upper, lower]].mean(axis=0)
            half = np.array([0, 4.0, 0])
            face[upper], face[lower] = middle - half, middle + half
    return face


def moved(
    face: np.ndarray,
    *,
    lower_lip: float = 0,
    widen: float = 0,
    left_lid: float = 0,
    right_lid: float = 0,
    brows: float = 0,
    left_corner: float = 0,
) -> np.ndarray:
    """The face with lower lip and chin lowered, mouth widened, lids shut (1 = closed), brows and left corner raised, in px."""
    out = face.copy()
    low = list(lm.INNER_LIP_LOWER[1:-1] + lm.OUTER_LIP_LOWER[1:-1])
    out[low, 1] += lower_lip
    out[lm.CHIN, 1] += lower_lip
    lips = list(lm.LIPS)
    center = face[lips, 0].mean()
    half = (face[lm.LEFT_MOUTH_CORNER, 0] - face[lm.RIGHT_MOUTH_CORNER, 0]) / 2
    out[lips, 0] += widen / 2 * (face[lips, 0] - center) / half
    for pairs, closed in ((lm.LEFT_LID_PAIRS, left_lid), (lm.RIGHT_LID_PAIRS, right_lid)):
        upper, lower = np.array(pairs).T
        out[upper] += closed * (out[lower] - out[upper])
    out[list(lm.LEFT_BROW + lm.RIGHT_BROW), 1] -= brows
    out[[lm.LEFT_MOUTH_CORNER, lm.LEFT_INNER_CORNER], 1] -= left_corner
    return out


def performance(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A calm third, then speech with brows, two blinks and an uneven smile: points (n, 478, 3) and where it is not neutral."""
    random = np.random.default_rng(seed)
    time = np.arange(count)
    acting = time >= count // 3

    def wave(low: float, high: float) -> np.ndarray:
        mix = sum(np.sin(time * random.uniform(0.08, 0.5) + random.uniform(0, 6)) for _ in range(4))
        return np.where(acting, low + (high - low) * (0.5 + mix / 8), 0.0)

    opening, widen, brows, corner = wave(3, 25), wave(-8, 12), wave(-4, 6), wave(0, 6)
    shut = np.zeros(count)
    for start in (count // 2, count // 2 + 30):
        shut[start : start + 5] = (0.5, 1.0, 1.0, 0.9, 0.4)
    frames = [
        moved(
            flat_face(),
            lower_lip=opening[i],
            widen=widen[i],
            brows=brows[i],
            left_corner=corner[i],
            left_lid=shut[i],
            right_lid=shut[i],
        )
        for i in time
    ]
    noise = random.normal(0, 0.05, (count, 478, 3))
    return np.stack(frames) + noise, acting
