"""The pictures of a fit: side by side, and no holes where eyes and mouth are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import ambient
from f2fcam.face.morphable import load_face_model
from f2fcam.face.rigid import RigidTransform, so3_exp
from f2fcam.face.state import Performance, Person
from f2fcam.overlay import fit_picture

CAMERA = Intrinsics(900.0, 150.0, 150.0, 300, 300)
BACKDROP = (0, 200, 0)


@pytest.mark.parametrize(("turn", "jaw", "light"), [(0.0, 0.0, 1.0), (0.35, 0.6, 0.5), (-0.35, 0.2, 1.0)])
def test_eyes_and_mouth_are_no_holes(turn: float, jaw: float, light: float):
    model = load_face_model()
    person = Person(np.zeros(80, np.float32), np.zeros(80, np.float32), CAMERA, np.zeros(76, np.float32))
    expression = np.zeros(76, np.float32)
    expression[model.expression_names.index("jawOpen")] = jaw
    pose = RigidTransform(so3_exp(np.array([0, turn, 0])) @ np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 800.0]))
    acted = Performance(expression, pose, ambient(light))
    picture = fit_picture(model, person, acted, np.full((300, 300, 3), BACKDROP, np.uint8), CAMERA)
    assert picture.shape == (300, 900, 3)
    face = picture[:, 600:].astype(int)
    pixels = CAMERA.project(pose.apply(model.geometry(person.identity, expression)))
    for loop in (model.loops[name] for name in ("lips", "eye_left", "eye_right")):
        inside = np.zeros((300, 300), np.uint8)
        cv2.fillPoly(inside, [np.round(pixels[loop]).astype(np.int32)], 1)
        assert (face[inside > 0, 1] < face[inside > 0, 0] + 25).all(), "the backdrop shows through"
    for name in ("eye_left", "eye_right"):
        x, y = np.floor(pixels[model.loops[name]].mean(axis=0)).astype(int)
        ball = face[y - 3 : y + 4, x - 8 : x + 9].sum(axis=2)
        assert ball.max() > 2.5 * ball.min(), "white, iris and pupil"
