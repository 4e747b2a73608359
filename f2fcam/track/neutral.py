"""The relaxed face (`DECISIONS` 7): the robust mode of the expression over calm frames, which transfer is relative to.

And what fits find while the lips touch: some millimetres of a gap, another for each person.

A mean would lean towards whatever the person did most; a talking person's mode over closed-mouth, slow frames is the face
that they come back to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32

from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Person
from f2fcam.track.landmarks import INNER_LIP_PAIRS, LEFT_LID_PAIRS, RIGHT_LID_PAIRS, Landmarks

CALM_SHARE = 0.4
"""Share of the frames, by lip gap, then by speed, that may count as relaxed."""
FEWEST = 5
"""With fewer calm frames than this everything counts."""
RELAXED_GAP = 0.04
"""In eye distances: a wider gap is no relaxed mouth, in a clip that has others."""
OPEN_LIDS = 0.6
"""Of the lids' gap that is wide for the clip (90th percentile): a relaxed face has its eyes open."""
SHUT_GAP = 0.015
"""In eye distances: the detector's lips touch."""
FEWEST_SHUT = 3
MOST_FRAMES = 600
"""Density is estimated over at most this many frames, evenly spread."""
SHIFTS = 20


def lip_gap(landmarks: Landmarks) -> float:
    """Mean distance of the inner lips in units of the distance of the outer eye corners."""
    return _gap(landmarks, INNER_LIP_PAIRS)


def lid_gap(landmarks: Landmarks) -> float:
    """The same of the lids, mean of both eyes."""
    return _gap(landmarks, LEFT_LID_PAIRS + RIGHT_LID_PAIRS)


def _gap(landmarks: Landmarks, pairs: tuple[tuple[int, int], ...]) -> float:
    upper, lower = np.array(pairs).T
    apart = landmarks.points[upper] - landmarks.points[lower]
    return float(np.sqrt((apart**2).sum(axis=1)).mean() / max(landmarks.eye_distance, 1e-6))


def shape_sizes(model: FaceModel) -> Float32[np.ndarray, " 76"]:
    """Root mean square motion of the face's vertices per unit of each expression shape, mm: makes weights comparable."""
    face = np.unique(model.triangles(0)[model.face_triangles0])
    return np.sqrt((model.expression_basis[face].astype(np.float64) ** 2).sum(axis=1).mean(axis=0)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class RelaxedFace:
    """A person's `neutral` and `shut` expressions (`state.Person`)."""

    neutral: Float32[np.ndarray, " 76"]
    shut: Float32[np.ndarray, " 76"] | None

    def given_to(self, person: Person, share: float = 1.0) -> Person:
        """The person with this relaxed face, or with a share of it; lips that never met are still unknown."""
        shut = person.shut if self.shut is None or person.shut is None else _towards(person.shut, self.shut, share)
        return replace(
            person, neutral=_towards(person.neutral, self.neutral, share), shut=self.shut if shut is None else shut
        )


def _towards(old: np.ndarray, new: np.ndarray, share: float) -> np.ndarray:
    return new if share >= 1 else (old + np.float32(share) * (new - old)).astype(np.float32)


def relaxed_face(
    expressions: Float32[np.ndarray, "n 76"],
    landmarks: list[Landmarks],
    speeds: Float[np.ndarray, " n"],
    sizes: Float32[np.ndarray, " 76"],
) -> RelaxedFace:
    """Of some frames, each with its landmarks; the other arguments as of `neutral_expression`."""
    lip_gaps = np.array([lip_gap(found) for found in landmarks])
    lid_gaps = np.array([lid_gap(found) for found in landmarks])
    shut = np.flatnonzero(lip_gaps <= SHUT_GAP)
    touching = expressions[shut].mean(axis=0).astype(np.float32) if len(shut) >= FEWEST_SHUT else None
    return RelaxedFace(neutral_expression(expressions, lip_gaps, speeds, sizes, lid_gaps), touching)


def neutral_expression(
    expressions: Float32[np.ndarray, "n 76"],
    lip_gaps: Float[np.ndarray, " n"],
    speeds: Float[np.ndarray, " n"],
    sizes: Float32[np.ndarray, " 76"],
    lid_gaps: Float[np.ndarray, " n"] | None = None,
) -> Float32[np.ndarray, " 76"]:
    """Mode of the expressions over frames of small lip gap, low speed and, where the lids are known, open eyes.

    `speeds` in any unit, `sizes` from `shape_sizes`. Mean shift from the densest frame, where one whose face does more than the
    most restful one's, by a deviation of what the frames do, has to be e times as dense.
    """
    if not len(expressions):
        return np.zeros(76, np.float32)
    calm = _calm(np.asarray(lip_gaps, np.float64), np.asarray(speeds, np.float64), lid_gaps)
    if len(calm) > MOST_FRAMES:
        calm = calm[np.linspace(0, len(calm) - 1, MOST_FRAMES).astype(int)]
    points = expressions[calm].astype(np.float64) * sizes
    square = (points**2).sum(axis=1)
    distance = np.sqrt(np.maximum(square[:, None] + square - 2 * points @ points.T, 0.0))
    apart = distance[np.triu_indices(len(points), 1)]
    width = float(np.quantile(apart, 0.25)) if len(apart) else 0.0
    if width <= 1e-9:
        return np.median(expressions[calm], axis=0).astype(np.float32)
    activity = points.sum(axis=1)
    restful = np.exp(-(activity - activity.min()) / max(float(activity.std()), 1e-9))
    mode = points[(restful * np.exp(-0.5 * (distance / width) ** 2).sum(axis=1)).argmax()]
    weight = np.ones(len(points))
    for _ in range(SHIFTS):
        weight = np.exp(-0.5 * ((points - mode) ** 2).sum(axis=1) / width**2)
        mode = weight @ points / weight.sum()
    return (weight @ expressions[calm] / weight.sum()).astype(np.float32)


def _calm(lip_gaps: np.ndarray, speeds: np.ndarray, lid_gaps: np.ndarray | None) -> np.ndarray:
    """Rows of open eyes; of those the ones of small lip gap; of those the slow ones."""
    rows = np.flatnonzero(np.isfinite(lip_gaps) & np.isfinite(speeds))
    if not len(rows):
        return np.arange(len(lip_gaps))
    if lid_gaps is not None:
        awake = rows[lid_gaps[rows] >= OPEN_LIDS * np.quantile(lid_gaps[rows], 0.9)]
        rows = awake if len(awake) >= FEWEST else rows
    for values, most in ((lip_gaps, RELAXED_GAP), (speeds, np.inf)):
        level = np.quantile(values[rows], CALM_SHARE)
        for limit in (min(level, most), level):
            kept = rows[values[rows] <= limit]
            if len(kept) >= FEWEST:
                rows = kept
                break
    return rows


def landmark_speeds(landmarks: list[Landmarks | None], times_s: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """How fast the face moves per frame, in eye distances a second; infinite beside frames without a face."""
    speeds = np.full(len(landmarks), np.inf)
    for row in range(1, len(landmarks)):
        now, before = landmarks[row], landmarks[row - 1]
        if now is None or before is None:
            continue
        apart = np.linalg.norm(now.xy[:468] - before.xy[:468], axis=1).mean() / max(now.eye_distance, 1e-6)
        speeds[row] = apart / max(times_s[row] - times_s[row - 1], 1e-3)
    if len(speeds) > 1:
        speeds[0] = speeds[1]
    return speeds
