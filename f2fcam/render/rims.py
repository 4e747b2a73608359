"""How far skin is from the rims of mouth and eyes, where a pixel's misfit shows teeth or eyeballs instead of skin."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from scipy.spatial import KDTree

from f2fcam.face.morphable import FaceModel


def rim_distance(model: FaceModel, *loops: str) -> Float32[np.ndarray, " n"]:
    """Millimetres from each level-2 vertex of the mean face to the nearest vertex of the named loops."""
    points = model.subdivide(model.mean)
    rim = np.concatenate([points[model.loops[name]] for name in loops])
    return KDTree(rim).query(points)[0].astype(np.float32)


def ramp(values: Float32[np.ndarray, " n"], low: float, high: float) -> Float32[np.ndarray, " n"]:
    """0 up to `low`, 1 from `high` on, linear in between."""
    return np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
