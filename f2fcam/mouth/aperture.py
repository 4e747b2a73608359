"""An opening of the face (mouth or eye) with the skin around it: which vertices, and where they lie for one person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Int32
from numba import njit
from scipy import sparse
from scipy.sparse import csgraph

from f2fcam.face.mesh import sparse_times_points, vertex_normals
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Performance, Person
from f2fcam.kept import kept_array
from f2fcam.mouth.light import luminance_of, luminance_weights
from f2fcam.render.drawn import DrawnMesh, thinned_mesh
from f2fcam.render.rims import rim_distance
from f2fcam.simd import lane, lanes8, nothing8, plus, scaled
from f2fcam.track.landmarks import IRISES

ApertureName = Literal["mouth", "eye_left", "eye_right"]
APERTURES: tuple[ApertureName, ...] = ("mouth", "eye_left", "eye_right")

SOLID_MM = {"mouth": 5.0, "eye_left": 5.0, "eye_right": 5.0}
"""Skin up to this far from lips or lid margin is the retrieved frame's alone."""
FADED_MM = {"mouth": 15.0, "eye_left": 10.0, "eye_right": 10.0}
"""Skin from this far on is the displayed frame's alone."""
DEPTH_MM = {"mouth": 8.0, "eye_left": 2.0, "eye_right": 2.0}
"""How far behind the rim's middle the inside's plane lies: front teeth, cornea."""
FINE_MM = {"mouth": 5.0, "eye_left": 4.0, "eye_right": 4.0}
"""This far from the rim all of level 2 is part of the patch (`drawn.thinned_mesh`)."""
LANDMARK_SPREAD_MM = 6.0
"""How far a landmark's misfit reaches over the skin."""
CONTROLS = 13
"""Points along each half of the mouth's rim that may be moved on their own (`contour.rim_shifts`)."""
HEIGHTS = 7
"""Places between the corners where an opening's height is compared."""
LIP_EDGE_MM = 3.5
"""From the rim, of what may be the lip's outline when it turns inwards."""
CONTROL_SPREAD_MM = 3.0
"""How far a shift of the rim reaches over the lip."""
LIGHT, FACING, ROW = 3, 4, 8
"""Lanes of a level-0 vertex beside its position, and how many there are."""


@dataclass(frozen=True, slots=True)
class Aperture:
    """One opening of the face model; `v` vertices of level 2, numbered locally: all near the rim, fewer farther off.

    Attributes:
        vertices: their level-2 numbers.
        triangles: of the local vertices.
        alpha: 1 where the retrieved frame alone is shown, falling to 0 at the patch's edge.
        columns: level-0 vertices that all of level 2 there hangs on. triangles0: of them.
        weight0: how much of that part of level 2 hangs on each, in vertices.
        operator: local vertices as weighted sums of `columns`.
        upper, lower: the rim's halves, local numbers, both from the person's right corner to the left one.
        upper_lip, lower_lip: vertices within `LIP_EDGE_MM` of either half, local numbers; none for eyes.
        landmarks: numbers of the detector's points that lie on the patch.
        landmark_operator: those points as weighted sums of `columns`.
        controls: points along each half of the rim that may be moved; none for eyes.
        spread: carries the landmarks' misfit and, after it, the controls' to the level-0 vertices. alpha0: their `alpha`.
    """

    name: ApertureName
    vertices: Int32[np.ndarray, " v"]
    triangles: Int32[np.ndarray, "m 3"]
    alpha: Float32[np.ndarray, " v"]
    columns: Int32[np.ndarray, " c"]
    triangles0: Int32[np.ndarray, "t 3"]
    weight0: Float32[np.ndarray, " c"]
    operator: sparse.csr_matrix
    upper: Int32[np.ndarray, " a"]
    lower: Int32[np.ndarray, " b"]
    upper_lip: Int32[np.ndarray, " p"]
    lower_lip: Int32[np.ndarray, " q"]
    landmarks: Int32[np.ndarray, " l"]
    landmark_operator: sparse.csr_matrix
    controls: int
    spread: Float32[np.ndarray, "c m"]
    alpha0: Float32[np.ndarray, " c"]

    @property
    def has_jaw(self) -> bool:
        """Whether the inside's lower half moves with the jaw."""
        return self.name == "mouth"


