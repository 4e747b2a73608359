"""Compile every kernel before the first picture: cold, that takes about half a minute, once."""

from __future__ import annotations

import numpy as np

from f2fcam import kernels
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.face.rigid import RigidTransform, so3_exp
from f2fcam.frame import Frame
from f2fcam.progress import Progress
from f2fcam.render.view import Workspace
from f2fcam.source_person import nobody
from f2fcam.track.actor import ActorState, follow, make_actor
from f2fcam.track.bundle import BundleConfig
from f2fcam.track.fit import FitConfig
from f2fcam.track.landmarks import POINTS, Landmarks, MediaPipeDetector
from f2fcam.track.person import MIN_CANDIDATES, Observation, estimate_person

SIDE = 160
"""Pixels: what is compiled does not depend on it."""
SAMPLES = 128


def warm_up(progress: Progress) -> None:
    """Compile what has signatures by loading it, and the rest by using it on a tiny picture; load the detector once."""
    kernels.compile_all(progress.stage("Compiling"))
    report = progress.stage("Trying out")
    model = load_face_model()
    views = [_seen(model, 0.1 * number) for number in range(max(MIN_CANDIDATES, 2))]
    report(1, 4)
    _track(model, views)
    report(2, 4)
    _learn(model, views)
    report(3, 4)
    MediaPipeDetector().close()
    Workspace(model)  # finds, and keeps, what is drawn of the model
    report(4, 4)


def _seen(model: FaceModel, turn: float) -> tuple[Frame, Landmarks]:
    """A blank picture with the mean face's landmarks in it."""
    points = model.rows(model.landmarks).mean
    pose = RigidTransform(so3_exp(np.array([0.0, turn, 0.0])) @ np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 450.0]))
    xy = Intrinsics.guess(SIDE, SIDE).project(pose.apply(points)).astype(np.float32)
    ramp = np.linspace(90, 160, SIDE, dtype=np.float32).astype(np.uint8)
    rgb = np.ascontiguousarray(np.broadcast_to(ramp[:, None, None], (SIDE, SIDE, 3)))
    return Frame(rgb, 0, 0), Landmarks(xy, np.zeros(POINTS, np.float32), np.ones(POINTS, np.float32))


def _track(model: FaceModel, views: list[tuple[Frame, Landmarks]]) -> None:
    """The way of a source picture: fit and transfer."""
    person = nobody(Intrinsics.guess(SIDE, SIDE))
    actor, state = make_actor(model, person, person, FitConfig(samples=SAMPLES)), ActorState()
    for number, (frame, landmarks) in enumerate(views):
        state, _ = follow(state, Frame(frame.rgb, number, number * 40_000_000), landmarks, actor)


def _learn(model: FaceModel, views: list[tuple[Frame, Landmarks]]) -> None:
    """What learns a person: bundling and the texture."""
    observations = [Observation.crop(frame.rgb, found, number) for number, (frame, found) in enumerate(views)]
    quick = BundleConfig(steps=(1, 1, 1), samples=SAMPLES)
    estimate_person(model, observations, Intrinsics.guess(SIDE, SIDE), config=quick)
