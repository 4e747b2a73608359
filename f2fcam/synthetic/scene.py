"""Draws a synthetic person: all surfaces in one depth buffer, deferred shading, layers, camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from f2fcam.face.camera import Intrinsics
from f2fcam.face.mesh import vertex_normals
from f2fcam.face.morphable import load_face_model
from f2fcam.face.parts import load_parts
from f2fcam.face.rigid import RigidTransform
from f2fcam.face.state import Performance
from f2fcam.render import bounding_region
from f2fcam.render.cpu import CpuRasterizer
from f2fcam.synthetic.ambient import sky_visibility
from f2fcam.synthetic.backdrop import paint_backdrop
from f2fcam.synthetic.body import Body
from f2fcam.synthetic.film import encode
from f2fcam.synthetic.hair import Curtain, Lashes, hair_shells
from f2fcam.synthetic.interior import (
    PART_SHIFT_MM,
    MouthCavity,
    bulge_cornea,
    eye_light,
    mouth_light,
    paint_eye,
    paint_teeth,
    paint_tongue,
)
from f2fcam.synthetic.lids import lid_margin
from f2fcam.synthetic.lights import Light
from f2fcam.synthetic.person import SyntheticPerson
from f2fcam.synthetic.shade import GLOSS, shade, shade_layer
from f2fcam.synthetic.skin import paint_skin
from f2fcam.synthetic.surface import Surface, joined, split_quads

OCCLUSION_POWER = 0.65
FACING = np.diag([1.0, -1.0, -1.0])
"""From model to camera axes for a person who looks into the camera."""


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the camera stands.

    Attributes:
        intrinsics: of the finished picture.
        camera_from_rest: from the space of the resting head (and of the body) to the camera's.
    """

    intrinsics: Intrinsics
    camera_from_rest: RigidTransform

    @classmethod
    def facing(cls, width: int, height: int, distance_mm: float = 620.0, drop_mm: float = 12.0) -> Camera:
        """A webcam in front of the person, whose face is `drop_mm` below the picture's middle."""
        place = RigidTransform(FACING, np.array([0.0, drop_mm, distance_mm]))
        return cls(Intrinsics.guess(width, height), place)


