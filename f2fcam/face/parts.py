"""Eyeballs, teeth and tongue: what shows through the face model's apertures, and the held-out people."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int32

from f2fcam.face.mesh import QuadLevel, subdivision_levels
from f2fcam.face.morphable import _data, unpack

PART_NAMES = ("eye_left", "eye_right", "teeth_lower", "teeth_upper", "tongue")


@dataclass(frozen=True, slots=True)
class Part:
    """One mesh of closed quads with the face model's bases; `smooth` subdivides it twice.

    Attributes:
        mean, identity, expression: level-0 vertices in mm, per standard deviation and per unit.
        uv: texture coordinates of the smooth vertices; an eyeball's are angles from its optical axis, the pupil's
            centre at (0.5, 0.5), 90 degrees at a distance of 0.25.
        triangles: of the smooth mesh.
    """

    name: str
    mean: Float32[np.ndarray, "v 3"]
    identity: Float32[np.ndarray, "v 3 80"]
    expression: Float32[np.ndarray, "v 3 76"]
    smooth: QuadLevel
    uv: Float32[np.ndarray, "n 2"]
    triangles: Int32[np.ndarray, "m 3"]

    def geometry0(self, identity: np.ndarray, expression: np.ndarray) -> Float32[np.ndarray, "v 3"]:
        """Level-0 vertices, model space."""
        return self.mean + self.identity @ np.float32(identity) + self.expression @ np.float32(expression)

    def geometry(self, identity: np.ndarray, expression: np.ndarray) -> Float32[np.ndarray, "n 3"]:
        """Smooth vertices, model space."""
        return self.smoothed(self.geometry0(identity, expression))

    def smoothed(self, points: Float32[np.ndarray, "v 3"]) -> Float32[np.ndarray, "n 3"]:
        """Level-0 vertices (a held-out person's, say) carried to the smooth mesh."""
        return np.ascontiguousarray(self.smooth.from_level0 @ np.asarray(points, np.float32))


@dataclass(frozen=True, slots=True)
class Parts:
    """All parts by name; `slices` says where each lies in arrays over every part's level-0 vertices."""

    by_name: dict[str, Part]
    slices: dict[str, slice]

    def __getitem__(self, name: str) -> Part:
        return self.by_name[name]


@dataclass(frozen=True, slots=True)
class People:
    """Heads that the generator drew outside the PCA's sample, neutral, aligned like the model.

    Attributes:
        skin: level-0 vertices. parts: level-0 vertices of all parts, in the order of `PART_NAMES`.
    """

    skin: Float32[np.ndarray, "p 3386 3"]
    parts: Float32[np.ndarray, "p w 3"]


@lru_cache(maxsize=1)
def load_parts() -> Parts:
    """The parts that ship with the package; read once."""
    stored = unpack(_data("parts.npz"), "the face's parts")
    slices, by_name, start = {}, {}, 0
    for name in PART_NAMES:
        quads = stored[f"quads_{name}"].astype(np.int32)
        span = slice(start, start + int(quads.max()) + 1)
        start = span.stop
        smooth = subdivision_levels(quads, span.stop - span.start)[-1]
        mean = stored["mean"][span]
        slices[name] = span
        by_name[name] = Part(
            name,
            mean,
            stored["identity"][span],
            stored["expression"][span],
            smooth,
            (smooth.from_level0 @ stored["uv"][span]).astype(np.float32)
            if not name.startswith("eye")
            else eye_uv(smooth.from_level0 @ mean),
            smooth.triangles,
        )
    return Parts(by_name, slices)


def eye_uv(points: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 2"]:
    """Azimuthal equidistant coordinates about the axis that looks along z."""
    center = (points.max(0) + points.min(0)) / 2
    x, y, z = (points - center).T
    angle = np.arctan2(np.hypot(x, y), z)
    around = np.maximum(np.hypot(x, y), 1e-6)
    radius = angle / (2 * np.pi)
    return np.stack([0.5 + radius * x / around, 0.5 - radius * y / around], axis=1).astype(np.float32)


@lru_cache(maxsize=1)
def load_people() -> People:
    """The held-out people that ship with the package."""
    stored = unpack(_data("people.npz"), "the held-out people")
    return People(stored["skin"], stored["parts"])
