"""The energy's derivatives against finite differences, and its solver against dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import sh_basis
from f2fcam.face.rigid import RigidTransform, so3_exp
from f2fcam.frame import srgb_encode
from f2fcam.track import energy
from f2fcam.track.energy import LandmarkTargets, Photometric

COUNT = 40


@pytest.fixture
def scene():
    """Float64 samples of a bumpy patch in front of a smooth random picture."""
    rng = np.random.default_rng(4)
    rows = rng.normal(0, 2.0, (COUNT, 3, 76))
    base = np.column_stack([rng.uniform(-60, 60, (COUNT, 2)), rng.uniform(-10, 10, COUNT)])
    y, x = np.mgrid[0:120, 0:120]
    image = np.stack([0.5 + 0.3 * np.sin(x / 9 + c) * np.cos(y / 11 - c) for c in range(3)], axis=2)
    normals = np.array([0, 0, -1.0]) + rng.normal(0, 0.3, (COUNT, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    lighting = rng.normal(0, 0.15, (9, 3))
    lighting[0] = 3.0
    return {
        "rows": rows, "base": base, "image": image, "normals": normals, "lighting": lighting,
        "albedo": rng.uniform(0.2, 0.6, (COUNT, 3)), "camera": Intrinsics(400.0, 60.0, 60.0, 120, 120),
        "pose": RigidTransform(so3_exp(np.array([0.1, -0.2, 0.05])) @ np.diag([1.0, -1, -1]), np.array([3.0, -2, 600.0])),
        "expression": rng.uniform(0, 0.2, 76),
    }  # fmt: skip


def linearized(scene, vector):
    """Photometric rows at the scene moved by `vector`, normals held fixed."""
    pose = RigidTransform(so3_exp(vector[:3]) @ scene["pose"].rotation, scene["pose"].translation + vector[3:6])
    lighting = scene["lighting"] + vector[82:].reshape(9, 3)
    p, camera, spin = Photometric.empty(COUNT, np.float64), scene["camera"], np.empty((COUNT, 3))
    value = energy.linearize_photometric(
        scene["base"], *exact_rows(scene), scene["expression"] + vector[6:82], pose.rotation, pose.translation,
        scene["normals"], scene["image"], camera.focal, camera.center_x, camera.center_y, scene["albedo"],
        lighting, np.ones(COUNT), np.ones(COUNT, np.bool_), spin, p.residual, p.weight, p.slope, p.gain, p.basis,
    )  # fmt: skip
    return value, p, spin, pose.rotation


def exact_rows(scene):
    """The rows as the kernels take them, not rounded."""
    unit = np.random.default_rng(7).uniform(0.5, 2.0, energy.LANES)
    return np.pad(scene["rows"], ((0, 0), (0, 0), (0, energy.LANES - 76))) / unit, unit


def jacobian_of(scene, p, spin, rotation, weight):
    rows = np.zeros((3 * COUNT, 109))
    energy.photometric_rows(*exact_rows(scene), spin, rotation, weight, p.slope, p.gain, p.basis, 1, 1.0, rows)
    return rows


def test_photometric_rows_match_finite_differences(scene):
    _, p, spin, rotation = linearized(scene, np.zeros(109))
    jacobian = jacobian_of(scene, p, spin, rotation, np.ones(COUNT))
    numeric = np.empty_like(jacobian)
    for k in range(109):
        step = np.zeros(109)
        step[k] = 1e-6
        plus, minus = linearized(scene, step)[1].residual, linearized(scene, -step)[1].residual
        numeric[:, k] = ((plus - minus) / 2e-6).ravel()
    assert np.abs(numeric).max() > 1.0
    np.testing.assert_allclose(jacobian, numeric, atol=2e-4 * np.abs(numeric).max(), rtol=2e-4)


def test_curvature_and_gradient_agree_with_the_formed_rows(scene):
    _, p, spin, rotation = linearized(scene, np.zeros(109))
    jacobian = jacobian_of(scene, p, spin, rotation, p.weight)
    vector, out = np.random.default_rng(0).normal(size=109), np.empty(109)
    rows = exact_rows(scene)
    curvature = energy.photometric_curvature(*rows, spin, rotation, p.weight, p.slope, p.gain, p.basis, vector)
    assert curvature == pytest.approx(((jacobian @ vector) ** 2).sum(), rel=1e-9)
    energy.photometric_gradient(*rows, spin, rotation, p.residual, p.weight, p.slope, p.gain, p.basis, out)
    weighted = (np.sqrt(p.weight)[:, None] * p.residual).ravel()
    np.testing.assert_allclose(out, jacobian.T @ weighted, rtol=1e-9)


def test_packed_rows_are_within_a_thousandth_of_a_millimetre(scene):
    rows, unit = energy.packed_rows(scene["rows"])
    assert rows.dtype == np.int16 and not rows[:, :, 76:].any()
    assert np.abs((rows * unit)[:, :, :76] - scene["rows"]).max() < 1e-3


def test_the_encoding_curve_is_that_of_srgb():
    """In straight pieces below white; a slope is that of a piece."""
    for linear in np.linspace(0.0001, 0.999, 5000):
        assert energy.encode_with_slope(linear)[0] == pytest.approx(float(srgb_encode(np.array(linear))), abs=7e-5)
    for linear in (0.0001, 0.002, 0.01, 0.2, 0.999):
        slope = energy.encode_with_slope(linear)[1]
        nearby = srgb_encode(np.array([linear - 5e-5, linear + 5e-5]))
        assert slope == pytest.approx(np.diff(nearby)[0] / 1e-4, rel=0.05)
    assert energy.encode_with_slope(1.5)[0] == pytest.approx(1.055 * 1.5 ** (1 / 2.4) - 0.055)


def test_energy_is_the_mean_l21_norm(scene):
    value, p, _, _ = linearized(scene, np.zeros(109))
    norms = np.linalg.norm(p.residual, axis=1)
    shares = p.weight * np.maximum(norms, energy.RESIDUAL_FLOOR)
    assert shares.sum() == pytest.approx(1.0)
    assert value == pytest.approx((shares * norms).sum())
    rendered = scene["albedo"] * (sh_basis(scene["normals"]) @ scene["lighting"])
    np.testing.assert_allclose(p.gain * (sh_basis(scene["normals"]) @ scene["lighting"]) > 0, rendered > 0)


def test_landmark_jacobian_matches_finite_differences(scene):
    camera, rows, base = scene["camera"], scene["rows"], scene["base"]
    rng = np.random.default_rng(1)
    targets = LandmarkTargets(rng.uniform(20, 100, (COUNT, 2)), rng.uniform(1, 4, COUNT), rng.uniform(0.2, 1, COUNT))
    fixed = energy.landmark_scale(scene["pose"].apply(base + rows @ scene["expression"]), targets, camera)

    def residual(v):
        pose = RigidTransform(so3_exp(v[:3]) @ scene["pose"].rotation, scene["pose"].translation + v[3:6])
        points = pose.apply(base + rows @ (scene["expression"] + v[6:]))
        return (fixed[:, None] * (camera.project(points) - targets.xy)).ravel()

    pose = scene["pose"]
    points = pose.apply(base + rows @ scene["expression"])
    jacobian = energy.landmark_jacobian(points, pose, rows, fixed, camera)
    numeric = np.column_stack([(residual(e) - residual(-e)) / 2e-6 for e in np.eye(82) * 1e-6])
    np.testing.assert_allclose(jacobian, numeric, rtol=1e-5, atol=1e-6 * np.abs(numeric).max())
    np.testing.assert_allclose(energy.landmark_residuals(points, targets, camera).ravel(), residual(np.zeros(82)))


def test_doubling_the_resolution_leaves_the_landmark_term(scene):
    camera, pose = scene["camera"], scene["pose"]
    points = pose.apply(scene["base"])
    targets = LandmarkTargets(np.full((COUNT, 2), 50.0), np.full(COUNT, 2.0), np.ones(COUNT))
    twice = LandmarkTargets(targets.xy * 2, targets.sigma_mm, targets.confidence)
    np.testing.assert_allclose(
        energy.landmark_residuals(points, targets, camera), energy.landmark_residuals(points, twice, camera.scaled(2.0))
    )