def apertures(model: FaceModel) -> dict[ApertureName, Aperture]:
    """The model's three openings, cut out of the mean face."""
    points = model.subdivide(model.mean)
    distances = {name: _kept_distance(points, points[_seeds(model, name)], FADED_MM[name]) for name in APERTURES}
    alphas = {name: _alpha(model, name, distances[name]) for name in APERTURES}
    fine = np.zeros(len(points), bool)
    for name in APERTURES:
        fine |= rim_distance(model, _loop(name)) < FINE_MM[name]
    mesh = thinned_mesh(model, np.stack(list(alphas.values()), axis=1), fine)
    return {
        name: _aperture(model, name, points, distances[name] < FADED_MM[name], alphas[name], mesh) for name in APERTURES
    }


def _loop(name: ApertureName) -> str:
    return "lips" if name == "mouth" else name


def _seeds(model: FaceModel, name: ApertureName) -> np.ndarray:
    """Level-2 vertices from which a patch reaches out: the rim, and all of the lips."""
    loop = model.loops[_loop(name)]
    if name != "mouth":
        return loop
    lips = np.maximum(model.regions["lips_upper"], model.regions["lips_lower"]) > 127
    return np.union1d(loop, np.flatnonzero(lips))


def _alpha(model: FaceModel, name: ApertureName, distance: np.ndarray) -> Float32[np.ndarray, " n"]:
    """How much of each level-2 vertex is the patch's."""
    solid = 1 - _smoothstep(SOLID_MM[name], FADED_MM[name], distance)
    return (solid * (1 - model.regions["nostrils"] / np.float32(255))).astype(np.float32)


def _aperture(
    model: FaceModel, name: ApertureName, points: np.ndarray, near: np.ndarray, alpha: np.ndarray, mesh: DrawnMesh
) -> Aperture:
    """The part of the `mesh` that reaches into what is `near`; what it hangs on comes from level 2 itself."""
    loop, all_triangles, subdivision = model.loops[_loop(name)], model.triangles(2), model.subdivision(2)
    region = np.unique(all_triangles[near[all_triangles].any(axis=1)])
    drawn = mesh.rows[mesh.triangles]
    vertices, triangles = np.unique(drawn[near[drawn].any(axis=1)], return_inverse=True)
    columns = np.unique(subdivision[np.union1d(region, vertices)].indices)
    full = subdivision[region][:, columns]
    upper, lower = _halves(points, loop)
    local = np.full(len(points), -1, np.int32)
    local[vertices] = np.arange(len(vertices), dtype=np.int32)
    landmarks, landmark_operator = _landmarks(model, region, columns)
    spread = _spread(model.mean[columns], landmark_operator @ model.mean[columns])
    controls = CONTROLS if name == "mouth" else 0
    lips = [np.zeros(0, np.int32)] * 2
    if controls:
        given = (points, all_triangles, upper, lower)
        halves, limit = (upper, lower), 4 * CONTROL_SPREAD_MM
        to_rim = kept_array("lips", given, lambda: np.stack(_along_surface(points, all_triangles, halves, limit)))
        moved = _rim_spread(points[columns], points[upper[[0, -1]]], list(to_rim[:, columns]))
        spread = np.concatenate([spread, moved], axis=1)
        lips = [local[np.flatnonzero((a < LIP_EDGE_MM) & (a < b))] for a, b in (to_rim, to_rim[::-1])]
    weight = np.asarray(full.sum(axis=0)).ravel()
    alpha0 = (full.T @ alpha[region]) / np.maximum(weight, 1e-6)
    return Aperture(
        name=name,
        vertices=vertices.astype(np.int32),
        triangles=np.ascontiguousarray(triangles.reshape(-1, 3).astype(np.int32)),
        alpha=alpha[vertices],
        columns=columns.astype(np.int32),
        triangles0=_triangles0(model, columns),
        weight0=np.asarray(full.multiply(full > 0).sum(axis=0), np.float32).ravel(),
        operator=subdivision[vertices][:, columns].tocsr().astype(np.float32),
        upper=local[upper],
        lower=local[lower],
        upper_lip=lips[0],
        lower_lip=lips[1],
        landmarks=landmarks,
        landmark_operator=landmark_operator,
        controls=controls,
        spread=np.ascontiguousarray(spread, np.float32),
        alpha0=alpha0.clip(0, 1).astype(np.float32),
    )


