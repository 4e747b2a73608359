"""Who the actor is: shape, reflectance, camera and neutral face, from a first look at a file (`DECISIONS` 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from f2fcam.errors import InputError
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Person
from f2fcam.track.bundle import BundleConfig
from f2fcam.track.fit import FitConfig, FrameFitter
from f2fcam.track.neutral import RelaxedFace, landmark_speeds, relaxed_face, shape_sizes
from f2fcam.track.person import MIN_CANDIDATES, PersonEstimate, estimate_person, fitted_performance
from f2fcam.track.samples import choose_samples
from f2fcam.track.scan import Scan, Shot

SMALLEST_FACE_PX = 60.0
Progress = Callable[[int, int], None]


def _no_progress(done: int, total: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class SourcePerson:
    """The actor, and what the estimate rests on."""

    person: Person
    estimate: PersonEstimate


def nobody(intrinsics: Intrinsics) -> Person:
    """The mean face, for the first frames of a camera."""
    return Person(np.zeros(80, np.float32), np.zeros(80, np.float32), intrinsics, np.zeros(76, np.float32))


def acting_shot(scan: Scan, name: str) -> Shot:
    """The shot that the actor is learnt from: the longest with a face that is large enough."""
    shot = scan.longest()
    if shot is None or len(shot.observations) < MIN_CANDIDATES:
        raise InputError(
            f"No face was found in {name}.", hint="Give a --source that shows one person's face from the front."
        )
    if scan.face_px(shot) < SMALLEST_FACE_PX:
        raise InputError(
            f"The face in {name} is {scan.face_px(shot):.0f} px wide, at least {SMALLEST_FACE_PX:.0f} are needed.",
            hint="Give a --source that shows the face larger.",
        )
    return shot


def estimate_source(
    model: FaceModel,
    scan: Scan,
    name: str,
    *,
    config: FitConfig | None = None,
    bundling: BundleConfig | None = None,
    progress: Progress = _no_progress,
) -> SourcePerson:
    """Bundle the actor and find their neutral face, from a scan of the file."""
    shot = acting_shot(scan, name)
    estimate = estimate_person(
        model, shot.observations, Intrinsics.guess(*scan.size), config=bundling, progress=progress
    )
    relaxed = observed_relaxed(model, estimate.person, scan, shot, config or FitConfig())
    return SourcePerson(relaxed.given_to(estimate.person), estimate)


def observed_relaxed(model: FaceModel, person: Person, scan: Scan, shot: Shot, config: FitConfig) -> RelaxedFace:
    """The relaxed face from a shot's crops, without another pass over the file."""
    fitter = FrameFitter(model, person, choose_samples(model, config.samples), config)
    rows = {seen.index: row for row, seen in enumerate(scan.seen)}
    landmarks = [seen.landmarks for seen in scan.seen]
    speeds = landmark_speeds(landmarks, np.array([seen.time_s for seen in scan.seen]))
    expressions = [fitted_performance(fitter, seen).expression for seen in shot.observations]
    return relaxed_face(
        np.array(expressions),
        [seen.landmarks for seen in shot.observations],
        np.array([speeds[rows[seen.index]] for seen in shot.observations]),
        shape_sizes(model),
    )
