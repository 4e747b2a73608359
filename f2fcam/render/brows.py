"""Where a person's brows really are: the model's rest shape moved onto them, so that they rise as a whole.

Identity hardly says where on a forehead the brows grow. Brows that sit millimetres below the model's lie where the raising
skin stretches, and would get thicker instead of higher; the detector's constant offset from the model tells.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Person
from f2fcam.render.rims import nearest_mm, ramp

SPREAD_MM = 6.0
"""How far a landmark's offset reaches along the brow."""
REACH_MM = (6.0, 22.0)
"""Skin nearer to a brow goes along with it, farther off it stays."""
ON_BROW = 60
"""Of 255: a landmark's triangle in the brow's region."""
LIDS_MM = (3.0, 9.0)
"""Up to the first from the lids nothing moves."""


def brow_shift(model: FaceModel, person: Person) -> Float32[np.ndarray, "m 3"]:
    """What to add to a person's level-0 vertices, mm; zero for a person whose landmarks were not observed."""
    shift = np.zeros(model.mean.shape, np.float32)
    if person.landmark_offset is None:
        return shift
    lids = model.subdivide(model.mean)[np.concatenate([model.loops["eye_left"], model.loops["eye_right"]])]
    from_lids = nearest_mm(model.mean, lids)
    points = model.rows(model.landmarks).mean
    corners = model.triangles(model.landmarks.level)[model.landmarks.triangle]
    for name in ("brow_left", "brow_right"):
        brow = np.flatnonzero(model.landmark_valid & (model.regions[name][corners].max(axis=1) > ON_BROW))
        square = ((model.mean[:, None] - points[brow][None]) ** 2).sum(axis=2)
        nearest = square.min(axis=1)
        weight = np.exp(-0.5 * (square - nearest[:, None]) / SPREAD_MM**2)
        weight *= ((1 - ramp(np.sqrt(nearest), *REACH_MM)) * ramp(from_lids, *LIDS_MM) / weight.sum(axis=1))[:, None]
        shift += (weight @ person.landmark_offset[brow]).astype(np.float32)
    return shift
