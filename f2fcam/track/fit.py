"""Gauss-Newton for one frame (Face2Face, sections 4 and 5): pose, expression and light of a known person.

IRLS: each step's l2,1 weights come from the last iterate. The step minimises the quadratic model within the expressions'
bounds: every eighth sample gives the direction, all of them, whose matrix is never formed, how far to go.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy.linalg import blas

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel
from f2fcam.face.rigid import RigidTransform
from f2fcam.face.state import FitStatus, Performance, Person
from f2fcam.render.cpu import CpuRasterizer
from f2fcam.track import energy, step
from f2fcam.track.energy import EXPRESSION, UNKNOWNS, LandmarkTargets, Photometric
from f2fcam.track.landmarks import (
    CHIN_LINE,
    FACE_OVAL,
    INNER_LIPS,
    LEFT_EYE,
    POINTS,
    RIGHT_EYE,
    Landmarks,
)
from f2fcam.track.pose import pose_from_landmarks
from f2fcam.track.samples import (
    PersonSamples,
    SampleSet,
    apply_sparse,
    expression_sigma,
    person_samples,
    surface_operators,
    unit_cross,
)
from f2fcam.track.solver import BoundedSolver, exact_share

UPPER_BOUND = 1.2
"""Largest expression weight (`DECISIONS` 5)."""
ROUGH_STRIDE, ROUGH_STEPS = 8, 2
"""Every so many samples make the rough normal matrix, and for so many steps it serves."""
_BOUNDED = np.arange(UNKNOWNS)[EXPRESSION]
CONTOUR_IMPORTANCE, OVAL_IMPORTANCE = 4.0, 0.2
"""Landmark weights beside 1: lips and lids move on their own; the oval slides over the skin, but for the chin, without which
a laughing jaw would drop as far as the lips part."""
WATCHED_REGIONS = ("mouth_area", "forehead")
"""Regions whose photometric error tells an occlusion (`DECISIONS` 11); the others vary too much by themselves."""
LEAST_FACING = 0.15
"""Cosine of the angle to the line of sight below which a sample is not looked at."""
OCCLUSION_MARGIN_MM = 6.0
"""A sample this far behind the level-0 depth map is hidden: more than the two levels differ, less than a nose."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """Weights and effort of one frame's fit.

    Attributes:
        color, landmark, prior: term weights; residuals are whitened.
        temporal: weight of the difference to the last frame's expression, in prior deviations.
        still: how many times more that counts when the landmarks say that nothing moved.
        light_temporal: weight of the difference to the last frame's light.
        face_px: width in pixels to which the face is reduced, coarse to fine.
        steps: Gauss-Newton steps at each.
        samples: surface samples.
    """

    color: float = 1.0
    landmark: float = 2.0
    prior: float = 1.5e-2
    temporal: float = 1.5e-2
    still: float = 30.0
    light_temporal: float = 1e-2
    face_px: tuple[float, ...] = (90.0, 180.0)
    steps: tuple[int, ...] = (2, 2)
    samples: int = 4096


@dataclass(frozen=True, slots=True)
class Level:
    """One step of the image pyramid: the face's surroundings in [0, 1], sRGB-encoded, and the camera that sees them."""

    image: Float32[np.ndarray, "h w 3"]
    intrinsics: Intrinsics


@dataclass(frozen=True, slots=True)
class Fit:
    """Outcome of one frame.

    Attributes:
        color_error: mean l2 norm of the photometric residual over the visible samples, sRGB-encoded [0, 1].
        landmark_error: root mean square landmark distance in embedding deviations.
    """

    performance: Performance
    status: FitStatus
    color_error: float
    landmark_error: float
    region_error: dict[str, float]
    """Mean l2 norm of the photometric residual per region of `WATCHED_REGIONS`; NaN where too little is seen."""


