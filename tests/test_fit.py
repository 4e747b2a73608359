"""One frame's fit as a whole, on pictures of a synthetic person."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.face.rigid import RigidTransform
from f2fcam.face.state import Performance, Person
from f2fcam.source_person import nobody
from f2fcam.track.fit import FitConfig, FrameFitter, face_pyramid
from f2fcam.track.landmarks import Landmarks
from f2fcam.track.person import Observation, estimate_person
from f2fcam.track.samples import choose_samples
from f2fcam.track.tracker import FIRST_STEPS, TrackState, track_step
from tests.enrolled import QUICK
from tests.synthetic import SIZE, shots


def fitted(rgb: np.ndarray, landmarks: Landmarks, person: Person) -> Performance:
    model, config = load_face_model(), FitConfig(samples=2048)
    fitter = FrameFitter(model, person, choose_samples(model, config.samples), config)
    levels = face_pyramid(rgb, person.intrinsics, landmarks.xy[:468], config.face_px)
    return fitter.fit(levels, landmarks, fitter.initial(landmarks), steps=FIRST_STEPS).performance


def test_doubling_the_resolution_leaves_the_fit():
    """Of a person who was learnt from the small pictures; by the median and by the worst."""
    model = load_face_model()
    pictures = [(shot.rgb, shot.landmarks) for shot in shots(1) if shot.landmarks is not None]
    observations = [Observation.crop(rgb, landmarks, k) for k, (rgb, landmarks) in enumerate(pictures)]
    person = estimate_person(model, observations, Intrinsics.guess(SIZE, SIZE), config=QUICK).person
    seen_larger = replace(person, intrinsics=person.intrinsics.scaled(2.0))
    face = np.unique(model.triangles(0)[model.face_triangles0])
    expression_mm, turn_deg, shift = [], [], []
    for rgb, landmarks in pictures:
        larger = cv2.resize(rgb, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        twice = replace(landmarks, xy=landmarks.xy * 2, z=landmarks.z * 2)
        small, large = fitted(rgb, landmarks, person), fitted(larger, twice, seen_larger)
        moved = (model.expression_basis @ (small.expression - large.expression))[face]
        expression_mm.append(np.sqrt((moved**2).sum(axis=1).mean()))
        one, other = small.camera_from_model, large.camera_from_model
        turn_deg.append(np.degrees(np.linalg.norm(one.rotation - other.rotation) / np.sqrt(2)))
        shift.append(np.linalg.norm(one.translation - other.translation) / one.translation[2])
    assert np.median(expression_mm) < 0.1 and max(expression_mm) < 0.3
    assert np.median(turn_deg) < 0.13 and max(turn_deg) < 0.3
    assert np.median(shift) < 5e-4 and max(shift) < 1.5e-3


@pytest.mark.parametrize("depth", [np.nan, np.inf, 0.0, -400.0, 1e-30])
@pytest.mark.parametrize("broken", ["translation", "lighting", "expression"])
def test_a_start_that_is_no_number_diverges_and_raises_nothing(broken: str, depth: float):
    model, config = load_face_model(), FitConfig(samples=256)
    person = nobody(Intrinsics.guess(SIZE, SIZE))
    shot = next(shot for shot in shots(1) if shot.landmarks is not None)
    fitter = FrameFitter(model, person, choose_samples(model, config.samples), config)
    levels = face_pyramid(shot.rgb, person.intrinsics, shot.landmarks.xy[:468], config.face_px)
    start = fitter.initial(shot.landmarks)
    if broken == "translation":
        translation = np.array([0.0, 0.0, depth])
        start = replace(start, camera_from_model=RigidTransform(start.camera_from_model.rotation, translation))
    else:
        values = getattr(start, broken).copy()
        values.flat[3] = depth
        start = replace(start, **{broken: values})
    fit = fitter.fit(levels, shot.landmarks, start)
    if not np.isfinite(depth):
        assert fit.status == "diverged"
    assert fit.status == "diverged" or np.isfinite(fit.performance.expression).all()


def test_a_broken_start_is_tracked_again_from_the_landmarks():
    model, config = load_face_model(), FitConfig(samples=1024)
    person = nobody(Intrinsics.guess(SIZE, SIZE))
    shot = next(shot for shot in shots(1) if shot.landmarks is not None)
    fitter = FrameFitter(model, person, choose_samples(model, config.samples), config)
    state, first = track_step(TrackState(), shot.rgb, shot.landmarks, fitter)
    assert first.status == "tracked" and state.last is not None
    lost = RigidTransform(state.last.camera_from_model.rotation, np.full(3, np.nan))
    _, again = track_step(
        replace(state, last=replace(state.last, camera_from_model=lost)), shot.rgb, shot.landmarks, fitter
    )
    assert again.status == "tracked" and again.fit is not None
    assert np.isfinite(again.fit.performance.camera_from_model.translation).all()
