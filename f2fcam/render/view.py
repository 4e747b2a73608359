"""One output picture of the target: its own frame, its own pose, another expression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import C0
from f2fcam.face.mesh import vertex_normals
from f2fcam.face.morphable import FaceModel
from f2fcam.face.rigid import RigidTransform
from f2fcam.face.state import Performance, Person
from f2fcam.frame import srgb_encode
from f2fcam.render import Rasterizer, Region, bounding_region
from f2fcam.render.composite import Patch, composite
from f2fcam.render.cpu import CpuRasterizer, vertex_visibility
from f2fcam.render.scratch import Scratch
from f2fcam.render.shade import Appearance, encoded_gain, shade
from f2fcam.render.warp import MARGIN, NECK_REACH, Aperture, Warper, vertex_attributes

MOUTH, EYE_LEFT, EYE_RIGHT = 1, 2, 3
"""Numbers of the face's openings, as `Patch.opening` and `Field.opening` use them."""

LEVEL = 2
"""Subdivision level that is drawn: lip and lid borders need it."""

CAVITY_REFLECTANCE = (0.050, 0.016, 0.014)
"""Linear reflectance of the mouth's inside where neither frame nor patch shows it."""


@dataclass(frozen=True, slots=True)
class TargetView:
    """A frame of the target's clip with all that was fitted to it.

    Attributes:
        rgb: the picture.
        person: who it shows; its intrinsics may belong to another size of the same picture.
        performance: the expression, pose and light that were fitted to the frame.
        visibility: 1 per level-2 vertex that the frame shows; computed here when it is not at hand.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    person: Person
    performance: Performance
    visibility: UInt8[np.ndarray, " 53390"] | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """The output picture, in the workspace's memory: valid until its next use.

    Attributes:
        rgb: the whole picture.
        mask: 255 inside `region` where it may differ from the target frame; everywhere else it is equal bit for bit.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "rows columns"]
    region: Region


class Workspace:
    """Memory and constants of one rendering thread."""

    def __init__(self, model: FaceModel, rasterizer: Rasterizer | None = None) -> None:
        self.model = model
        self.rasterizer = rasterizer or CpuRasterizer()
        self.warper = Warper()
        self.scratch = Scratch()
        self.triangles = np.ascontiguousarray(model.triangles(LEVEL), np.int32)
        neck = model.regions["neck"].astype(np.float32) / 255
        away = np.maximum.reduce(
            [model.regions[name] for name in ("neck", "scalp", "ear_left", "ear_right", "nostrils")]
        )
        self.face_weight: Float32[np.ndarray, " n"] = 1 - neck
        self.light_weight: Float32[np.ndarray, " n"] = 1 - away.astype(np.float32) / 255
        height = np.ptp(model.subdivide(model.mean)[self.light_weight > 0.5, 1])
        self.face_height_mm = float(height)
        self.lower_lip = self._lower_lip()

    def _lower_lip(self) -> np.ndarray:
        loop = self.model.loops["lips"]
        heights = self.model.subdivide(self.model.mean)[loop, 1]
        return loop[heights < np.median(heights)]


@dataclass(frozen=True, slots=True)
class Surface:
    """A performance's level-2 mesh in camera space and in the picture."""

    points: Float32[np.ndarray, "n 3"]
    pixels: Float32[np.ndarray, "n 2"]
    normals: Float32[np.ndarray, "n 3"]


def render_frame(
    target: TargetView,
    expression: Float32[np.ndarray, " 76"],
    workspace: Workspace,
    patches: tuple[Patch, ...] = (),
    appearance: Appearance = "video",
) -> Rendered:
    """Show the target's frame with another expression: same pose, light, hair and background."""
    height, width = target.rgb.shape[:2]
    intrinsics = _camera_of(target.person.intrinsics, width, height)
    old = _surface(target.person, target.performance.expression, target.performance.camera_from_model, intrinsics,
                   workspace, "old")  # fmt: skip
    new = _surface(target.person, expression, target.performance.camera_from_model, intrinsics, workspace, "new")
    face_height = workspace.face_height_mm * intrinsics.focal / target.performance.camera_from_model.translation[2]
    region = _changed_region(old, new, workspace, intrinsics, float(face_height))
    texture, visibility = _texture(target, old, new, appearance, intrinsics, workspace)
    lighting = np.ascontiguousarray(target.performance.lighting, np.float32)
    gain = workspace.scratch.take("gain", (len(new.points),))
    encoded_gain(new.normals, old.normals, lighting, workspace.light_weight, gain)
    attributes = workspace.scratch.take("attributes", (len(new.points), 5))
    vertex_attributes(old.pixels, new.pixels, workspace.triangles, gain, visibility, workspace.face_weight, attributes)
    if appearance == "model":
        attributes[:, 2], attributes[:, 3] = 1.0, 1.0 - workspace.light_weight
    elif target.person.vertex_albedo is None:
        attributes[:, 3] = 1.0  # nothing better than the frame

    fragments = workspace.rasterizer.rasterize(new.points, workspace.triangles, intrinsics, region)
    field = workspace.warper.build(
        fragments, workspace.triangles, attributes, _apertures(target, expression, old, new, intrinsics, workspace),
        float(face_height),
    )  # fmt: skip
    out = workspace.scratch.take("rgb", target.rgb.shape, np.uint8)
    composite(
        np.ascontiguousarray(target.rgb),
        field,
        fragments,
        workspace.triangles,
        texture,
        _cavity(lighting),
        patches,
        out,
    )
    return Rendered(out, field.mask, region)


