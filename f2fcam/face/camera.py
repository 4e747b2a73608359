"""Perspective projection Pi (Face2Face, section 3): a pinhole with square pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FOCAL_PRIOR = 1.2
"""Expected focal length in units of the longer image side (`DECISIONS` 4)."""


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """Focal length and principal point in pixels; the origin is the image's corner, the first pixel's centre at (0.5, 0.5)."""

    focal: float
    center_x: float
    center_y: float
    width: int
    height: int

    @classmethod
    def guess(cls, width: int, height: int) -> Intrinsics:
        """The prior's mean for a picture of unknown camera."""
        return cls(FOCAL_PRIOR * max(width, height), width / 2, height / 2, width, height)

    def scaled(self, factor: float) -> Intrinsics:
        """The same camera for a picture resized by `factor`."""
        return Intrinsics(
            self.focal * factor,
            self.center_x * factor,
            self.center_y * factor,
            round(self.width * factor),
            round(self.height * factor),
        )

    def coarser(self, stride: int) -> Intrinsics:
        """The same camera for a grid whose cells are `stride` pixels across and down, the last ones perhaps cut off."""
        if stride == 1:
            return self
        width, height = -(-self.width // stride), -(-self.height // stride)
        return Intrinsics(self.focal / stride, self.center_x / stride, self.center_y / stride, width, height)

    def project(self, points_camera: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """Pixels of points in camera space (z forward, positive)."""
        inverse_depth = self.focal / points_camera[..., 2:3]
        return points_camera[..., :2] * inverse_depth + np.array([self.center_x, self.center_y], points_camera.dtype)

    def pixels_per_mm(self, depth: float) -> float:
        """Projected pixels of a millimetre at `depth` millimetres."""
        return self.focal / depth
