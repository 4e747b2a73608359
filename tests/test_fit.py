"""One frame's fit as a whole, on pictures of a synthetic person."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.face.state import Performance, Person
from f2fcam.track.fit import FitConfig, FrameFitter, face_pyramid
from f2fcam.track.landmarks import Landmarks
from f2fcam.track.person import Observation, estimate_person
from f2fcam.track.samples import choose_samples
from f2fcam.track.tracker import FIRST_STEPS
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
