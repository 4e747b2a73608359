"""Meshes: Catmull-Clark subdivision as a fixed sparse operator, boundary loops, vertex normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32
from numba import njit
from scipy import sparse


@dataclass(frozen=True, slots=True)
class QuadLevel:
    """One level of a subdivided quad mesh.

    Attributes:
        quads: vertex indices, counter-clockwise from outside.
        from_level0: vertices of this level as weighted sums of level-0 vertices.
    """

    quads: Int32[np.ndarray, "q 4"]
    from_level0: sparse.csr_matrix

    @property
    def count(self) -> int:
        """Number of vertices."""
        return len(self.from_level0.indptr) - 1

    @property
    def triangles(self) -> Int32[np.ndarray, "2*q 3"]:
        """Each quad split along its first diagonal; triangles 2k and 2k + 1 belong to quad k."""
        return np.ascontiguousarray(self.quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3))


def quad_edges(quads: Int32[np.ndarray, "q 4"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Undirected edges (e, 2), each quad side's edge (q, 4) and every edge's number of quads (e,)."""
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    edges, side_edge, uses = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True, return_counts=True)
    return edges.astype(np.int32), side_edge.reshape(-1, 4).astype(np.int32), uses


def catmull_clark(quads: Int32[np.ndarray, "q 4"], count: int) -> tuple[sparse.csr_matrix, Int32[np.ndarray, "4*q 4"]]:
    """One Catmull-Clark step (1978) of `count` vertices with the smooth boundary rule (1/8, 6/8, 1/8).

    Returns the operator (count + edges + quads, count), whose rows are vertex, edge and face points, and the new quads.
    """
    edges, side_edge, uses = quad_edges(quads)
    n_edge, n_quad = len(edges), len(quads)
    face = _incidence(np.repeat(np.arange(n_quad), 4), quads.ravel(), (n_quad, count)) / 4.0
    middle = _incidence(np.repeat(np.arange(n_edge), 2), edges.ravel(), (n_edge, count)) / 2.0
    border_edge = uses == 1
    edge_faces = _incidence(side_edge.ravel(), np.repeat(np.arange(n_quad), 4), (n_edge, n_quad))
    inner = sparse.diags((~border_edge).astype(np.float64))
    edge_point = (
        sparse.diags(border_edge.astype(np.float64)) @ middle + inner @ (middle + edge_faces @ face / 2.0) / 2.0
    )

    ends = _incidence(edges.ravel(), np.repeat(np.arange(n_edge), 2), (count, n_edge))
    valence = np.asarray(ends.sum(1)).ravel()
    vertex_faces = _incidence(quads.ravel(), np.repeat(np.arange(n_quad), 4), (count, n_quad))
    faces_at = np.maximum(np.asarray(vertex_faces.sum(1)).ravel(), 1)
    smooth = (
        sparse.diags(1.0 / (faces_at * valence)) @ vertex_faces @ face
        + sparse.diags(2.0 / valence**2) @ ends @ middle
        + sparse.diags((valence - 3.0) / valence)
    )
    border_ends = ends @ sparse.diags(border_edge.astype(np.float64))
    crease = border_ends @ middle / 4.0 + sparse.diags(np.full(count, 0.5))
    on_border = np.asarray(border_ends.sum(1)).ravel() > 0
    vertex_point = (
        sparse.diags(on_border.astype(np.float64)) @ crease + sparse.diags((~on_border).astype(float)) @ smooth
    )

    corner_edge = side_edge + count
    before = np.roll(corner_edge, 1, axis=1)
    center = np.repeat(np.arange(n_quad)[:, None] + count + n_edge, 4, axis=1)
    children = np.stack([quads, corner_edge, center, before], axis=-1).reshape(-1, 4)
    operator = sparse.csr_matrix(sparse.vstack([vertex_point, edge_point, face]))
    operator.eliminate_zeros()
    return operator, children.astype(np.int32)


def _incidence(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)


def subdivision_levels(quads: Int32[np.ndarray, "q 4"], count: int, steps: int = 2) -> list[QuadLevel]:
    """Level 0 to `steps` of a quad mesh; operators in float32 with sorted columns."""
    levels = [QuadLevel(np.asarray(quads, np.int32), sparse.csr_matrix(sparse.identity(count), dtype=np.float32))]
    operator = sparse.csr_matrix(sparse.identity(count))
    for _ in range(steps):
        step, quads = catmull_clark(quads, len(operator.indptr) - 1)
        operator = sparse.csr_matrix(step @ operator)
        operator.sort_indices()
        levels.append(QuadLevel(quads, sparse.csr_matrix(operator, dtype=np.float32)))
    return levels


def boundary_loops(quads: Int32[np.ndarray, "q 4"]) -> list[Int32[np.ndarray, " k"]]:
    """Closed chains of border vertices, ordered with the surface on their left as seen from outside."""
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    _, side_edge, uses = quad_edges(quads)
    following = {int(a): int(b) for a, b in sides[uses[side_edge.ravel()] == 1]}
    loops = []
    while following:
        start = min(following)
        loop, vertex = [start], following.pop(start)
        while vertex != start:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(np.array(loop, np.int32))
    return loops


@njit("void(float32[:, ::1], int32[:, ::1], float32[:, ::1])", nogil=True, cache=True, fastmath=True)
def vertex_normals(points, triangles, out):
    """Area-weighted unit normals (n, 3) of `points` (n, 3) into `out`; zero where no triangle has an area."""
    for i in range(out.shape[0]):
        out[i, 0] = out[i, 1] = out[i, 2] = np.float32(0)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (a, b, c):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for i in range(out.shape[0]):
        square = out[i, 0] * out[i, 0] + out[i, 1] * out[i, 1] + out[i, 2] * out[i, 2]
        if square > np.float32(1e-20):
            scale = np.float32(1) / np.sqrt(square)
            out[i, 0] *= scale
            out[i, 1] *= scale
            out[i, 2] *= scale


@njit(
    "void(int32[::1], int32[::1], float32[::1], float32[:, ::1], float32[:, ::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def sparse_times_points(indptr, indices, data, points, out):
    """`out` (n, 3) = CSR operator (n, m) @ `points` (m, 3)."""
    for i in range(out.shape[0]):
        x = y = z = np.float32(0)
        for k in range(indptr[i], indptr[i + 1]):
            w, j = data[k], indices[k]
            x += w * points[j, 0]
            y += w * points[j, 1]
            z += w * points[j, 2]
        out[i, 0], out[i, 1], out[i, 2] = x, y, z


@njit("UniTuple(float32, 4)(float32[:, ::1])", nogil=True, cache=True, fastmath=True)
def box(points):
    """Least x and y, greatest x and y of pixels (n, 2)."""
    low_x, low_y, high_x, high_y = np.float32(1e9), np.float32(1e9), np.float32(-1e9), np.float32(-1e9)
    for i in range(len(points)):
        low_x, high_x = min(low_x, points[i, 0]), max(high_x, points[i, 0])
        low_y, high_y = min(low_y, points[i, 1]), max(high_y, points[i, 1])
    return low_x, low_y, high_x, high_y
