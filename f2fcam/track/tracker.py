"""Tracking a known person from frame to frame (Face2Face, section 5): warm start, and knowing when not to trust the fit.

A frame is `tracked`, `occluded` (a face is found, but some part of it does not look like the person), or `lost` (no
face, or a shot cut). The state is explicit: `track_step(state, ...) -> (state, Tracked)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from f2fcam.face.state import Performance
from f2fcam.track.fit import Fit, FrameFitter, face_pyramid
from f2fcam.track.landmarks import LEFT_BROW, LEFT_EYE, LIPS, RIGHT_BROW, RIGHT_EYE, STABLE, Landmarks
from f2fcam.track.pose import similarity_2d

TrackStatus = Literal["tracked", "occluded", "lost"]

CUT_DIFFERENCE = 0.16
"""Mean grey difference, in [0, 1], of two 32 x 18 thumbnails above which the shot has changed."""
OCCLUDED_RATIO, OCCLUDED_EXCESS = 2.5, 0.10
"""A region is covered when its error exceeds both this multiple of its usual error and this much more: speech and a
turned head reach 2.4 times and 0.09 more, a hand over the mouth 2 to 5 times and 0.08 to 0.20 more, the most at first."""
UNCOVERED_RATIO, UNCOVERED_EXCESS = 1.7, 0.05
"""A covered region stays covered until its error falls below either: a hand moves, and looks like skin here and there."""
BASELINE_RATE = 0.02
"""How fast a region's usual error follows, per tracked frame; slow, so that a hand does not become usual."""
BASELINE_FRAMES = 12
"""Frames from which a region's usual error is taken before anything is called occluded."""
LANDMARK_LIMIT = 4.0
"""Root mean square landmark distance, in deviations, past which the fit is wrong."""
FIRST_STEPS = (8, 6)
STILL_PERCENT = 0.45
"""Root mean square motion of lips, lids and brows, in % of the eye distance, that is the detector's noise; speech is 1 to 9."""
STILL_GREYS = 0.8
"""Change of the most changed part of the face, in grey levels, that is the camera's noise."""
GLANCE = 64
"""Side in pixels of the small picture of the face in which changes are looked for."""
FOLLOW_RATE = 0.3
"""How fast the shape and the small picture that the present is compared with follow."""


@dataclass(frozen=True, slots=True)
class Recent:
    """The face of late, smoothed: `shape`, the landmarks; `glance`, grey levels of the picture within `box` (x, y, side)."""

    shape: Float[np.ndarray, "478 2"]
    glance: Float32[np.ndarray, "64 64"]
    box: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class TrackState:
    """What one frame hands to the next.

    Attributes:
        last: the last trusted performance; None at the start and after a loss.
        usual: each region's usual photometric error; NaN where not yet known.
        covered: names of the regions that were covered in the last picture.
        frames: trusted frames since the start or the last loss.
        thumbnail: the last picture, 32 x 18 grey, for cuts.
        recent: what the face looked like of late.
    """

    last: Performance | None = None
    usual: Float[np.ndarray, " r"] | None = None
    covered: tuple[str, ...] = ()
    frames: int = 0
    thumbnail: Float[np.ndarray, "18 32"] | None = None
    recent: Recent | None = None


@dataclass(frozen=True, slots=True)
class Tracked:
    """One frame's outcome.

    Attributes:
        fit: None when there was nothing to fit. occluded: names of the covered regions.
        calm: how sure it is that the expression did not change, 0 to 1.
    """

    status: TrackStatus
    fit: Fit | None = None
    occluded: tuple[str, ...] = ()
    cut: bool = False
    calm: float = 0.0

    @property
    def confidence(self) -> float:
        """How far the fit is to be trusted: 1 where it meets the landmarks and nothing is covered, 0 where the face is lost."""
        if self.fit is None or self.status == "lost":
            return 0.0
        uncovered = 1 - len(self.occluded) / max(len(self.fit.region_error), 1)
        return uncovered * max(1 - self.fit.landmark_error / LANDMARK_LIMIT, 0.0)


_STABLE = np.array(STABLE)
_EXPRESSIVE = np.array(sorted({*LIPS, *LEFT_EYE, *RIGHT_EYE, *LEFT_BROW, *RIGHT_BROW}))


