"""The multi-linear face model (Face2Face, section 3, equations 1 and 2): geometry and reflectance as linear functions.

M_geo(alpha, delta) = mean + identity_basis alpha + expression_basis delta
M_alb(beta)         = albedo_mean + albedo_basis beta

Every geometric basis lives on a coarse quad mesh (level 0); two fixed Catmull-Clark steps give the surface that is drawn
(level 2). The data is built by `tools/build_face_model.py` from CC0 sources; it is no statistic of real people.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8
from scipy import sparse

from f2fcam.errors import ModelError
from f2fcam.face.mesh import QuadLevel, sparse_times_points, subdivision_levels
from f2fcam.face.rigid import RigidTransform

LEVELS = 2
VERSION = 1
ALBEDO_MIN = 0.004


@dataclass(frozen=True, slots=True)
class SurfacePoints:
    """Points on the mesh of a level: `barycentric` weights of the corners of `triangle`."""

    level: int
    triangle: Int32[np.ndarray, " p"]
    barycentric: Float32[np.ndarray, "p 3"]


@dataclass(frozen=True, slots=True)
class ModelRows:
    """The model restricted to p points: millimetres (per standard deviation, per unit) and linear reflectance."""

    mean: Float32[np.ndarray, "p 3"]
    identity: Float32[np.ndarray, "p 3 80"]
    expression: Float32[np.ndarray, "p 3 76"]
    albedo_mean: Float32[np.ndarray, "p 3"]
    albedo: Float32[np.ndarray, "p 3 80"]

    def positions(self, identity: np.ndarray, expression: np.ndarray) -> Float32[np.ndarray, "p 3"]:
        """Where the points are, model space."""
        return self.mean + self.identity @ np.float32(identity) + self.expression @ np.float32(expression)


@dataclass(frozen=True, slots=True)
class AlbedoModel:
    """Reflectance directions, factored: scalars at level 0 (smooth) and level 2 (masks), each times one colour."""

    mean: Float32[np.ndarray, "n 3"]
    smooth: Float32[np.ndarray, "v s"]
    smooth_colors: Float32[np.ndarray, "s 3"]
    masks: Float32[np.ndarray, "n m"]
    mask_colors: Float32[np.ndarray, "m 3"]


@dataclass(frozen=True, slots=True)
class FaceModel:
    """The face model; `n` is the level-2 vertex count 53,390, level 0 has 3,386 vertices.

    Attributes:
        hash: SHA-256 of the file it was read from.
        regions: soft level-2 masks, 0 to 255, by name.
        loops: ordered level-2 border vertices of "lips", "neck", "eye_left" and "eye_right".
        face_triangles0: level-0 triangles that deformation transfer looks at.
        lip_contacts0, lid_contacts0: level-0 pairs (upper, lower) that meet when mouth or eyes are shut.
        landmarks: where the 478 landmarks of MediaPipe lie; irises are not on the skin (`landmark_valid`).
        landmark_sigma_mm: their spread in the image plane.
        uv: texture coordinates in the unit square, v downwards; injective on the `textured` level-2 triangles, which are
            the head's front half. Behind them it collapses: leave the others out when baking.
        mirror0: each level-0 vertex's partner on the other side.
        antagonists: index pairs of expressions that undo each other.
        gaze: indices of the eyeLook expressions.
        upper_teeth_rows, lower_teeth_rows: teeth, of which the lower ones move with the jaw.
    """

    hash: str
    expression_names: tuple[str, ...]
    mean: Float32[np.ndarray, "3386 3"]
    identity_basis: Float32[np.ndarray, "3386 3 80"]
    expression_basis: Float32[np.ndarray, "3386 3 76"]
    levels: tuple[QuadLevel, ...]
    level_triangles: tuple[Int32[np.ndarray, "m 3"], ...]
    albedo_model: AlbedoModel
    regions: dict[str, UInt8[np.ndarray, " n"]]
    loops: dict[str, Int32[np.ndarray, " k"]]
    face_triangles0: Int32[np.ndarray, " t"]
    lip_contacts0: Int32[np.ndarray, "c 2"]
    lid_contacts0: Int32[np.ndarray, "d 2"]
    landmarks: SurfacePoints
    landmark_sigma_mm: Float32[np.ndarray, " 478"]
    landmark_valid: Bool[np.ndarray, " 478"]
    uv: Float32[np.ndarray, "n 2"]
    textured: Bool[np.ndarray, " m"]
    mirror0: Int32[np.ndarray, " 3386"]
    antagonists: Int32[np.ndarray, "k 2"]
    gaze: Int32[np.ndarray, " g"]
    upper_teeth_rows: ModelRows
    lower_teeth_rows: ModelRows

    def triangles(self, level: int = LEVELS) -> Int32[np.ndarray, "m 3"]:
        """The mesh's triangles, counter-clockwise from outside."""
        return self.level_triangles[level]

    def subdivision(self, level: int = LEVELS) -> sparse.csr_matrix:
        """Vertices of `level` as weighted sums of level-0 vertices, float32."""
        return self.levels[level].from_level0

    def subdivide(
        self, points_level0: Float32[np.ndarray, "3386 3"], level: int = LEVELS, out: np.ndarray | None = None
    ) -> Float32[np.ndarray, "n 3"]:
        """Level-0 positions (or colours) carried to `level`."""
        operator = self.levels[level].from_level0
        if out is None:
            out = np.empty((self.levels[level].count, 3), np.float32)
        points = np.ascontiguousarray(points_level0, np.float32)
        sparse_times_points(operator.indptr, operator.indices, operator.data, points, out)
        return out

    def geometry0(self, identity: np.ndarray, expression: np.ndarray) -> Float32[np.ndarray, "3386 3"]:
        """Level-0 vertices in model space, mm, of a person (80,) with an expression (76,)."""
        moved = self.identity_basis.reshape(-1, self.identity_basis.shape[2]) @ np.asarray(identity, np.float32)
        moved += self.expression_basis.reshape(-1, self.expression_basis.shape[2]) @ np.asarray(expression, np.float32)
        return self.mean + moved.reshape(-1, 3)

    def geometry(self, identity: np.ndarray, expression: np.ndarray, level: int = LEVELS) -> Float32[np.ndarray, "n 3"]:
        """Vertices of `level` in model space, mm."""
        return self.subdivide(self.geometry0(identity, expression), level)

    def rows(self, points: SurfacePoints) -> ModelRows:
        """Mean and bases at surface points, contiguous, for solvers that must not gather per pixel."""
        corners = self.level_triangles[points.level][points.triangle]
        level = self.levels[points.level]
        at = np.repeat(np.arange(len(corners)), 3)
        weights = sparse.csr_matrix(
            (points.barycentric.ravel().astype(np.float32), (at, corners.ravel())), (len(corners), level.count)
        )
        coarse = sparse.csr_matrix(weights @ level.from_level0)
        shade = self.albedo_model
        smooth = coarse @ shade.smooth
        masks = weights @ shade.masks[: level.count]
        albedo = np.concatenate(
            [smooth[:, None, :] * shade.smooth_colors.T, masks[:, None, :] * shade.mask_colors.T], axis=2
        )
        return ModelRows(
            _carried(coarse, self.mean),
            _carried(coarse, self.identity_basis),
            _carried(coarse, self.expression_basis),
            weights @ shade.mean[: level.count],
            np.ascontiguousarray(albedo, np.float32),
        )

    def vertex_albedo(self, albedo: Float32[np.ndarray, " 80"], level: int = LEVELS) -> Float32[np.ndarray, "n 3"]:
        """Linear reflectance per vertex of `level`, kept in (0, 1]."""
        shade = self.albedo_model
        count = self.levels[level].count
        k = shade.smooth.shape[1]
        coefficients = np.asarray(albedo, np.float32)
        colors = self.subdivide(shade.smooth @ (coefficients[:k, None] * shade.smooth_colors), level)
        colors += shade.masks[:count] @ (coefficients[k:, None] * shade.mask_colors)
        colors += shade.mean[:count]
        return np.clip(colors, ALBEDO_MIN, 1.0, out=colors)

    def jaw(self, identity: Float32[np.ndarray, " 80"] | None = None) -> RigidFit:
        """Rigid motion of the lower teeth from the neutral face, model space."""
        rows = self.lower_teeth_rows
        return RigidFit(rows.mean if identity is None else rows.mean + rows.identity @ identity, rows.expression)


