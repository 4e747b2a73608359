"""Bundling against people of known shape: heads outside the basis, textures outside the albedo basis, gloss, noise.

`pytest tests/test_synthetic_truth.py --log-cli-level=INFO` prints the table of every person under every light.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pytest

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.face.rigid import so3_log
from f2fcam.synthetic.lights import LIGHTS
from f2fcam.track.bundle import Bundle, BundleConfig
from f2fcam.track.person import Observation, bundle_observations, rough_fits
from f2fcam.track.pose import similarity
from tests.synthetic import PEOPLE, Shot, keyframes

LOG = logging.getLogger(__name__)
MOTION_MM = 2.0
MEAN_SHAPE_MM, WORST_SHAPE_MM = 2.05, 2.8
MEAN_SHARE, WORST_SHARE = 0.5, 0.65
MEAN_ROTATION_DEG, WORST_ROTATION_DEG = 0.55, 0.7
SHARE_OF_SHAPES = 0.9
"""What holds today; the aim is 1.5 mm, and every shape at 0.9."""


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


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


def mean_face_error(model: FaceModel, shots: list[Shot]) -> float:
    """What the mean face reaches, given the true expressions."""
    nobody = np.zeros(80, np.float32)
    return float(
        np.mean(
            [shape_error(model, model.geometry(nobody, s.performance.expression), s.vertices_camera) for s in shots]
        )
    )


def rotation_error_deg(shots: list[Shot], result: Bundle) -> float:
    """Mean angle to the true rotations after a constant offset."""
    turns = np.degrees(
        [
            so3_log(p.camera_from_model.rotation @ s.performance.camera_from_model.rotation.T)
            for s, p in zip(shots, result.performances, strict=True)
        ]
    )
    return float(np.linalg.norm(turns - np.median(turns, axis=0), axis=1).mean())


def motion_correlation(model: FaceModel, shots: list[Shot], result: Bundle) -> dict[str, float]:
    """Per shape whose motion exceeds `MOTION_MM`: estimated against true vertex motion in its region over the keyframes.

    A shape's region is where it moves the skin by over 0.3 of its largest motion; gaze is left out.
    """
    true = np.array([s.performance.expression for s in shots])
    found = np.array([p.expression for p in result.performances])
    out = {}
    for k, name in enumerate(model.expression_names):
        size = np.linalg.norm(model.expression_basis[:, :, k], axis=1)
        if name.startswith("eyeLook") or np.ptp(true[:, k]) * size.max() < MOTION_MM:
            continue
        rows = model.expression_basis[size > 0.3 * size.max()].reshape(-1, true.shape[1])
        a, b = ((rows @ (weights - weights.mean(axis=0)).T).ravel() for weights in (true, found))
        out[name] = float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))
    return out


@dataclass(frozen=True, slots=True)
class Measured:
    """How near one bundling came to the truth."""

    shape_mm: float
    share_of_mean_face: float
    rotation_deg: float
    motion: dict[str, float]


@pytest.fixture(scope="module")
def measured(model: FaceModel) -> dict[tuple[int, str], Measured]:
    """Five people under three lights."""
    out = {}
    for person in PEOPLE:
        for light in LIGHTS:
            shots = keyframes(person, light)
            result = bundled(model, shots, BundleConfig())
            error = mean_error(model, shots, result)
            out[person, light.name] = Measured(
                error,
                error / mean_face_error(model, shots),
                rotation_error_deg(shots, result),
                motion_correlation(model, shots, result),
            )
            LOG.info("person %d, %s light: %s", person, light.name, out[person, light.name])
    return out


def test_shape_is_far_nearer_to_the_truth_than_the_mean_face(measured):
    assert np.mean([m.shape_mm for m in measured.values()]) < MEAN_SHAPE_MM
    assert max(m.shape_mm for m in measured.values()) < WORST_SHAPE_MM
    assert np.mean([m.share_of_mean_face for m in measured.values()]) < MEAN_SHARE
    assert max(m.share_of_mean_face for m in measured.values()) < WORST_SHARE


def test_rotation_is_right_after_a_constant_offset(measured):
    assert np.mean([m.rotation_deg for m in measured.values()]) < MEAN_ROTATION_DEG
    assert max(m.rotation_deg for m in measured.values()) < WORST_ROTATION_DEG


def test_expressions_move_the_skin_as_the_true_ones(measured):
    every = [r for m in measured.values() for r in m.motion.values()]
    assert len(every) > 60
    assert np.mean(np.array(every) >= 0.9) > SHARE_OF_SHAPES


def test_the_photometric_term_is_what_finds_the_shape(model):
    shots = keyframes(1, LIGHTS[0])
    dense = bundled(model, shots, BundleConfig())
    sparse = bundled(model, shots, BundleConfig(samples=200, color=0.0, landmark=(1.0, 1.0, 1.0), steps=(8, 2, 2)))
    assert mean_error(model, shots, sparse) > 1.3 * mean_error(model, shots, dense)
    assert dense.energies[-1] < 0.5 * dense.energies[0]
