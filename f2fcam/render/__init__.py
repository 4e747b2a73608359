"""From geometry to pixels: rasterise, shade, warp, composite.

`Rasterizer` is the seam for other devices: the numba one (`cpu`) is the reference that the others are tested against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float32, Int32

from f2fcam.face.camera import Intrinsics
from f2fcam.face.mesh import box

Region = tuple[int, int, int, int]
"""A rectangle of pixels `(x0, y0, x1, y1)`, half-open, inside the picture."""


@dataclass(slots=True)
class Fragments:
    """What each pixel of `region` sees. The arrays belong to the rasteriser and live until its next call.

    Attributes:
        triangle: index of the nearest triangle, -1 where there is none.
        barycentric: perspective-correct weights of its three corners; undefined where there is none.
        depth: camera-space z in millimetres; infinite where there is none.
        region: where in the picture the arrays lie.
    """

    triangle: Int32[np.ndarray, "h w"]
    barycentric: Float32[np.ndarray, "h w 3"]
    depth: Float32[np.ndarray, "h w"]
    region: Region


class Rasterizer(Protocol):
    """Visibility: which point of a mesh does each pixel's centre see?"""

    def rasterize(
        self,
        points_camera: Float32[np.ndarray, "n 3"],
        triangles: Int32[np.ndarray, "m 3"],
        intrinsics: Intrinsics,
        region: Region | None = None,
        cull_back: bool = True,
    ) -> Fragments:
        """Draw a mesh in camera space over `region`, or over the whole picture."""
        ...


def bounding_region(points: Float32[np.ndarray, "n 2"], intrinsics: Intrinsics, margin: float = 0.0) -> Region:
    """The part of the picture that holds the pixels `points`, grown by `margin` pixels; at least one pixel large."""
    low_x, low_y, high_x, high_y = box(np.ascontiguousarray(points, np.float32))
    low = np.floor(low_x - margin), np.floor(low_y - margin)
    high = np.ceil(high_x + margin), np.ceil(high_y + margin)
    x0 = int(min(max(low[0], 0), intrinsics.width - 1))
    y0 = int(min(max(low[1], 0), intrinsics.height - 1))
    x1 = int(min(max(high[0], x0 + 1), intrinsics.width))
    y1 = int(min(max(high[1], y0 + 1), intrinsics.height))
    return x0, y0, x1, y1