def _triangles0(model: FaceModel, columns: np.ndarray) -> Int32[np.ndarray, "t 3"]:
    """Level-0 triangles of nothing but `columns`, by their place there."""
    place = np.full(len(model.mean), -1, np.int32)
    place[columns] = np.arange(len(columns), dtype=np.int32)
    triangles = place[model.triangles(0)]
    return np.ascontiguousarray(triangles[(triangles >= 0).all(axis=1)])


def _kept_distance(points: np.ndarray, seeds: np.ndarray, limit: float) -> np.ndarray:
    return kept_array("opening", (points, seeds, np.array(limit)), lambda: _distance(points, seeds, limit))


def _distance(points: np.ndarray, seeds: np.ndarray, limit: float) -> np.ndarray:
    """Distance of every point to the nearest seed; infinite where it is above `limit`.

    Of the nearest few seeds in single precision: which of two equally near ones a tree finds is chance.
    """
    out = np.full(len(points), np.inf)
    low, high = seeds.min(axis=0) - limit, seeds.max(axis=0) + limit
    from scipy.spatial import KDTree  # not before: its import takes a tenth of a second

    close = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
    nearest = np.asarray(KDTree(seeds).query(points[close], k=4, distance_upper_bound=1.001 * limit)[1])
    found = nearest[:, 0] < len(seeds)
    close, nearest = close[found], nearest[found]
    nearest = np.where(nearest < len(seeds), nearest, nearest[:, :1])
    out[close] = np.linalg.norm(points[close, None] - seeds[nearest], axis=2).min(axis=1)
    return out


