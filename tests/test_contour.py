"""The lips' rim is found where the picture shows it, not where the fit says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import ambient
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.face.rigid import RigidTransform
from f2fcam.face.state import Performance, Person
from f2fcam.mouth.aperture import PersonAperture, Placed, apertures
from f2fcam.mouth.contour import inside_evidence, rim_shifts, straighten
from f2fcam.mouth.database import tear

SIZE = (480, 480)
LIP, DARK, TEETH = (176, 96, 92), (30, 12, 12), (214, 204, 188)
PX_PER_MM = 2.0


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="module")
def mouth(model: FaceModel) -> PersonAperture:
    camera = Intrinsics(1200.0, SIZE[0] / 2, SIZE[1] / 2, *SIZE)
    person = Person(np.zeros(80, np.float32), np.zeros(80, np.float32), camera, np.zeros(76, np.float32))
    return PersonAperture(model, person, apertures(model)["mouth"])


def placed(model: FaceModel, mouth: PersonAperture, jaw: float, shifts: np.ndarray | None = None) -> Placed:
    expression = np.zeros(76, np.float32)
    expression[model.expression_names.index("jawOpen")] = jaw
    pose = RigidTransform(np.diag([1.0, -1.0, -1.0]), np.array([0.0, -35.0, 600.0]))
    misfit = np.zeros((len(mouth.aperture.landmarks) + 2 * mouth.aperture.controls, 2), np.float32)
    if shifts is not None:
        misfit[-2 * mouth.aperture.controls :] = shifts
    return mouth.place(Performance(expression, pose, ambient(0.8)), misfit)


def painted(surface: Placed, mouth: PersonAperture, noise: int) -> np.ndarray:
    """Lips around a dark opening with upper teeth, whose outline is the surface's; grainy, blurred as a camera does."""
    upper, lower = edges(surface, mouth)
    image = np.full((SIZE[1], SIZE[0], 3), LIP, np.uint8)
    cv2.fillPoly(image, [np.round(np.concatenate([upper, lower[::-1]])).astype(np.int32)], DARK)
    bottom = np.minimum(upper + np.array([0, 3 * PX_PER_MM]), np.maximum(lower, upper))
    cv2.fillPoly(image, [np.round(np.concatenate([upper, bottom[::-1]])).astype(np.int32)], TEETH)
    grain = np.random.default_rng(noise).normal(0, 5, image.shape)
    return cv2.GaussianBlur((image + grain).clip(0, 255).astype(np.uint8), (0, 0), 0.7)


def edges(surface: Placed, mouth: PersonAperture) -> list[np.ndarray]:
    """The lips' outlines as polylines over even columns."""
    right, left = surface.pixels[mouth.aperture.upper[[0, -1]], 0]
    across = np.linspace(right + 2, left - 2, 60)
    out = []
    for lip, reach in ((mouth.aperture.upper_lip, np.maximum), (mouth.aperture.lower_lip, np.minimum)):
        column = np.digitize(surface.pixels[lip, 0], across) - 1
        line = np.full(60, -np.inf if reach is np.maximum else np.inf)
        known = (column >= 0) & (column < 60)
        reach.at(line, column[known], surface.pixels[lip[known], 1])
        good = np.isfinite(line)
        out.append(np.column_stack([across, np.interp(across, across[good], line[good])]))
    crossed = np.maximum(out[0][:, 1] - out[1][:, 1], 0) / 2
    out[0][:, 1] -= crossed
    out[1][:, 1] += crossed
    return out


@pytest.mark.parametrize(("up_mm", "down_mm"), [(0.0, 0.0), (1.5, 0.0), (-1.5, 1.0), (1.0, -1.5)])
def test_lips_are_found_where_the_picture_shows_them(
    model: FaceModel, mouth: PersonAperture, up_mm: float, down_mm: float
) -> None:
    """The true lips are off the fitted ones by millimetres; after the correction it is within pixels."""
    k = mouth.aperture.controls
    taper = np.interp(np.arange(k), [0, 3, k - 4, k - 1], [0, 1, 1, 0])
    true_shift = np.zeros((2, k, 2), np.float32)
    true_shift[0, :, 1], true_shift[1, :, 1] = -up_mm * PX_PER_MM * taper, down_mm * PX_PER_MM * taper
    clip = []
    for n, jaw in enumerate((0.15, 0.25, 0.35, 0.45)):
        fitted = placed(model, mouth, jaw)
        truth = placed(model, mouth, jaw, true_shift.reshape(-1, 2))
        straight = straighten(painted(truth, mouth, n), (0, 0), fitted, mouth.aperture, PX_PER_MM)
        assert straight is not None
        clip.append((jaw, truth, straight))
    evidence = inside_evidence([straight for _, _, straight in clip])
    for jaw, truth, straight in clip:
        found = placed(model, mouth, jaw, rim_shifts(straight, evidence, k))
        middle = slice(12, 48)
        for wanted, got, before in zip(
            edges(truth, mouth), edges(found, mouth), edges(placed(model, mouth, jaw), mouth), strict=True
        ):
            error, was = (np.abs(edge - wanted)[middle, 1].mean() / PX_PER_MM for edge in (got, before))
            assert error < 0.8
            assert error < 0.6 * was or was < 0.8


def test_a_mouth_that_leaves_the_picture_is_passed_over(model: FaceModel, mouth: PersonAperture) -> None:
    surface = placed(model, mouth, 0.4)
    picture = painted(surface, mouth, 0)
    x, y = surface.pixels[mouth.aperture.upper].min(axis=0).astype(int) + 4
    assert straighten(picture[y:, x:], (int(x), int(y)), surface, mouth.aperture, PX_PER_MM) is None


def test_a_shift_of_one_lip_leaves_the_other(model: FaceModel, mouth: PersonAperture) -> None:
    k = mouth.aperture.controls
    shifts = np.zeros((2, k, 2), np.float32)
    shifts[0, :, 1] = -3.0
    moved = placed(model, mouth, 0.0, shifts.reshape(-1, 2)).pixels - placed(model, mouth, 0.0).pixels
    middle = mouth.aperture.upper[len(mouth.aperture.upper) // 2]
    assert moved[middle, 1] == pytest.approx(-3.0, abs=0.4)
    third = len(mouth.aperture.lower) // 3
    assert np.abs(moved[mouth.aperture.lower[third:-third]]).max() < 0.05
    assert np.abs(moved[mouth.aperture.alpha < 0.5]).max() < 0.3


def test_tearing_costs_more_the_more_a_mouth_is_stretched() -> None:
    heights = np.array([[0.0] * 7, [5.0] * 7, [10.0] * 7, [20.0] * 7], np.float32)
    cost = [tear(each, each, np.full(7, 12.0, np.float32)) for each in heights]
    assert cost[0] > cost[1] > cost[2] > 0
    low, high = np.full(7, 12.0, np.float32), heights[3]
    assert 0 < cost[3] < 0.3 * tear(low, low, high)  # to close it costs less than to open it as far
    assert tear(high, high, high) == 0
