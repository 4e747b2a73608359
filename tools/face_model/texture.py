"""Texture coordinates: a Tutte embedding of the head's front half, injective by construction."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from f2fcam.face.mesh import QuadLevel, boundary_loops

CUT_DEPTH = 20.0  # base mesh z behind which the head has no texture
CENTER = (0.0, 700.0, 150.0)  # the face is enlarged around here
ENLARGE_MM = 75.0


def texture_coordinates(
    level: QuadLevel, quads0: np.ndarray, base: np.ndarray, base2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which level-2 triangles have a texture of their own (m,), and coordinates (n, 2) of all level-2 vertices.

    They lie in [0, 1], v downwards; the face is upright, the person's left at the picture's right.

    The front half is a disc with three holes: its rim goes to a circle, the rest follows with positive weights (Tutte
    1963, Floater 2003), so no two of its points coincide. What lies behind collapses onto the circle.
    """
    front0 = _largest((base[quads0, 2] > CUT_DEPTH).all(1), quads0)
    front = np.repeat(front0, 16)
    quads = level.quads[front]
    loops = boundary_loops(_compact(quads)[0])
    quads, used = _compact(quads)
    rim = max(loops, key=lambda loop: np.ptp(base2[used][loop, 0]))
    points = base2[used]
    uv = _tutte(quads, points, rim, [loop for loop in loops if loop is not rim])
    everything = np.empty((len(base2), 2))
    everything[used] = uv
    rest = np.setdiff1d(np.arange(len(base2)), used)
    everything[rest] = uv[rim][cKDTree(points[rim]).query(base2[rest])[1]]
    return np.repeat(front, 2), everything


def _largest(selected: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """The selected quads that hang together."""
    chosen = np.flatnonzero(selected)
    n = int(quads.max()) + 1
    a, b = quads[chosen].ravel(), np.roll(quads[chosen], -1, axis=1).ravel()
    parts = connected_components(sparse.coo_matrix((np.ones(len(a)), (a, b)), (n, n)), directed=False)[1]
    main = np.bincount(parts[quads[chosen, 0]]).argmax()
    result = np.zeros(len(quads), bool)
    result[chosen[parts[quads[chosen, 0]] == main]] = True
    return result


def _compact(quads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    used, renumbered = np.unique(quads, return_inverse=True)
    return renumbered.reshape(-1, 4).astype(np.int32), used


def _tutte(quads: np.ndarray, points: np.ndarray, rim: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """Mean-value weighted embedding, weights lowered near the face's centre so that it takes more room.

    Holes are closed by a vertex in their middle, or their rims could fold.
    """
    count, n = len(points), len(points) + len(holes)
    center = points[rim].mean(0)
    length = np.linalg.norm(np.diff(points[np.append(rim, rim[0])], axis=0), axis=1)
    angle = 2 * np.pi * np.concatenate([[0], np.cumsum(length)[:-1]]) / length.sum()
    top = rim[np.argmax(points[rim, 1])]
    angle -= angle[np.flatnonzero(rim == top)[0]]
    turn = np.sign(np.cross(points[rim[0]] - center, points[rim[len(rim) // 4]] - center)[2])
    circle = np.stack([0.5 - 0.5 * np.sin(turn * angle), 0.5 - 0.5 * np.cos(turn * angle)], axis=1)
    triangles = quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    for k, hole in enumerate(holes):
        fan = np.stack([np.roll(hole, -1), hole, np.full(len(hole), count + k)], axis=1)
        triangles = np.concatenate([triangles, fan])
    points = np.concatenate([points, [points[hole].mean(0) for hole in holes]])
    weights = _mean_value(triangles, points)
    reach = np.linalg.norm((points - CENTER) * [1, 0.8, 0.6], axis=1) / ENLARGE_MM
    softer = sparse.diags(np.sqrt(1 / (1 + 4 * np.exp(-(reach**2)))))
    weights = softer @ weights @ softer
    laplacian = sparse.diags(np.asarray(weights.sum(1)).ravel()) - weights
    inner = np.setdiff1d(np.arange(n), rim)
    solver = splu(laplacian[inner][:, inner].tocsc())
    uv = np.empty((n, 2))
    uv[rim] = circle
    uv[inner] = solver.solve(np.ascontiguousarray(-(laplacian[inner][:, rim] @ circle)))
    return uv[:count]


def _mean_value(triangles: np.ndarray, points: np.ndarray) -> sparse.csr_matrix:
    """Floater's mean-value weights, positive on any mesh: sums of tan(angle / 2) at i beside edge ij over its length."""
    n = len(points)
    total = sparse.csr_matrix((n, n))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        a, b, c = triangles[:, i], triangles[:, j], triangles[:, k]
        u, v = points[b] - points[a], points[c] - points[a]
        lu, lv = np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=1)
        half = np.tan(np.arccos(np.clip((u * v).sum(1) / (lu * lv), -1, 1)) / 2)
        total = total + sparse.coo_matrix((half / lu, (a, b)), (n, n)) + sparse.coo_matrix((half / lv, (a, c)), (n, n))
    return total.tocsr()