class RigidFit:
    """How points that expressions move travel as one body (least squares, Kabsch 1976): what of it does not change, once."""

    def __init__(self, points: Float32[np.ndarray, "n 3"], basis: Float32[np.ndarray, "n 3 76"]) -> None:
        exact = points.astype(np.float64)
        self._center = exact.mean(axis=0)
        self._center_basis = basis.mean(axis=0, dtype=np.float64)
        away = exact - self._center
        self._covariance = away.T @ away
        self._covariance_basis = np.einsum("nik,nj->ijk", basis - self._center_basis, away).reshape(9, -1)

    def __call__(self, expression: Float32[np.ndarray, " 76"]) -> RigidTransform:
        """The rotation and translation that best carry the points to where the expression moves them."""
        weights = np.asarray(expression, np.float64)
        u, _, vt = np.linalg.svd(self._covariance + (self._covariance_basis @ weights).reshape(3, 3))
        rotation = u @ vt
        if np.linalg.det(rotation) < 0:
            u[:, 2] *= -1
            rotation = u @ vt
        return RigidTransform(rotation, self._center + self._center_basis @ weights - rotation @ self._center)


def _carried(operator: sparse.csr_matrix, values: np.ndarray) -> np.ndarray:
    flat = operator @ values.reshape(len(values), -1)
    return np.ascontiguousarray(flat.reshape(len(flat), *values.shape[1:]), np.float32)


