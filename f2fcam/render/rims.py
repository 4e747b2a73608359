"""How far skin is from the rims of mouth and eyes, where a pixel's misfit shows teeth or eyeballs instead of skin."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from f2fcam.face.morphable import FaceModel
from f2fcam.kept import kept_array


def rim_distance(model: FaceModel, *loops: str) -> Float32[np.ndarray, " n"]:
    """Millimetres from each level-2 vertex of the mean face to the nearest vertex of the named loops."""
    points = model.subdivide(model.mean)
    rim = np.concatenate([points[model.loops[name]] for name in loops])
    return nearest_mm(points, rim)


def nearest_mm(points: Float32[np.ndarray, "n 3"], rim: Float32[np.ndarray, "k 3"]) -> Float32[np.ndarray, " n"]:
    """From each of the model's points to the nearest of a rim's; found once, then kept."""

    def found() -> np.ndarray:
        from scipy.spatial import KDTree  # not before: its import takes a tenth of a second

        return KDTree(rim).query(points)[0].astype(np.float32)

    return kept_array("rims", (points, rim), found)


def ramp(values: Float32[np.ndarray, " n"], low: float, high: float) -> Float32[np.ndarray, " n"]:
    """0 up to `low`, 1 from `high` on, linear in between."""
    return np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
