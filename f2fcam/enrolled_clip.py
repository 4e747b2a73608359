"""The chosen shot of a target's video, tracked: what enrolment fits to every frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.signal import savgol_filter

from f2fcam.capture.video import VideoFile
from f2fcam.enrolled_tracking import track_shot
from f2fcam.errors import InputError
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Performance, Person
from f2fcam.overlap import in_order, with_own
from f2fcam.profile import STATUSES, TrackedFrames, pack_visibility
from f2fcam.progress import Progress
from f2fcam.publish.video import VideoWriter
from f2fcam.render.cpu import VertexVisibility
from f2fcam.track.actor import trusted
from f2fcam.track.neutral import landmark_speeds, relaxed_face, shape_sizes
from f2fcam.track.person import PersonEstimate
from f2fcam.track.scan import Scan, Seen, Shot
from f2fcam.track.tracker import Tracked

LID_SHAPES = ("eyeBlink", "eyeSquint", "eyeWide", "eye-")
SMOOTHING_FRAMES, SMOOTHING_ORDER = 5, 2
"""Savitzky-Golay over the tracked expressions: half of the fit's noise."""
NOISE_DEVIATIONS = 2.5
"""What smoothing takes off beyond so many deviations of what it usually does is motion, and stays: a p shuts lips for one
or two frames."""


@dataclass(frozen=True, slots=True)
class EnrolledClip:
    """The chosen shot, tracked.

    Attributes:
        person: with the neutral face. frames: what was fitted to each frame.
        depth: of the landmarks, as detected, pixels. usable: rows that may be trusted.
        landmark_error: of each fit in embedding deviations; infinite where there is none.
    """

    person: Person
    frames: TrackedFrames
    depth: Float32[np.ndarray, "n 478"]
    usable: Bool[np.ndarray, " n"]
    landmark_error: Float[np.ndarray, " n"]


def track_clip(
    source: VideoFile,
    seen: Scan,
    shot: Shot,
    estimate: PersonEstimate,
    model: FaceModel,
    path: Path,
    progress: Progress,
    threads: int = 1,
) -> EnrolledClip:
    """Track every frame of the shot and store its pictures at `path`, every one a key picture."""
    rows = seen.seen[shot.start : shot.stop]
    report = progress.stage("Tracking the face")
    with VideoWriter(path, seen.size, source.info.rate, intra_only=True) as writer:
        tracked = track_shot(source, rows, shot, estimate, model, writer, threads, report)
    return _assemble(model, estimate.person, rows, tracked, threads)


def _assemble(model: FaceModel, person: Person, rows: list[Seen], tracked: list[Tracked], threads: int) -> EnrolledClip:
    """Arrays over the frames; rows without a fit repeat their neighbour's and are not usable."""
    usable = np.array([trusted(t) for t in tracked])
    if not usable.any():
        raise InputError(
            "The face could not be followed in any frame.", hint="Enrol a sharper, better lit video of one person."
        )
    nearest = _nearest_true(usable)
    fits = [tracked[row].fit for row in nearest]
    performances = [fit.performance for fit in fits if fit is not None]
    landmarks = [rows[row].landmarks for row in nearest]
    times = np.array([row.time_s for row in rows])
    expressions = smoothed(np.stack([p.expression for p in performances]), usable, _slow_shapes(model))
    relaxed = relaxed_face(
        expressions[usable],
        [found for found, good in zip(landmarks, usable, strict=True) if good and found is not None],
        landmark_speeds([row.landmarks for row in rows], times)[usable],
        shape_sizes(model),
    )
    person = relaxed.given_to(person)
    performances = [replace(p, expression=e) for p, e in zip(performances, expressions, strict=True)]
    frames = TrackedFrames(
        index=np.array([row.index for row in rows], np.int32),
        time_s=times,
        expressions=expressions,
        rotations=np.stack([p.camera_from_model.rotation for p in performances]).astype(np.float32),
        translations=np.stack([p.camera_from_model.translation for p in performances]).astype(np.float32),
        lightings=np.stack([p.lighting for p in performances]).astype(np.float32),
        landmarks=np.stack([lm.xy for lm in landmarks]).astype(np.float32),
        boxes=np.array([lm.box for lm in landmarks], np.float32),
        status=np.array([_status(t, ok) for t, ok in zip(tracked, usable, strict=True)], np.uint8),
        residual=np.array([fit.color_error for fit in fits], np.float32),
        visibility=_visibility(model, person, performances, threads),
    )
    error = np.array([t.fit.landmark_error if t.fit is not None else np.inf for t in tracked])
    return EnrolledClip(person, frames, np.stack([lm.z for lm in landmarks]).astype(np.float32), usable, error)


def _status(tracked: Tracked, usable: bool) -> int:
    """A covered chin or shut lids leave a frame usable; a bad fit makes it lost."""
    return STATUSES["tracked" if usable else "occluded" if tracked.status == "occluded" else "lost"]


def _nearest_true(flags: np.ndarray) -> np.ndarray:
    """Per row the nearest row whose flag is set."""
    there = np.flatnonzero(flags)
    rows = np.arange(len(flags))
    after = np.clip(np.searchsorted(there, rows), 0, len(there) - 1)
    before = np.maximum(after - 1, 0)
    closer = np.abs(there[before] - rows) < np.abs(there[after] - rows)
    return np.where(closer, there[before], there[after])


def _slow_shapes(model: FaceModel) -> Bool[np.ndarray, " 76"]:
    """All but the lids': a smoothed blink would begin too early and leave a half-shut eye behind where it is undone."""
    return np.array([not name.startswith(LID_SHAPES) for name in model.expression_names])


def smoothed(
    expressions: Float32[np.ndarray, "n 76"], usable: Bool[np.ndarray, " n"], which: Bool[np.ndarray, " 76"]
) -> Float32[np.ndarray, "n 76"]:
    """Expressions of which the weights `which` are without the fit's noise, within each run of usable rows."""
    out = expressions.astype(np.float32).copy()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], usable, [False]]).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2):
        if stop - start >= SMOOTHING_FRAMES:
            run = savgol_filter(expressions[start:stop], SMOOTHING_FRAMES, SMOOTHING_ORDER, axis=0)
            taken = expressions[start:stop] - run
            noise = NOISE_DEVIATIONS * 1.48 * np.median(np.abs(taken), axis=0)
            run += np.sign(taken) * np.maximum(np.abs(taken) - noise, 0)
            out[start:stop, which] = np.clip(run, 0.0, max(1.2, float(expressions.max())))[:, which]
    return out


def _visibility(
    model: FaceModel, person: Person, performances: list[Performance], threads: int
) -> UInt8[np.ndarray, "n 6674"]:
    """Packed bits of the level-2 vertices that each frame shows (`DECISIONS` 9)."""
    triangles, count = model.triangles(2), len(model.uv)

    def row(performance: Performance, own: tuple[VertexVisibility, np.ndarray, np.ndarray]) -> np.ndarray:
        look, points, visible = own
        points0 = performance.camera_from_model.apply(model.geometry0(person.identity, performance.expression))
        model.subdivide(points0.astype(np.float32), 2, out=points)
        look(points, triangles, person.intrinsics, visible)
        return pack_visibility(visible)

    own = [
        (VertexVisibility(count), np.empty((count, 3), np.float32), np.empty(count, np.uint8)) for _ in range(threads)
    ]
    return np.stack(list(in_order(with_own(row, own), performances, threads, ahead=threads)))
