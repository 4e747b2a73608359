"""Painted heads under random light: what the landmark detector is shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import C0, C1, sh_basis
from f2fcam.face.mesh import vertex_normals
from f2fcam.face.morphable import FaceModel
from f2fcam.face.parts import PART_NAMES, Parts
from f2fcam.face.rigid import RigidTransform, so3_exp
from f2fcam.render.cpu import CpuRasterizer

SIZE = 512
TONES = (-1.4, 0.2, 1.8)  # melanin coefficient
MOUTH_DARK = (0.03, 0.008, 0.008)
FRONTAL = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class View:
    """One random person, expression, pose and light."""

    identity: np.ndarray
    expression: np.ndarray
    albedo: np.ndarray
    pose: RigidTransform
    intrinsics: Intrinsics
    lighting: np.ndarray


def random_view(model: FaceModel, rng: np.random.Generator, index: int) -> View:
    """Yaw +-0.6, pitch +-0.35, one of three skin tones, a broad key light; a quarter of the views are neutral."""
    yaw, pitch, roll = rng.uniform(-0.6, 0.6), rng.uniform(-0.35, 0.35), rng.normal(0, 0.06)
    rotation = (
        FRONTAL @ so3_exp(np.array([pitch, 0, 0])) @ so3_exp(np.array([0, yaw, 0])) @ so3_exp(np.array([0, 0, roll]))
    )
    distance = rng.uniform(480, 900)
    focal = distance * SIZE / rng.uniform(300, 380)
    pose = RigidTransform(rotation, np.array([*rng.normal(0, 8, 2), distance]))
    lighting = np.zeros((9, 3))
    lighting[0] = rng.uniform(0.7, 1.0) / C0
    key = np.array([rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.3), -rng.uniform(0.4, 1.0)])
    lighting[1:4] = (key[[1, 2, 0]] / np.linalg.norm(key) * rng.uniform(0.15, 0.5) / C1)[:, None]
    albedo = rng.normal(0, 0.5, 80)
    albedo[0] = TONES[index % len(TONES)]
    return View(
        rng.normal(0, 0.8, 80),
        random_expression(model, rng) if index % 4 else np.zeros(76),
        albedo,
        pose,
        Intrinsics(focal, SIZE / 2, SIZE / 2, SIZE, SIZE),
        lighting * rng.uniform(0.9, 1.3),
    )


def random_expression(model: FaceModel, rng: np.random.Generator) -> np.ndarray:
    """A few shapes at once, left and right alike; jaw, smile and blink more often than the rest."""
    weights = np.zeros(len(model.expression_names))
    names = model.expression_names
    for i in rng.choice(len(names), 5, replace=False):
        weights[i] = rng.uniform(0, 0.6)
    for stem, odds, most in (("jawOpen", 0.5, 0.7), ("mouthSmile", 0.35, 0.9), ("eyeBlink", 0.3, 1.0)):
        if rng.uniform() < odds:
            value = rng.uniform(0, most)
            for name in (stem, f"{stem}Left", f"{stem}Right"):
                if name in names:
                    weights[names.index(name)] = value
    for a, b in model.antagonists:
        weights[min(a, b, key=lambda i: weights[i])] = 0.0
    return weights


class Scene:
    """Draws a `View` as a picture; the skin's level-2 vertices come first in every array."""

    def __init__(self, model: FaceModel, parts: Parts) -> None:
        self.model, self.parts = model, parts
        self.rasterizer = CpuRasterizer()
        triangles, start = [model.triangles(2)], len(model.uv)
        for name in PART_NAMES:
            triangles.append(parts[name].triangles + start)
            start += len(parts[name].uv)
        lips = model.loops["lips"]
        rim = np.arange(len(lips)) + start
        back, apex = rim + len(rim), np.full(len(rim), start + 2 * len(rim))
        beside, behind = np.roll(rim, -1), np.roll(back, -1)
        triangles += [np.stack(t, axis=1) for t in ((beside, rim, back), (beside, back, behind), (behind, back, apex))]
        self.triangles = np.ascontiguousarray(np.concatenate(triangles), np.int32)

    def geometry(self, view: View) -> np.ndarray:
        """All vertices in model space: skin, parts, and a dark bag behind the lips."""
        skin = self.model.geometry(view.identity, view.expression)
        parts = [self.parts[name].geometry(view.identity, view.expression) for name in PART_NAMES]
        rim = skin[self.model.loops["lips"]] - np.float32([0, 0, 1])
        middle = rim.mean(0, keepdims=True)
        back = middle + (rim - middle) * np.float32([1.2, 1.0, 1.0]) + np.sign(rim - middle) * np.float32([0, 14, 0])
        apex = middle - np.float32([0, 0, 60])
        return np.concatenate([skin, *parts, rim, back - np.float32([0, 0, 30]), apex]).astype(np.float32)

    def colors(self, view: View) -> np.ndarray:
        """Linear reflectance of all vertices."""
        colors = [self.model.vertex_albedo(view.albedo)]
        for name in PART_NAMES:
            uv = self.parts[name].uv
            flat = {"tongue": (0.40, 0.14, 0.13)}.get(name, (0.62, 0.58, 0.50))
            colors.append(iris(uv) if name.startswith("eye") else np.tile(flat, (len(uv), 1)))
        colors.append(np.tile(MOUTH_DARK, (2 * len(self.model.loops["lips"]) + 1, 1)))
        return np.concatenate(colors).astype(np.float32)

    def draw(self, view: View) -> np.ndarray:
        """sRGB picture (SIZE, SIZE, 3) uint8."""
        points = np.ascontiguousarray(view.pose.apply(self.geometry(view)), np.float32)
        normals = np.empty_like(points)
        vertex_normals(points, self.triangles, normals)
        radiance = self.colors(view) * np.maximum(sh_basis(normals) @ view.lighting, 0.02)
        seen = self.rasterizer.rasterize(points, self.triangles, view.intrinsics)
        inside = seen.triangle >= 0
        picture = np.full((*inside.shape, 3), 0.18, np.float32)
        corners = self.triangles[seen.triangle[inside]]
        picture[inside] = np.einsum("pk,pkc->pc", seen.barycentric[inside], radiance[corners])
        return encode(picture)


def iris(uv: np.ndarray) -> np.ndarray:
    """Eyeball colours: pupil, iris, sclera by the angle from the optical axis (degrees)."""
    degrees = np.linalg.norm(uv - 0.5, axis=1)[:, None] * 360
    white, brown, black = np.array([0.62, 0.58, 0.55]), np.array([0.09, 0.05, 0.03]), np.array([0.005, 0.005, 0.005])
    colors = np.where(degrees < 30, brown, white)
    return np.where(degrees < 12, black, colors)


def encode(linear: np.ndarray) -> np.ndarray:
    """Linear light to 8-bit sRGB."""
    linear = np.clip(linear, 0, 1)
    return (np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255 + 0.5).astype(
        np.uint8
    )
