"""How much of what a mouth can do a clip shows, and what to record more of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from f2fcam.profile import TrackedFrames
from f2fcam.track.landmarks import LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER, Landmarks
from f2fcam.track.neutral import lip_gap

OPENINGS = (0.0, 0.04, 0.09, 0.16, 0.26)
"""Lip gaps of the wanted mouths, in distances of the outer eye corners."""
WIDTHS = (-0.10, 0.0, 0.10)
"""Changes of the distance of the mouth's corners from its median, in the same unit: rounded, relaxed, spread."""
REACH = (0.03, 0.05)
"""Opening and width within which an enrolled mouth can stand in for a wanted one by a small warp."""
ENOUGH = 3
"""Frames near a wanted mouth that make it covered."""
IMPOSSIBLE = ((0.26, 0.10),)
"""Mouths that nobody makes."""

ADVICE = {
    "shut": "shut mouths (pause with the lips closed and relaxed)",
    "round": "rounded lips (say 'oo' and 'oh')",
    "smile": "smiles (show the teeth, say 'cheese')",
    "open": "wide-open mouths (say 'ah')",
    "speech": "ordinary speech (talk into the camera)",
}


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a clip's mouths cover.

    Attributes:
        score: share of the wanted mouths of which the clip shows enough, 0 to 1.
        covered: per opening and width of `OPENINGS` x `WIDTHS`; True where nobody makes such a mouth.
        opening, width: of the clip's frames, in eye distances; the width less its median.
        missing: what to record more of, in words; empty when all is there.
    """

    score: float
    covered: Bool[np.ndarray, "o w"]
    opening: Float[np.ndarray, " f"]
    width: Float[np.ndarray, " f"]
    missing: tuple[str, ...]


def reach(gap: float) -> tuple[float, float]:
    """How far, in opening and width, a frame may be from a wanted mouth; wide gaps are rarer and forgive more."""
    return REACH[0] + 0.25 * gap, REACH[1]


def profile_coverage(frames: TrackedFrames, enrolment: Mapping[str, np.ndarray]) -> Coverage | None:
    """Coverage of a profile's usable frames; None for a profile that does not hold the landmarks' depth."""
    if not {"usable", "landmark_depth"} <= set(enrolment):
        return None
    return clip_coverage(frames.landmarks, enrolment["landmark_depth"], enrolment["usable"])


def clip_coverage(
    xy: Float[np.ndarray, "n l 2"], depth: Float[np.ndarray, "n l"], usable: Bool[np.ndarray, " n"]
) -> Coverage:
    """Coverage of a clip's usable frames, from their landmarks."""
    confidence = np.ones(xy.shape[1], np.float32)
    faces = [Landmarks(xy[row], depth[row], confidence) for row in np.flatnonzero(usable)]
    shapes = np.array([(lip_gap(face), mouth_width(face)) for face in faces]).reshape(-1, 2)
    return mouth_coverage(shapes[:, 0], shapes[:, 1])


def mouth_width(landmarks: Landmarks) -> float:
    """Distance of the mouth's corners in distances of the outer eye corners."""
    apart = landmarks.points[LEFT_MOUTH_CORNER] - landmarks.points[RIGHT_MOUTH_CORNER]
    return float(np.linalg.norm(apart) / max(landmarks.eye_distance, 1e-6))


def coverage_line(coverage: Coverage) -> str:
    """How much is there, and what to record more of, if anything; without a full stop."""
    said = f"{100 * coverage.score:.0f} % of the mouth shapes that speech and smiles need"
    return f"{said}; record more {', '.join(coverage.missing)}" if coverage.missing else said


def mouth_coverage(opening: Float[np.ndarray, " f"], width: Float[np.ndarray, " f"]) -> Coverage:
    """Coverage of the plane of lip gap and mouth width, both in distances of the outer eye corners."""
    relative = width - (np.median(width) if len(width) else 0.0)
    covered = np.zeros((len(OPENINGS), len(WIDTHS)), bool)
    wanted = np.ones_like(covered)
    for o, gap in enumerate(OPENINGS):
        far = reach(gap)
        for w, change in enumerate(WIDTHS):
            wanted[o, w] = (gap, change) not in IMPOSSIBLE
            near = np.hypot((opening - gap) / far[0], (relative - change) / far[1]) <= 1
            covered[o, w] = near.sum() >= ENOUGH or not wanted[o, w]
    missing = []
    if not covered[0, 1]:
        missing.append(ADVICE["shut"])
    if covered[1:4, 0].mean() < 0.5:
        missing.append(ADVICE["round"])
    if covered[1:4, 2].mean() < 0.5:
        missing.append(ADVICE["smile"])
    if not covered[3:, :2].any(axis=1).all():
        missing.append(ADVICE["open"])
    if not covered[1:3, 1].all():
        missing.append(ADVICE["speech"])
    return Coverage(float(covered[wanted].mean()), covered, opening, relative, tuple(missing))