def _smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _halves(points: np.ndarray, loop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loop's upper and lower half between its outermost vertices, corners in both, from right (-x) to left."""
    right, left = int(np.argmin(points[loop, 0])), int(np.argmax(points[loop, 0]))
    rolled = np.roll(loop, -right)
    turn = (left - right) % len(loop)
    one, other = rolled[: turn + 1], np.concatenate([rolled[:1], rolled[turn:][::-1]])
    if points[one, 1].mean() > points[other, 1].mean():
        return one, other
    return other, one


def _landmarks(model: FaceModel, region: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, sparse.csr_matrix]:
    """The landmarks whose surface points lie in a region of level 2, and where, of the level-0 vertices it hangs on."""
    corners = model.triangles(model.landmarks.level)[model.landmarks.triangle]
    found = np.isin(corners, region).all(axis=1) & model.landmark_valid
    found[IRISES] = False
    chosen = np.flatnonzero(found)
    rows = np.repeat(np.arange(len(chosen)), 3)
    weights = model.landmarks.barycentric[chosen].ravel().astype(np.float32)
    operator = model.subdivision(model.landmarks.level)
    count = len(model.subdivide(model.mean, model.landmarks.level))
    at = sparse.csr_matrix((weights, (rows, corners[chosen].ravel())), (len(chosen), count))
    return chosen.astype(np.int32), sparse.csr_matrix(at @ operator)[:, columns]


def _spread(points: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Normalised Gaussian weights (c, l)."""
    square = ((points[:, None] - landmarks[None]) ** 2).sum(axis=2)
    weight = np.exp(-0.5 * (square - square.min(axis=1, keepdims=True)) / LANDMARK_SPREAD_MM**2)
    return np.ascontiguousarray(weight / weight.sum(axis=1, keepdims=True), np.float32)


def _along_surface(
    points: np.ndarray, triangles: np.ndarray, halves: tuple[np.ndarray, np.ndarray], limit: float
) -> list[np.ndarray]:
    """Every vertex' distance over the mesh's edges to each half of the rim: shut lips touch, yet are far apart."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    lengths = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    graph = sparse.csr_matrix((lengths, (edges[:, 0], edges[:, 1])), (len(points), len(points)))
    return [csgraph.dijkstra(graph, directed=False, indices=half[1:-1], min_only=True, limit=limit) for half in halves]


def _rim_spread(points: np.ndarray, corners: np.ndarray, to_rim: list[np.ndarray]) -> np.ndarray:
    """Weights (c, 2 k) of the rim's controls: along a half linear between neighbours, away from it fading; each lip its own."""
    across = (points[:, 0] - corners[0, 0]) / (corners[1, 0] - corners[0, 0]) * (CONTROLS - 1)
    hats = np.maximum(1 - np.abs(np.clip(across, 0, CONTROLS - 1)[:, None] - np.arange(CONTROLS)), 0)
    fading = [np.exp(-0.5 * (apart / CONTROL_SPREAD_MM) ** 2) for apart in to_rim]
    mine = [to_rim[0] <= to_rim[1], to_rim[1] < to_rim[0]]
    return np.concatenate([hats * (fade * own)[:, None] for fade, own in zip(fading, mine, strict=True)], axis=1)


@dataclass(frozen=True, slots=True)
class Placed:
    """An aperture's surface in one picture.

    Attributes:
        points: camera space, mm.
        pixels: their projections.
        light: irradiance, luminance only. facing: z of the unit normals in camera space, -1 towards the camera. Both come
            from level 0: finer normals would put the model's own creases into the picture.
        upper_inside, lower_inside: pixels of four points on the inside's plane, carried by the skull and by the jaw.
    """

    points: Float32[np.ndarray, "v 3"]
    pixels: Float32[np.ndarray, "v 2"]
    light: Float32[np.ndarray, " v"]
    facing: Float32[np.ndarray, " v"]
    upper_inside: Float[np.ndarray, "4 2"]
    lower_inside: Float[np.ndarray, "4 2"]


class PersonAperture:
    """An aperture's geometry for one person: expression and pose in, places out.

    Attributes:
        jaw: motion of the lower teeth from the neutral face.
    """

    def __init__(self, model: FaceModel, person: Person, aperture: Aperture) -> None:
        self.aperture = aperture
        self.intrinsics = person.intrinsics
        columns = aperture.columns
        rest = model.mean[columns] + model.identity_basis[columns] @ np.asarray(person.identity, np.float32)
        self._rest0 = np.ascontiguousarray(rest, np.float32)
        self._basis0 = np.ascontiguousarray(model.expression_basis[columns].reshape(3 * len(columns), -1), np.float32)
        self.jaw = model.jaw(np.asarray(person.identity, np.float32))
        operator, count = aperture.landmark_operator, len(aperture.landmarks)
        self._landmarks = np.asarray(operator @ self._rest0, np.float32)
        self._landmark_basis = (operator @ self._basis0.reshape(len(columns), -1)).reshape(count, 3, -1)
        self._pairs: dict[tuple[tuple[int, int], ...], tuple[np.ndarray, np.ndarray]] = {}
        self._plane = self._inside_plane(person)
        self._height, self._height_basis = self._heights()

    def shape(self, expression: Float32[np.ndarray, " 76"]) -> Float32[np.ndarray, "v 3"]:
        """The vertices in model space, mm."""
        return self._subdivided(self._coarse(expression))

    def _coarse(self, expression: Float32[np.ndarray, " 76"]) -> Float32[np.ndarray, "c 3"]:
        return self._rest0 + (self._basis0 @ np.asarray(expression, np.float32)).reshape(-1, 3)

    def _subdivided(self, coarse: Float32[np.ndarray, "c 3"]) -> Float32[np.ndarray, "v 3"]:
        operator = self.aperture.operator
        out = np.empty((len(self.aperture.vertices), 3), np.float32)
        sparse_times_points(operator.indptr, operator.indices, operator.data, coarse, out)
        return out

    def landmarks(self, expression: Float32[np.ndarray, " 76"]) -> Float32[np.ndarray, "l 3"]:
        """The aperture's landmarks in model space, mm."""
        return self._landmarks + self._landmark_basis @ np.asarray(expression, np.float32)

    def pair_rows(
        self, pairs: tuple[tuple[int, int], ...]
    ) -> tuple[Float32[np.ndarray, "p 3"], Float32[np.ndarray, "p 3 76"]]:
        """Differences between pairs of landmarks in mm, at rest and per expression; 0 where the patch does not bear both."""
        if pairs not in self._pairs:
            place = {int(number): k for k, number in enumerate(self.aperture.landmarks)}
            ends = [(place[a], place[b]) if a in place and b in place else (0, 0) for a, b in pairs]
            one, other = np.array(ends).T
            still, basis = self._landmarks, self._landmark_basis
            differences = still[one] - still[other], basis[one] - basis[other]
            self._pairs[pairs] = tuple(np.ascontiguousarray(part, np.float32) for part in differences)
        return self._pairs[pairs]

    def heights(self, expression: Float32[np.ndarray, " 76"]) -> Float32[np.ndarray, " 7"]:
        """How far apart the rim's halves are, mm, at even places between the corners; negative where they overlap."""
        return self._height + self._height_basis @ np.asarray(expression, np.float32)

    def _heights(self) -> tuple[np.ndarray, np.ndarray]:
        rest = self._subdivided(self._rest0)
        ends = rest[self.aperture.upper[[0, -1]], 0]
        places = ends[0] + (ends[1] - ends[0]) * np.arange(1, HEIGHTS + 1) / (HEIGHTS + 1)
        upper, lower = (
            half[np.abs(rest[half, 0][None] - places[:, None]).argmin(axis=1)]
            for half in (self.aperture.upper, self.aperture.lower)
        )
        apart = (self.aperture.operator[upper] - self.aperture.operator[lower]).tocsr()
        vertical = self._basis0.reshape(len(self._rest0), 3, -1)[:, 1]
        return (apart @ self._rest0[:, 1]).astype(np.float32), (apart @ vertical).astype(np.float32)

    def shape_metric(self, rank: int) -> Float32[np.ndarray, "r 76"]:
        """Q with |Q (a - b)|^2 close to the patch's mean squared motion in mm^2 between expressions a and b."""
        weight = self.aperture.weight0.astype(np.float64)
        weight = np.repeat(np.sqrt(weight / weight.sum()), 3)
        _, singular, right = np.linalg.svd(self._basis0 * weight[:, None], full_matrices=False)
        return (singular[:rank, None] * right[:rank]).astype(np.float32)

    def place(
        self,
        performance: Performance,
        misfit: Float32[np.ndarray, "m 2"],
        inner_misfit: Float32[np.ndarray, "m 2"] | None = None,
    ) -> Placed:
        """Where the surface lies in a picture.

        `misfit` (detected - fitted landmarks, then the rim's shifts, pixels) corrects the fit; `inner_misfit` takes its
        place where the patch is opaque, so that lips stand as they did in the retrieved frame while the patch's edge
        meets the displayed one.
        """
        misfit = np.asarray(misfit, np.float32)
        inner = misfit if inner_misfit is None else np.asarray(inner_misfit, np.float32)
        moved = np.zeros((len(self.aperture.spread), 4), np.float32)
        spread = self.aperture.spread[:, : len(misfit)]
        if inner is misfit:
            np.matmul(spread, misfit, out=moved[:, :2])
        else:
            np.matmul(spread, np.concatenate([misfit, inner - misfit], axis=1), out=moved)
        camera, pose, operator = self.intrinsics, performance.camera_from_model, self.aperture.operator
        rotation, translation = np.asarray(pose.rotation, np.float32), np.asarray(pose.translation, np.float32)
        coarse, count = self._coarse(performance.expression), len(self.aperture.vertices)
        flat = np.empty(7 * count, np.float32)
        points, pixels = flat[: 3 * count].reshape(-1, 3), flat[3 * count : 5 * count].reshape(-1, 2)
        light, facing = flat[5 * count : 6 * count], flat[6 * count :]
        _to_camera(coarse, rotation, translation, moved, self.aperture.alpha0, camera.focal)
        _carry(
            coarse, self.aperture.triangles0, luminance_weights(performance.lighting), operator.indptr, operator.indices,
            operator.data, camera.focal, camera.center_x, camera.center_y, points, pixels, light, facing,
        )  # fmt: skip
        plane = [self._plane]
        if self.aperture.has_jaw:
            plane.append(self.jaw(performance.expression).apply(self._plane))
        shift = inner[: len(self._landmarks)].mean(axis=0, dtype=np.float64)
        inside = camera.project(pose.apply(np.concatenate(plane))) + shift
        return Placed(points, pixels, light, facing, inside[:4], inside[-4:])

    def pull(
        self, misfit: Float32[np.ndarray, "m 2"], inner_misfit: Float32[np.ndarray, "m 2"]
    ) -> Float32[np.ndarray, "c 2"]:
        """How far `inner_misfit` in `place` takes the aperture's level-0 vertices from where `misfit` alone has them, pixels."""
        apart = np.asarray(inner_misfit - misfit, np.float32)
        return self.aperture.alpha0[:, None] * (self.aperture.spread[:, : len(apart)] @ apart)

    def _inside_plane(self, person: Person) -> np.ndarray:
        """Four points in model space, mm: a square behind the neutral rim."""
        rim = self.shape(person.neutral)[np.concatenate([self.aperture.upper, self.aperture.lower])].astype(np.float64)
        middle = rim.mean(axis=0) - (0.0, 0.0, DEPTH_MM[self.aperture.name])
        half = 0.35 * np.ptp(rim[:, 0])
        return middle + half * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])


