"""Where a detector's 478 landmarks lie on the surface: found by showing it renders of known geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from f2fcam.face.morphable import FaceModel
from f2fcam.track.landmarks import MediaPipeDetector

from .regions import RING, Aperture
from .scene import Scene, View, random_view

SKIN_LANDMARKS = 468
ROBUST_MM = 6.0  # Geman-McClure scale
GRID = 4  # barycentric subdivisions in the refinement
MIRROR_AXIS = {
    10,
    151,
    9,
    8,
    168,
    6,
    197,
    195,
    5,
    4,
    1,
    19,
    94,
    2,
    164,
    0,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    200,
    199,
    175,
    152,
}
INNER_LIP = {"upper": (191, 80, 81, 82, 13, 312, 311, 310, 415), "lower": (95, 88, 178, 87, 14, 317, 402, 318, 324)}
LID_MARGIN = {
    "left": {"upper": (466, 388, 387, 386, 385, 384, 398), "lower": (249, 390, 373, 374, 380, 381, 382)},
    "right": {"upper": (246, 161, 160, 159, 158, 157, 173), "lower": (7, 163, 144, 145, 153, 154, 155)},
}


@dataclass(frozen=True)
class Embedding:
    """Level-2 triangle (478,), barycentric (478, 3), image-plane sigma in mm (478,)."""

    triangle: np.ndarray
    barycentric: np.ndarray
    sigma_mm: np.ndarray
    detected: int


@dataclass(frozen=True)
class Observations:
    """Per view: level-0 geometry in camera space, pixels per mm at the face, and detections (468, 2)."""

    points0: list[np.ndarray]
    views: list[View]
    found: list[np.ndarray]


def observe(model: FaceModel, scene: Scene, count: int, seed: int) -> Observations:
    """Render and detect `count` random views."""
    rng = np.random.default_rng(seed)
    seen = Observations([], [], [])
    detector = MediaPipeDetector(static=True)
    for index in range(count):
        view = random_view(model, rng, index)
        result = detector.detect(scene.draw(view))
        if result is None:
            continue
        seen.points0.append(view.pose.apply(model.geometry0(view.identity, view.expression)))
        seen.views.append(view)
        seen.found.append(np.asarray(result.xy[:SKIN_LANDMARKS], np.float64))
    detector.close()
    return seen


def allowed_vertices(model: FaceModel, lips: Aperture, eyes: dict[str, Aperture], face: np.ndarray) -> list[np.ndarray]:
    """Level-2 candidates of each landmark: the face, but margins only for inner-lip and lid landmarks."""
    general = np.flatnonzero(face & (lips.ring >= 2))
    allowed = [general] * SKIN_LANDMARKS
    margin = (lips.ring >= 1 * RING) & (lips.ring <= int(2.6 * RING))
    for side, ids in INNER_LIP.items():
        for i in ids:
            allowed[i] = np.flatnonzero(margin & (lips.upper == (side == "upper")))
    for name, eye in eyes.items():
        margin = (eye.ring >= 1) & (eye.ring <= int(2.5 * RING))
        for side, ids in LID_MARGIN[name].items():
            for i in ids:
                allowed[i] = np.flatnonzero(margin & (eye.upper == (side == "upper")))
    return allowed


def embed(model: FaceModel, seen: Observations, allowed: list[np.ndarray], landmark_mirror: np.ndarray) -> Embedding:
    """Per landmark the surface point of least robust image-plane cost over all views, the same on both sides."""
    count1 = model.subdivision(1).shape[0]
    general = max(allowed, key=len)
    coarse = np.unique(np.concatenate([general[general < count1], *[a for a in allowed if a is not general]]))
    cost = _vertex_costs(model, seen, coarse)
    partner = mirrored_vertices(model)
    position = np.full(len(model.uv), -1)
    position[coarse] = np.arange(len(coarse))
    best = np.zeros(SKIN_LANDMARKS, np.int64)
    for i in range(SKIN_LANDMARKS):
        mine = allowed[i][(position[allowed[i]] >= 0) & (position[partner[allowed[i]]] >= 0)]
        total = cost[position[mine], i] + cost[position[partner[mine]], landmark_mirror[i]]
        if landmark_mirror[i] == i:
            on_axis = mine[partner[mine] == mine]
            mine, total = on_axis, cost[position[on_axis], i]
        best[i] = mine[np.argmin(total)]
    return _refine(model, seen, allowed, best, partner, landmark_mirror)


def _project(points: np.ndarray, view: View) -> tuple[np.ndarray, float]:
    return view.intrinsics.project(points), view.intrinsics.pixels_per_mm(float(view.pose.translation[2]))


def _vertex_costs(model: FaceModel, seen: Observations, vertices: np.ndarray) -> np.ndarray:
    """Geman-McClure cost (vertices, 468) in mm, summed over views."""
    operator = model.subdivision(2)[vertices]
    cost = np.zeros((len(vertices), SKIN_LANDMARKS), np.float32)
    for points0, view, found in zip(seen.points0, seen.views, seen.found, strict=True):
        xy, scale = _project(operator @ points0, view)
        square = np.zeros_like(cost)
        for axis in (0, 1):
            square += ((xy[:, axis, None] - found[None, :, axis]) / scale).astype(np.float32) ** 2
        cost += square / (square + np.float32(ROBUST_MM**2))
    return cost


def mirrored_vertices(model: FaceModel) -> np.ndarray:
    """Each level-2 vertex's partner, from the symmetric mean."""
    from scipy.spatial import cKDTree

    points = model.geometry(np.zeros(80), np.zeros(76))
    return cKDTree(points).query(points * np.float32([-1, 1, 1]))[1]


