"""The dense fit on real clips: close to the detector's landmarks, and closer to the pictures than landmarks alone get."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from f2fcam.capture.video import VideoFile
from f2fcam.evaluation.shape import INNER_FACE
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.face.state import Performance, Person
from f2fcam.track.bundle import BundleConfig
from f2fcam.track.fit import FitConfig, FrameFitter
from f2fcam.track.landmarks import Landmarks, MediaPipeDetector
from f2fcam.track.person import Observation, estimate_person
from f2fcam.track.samples import choose_samples
from f2fcam.track.tracker import TrackState, track_step
from tests.conftest import CLIPS
from tests.photometric import held_out_error

FILMS = {"kitchen_talk.mp4": 500, "expressions.mp4": 1000, "webcam_long.mp4": 1300}
"""Name and pictures of which an even share is looked at."""
BETTER = {"kitchen_talk.mp4": 0.85, "expressions.mp4": 0.85, "webcam_long.mp4": 0.9}
"""Share of the error that landmarks alone leave. The webcam's faces are 90 pixels wide, and most of its error is noise."""
CLOSE = {"kitchen_talk.mp4": 1.2, "expressions.mp4": 1.25, "webcam_long.mp4": 1.2}
"""Landmark error in %. The strong expressions measure 1.17, which another machine's arithmetic moves by some hundredths."""
LOOKED_AT = 72


LANDMARKS_ALONE = BundleConfig(color=0.0, landmark=(1.0, 1.0, 1.0))


@lru_cache(maxsize=3)
def clip(name: str) -> tuple[list[np.ndarray], list[Landmarks], tuple[int, int]]:
    """Pictures spread over the clip, their landmarks, and their size."""
    if not (CLIPS / name).exists():
        pytest.skip(f"{name} is not at {CLIPS}")
    detector = MediaPipeDetector(static=True)
    pictures, landmarks = [], []
    with VideoFile(CLIPS / name, max_side=1280) as video:
        for k in np.linspace(0, FILMS[name] - 1, LOOKED_AT).astype(int):
            rgb = video.frame_at(int(k)).rgb.copy()
            found = detector.detect(rgb)
            assert found is not None
            pictures.append(rgb)
            landmarks.append(found)
        size = video.size
    detector.close()
    return pictures, landmarks, size


@lru_cache(maxsize=6)
def person_of(name: str, *, dense: bool) -> Person:
    """Learnt from the even pictures: as the program does it, or from landmarks alone."""
    pictures, landmarks, size = clip(name)
    observations = [Observation.crop(*pair, k) for k, pair in enumerate(zip(pictures, landmarks, strict=True))][::2]
    camera = Intrinsics.guess(*size)
    if dense:
        return estimate_person(load_face_model(), observations, camera).person
    sparse = estimate_person(load_face_model(), observations, camera, config=LANDMARKS_ALONE).person
    return replace(sparse, landmark_offset=None)


@lru_cache(maxsize=6)
def fitted(name: str, *, dense: bool) -> list[Performance]:
    """Every picture by itself, from its landmarks."""
    pictures, landmarks, _ = clip(name)
    config = FitConfig() if dense else FitConfig(color=0.0, landmark=1.0)
    fitter = FrameFitter(
        load_face_model(), person_of(name, dense=dense), choose_samples(load_face_model(), config.samples), config
    )
    performances = []
    for rgb, found in zip(pictures, landmarks, strict=True):
        _, tracked = track_step(TrackState(), rgb, found, fitter)
        assert tracked.fit is not None
        performances.append(tracked.fit.performance)
    return performances


@pytest.mark.parametrize("name", FILMS)
def test_landmark_error_of_the_dense_fit(name: str):
    """Inner face, in % of the outer-eye-corner distance, on pictures that the person was not learnt from."""
    _, landmarks, _ = clip(name)
    model, person = load_face_model(), person_of(name, dense=True)
    fitter = FrameFitter(model, person, choose_samples(model, 64), FitConfig(samples=64))
    known = np.array([k for k in INNER_FACE if model.landmark_valid[k]])
    errors = []
    for found, performance in list(zip(landmarks, fitted(name, dense=True), strict=True))[1::2]:
        misfit = fitter.landmark_misfit(found, performance) @ performance.camera_from_model.rotation.T
        pixels = person.intrinsics.pixels_per_mm(float(performance.camera_from_model.translation[2]))
        errors.append(100 * np.linalg.norm(misfit[known, :2], axis=1).mean() * pixels / found.eye_distance)
    assert np.mean(errors) < CLOSE[name]


@pytest.mark.parametrize("name", FILMS)
def test_the_dense_fit_explains_the_picture_better_than_landmarks_do(name: str):
    """Each with a texture and light of its own, on pictures that neither texture has seen."""
    pictures, _, _ = clip(name)
    model, samples = load_face_model(), choose_samples(load_face_model(), 4096)
    dense, sparse = (
        held_out_error(model, person_of(name, dense=how), samples, pictures, fitted(name, dense=how))
        for how in (True, False)
    )
    assert dense < BETTER[name] * sparse
