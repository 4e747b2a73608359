"""One output picture of the target: its own frame, its own pose, another expression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit

from f2fcam.face.camera import Intrinsics
from f2fcam.face.lighting import C0
from f2fcam.face.mesh import vertex_normals
from f2fcam.face.morphable import FaceModel, RigidFit
from f2fcam.face.state import Performance, Person
from f2fcam.frame import srgb_encode
from f2fcam.render import Rasterizer, Region, bounding_region
from f2fcam.render.brows import brow_shift
from f2fcam.render.composite import Patch, composite
from f2fcam.render.cpu import CpuRasterizer, vertex_visibility
from f2fcam.render.drawn import DrawnMesh, thinned_mesh, whole_mesh
from f2fcam.render.membrane import NECK_REACH
from f2fcam.render.rims import ramp, rim_distance
from f2fcam.render.scratch import Scratch
from f2fcam.render.shade import GAIN_SMOOTHING, Appearance, encoded_gain, shade_uncertain, smooth_gain
from f2fcam.render.warp import MARGIN, Aperture, Warper, field_stride, vertex_attributes
from f2fcam.simd import lane, lanes4, lanes8, nothing4, nothing8, plus, scaled

LEVEL = 2
"""Subdivision level that is drawn: lip and lid borders need it."""

OLD, NEW, GAIN, COARSE_COLUMNS = 0, 4, 8, 12
"""Numbers per level-0 vertex that are carried to the drawn level together: two positions and three gains, each in four."""

FINE_MM = (3.0, 2.5)
"""This far from lips and lids all of that level is drawn (`drawn.thinned_mesh`)."""

MOUTH_MM = (40.0, 50.0)
"""Up to the first from the lips the frame's own skin is stretched as far as need be: a mouth that opens wide shades and
reddens it, and the texture would lie on it as a pale crescent under the lip."""

MOVING_PX = 0.05
"""A vertex that moves less does not widen the region that is drawn."""

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
        light: the change of light and complexion per level-0 vertex; not in the workspace.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "rows columns"]
    region: Region
    light: Float32[np.ndarray, "m 3"]


class Skin:
    """A mesh to be drawn, and what each of its vertices counts for.

    Attributes:
        skin, face, light, texture: weights, 0 to 1: of the skin; of the face in the warp; of the change of light; of the
            personal texture, where the frame does not show the vertex.
        rims: the borders of "lips", "eye_left" and "eye_right". lower_lip: the lower half of the first.
    """

    def __init__(self, mesh: DrawnMesh, model: FaceModel, weights: Float32[np.ndarray, "v 4"]) -> None:
        self.mesh = mesh
        self.skin, self.face, self.light, self.texture = (np.ascontiguousarray(w) for w in weights[mesh.rows].T)
        self.rims = {name: mesh.local(model.loops[name]) for name in ("lips", "eye_left", "eye_right")}
        heights = (mesh.operator @ model.mean[:, 1])[self.rims["lips"]]
        self.lower_lip = self.rims["lips"][heights < np.median(heights)]


class Workspace:
    """Memory and constants of one rendering thread."""

    def __init__(self, model: FaceModel, rasterizer: Rasterizer | None = None) -> None:
        self.model = model
        self.rasterizer = rasterizer or CpuRasterizer()
        self.warper = Warper()
        self.scratch = Scratch()
        self.expressions = np.ascontiguousarray(model.expression_basis.reshape(-1, model.expression_basis.shape[2]).T)
        self.triangles0 = np.ascontiguousarray(model.triangles(0), np.int32)
        self.jaw = model.jaw()
        self._rest: tuple[Person, np.ndarray] | None = None
        points = model.subdivide(model.mean)
        weights = _weights(model, points)
        self.face_height_mm = float(np.ptp(points[weights[:, 0] > 0.5, 1]))
        near = [rim_distance(model, "lips") < FINE_MM[0], rim_distance(model, "eye_left", "eye_right") < FINE_MM[1]]
        self.skins: dict[Appearance, Skin] = {
            "video": Skin(thinned_mesh(model, weights, near[0] | near[1]), model, weights),
            "model": Skin(whole_mesh(model), model, weights),
        }

    def motion(self, old: Float32[np.ndarray, " 76"], new: Float32[np.ndarray, " 76"]) -> Float32[np.ndarray, " 3*m"]:
        """Displacement of the level-0 vertices between two expressions, mm."""
        return (new - old).astype(np.float32) @ self.expressions

    def rest_shape(self, person: Person) -> Float32[np.ndarray, " 3*m"]:
        """A person's level-0 vertices at expression 0, their brows in place; remembered while the person stays the same."""
        if self._rest is None or self._rest[0] is not person:
            rest = self.model.geometry0(person.identity, np.zeros(76, np.float32)) + brow_shift(self.model, person)
            self._rest = person, np.ascontiguousarray(rest, np.float32).reshape(-1)
        return self._rest[1]


