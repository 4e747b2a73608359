"""Pictures of a fit: the surface drawn over what it was fitted to, and the model's own idea of it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import sh_basis
from f2fcam.face.mesh import vertex_normals
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Performance, Person
from f2fcam.frame import srgb_encode
from f2fcam.render.cpu import CpuRasterizer
from f2fcam.render.view import CAVITY_REFLECTANCE

LINE = (90, 220, 255)
SCLERA, IRIS = np.array([0.42, 0.36, 0.33]), np.array([0.045, 0.032, 0.026])
"""Linear reflectance of the eyeballs that are drawn: the model has none, and enrolment learns no colour of theirs."""
SKIN_REFLECTANCE = 0.30
"""Of the skin around such eyeballs."""
IRIS_SIZE, PUPIL_SIZE = 0.20, 0.08
"""Radii, as parts of the eye's width."""
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
    # The face's reflectance is known up to the light's strength only: the eyes are as bright as they should be beside it.
    front = sh_basis(np.array([[0.0, 0.0, -1.0]]))[0] @ performance.lighting
    front = front * (np.median(albedo[model.triangles(2)[model.textured]]) / SKIN_REFLECTANCE)
    _fill_openings({name: camera.project(points[loop]) for name, loop in model.loops.items()}, front, ~there, out)
    return out


def _fill_openings(
    rims: dict[str, np.ndarray], light: Float[np.ndarray, " 3"], free: Bool[np.ndarray, "h w"], out: np.ndarray
) -> None:
    """Plain eyeballs between the lids and darkness between the lips, where the surface has holes (pixels `free`)."""
    for name in ("lips", "eye_left", "eye_right"):
        rim = rims[name]
        x0, y0 = np.maximum(np.floor(rim.min(axis=0)).astype(int) - 1, 0)
        x1, y1 = np.minimum(np.ceil(rim.max(axis=0)).astype(int) + 2, [out.shape[1], out.shape[0]])
        if x1 <= x0 or y1 <= y0:
            continue
        at = np.stack(np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5), axis=-1)
        inside = np.zeros(at.shape[:2], np.uint8)
        cv2.fillPoly(inside, [np.round((rim - (x0, y0) - 0.5) * 16).astype(np.int32)], (1,), shift=4)
        # A pixel around the polygon too: the rim's jagged edge leaves gaps.
        within = (cv2.dilate(inside, np.ones((3, 3), np.uint8)) > 0) & free[y0:y1, x0:x1]
        albedo = np.broadcast_to(CAVITY_REFLECTANCE, (*within.shape, 3)) if name == "lips" else _eyeball(rim, at)
        out[y0:y1, x0:x1][within] = (255 * srgb_encode((albedo * light).clip(0, 1)))[within].astype(np.uint8)


def _eyeball(rim: Float[np.ndarray, "k 2"], at: Float[np.ndarray, "h w 2"]) -> Float[np.ndarray, "h w 3"]:
    """Reflectance at pixels of an eye that looks ahead, the upper lid's shadow on it."""
    left, right = rim[np.argmin(rim[:, 0])], rim[np.argmax(rim[:, 0])]
    wide, top = max(float(np.linalg.norm(right - left)), 1e-6), float(rim[:, 1].min())
    middle = np.array([(left[0] + right[0]) / 2, (rim[:, 1].max() + top) / 2])
    out = np.linalg.norm(at - middle, axis=-1)[..., None] / wide
    soft = 1.0 / wide
    albedo = SCLERA + (IRIS - SCLERA) * np.clip((IRIS_SIZE - out) / soft + 0.5, 0, 1)
    albedo = albedo * np.clip((out - PUPIL_SIZE) / soft + 0.5, 0.08, 1)
    return albedo * np.clip(0.45 + 2.5 * (at[..., 1:] - top) / wide, 0, 1)


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
