"""The ruler's own floor: what it measures between pictures that show the same mouth.

The detector guesses depth, so a mouth's place against the eyes changes with the head's pose although the mouth is the same.
A renderer that draws on target frames of another pose than the actor's cannot measure less than two true pictures do.
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float

from f2fcam.evaluation.clip import Clip, Rendering, read_clip
from f2fcam.evaluation.shape import MOUTH, align, head_rotations, landmark_error_percent
from f2fcam.publish.video import VideoWriter

LIKEST = 0.04
"""Share of the clip's frames that count as the same mouth."""
APART_S = 0.5
"""Frames nearer in time are the same pose, and no test."""


def same_mouth_percent(driving: Clip, rendering: Rendering, target: Clip) -> float:
    """Mean 3D mouth error, in % of the eye distance, between each true frame and a true frame of the same mouth.

    Of the frames (of both clips) whose lips are likest when aligned on themselves, the one is taken whose head is turned
    most as in the target frame that the output was drawn on. Their lips still differ a little, so the number is an upper
    bound of the floor.
    """
    points = np.concatenate([driving.points, target.points])
    time_s = np.concatenate([driving.time_s, target.time_s])
    lips = _shapes(points[:, MOUTH])
    turned = head_rotations(points)
    candidates = np.flatnonzero(np.isfinite(points[:, 0, 0]))
    count = max(3, int(LIKEST * len(candidates)))
    pairs = []
    for source, shown in zip(rendering.source, rendering.target, strict=True):
        if not np.isfinite(points[source, 0, 0]) or not np.isfinite(target.points[shown, 0, 0]):
            continue
        others = candidates[np.abs(time_s[candidates] - time_s[source]) >= APART_S]
        apart = ((lips[others] - lips[source]) ** 2).sum(axis=(1, 2))
        same = others[np.argsort(apart)[:count]]
        wanted = turned[len(driving) + shown]
        pairs.append((source, int(same[((turned[same] - wanted) ** 2).sum(axis=(1, 2)).argmin()])))
    if not pairs:
        return float("nan")
    first, second = np.array(pairs).T
    return float(np.nanmean(landmark_error_percent(points[second], points[first], MOUTH)))


def reencoded_mouth_percent(clip: Clip) -> float:
    """Mean 3D mouth error of a clip against itself, encoded once more as outputs are."""
    height, width = np.asarray(clip.frames[0]).shape[:2]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "copy.mp4"
        with VideoWriter(path, (width, height), Fraction(clip.fps).limit_denominator(1001)) as writer:
            for row in range(len(clip)):
                writer.write(np.array(clip.frames[row]))
        copy = read_clip(path)
    return float(np.nanmean(landmark_error_percent(copy.points[: len(clip)], clip.points[: len(copy)], MOUTH)))


def _shapes(lips: Float[np.ndarray, "n p 3"]) -> Float[np.ndarray, "n p 3"]:
    """Lips with their own place, turn and size removed."""
    known = np.flatnonzero(np.isfinite(lips[:, 0, 0]))
    every = np.arange(lips.shape[1])
    mean = lips[known[len(known) // 2]].astype(np.float64)
    for _ in range(2):
        mean = np.mean(align(lips[known], mean[None], every), axis=0)
    spread = np.linalg.norm(mean - mean.mean(axis=0))
    return align(lips, (mean / spread)[None], every)
