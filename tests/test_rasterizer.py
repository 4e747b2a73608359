"""The z-buffer against analytic triangles and a slow, independent ray caster."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f2fcam.face.camera import Intrinsics
from f2fcam.render import bounding_region
from f2fcam.render.cpu import CpuRasterizer, VertexVisibility, vertex_visibility

CAMERA = Intrinsics(focal=50.0, center_x=16.0, center_y=12.0, width=32, height=24)


def at_pixels(corners: list[tuple[float, float]], depth: float | list[float] = 100.0) -> np.ndarray:
    """Camera-space points that project to the given pixels."""
    xy = np.array(corners, np.float64)
    z = np.broadcast_to(np.asarray(depth, np.float64), len(xy))[:, None]
    return np.hstack([(xy - [CAMERA.center_x, CAMERA.center_y]) * z / CAMERA.focal, z]).astype(np.float32)


def draw(points: np.ndarray, triangles: list[tuple[int, int, int]] | np.ndarray, **options):
    return CpuRasterizer().rasterize(points, np.array(triangles, np.int32).reshape(-1, 3), CAMERA, **options)


def cast_rays(points: np.ndarray, triangles: np.ndarray, cull_back: bool):
    """Oracle: per pixel the nearest ray-triangle intersection in float64, and how far the ray passes from any edge."""
    y, x = np.mgrid[: CAMERA.height, : CAMERA.width] + 0.5
    rays = np.stack([(x - CAMERA.center_x) / CAMERA.focal, (y - CAMERA.center_y) / CAMERA.focal, np.ones_like(x)], -1)
    nearest = np.full(x.shape, np.inf)
    triangle = np.full(x.shape, -1)
    barycentric = np.zeros((*x.shape, 3))
    clearance = np.full(x.shape, np.inf)
    for index, corners in enumerate(points[triangles].astype(np.float64)):
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        if cull_back and normal @ corners[0] >= 0:
            continue
        system = np.linalg.inv(corners.T) if abs(np.linalg.det(corners)) > 1e-3 else None
        if system is None:
            clearance[:] = 0
            continue
        weights = rays @ system.T
        total = weights.sum(-1)
        weights, depth = weights / total[..., None], 1 / total
        clearance = np.minimum(clearance, np.abs(weights.min(-1)))
        hit = (weights.min(-1) >= 0) & (depth > 0)
        clearance = np.where(hit & np.isfinite(nearest), np.minimum(clearance, np.abs(depth - nearest) / 10), clearance)
        closer = hit & (depth < nearest)
        nearest[closer], triangle[closer], barycentric[closer] = depth[closer], index, weights[closer]
    return triangle, barycentric, nearest, clearance


def test_an_axis_aligned_triangle_covers_exactly_the_centres_inside() -> None:
    points = at_pixels([(2, 2), (2, 10), (10, 2)])
    fragments = draw(points, [(0, 1, 2)])
    y, x = np.mgrid[: CAMERA.height, : CAMERA.width]
    inside = (x >= 2) & (y >= 2) & (x + y + 1 < 12)  # the hypotenuse is neither a top nor a left edge
    np.testing.assert_array_equal(fragments.triangle == 0, inside)
    np.testing.assert_allclose(fragments.depth[inside], 100, rtol=1e-5)
    assert np.isinf(fragments.depth[~inside]).all()
    rebuilt = np.einsum("pk,kc->pc", fragments.barycentric[inside], points.astype(np.float64))
    np.testing.assert_allclose(CAMERA.project(rebuilt), np.stack([x[inside], y[inside]], -1) + 0.5, atol=2 / 4096)


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_back_faces_are_culled_unless_asked_for(turn: int) -> None:
    points = at_pixels([(2, 2), (2, 10), (10, 2)])
    front, back = np.roll([0, 1, 2], turn), np.roll([2, 1, 0], turn)
    expected = draw(points, front)
    assert (draw(points, back).triangle == -1).all()
    both = draw(points, back, cull_back=False)
    np.testing.assert_array_equal(both.triangle, expected.triangle)
    drawn = both.triangle == 0
    corners = points[back].astype(np.float64)
    y, x = np.nonzero(drawn)
    np.testing.assert_allclose(
        CAMERA.project(both.barycentric[drawn] @ corners), np.stack([x, y], -1) + 0.5, atol=2 / 4096
    )


def test_attributes_are_perspective_correct() -> None:
    points = at_pixels([(1, 1), (1, 23), (31, 1)], [60.0, 300.0, 900.0])
    fragments = draw(points, [(0, 1, 2)])
    drawn = fragments.triangle == 0
    y, x = np.nonzero(drawn)
    rebuilt = fragments.barycentric[drawn] @ points
    np.testing.assert_allclose(CAMERA.project(rebuilt), np.stack([x, y], -1) + 0.5, atol=1e-3)
    np.testing.assert_allclose(rebuilt[:, 2], fragments.depth[drawn], rtol=1e-4)


def test_the_nearer_triangle_wins_in_either_order() -> None:
    near, far = at_pixels([(2, 2), (2, 10), (10, 2)], 80.0), at_pixels([(0, 0), (0, 20), (30, 0)], 100.0)
    points = np.vstack([near, far])
    first, second = [(0, 1, 2), (3, 4, 5)], [(3, 4, 5), (0, 1, 2)]
    a = draw(points, first).triangle.copy()
    b = draw(points, second).triangle.copy()
    assert (a == 0).sum() == 28
    assert (a == 1).any()
    np.testing.assert_array_equal(a[a >= 0], 1 - b[b >= 0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_shared_edges_are_drawn_exactly_once(seed: int, on_grid: bool) -> None:
    random = np.random.default_rng(seed)
    columns, rows = 9, 7
    x, y = np.meshgrid(np.linspace(0, CAMERA.width, columns), np.linspace(0, CAMERA.height, rows))
    inner = np.zeros((rows, columns, 1))
    inner[1:-1, 1:-1] = 1
    xy = np.stack([x, y], -1) + inner * random.uniform(-0.9, 0.9, (rows, columns, 2))
    if on_grid:
        xy = np.round(xy * 2) / 2  # edges and corners through pixel centres: the hard case
    grid = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = grid[:-1, :-1].ravel(), grid[1:, :-1].ravel(), grid[1:, 1:].ravel(), grid[:-1, 1:].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    points = at_pixels(xy.reshape(-1, 2).tolist())
    rasterizer = CpuRasterizer()
    drawn = sum(
        (rasterizer.rasterize(points, triangle[None], CAMERA).triangle == 0).astype(int) for triangle in triangles
    )
    np.testing.assert_array_equal(drawn, 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.booleans())
def test_random_triangles_agree_with_ray_casting(seed: int, cull_back: bool) -> None:
    random = np.random.default_rng(seed)
    xy = random.uniform(-8, 40, (12, 2))
    points = at_pixels(xy.tolist(), random.uniform(50, 200, 12).tolist())
    triangles = random.permutation(12).reshape(4, 3).astype(np.int32)
    fragments = draw(points, triangles, cull_back=cull_back)
    triangle, barycentric, depth, clearance = cast_rays(points, triangles, cull_back)
    clear = clearance > 2e-2  # away from edges and from ties in depth
    np.testing.assert_array_equal(fragments.triangle[clear], triangle[clear])
    seen = clear & (triangle >= 0)
    np.testing.assert_allclose(fragments.depth[seen], depth[seen], rtol=5e-3)
    np.testing.assert_allclose(fragments.barycentric[seen], barycentric[seen], atol=5e-3)


def test_a_region_is_a_window_of_the_whole_picture() -> None:
    random = np.random.default_rng(5)
    points = at_pixels(random.uniform(-4, 36, (30, 2)).tolist(), random.uniform(50, 200, 30).tolist())
    triangles = np.arange(30).reshape(10, 3)
    rasterizer = CpuRasterizer()
    whole = rasterizer.rasterize(points, triangles.astype(np.int32), CAMERA, cull_back=False)
    expected = whole.triangle[5:17, 7:29].copy()
    part = rasterizer.rasterize(points, triangles.astype(np.int32), CAMERA, (7, 5, 29, 17), cull_back=False)
    np.testing.assert_array_equal(part.triangle, expected)
    assert part.region == (7, 5, 29, 17)


def test_what_lies_behind_or_too_near_is_not_drawn() -> None:
    points = at_pixels([(2, 2), (2, 10), (10, 2)])
    for z in (-100.0, 0.0, 5.0):
        moved = points.copy()
        moved[0, 2] = z
        assert (draw(moved, [(0, 1, 2)], cull_back=False).triangle == -1).all()


def test_the_buffers_are_reused() -> None:
    rasterizer = CpuRasterizer()
    points, triangles = at_pixels([(2, 2), (2, 10), (10, 2)]), np.array([[0, 1, 2]], np.int32)
    first = rasterizer.rasterize(points, triangles, CAMERA)
    second = rasterizer.rasterize(points, triangles, CAMERA)
    assert np.shares_memory(first.depth, second.depth)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_vertices_are_seen_as_the_drawn_picture_shows_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = at_pixels(rng.uniform(-6, 38, (60, 2)).tolist(), rng.uniform(60, 140, 60).tolist())
    triangles = rng.integers(0, 60, (80, 3)).astype(np.int32)
    pixels = CAMERA.project(points).astype(np.float32)
    wanted, found = np.empty(60, np.uint8), np.empty(60, np.uint8)
    fragments = draw(points, triangles, region=bounding_region(pixels, CAMERA, 1))
    vertex_visibility(fragments, points, pixels, wanted)
    VertexVisibility(60)(points, triangles, CAMERA, found)
    assert 0 < wanted.sum() < 60
    np.testing.assert_array_equal(found, wanted)


def test_bounding_region_stays_inside_the_picture() -> None:
    points = np.array([[-5.0, 3.2], [10.4, 99.0]], np.float32)
    assert bounding_region(points, CAMERA, 1.0) == (0, 2, 12, 24)
    assert bounding_region(points + 1000, CAMERA) == (31, 23, 32, 24)