@njit("void(f4[:,::1], f4[:,:], f4[::1], f4[:,::1], f4[::1], f8)", nogil=True, cache=True, fastmath=True)
def _to_camera(points, turn, shift, moved, inner, focal):
    """Move points (c, 3) from model to camera space in place, then along the picture by `moved`.

    `moved` (c, 4): pixels for all, and what comes on top where `inner` (c,) is 1.
    """
    per_focal = np.float32(1 / focal)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        depth = turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z + shift[2]
        for k in range(2):
            aside = (moved[i, k] + inner[i] * moved[i, 2 + k]) * (depth * per_focal)
            points[i, k] = turn[k, 0] * x + turn[k, 1] * y + turn[k, 2] * z + shift[k] + aside
        points[i, 2] = depth


@njit(
    "void(f4[:,::1], i4[:,::1], f4[:,::1], i4[::1], i4[::1], f4[::1], f8, f8, f8, f4[:,::1], f4[:,::1], f4[::1], f4[::1])",
    nogil=True,
    cache=True,
    fastmath=True,
)
def _carry(
    coarse, triangles, weights, indptr, indices, data, focal, center_x, center_y, points, pixels, light, facing
):  # fmt: skip
    """Level-0 points (c, 3) in camera space, and the light on them, to the drawn vertices by a CSR operator; projected."""
    f, x0, y0 = np.float32(focal), np.float32(center_x), np.float32(center_y)
    normals, rows = np.empty((len(coarse), 3), np.float32), np.zeros((len(coarse), ROW), np.float32)
    vertex_normals(coarse, triangles, normals)
    for i in range(len(coarse)):
        rows[i, 0], rows[i, 1], rows[i, 2] = coarse[i, 0], coarse[i, 1], coarse[i, 2]
        rows[i, LIGHT] = luminance_of(normals[i, 0], normals[i, 1], normals[i, 2], weights)
        rows[i, FACING] = normals[i, 2]
    for i in range(len(points)):
        sums = nothing8()
        for k in range(indptr[i], indptr[i + 1]):
            sums = plus(sums, scaled(lanes8(rows, ROW * np.intp(indices[k])), data[k]))
        x, y, z = lane(sums, 0), lane(sums, 1), lane(sums, 2)
        scale = f / z
        points[i, 0], points[i, 1], points[i, 2] = x, y, z
        pixels[i, 0], pixels[i, 1] = x * scale + x0, y * scale + y0
        light[i], facing[i] = lane(sums, LIGHT), lane(sums, FACING)
