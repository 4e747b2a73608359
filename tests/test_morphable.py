"""The face model: sizes, ranks, loops, symmetry, closed lips and lids, and what it leaves of people it never saw."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from f2fcam.errors import ModelError
from f2fcam.face.mesh import boundary_loops, vertex_normals
from f2fcam.face.morphable import FaceModel, RigidFit, SurfacePoints, load_face_model, read_face_model
from f2fcam.face.parts import PART_NAMES, load_parts, load_people
from f2fcam.track.landmarks import (
    INNER_LIP_LOWER,
    INNER_LIP_UPPER,
    LEFT_EYE_OUTER,
    LEFT_LID_LOWER,
    LEFT_LID_UPPER,
    RIGHT_EYE_OUTER,
)

MIRROR = np.float32([-1, 1, 1])


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


def expression(model: FaceModel, **weights: float) -> np.ndarray:
    """Weights by name; `eyeBlink=1` sets left and right."""
    vector = np.zeros(76, np.float32)
    for name, value in weights.items():
        found = [i for i, n in enumerate(model.expression_names) if n in (name, f"{name}Left", f"{name}Right")]
        assert found, name
        vector[found] = value
    return vector


def neutral(model: FaceModel, level: int = 2) -> np.ndarray:
    return model.geometry(np.zeros(80), np.zeros(76), level)


def test_sizes(model: FaceModel) -> None:
    assert [model.subdivision(k).shape[0] for k in range(3)] == [3386, 13414, 53390]
    assert [len(model.triangles(k)) for k in range(3)] == [6640, 26560, 106240]
    assert model.identity_basis.shape == (3386, 3, 80)
    assert model.expression_basis.shape == (3386, 3, 76)
    assert len(set(model.expression_names)) == 76
    assert model.uv.shape == (53390, 2) and model.textured.shape == (106240,)
    assert len(model.hash) == 64


@pytest.mark.parametrize(("level", "sizes"), [(0, (38, 42, 28, 28)), (1, (76, 84, 56, 56)), (2, (152, 168, 112, 112))])
def test_exactly_the_four_apertures_are_open(model: FaceModel, level: int, sizes: tuple[int, ...]) -> None:
    assert sorted(len(loop) for loop in boundary_loops(model.levels[level].quads)) == sorted(sizes)


def test_named_loops_lie_where_their_names_say(model: FaceModel) -> None:
    points = neutral(model)
    center = {name: points[loop].mean(0) for name, loop in model.loops.items()}
    assert {name: len(loop) for name, loop in model.loops.items()} == {
        "lips": 152,
        "neck": 168,
        "eye_left": 112,
        "eye_right": 112,
    }
    assert center["eye_left"][0] > 20 > -20 > center["eye_right"][0]
    assert center["neck"][1] < center["lips"][1] < center["eye_left"][1]


def test_subdivision_is_a_partition_of_unity_with_positive_weights(model: FaceModel) -> None:
    operator = model.subdivision(2)
    np.testing.assert_allclose(np.asarray(operator.sum(1)).ravel(), 1, atol=1e-5)
    assert operator.data.min() > 0
    np.testing.assert_allclose(model.subdivide(model.mean), operator @ model.mean, atol=1e-3)


def test_bases_have_full_rank_and_sensible_sizes(model: FaceModel) -> None:
    identity = model.identity_basis.reshape(-1, 80)
    moving = model.expression_basis.reshape(-1, 76)
    assert np.linalg.matrix_rank(identity) == 80
    assert np.linalg.matrix_rank(moving, tol=0.3) == 76
    assert np.linalg.matrix_rank(np.column_stack([identity, moving]), tol=0.05) == 156
    assert np.abs(identity).max(0).min() > 0.3 and np.abs(identity).max() < 20
    assert np.abs(moving).max(0).min() > 0.9 and np.abs(moving).max() < 45


def test_the_mean_is_mirror_symmetric_and_the_mirror_is_an_involution(model: FaceModel) -> None:
    np.testing.assert_array_equal(model.mirror0[model.mirror0], np.arange(3386))
    np.testing.assert_allclose(model.mean[model.mirror0] * MIRROR, model.mean, atol=0.02)


def test_left_and_right_expressions_mirror_each_other(model: FaceModel) -> None:
    for i, name in enumerate(model.expression_names):
        if not name.endswith("Left"):
            continue
        j = model.expression_names.index(name.replace("Left", "Right"))
        left, right = model.expression_basis[..., i], model.expression_basis[..., j]
        np.testing.assert_allclose(left[model.mirror0] * MIRROR, right, atol=0.05, err_msg=name)


def test_identity_components_are_even_or_odd(model: FaceModel) -> None:
    mirrored = model.identity_basis[model.mirror0] * MIRROR[:, None]
    scale = np.linalg.norm(model.identity_basis, axis=(0, 1))
    even = np.linalg.norm(mirrored - model.identity_basis, axis=(0, 1)) / scale
    odd = np.linalg.norm(mirrored + model.identity_basis, axis=(0, 1)) / scale
    assert np.minimum(even, odd)[:45].max() < 0.05


def test_surface_points_outwards(model: FaceModel) -> None:
    points = neutral(model)
    normals = np.empty_like(points)
    vertex_normals(points, model.triangles(2), normals)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    nose = int(np.argmax(points[:, 2]))
    crown = int(np.argmax(points[:, 1]))
    assert normals[nose, 2] > 0.9 and normals[crown, 1] > 0.9


def test_origin_and_scale_are_a_head_in_millimetres(model: FaceModel) -> None:
    marks = model.rows(model.landmarks).mean
    assert 75 < marks[LEFT_EYE_OUTER, 0] - marks[RIGHT_EYE_OUTER, 0] < 100
    assert np.linalg.norm(marks[:468].mean(0)) < 25


def test_lips_are_shut_at_rest_and_part_with_the_jaw(model: FaceModel) -> None:
    pairs = model.lip_contacts0
    rest = model.geometry0(np.zeros(80), np.zeros(76))
    opened = model.geometry0(np.zeros(80), expression(model, jawOpen=1))
    gap = rest[pairs[:, 0]] - rest[pairs[:, 1]]
    assert len(pairs) >= 10
    assert np.abs(gap[:, 1]).max() < 1.2
    assert np.median(opened[pairs[:, 0], 1] - opened[pairs[:, 1], 1]) > 12


def test_lids_touch_in_a_blink_without_passing_far(model: FaceModel) -> None:
    pairs = model.lid_contacts0
    rest = model.geometry0(np.zeros(80), np.zeros(76))
    shut = model.geometry0(np.zeros(80), expression(model, eyeBlink=1))
    assert len(pairs) >= 20
    assert (rest[pairs[:, 0], 1] - rest[pairs[:, 1], 1]).max() > 6
    gap = shut[pairs[:, 0], 1] - shut[pairs[:, 1], 1]
    assert gap.max() < 0.9 and gap.min() > -3.0


def test_landmarks_are_symmetric_and_inner_lips_follow_their_own_lip(model: FaceModel) -> None:
    marks = model.rows(model.landmarks)
    assert model.landmark_valid.sum() == 468 and not model.landmark_valid[468:].any()
    sums = model.landmarks.barycentric.sum(1)
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    skin = marks.mean[:468]
    distance = cKDTree(skin).query(skin * MIRROR)[0]
    assert distance.max() < 0.7
    opened = expression(model, jawOpen=1) @ marks.expression.transpose(2, 0, 1).reshape(76, -1)
    drop = opened.reshape(-1, 3)[:, 1]
    upper, lower = list(INNER_LIP_UPPER[2:-2]), list(INNER_LIP_LOWER[2:-2])
    assert drop[upper].min() > -6 and drop[lower].max() < -10


def test_lid_landmarks_meet_in_a_blink(model: FaceModel) -> None:
    marks = model.rows(model.landmarks)
    rest = marks.positions(np.zeros(80), np.zeros(76))
    shut = marks.positions(np.zeros(80), expression(model, eyeBlink=1))
    upper, lower = list(LEFT_LID_UPPER[2:-2]), list(LEFT_LID_LOWER[2:-2])
    assert (rest[upper, 1] - rest[lower, 1]).min() > 3
    assert np.abs(shut[upper, 1] - shut[lower, 1]).mean() < 2.5


def test_sigma_orders_the_landmarks_by_how_well_they_are_defined(model: FaceModel) -> None:
    sigma = model.landmark_sigma_mm
    assert 0.5 < sigma[list(LEFT_LID_UPPER)].mean() < sigma[10] < 9
    assert sigma[:468].max() < 10


def test_rows_agree_with_the_full_mesh(model: FaceModel) -> None:
    rng = np.random.default_rng(1)
    identity, delta = rng.normal(size=80).astype(np.float32), rng.uniform(0, 1, 76).astype(np.float32)
    beta = rng.normal(size=80).astype(np.float32) * 0.2
    for level in range(3):
        chosen = rng.integers(len(model.triangles(level)), size=50)
        points = SurfacePoints(level, chosen.astype(np.int32), rng.dirichlet([1, 1, 1], 50).astype(np.float32))
        rows = model.rows(points)
        corners = model.geometry(identity, delta, level)[model.triangles(level)[chosen]]
        expected = np.einsum("pk,pkd->pd", points.barycentric, corners)
        np.testing.assert_allclose(rows.positions(identity, delta), expected, atol=2e-3)
        shade = np.einsum(
            "pk,pkc->pc", points.barycentric, model.vertex_albedo(beta, level)[model.triangles(level)[chosen]]
        )
        clipped = (shade < 0.02).any(1)
        np.testing.assert_allclose((rows.albedo_mean + rows.albedo @ beta)[~clipped], shade[~clipped], atol=2e-4)


def test_jaw_is_a_rotation_that_carries_the_lower_teeth(model: FaceModel) -> None:
    motion = model.jaw()(expression(model, jawOpen=0.6))
    np.testing.assert_allclose(motion.rotation @ motion.rotation.T, np.eye(3), atol=1e-9)
    teeth = model.lower_teeth_rows
    moved = teeth.positions(np.zeros(80), expression(model, jawOpen=0.6))
    assert np.abs(motion.apply(teeth.mean) - moved).max() < 2.0
    assert (moved - teeth.mean)[:, 1].min() < -8
    still = model.jaw()(np.zeros(76))
    np.testing.assert_allclose(still.apply(teeth.mean), teeth.mean, atol=1e-4)
    assert np.abs(model.upper_teeth_rows.expression).max() == 0


def test_rigid_fit_recovers_a_motion(model: FaceModel) -> None:
    known = model.jaw()(expression(model, jawOpen=1))
    points = np.random.default_rng(2).normal(size=(30, 3)) * 20
    found = RigidFit(points, (known.apply(points) - points)[..., None])(np.ones(1))
    np.testing.assert_allclose(found.rotation, known.rotation, atol=1e-9)
    np.testing.assert_allclose(found.translation, known.translation, atol=1e-9)


def test_regions(model: FaceModel) -> None:
    needed = "lips_upper lips_lower brow_left brow_right eyelid_left eyelid_right nose nostrils cheek_left cheek_right"
    for name in [*needed.split(), *"chin forehead ear_left ear_right neck scalp inner_face mouth_area".split()]:
        mask = model.regions[name]
        assert mask.shape == (53390,) and mask.dtype == np.uint8 and mask.max() > 200, name
    points = neutral(model)
    strong = {name: points[mask > 128] for name, mask in model.regions.items()}
    assert strong["brow_left"][:, 0].min() > 0 > strong["brow_right"][:, 0].max()
    assert strong["lips_lower"][:, 1].mean() < strong["lips_upper"][:, 1].mean() < strong["nose"][:, 1].mean()
    inner = model.regions["inner_face"] > 128
    for name in ("ear_left", "ear_right", "scalp", "neck", "nostrils"):
        assert not (inner & (model.regions[name] > 160)).any(), name


def test_texture_coordinates_are_injective_where_they_hold(model: FaceModel) -> None:
    corners = model.uv[model.triangles(2)[model.textured]].astype(np.float64)
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
    assert model.uv.min() >= 0 and model.uv.max() <= 1
    assert (area < 0).all()  # v points down: the face is seen from outside, unfolded
    inner = (model.regions["inner_face"] > 128)[model.triangles(2)].all(1)
    assert model.textured[inner].all()


def test_albedo_is_a_reflectance(model: FaceModel) -> None:
    skin = model.vertex_albedo(np.zeros(80))
    assert skin.shape == (53390, 3) and skin.min() > 0 and skin.max() <= 1
    dark, light = np.zeros(80), np.zeros(80)
    dark[0], light[0] = 2, -2
    cheek = model.regions["cheek_left"] > 200
    assert model.vertex_albedo(dark)[cheek].mean() < 0.12 < 0.45 < model.vertex_albedo(light)[cheek].mean()


def test_held_out_people_are_reached_within_the_measured_residual(model: FaceModel) -> None:
    people = load_people()
    assert len(people.skin) >= 12
    front = np.flatnonzero(model.subdivision(0) @ (model.regions["inner_face"][:3386] > 128))
    basis = model.identity_basis[front].reshape(-1, 80)
    offset = (people.skin - model.mean)[:, front].reshape(len(people.skin), -1).T
    left = offset - basis @ np.linalg.lstsq(basis, offset, rcond=None)[0]
    start = np.sqrt((offset**2).mean() * 3)
    residual = np.sqrt((left**2).mean() * 3)
    assert 0.2 < residual < 1.5 and residual < 0.3 * start


def test_parts_sit_behind_their_apertures(model: FaceModel) -> None:
    parts, points = load_parts(), neutral(model)
    for side in ("left", "right"):
        ball = parts[f"eye_{side}"].geometry(np.zeros(80), np.zeros(76))
        rim = points[model.loops[f"eye_{side}"]]
        center, radius = (ball.max(0) + ball.min(0)) / 2, np.ptp(ball, axis=0).mean() / 2
        assert 10 < radius < 17
        away = np.linalg.norm(rim - center, axis=1)
        assert radius - 3 < np.median(away) < radius + 4
    lips = points[model.loops["lips"]]
    for name in ("teeth_lower", "teeth_upper", "tongue"):
        assert parts[name].mean[:, 2].max() < lips[:, 2].max() - 1


def test_parts_follow_identity_gaze_and_jaw(model: FaceModel) -> None:
    parts = load_parts()
    assert set(parts.by_name) == set(PART_NAMES)
    rng = np.random.default_rng(3)
    someone = rng.normal(size=80)
    rim = model.geometry(someone, np.zeros(76))[model.loops["eye_left"]].mean(0) - neutral(model)[
        model.loops["eye_left"]
    ].mean(0)
    ball = parts["eye_left"].geometry0(someone, np.zeros(76)).mean(0) - parts["eye_left"].mean.mean(0)
    assert np.linalg.norm(rim - ball) < 4
    look = parts["eye_left"].geometry0(np.zeros(80), expression(model, eyeLookIn=1)) - parts["eye_left"].mean
    assert np.abs(look).max() > 2
    assert (
        parts["tongue"].geometry0(np.zeros(80), expression(model, jawOpen=1))[:, 1].mean()
        < parts["tongue"].mean[:, 1].mean() - 5
    )


def test_antagonists_and_gaze_name_real_pairs(model: FaceModel) -> None:
    names = [{model.expression_names[a], model.expression_names[b]} for a, b in model.antagonists]
    assert {"jawLeft", "jawRight"} in names and {"eyeBlinkLeft", "eyeWideLeft"} in names
    assert sorted(model.expression_names[i][:7] for i in model.gaze) == ["eyeLook"] * 8


def test_contact_and_transfer_indices_are_on_the_face(model: FaceModel) -> None:
    corners = model.triangles(0)[model.face_triangles0]
    assert 2000 < len(corners) < 5000
    assert np.isin(model.lip_contacts0, corners).all() and np.isin(model.lid_contacts0, corners).all()


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04" + bytes(100)])
def test_a_damaged_file_is_refused_in_words(content: bytes) -> None:
    with pytest.raises(ModelError, match="damaged") as caught:
        read_face_model(content)
    assert "build_face_model" in caught.value.hint