def _camera_of(intrinsics: Intrinsics, width: int, height: int) -> Intrinsics:
    if (intrinsics.width, intrinsics.height) == (width, height):
        return intrinsics
    return intrinsics.scaled(width / intrinsics.width)


def _surface(
    person: Person,
    expression: np.ndarray,
    pose: RigidTransform,
    intrinsics: Intrinsics,
    workspace: Workspace,
    name: str,
) -> Surface:
    model, take = workspace.model, workspace.scratch.take
    points0 = pose.apply(model.geometry0(person.identity, expression)).astype(np.float32)
    count = len(workspace.face_weight)
    points = model.subdivide(points0, LEVEL, out=take(f"{name} points", (count, 3)))
    normals = take(f"{name} normals", (count, 3))
    vertex_normals(points, workspace.triangles, normals)
    pixels = take(f"{name} pixels", (count, 2))
    np.divide(points[:, :2], points[:, 2:], out=pixels)
    pixels *= np.float32(intrinsics.focal)
    pixels += np.array([intrinsics.center_x, intrinsics.center_y], np.float32)
    return Surface(points, pixels, normals)


def _changed_region(old: Surface, new: Surface, workspace: Workspace, intrinsics: Intrinsics, height: float) -> Region:
    """Where the picture can change: the vertices that move, and the mask's reach around them."""
    moved = np.abs(new.pixels - old.pixels).max(axis=1) * workspace.face_weight > 0.05
    if not moved.any():
        moved[workspace.lower_lip] = True
    pixels = np.concatenate([new.pixels[moved], old.pixels[moved]])
    reach = MARGIN * height
    x0, y0, x1, y1 = bounding_region(pixels, intrinsics, reach)
    y1 = min(intrinsics.height, y1 + int((NECK_REACH - 1) * reach))
    return x0, y0, x1, y1


def _texture(
    target: TargetView, old: Surface, new: Surface, appearance: Appearance, intrinsics: Intrinsics, workspace: Workspace
) -> tuple[np.ndarray, np.ndarray]:
    """Encoded colour per vertex under the frame's light, and which vertices the frame shows."""
    take = workspace.scratch.take
    colours = take("colours", (len(new.points), 3))
    visibility = target.visibility
    albedo = target.person.vertex_albedo
    if albedo is None:
        if appearance == "video":
            visibility = take("visibility", (len(new.points),), np.uint8)
            visibility[:] = 1
            return colours, visibility
        albedo = workspace.model.vertex_albedo(target.person.albedo, LEVEL)
    if visibility is None:
        fragments = workspace.rasterizer.rasterize(
            old.points, workspace.triangles, intrinsics, bounding_region(old.pixels, intrinsics, 1)
        )
        visibility = take("visibility", (len(new.points),), np.uint8)
        vertex_visibility(fragments, old.points, old.pixels, visibility)
    shade(np.ascontiguousarray(albedo, np.float32), new.normals, target.performance.lighting, colours)
    return colours, visibility


def _apertures(
    target: TargetView,
    expression: np.ndarray,
    old: Surface,
    new: Surface,
    intrinsics: Intrinsics,
    workspace: Workspace,
) -> tuple[Aperture, ...]:
    """Mouth and eyes. The jaw's contents move as it does: old minus new projection of a point behind the lower lip."""
    model, pose = workspace.model, target.performance.camera_from_model
    before, after = model.jaw(target.performance.expression), model.jaw(expression)
    tooth_old = pose.inverse().apply(old.points[workspace.lower_lip].mean(axis=0))
    tooth_new = after.apply(before.inverse().apply(tooth_old))
    shift = intrinsics.project(pose.apply(tooth_old)[None]) - intrinsics.project(pose.apply(tooth_new)[None])
    return (
        Aperture(new.pixels[model.loops["lips"]], (float(shift[0, 0]), float(shift[0, 1]))),
        Aperture(new.pixels[model.loops["eye_left"]]),
        Aperture(new.pixels[model.loops["eye_right"]]),
    )


def _cavity(lighting: np.ndarray) -> Float32[np.ndarray, " 3"]:
    ambient = np.maximum(lighting[0], 0.0) * C0
    return (255 * srgb_encode(np.array(CAVITY_REFLECTANCE) * ambient)).astype(np.float32)
