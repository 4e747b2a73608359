"""A still actor gives a still output, whatever the camera's noise does to the detector; a moving one is not slowed."""

from __future__ import annotations

import numpy as np
import pytest

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.frame import Frame
from f2fcam.source_person import nobody
from f2fcam.track.actor import ActorState, ActorWorkspace, act, make_actor
from f2fcam.track.landmarks import MediaPipeDetector
from f2fcam.track.pose import similarity_2d
from tests import enrolled
from tests.synthetic import clip

FRAMES, SETTLED = 40, 15


@pytest.fixture(scope="module")
def shown() -> tuple[np.ndarray, list[float]]:
    """Landmarks (pixels at 720p) of a frozen target frame while a still actor is filmed with noise; how calm each frame was."""
    model, profile, size = load_face_model(), enrolled.profile(), 480
    scene = clip(3, size, 1.5)
    performance = scene.performance(2.0)
    detector = MediaPipeDetector()
    actor = make_actor(model, nobody(Intrinsics.guess(size, size)), profile.person)
    workspace, state = ActorWorkspace(detector, actor), ActorState()
    target = profile.frames.performance(len(profile.frames) // 2).camera_from_model
    rows = model.rows(model.landmarks)
    to_720p = 720 / profile.manifest.size[1]
    pixels, calm = [], []
    for k in range(FRAMES):
        picture = scene.picture(performance, noise_seed=k)
        state, acted, _ = act(state, Frame(picture, k, round(k * 1e9 / 30)), workspace)
        assert acted.expression is not None
        points = target.apply(rows.positions(profile.person.identity, acted.expression)[model.landmark_valid])
        pixels.append(profile.person.intrinsics.project(points) * to_720p)
        calm.append(acted.tracked.calm)
    detector.close()
    return np.array(pixels)[SETTLED:], calm[SETTLED:]


def test_a_still_actor_gives_a_still_output(shown):
    pixels, calm = shown
    apart = pixels - pixels.mean(axis=0)
    assert np.sqrt((apart**2).sum(axis=2).mean()) < 0.15
    assert np.median(calm) > 0.8


def test_a_moving_actor_is_not_called_still():
    model, detector = load_face_model(), MediaPipeDetector()
    scene = enrolled.frames(enrolled.ACTOR)
    actor = make_actor(model, nobody(Intrinsics.guess(enrolled.SIZE, enrolled.SIZE)), enrolled.profile().person)
    workspace, state, calm = ActorWorkspace(detector, actor), ActorState(), []
    for frame in scene:
        state, acted, _ = act(state, frame, workspace)
        calm.append(acted.tracked.calm)
    detector.close()
    assert np.median(calm) < 0.2


def test_similarity_of_the_plane():
    random = np.random.default_rng(0)
    points = random.normal(size=(9, 2))
    turn = 1.3 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    found = similarity_2d(points, points @ turn.T + (3, -2))
    assert np.allclose(found, np.column_stack([turn, [3, -2]]))
