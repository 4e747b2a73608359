"""How much of what a mouth can do a clip shows, and what to record more of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

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
    "shut": "lips closed and relaxed",
    "round": "rounded lips, as in 'oo' and 'oh'",
    "smile": "smiles that show the teeth, as in 'cheese'",
    "open": "a mouth open wide, as in 'ah'",
    "speech": "ordinary speech, looking into the camera",
}


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a clip's mouths cover.

    Attributes:
        score: share of the wanted mouths of which the clip shows enough, 0 to 1.
        covered: per opening and width of `OPENINGS` x `WIDTHS`; True where nobody makes such a mouth.
        opening, width: of the clip's frames, in eye distances.
        missing: what to record more of, in words; empty when all is there.
    """

    score: float
    covered: Bool[np.ndarray, "o w"]
    opening: Float[np.ndarray, " f"]
    width: Float[np.ndarray, " f"]
    missing: tuple[str, ...]


def mouth_coverage(opening: Float[np.ndarray, " f"], width: Float[np.ndarray, " f"]) -> Coverage:
    """Coverage of the plane of lip gap and mouth width, both in distances of the outer eye corners."""
    relative = width - (np.median(width) if len(width) else 0.0)
    covered = np.zeros((len(OPENINGS), len(WIDTHS)), bool)
    wanted = np.ones_like(covered)
    for o, gap in enumerate(OPENINGS):
        # Wide gaps are rarer and forgive more.
        reach = REACH[0] + 0.25 * gap
        for w, change in enumerate(WIDTHS):
            wanted[o, w] = (gap, change) not in IMPOSSIBLE
            near = np.hypot((opening - gap) / reach, (relative - change) / REACH[1]) <= 1
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
    return Coverage(float(covered[wanted].mean()), covered, opening, width, tuple(missing))