class SceneRenderer:
    """Renders one person before one camera. Everything that does not move is prepared once; not for two threads at once.

    Args:
        cells: texture cells along a level-2 quad: 3 for faces of up to 300 px, 6 for larger ones.
        supersampling: the picture is drawn this much larger and scaled down.
    """

    def __init__(self, person: SyntheticPerson, camera: Camera, cells: int = 3, supersampling: float = 1.0) -> None:
        self.person, self.camera = person, camera
        self._model, self._parts = load_face_model(), load_parts()
        self._large = camera.intrinsics.scaled(supersampling)
        neutral = self._model.subdivide(person.skin0)
        self._body = Body(self._model, neutral, person.look)
        self._cavity = MouthCavity(self._model, person.look)
        shells = hair_shells(self._model, person.look, fine=cells > 3)
        self._cap = next(shell for shell in shells if not shell.layer)
        self._layers = [shell for shell in shells if shell.layer]
        self._curtain = Curtain(person.look) if person.look.hair_style == "long" else None
        self._lashes = [
            (side, Lashes(self._model, neutral, side, upper, person.look))
            for side in ("left", "right")
            for upper in (False, True)
        ]
        self._lash_surface = joined([lashes.surface for _, lashes in self._lashes])
        self._names = tuple(self._parts.by_name)
        self._spans: dict[str, slice] = {}
        surfaces = self._paint(neutral, cells)
        self._join(surfaces)
        self._backdrop = paint_backdrop(person.look.seed, self._large.width, self._large.height)
        self._linear = np.empty_like(self._backdrop)
        self._rasterizer, self._layer_rasterizer = CpuRasterizer(), CpuRasterizer()

    def _paint(self, neutral: np.ndarray, cells: int) -> dict[str, tuple[Surface, int]]:
        """Every surface with its number of vertices, in drawing order."""
        model, look = self._model, self.person.look
        count = len(neutral)
        body_triangles = split_quads(self._body.quads) + np.int32(count)
        everything = np.ascontiguousarray(np.concatenate([neutral, self._body.rest]))
        triangles = np.ascontiguousarray(np.concatenate([model.triangles(2), body_triangles]), np.int32)
        occlusion = sky_visibility(everything, triangles) ** OCCLUSION_POWER
        border = model.loops["neck"]
        shared = (occlusion[border] + occlusion[count : count + len(border)]) / 2
        occlusion[border] = occlusion[count : count + len(border)] = shared
        surfaces = {"skin": (paint_skin(model, look, occlusion[:count], cells), count)}
        painters = {"eye_left": paint_eye, "eye_right": paint_eye, "teeth_lower": paint_teeth, "teeth_upper": paint_teeth,
                    "tongue": paint_tongue}  # fmt: skip
        for name in self._names:
            part = self._parts[name]
            surfaces[name] = (painters[name](part, look), len(part.uv))
        surfaces["cavity"] = (self._cavity.surface, int(self._cavity.quads.max()) + 1)
        surfaces["cap"] = (self._cap.surface, len(self._cap.vertices))
        surfaces["body"] = (self._body.paint(occlusion[count:]), len(self._body.rest))
        return surfaces

    def _join(self, surfaces: dict[str, tuple[Surface, int]]) -> None:
        """One vertex, triangle and texel array for all surfaces."""
        quads, start, cells, kind, texels = [], [], [], [], []
        vertices = texel_count = 0
        for name, (surface, count) in surfaces.items():
            self._spans[name] = slice(vertices, vertices + count)
            n, per_quad = len(surface.quads), (surface.cells + 1) ** 2
            quads.append(surface.quads + vertices)
            start.append(texel_count + np.arange(n) * per_quad)
            cells.append(np.full(n, surface.cells))
            kind.append(np.full(n, int(surface.material)))
            texels.append(surface.texels)
            vertices += count
            texel_count += len(surface.texels)
        self._triangles = split_quads(np.concatenate(quads))
        self._texel_start = np.concatenate(start).astype(np.int32)
        self._texel_cells = np.concatenate(cells).astype(np.int32)
        self._material = np.concatenate(kind).astype(np.uint8)
        self._texels = np.concatenate(texels)
        self._points = np.zeros((vertices, 3), np.float32)
        self._normals = np.zeros((vertices, 3), np.float32)
        self._occlusion = np.ones(vertices, np.float32)

    def render_linear(self, performance: Performance, light: Light) -> Float32[np.ndarray, "h w 3"]:
        """Linear light of a frame at the finished size; the diffuse light is the performance's own."""
        self._place(performance)
        fragments = self._rasterizer.rasterize(self._points, self._triangles, self._large)
        np.copyto(self._linear, self._backdrop)
        shade(
            fragments.triangle, fragments.barycentric, self._triangles, self._points, self._normals, self._occlusion,
            self._texels, self._texel_start, self._texel_cells, self._material, GLOSS,
            np.ascontiguousarray(performance.lighting, np.float32), light.key_direction, light.key_colour,
            np.float32(light.highlight), self._linear,
        )  # fmt: skip
        self._draw_layers(performance, fragments.depth)
        size = (self.camera.intrinsics.width, self.camera.intrinsics.height)
        if self._linear.shape[1::-1] == size:
            return self._linear
        return cv2.resize(self._linear, size, interpolation=cv2.INTER_AREA)

    def render(
        self, performance: Performance, light: Light, blur_px: float = 0.45, noise: float = 0.0, noise_seed: int = 0
    ) -> UInt8[np.ndarray, "h w 3"]:
        """A frame as a camera would give it: slightly soft, with `noise` grey levels of sensor noise."""
        picture = self.render_linear(performance, light)
        if blur_px > 0:
            picture = cv2.GaussianBlur(picture, (0, 0), blur_px)
        return encode(picture, noise, noise_seed)

    def _place(self, performance: Performance) -> None:
        """Vertices, normals and inner occlusion of all surfaces for a frame."""
        person, spans, points = self.person, self._spans, self._points
        weights = np.asarray(performance.expression, np.float32)
        skin = self._model.subdivide(person.geometry0(weights))
        points[spans["skin"]] = skin
        for name in self._names:
            part = self._parts[name]
            still = person.parts0[self._parts.slices[name]] + np.float32(PART_SHIFT_MM.get(name, (0, 0, 0)))
            points[spans[name]] = part.smoothed(still + part.expression @ weights)
        normals = self._normals[: len(skin)]
        vertex_normals(skin, self._model.triangles(2), normals)
        points[spans["cap"]] = self._cap.over(skin, normals)
        self._layer_points = self._layer_vertices(performance, skin, normals)
        points[spans["cavity"]] = self._cavity.vertices(skin)
        self._shade_inside(skin)
        points[spans["body"]] = self._body.vertices(skin, self._head_motion(performance))
        before = spans["body"].start
        _move(points[:before], performance.camera_from_model)
        _move(points[before:], self.camera.camera_from_rest)
        vertex_normals(points, self._triangles, self._normals)
        self._join_neck()
        for name in ("eye_left", "eye_right"):
            bulge_cornea(self._normals[spans[name]], self._parts[name].uv)

    def _layer_vertices(
        self, performance: Performance, skin: np.ndarray, normals: np.ndarray
    ) -> list[tuple[Surface, np.ndarray]]:
        """Layers from far to near with their vertices in camera space."""
        layers: list[tuple[Surface, np.ndarray]] = []
        if self._curtain is not None:
            head = self._head_motion(performance)
            hanging = self.camera.camera_from_rest.apply(self._curtain.vertices(head))
            layers += [(surface, hanging) for surface in self._curtain.surfaces]
        on_head = [(shell.surface, shell.over(skin, normals)) for shell in self._layers]
        names, strips = self._model.expression_names, []
        for side, lashes in self._lashes:
            closed = float(performance.expression[names.index(f"eyeBlink{side.capitalize()}")])
            strips.append(lashes.vertices(skin, closed))
        on_head.append((self._lash_surface, np.concatenate(strips)))
        layers += [(surface, performance.camera_from_model.apply(points)) for surface, points in on_head]
        return [(surface, np.ascontiguousarray(points, np.float32)) for surface, points in layers]

    def _draw_layers(self, performance: Performance, nearest: np.ndarray) -> None:
        lighting = np.ascontiguousarray(performance.lighting, np.float32)
        for surface, points in self._layer_points:
            region = bounding_region(self._large.project(points), self._large)
            x0, y0, x1, y1 = region
            triangles = surface.triangles
            normals = np.empty_like(points)
            vertex_normals(points, triangles, normals)
            seen = self._layer_rasterizer.rasterize(points, triangles, self._large, region, cull_back=False)
            depth, out = np.ascontiguousarray(nearest[y0:y1, x0:x1]), np.ascontiguousarray(self._linear[y0:y1, x0:x1])
            shade_layer(
                seen.triangle, seen.barycentric, seen.depth, triangles, points, normals, surface.texels,
                surface.cells, lighting, depth, out,
            )  # fmt: skip
            nearest[y0:y1, x0:x1], self._linear[y0:y1, x0:x1] = depth, out

    def _head_motion(self, performance: Performance) -> tuple[np.ndarray, np.ndarray]:
        """Rotation and shift of the head from its resting place."""
        head = self.camera.camera_from_rest.inverse().compose(performance.camera_from_model)
        return np.float32(head.rotation), np.float32(head.translation)

    def _shade_inside(self, skin: np.ndarray) -> None:
        gap, upper_lip, depth = self._cavity.opening(skin)
        for name in ("teeth_lower", "teeth_upper", "tongue", "cavity"):
            span = self._spans[name]
            self._occlusion[span] = mouth_light(self._points[span], gap, upper_lip, depth)
        for name in ("eye_left", "eye_right"):
            span = self._spans[name]
            self._occlusion[span] = eye_light(self._points[span], skin[lid_margin(name.removeprefix("eye_"))])

    def _join_neck(self) -> None:
        """The head's border and the body's first ring share their normals, so that no edge shows."""
        loop = self._model.loops["neck"]
        first = self._spans["body"].start
        both = self._normals[loop] + self._normals[first : first + len(loop)]
        both /= np.linalg.norm(both, axis=1, keepdims=True) + 1e-9
        self._normals[loop] = both
        self._normals[first : first + len(loop)] = both


def _move(points: np.ndarray, transform: RigidTransform) -> None:
    """Apply a transform in place."""
    points[:] = points @ transform.rotation.T.astype(np.float32) + transform.translation.astype(np.float32)
