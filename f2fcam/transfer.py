"""Expression transfer in the subspace (Face2Face, section 7): deformation transfer between two people's level-0 faces.

Per triangle the source's deformation gradient from neutral to now, W' W^-1 with W = [edge, edge, normal] (Sumner and
Popovic 2004), is applied to the target's neutral edges e: W' W^-1 e = W' c. The coefficients c = W^-1 e depend on the
pair of people only, so that a frame costs the source's vertices, one pass over the triangles and one product with the
basis. The least-squares system over the 76 target coefficients is fixed per pair.

Three additions to the paper (`DECISIONS` 8). Edges do not know that lips and lids touch, so contact pairs get rows of
their own: a shut gap stays shut. A gradient stretches what the target has by as much, so that the brows of a face where
they sit low would hardly rise: what is read in a face (brows, mouth width, corners) gets rows too, and moves as far as
the source's in units of the eyes' distance. And the weak directions of the system lean on the source's own coefficients
instead of on zero, so that identical people exchange expressions unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32
from numba import njit

from f2fcam.face.morphable import FaceModel, ModelRows
from f2fcam.face.state import Person
from f2fcam.track import landmarks as lm

UPPER_BOUND = 1.2
"""Largest expression weight; the smallest is 0. What the source or the target's neutral exceeds stays allowed."""

CONTACT_WEIGHT = 50.0
"""Weight of a contact pair's gap (mm) against an edge (mm) of a triangle of mean area."""

FEATURE_WEIGHT = 150.0
"""Weight of a feature's motion (mm), as of a contact."""

FIT_SHARE = 0.88
"""What is seen of the motion of brows and mouth corners: fits show 0.93 to 0.98 of the detector's points, of the actor's and of
the target's, and of the way between two expressions a picture shows less, since the skin beside them follows softly."""

FEATURE_SCALES = (0.8, 1.3)
"""Of the target's motion to the source's; more is a fault of a person's scale."""

USUAL_REACH_MM = (-4.0, 7.0), (-6.0, 8.0), (-12.0, 12.0)
"""How far down and up brows and mouth corners move, and how much narrower and wider a mouth gets: what anybody's face does."""

ROOM = 0.25
"""Of the target's reach: past it a motion goes on ever more slowly, this much farther at most. A stronger actor's O made of
lips that were never seen narrower by half tears."""

COPY_WEIGHT = 1e-2
"""Pull towards the source's own coefficients, relative to the mean diagonal of the normal equations."""

GAZE_COPY_WEIGHT = 1.0
"""The same for the eyeLook shapes: they follow the eye, and must not help a lid to its gap."""

SWEEPS = 12
"""Coordinate-descent passes that settle the coefficients which hit a bound."""

SMALLEST_NEUTRAL_GAP_MM = 0.5
"""Below this a neutral gap counts as shut and does not bend the map from source gap to target gap."""


@dataclass(frozen=True, slots=True)
class Contacts:
    """Pairs of lip and lid vertices that can touch. A gap is signed, in mm, along the pair's way of opening.

    What fits find while lips touch, some millimetres that differ from person to person, counts as none.

    The target's gap is piecewise linear in the source's: zero to zero, neutral to neutral, full range to full range;
    lips or lids that are pressed together (negative) are so by as much.

    Attributes:
        rows: gap = rows @ expression + rest, the same for everyone since the model is linear.
        source_rest, target_rest: the gaps of each person's face at expression 0.
        source_neutral, target_neutral: the gaps of each person's neutral.
        below, above: slopes on either side of the source's neutral gap.
    """

    rows: Float32[np.ndarray, "c 76"]
    source_rest: Float32[np.ndarray, " c"]
    target_rest: Float32[np.ndarray, " c"]
    source_neutral: Float32[np.ndarray, " c"]
    target_neutral: Float32[np.ndarray, " c"]
    below: Float32[np.ndarray, " c"]
    above: Float32[np.ndarray, " c"]

    def target_gaps(self, source_expression: Float32[np.ndarray, " 76"]) -> Float32[np.ndarray, " c"]:
        """The gaps that the target should show, mm."""
        gap = self.rows @ source_expression + self.source_rest
        open_gap = np.maximum(gap, 0.0)
        beyond = open_gap - self.source_neutral
        scaled = self.target_neutral + beyond * np.where(beyond < 0, self.below, self.above)
        return scaled + np.minimum(gap, 0.0)


