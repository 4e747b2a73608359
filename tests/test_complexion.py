"""The skin's colour as a function of the expression: learnt from pictures of known colours, and undone where skin moves."""

from __future__ import annotations

import numpy as np
import pytest

from f2fcam.enrolled_complexion import ComplexionBuilder
from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import ambient
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.face.rigid import so3_exp
from f2fcam.face.state import Person
from f2fcam.profile import TrackedFrames, pack_visibility
from f2fcam.render.complexion import LARGEST_LOG_GAIN, Complexion
from f2fcam.render.shade import ENCODED_OFFSET

SIZE = (240, 280)
FPS = 25.0
COUNT = 200
SKIN = np.array([0.55, 0.42, 0.36])
REDDENS = np.array([0.10, -0.06, -0.04])
"""Change of log encoded colour with the jaw wide open."""
FLUSHED = np.array([0.08, 0.0, 0.0])
"""What some frames have beside it."""
FLUSHED_ROWS = [*range(86, 97), *range(124, 135)]
"""With the jaw as often open as shut."""


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="module")
def person() -> Person:
    zeros = np.zeros(80, np.float32)
    return Person(zeros, zeros, Intrinsics.guess(*SIZE), np.zeros(76, np.float32))


@pytest.fixture(scope="module")
def frames(model: FaceModel) -> TrackedFrames:
    """A head that nods a little while its jaw opens and closes, in light that has no direction."""
    time_s = np.arange(COUNT) / FPS
    expressions = np.zeros((COUNT, 76), np.float32)
    expressions[:, model.expression_names.index("jawOpen")] = 0.4 + 0.4 * np.sin(2.1 * time_s)
    expressions[:, model.expression_names.index("browInnerUp")] = 0.3 + 0.3 * np.sin(1.3 * time_s)
    turns = [so3_exp(np.array([0.1 * np.sin(0.9 * t), 0.0, 0.0])) @ np.diag([1.0, -1.0, -1.0]) for t in time_s]
    return TrackedFrames(
        index=np.arange(COUNT, dtype=np.int32),
        time_s=time_s,
        expressions=expressions,
        rotations=np.array(turns, np.float32),
        translations=np.tile(np.float32([0, 0, 600]), (COUNT, 1)),
        lightings=np.tile(ambient(0.8).astype(np.float32), (COUNT, 1, 1)),
        landmarks=np.zeros((COUNT, 478, 2), np.float32),
        boxes=np.zeros((COUNT, 4), np.float32),
        status=np.zeros(COUNT, np.uint8),
        residual=np.zeros(COUNT, np.float32),
        visibility=np.tile(pack_visibility(np.ones((1, 53390), np.uint8)), (COUNT, 1)),
    )


def jaw(model: FaceModel, frames: TrackedFrames, row: int) -> float:
    return float(frames.expressions[row, model.expression_names.index("jawOpen")])


@pytest.fixture(scope="module")
def complexion(model: FaceModel, person: Person, frames: TrackedFrames) -> Complexion:
    """Of a skin that reddens as the jaw opens, everywhere alike, and is flushed for a while."""
    noise = np.random.default_rng(1)
    builder = ComplexionBuilder(model, person, frames, np.ones(COUNT, bool))
    for row in range(COUNT):
        log_gain = jaw(model, frames, row) * REDDENS
        if row in FLUSHED_ROWS:
            log_gain = log_gain + FLUSHED
        colour = 255 * ((SKIN + ENCODED_OFFSET) * np.exp(log_gain) - ENCODED_OFFSET)
        picture = colour + noise.normal(0, 3, (SIZE[1], SIZE[0], 3))
        builder.add(row, np.clip(picture, 0, 255).astype(np.uint8))
    built = builder.build()
    assert built is not None
    return built


def cheeks(model: FaceModel) -> np.ndarray:
    return np.flatnonzero(model.regions["cheek_left"][: len(model.mean)] > 200)


def change(model: FaceModel, complexion: Complexion, frames: TrackedFrames, row: int, new: np.ndarray, moved_mm: float):
    moved = np.full(3 * len(model.mean), moved_mm / np.sqrt(3), np.float32)
    return complexion.log_gain(row, frames.expressions[row], new, moved)[cheeks(model)].mean(axis=0)


def test_colours_follow_the_expression_as_in_the_clip(model: FaceModel, complexion: Complexion, frames: TrackedFrames):
    openest, shut = (int(f(frames.expressions.sum(axis=1))) for f in (np.argmax, np.argmin))
    found = change(model, complexion, frames, shut, frames.expressions[openest], 0.0)
    expected = (jaw(model, frames, openest) - jaw(model, frames, shut)) * REDDENS
    np.testing.assert_allclose(found, expected, atol=0.012)


def test_what_a_frame_has_beside_its_expression_goes_where_the_skin_moves(
    model: FaceModel, complexion: Complexion, frames: TrackedFrames
):
    own = frames.expressions[130]
    np.testing.assert_array_equal(change(model, complexion, frames, 130, own, 0.0), 0)
    usual = FLUSHED * len(FLUSHED_ROWS) / COUNT
    np.testing.assert_allclose(change(model, complexion, frames, 130, own, 20.0), usual - FLUSHED, atol=0.02)
    np.testing.assert_allclose(change(model, complexion, frames, 60, own, 20.0)[0], 0, atol=0.03)


def test_beyond_what_the_clip_shows_colours_stay(model: FaceModel, complexion: Complexion, frames: TrackedFrames):
    wide, wider = frames.expressions[10].copy(), frames.expressions[10].copy()
    wide[model.expression_names.index("jawOpen")] = 0.9
    wider[model.expression_names.index("jawOpen")] = 5.0
    one, other = (change(model, complexion, frames, 10, new, 0.0) for new in (wide, wider))
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.abs(other).max() < LARGEST_LOG_GAIN


def test_arrays_come_back(complexion: Complexion):
    again = Complexion.from_arrays(complexion.to_arrays())
    np.testing.assert_allclose(again.basis, complexion.basis, atol=1e-4)
    with pytest.raises(ValueError, match="fit together"):
        Complexion.from_arrays({**complexion.to_arrays(), "rest": complexion.rest[:, 1:]})


def test_few_frames_tell_nothing(model: FaceModel, person: Person, frames: TrackedFrames):
    usable = np.zeros(COUNT, bool)
    usable[:20] = True
    assert ComplexionBuilder(model, person, frames, usable).build() is None
