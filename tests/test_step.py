"""The compiled parts of a Gauss-Newton step: the same as what they stand for in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from f2fcam.face.camera import Intrinsics
from f2fcam.face.rigid import RigidTransform, so3_exp
from f2fcam.track import energy, step
from f2fcam.track.energy import LandmarkTargets

COUNT = 40
CAMERA = Intrinsics(600.0, 150.0, 130.0, 300, 260)
POSE = RigidTransform(so3_exp(np.array([0.2, -0.3, 0.1])) @ np.diag([1.0, -1.0, -1.0]), np.array([3.0, -8.0, 520.0]))


@pytest.fixture(name="face")
def made_face() -> tuple[np.ndarray, np.ndarray, np.ndarray, LandmarkTargets]:
    """Landmarks at rest, their rows, an expression, and where they were seen."""
    rng = np.random.default_rng(3)
    neutral, rows = rng.normal(0, 40, (COUNT, 3)), rng.normal(0, 3, (COUNT, 3, 76)).astype(np.float32)
    expression = rng.uniform(0, 1, 76).astype(np.float32)
    seen = CAMERA.project(POSE.apply(neutral + rows @ expression)) + rng.normal(0, 2, (COUNT, 2))
    return neutral, rows, expression, LandmarkTargets(seen, rng.uniform(1, 4, COUNT), rng.uniform(0, 1, COUNT))


def test_landmark_rows_and_gradient_are_those_of_the_energy(face):
    neutral, rows, expression, targets = face
    weight, gradient = 2.0, np.full(109, 0.5)
    jacobian = np.zeros((2 * COUNT, 109), np.float32)
    step.add_landmarks(
        neutral, rows, expression, POSE.rotation, POSE.translation, targets.xy, targets.sigma_mm, targets.confidence, weight,
        CAMERA.focal, CAMERA.center_x, CAMERA.center_y,
        np.empty((COUNT, 3)), np.empty(COUNT), np.empty(2 * COUNT), jacobian, gradient,
    )  # fmt: skip
    points = POSE.apply(neutral + rows @ expression)
    scale = np.sqrt(weight) * energy.landmark_scale(points, targets, CAMERA)
    wanted = energy.landmark_jacobian(points, POSE, rows, scale, CAMERA)
    residual = (np.sqrt(weight) * energy.landmark_residuals(points, targets, CAMERA)).ravel()
    np.testing.assert_allclose(jacobian[:, :82], wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    assert not jacobian[:, 82:].any()
    slope = residual @ wanted
    np.testing.assert_allclose(gradient[:82] - 0.5, slope, rtol=1e-3, atol=1e-4 * np.abs(slope).max())
    assert (gradient[82:] == 0.5).all()
    error = step.landmark_error(
        neutral, rows, expression, POSE.rotation, POSE.translation, targets.xy, targets.sigma_mm, targets.confidence,
        CAMERA.focal, CAMERA.center_x, CAMERA.center_y,
    )  # fmt: skip
    assert error == pytest.approx(np.sqrt((residual**2).sum() / weight), rel=1e-5)


def test_priors_pull_to_the_neutral_and_to_the_last_frame():
    rng = np.random.default_rng(4)
    expression, last, neutral = (rng.uniform(0, 1, 76).astype(np.float32) for _ in range(3))
    lighting, last_lighting = (rng.normal(size=(9, 3)).astype(np.float32) for _ in range(2))
    precision, diagonal, gradient = rng.uniform(1, 9, 76), np.empty(109), np.empty(109)
    step.prior_terms(
        expression, lighting, last, last_lighting, neutral, precision, 0.3, 0.7, 0.2, diagonal, gradient
    )  # fmt: skip
    np.testing.assert_allclose(diagonal[6:82], 1e-6 + precision)
    np.testing.assert_allclose(
        gradient[6:82], precision * (0.3 * (expression - neutral) + 0.7 * (expression - last)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(gradient[82:], 0.2 * (lighting - last_lighting).ravel(), rtol=1e-5, atol=1e-6)
    assert not gradient[:6].any()


def test_curvature_and_the_move_along_a_step():
    rng = np.random.default_rng(5)
    diagonal, jacobian, way = (
        rng.uniform(1, 2, 109),
        rng.normal(size=(60, 109)).astype(np.float32),
        rng.normal(size=109),
    )
    wanted = (diagonal * way**2).sum() + ((jacobian[:, :82] @ way[:82]) ** 2).sum()
    assert step.known_curvature(diagonal, jacobian, way) == pytest.approx(wanted, rel=1e-5)
    expression, lighting = rng.uniform(0, 1, 76).astype(np.float32), rng.normal(size=(9, 3)).astype(np.float32)
    moved = np.empty(76, np.float32), np.empty((3, 3)), np.empty(3), np.empty((9, 3), np.float32)
    step.move_along(expression, POSE.rotation, POSE.translation, lighting, way, 0.5, 1.2, *moved)
    there = POSE.nudged(0.5 * way[:3], 0.5 * way[3:6])
    np.testing.assert_allclose(moved[0], np.clip(expression + 0.5 * way[6:82], 0, 1.2), atol=1e-6)
    np.testing.assert_allclose(moved[1], there.rotation, atol=1e-12)
    np.testing.assert_allclose(moved[2], there.translation, atol=1e-12)
    np.testing.assert_allclose(moved[3], lighting + 0.5 * way[82:].reshape(9, 3), atol=1e-5)


def test_errors_of_the_whole_and_of_regions():
    rng = np.random.default_rng(6)
    residual, weight = rng.normal(size=(50, 3)).astype(np.float32), np.ones(50, np.float32)
    weight[::5] = 0
    regions, found = np.zeros((2, 50), bool), np.empty(3)
    regions[0, :30], regions[1, :9] = True, True
    step.mean_norms(residual, weight, regions, 2.0, found)
    norms, seen = 2 * np.linalg.norm(residual, axis=1), weight > 0
    assert found[0] == pytest.approx(norms[seen].mean(), rel=1e-5)
    assert found[1] == pytest.approx(norms[seen & regions[0]].mean(), rel=1e-5)
    assert np.isnan(found[2])  # of too few
    step.mean_norms(residual, np.zeros(50, np.float32), regions, 2.0, found)
    assert np.isinf(found[0])


def test_a_matrix_is_mirrored():
    rng = np.random.default_rng(7)
    half, diagonal, out = rng.normal(size=(6, 6)).astype(np.float32), rng.normal(size=6), np.empty((6, 6))
    step.mirrored(half, diagonal, out)
    upper = np.triu(half.astype(np.float64))
    np.testing.assert_allclose(out, upper + np.triu(upper, 1).T + np.diag(diagonal))
