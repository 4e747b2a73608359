"""The ruler's geometry: head pose really removed, errors and noise really measured."""

from __future__ import annotations

import numpy as np
import pytest

from f2fcam.evaluation.shape import INNER_FACE, MOUTH, Template, align, jitter, landmark_error_percent, neutral_frames
from f2fcam.face.rigid import so3_exp
from f2fcam.track import landmarks as lm
from tests.faces import EYES, flat_face, moved, performance


def test_alignment_undoes_a_similarity():
    random = np.random.default_rng(1)
    face = flat_face()
    turned = 1.7 * face @ so3_exp(np.array([0.3, -0.5, 0.2])).T + random.normal(0, 50, 3)
    back = align(turned[None], face[None, list(lm.STABLE)])
    assert np.allclose(back[0], face, atol=1e-9)


def test_alignment_never_mirrors():
    """The best proper rotation, also when a reflection would fit better."""
    face = flat_face()
    mirrored = face * (-1, 1, 1)
    back = align(mirrored[None], face[None, list(lm.STABLE)])[0]
    assert np.linalg.norm(back - face, axis=1).max() > 1.0


def test_error_ignores_pose_and_counts_the_mouth():
    face = flat_face()
    opened = moved(face, lower_lip=0.1 * EYES)
    posed = 0.6 * opened @ so3_exp(np.array([0.1, 0.4, -0.2])).T + (300.0, 200.0, 5.0)
    assert landmark_error_percent(posed[None], opened[None])[0] == pytest.approx(0, abs=1e-9)
    share = len(lm.INNER_LIP_LOWER[1:-1] + lm.OUTER_LIP_LOWER[1:-1]) / len(MOUTH)
    assert landmark_error_percent(face[None], opened[None])[0] == pytest.approx(10 * share, rel=1e-6)
    assert landmark_error_percent(face[None], opened[None], INNER_FACE)[0] < 10 * share / 2


def test_a_frame_without_face_stays_unknown():
    faces = np.stack([flat_face(), np.full((478, 3), np.nan), flat_face()])
    error = landmark_error_percent(faces, np.stack([flat_face()] * 3))
    assert np.isnan(error[1]) and error[0] == pytest.approx(0, abs=1e-9) and error[2] == pytest.approx(0, abs=1e-9)


def test_template_is_upright_and_of_unit_size():
    """Whatever the pose of the clip, x runs to the person's left, y down, and the eye corners lie 1 apart."""
    frames = np.stack([moved(flat_face(), lower_lip=0.02 * EYES * k) for k in range(12)])
    posed = frames @ so3_exp(np.array([0.0, 0.0, 0.5])).T * 2 + (400.0, 300.0, 0.0)
    person = Template.of(posed)
    assert np.linalg.norm(person.mean[lm.LEFT_EYE_OUTER] - person.mean[lm.RIGHT_EYE_OUTER]) == pytest.approx(1)
    assert person.mean[lm.LEFT_EYE_OUTER, 0] > 0 > person.mean[lm.RIGHT_EYE_OUTER, 0]
    assert person.mean[lm.CHIN, 1] > 0.3
    assert np.allclose(person.shapes(posed), Template.of(frames).shapes(frames), atol=1e-6)


def test_neutral_is_the_closed_calm_face():
    """Speech, a blink and a long still smile do not become the neutral."""
    points, speaking = performance(200, seed=3)
    chosen = neutral_frames(points / EYES)
    assert chosen.sum() >= 5
    assert not chosen[speaking].any()


def test_jitter_is_the_noise_put_in():
    random = np.random.default_rng(5)
    slow = np.linspace(0, 0.1, 300)[:, None, None] * np.array([1.0, 0.5, 0.0])
    shapes = flat_face()[None] / EYES + slow + random.normal(0, 0.004, (300, 478, 3))
    assert jitter(shapes, MOUTH) == pytest.approx(0.4, rel=0.05)
    assert jitter(np.repeat(shapes[:1], 20, axis=0), MOUTH) == 0.0
