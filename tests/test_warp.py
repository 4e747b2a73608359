"""The displacement field on a flat synthetic face: exact inside, continuous across the outline, zero at the mask's edge."""

from __future__ import annotations

import numpy as np
import pytest

from f2fcam.face.camera import Intrinsics
from f2fcam.render.cpu import CpuRasterizer
from f2fcam.render.membrane import NECK_REACH
from f2fcam.render.warp import MARGIN, Aperture, Warper, vertex_attributes

CAMERA = Intrinsics(focal=1000.0, center_x=160.0, center_y=120.0, width=320, height=240)
WHOLE = (0, 0, 320, 240)
FACE_HEIGHT = 128.0


def plate(x: tuple[float, float] = (100, 220), y: tuple[float, float] = (50, 178), step: int = 4):
    """A flat grid that covers the given pixels at 1 m: pixels (n, 2), triangles."""
    xs, ys = np.arange(x[0], x[1] + 1, step), np.arange(y[0], y[1] + 1, step)
    pixels = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2).astype(np.float32)
    grid = np.arange(len(pixels)).reshape(len(ys), len(xs))
    a, b, c, d = grid[:-1, :-1].ravel(), grid[1:, :-1].ravel(), grid[1:, 1:].ravel(), grid[:-1, 1:].ravel()
    return pixels, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)


def in_camera(pixels: np.ndarray) -> np.ndarray:
    xy = (pixels - [CAMERA.center_x, CAMERA.center_y]) / CAMERA.focal * 1000
    return np.hstack([xy, np.full((len(xy), 1), 1000.0)]).astype(np.float32)


def attributes_of(old: np.ndarray, new: np.ndarray, triangles: np.ndarray, visible: int = 1) -> np.ndarray:
    ones = np.ones(len(old), np.float32)
    out = np.empty((len(old), 7), np.float32)
    gain = np.ones((len(old), 3), np.float32)
    vertex_attributes(old, new, triangles, gain, np.full(len(old), visible, np.uint8), ones, ones, out)
    return out


def field_of(old: np.ndarray, new: np.ndarray, triangles: np.ndarray, apertures: tuple[Aperture, ...] = ()):
    fragments = CpuRasterizer().rasterize(in_camera(new), triangles, CAMERA, WHOLE)
    return Warper().build(fragments, triangles, attributes_of(old, new, triangles), apertures, FACE_HEIGHT), fragments


def test_no_motion_leaves_every_pixel_alone() -> None:
    pixels, triangles = plate()
    field, _ = field_of(pixels, pixels, triangles)
    assert not field.mask.any()
    np.testing.assert_array_equal(field.shift, 0)


def test_the_face_is_displaced_exactly_and_the_surroundings_smoothly() -> None:
    old, triangles = plate()
    chin = np.clip((old[:, 1] - 100) / 78, 0, 1)[:, None]
    new = old + chin.astype(np.float32) * np.float32([2, 12])
    field, fragments = field_of(old, new, triangles)
    inner = np.zeros((240, 320), bool)
    inner[56:178, 106:214] = True
    exact = np.einsum("pk,pkc->pc", fragments.barycentric[inner], (old - new)[triangles[fragments.triangle[inner]]])
    np.testing.assert_allclose(field.shift[inner], exact, atol=1e-3)
    down, across = np.diff(field.shift, axis=0), np.diff(field.shift, axis=1)
    assert max(np.abs(down).max(), np.abs(across).max()) < 1.5  # no tear, not even at the plate's corners
    assert down[..., 1].min() > -1 and across[..., 0].min() > -1  # no fold
    assert field.shift[200, 160, 1] < -2  # below the new chin the neck comes along


