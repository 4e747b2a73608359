"""The fixed surface samples that the photometric energy looks at, with their rows of the face model.

A sample is a point on the level-2 mesh. Its position and its two surface tangents are sparse combinations of level-0
vertices, so a person's samples follow from 3,386 blended vertices, and so do their derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float32, Int16
from numba import njit

from f2fcam.face.morphable import FaceModel, SurfacePoints
from f2fcam.face.state import Person
from f2fcam.track.energy import packed_rows

DENSE_REGIONS = ("lips_upper", "lips_lower", "eyelid_left", "eyelid_right", "brow_left", "brow_right")
"""Regions that carry expression and get more samples per area; `area` makes up for it."""
DENSITY = 3.0
EXPRESSION_SIGMA, GAZE_SIGMA = 0.4, 0.05
"""Prior deviations of expression weights; the eyeLook shapes are nearly collinear and are all but left out."""


@dataclass(frozen=True, slots=True)
class SampleSet:
    """Points on the face, before a person is known.

    Attributes:
        points: where they lie on the level-2 mesh.
        area: surface area in mm^2 of the mean face that each stands for.
        position, tangent_u, tangent_v: (p, 3386) sparse operators from level-0 vertices.
    """

    points: SurfacePoints
    area: Float32[np.ndarray, " p"]
    position: sp.csr_matrix
    tangent_u: sp.csr_matrix
    tangent_v: sp.csr_matrix

    def __len__(self) -> int:
        return len(self.area)


def choose_samples(model: FaceModel, count: int, *, region: str = "inner_face") -> SampleSet:
    """Spread `count` samples evenly over `region`, denser on lips, lids and brows.

    Walking the triangles in mesh order with equal steps of weighted area stratifies them without randomness.
    """
    triangles = model.triangles(2)
    corners = model.geometry(np.zeros(80, np.float32), np.zeros(76, np.float32))[triangles]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    inside = model.regions[region][triangles].min(axis=1) > 127
    dense = np.max([model.regions[name][triangles].max(axis=1) for name in DENSE_REGIONS], axis=0) > 127
    density = np.where(dense, DENSITY, 1.0)
    cumulative = np.cumsum(np.where(inside, area * density, 0.0))
    steps = (np.arange(count) + 0.5) * (cumulative[-1] / count)
    chosen = np.searchsorted(cumulative, steps)
    # A golden-ratio sequence varies the place within the triangle, so that samples do not line up with the mesh.
    u, v = np.modf(np.arange(count) * 0.7548776662)[0], np.modf(np.arange(count) * 0.5698402910)[0]
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    points = SurfacePoints(2, chosen.astype(np.int32), np.stack([1 - u - v, u, v], axis=1).astype(np.float32))
    weight = (cumulative[-1] / count / density[chosen]).astype(np.float32)
    return SampleSet(points, weight, *surface_operators(model, points))


def surface_operators(model: FaceModel, points: SurfacePoints) -> tuple[sp.csr_matrix, sp.csr_matrix, sp.csr_matrix]:
    """Operators from level-0 vertices to the points' positions and to two edges of their triangles."""
    corners = model.triangles(points.level)[points.triangle]
    subdivision = model.subdivision(points.level)
    at = [sp.csr_matrix(subdivision[corners[:, k]]) for k in range(3)]
    weights = [sp.diags(points.barycentric[:, k].astype(np.float32)) for k in range(3)]
    position = weights[0] @ at[0] + weights[1] @ at[1] + weights[2] @ at[2]
    return tuple(sp.csr_matrix(m, dtype=np.float32) for m in (position, at[1] - at[0], at[2] - at[0]))


@dataclass(frozen=True, slots=True)
class PersonSamples:
    """Samples of one person: everything that stays fixed while that person is tracked.

    Attributes:
        neutral0: level-0 vertices with zero expression, mm. neutral: the samples with zero expression, mm.
        rows, unit: expression basis at the samples, as the kernels take it (`energy.packed_rows`).
        albedo: linear reflectance.
        weight: how much each sample counts: the area that it stands for, mm^2.
    """

    samples: SampleSet
    neutral0: Float32[np.ndarray, "3386 3"]
    neutral: Float32[np.ndarray, "p 3"]
    rows: Int16[np.ndarray, "p 3 80"]
    unit: Float32[np.ndarray, " 80"]
    albedo: Float32[np.ndarray, "p 3"]
    weight: Float32[np.ndarray, " p"]


def person_samples(model: FaceModel, person: Person, samples: SampleSet) -> PersonSamples:
    """Gather what tracking `person` needs at `samples`."""
    expression = model.expression_basis.reshape(len(model.mean), -1)
    rows = (samples.position @ expression).reshape(len(samples), 3, -1)
    if person.vertex_albedo is None:
        vertex_albedo = model.vertex_albedo(person.albedo)
    else:
        vertex_albedo = person.vertex_albedo
    corners = model.triangles(2)[samples.points.triangle]
    albedo = np.einsum("pk,pkc->pc", samples.points.barycentric, vertex_albedo[corners])
    neutral0 = model.geometry0(person.identity, np.zeros(76, np.float32))
    return PersonSamples(
        samples,
        neutral0,
        np.ascontiguousarray(samples.position @ neutral0, dtype=np.float32),
        *packed_rows(rows.astype(np.float32)),
        np.ascontiguousarray(albedo, dtype=np.float32),
        samples.area,
    )


def expression_sigma(model: FaceModel) -> Float32[np.ndarray, " 76"]:
    """Prior standard deviation of each expression weight; gaze moves the lids only through the blink shapes."""
    sigma = np.full(len(model.expression_names), EXPRESSION_SIGMA, np.float32)
    sigma[model.gaze] = GAZE_SIGMA
    return sigma


@njit("void(i4[::1], i4[::1], f4[::1], f4[:,::1], f4[:,::1])", nogil=True, cache=True, fastmath=True)
def apply_sparse(indptr, indices, values, points, out):
    """Sparse (p, n) times dense (n, 3) into `out` (p, 3)."""
    for i in range(len(out)):
        x = y = z = np.float32(0)
        for k in range(indptr[i], indptr[i + 1]):
            j, w = np.uint64(indices[k]), values[k]
            x += w * points[j, np.uint64(0)]
            y += w * points[j, np.uint64(1)]
            z += w * points[j, np.uint64(2)]
        out[i, 0], out[i, 1], out[i, 2] = x, y, z


@njit(nogil=True, cache=True, fastmath=True)
def unit_cross(u, v, out):
    """Unit normals of tangent pairs, (p, 3)."""
    for i in range(len(u)):
        x = u[i, 1] * v[i, 2] - u[i, 2] * v[i, 1]
        y = u[i, 2] * v[i, 0] - u[i, 0] * v[i, 2]
        z = u[i, 0] * v[i, 1] - u[i, 1] * v[i, 0]
        scale = 1 / max((x * x + y * y + z * z) ** 0.5, 1e-12)
        out[i, 0], out[i, 1], out[i, 2] = x * scale, y * scale, z * scale
