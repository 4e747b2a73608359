"""Expression transfer: identical people exchange expressions unchanged, neutral stays neutral, shut stays shut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.face.state import Person
from f2fcam.transfer import FIT_SHARE, UPPER_BOUND, Transfer, _features, fit_shortfall, prepare_transfer, transfer

CAMERA = Intrinsics.guess(640, 480)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


def a_person(seed: int, neutral: np.ndarray | None = None) -> Person:
    identity = np.random.default_rng(seed).normal(size=80).astype(np.float32) * 0.8
    relaxed = np.zeros(76, np.float32) if neutral is None else neutral.astype(np.float32)
    return Person(identity, np.zeros(80, np.float32), CAMERA, relaxed)


@pytest.fixture(scope="module")
def pair(model: FaceModel) -> Transfer:
    return prepare_transfer(a_person(1), a_person(2), model)


def acting(model: FaceModel, **weights: float) -> np.ndarray:
    """Named weights; a name without its side means both."""
    expression = np.zeros(76, np.float32)
    for name, weight in weights.items():
        for full in (name, f"{name}Left", f"{name}Right"):
            if full in model.expression_names:
                expression[model.expression_names.index(full)] = weight
    return expression


def lip_gaps(pair: Transfer, rest: np.ndarray, expression: np.ndarray, model: FaceModel) -> np.ndarray:
    return (pair.contacts.rows @ expression + rest)[: len(model.lip_contacts0)]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_identical_people_exchange_expressions_unchanged(seed: int, tense: bool) -> None:
    random = np.random.default_rng(seed)
    person = a_person(seed, random.uniform(0, 0.15, 76) if tense else None)
    expression = (random.uniform(0, 1.2, 76) * (random.uniform(size=76) < 0.5)).astype(np.float32)
    pair = prepare_transfer(person, person, load_face_model())
    np.testing.assert_allclose(transfer(pair, expression), expression, atol=1e-3)


def test_neutral_maps_to_neutral(model: FaceModel) -> None:
    relaxed = acting(model, eyeSquint=0.3, browInnerUp=0.2, mouthFrown=0.2)
    pair = prepare_transfer(a_person(3), a_person(4, relaxed), model)
    np.testing.assert_allclose(transfer(pair, np.zeros(76, np.float32)), relaxed, atol=0.08)
    assert np.abs(transfer(pair, np.zeros(76, np.float32)) - relaxed).mean() < 0.01


@pytest.mark.parametrize("jaw", [0.0, 0.3, 0.5])
def test_shut_lips_stay_shut(model: FaceModel, pair: Transfer, jaw: float) -> None:
    expression = acting(model, jawOpen=jaw, mouthClose=jaw, mouthSmile=0.4)
    shown = lip_gaps(pair, pair.contacts.source_rest, expression, model)
    assert np.abs(shown).mean() < 1.5  # the test's own premise
    found = lip_gaps(pair, pair.contacts.target_rest, transfer(pair, expression), model)
    assert (
        np.abs(found - shown).mean() < 0.5
    )  # weights cannot be negative: the last half millimetre is not always there
    np.testing.assert_allclose(found, shown, atol=1.2)


def test_lips_that_touch_exactly_touch_exactly(model: FaceModel, pair: Transfer) -> None:
    lips = slice(0, len(model.lip_contacts0))
    rows, rest = pair.contacts.rows[lips], pair.contacts.source_rest[lips]
    expression = acting(model, jawOpen=0.3, mouthClose=0.3)
    expression -= (np.linalg.pinv(rows) @ (rows @ expression + rest)).astype(np.float32)
    found = lip_gaps(pair, pair.contacts.target_rest, transfer(pair, expression), model)
    assert np.abs(found).mean() < 0.25
    np.testing.assert_allclose(found, 0, atol=0.6)


def test_a_blink_shuts_the_other_eyes_too(model: FaceModel, pair: Transfer) -> None:
    result = transfer(pair, acting(model, eyeBlink=1.0))
    lids = slice(len(model.lip_contacts0), None)
    gaps = (pair.contacts.rows @ result + pair.contacts.target_rest)[lids]
    open_gaps = pair.contacts.target_neutral[lids]
    assert gaps.mean() < 0.15 * open_gaps.mean()


@pytest.mark.parametrize("name", ["jawOpen", "mouthSmile", "browInnerUp", "mouthPucker", "eyeBlink"])
def test_an_expression_keeps_its_name_and_side(model: FaceModel, pair: Transfer, name: str) -> None:
    expression = acting(model, **{name: 0.7})
    found = transfer(pair, expression)
    active = expression > 0
    np.testing.assert_allclose(found[active], 0.7, atol=0.15)
    assert found[~active].max() < 0.25


def test_the_result_is_bounded_and_continuous(model: FaceModel, pair: Transfer) -> None:
    random = np.random.default_rng(7)
    for _ in range(10):
        expression = (random.uniform(0, 1.2, 76) * (random.uniform(size=76) < 0.3)).astype(np.float32)
        found = transfer(pair, expression)
        assert found.min() >= 0
        assert found.max() <= UPPER_BOUND + 1e-5
        nudged = transfer(pair, expression + np.float32(1e-3))
        assert np.abs(nudged - found).max() < 0.03


def test_transfer_does_better_than_copying_the_weights(model: FaceModel, pair: Transfer) -> None:
    """Deformation transfer's own measure: how near the target's edges come to the source's deformation gradients."""
    source, target = a_person(1), a_person(2)
    expression = acting(model, jawOpen=0.7, mouthStretch=0.5, browOuterUp=0.6)
    corners = model.triangles(0)[model.face_triangles0]

    def frames(person: Person, weights: np.ndarray) -> np.ndarray:
        points = model.geometry0(person.identity, weights).astype(np.float64)[corners]
        first, second = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
        normal = np.cross(first, second)
        normal /= np.sqrt(np.linalg.norm(normal, axis=1, keepdims=True))
        return np.stack([first, second, normal], axis=2)

    gradient = frames(source, expression) @ np.linalg.inv(frames(source, source.neutral))
    wanted = (gradient @ frames(target, target.neutral))[:, :, :2]
    misses = [
        (pair.weights[:, None, None] * (frames(target, weights)[:, :, :2] - wanted) ** 2).sum()
        for weights in (transfer(pair, expression), expression)
    ]
    assert misses[0] < misses[1]


