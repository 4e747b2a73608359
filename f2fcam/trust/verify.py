"""Was a video made by f2fcam? The visible badge in its pictures, and the label that our files carry.

A label is easily removed and a badge easily cropped: finding either says yes, finding neither says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from f2fcam.trust.badge import TEXT, badge_box, stamp_rgb

LABEL = f"{TEXT}: made with f2fcam, the face shown was acted by somebody else"
"""The `comment` of our video files."""

LOOKED_AT = 12
"""Pictures, spread over the video."""
LIKENESS = 0.85
"""Correlation with the badge from which it counts as seen; compression leaves above 0.95, other pictures stay below 0.4."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found."""

    made_by_f2fcam: bool
    label: bool
    badge_seen: int
    looked_at: int
    summary: str


def verify_clip(path: Path) -> Verdict:
    """Look for the label and for the badge."""
    from f2fcam.capture.video import VideoFile, comment_of

    with VideoFile(path) as video:
        places = np.unique(np.linspace(0, len(video) - 1, LOOKED_AT).astype(int)).tolist()
        seen = sum(badge_likeness(video.frame_at(place).rgb) >= LIKENESS for place in places)
    label = comment_of(path).startswith(TEXT)
    made = label or seen * 2 > len(places)
    what = f"the badge in {seen} of {len(places)} pictures looked at, {'with' if label else 'without'} f2fcam's label"
    summary = f"{path.name} was made with f2fcam: {what}." if made else f"{path.name} shows no sign of f2fcam: {what}."
    return Verdict(made, label, int(seen), len(places), summary)


def badge_likeness(rgb: UInt8[np.ndarray, "h w 3"]) -> float:
    """Correlation of the badge's place with the badge, 1 for the badge itself."""
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = badge_box(width, height)
    stamped = np.full_like(rgb, 18)
    stamp_rgb(stamped)
    badge = stamped[y0:y1, x0:x1].astype(np.float64).mean(axis=2)
    found = rgb[y0:y1, x0:x1].astype(np.float64).mean(axis=2)
    badge -= badge.mean()
    found -= found.mean()
    return float((badge * found).sum() / np.sqrt(max((badge**2).sum() * (found**2).sum(), 1e-9)))
