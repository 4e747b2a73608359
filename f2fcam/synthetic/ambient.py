"""How much of the sky each point of a head sees: hollows are darker, whatever the light."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int32

from f2fcam.face.camera import Intrinsics
from f2fcam.face.mesh import vertex_normals
from f2fcam.render.cpu import CpuRasterizer

DISTANCE_MM = 20_000.0
PIXELS = 224
BIAS_MM = 2.0


def sky_visibility(
    points: Float32[np.ndarray, "n 3"], triangles: Int32[np.ndarray, "m 3"], directions: int = 40
) -> Float32[np.ndarray, " n"]:
    """Cosine-weighted share of unblocked directions per vertex, from depth pictures taken all around."""
    normals = np.empty_like(points)
    vertex_normals(points, triangles, normals)
    center = (points.max(0) + points.min(0)) / 2
    reach = float(np.linalg.norm(points - center, axis=1).max()) * 1.02
    camera = Intrinsics(PIXELS / 2 / reach * DISTANCE_MM, PIXELS / 2, PIXELS / 2, PIXELS, PIXELS)
    rasterizer = CpuRasterizer()
    seen, total = np.zeros(len(points), np.float32), np.zeros(len(points), np.float32)
    for direction in _sphere(directions):
        rotation = _looking_along(-direction)
        placed = np.ascontiguousarray((points - center) @ rotation.T + [0, 0, DISTANCE_MM], np.float32)
        depth = rasterizer.rasterize(placed, triangles, camera).depth
        pixel = np.clip(camera.project(placed).astype(np.int32), 0, PIXELS - 1)
        cosine = np.clip(normals @ direction.astype(np.float32), 0, None)
        seen += cosine * (placed[:, 2] <= depth[pixel[:, 1], pixel[:, 0]] + BIAS_MM)
        total += cosine
    return seen / np.maximum(total, 1e-6)


def _sphere(count: int) -> Float32[np.ndarray, "k 3"]:
    """Directions spread evenly (Fibonacci)."""
    k = np.arange(count) + 0.5
    y = 1 - 2 * k / count
    angle = np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - y * y)
    return np.stack([radius * np.cos(angle), y, radius * np.sin(angle)], axis=1).astype(np.float32)


def _looking_along(forward: np.ndarray) -> np.ndarray:
    """A rotation whose third row is `forward`."""
    up = np.array([0.0, 1.0, 0.0]) if abs(forward[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    right = np.cross(up, forward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])