@pytest.mark.parametrize("way", [(0, 12), (0, -12), (10, 0), (-10, 3)])
def test_nothing_moves_beyond_the_declared_mask(way: tuple[int, int]) -> None:
    old, triangles = plate()
    new = old + np.float32(way) * np.clip((old[:, 1:] - 60) / 118, 0, 1).astype(np.float32)
    field, _ = field_of(old, new, triangles)
    y, x = np.mgrid[:240, :320] + 0.5
    both = np.concatenate([old, new])
    low, high = both.min(axis=0), both.max(axis=0)
    reach = MARGIN * FACE_HEIGHT
    far = (x < low[0] - reach) | (x > high[0] + reach) | (y < low[1] - reach) | (y > high[1] + NECK_REACH * reach)
    assert field.mask.any()
    assert not field.mask[far].any()
    row, column = np.nonzero(field.mask)
    places = np.stack([column, row], axis=1)
    sampled = np.concatenate([places, places + field.shift[row, column]])
    np.testing.assert_allclose(field.sampled, [*sampled.min(axis=0), *sampled.max(axis=0)], atol=1e-3)
    untouched = field.mask == 0
    assert np.abs(field.shift[untouched]).max() <= 1 / 128
    assert (field.confidence[untouched] > 0.99).all()


def test_confidence_follows_stretch_and_visibility() -> None:
    old, triangles = plate()
    wide = (old - [160, 114]) * 2.2 + [160, 114]
    grown = attributes_of(old, wide.astype(np.float32), triangles)
    assert (grown[:, 5] == 0).all()  # 4.8 times the area
    little = attributes_of(old, ((old - [160, 114]) * 1.3).astype(np.float32), triangles)
    np.testing.assert_allclose(little[:, 5], 1)
    shrunk = attributes_of(wide.astype(np.float32), old, triangles)
    np.testing.assert_allclose(shrunk[:, 5], 1)
    assert (attributes_of(old, old, triangles, visible=0)[:, 5] == 1).all()  # nothing is uncovered
    moved = attributes_of(old, old + np.float32(5), triangles, visible=0)
    assert (moved[:, 5] == 0).all()


def slit(opening: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The plate cut along y = 114 between x = 140 and 180, all below it dropped like a jaw; and the rim's vertices."""
    pixels, triangles = plate()
    cut = np.flatnonzero((pixels[:, 1] == 114) & (pixels[:, 0] >= 140) & (pixels[:, 0] <= 180))
    inner = cut[1:-1]
    lower = {int(v): len(pixels) + i for i, v in enumerate(inner)}
    below = pixels[triangles].mean(axis=1)[:, 1] > 114
    triangles = triangles.copy()
    triangles[below] = np.vectorize(lambda v: lower.get(v, v))(triangles[below])
    points = np.concatenate([pixels, pixels[inner]])
    jaw = (points[:, 1] > 114) | (np.arange(len(points)) >= len(pixels))
    points[:, 1] += opening * jaw * np.clip(1.5 - np.abs(points[:, 0] - 160) / 40, 0, 1)
    rim = np.concatenate([cut, [lower[int(v)] for v in inner[::-1]]])
    return points, triangles.astype(np.int32), rim


def test_an_opening_follows_its_rim_and_darkens_where_nothing_was_seen() -> None:
    shut, triangles, rim = slit(0.0)
    opened, _, _ = slit(16.0)
    field, _ = field_of(shut, opened, triangles, (Aperture(opened[rim], (0.0, -16.0)),))
    inside = field.opening == 1
    assert inside[118:126, 150:170].all()
    assert (field.cavity[119:124, 155:165] > 0.9).all()
    samples = np.mgrid[:240, :320][0] + field.shift[..., 1]
    assert np.abs(samples[inside] - 114).max() < 1.5  # everything comes from the shut lips' line


def test_an_unchanged_opening_is_left_alone() -> None:
    opened, triangles, rim = slit(16.0)
    field, _ = field_of(opened, opened, triangles, (Aperture(opened[rim], (0.0, 0.0)),))
    assert (field.opening == 1).sum() > 300
    assert not field.mask.any()
