"""Where the lids end that one sees: the model's own border lies deeper, behind the fold of each lid."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Int32
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from f2fcam.face.mesh import quad_edges
from f2fcam.face.morphable import load_face_model

MARGIN_RING = 12
"""Level-2 edges from the border to the visible edge of a lid."""


@lru_cache(maxsize=2)
def lid_margin(side: str) -> Int32[np.ndarray, " k"]:
    """Level-2 vertices along the visible edge of the lids of `side`, in order around the eye."""
    model = load_face_model()
    points = model.subdivide(model.mean)
    loop = model.loops[f"eye_{side}"]
    edges = quad_edges(model.levels[2].quads)[0]
    graph = coo_matrix((np.ones(len(edges)), edges.T), (len(points), len(points))).tocsr()
    ring = dijkstra(graph, directed=False, indices=loop, min_only=True, limit=MARGIN_RING + 1)
    found = np.flatnonzero(ring == MARGIN_RING)
    center = points[loop].mean(0)
    # the eye is three times as wide as high: angles in a view where it is round
    angle = np.arctan2((points[found, 1] - center[1]) * 2.5, points[found, 0] - center[0])
    return found[np.argsort(angle)].astype(np.int32)


def split_margin(points: np.ndarray, margin: Int32[np.ndarray, " k"]) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower part of a margin, each from the inner to the outer corner; `points` as in the mean head."""
    away = np.abs(points[margin, 0])
    inner, outer = int(np.argmin(away)), int(np.argmax(away))
    count = len(margin)
    one = np.roll(margin, -inner)[: (outer - inner) % count + 1]
    other = np.roll(margin[::-1], -(count - 1 - inner))[: (inner - outer) % count + 1]
    return (one, other) if points[one, 1].mean() > points[other, 1].mean() else (other, one)
