"""The personal texture: each vertex's own reflectance, gathered from the frames that saw it well (`DECISIONS` 3).

The statistical albedo is waxy and 11 to 25 grey levels off; the target's own skin fills what a frame hides, and the dense
tracker compares frames against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import sh_basis
from f2fcam.face.mesh import vertex_normals
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Performance, Person
from f2fcam.frame import SRGB_TO_LINEAR
from f2fcam.render import Rasterizer, bounding_region
from f2fcam.render.cpu import CpuRasterizer, vertex_visibility
from f2fcam.render.rims import ramp, rim_distance

LEVEL = 2

LEAST_FACING = 0.25
"""Cosine between normal and view below which a sample is worth nothing."""

LEAST_SPREAD = 0.3
"""Part of its skin that a vertex must show; less is a fold, and a pixel's misfit away shows something else."""

RIM_MM = (0.5, 2.0)
"""From a rim of mouth or eyes, samples count for nothing up to the first and fully from the second."""

LEAST_LIGHT = 0.08
"""Shading below this part of the face's mean makes a division too noisy."""

CLIPPED = 250
"""A code value from here on says nothing about reflectance: a highlight or an overexposed spot."""

AGREEMENT = 0.15
"""Samples this far from the median's luminance (relative) count half: a robust mean around the weighted median."""

ALBEDO_RANGE = (0.004, 1.0)


