"""Rigid motion, camera, light and colour tables: group axioms, round trips, derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import ambient, sh_basis, sh_gradient
from f2fcam.face.rigid import RigidTransform, skew, so3_exp, so3_log
from f2fcam.frame import LINEAR_TO_SRGB, SRGB_TO_LINEAR, srgb_decode, srgb_encode

vectors = st.lists(st.floats(-1.8, 1.8), min_size=3, max_size=3).map(np.array)


@given(vectors)
def test_exp_then_log_returns_the_vector(vector):
    rotation = so3_exp(vector)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    length = np.linalg.norm(vector)
    expected = vector if length <= np.pi else vector * (1 - 2 * np.pi / length)
    np.testing.assert_allclose(so3_log(rotation), expected, atol=1e-7)


@given(st.floats(-1e-7, 1e-7), st.floats(-1e-7, 1e-7))
def test_near_identity(a, b):
    vector = np.array([a, b, 1e-9])
    np.testing.assert_allclose(so3_exp(vector) - np.eye(3), skew(vector), atol=1e-13)
    np.testing.assert_allclose(so3_log(so3_exp(vector)), vector, atol=1e-14)


def test_log_at_half_a_turn():
    rotation = np.diag([1.0, -1.0, -1.0])
    np.testing.assert_allclose(np.abs(so3_log(rotation)), [np.pi, 0, 0], atol=1e-9)


@given(vectors, vectors, vectors)
def test_transforms_form_a_group(a, b, shift):
    first, second = RigidTransform(so3_exp(a), shift * 100), RigidTransform(so3_exp(b), shift[::-1] * 50)
    points = np.arange(12.0).reshape(4, 3)
    np.testing.assert_allclose(second.compose(first).apply(points), second.apply(first.apply(points)), atol=1e-9)
    np.testing.assert_allclose(first.inverse().apply(first.apply(points)), points, atol=1e-9)
    nudged = first.nudged(np.zeros(3), np.zeros(3))
    np.testing.assert_allclose(nudged.rotation, first.rotation, atol=1e-12)


@given(vectors, vectors)
def test_a_nudge_is_a_turn_and_mends_what_rounding_took(start, vector):
    rotation = so3_exp(start)
    rounded = RigidTransform(rotation.astype(np.float32), np.zeros(3)).nudged(vector, np.ones(3))
    np.testing.assert_allclose(rounded.rotation, so3_exp(vector) @ rotation, atol=1e-6)
    np.testing.assert_allclose(rounded.rotation @ rounded.rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rounded.translation, np.ones(3))


@given(st.floats(0.25, 4.0))
def test_scaling_the_picture_scales_the_projection(factor):
    camera = Intrinsics(900.0, 320.0, 240.0, 640, 480)
    points = np.array([[10.0, -20, 600], [0, 0, 500], [-80, 70, 900]])
    np.testing.assert_allclose(camera.scaled(factor).project(points), factor * camera.project(points))


def test_frontal_face_is_upright_and_unmirrored():
    camera = Intrinsics.guess(640, 480)
    pose = RigidTransform(np.diag([1.0, -1, -1]), np.array([0.0, 0, 600]))
    left_of_person, above = camera.project(pose.apply(np.array([[30.0, 0, 0], [0, 40, 0]])))
    assert left_of_person[0] > 320 and above[1] < 240


def test_sh_basis_is_orthonormal_on_the_sphere():
    count = 20000
    k = np.arange(count) + 0.5
    z, angle = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - z**2)
    basis = sh_basis(np.column_stack([ring * np.cos(angle), ring * np.sin(angle), z]))
    np.testing.assert_allclose(basis.T @ basis * (4 * np.pi / count), np.eye(9), atol=2e-3)


@given(vectors)
def test_sh_gradient_matches_finite_differences(vector):
    step = 1e-6 * np.eye(3)
    numeric = np.stack([(sh_basis(vector + e) - sh_basis(vector - e)) / 2e-6 for e in step], axis=-1)
    np.testing.assert_allclose(sh_gradient(vector), numeric, atol=1e-6)


def test_ambient_light_renders_the_albedo():
    normals = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_allclose(sh_basis(normals / np.linalg.norm(normals, axis=1)[:, None]) @ ambient(), 1.0, rtol=1e-6)


def test_colour_tables_invert_each_other():
    codes = np.arange(256)
    back = LINEAR_TO_SRGB[np.rint(SRGB_TO_LINEAR * 4095).astype(int)] * 255
    assert np.abs(back - codes)[8:].max() < 1.0
    np.testing.assert_allclose(srgb_encode(srgb_decode(codes / 255.0)), codes / 255.0, atol=1e-9)