@pytest.mark.parametrize(
    ("shape", "row"), [("browInnerUp", "brow"), ("mouthSmileLeft", "corner"), ("mouthPucker", "width")]
)
def test_what_is_read_in_a_face_moves_as_far_as_the_source_does(
    model: FaceModel, pair: Transfer, shape: str, row: str
) -> None:
    """In units of the eyes' distance, although the target's brows sit lower or its mouth is wider."""
    expression = pair.source_neutral.copy()
    expression[model.expression_names.index(shape)] += 0.7
    moved = pair.features @ (expression - pair.source_neutral)
    shown = pair.features @ (transfer(pair, expression) - pair.target_neutral)
    rows = {"brow": slice(0, 6), "corner": slice(6, 8), "width": slice(8, 9)}[row]
    assert shown[rows] == pytest.approx(pair.feature_scale * moved[rows], abs=0.5)


def test_what_fits_leave_out_is_added_to_the_way_only(model: FaceModel) -> None:
    """Brows and corners of the mouth go as far as the detector saw them go; who does the same stays the same."""
    random = np.random.default_rng(1)
    shortfall = fit_shortfall(model)
    change = random.uniform(0, 0.5, 76).astype(np.float32)
    features = _features(model.rows(model.landmarks))
    np.testing.assert_allclose(
        features @ (change + shortfall @ change), features @ change / FIT_SHARE, rtol=1e-3, atol=1e-3
    )
    still = change - np.linalg.pinv(features) @ (features @ change)
    assert np.abs(shortfall @ still).max() < 1e-4
    face = np.unique(model.triangles(0)[model.face_triangles0])
    moved = [np.linalg.norm(model.expression_basis[face] @ way, axis=1).max() for way in (shortfall @ change, change)]
    assert moved[0] < 0.5 * moved[1]


def test_a_face_is_kept_softly_within_its_reach(model: FaceModel) -> None:
    """Inside nothing changes, outside motion goes on ever more slowly; lips that were seen narrower may get so."""
    source, target = a_person(1), a_person(2)
    calm = np.zeros((5, 76), np.float32)
    narrow = np.concatenate([calm, acting(model, mouthPucker=1.2, mouthFunnel=1.2)[None]])
    free, timid, able = (prepare_transfer(source, target, model, seen) for seen in (None, calm, narrow))
    width = free.features[-1]

    def widths(pair: Transfer) -> np.ndarray:
        return np.array(
            [width @ transfer(pair, acting(model, mouthPucker=w, mouthFunnel=w)) for w in (0.1, 0.5, 0.8, 1.0, 1.2)]
        )

    np.testing.assert_allclose(widths(timid)[0], widths(free)[0], atol=0.05)
    assert np.all(np.diff(widths(timid)) < 0)
    assert widths(able)[-1] < widths(timid)[-1] - 0.5
    assert widths(timid)[-1] > widths(free)[-1] + 1.0