@dataclass(frozen=True, slots=True)
class Texture:
    """Linear reflectance per level-2 vertex, and how well it is known (0 = only the model's guess, 1 = well seen)."""

    albedo: Float32[np.ndarray, "n 3"]
    confidence: Float32[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class View:
    """A picture of the person, or a crop of one: `intrinsics` are those of `rgb` itself."""

    rgb: UInt8[np.ndarray, "h w 3"]
    intrinsics: Intrinsics
    performance: Performance


def unwrap(model: FaceModel, person: Person, views: Iterable[View], rasterizer: Rasterizer | None = None) -> Texture:
    """Reflectance from several tracked frames: colour / shading, a robust average weighted by facing and sharpness.

    Vertices that no view shows take the model's albedo, brought to the person's colour.
    """
    rasterizer = rasterizer or CpuRasterizer()
    unfolded = _unfolded_areas(model, person)
    skin = ramp(rim_distance(model, "lips", "eye_left", "eye_right"), *RIM_MM)
    seen = [
        (reflectance, weight * skin)
        for reflectance, weight in (_sample(view, person, model, unfolded, rasterizer) for view in views)
    ]
    guess = model.vertex_albedo(person.albedo, LEVEL)
    if not seen:
        return Texture(guess, np.zeros(len(guess), np.float32))
    samples, weights = np.stack([s for s, _ in seen]), np.stack([w for _, w in seen])
    albedo = _robust_mean(samples, weights)
    confidence = np.clip(weights.sum(axis=0) / (0.5 * max(float(weights.max()), 1e-9)), 0, 1).astype(np.float32)
    known = confidence > 0.5
    if known.any():
        guess = guess * (np.median(albedo[known], axis=0) / np.median(guess[known], axis=0))
    blended = confidence[:, None] * albedo + (1 - confidence[:, None]) * guess
    return Texture(np.clip(blended, *ALBEDO_RANGE).astype(np.float32), confidence)


def _unfolded_areas(model: FaceModel, person: Person) -> Float32[np.ndarray, " n"]:
    """Twice the area around each vertex, mm^2, eyes open or shut, whichever is larger: an open eye folds its lid away."""
    shut = np.zeros(76, np.float32)
    shut[[model.expression_names.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]] = 1.0
    areas = []
    for expression in (np.zeros_like(shut), shut):
        corners = model.geometry(person.identity, expression)[model.triangles(LEVEL)]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        areas.append(_at_vertices(np.linalg.norm(normals, axis=1), model))
    return np.maximum(*areas)


def _at_vertices(per_triangle: np.ndarray, model: FaceModel) -> Float32[np.ndarray, " n"]:
    triangles = model.triangles(LEVEL)
    return np.bincount(triangles.ravel(), np.repeat(per_triangle, 3), len(model.uv)).astype(np.float32)


def _spread(pixels: np.ndarray, points: np.ndarray, unfolded: np.ndarray, focal: float, model: FaceModel) -> np.ndarray:
    """How much of each vertex's skin the picture shows: 1 face-on and unfolded, 0 folded away or averted."""
    corners = pixels[model.triangles(LEVEL)]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    seen = _at_vertices(first[:, 1] * second[:, 0] - first[:, 0] * second[:, 1], model)
    return np.clip(seen / np.maximum(unfolded * (focal / points[:, 2]) ** 2, 1e-6), 0, 1)


def _sample(
    view: View, person: Person, model: FaceModel, unfolded: np.ndarray, rasterizer: Rasterizer
) -> tuple[np.ndarray, np.ndarray]:
    """One frame's reflectance (n, 3) and its weight (n,)."""
    rgb, intrinsics, performance = view.rgb, view.intrinsics, view.performance
    triangles = model.triangles(LEVEL)
    points0 = performance.camera_from_model.apply(model.geometry0(person.identity, performance.expression))
    points = model.subdivide(points0.astype(np.float32), LEVEL)
    normals = np.empty_like(points)
    vertex_normals(points, triangles, normals)
    pixels = intrinsics.project(points).astype(np.float32)
    visible = np.empty(len(points), np.uint8)
    region = bounding_region(pixels, intrinsics, 1)
    vertex_visibility(rasterizer.rasterize(points, triangles, intrinsics, region), points, pixels, visible)

    # OpenCV's pictures have at most 32,767 rows: fold the list of vertices.
    maps = np.pad(pixels - np.float32(0.5), ((0, -len(pixels) % 256), (0, 0)), mode="edge").reshape(-1, 256, 2)
    encoded: np.ndarray = cv2.remap(rgb, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR).reshape(-1, 3)[: len(pixels)]
    shading = np.einsum("nk,kc->nc", sh_basis(normals), performance.lighting)
    floor = LEAST_LIGHT * np.median(shading[visible > 0], axis=0) if visible.any() else np.ones(3)
    reflectance = np.take(SRGB_TO_LINEAR, encoded) / np.maximum(shading, np.maximum(floor, 1e-6))
    facing = -np.einsum("nc,nc->n", normals, points / np.linalg.norm(points, axis=1, keepdims=True))
    weight = np.clip((facing - LEAST_FACING) / (1 - LEAST_FACING), 0, 1) ** 2 * visible
    spread = _spread(pixels, points, unfolded, intrinsics.focal, model)
    weight *= np.clip((spread - LEAST_SPREAD) / (1 - LEAST_SPREAD), 0, 1)
    weight *= (encoded.max(axis=1) < CLIPPED) & (shading > floor).all(axis=1)
    return reflectance.astype(np.float32), (weight * _sharpness(rgb, region)).astype(np.float32)


def _sharpness(rgb: np.ndarray, region: tuple[int, int, int, int]) -> float:
    """Root of the variance of the Laplacian over the face: motion blur and missed focus lower it."""
    x0, y0, x1, y1 = region
    grey = cv2.cvtColor(np.ascontiguousarray(rgb[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
    return float(np.sqrt(cv2.Laplacian(grey, cv2.CV_32F).var())) + 1e-3


def _robust_mean(samples: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Per vertex (k, n, 3), (k, n) -> (n, 3): mean of the samples near the weighted median of their luminance."""
    luminance = samples.mean(axis=2)
    order = np.argsort(luminance, axis=0)
    cumulated = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
    middle = (cumulated < 0.5 * cumulated[-1]).sum(axis=0).clip(max=len(samples) - 1)
    pick = np.take_along_axis(order, middle[None], axis=0)
    median = np.take_along_axis(luminance, pick, axis=0)
    near = weights / (1 + (np.abs(luminance / np.maximum(median, 1e-6) - 1) / AGREEMENT) ** 2)
    total = np.maximum(near.sum(axis=0), 1e-9)
    return np.einsum("kn,knc->nc", near, samples) / total[:, None]