@dataclass(frozen=True, slots=True)
class Reach:
    """What the target's face was seen to do, or what any face does: motions of `_features` from the neutral, mm."""

    low: Float32[np.ndarray, " m"]
    high: Float32[np.ndarray, " m"]

    @classmethod
    def of(cls, features: Float32[np.ndarray, "m 76"], neutral: np.ndarray, seen: Float32[np.ndarray, "n 76"]) -> Reach:
        """From the target's own expressions."""
        brows, corners, width = USUAL_REACH_MM
        low, high = np.array([brows] * (len(features) - 3) + [corners] * 2 + [width], np.float32).T
        motion = (seen - neutral) @ features.T
        return cls(np.minimum(low, motion.min(axis=0, initial=0.0)), np.maximum(high, motion.max(axis=0, initial=0.0)))

    def within(self, motion: Float32[np.ndarray, " m"]) -> Float32[np.ndarray, " m"]:
        """The motions, softly kept within reach; unchanged inside it."""
        room = ROOM * (self.high - self.low)
        beyond = motion - np.clip(motion, self.low, self.high)
        return motion - beyond + np.sign(beyond) * room * (1 - np.exp(-np.abs(beyond) / room))


@dataclass(frozen=True, slots=True)
class Transfer:
    """All that one pair of people shares between frames; made by `prepare_transfer`.

    Attributes:
        source_neutral, target_neutral: what expressions are relative to.
        source_rest: the source's face vertices at expression 0, mm, flattened.
        basis: the same vertices' expression rows, mm per unit.
        triangles: corners among those vertices.
        coefficients: c per triangle and edge (see the module).
        rest_edges: the target's two neutral edges per triangle, mm.
        weights: area weights, mean 1.
        features: rows whose product with an expression is the motion of brows and mouth corners, mm.
        feature_scale: the target's distance between the outer eye corners over the source's.
        reach: how far the target's features go; None when that is not known.
        normal_matrix, inverse: A^T A with contacts, features and the copy term, and its inverse.
        copy: weights of the copy term.
    """

    source_neutral: Float32[np.ndarray, " 76"]
    target_neutral: Float32[np.ndarray, " 76"]
    source_rest: Float32[np.ndarray, " 3*v"]
    basis: Float32[np.ndarray, "3*v 76"]
    triangles: Int32[np.ndarray, "f 3"]
    coefficients: Float32[np.ndarray, "f 2 3"]
    rest_edges: Float32[np.ndarray, "f 2 3"]
    weights: Float32[np.ndarray, " f"]
    contacts: Contacts
    features: Float32[np.ndarray, "m 76"]
    feature_scale: float
    reach: Reach | None
    normal_matrix: Float64[np.ndarray, "76 76"]
    inverse: Float64[np.ndarray, "76 76"]
    copy: Float64[np.ndarray, " 76"]


def prepare_transfer(
    source: Person, target: Person, model: FaceModel, seen: Float32[np.ndarray, "n 76"] | None = None
) -> Transfer:
    """Everything about a pair of people that does not change from frame to frame.

    `seen`: the target's own expressions, which tell how far its face goes.
    """
    corners = model.triangles(0)[model.face_triangles0]
    vertices, triangles = np.unique(corners, return_inverse=True)
    triangles = triangles.reshape(-1, 3).astype(np.int32)
    basis = np.ascontiguousarray(model.expression_basis[vertices].reshape(-1, model.expression_basis.shape[2]))
    source_rest = _identity_shape(model, source)[vertices]
    neutral_source = source_rest + (basis @ source.neutral).reshape(-1, 3)
    neutral_target = _identity_shape(model, target)[vertices] + (basis @ target.neutral).reshape(-1, 3)
    rest_edges, areas = _edges(neutral_target, triangles)
    weights = areas / areas.mean()
    points = model.rows(model.landmarks)
    scale = float(np.clip(_eye_distance(target, points) / _eye_distance(source, points), *FEATURE_SCALES))
    contacts, features = _contacts(source, target, model, scale), _features(points)

    edge_rows, _ = _edges(basis.reshape(len(vertices), 3, -1), triangles)
    weighted = (edge_rows * np.sqrt(weights)[:, None, None, None]).reshape(-1, basis.shape[1]).astype(np.float64)
    normal_matrix = weighted.T @ weighted + CONTACT_WEIGHT * contacts.rows.T.astype(np.float64) @ contacts.rows
    normal_matrix += FEATURE_WEIGHT * features.T.astype(np.float64) @ features
    copy = np.full(len(normal_matrix), COPY_WEIGHT)
    copy[model.gaze] = GAZE_COPY_WEIGHT
    copy *= np.trace(normal_matrix) / len(normal_matrix)
    normal_matrix[np.diag_indices_from(normal_matrix)] += copy
    return Transfer(
        source_neutral=source.neutral,
        target_neutral=target.neutral,
        source_rest=np.ascontiguousarray(source_rest.reshape(-1), np.float32),
        basis=basis,
        triangles=triangles,
        coefficients=_coefficients(neutral_source, rest_edges, triangles),
        rest_edges=np.ascontiguousarray(rest_edges, np.float32),
        weights=weights.astype(np.float32),
        contacts=contacts,
        features=features,
        feature_scale=scale,
        reach=None if seen is None else Reach.of(features, target.neutral, seen),
        normal_matrix=normal_matrix,
        inverse=np.linalg.inv(normal_matrix),
        copy=copy,
    )


