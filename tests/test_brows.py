"""The rest shape's brows are where the detector keeps seeing them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.render.brows import brow_shift
from f2fcam.source_person import nobody
from f2fcam.track.landmarks import LEFT_BROW, LEFT_EYE, LIPS, POINTS, RIGHT_BROW


def test_one_low_brow_moves_that_brow_alone():
    model, person = load_face_model(), nobody(Intrinsics.guess(640, 480))
    assert not brow_shift(model, person).any()
    offset = np.zeros((POINTS, 3), np.float32)
    offset[list(LEFT_BROW), 1] = -3.0
    shift = brow_shift(model, replace(person, landmark_offset=offset))
    points = model.rows(model.landmarks).mean

    def at(numbers: tuple[int, ...]) -> np.ndarray:
        nearest = [int(((model.mean - points[number]) ** 2).sum(axis=1).argmin()) for number in numbers]
        return shift[nearest]

    assert np.allclose(at(LEFT_BROW)[:, 1], -3.0, atol=0.6)
    for still in (RIGHT_BROW, LEFT_EYE, LIPS):
        assert np.abs(at(still)).max() < 0.3
    assert np.abs(shift[:, [0, 2]]).max() < 1e-6