def _weights(model: FaceModel, points: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 4"]:
    """The columns of `Skin`, for the mean face's vertices."""
    neck = model.regions["neck"].astype(np.float32) / 255
    away = np.maximum.reduce([model.regions[name] for name in ("neck", "scalp", "ear_left", "ear_right", "nostrils")])
    skin = 1 - away.astype(np.float32) / 255
    lips, lids = rim_distance(model, "lips"), rim_distance(model, "eye_left", "eye_right")
    normals = np.empty_like(points)
    vertex_normals(points, np.ascontiguousarray(model.triangles(LEVEL)), normals)
    # the jaw's underside counts as neck: there the outline's displacement knows better than the mesh
    below = ramp(points[model.loops["lips"], 1].min() - points[:, 1], 16, 24)
    face = ramp(1 - neck, 0.7, 0.95) * (1 - below * ramp(-normals[:, 1], 0.3, 0.6))
    light = skin * ramp(lips, 2, 7) * ramp(lids, 1, 4)
    texture = skin * _front(model, normals) * ramp(lips, *MOUTH_MM) * ramp(lids, 1, 2.5)
    return np.stack([skin, face, light, texture], axis=1)


def _front(model: FaceModel, normals: np.ndarray) -> Float32[np.ndarray, " n"]:
    """1 on the front of the face and on the lids' folds, 0 under the chin."""
    lids = np.maximum(model.regions["eyelid_left"], model.regions["eyelid_right"]).astype(np.float32) / 255
    return np.maximum(ramp(normals[:, 2], 0.1, 0.4), lids)


@dataclass(frozen=True, slots=True)
class Surface:
    """A performance's drawn vertices in camera space and in the picture; normals at level 0."""

    points: Float32[np.ndarray, "n 3"]
    pixels: Float32[np.ndarray, "n 2"]
    normals0: Float32[np.ndarray, "m 3"]


@dataclass(frozen=True, slots=True)
class Surfaces:
    """The frame's own mesh and the one to be shown, with the change of light between them (`shade.encoded_gain`).

    Attributes:
        gain: per drawn vertex and channel. gain0: per level-0 vertex and channel.
    """

    old: Surface
    new: Surface
    gain: Float32[np.ndarray, "n 3"]
    gain0: Float32[np.ndarray, "m 3"]


def render_frame(
    target: TargetView,
    expression: Float32[np.ndarray, " 76"],
    workspace: Workspace,
    patches: tuple[Patch, ...] = (),
    appearance: Appearance = "video",
    last_light: Float32[np.ndarray, "m 3"] | None = None,
    light_share: float = 1.0,
    tint: Float32[np.ndarray, "m 3"] | None = None,
) -> Rendered:
    """Show the target's frame with another expression: same pose, light, hair and background.

    Of the change of light and complexion between the two expressions `light_share` is taken, the rest from `last_light`.
    `tint`: what the skin's colours change by beside the light (`Complexion.log_gain`).
    """
    height, width = target.rgb.shape[:2]
    camera = _camera_of(target.person.intrinsics, width, height)
    px_per_mm = float(camera.focal / target.performance.camera_from_model.translation[2])
    stride = field_stride(px_per_mm)
    camera, face_height = camera.coarser(stride), workspace.face_height_mm * px_per_mm / stride
    skin = workspace.skins[appearance]
    surfaces = _surfaces(target, expression, camera, skin, workspace, patches, stride, last_light, light_share, tint)
    old, new, triangles = surfaces.old, surfaces.new, skin.mesh.triangles
    region = _changed_region(old, new, skin, camera, face_height, appearance)
    attributes, texture = _attributes(target, surfaces, appearance, camera, workspace)
    fragments = workspace.rasterizer.rasterize(new.points, triangles, camera, region)
    apertures = _apertures(target, expression, old, new, camera, workspace.jaw, skin)
    field = workspace.warper.build(fragments, triangles, attributes, apertures, face_height, stride)
    out = workspace.scratch.take("rgb", target.rgb.shape, np.uint8)
    frame, cavity = np.ascontiguousarray(target.rgb), _cavity(target.performance.lighting)
    mask, region = composite(frame, field, fragments, triangles, texture, cavity, patches, out, workspace.scratch)
    return Rendered(out, mask, region, surfaces.gain0.copy())


def _camera_of(intrinsics: Intrinsics, width: int, height: int) -> Intrinsics:
    if (intrinsics.width, intrinsics.height) == (width, height):
        return intrinsics
    return intrinsics.scaled(width / intrinsics.width)


def _surfaces(
    target: TargetView,
    expression: np.ndarray,
    camera: Intrinsics,
    skin: Skin,
    workspace: Workspace,
    patches: tuple[Patch, ...] = (),
    stride: int = 1,
    last_light: np.ndarray | None = None,
    light_share: float = 1.0,
    tint: np.ndarray | None = None,
) -> Surfaces:
    """Both meshes at once: reading basis and subdivision operator costs more than what is multiplied by them.

    The new one goes along with the patches, so that what they replace lies beneath them. `camera` is the field's, of
    `stride` pixels a cell.
    """
    take, operator, count = workspace.scratch.take, skin.mesh.operator, len(skin.mesh.rows)
    coarse = take("coarse", (len(workspace.model.mean), COARSE_COLUMNS))
    moved = np.stack([target.performance.expression, expression]).astype(np.float32) @ workspace.expressions
    normals = []
    for number in range(2):
        shape = (workspace.rest_shape(target.person) + moved[number]).reshape(-1, 3)
        points0 = target.performance.camera_from_model.apply(shape).astype(np.float32)
        normals.append(take(f"normals{number}", points0.shape))
        vertex_normals(points0, workspace.triangles0, normals[-1])
        for patch in patches if number == 1 else ():
            points0[patch.rows, :2] += patch.pull * (points0[patch.rows, 2:] / np.float32(stride * camera.focal))
        coarse[:, (OLD, NEW)[number] :][:, :3] = points0
    gain0, memory = take("gain0", (len(coarse),)), take("gain memory", (len(coarse), 2))
    encoded_gain(normals[1], normals[0], np.ascontiguousarray(target.performance.lighting, np.float32), gain0)
    smooth_gain(gain0, workspace.triangles0, GAIN_SMOOTHING, memory)
    gains = coarse[:, GAIN : GAIN + 3]
    gains[:] = gain0[:, None]
    if tint is not None:
        gains *= np.exp(tint)
    if last_light is not None:
        gains *= np.float32(light_share)
        gains += np.float32(1 - light_share) * last_light
    old = Surface(take("old points", (count, 3)), take("old pixels", (count, 2)), normals[0])
    new = Surface(take("new points", (count, 3)), take("new pixels", (count, 2)), normals[1])
    gain = take("gain", (count, 3))
    _carry(
        operator.indptr, operator.indices, operator.data, coarse, camera.focal, camera.center_x, camera.center_y,
        skin.light, old.points, old.pixels, new.points, new.pixels, gain,
    )  # fmt: skip
    return Surfaces(old, new, gain, gains)


@njit(
    "void(i4[::1], i4[::1], f4[::1], f4[:,::1], f8, f8, f8, f4[::1],"
    " f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _carry(
    indptr, indices, data, coarse, focal, center_x, center_y, weight, old_points, old_pixels, new_points, new_pixels, gain
):  # fmt: skip
    """Level-0 columns (old position, new position, gains) to the drawn vertices by a CSR operator, and projected.

    The gain is 1 where `weight` (n,) is 0.
    """
    f, x0, y0, one = np.float32(focal), np.float32(center_x), np.float32(center_y), np.float32(1)
    for i in range(len(weight)):
        points, gains = nothing8(), nothing4()
        for k in range(indptr[i], indptr[i + 1]):
            at = COARSE_COLUMNS * np.intp(indices[k])
            points = plus(points, scaled(lanes8(coarse, at + OLD), data[k]))
            gains = plus(gains, scaled(lanes4(coarse, at + GAIN), data[k]))
        x, y, z = lane(points, 0), lane(points, 1), lane(points, 2)
        scale = f / z
        old_points[i, 0], old_points[i, 1], old_points[i, 2] = x, y, z
        old_pixels[i, 0], old_pixels[i, 1] = x * scale + x0, y * scale + y0
        x, y, z = lane(points, 4), lane(points, 5), lane(points, 6)
        scale = f / z
        new_points[i, 0], new_points[i, 1], new_points[i, 2] = x, y, z
        new_pixels[i, 0], new_pixels[i, 1] = x * scale + x0, y * scale + y0
        gain[i, 0] = one + weight[i] * (lane(gains, 0) - one)
        gain[i, 1] = one + weight[i] * (lane(gains, 1) - one)
        gain[i, 2] = one + weight[i] * (lane(gains, 2) - one)


def _changed_region(
    old: Surface, new: Surface, skin: Skin, camera: Intrinsics, face_height: float, appearance: Appearance
) -> Region:
    """Where the picture can change: the vertices that move (or the whole face), and the mask's reach around them."""
    corners = np.array(_moving_box(old.pixels, new.pixels, skin.face), np.float32).reshape(2, 2)
    if appearance == "model":
        corners = new.pixels[skin.skin > 0]
    elif corners[0, 0] > corners[1, 0]:
        corners = new.pixels[skin.lower_lip]
    reach = MARGIN * face_height
    x0, y0, x1, y1 = bounding_region(corners, camera, reach)
    return x0, y0, x1, min(camera.height, y1 + int((NECK_REACH - 1) * reach))


@njit("UniTuple(f4, 4)(f4[:,::1], f4[:,::1], f4[::1])", nogil=True, cache=True, fastmath=True)
def _moving_box(old, new, weight):
    """Box around old and new places of all vertices that move; empty (low > high) if none does."""
    low_x, low_y, high_x, high_y = np.float32(1e9), np.float32(1e9), np.float32(-1e9), np.float32(-1e9)
    for i in range(len(weight)):
        if max(abs(new[i, 0] - old[i, 0]), abs(new[i, 1] - old[i, 1])) * weight[i] > MOVING_PX:
            low_x, high_x = min(low_x, old[i, 0], new[i, 0]), max(high_x, old[i, 0], new[i, 0])
            low_y, high_y = min(low_y, old[i, 1], new[i, 1]), max(high_y, old[i, 1], new[i, 1])
    return low_x, low_y, high_x, high_y


def _attributes(
    target: TargetView, surfaces: Surfaces, appearance: Appearance, camera: Intrinsics, workspace: Workspace
) -> tuple[np.ndarray, np.ndarray]:
    """What `Warper.build` interpolates, and what `shade_uncertain` gives for the vertices that the frame does not know."""
    take, skin = workspace.scratch.take, workspace.skins[appearance]
    old, new, count = surfaces.old, surfaces.new, len(surfaces.gain)
    lighting = np.ascontiguousarray(target.performance.lighting, np.float32)
    albedo = target.person.vertex_albedo
    visibility = np.ones(count, np.uint8) if albedo is None else _visibility(target, old, camera, skin.mesh, workspace)
    attributes, texture = take("attributes", (count, 7)), take("texture", (count, 4))
    vertex_attributes(
        old.pixels, new.pixels, skin.mesh.triangles, surfaces.gain, visibility, skin.face, skin.texture, attributes
    )
    if appearance == "model":
        attributes[:, 2:5], attributes[:, 5] = 1.0, 1.0 - skin.skin
        albedo = workspace.model.vertex_albedo(target.person.albedo, LEVEL) if albedo is None else albedo
    elif albedo is None:
        attributes[:, 5], texture[:] = 1.0, 0.0  # nothing better than the frame
        return attributes, texture
    shade_uncertain(
        skin.mesh.operator, skin.mesh.rows, new.normals0, np.ascontiguousarray(albedo, np.float32), lighting,
        attributes[:, 5], texture,
    )  # fmt: skip
    return attributes, texture


def _visibility(
    target: TargetView, old: Surface, camera: Intrinsics, mesh: DrawnMesh, workspace: Workspace
) -> np.ndarray:
    """Which vertices the target frame shows: as stored at enrolment, or drawn now."""
    if target.visibility is not None:
        return target.visibility[mesh.rows]
    region = bounding_region(old.pixels, camera, 1)
    visibility = workspace.scratch.take("visibility", (len(old.points),), np.uint8)
    fragments = workspace.rasterizer.rasterize(old.points, mesh.triangles, camera, region)
    vertex_visibility(fragments, old.points, old.pixels, visibility)
    return visibility


def _apertures(
    target: TargetView,
    expression: np.ndarray,
    old: Surface,
    new: Surface,
    intrinsics: Intrinsics,
    jaw: RigidFit,
    skin: Skin,
) -> tuple[Aperture, ...]:
    """Mouth and eyes. The jaw's contents move as it does: old minus new projection of a point behind the lower lip."""
    pose = target.performance.camera_from_model
    before, after = jaw(target.performance.expression), jaw(expression)
    tooth_old = pose.inverse().apply(old.points[skin.lower_lip].mean(axis=0))
    tooth_new = after.apply(before.inverse().apply(tooth_old))
    shift = intrinsics.project(pose.apply(tooth_old)[None]) - intrinsics.project(pose.apply(tooth_new)[None])
    return (
        Aperture(new.pixels[skin.rims["lips"]], (float(shift[0, 0]), float(shift[0, 1]))),
        Aperture(new.pixels[skin.rims["eye_left"]]),
        Aperture(new.pixels[skin.rims["eye_right"]]),
    )


def _cavity(lighting: np.ndarray) -> Float32[np.ndarray, " 3"]:
    ambient = np.maximum(lighting[0], 0.0) * C0
    return (255 * srgb_encode(np.array(CAVITY_REFLECTANCE) * ambient)).astype(np.float32)