def _refine(
    model: FaceModel,
    seen: Observations,
    allowed: list[np.ndarray],
    best: np.ndarray,
    partner: np.ndarray,
    landmark_mirror: np.ndarray,
) -> Embedding:
    """A barycentric grid over the triangles around each start; the mirrored landmark takes the mirrored point."""
    triangles = model.triangles(2)
    steps = [(a, b, GRID - a - b) for a in range(GRID + 1) for b in range(GRID + 1 - a)]
    grid = np.array(steps, np.float64) / GRID
    triangle, barycentric = np.zeros(478, np.int32), np.zeros((478, 3), np.float32)
    sigma = np.full(478, 10.0, np.float32)
    barycentric[:, 0] = 1
    lookup = {frozenset(map(int, t)): k for k, t in enumerate(triangles)}
    around: dict[int, list[int]] = {}
    for k, corners in enumerate(triangles):
        for v in corners:
            around.setdefault(int(v), []).append(k)
    points2 = [model.subdivision(2) @ p for p in seen.points0]
    for i in range(SKIN_LANDMARKS):
        j = int(landmark_mirror[i])
        if j < i:
            continue
        ring = {int(v) for k in around[int(best[i])] for v in triangles[k]}
        inside = set(allowed[i].tolist())
        near = sorted({k for v in ring for k in around[v] if all(int(u) in inside for u in triangles[k])})
        near = near or around[int(best[i])]
        corners = triangles[near]
        mirrored = partner[corners]
        cost = np.zeros((len(near), len(grid)))
        spread: list[np.ndarray] = []
        for p, view, found in zip(points2, seen.views, seen.found, strict=True):
            for vertices, landmark in ((corners, i), (mirrored, j)):
                xy, scale = _project(np.einsum("gk,tkd->tgd", grid, p[vertices]), view)
                square = (((xy - found[landmark]) / scale) ** 2).sum(-1)
                cost += square / (square + ROBUST_MM**2)
                spread.append(square)
        if i == j:
            middle = np.abs(np.einsum("gk,tk->tg", grid, model.geometry(np.zeros(80), np.zeros(76))[corners, 0]))
            cost[middle > 0.02] = np.inf
        t, g = np.unravel_index(int(np.argmin(cost)), cost.shape)
        size = np.median([s[t, g] for s in spread])
        for landmark, vertices in ((i, corners[t]), (j, mirrored[t])):
            triangle[landmark], barycentric[landmark] = _placed(vertices, grid[g], triangles, lookup, around)
            sigma[landmark] = np.sqrt(size / 2 / np.log(2))  # median of a two-dimensional Gaussian's square
    return Embedding(triangle, barycentric, np.maximum(sigma, 0.8), len(seen.views))


def _placed(
    vertices: np.ndarray, weights: np.ndarray, triangles: np.ndarray, lookup: dict, around: dict[int, list[int]]
) -> tuple[int, np.ndarray]:
    """The triangle of these corners with weights in its order; a mirrored diagonal takes the nearest split instead."""
    k = lookup.get(frozenset(int(v) for v in vertices))
    if k is not None:
        order = {int(v): float(w) for v, w in zip(vertices, weights, strict=True)}
        return k, np.array([order[int(v)] for v in triangles[k]], np.float32)
    used = {int(v): float(w) for v, w in zip(vertices, weights, strict=True) if w > 0}
    options = [k for v in used for k in around[v]]
    k = max(options, key=lambda k: sum(used.get(int(v), 0.0) for v in triangles[k]))
    kept = np.array([used.get(int(v), 0.0) for v in triangles[k]], np.float32)
    return k, kept / kept.sum()


def landmark_mirror(found: list[np.ndarray], views: list[View]) -> np.ndarray:
    """MediaPipe's left/right pairing, read off detections of frontal views by mirrored position."""
    frontal = sorted(
        range(len(views)),
        key=lambda k: abs(float(views[k].pose.rotation[0, 2])) + abs(float(views[k].pose.rotation[1, 2])),
    )
    votes = np.zeros((SKIN_LANDMARKS, SKIN_LANDMARKS))
    axis = sorted(MIRROR_AXIS)
    for k in frontal[: max(8, len(views) // 12)]:
        xy = found[k]
        center = xy[axis].mean(0)
        direction = np.linalg.svd(xy[axis] - center)[2][0]
        normal = np.array([direction[1], -direction[0]])
        flipped = xy - 2 * ((xy - center) @ normal)[:, None] * normal
        votes += np.linalg.norm(flipped[:, None] - xy[None], axis=-1)
    from scipy.optimize import linear_sum_assignment

    cost = votes + votes.T
    off = np.array([i for i in range(SKIN_LANDMARKS) if i not in MIRROR_AXIS])
    cost[off, off] = 1e9
    rows, columns = linear_sum_assignment(cost[np.ix_(off, off)])
    partner = np.arange(SKIN_LANDMARKS)
    partner[off[rows]] = off[columns]
    return partner
