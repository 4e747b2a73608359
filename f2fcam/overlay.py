"""Pictures of a fit: the surface drawn over what it was fitted to, and the model's own idea of it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import UInt8

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import sh_basis
from f2fcam.face.mesh import vertex_normals
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Performance, Person
from f2fcam.frame import srgb_encode
from f2fcam.render.cpu import CpuRasterizer

LINE = (90, 220, 255)
MOST_PX = 420
"""Height of a picture in a report."""


def fit_picture(
    model: FaceModel, person: Person, performance: Performance, rgb: UInt8[np.ndarray, "h w 3"], camera: Intrinsics
) -> UInt8[np.ndarray, "h w3 3"]:
    """Side by side: the picture, the coarse mesh over it, the shaded model in its place. `camera` is the picture's."""
    factor = min(1.0, MOST_PX / rgb.shape[0])
    small = cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    camera = replace(camera.scaled(factor), width=small.shape[1], height=small.shape[0])
    return np.hstack([small, _wireframe(model, person, performance, small, camera),
                      _rendered(model, person, performance, small, camera)])  # fmt: skip


def _points(model: FaceModel, person: Person, performance: Performance, level: int) -> np.ndarray:
    points0 = performance.camera_from_model.apply(model.geometry0(person.identity, performance.expression))
    return model.subdivide(points0.astype(np.float32), level)


def _wireframe(
    model: FaceModel, person: Person, performance: Performance, rgb: np.ndarray, camera: Intrinsics
) -> np.ndarray:
    points = _points(model, person, performance, 0)
    triangles = model.triangles(0)
    drawn = CpuRasterizer().rasterize(points, triangles, camera)
    seen = np.unique(drawn.triangle[drawn.triangle >= 0])
    seen = seen[np.isin(seen, model.face_triangles0)]
    pixels = np.round((camera.project(points) - 0.5) * 16).astype(np.int32)
    lines = rgb.copy()
    cv2.polylines(lines, list(pixels[triangles[seen]]), True, LINE, 1, cv2.LINE_AA, shift=4)
    return cv2.addWeighted(rgb, 0.55, lines, 0.45, 0)


def _rendered(
    model: FaceModel, person: Person, performance: Performance, rgb: np.ndarray, camera: Intrinsics
) -> np.ndarray:
    points, triangles = _points(model, person, performance, 2), model.triangles(2)
    normals = np.empty_like(points)
    vertex_normals(points, triangles, normals)
    albedo = model.vertex_albedo(person.albedo) if person.vertex_albedo is None else person.vertex_albedo
    radiance = albedo * np.einsum("nk,kc->nc", sh_basis(normals), performance.lighting)
    colours = (255 * srgb_encode(radiance)).astype(np.float32)
    drawn = CpuRasterizer().rasterize(points, triangles, camera)
    there = drawn.triangle >= 0
    corners = triangles[drawn.triangle[there]]
    out = (rgb * 0.35).astype(np.uint8)
    out[there] = np.einsum("pk,pkc->pc", drawn.barycentric[there], colours[corners]).astype(np.uint8)
    return out


def texture_picture(
    model: FaceModel, albedo: np.ndarray, confidence: np.ndarray, size: int = 1024
) -> UInt8[np.ndarray, "s s 4"]:
    """Reflectance laid out by the model's texture coordinates, sRGB-encoded, with confidence as alpha."""
    flat = np.column_stack([model.uv * size, np.full(len(model.uv), size, np.float32)]).astype(np.float32)
    # An orthographic view of the flat layout: a pinhole of focal length z leaves x and y as they are.
    triangles = model.triangles(2)[model.textured]
    drawn = CpuRasterizer().rasterize(flat, triangles, Intrinsics(size, 0.0, 0.0, size, size), cull_back=False)
    there = drawn.triangle >= 0
    corners = triangles[drawn.triangle[there]]
    values = np.column_stack([255 * srgb_encode(albedo), 255 * confidence]).astype(np.float32)
    out = np.zeros((size, size, 4), np.uint8)
    out[there] = np.einsum("pk,pkc->pc", drawn.barycentric[there], values[corners]).clip(0, 255).astype(np.uint8)
    return out