def transfer(pair: Transfer, source_expression: Float32[np.ndarray, " 76"]) -> Float32[np.ndarray, " 76"]:
    """The target's expression that shows what the source shows; both absolute, within [0, 1.2]."""
    source_expression = np.asarray(source_expression, np.float32)
    vertices = pair.source_rest + pair.basis @ source_expression
    pull = np.zeros_like(vertices)
    _edge_pull(vertices.reshape(-1, 3), pair.triangles, pair.coefficients, pair.rest_edges, pair.weights, pull)
    contacts = pair.contacts
    missing = contacts.target_gaps(source_expression) - contacts.target_rest - contacts.rows @ pair.target_neutral
    copied = source_expression - pair.source_neutral
    moved = np.float32(pair.feature_scale) * (pair.features @ copied)
    if pair.reach is not None:
        moved = pair.reach.within(moved)
    right = (pull @ pair.basis + CONTACT_WEIGHT * (missing @ contacts.rows)).astype(np.float64)
    right += FEATURE_WEIGHT * (moved @ pair.features) + pair.copy * copied

    neutral = pair.target_neutral.astype(np.float64)
    lower = np.minimum(np.minimum(source_expression, pair.target_neutral), 0.0) - neutral
    upper = np.maximum(np.maximum(source_expression, pair.target_neutral), UPPER_BOUND) - neutral
    change = pair.inverse @ right
    if (change < lower).any() or (change > upper).any():
        _settle(pair.normal_matrix, right, lower, upper, change)
    return (neutral + change).astype(np.float32)


def fit_shortfall(model: FaceModel) -> Float32[np.ndarray, "76 76"]:
    """S in `shown + S (shown - own)`: what fits leave out of the way from a frame's own expression to the one to be shown.

    Least motion of the face's vertices that makes up for `FIT_SHARE` in the features; nothing where both are the same.
    """
    face = np.unique(model.triangles(0)[model.face_triangles0])
    basis = model.expression_basis[face].reshape(-1, model.expression_basis.shape[2]).astype(np.float64)
    features = _features(model.rows(model.landmarks)).astype(np.float64)
    gram = basis.T @ basis
    gram[np.diag_indices_from(gram)] += COPY_WEIGHT * np.trace(gram) / len(gram)
    spread = np.linalg.solve(gram, features.T)
    remainder = spread @ np.linalg.solve(features @ spread, features)
    return ((1 / FIT_SHARE - 1) * remainder).astype(np.float32)


def _identity_shape(model: FaceModel, person: Person) -> np.ndarray:
    return model.mean + model.identity_basis @ person.identity


def _features(points: ModelRows) -> Float32[np.ndarray, "m 76"]:
    """Height of three parts of either brow, height of the mouth's corners, and the mouth's width: their expression rows."""
    motion = points.expression
    heights = [*(_thirds(lm.RIGHT_BROW_UPPER)), *(_thirds(lm.LEFT_BROW_UPPER))]
    heights += [(lm.RIGHT_MOUTH_CORNER,), (lm.LEFT_MOUTH_CORNER,)]
    rows = [motion[list(points), 1].mean(axis=0) for points in heights]
    rows.append(motion[lm.LEFT_MOUTH_CORNER, 0] - motion[lm.RIGHT_MOUTH_CORNER, 0])
    return np.ascontiguousarray(rows, np.float32)


