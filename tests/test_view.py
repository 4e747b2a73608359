"""One output picture: the first invariant (same expression in, target frame out), the declared mask, both appearances."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import ambient
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.face.rigid import RigidTransform, so3_exp
from f2fcam.face.state import Performance, Person
from f2fcam.render.cpu import CpuRasterizer
from f2fcam.render.membrane import NECK_REACH
from f2fcam.render.shade import LIGHT_ROWS, LIGHT_S, LightState
from f2fcam.render.view import TargetView, Workspace, _carry, render_frame
from f2fcam.render.warp import MARGIN

SIZE = (320, 360)
CAMERA = Intrinsics.guess(*SIZE)
FRONTAL = np.diag([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="module")
def workspace(model: FaceModel) -> Workspace:
    return Workspace(model)


def a_view(model: FaceModel, turn: float = 0.0, textured: bool = True, **weights: float) -> TargetView:
    """A noisy picture with a face's geometry; what it shows is of no matter to where it is sampled."""
    random = np.random.default_rng(3)
    rgb = cv2.GaussianBlur(random.integers(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8), (0, 0), 2.0)
    identity = (0.5 * random.normal(size=80)).astype(np.float32)
    person = Person(identity, np.zeros(80, np.float32), CAMERA, np.zeros(76, np.float32))
    if textured:
        person = replace(person, vertex_albedo=model.vertex_albedo(person.albedo))
    lighting = ambient(0.8).astype(np.float32)
    lighting[2], lighting[3] = -0.25, 0.2
    pose = RigidTransform(so3_exp(np.array([0.05, turn, 0.1])) @ FRONTAL, np.array([5.0, -10.0, 520.0]))
    return TargetView(rgb, person, Performance(acting(model, **weights), pose, lighting))


def acting(model: FaceModel, **weights: float) -> np.ndarray:
    expression = np.zeros(76, np.float32)
    for name, weight in weights.items():
        expression[model.expression_names.index(name)] = weight
    return expression


@pytest.mark.parametrize("turn", [0.0, 0.5])
@pytest.mark.parametrize("jaw", [0.0, 0.6])
def test_the_same_expression_gives_the_target_frame_back_bit_for_bit(
    model: FaceModel, workspace: Workspace, turn: float, jaw: float
) -> None:
    view = a_view(model, turn, jawOpen=jaw, mouthSmileLeft=0.4, eyeBlinkRight=0.3)
    rendered = render_frame(view, view.performance.expression, workspace)
    np.testing.assert_array_equal(rendered.rgb, view.rgb)


def test_nearly_the_same_expression_gives_nearly_the_same_frame(model: FaceModel, workspace: Workspace) -> None:
    view = a_view(model, jawOpen=0.4, mouthSmileLeft=0.4)
    rendered = render_frame(view, view.performance.expression + np.float32(2e-4), workspace)
    x0, y0, x1, y1 = rendered.region
    error = rendered.rgb.astype(float) - view.rgb
    inside = error[y0:y1, x0:x1][rendered.mask > 0]
    assert 10 * np.log10(255**2 / max((inside**2).mean(), 1e-9)) > 50


@pytest.mark.parametrize(
    "weights", [{"jawOpen": 0.8}, {"mouthPucker": 1.0}, {"browInnerUp": 1.0}, {"eyeBlinkLeft": 1.0}]
)
def test_outside_the_declared_mask_the_frame_is_untouched(
    model: FaceModel, workspace: Workspace, weights: dict[str, float]
) -> None:
    view = a_view(model, jawOpen=0.2)
    new = view.performance.expression + acting(model, **weights)
    rendered = render_frame(view, new, workspace)
    x0, y0, x1, y1 = rendered.region
    inside = np.zeros(view.rgb.shape[:2], bool)
    inside[y0:y1, x0:x1] = rendered.mask > 0
    assert 100 < inside.sum() < 0.5 * inside.size
    np.testing.assert_array_equal(rendered.rgb[~inside], view.rgb[~inside])
    changed = (rendered.rgb != view.rgb).any(axis=2)
    assert changed[inside].mean() > 0.5

    outlines = [outline(view, expression, model) for expression in (view.performance.expression, new)]
    reach = int(MARGIN * workspace.face_height_mm * CAMERA.focal / view.performance.camera_from_model.translation[2])
    allowed = cv2.dilate(np.maximum(*outlines), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2))
    band = np.zeros((2 * int(NECK_REACH * reach) + 1, 2 * reach + 1), np.uint8)
    band[: int(NECK_REACH * reach) + 1] = 1  # reaches downwards
    allowed |= cv2.dilate(np.maximum(*outlines), band)
    assert not (inside & (allowed == 0)).any()


def outline(view: TargetView, expression: np.ndarray, model: FaceModel) -> np.ndarray:
    points = view.performance.camera_from_model.apply(model.geometry(view.person.identity, expression))
    return (CpuRasterizer().rasterize(points.astype(np.float32), model.triangles(2), CAMERA).triangle >= 0).astype(
        np.uint8
    )


def test_the_chin_goes_where_the_model_says(model: FaceModel, workspace: Workspace) -> None:
    """A dot painted on the chin arrives at the chin's new place, and none stays at the old."""
    view = a_view(model, textured=False)
    chin = int(np.argmax(model.regions["chin"].astype(float) * (np.abs(model.subdivide(model.mean)[:, 0]) < 2)))
    spots = []
    for expression in (view.performance.expression, acting(model, jawOpen=0.7)):
        point = view.performance.camera_from_model.apply(model.geometry(view.person.identity, expression)[chin])
        spots.append(CAMERA.project(point[None])[0])
    dotted = np.full_like(view.rgb, 90)
    cv2.circle(dotted, tuple(int(v) for v in spots[0]), 4, (255, 0, 0), -1)
    rendered = render_frame(replace(view, rgb=dotted), acting(model, jawOpen=0.7), workspace)
    y, x = np.nonzero(rendered.rgb[..., 0].astype(int) - rendered.rgb[..., 1] > 60)
    assert np.linalg.norm(spots[1] - spots[0]) > 8
    np.testing.assert_allclose([x.mean() + 0.5, y.mean() + 0.5], spots[1], atol=1.5)


