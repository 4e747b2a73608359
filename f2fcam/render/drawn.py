"""What of the face's surface is drawn: level 2 where it bends or its weights change, level 1 or 0 where two triangles do as well.

All vertices are level 2's own, and no edge is split on one side only, so the surface has no cracks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32
from scipy import sparse

from f2fcam.face.morphable import FaceModel
from f2fcam.kept import kept_array

BEND_MM = 0.8
"""Most that a whole expression may bend an undivided side."""
SAG_MM2 = 2.4
"""Most that the mean face may stand out over it, times how far an expression moves it: what moves along the outline."""
WEIGHT_STEP = 0.16
"""Most that a weight at the middle of an undivided side may differ from its ends' mean."""


@dataclass(frozen=True, slots=True)
class DrawnMesh:
    """Some of level 2's vertices, numbered anew in the order in which triangles use them.

    Attributes:
        rows: their numbers in the model. triangles: of these vertices. operator: them as sums of level 0's.
    """

    rows: Int32[np.ndarray, " n"]
    triangles: Int32[np.ndarray, "m 3"]
    operator: sparse.csr_matrix

    def local(self, vertices: Int32[np.ndarray, " k"]) -> Int32[np.ndarray, " k"]:
        """The new numbers of vertices that are drawn."""
        number = np.full(self.rows.max() + 1, -1, np.int32)
        number[self.rows] = np.arange(len(self.rows), dtype=np.int32)
        return number[vertices]


def whole_mesh(model: FaceModel) -> DrawnMesh:
    """Every triangle of level 2."""
    return _renumbered(model, model.triangles(2))


def thinned_mesh(model: FaceModel, weights: Float32[np.ndarray, "n w"], fine: Bool[np.ndarray, " n"]) -> DrawnMesh:
    """Quads of level 0 or 1 are drawn undivided where no expression bends them and no weight jumps; never at `fine` vertices.

    Found once, and kept beside the compiled kernels for the next start.
    """
    limits = np.array([BEND_MM, SAG_MM2, WEIGHT_STEP])
    basis = (model.mean, model.expression_basis, model.levels[2].quads)
    triangles = kept_array("drawn", (*basis, weights, fine, limits), lambda: _thinned(model, weights, fine))
    return _renumbered(model, triangles)


def _thinned(model: FaceModel, weights: np.ndarray, fine: np.ndarray) -> Int32[np.ndarray, "m 3"]:
    """Triangles of level-2 vertices."""
    children = model.levels[2].quads.reshape(-1, 4, 4)
    rings1 = children[:, :, :2].reshape(-1, 8)
    quarters = children.reshape(-1, 4, 4, 4)
    turned = np.roll(quarters, -1, axis=1)
    rings0 = np.stack([quarters[:, :, 0, 0], quarters[:, :, 0, 1], quarters[:, :, 1, 0], turned[:, :, 3, 1]], axis=2)
    rings0 = rings0.reshape(-1, 16)
    middles1, middles0 = children[:, 0, 2], quarters[:, 0, 2, 0]
    divided1 = _uneven(model, weights, rings1, middles1, fine[children].any(axis=(1, 2)))
    divided0 = _uneven(model, weights, rings0, middles0, divided1.reshape(-1, 4).any(axis=1))
    corners = np.zeros(len(fine), bool)
    corners[rings0[:, ::4]] = True
    level1 = np.repeat(divided0, 4)
    corners[rings1[level1 & ~divided1][:, ::2]] = True
    corners[children[level1 & divided1]] = True
    groups = []
    for q in range(len(rings0)):
        if not divided0[q]:
            groups.append(_fan(rings0[q], middles0[q], corners))
            continue
        for k in range(4 * q, 4 * q + 4):
            if divided1[k]:
                groups.append(children[k][:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3))
            else:
                groups.append(_fan(rings1[k], middles1[k], corners))
    return np.concatenate(groups).astype(np.int32)


def _uneven(
    model: FaceModel, weights: np.ndarray, rings: np.ndarray, middles: np.ndarray, known: Bool[np.ndarray, " q"]
) -> Bool[np.ndarray, " q"]:
    """Quads that are `known` to be, or whose sides' middles, or their own, are not where their corners' means are under some
    expression. Every expression of every side costs most of the time: only where the rest has not decided.
    """
    count = rings.shape[1] // 4
    corner, side = rings[:, ::count], rings[:, count // 2 :: count]
    spans = [(side[:, k], corner[:, k], corner[:, (k + 1) % 4]) for k in range(4)]
    spans.append((middles, corner[:, 0], corner[:, 2]))
    operator, basis = model.subdivision(2), model.expression_basis.reshape(len(model.mean), -1)
    motion = (operator @ np.linalg.norm(model.expression_basis, axis=1)).max(axis=1)
    uneven = known.copy()
    aways = [operator[found] - (operator[one] + operator[other]) / 2 for found, one, other in spans]
    for (found, one, other), away in zip(spans, aways, strict=True):
        uneven |= np.linalg.norm(away @ model.mean, axis=1) * motion[found] > SAG_MM2
        uneven |= np.abs(weights[found] - (weights[one] + weights[other]) / 2).max(axis=1) > WEIGHT_STEP
    farthest = np.linalg.norm(model.expression_basis, axis=1).max(axis=1)
    for away in aways:
        open_ = np.flatnonzero(~uneven & (np.abs(away) @ farthest > 0.999 * BEND_MM))
        bends = np.linalg.norm((away[open_] @ basis).reshape(len(open_), 3, -1), axis=1).max(axis=1)
        uneven[open_[bends > BEND_MM]] = True
    return uneven


def _fan(ring: np.ndarray, middle: np.integer, corners: Bool[np.ndarray, " n"]) -> np.ndarray:
    """An undivided quad; around its middle where neighbours have put corners on its sides."""
    ring = ring[corners[ring]]
    if len(ring) == 4:
        return ring[[0, 1, 2, 0, 2, 3]].reshape(2, 3)
    return np.stack([np.full(len(ring), middle), ring, np.roll(ring, -1)], axis=1)


def _renumbered(model: FaceModel, triangles: np.ndarray) -> DrawnMesh:
    """Vertices in the order in which triangles name them."""
    named, operator = triangles.ravel(), model.subdivision(2)
    first = np.full(model.levels[2].count, len(named))
    first[named[::-1]] = np.arange(len(named))[::-1]  # of several the last, which is the first
    rows = np.flatnonzero(first < len(named))
    rows = rows[np.argsort(first[rows])].astype(np.int32)
    place = np.empty(len(first), np.int32)
    place[rows] = np.arange(len(rows), dtype=np.int32)
    return DrawnMesh(rows, place[triangles], operator[rows])
