"""Bundling against people of known shape: heads outside the basis, textures outside the albedo basis, gloss, noise."""

from __future__ import annotations

import numpy as np
import pytest

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.face.rigid import so3_log
from f2fcam.synthetic.lights import LIGHTS
from f2fcam.track.bundle import Bundle, BundleConfig
from f2fcam.track.person import Observation, bundle_observations, rough_fits
from f2fcam.track.pose import similarity
from tests.synthetic import Shot, keyframes


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="module")
def shots() -> list[Shot]:
    return keyframes(1, LIGHTS[0])


def bundled(model: FaceModel, shots: list[Shot], config: BundleConfig) -> Bundle:
    seen = [Observation.crop(s.rgb, s.landmarks, i) for i, s in enumerate(shots) if s.landmarks is not None]
    assert len(seen) == len(shots)
    camera = Intrinsics.guess(shots[0].rgb.shape[1], shots[0].rgb.shape[0])
    starts = [candidate.performance for candidate in rough_fits(model, seen, camera)]
    return bundle_observations(model, seen, starts, camera, config)


def shape_error(model: FaceModel, vertices: np.ndarray, truth: np.ndarray) -> float:
    """RMS distance in mm over the inner face after rigid and scale alignment."""
    inner = np.flatnonzero(model.regions["inner_face"] > 127)
    a, b = vertices[inner].astype(np.float64), truth[inner].astype(np.float64)
    scale, rotation, shift = similarity(a, b, np.ones(len(inner)))
    return float(np.sqrt(((scale * a @ rotation.T + shift - b) ** 2).sum(axis=1).mean()))


def mean_error(model: FaceModel, shots: list[Shot], result: Bundle) -> float:
    return float(
        np.mean(
            [
                shape_error(model, model.geometry(result.person.identity, p.expression), s.vertices_camera)
                for s, p in zip(shots, result.performances, strict=True)
            ]
        )
    )


@pytest.fixture(scope="module")
def dense(model: FaceModel, shots: list[Shot]) -> Bundle:
    return bundled(model, shots, BundleConfig(samples=2000))


def test_shape_is_far_nearer_to_the_truth_than_the_mean_face(model, shots, dense):
    nobody = np.zeros(80, np.float32)
    mean = np.mean(
        [shape_error(model, model.geometry(nobody, s.performance.expression), s.vertices_camera) for s in shots]
    )
    assert mean > 3.0
    assert mean_error(model, shots, dense) < 0.6 * mean


def test_the_photometric_term_is_what_finds_the_shape(model, shots, dense):
    sparse = bundled(model, shots, BundleConfig(samples=200, color=0.0, landmark=(1.0, 1.0, 1.0), steps=(8, 2, 2)))
    assert mean_error(model, shots, sparse) > 1.3 * mean_error(model, shots, dense)


def test_rotation_is_right_after_a_constant_offset(shots, dense):
    turns = np.degrees(
        [
            so3_log(p.camera_from_model.rotation @ s.performance.camera_from_model.rotation.T)
            for s, p in zip(shots, dense.performances, strict=True)
        ]
    )
    assert np.linalg.norm(turns - np.median(turns, axis=0), axis=1).mean() < 0.7


def test_energy_falls_at_each_level(dense):
    assert dense.energies[-1] < 0.5 * dense.energies[0]