def test_what_the_frame_hides_comes_from_the_personal_texture(model: FaceModel, workspace: Workspace) -> None:
    view = a_view(model)
    green = np.tile(np.float32([0.02, 0.5, 0.02]), (len(model.vertex_albedo(view.person.albedo)), 1))
    grey = replace(view, rgb=np.full_like(view.rgb, 120), person=replace(view.person, vertex_albedo=green))
    blink = acting(model, eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
    with_texture = render_frame(grey, blink, workspace).rgb.astype(int)
    greenish = (with_texture[..., 1] - with_texture[..., 0] > 40).sum()
    lids = model.regions["eyelid_left"] > 128
    assert lids.any() and greenish > 30
    without = render_frame(replace(grey, person=replace(grey.person, vertex_albedo=None)), blink, workspace).rgb.astype(
        int
    )
    assert (without[..., 1] - without[..., 0]).max() < 10


def test_appearance_model_paints_the_model(model: FaceModel, workspace: Workspace) -> None:
    view = a_view(model)
    flat = replace(view, rgb=np.full_like(view.rgb, 20))
    video = render_frame(flat, acting(model, jawOpen=0.5), workspace).rgb.mean()
    painted = render_frame(flat, acting(model, jawOpen=0.5), workspace, appearance="model").rgb
    assert painted.mean() > video + 5
    assert (painted[:20] == 20).all()


def test_other_frame_sizes_scale_the_camera(model: FaceModel, workspace: Workspace) -> None:
    view = a_view(model)
    large = cv2.resize(view.rgb, None, fx=2, fy=2)
    rendered = render_frame(replace(view, rgb=large), acting(model, jawOpen=0.6), workspace)
    assert rendered.rgb.shape == large.shape
    small = render_frame(view, acting(model, jawOpen=0.6), workspace)
    np.testing.assert_allclose(np.array(rendered.region) / 2, small.region, atol=4)


def test_both_meshes_are_carried_and_projected_and_gains_fade_by_weight(model: FaceModel) -> None:
    random = np.random.default_rng(5)
    operator = model.subdivision(2)
    count, columns = operator.shape
    coarse = random.normal(0, 40, (columns, 12)).astype(np.float32)
    coarse[:, [2, 6]] += 600
    weight = random.random(count).astype(np.float32)
    weight[:10] = 0
    old, new = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
    old_pixels, new_pixels, gain = (np.empty(shape, np.float32) for shape in ((count, 2), (count, 2), (count, 3)))
    _carry(
        operator.indptr, operator.indices, operator.data, coarse, CAMERA.focal, CAMERA.center_x, CAMERA.center_y,
        weight, old, old_pixels, new, new_pixels, gain,
    )  # fmt: skip
    for points, pixels, part in ((old, old_pixels, coarse[:, :3]), (new, new_pixels, coarse[:, 4:7])):
        np.testing.assert_allclose(points, operator @ part, atol=1e-3)
        np.testing.assert_allclose(pixels, CAMERA.project(points), atol=1e-2)
    np.testing.assert_allclose(gain, 1 + weight[:, None] * (operator @ coarse[:, 8:11] - 1), atol=1e-3)
    np.testing.assert_array_equal(gain[:10], 1)


def test_what_is_drawn_has_no_cracks_and_keeps_the_rims(model: FaceModel, workspace: Workspace) -> None:
    for skin in workspace.skins.values():
        triangles = skin.mesh.triangles
        sides = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
        edges, uses = np.unique(sides, axis=0, return_counts=True)
        assert uses.max() == 2
        for name, rim in skin.rims.items():
            np.testing.assert_array_equal(skin.mesh.rows[rim], model.loops[name])
        border = set(skin.mesh.rows[np.unique(edges[uses == 1])].tolist())
        assert border <= set(np.concatenate(list(model.loops.values())).tolist())
    assert len(workspace.skins["model"].mesh.triangles) == 106_240
    assert len(workspace.skins["video"].mesh.triangles) < 60_000


def test_the_change_of_light_follows_within_a_few_pictures(model: FaceModel, workspace: Workspace):
    """Noise of single pictures is taken out of it, a smile's shade is there within three times the time constant."""
    view, smile = a_view(model), acting(model, mouthSmileLeft=1.0, mouthSmileRight=1.0, cheekSquintLeft=1.0)
    at_once = render_frame(view, smile, workspace).light
    state, shown = LightState(np.ones_like(at_once), 3, 0.0), []
    for k in range(1, 21):
        share = state.share(3, k / 30)
        light = render_frame(view, smile, workspace, (), "video", state.gain, share).light
        shown.append(np.abs(light - at_once).max() / np.abs(1 - at_once).max())
        state = LightState(light, 3, k / 30)
    assert np.abs(1 - at_once).max() > 0.02
    assert shown[0] == pytest.approx(np.exp(-1 / 30 / LIGHT_S), abs=0.01) and shown[-1] < 0.05


def test_after_a_jump_the_light_is_the_new_frames_own():
    state = LightState(np.ones((4, 3), np.float32), 10, 1.0)
    assert LightState().share(0, 0.0) == 1.0
    assert state.share(10 + LIGHT_ROWS + 1, 1.03) == 1.0
    assert state.share(10, 0.5) == 1.0
    assert 0.1 < state.share(11, 1.033) < 0.4