@lru_cache(maxsize=1)
def load_face_model() -> FaceModel:
    """The model that ships with the package; read once."""
    return read_face_model(_data("face_model.npz"))


def read_face_model(content: bytes) -> FaceModel:
    """A model from a file's bytes; `ModelError` if they are not a model of this version."""
    stored = unpack(content, "the face model")
    version = stored["version"].item() if "version" in stored else 0
    if version != VERSION:
        raise ModelError(
            f"The face model has version {version}, this program reads version {VERSION}.",
            hint="Install f2fcam again, or rebuild the model with tools/build_face_model.py.",
        )
    try:
        return _assemble(stored, hashlib.sha256(content).hexdigest())
    except (KeyError, ValueError, IndexError) as error:
        raise _damaged("the face model") from error


def _assemble(stored: dict[str, Any], digest: str) -> FaceModel:
    mean = stored["mean"]
    levels = tuple(subdivision_levels(stored["quads"].astype(np.int32), len(mean), LEVELS))
    names = tuple(str(name) for name in stored["expression_names"])
    return FaceModel(
        hash=digest,
        expression_names=names,
        mean=mean,
        identity_basis=stored["identity"],
        expression_basis=stored["expression"],
        levels=levels,
        level_triangles=tuple(level.triangles for level in levels),
        albedo_model=AlbedoModel(
            stored["albedo_mean"],
            stored["albedo_smooth"],
            stored["albedo_smooth_colors"],
            stored["albedo_masks"],
            stored["albedo_mask_colors"],
        ),
        regions=dict(zip((str(n) for n in stored["region_names"]), stored["regions"], strict=True)),
        loops={name: stored[f"loop_{name}"].astype(np.int32) for name in ("lips", "neck", "eye_left", "eye_right")},
        face_triangles0=stored["face_triangles0"].astype(np.int32),
        lip_contacts0=stored["lip_contacts0"].astype(np.int32),
        lid_contacts0=stored["lid_contacts0"].astype(np.int32),
        landmarks=SurfacePoints(LEVELS, stored["landmark_triangle"], stored["landmark_barycentric"]),
        landmark_sigma_mm=stored["landmark_sigma_mm"],
        landmark_valid=stored["landmark_valid"],
        uv=stored["uv"],
        textured=stored["textured"],
        mirror0=stored["mirror0"].astype(np.int32),
        antagonists=stored["antagonists"],
        gaze=np.array([i for i, name in enumerate(names) if name.startswith("eyeLook")], np.int32),
        upper_teeth_rows=_teeth_rows(stored, slice(68, 136)),
        lower_teeth_rows=_teeth_rows(stored, slice(0, 68)),
    )


def _teeth_rows(stored: dict[str, Any], part: slice) -> ModelRows:
    mean = stored["teeth_mean"][part]
    enamel = np.full_like(mean, 0.6)
    none = np.zeros((len(mean), 3, stored["teeth_identity"].shape[2]), np.float32)
    return ModelRows(mean, stored["teeth_identity"][part], stored["teeth_expression"][part], enamel, none)


def unpack(content: bytes, what: str) -> dict[str, Any]:
    """Arrays of an npz file; integers stored beside `<name>__step` are multiplied by it into float32."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            raw = {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile, zlib, struct and numpy each have their own
        raise _damaged(what) from error
    arrays = {}
    for name, values in raw.items():
        if name.endswith("__step"):
            continue
        step = raw.get(f"{name}__step")
        arrays[name] = values if step is None else values.astype(np.float32) * step
    return arrays


def _data(name: str) -> bytes:
    try:
        return (resources.files("f2fcam.face") / "data" / name).read_bytes()
    except OSError as error:
        raise ModelError(
            f"The file {name} of the face model is missing.",
            hint="Install f2fcam again, or rebuild it with tools/build_face_model.py.",
        ) from error


def _damaged(what: str) -> ModelError:
    return ModelError(
        f"The file of {what} is damaged.", hint="Install f2fcam again, or rebuild it with tools/build_face_model.py."
    )