def _thirds(brow: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Outer, middle and inner part of a brow's five points."""
    return [brow[:2], brow[1:4], brow[3:]]


def _eye_distance(person: Person, points: ModelRows) -> float:
    """Between the outer corners, mm."""
    corners = points.positions(person.identity, person.neutral)
    return float(np.linalg.norm(corners[lm.LEFT_EYE_OUTER] - corners[lm.RIGHT_EYE_OUTER]))


def _edges(points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two edges (f, 2, 3, ...) per triangle, and areas where the points are vertices (3 columns, no more axes)."""
    first = points[triangles[:, 1]] - points[triangles[:, 0]]
    second = points[triangles[:, 2]] - points[triangles[:, 0]]
    areas = np.linalg.norm(np.cross(first, second), axis=1) / 2 if points.ndim == 2 else np.empty(0)
    return np.stack([first, second], axis=1), areas


def _coefficients(source: np.ndarray, target_edges: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """W^-1 e (f, 2, 3) of the source's neutral frames W and the target's neutral edges e."""
    edges, _ = _edges(source.astype(np.float64), triangles)
    normal = np.cross(edges[:, 0], edges[:, 1])
    normal /= np.sqrt(np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9))
    frame = np.stack([edges[:, 0], edges[:, 1], normal], axis=2)
    solved = np.linalg.solve(frame, target_edges.astype(np.float64).transpose(0, 2, 1))
    return np.ascontiguousarray(solved.transpose(0, 2, 1), np.float32)


def _contacts(source: Person, target: Person, model: FaceModel, scale: float) -> Contacts:
    """Signed gaps along each pair's widest opening over the unit expressions; lids open wider by `scale` at least.

    Lips' gaps count from what fits find while they touch (`Person.shut`).
    """
    pairs = np.concatenate([model.lip_contacts0, model.lid_contacts0])
    motion = (model.expression_basis[pairs[:, 0]] - model.expression_basis[pairs[:, 1]]).astype(np.float64)
    reached = _gap_vectors(model.mean, pairs)[:, :, None] + motion
    widest = np.linalg.norm(reached, axis=1).argmax(axis=1)
    direction = np.take_along_axis(reached, widest[:, None, None], axis=2)[:, :, 0]
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    rows = np.einsum("pc,pck->pk", direction, motion)
    opening = rows.max(axis=1)
    lids = np.arange(len(pairs)) >= len(model.lip_contacts0)
    rest, neutral = [], []
    for person in (source, target):
        gap = np.einsum("pc,pc->p", direction, _gap_vectors(_identity_shape(model, person), pairs))
        if person.shut is not None:
            gap[~lids] = -(rows @ person.shut)[~lids]
        rest.append(gap)
        neutral.append(gap + rows @ person.neutral)
    shut = np.minimum(*neutral) < SMALLEST_NEUTRAL_GAP_MM
    neutral = [np.where(shut, 0.0, gap) for gap in neutral]
    reach = [np.maximum(gap + opening - start, 1.0) for gap, start in zip(rest, neutral)]
    above = reach[1] / reach[0]
    below = np.where(shut, above, neutral[1] / np.where(shut, 1.0, neutral[0]))
    above = np.where(lids, np.maximum(above, scale), above)
    columns = (rows, rest[0], rest[1], neutral[0], neutral[1], below, above)
    return Contacts(*(np.ascontiguousarray(column, np.float32) for column in columns))


def _gap_vectors(points: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return points[pairs[:, 0]] - points[pairs[:, 1]]


@njit("void(f4[:,::1], i4[:,::1], f4[:,:,::1], f4[:,:,::1], f4[::1], f4[::1])", nogil=True, cache=True, fastmath=True)
def _edge_pull(vertices, triangles, coefficients, rest_edges, weights, pull):
    """Scatter the weighted wanted edge changes W' c - e to the corners, so that A^T b = basis^T pull."""
    for t in range(len(triangles)):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = vertices[j, 0] - vertices[i, 0], vertices[j, 1] - vertices[i, 1], vertices[j, 2] - vertices[i, 2]
        bx, by, bz = vertices[k, 0] - vertices[i, 0], vertices[k, 1] - vertices[i, 1], vertices[k, 2] - vertices[i, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        scale = np.float32(1.0) / np.sqrt(np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-9))
        nx, ny, nz = nx * scale, ny * scale, nz * scale
        for edge in range(2):
            u, v, w = coefficients[t, edge, 0], coefficients[t, edge, 1], coefficients[t, edge, 2]
            x = weights[t] * (u * ax + v * bx + w * nx - rest_edges[t, edge, 0])
            y = weights[t] * (u * ay + v * by + w * ny - rest_edges[t, edge, 1])
            z = weights[t] * (u * az + v * bz + w * nz - rest_edges[t, edge, 2])
            corner = j if edge == 0 else k
            pull[3 * corner] += x
            pull[3 * corner + 1] += y
            pull[3 * corner + 2] += z
            pull[3 * i] -= x
            pull[3 * i + 1] -= y
            pull[3 * i + 2] -= z


@njit("void(f8[:,::1], f8[::1], f8[::1], f8[::1], f8[::1])", nogil=True, cache=True, fastmath=True)
def _settle(matrix, right, lower, upper, solution):
    """Bounded least squares by projected coordinate descent, from the unbounded solution."""
    count = len(right)
    for i in range(count):
        solution[i] = min(max(solution[i], lower[i]), upper[i])
    for _ in range(SWEEPS):
        for i in range(count):
            residual = right[i]
            for j in range(count):
                residual -= matrix[i, j] * solution[j]
            solution[i] = min(max(solution[i] + residual / matrix[i, i], lower[i]), upper[i])