def face_pyramid(
    rgb: UInt8[np.ndarray, "h w 3"],
    intrinsics: Intrinsics,
    xy: Float[np.ndarray, "l 2"],
    face_px: tuple[float, ...],
) -> list[Level]:
    """Crop the landmarks' surroundings and reduce them so that the face is `face_px` wide; never enlarged.

    Working at a fixed face width makes the fit independent of the picture's resolution. By whole numbers first, for which
    OpenCV is fast; each coarser level is made of the next finer one.
    """
    low, high = xy.min(axis=0), xy.max(axis=0)
    margin = 0.2 * (high - low).max()
    width = max(float((high - low).max()) * 0.8, 1.0)
    whole = max(min(int(width / max(face_px)), min(intrinsics.width, intrinsics.height) // 8), 1)
    x0, y0 = np.maximum(np.floor(low - margin), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(high + margin), [intrinsics.width, intrinsics.height]).astype(int)
    least = 8 * whole
    x0, y0 = min(x0, intrinsics.width - least), min(y0, intrinsics.height - least)
    columns, rows = (max(size, least) // whole * whole for size in (x1 - x0, y1 - y0))
    small, reduced = rgb[y0 : y0 + rows, x0 : x0 + columns], 1.0
    if whole > 1:
        small, reduced = _reduced(small, 1 / whole, cv2.INTER_AREA), 1 / whole
    levels: list[Level] = []
    for target in sorted(face_px, reverse=True):
        factor = min(target / width, 1.0)
        if factor < reduced:
            way = cv2.INTER_AREA if levels else cv2.INTER_LINEAR  # at most by half, and what aliases is blurred away
            small, reduced = _reduced(small, factor / reduced, way), factor
        camera = Intrinsics(
            intrinsics.focal * factor,
            (intrinsics.center_x - x0) * factor,
            (intrinsics.center_y - y0) * factor,
            small.shape[1],
            small.shape[0],
        )
        image = cv2.GaussianBlur(small.astype(np.float32) * np.float32(1 / 255), (0, 0), 0.7)
        levels.insert(0, Level(image, camera))
    return levels


def _reduced(picture: UInt8[np.ndarray, "h w 3"], factor: float, way: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The factor is passed as such: rounding the size instead would stretch the picture by up to half a pixel."""
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=way)


def landmark_importance() -> Float32[np.ndarray, " 478"]:
    """How much each landmark counts."""
    importance = np.ones(POINTS, np.float32)
    importance[list(FACE_OVAL)] = OVAL_IMPORTANCE
    importance[list(CHIN_LINE)] = 1.0
    importance[list(INNER_LIPS + LEFT_EYE + RIGHT_EYE)] = CONTOUR_IMPORTANCE
    return importance


class FrameFitter:
    """Fits frames of one person, reusing its buffers; not thread-safe.

    Build a new one when the person changes: the samples' rows and reflectance belong to the person.
    """

    def __init__(
        self,
        model: FaceModel,
        person: Person,
        samples: SampleSet,
        config: FitConfig,
    ) -> None:
        self.model, self.person, self.config = model, person, config
        self.rows: PersonSamples = person_samples(model, person, samples)
        count = len(samples)
        self._basis = np.ascontiguousarray(
            model.expression_basis.reshape(-1, model.expression_basis.shape[2]), np.float32
        )
        self._vertices = np.empty_like(self.rows.neutral0)
        self._points, self._spin, self._normals = (np.empty((count, 3), np.float32) for _ in range(3))
        self._gradient = np.empty(UNKNOWNS, np.float32)
        self._prior_diagonal, self._slope = np.empty(UNKNOWNS), np.empty(UNKNOWNS)
        self._solver: BoundedSolver | None = None
        self._tangents = np.empty((2, count, 3), np.float32)
        self._visible = np.zeros(count, np.bool_)
        self._photometric = Photometric.empty(count)
        self._rasterizer = CpuRasterizer()
        self._triangles0 = model.triangles(0)
        valid = np.flatnonzero(model.landmark_valid)
        self._valid = valid
        landmarks = model.landmarks
        points = type(landmarks)(landmarks.level, landmarks.triangle[valid], landmarks.barycentric[valid])
        operator = surface_operators(model, points)[0]
        self._landmark_neutral = np.asarray(operator @ self.rows.neutral0, np.float64)
        if person.landmark_offset is not None:
            self._landmark_neutral += person.landmark_offset[valid]
        rows = operator @ model.expression_basis.reshape(len(model.mean), -1)
        self._landmark_rows = np.ascontiguousarray(rows, np.float32).reshape(len(valid), 3, -1)
        # The rough matrix is one product of rows: the landmarks', which know no light, then those of every eighth sample.
        self._rough_rows = np.zeros((2 * len(valid) + 3 * -(-count // ROUGH_STRIDE), UNKNOWNS), np.float32)
        self._landmark_room = np.empty((len(valid), 3)), np.empty(len(valid)), np.empty(2 * len(valid))
        self._landmark_sigma = model.landmark_sigma_mm[valid].astype(np.float64)
        self._landmark_importance = landmark_importance()[valid]
        corners = model.triangles(2)[samples.points.triangle]
        self._regions = np.stack([model.regions[name][corners].min(axis=1) > 127 for name in WATCHED_REGIONS])
        self.prior_sigma = expression_sigma(model).astype(np.float64)
        self._prior_precision = 1.0 / self.prior_sigma**2
        self._neutral = np.ascontiguousarray(person.neutral, np.float32)

    def initial(self, landmarks: Landmarks) -> Performance:
        """Relaxed face at the landmarks' pose under even light."""
        valid = self._valid
        points = self._landmark_points(self.person.neutral)
        pose = pose_from_landmarks(
            points, landmarks.xy[valid], landmarks.z[valid], 1.0 / self._landmark_sigma**2, self.person.intrinsics
        )
        lighting = np.zeros((9, 3), np.float32)
        lighting[0] = 1.0 / energy.C0
        return Performance(self.person.neutral.copy(), pose, lighting)

    def fit(
        self,
        levels: list[Level],
        landmarks: Landmarks,
        start: Performance,
        *,
        last: Performance | None = None,
        calm: float = 0.0,
        steps: tuple[int, ...] | None = None,
    ) -> Fit:
        """Minimise the energy from `start`; `last` is the frame before, for the temporal prior.

        `calm`: how sure it is that the expression is still that of `last`, 0 to 1.
        """
        steps = self.config.steps if steps is None else steps
        state = _settled(start)
        last = None if last is None else _settled(last)
        for level, count in zip(levels, steps, strict=True):
            scaled = self._targets(landmarks, level)
            for number in range(count):
                if not _is_finite(state):
                    return _diverged(state)
                if number == 0:
                    self._bend(state)
                    self._turn(state)
                    # A warm start is where it will end, to a fraction of the margin.
                    if level is levels[0] or last is None:
                        self._see(state, level)
                try:
                    state = self._gauss_newton(level, scaled, state, last, calm, number % ROUGH_STEPS == 0)
                except np.linalg.LinAlgError:
                    return _diverged(state)
        if not _is_finite(state):
            return _diverged(state)
        return self._outcome(levels[-1], landmarks, state)

    def _targets(self, landmarks: Landmarks, level: Level) -> LandmarkTargets:
        """Landmarks in the level's pixels."""
        factor = level.intrinsics.focal / self.person.intrinsics.focal
        offset = np.array(
            [
                level.intrinsics.center_x - self.person.intrinsics.center_x * factor,
                level.intrinsics.center_y - self.person.intrinsics.center_y * factor,
            ]
        )
        xy = landmarks.xy[self._valid].astype(np.float64) * factor + offset
        confidence = landmarks.confidence[self._valid] * self._landmark_importance
        return LandmarkTargets(xy, self._landmark_sigma, confidence.astype(np.float64))

    def _bend(self, state: Performance) -> None:
        """The level-0 mesh with the expression of `state`, in model space."""
        np.matmul(self._basis, state.expression, out=self._vertices.reshape(-1))
        np.add(self._vertices, self.rows.neutral0, out=self._vertices)

    def _turn(self, state: Performance) -> None:
        """Normals of the samples on the mesh last bent, in camera space; fixed until the next call."""
        samples = self.rows.samples
        for operator, out in ((samples.tangent_u, self._tangents[0]), (samples.tangent_v, self._tangents[1])):
            apply_sparse(operator.indptr, operator.indices, operator.data, self._vertices, out)
        unit_cross(self._tangents[0], self._tangents[1], self._normals)
        self._normals[:] = self._normals @ state.camera_from_model.rotation.T.astype(np.float32)

    def _see(self, state: Performance, level: Level) -> None:
        """Mark the samples that the camera sees; fixed until the next call (`DECISIONS` 1)."""
        pose = RigidTransform(
            state.camera_from_model.rotation.astype(np.float32), state.camera_from_model.translation.astype(np.float32)
        )
        rows = self.rows
        energy.place_samples(
            rows.neutral, rows.rows, rows.unit, state.expression, pose.rotation, pose.translation, self._points
        )
        depth = self._rasterizer.rasterize(pose.apply(self._vertices), self._triangles0, level.intrinsics).depth
        camera = level.intrinsics
        step.shown_samples(
            self._points, self._normals, depth, camera.focal, camera.center_x, camera.center_y,
            LEAST_FACING, OCCLUSION_MARGIN_MM, self._visible,
        )  # fmt: skip

    def _linearize(self, level: Level, state: Performance) -> float:
        camera, pose = level.intrinsics, state.camera_from_model
        rows, p = self.rows, self._photometric
        return float(
            energy.linearize_photometric(
                rows.neutral, rows.rows, rows.unit, state.expression, pose.rotation.astype(np.float32),
                pose.translation.astype(np.float32), self._normals, level.image, np.float32(camera.focal),
                np.float32(camera.center_x), np.float32(camera.center_y), rows.albedo, state.lighting, rows.weight,
                self._visible, self._spin, p.residual, p.weight, p.slope, p.gain, p.basis,
            )
        )  # fmt: skip

    def landmark_misfit(self, landmarks: Landmarks, performance: Performance) -> Float[np.ndarray, "478 3"]:
        """From each landmark of a fit to where the detector saw it, parallel to the picture, mm in model space."""
        pose, camera = performance.camera_from_model, self.person.intrinsics
        points = pose.apply(self._landmark_points(performance.expression))
        apart = (landmarks.xy[self._valid] - camera.project(points)) * points[:, 2:] / camera.focal
        misfit = np.zeros((POINTS, 3))
        misfit[self._valid] = np.column_stack([apart, np.zeros(len(apart))]) @ pose.rotation
        return misfit

    def _landmark_points(self, expression: np.ndarray) -> Float[np.ndarray, "l 3"]:
        """The valid landmarks' surface points in model space."""
        out = np.empty_like(self._landmark_neutral)
        step.landmark_points(
            self._landmark_neutral, self._landmark_rows, np.ascontiguousarray(expression, np.float32), out
        )
        return out

    def _add_landmarks(self, targets: LandmarkTargets, state: Performance, camera: Intrinsics) -> np.ndarray:
        """The landmark term's gradient on top of the priors', and its rows (2l, 109), in memory that is reused."""
        pose, jacobian = state.camera_from_model, self._rough_rows[: 2 * len(self._valid)]
        step.add_landmarks(
            self._landmark_neutral, self._landmark_rows, state.expression, pose.rotation, pose.translation,
            targets.xy, targets.sigma_mm, targets.confidence, self.config.landmark,
            camera.focal, camera.center_x, camera.center_y, *self._landmark_room, jacobian, self._slope,
        )  # fmt: skip
        return jacobian

    def _gauss_newton(
        self,
        level: Level,
        targets: LandmarkTargets,
        state: Performance,
        last: Performance | None,
        calm: float,
        afresh: bool,
    ) -> Performance:
        """One IRLS Gauss-Newton step; `afresh`: with a rough matrix of its own."""
        color, pose = self.config.color, state.camera_from_model
        rotation, diagonal, gradient = pose.rotation.astype(np.float32), self._prior_diagonal, self._slope
        self._priors(state, last, calm)
        jacobian = self._add_landmarks(targets, state, level.intrinsics)
        if color > 0:
            self._linearize(level, state)
            gradient += color * self._photometric_gradient(rotation)
        if afresh or self._solver is None:
            self._solver = BoundedSolver(self._rough_normal(diagonal, rotation), _BOUNDED)
        lower = -state.expression.astype(np.float64)
        way = self._solver.solve(gradient, lower, lower + UPPER_BOUND)
        if not np.isfinite(way).all():
            raise np.linalg.LinAlgError("the step is not finite")
        curvature = step.known_curvature(diagonal, jacobian, way)
        if color > 0:
            curvature += color * self._curvature(rotation, way.astype(np.float32))
        share = exact_share(float(gradient @ way), curvature)
        moved = Performance(
            np.empty_like(state.expression),
            RigidTransform(np.empty((3, 3)), np.empty(3)),
            np.empty_like(state.lighting),
        )
        step.move_along(
            state.expression, pose.rotation, pose.translation, state.lighting, way, share, UPPER_BOUND,
            moved.expression, moved.camera_from_model.rotation, moved.camera_from_model.translation, moved.lighting,
        )  # fmt: skip
        return moved

    def _priors(self, state: Performance, last: Performance | None, calm: float) -> None:
        """Diagonal and gradient of the statistical and the temporal prior, in memory that is reused."""
        config, before = self.config, last or state
        step.prior_terms(
            state.expression, state.lighting, before.expression, before.lighting, self._neutral, self._prior_precision,
            config.prior, config.temporal * (1 + config.still * calm) if last else 0.0,
            config.light_temporal if last else 0.0, self._prior_diagonal, self._slope,
        )  # fmt: skip

    def _photometric_gradient(self, rotation: np.ndarray) -> Float32[np.ndarray, " n"]:
        """At the last linearisation; in memory that is reused."""
        rows, p = self.rows, self._photometric
        energy.photometric_gradient(
            rows.rows, rows.unit, self._spin, rotation, p.residual, p.weight, p.slope, p.gain, p.basis, self._gradient
        )
        return self._gradient

    def _curvature(self, rotation: np.ndarray, step: np.ndarray) -> float:
        """Of the photometric term at the last linearisation, along a step."""
        rows, p = self.rows, self._photometric
        return float(
            energy.photometric_curvature(
                rows.rows, rows.unit, self._spin, rotation, p.weight, p.slope, p.gain, p.basis, step
            )
        )

    def _rough_normal(self, diagonal: np.ndarray, rotation: np.ndarray) -> Float[np.ndarray, "n n"]:
        """The normal matrix with every eighth sample standing for all, after the landmarks' rows are filled."""
        rows, p, count = self.rows, self._photometric, 2 * len(self._valid)
        if self.config.color > 0:
            count += energy.photometric_rows(
                rows.rows, rows.unit, self._spin, rotation, p.weight, p.slope, p.gain, p.basis, ROUGH_STRIDE,
                np.float32(self.config.color * ROUGH_STRIDE), self._rough_rows[count:],
            )  # fmt: skip
        half, normal = blas.ssyrk(1.0, self._rough_rows[:count].T, lower=True), np.empty((UNKNOWNS, UNKNOWNS))
        step.mirrored(half.T, diagonal, normal)
        return normal

    def _outcome(self, level: Level, landmarks: Landmarks, state: Performance) -> Fit:
        """Errors of colour are those before the last step, which changes their mean by half a percent."""
        if self.config.color <= 0:
            self._linearize(level, state)
        errors = np.empty(1 + len(self._regions))
        step.mean_norms(self._photometric.residual, self._photometric.weight, self._regions, energy.COLOR_SIGMA, errors)
        targets, camera, pose = self._targets(landmarks, level), level.intrinsics, state.camera_from_model
        landmark_error = step.landmark_error(
            self._landmark_neutral, self._landmark_rows, state.expression, pose.rotation, pose.translation,
            targets.xy, targets.sigma_mm, targets.confidence, camera.focal, camera.center_x, camera.center_y,
        )  # fmt: skip
        return Fit(
            state,
            "converged",
            float(errors[0]),
            float(landmark_error),
            dict(zip(WATCHED_REGIONS, errors[1:].tolist(), strict=True)),
        )


def _is_finite(state: Performance) -> bool:
    pose = state.camera_from_model
    return bool(step.is_finite(state.expression, pose.rotation, pose.translation, state.lighting))


def _diverged(state: Performance) -> Fit:
    return Fit(state, "diverged", np.inf, np.inf, dict.fromkeys(WATCHED_REGIONS, np.nan))


def _settled(state: Performance) -> Performance:
    """The same in the kernels' kinds of numbers."""
    pose = state.camera_from_model
    return Performance(
        np.ascontiguousarray(state.expression, np.float32),
        RigidTransform(np.ascontiguousarray(pose.rotation, np.float64), np.asarray(pose.translation, np.float64)),
        np.ascontiguousarray(state.lighting, np.float32),
    )