def thumbnail(rgb: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "18 32"]:
    """The picture as 32 x 18 greys in [0, 1]."""
    # Nearest first: averaging a 4K picture would cost more than the rest of the step.
    rough = cv2.resize(rgb, (128, 72), interpolation=cv2.INTER_NEAREST)
    gray = cv2.cvtColor(cv2.resize(rough, (32, 18), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return gray.astype(np.float32) / 255


def is_cut(last: Float[np.ndarray, "18 32"] | None, now: Float[np.ndarray, "18 32"]) -> bool:
    """Whether the shot changed between two thumbnails; brightness alone does not count."""
    if last is None:
        return False
    return float(np.abs((now - now.mean()) - (last - last.mean())).mean()) > CUT_DIFFERENCE


def track_step(
    state: TrackState, rgb: UInt8[np.ndarray, "h w 3"], landmarks: Landmarks | None, fitter: FrameFitter
) -> tuple[TrackState, Tracked]:
    """Fit one picture of the fitter's person, whose landmarks the detector found, from where `state` left off."""
    small = thumbnail(rgb)
    cut = is_cut(state.thumbnail, small)
    if landmarks is None:
        return TrackState(usual=state.usual, thumbnail=small), Tracked("lost", cut=cut)
    last = None if cut else state.last
    recent, calm = _calm(None if last is None else state.recent, rgb, landmarks)
    levels = face_pyramid(rgb, fitter.person.intrinsics, landmarks.xy[:468], fitter.config.face_px)
    start = fitter.initial(landmarks) if last is None else last
    fit = fitter.fit(
        levels, landmarks, start, last=last, calm=calm, steps=_first_steps(fitter) if last is None else None
    )
    if fit.status == "diverged" or fit.landmark_error > LANDMARK_LIMIT:
        fit = fitter.fit(levels, landmarks, fitter.initial(landmarks), steps=_first_steps(fitter))
        if fit.status == "diverged" or fit.landmark_error > LANDMARK_LIMIT:
            return TrackState(usual=state.usual, thumbnail=small), Tracked("lost", fit, cut=cut)
    usual, covered = _occlusion(state, fit)
    if covered:
        # The performance is not trusted, but the pose is where the next frame starts.
        held = fit.performance if last is None else replace(last, camera_from_model=fit.performance.camera_from_model)
        return TrackState(held, usual, covered, state.frames, small, recent), Tracked("occluded", fit, covered, cut)
    state = TrackState(fit.performance, usual, (), state.frames + 1, small, recent)
    return state, Tracked("tracked", fit, cut=cut, calm=calm)


def _first_steps(fitter: FrameFitter) -> tuple[int, ...]:
    """Where nothing is known, as many steps as at full quality, whatever levels there are."""
    return FIRST_STEPS if len(fitter.config.steps) > 1 else (sum(FIRST_STEPS),)


def _calm(recent: Recent | None, rgb: UInt8[np.ndarray, "h w 3"], landmarks: Landmarks) -> tuple[Recent, float]:
    """What the face looks like now, and how sure it is that its expression is that of late.

    Either the landmarks say so, where the head alone moved, or the picture, where nothing did.
    """
    now = landmarks.xy.astype(np.float64)
    box = _box(rgb, now)
    if recent is not None and max(abs(a - b) for a, b in zip(box, recent.box, strict=True)) < box[2] // 20:
        box = recent.box
    glance = _glance(rgb, box)
    if recent is None:
        return Recent(now, glance, box), 0.0
    to_now = similarity_2d(recent.shape[_STABLE], now[_STABLE])
    shape = recent.shape @ to_now[:, :2].T + to_now[:, 2]
    apart = now[_EXPRESSIVE] - shape[_EXPRESSIVE]
    percent = 100 * np.sqrt((apart**2).sum(axis=1).mean()) / max(landmarks.eye_distance, 1e-6)
    calm = np.exp(-((percent / STILL_PERCENT) ** 2))
    if box == recent.box:
        changed = cv2.blur(np.abs(glance - recent.glance), (8, 8)).max()
        calm = max(calm, np.exp(-((changed / STILL_GREYS) ** 2)))
        glance = recent.glance + np.float32(FOLLOW_RATE) * (glance - recent.glance)
    return Recent(shape + FOLLOW_RATE * (now - shape), glance, box), float(calm)


def _box(rgb: UInt8[np.ndarray, "h w 3"], xy: Float[np.ndarray, "478 2"]) -> tuple[int, int, int]:
    """A square around the face, which may reach out of the picture."""
    low, high = xy[:468].min(axis=0), xy[:468].max(axis=0)
    side = max(int(min((high - low).max(), *rgb.shape[:2])), 1)
    x, y = ((low + high - side) / 2).astype(int)
    return int(x), int(y), side


def _glance(rgb: UInt8[np.ndarray, "h w 3"], box: tuple[int, int, int]) -> Float32[np.ndarray, "64 64"]:
    """What the box shows, as far as the picture reaches; a pixel of its border where the box lies outside."""
    (height, width), (x, y, side) = rgb.shape[:2], box
    x0, y0 = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    x1, y1 = min(max(x + side, x0 + 1), width), min(max(y + side, y0 + 1), height)
    small = cv2.resize(rgb[y0:y1, x0:x1], (GLANCE, GLANCE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32).mean(axis=2)


def _occlusion(state: TrackState, fit: Fit) -> tuple[np.ndarray, tuple[str, ...]]:
    """Updated usual errors and the names of covered regions (`DECISIONS` 11)."""
    names = tuple(fit.region_error)
    error = np.array(list(fit.region_error.values()))
    if state.usual is None:
        return error, ()
    usual = np.where(np.isfinite(state.usual), state.usual, error)
    was = np.array([name in state.covered for name in names])
    ratio, excess = np.where(was, UNCOVERED_RATIO, OCCLUDED_RATIO), np.where(was, UNCOVERED_EXCESS, OCCLUDED_EXCESS)
    covered = (error > ratio * usual) & (error > usual + excess) & (state.frames >= BASELINE_FRAMES)
    rate = max(BASELINE_RATE, 1.0 / (state.frames + 1)) if state.frames < BASELINE_FRAMES else BASELINE_RATE
    seen = np.isfinite(error) & ~covered
    usual = np.where(seen, usual + rate * (error - usual), usual)
    return usual, tuple(name for name, hit in zip(names, covered, strict=True) if hit)
