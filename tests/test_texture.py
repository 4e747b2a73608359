"""The personal texture: a painted face photographed from several sides gives its paint back."""

from __future__ import annotations

import numpy as np
import pytest

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import ambient, sh_basis
from f2fcam.face.mesh import vertex_normals
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.face.rigid import RigidTransform, so3_exp
from f2fcam.face.state import Performance, Person
from f2fcam.frame import srgb_encode
from f2fcam.overlay import texture_picture
from f2fcam.render.cpu import CpuRasterizer
from f2fcam.render.texture import View, unwrap

CAMERA = Intrinsics.guess(480, 520)
PERSON = Person(np.zeros(80, np.float32), np.zeros(80, np.float32), CAMERA, np.zeros(76, np.float32))


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


def paint(model: FaceModel) -> np.ndarray:
    """Smooth stripes that the model's own albedo does not know."""
    points = model.subdivide(model.mean)
    waves = np.stack([np.sin(points[:, 0] / 12), np.cos(points[:, 1] / 10), np.sin(points.sum(1) / 15)], 1)
    return (0.35 + 0.15 * waves).astype(np.float32)


def photograph(model: FaceModel, albedo: np.ndarray, turn: float, light_x: float) -> View:
    pose = RigidTransform(so3_exp(np.array([0.0, turn, 0.0])) @ np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 640.0]))
    lighting = ambient(0.8).astype(np.float32)
    lighting[2], lighting[3] = -0.2, light_x
    points = pose.apply(model.geometry(PERSON.identity, PERSON.neutral)).astype(np.float32)
    normals = np.empty_like(points)
    vertex_normals(points, model.triangles(2), normals)
    colours = srgb_encode(albedo * (sh_basis(normals) @ lighting))
    fragments = CpuRasterizer().rasterize(points, model.triangles(2), CAMERA)
    seen = fragments.triangle >= 0
    rgb = np.full((*seen.shape, 3), 30, np.uint8)
    corners = model.triangles(2)[fragments.triangle[seen]]
    rgb[seen] = np.round(255 * np.einsum("pk,pkc->pc", fragments.barycentric[seen], colours[corners]))
    return View(rgb, CAMERA, Performance(PERSON.neutral, pose, lighting))


def test_paint_is_recovered_from_several_sides_and_lights(model: FaceModel) -> None:
    albedo = paint(model)
    views = [photograph(model, albedo, turn, light) for turn, light in ((-0.5, 0.2), (0.0, -0.2), (0.5, 0.0))]
    texture = unwrap(model, PERSON, views)
    inner = (model.regions["inner_face"] > 128) & (texture.confidence > 0.5)
    assert inner.sum() > 0.5 * (model.regions["inner_face"] > 128).sum()
    error = np.abs(texture.albedo - albedo)[inner]
    assert np.median(error) < 0.01
    assert np.percentile(error, 95) < 0.05


def test_one_spoiled_view_of_three_is_outvoted(model: FaceModel) -> None:
    albedo = paint(model)
    views = [photograph(model, albedo, turn, 0.0) for turn in (-0.2, 0.0, 0.2)]
    views[1].rgb[200:320, 160:320] = 20  # something dark in front of the face
    texture = unwrap(model, PERSON, views)
    inner = (model.regions["inner_face"] > 128) & (texture.confidence > 0.5)
    error = np.abs(texture.albedo - albedo).max(axis=1)[inner]
    assert np.median(error) < 0.03


def test_what_no_view_shows_is_the_models_guess(model: FaceModel) -> None:
    guess = model.vertex_albedo(PERSON.albedo)
    nothing = unwrap(model, PERSON, [])
    np.testing.assert_array_equal(nothing.albedo, guess)
    assert (nothing.confidence == 0).all()
    points = model.subdivide(model.mean)
    normals = np.empty_like(points)
    vertex_normals(points, model.triangles(2), normals)
    back = normals[:, 2] < -0.3
    frontal = unwrap(model, PERSON, [photograph(model, paint(model), 0.0, 0.0)])
    assert back.sum() > 5000 and (frontal.confidence[back] == 0).all()
    assert np.isfinite(frontal.albedo).all() and frontal.albedo.min() > 0


def test_an_overexposed_view_leaves_the_models_own_albedo(model: FaceModel) -> None:
    view = photograph(model, paint(model), 0.0, 0.0)
    view.rgb[:] = 255
    texture = unwrap(model, PERSON, [view])
    assert not texture.confidence.any()
    assert np.allclose(texture.albedo, model.vertex_albedo(PERSON.albedo), atol=1e-5)


def test_the_layout_of_the_texture_does_not_overlap_itself(model: FaceModel) -> None:
    """Every pixel belongs to one triangle, so that the picture is the paint and not whichever triangle comes last."""
    picture = texture_picture(model, np.full((len(model.uv), 3), 0.25), np.ones(len(model.uv)), 256)
    drawn = picture[..., 3] > 0
    corners = model.uv[model.triangles(2)[model.textured]].astype(np.float64)
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum() / 2
    assert drawn.mean() == pytest.approx(area, rel=0.03)
