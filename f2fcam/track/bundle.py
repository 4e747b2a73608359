"""Non-rigid model-based bundling (Face2Face, section 6): identity, albedo and focal length shared by k keyframes, each
with its own pose, expression and light, minimised together, coarse to fine.

The Jacobian is block dense: a keyframe's rows touch the shared unknowns and its own 109. Unlike the paper's, shading also
moves the shape through the normals, and each sample has a reflectance of its own besides the albedo basis, eliminated in
closed form (`bundle_system`): what stays is that all keyframes must see the same colour at the same point, which is what
fixes the shape. Sliding along the skin it hardly fixes, a texture slides along: where a face has no features the prior and
the way there decide, so that the coarse levels keep near to the mean face.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel, SurfacePoints
from f2fcam.face.state import Performance, Person
from f2fcam.overlap import in_order
from f2fcam.render.cpu import CpuRasterizer
from f2fcam.track.bundle_rows import bundle_rows
from f2fcam.track.bundle_system import OWN, SHARED, Block, System, reduced_system
from f2fcam.track.fit import OCCLUSION_MARGIN_MM, UPPER_BOUND, Level
from f2fcam.track.identity_prior import identity_precision
from f2fcam.track.landmarks import Landmarks
from f2fcam.track.samples import SampleSet, expression_sigma, surface_operators

IDENTITY, ALBEDO, FOCAL = slice(0, 80), slice(80, 160), slice(160, 161)
REFRESH = 4
"""Steps between two looks at what is visible."""
MOST_IDENTITY = 4.0
"""Standard deviations."""
DAMPING = 1e-3
TEXTURE_RANGE = 4.0
"""Largest own log reflectance: hair on the skin is that much darker, and a tighter bound would pull the shape off it."""


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """Weights and effort.

    Attributes:
        color: term weight. landmark: term weight per level: landmarks are biased from person to person, so that they only
            lead the way. identity: prior weight per level (`identity_precision`). albedo, expression: prior weights, in
            standard deviations.
        identity_room: variance of each identity coefficient beyond the generated people's.
        saturation: per level, residual norm in colour deviations at which a sample counts for half: in the end, highlights and
            hair have no say; earlier, all residuals are large.
        texture_sigma: how far, in log reflectance, a sample may leave the albedo basis.
        focal_sigma: prior deviation of log focal length (`DECISIONS` 4).
        face_px, steps: levels, coarse to fine, and Gauss-Newton steps at each.
        shape_from_shading: whether normals carry derivatives.
    """

    color: float = 1.0
    landmark: tuple[float, ...] = (1.0, 0.1, 0.02)
    identity: tuple[float, ...] = (1e-2, 2e-3, 2e-4)
    identity_room: float = 0.05
    albedo: float = 1e-3
    expression: float = 1.5e-2
    saturation: tuple[float, ...] = (1e3, 1e3, 4.0)
    texture_sigma: float = 0.6
    focal_sigma: float = 0.25
    face_px: tuple[float, ...] = (60.0, 120.0, 200.0)
    steps: tuple[int, ...] = (10, 6, 14)
    samples: int = 2400
    shape_from_shading: bool = True


@dataclass(frozen=True, slots=True)
class Keyframe:
    """One picture to bundle: its pyramid (as many levels as the config names), its landmarks, where to start."""

    levels: list[Level]
    landmarks: Landmarks
    start: Performance


@dataclass(frozen=True, slots=True)
class Bundle:
    """Outcome: the person, each keyframe's performance, and the energy after each step."""

    person: Person
    performances: list[Performance]
    energies: list[float]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of the model at the samples and landmarks, identity then expression, 156 columns."""

    position: Float32[np.ndarray, "p 3 156"]
    tangent_u: Float32[np.ndarray, "p 3 156"]
    tangent_v: Float32[np.ndarray, "p 3 156"]
    mean: Float32[np.ndarray, "3 p 3"]
    albedo_mean: Float32[np.ndarray, "p 3"]
    albedo: Float32[np.ndarray, "p 3 80"]
    landmark_mean: np.ndarray
    landmark: np.ndarray


def _gather(model: FaceModel, samples: SampleSet, valid: np.ndarray) -> _Rows:
    both = np.concatenate([model.identity_basis, model.expression_basis], axis=2)
    flat = both.reshape(len(both), -1)
    operators = (samples.position, samples.tangent_u, samples.tangent_v)
    rows = [np.ascontiguousarray((o @ flat).reshape(len(samples), 3, -1), np.float32) for o in operators]
    mean = np.stack([o @ model.mean for o in operators]).astype(np.float32)
    surface = model.rows(samples.points)
    points = SurfacePoints(model.landmarks.level, model.landmarks.triangle[valid], model.landmarks.barycentric[valid])
    at = surface_operators(model, points)[0]
    return _Rows(
        *rows,
        mean,
        surface.albedo_mean,
        np.ascontiguousarray(surface.albedo),
        np.asarray(at @ model.mean, np.float64),
        np.asarray(at @ flat, np.float64).reshape(len(valid), 3, -1),
    )


@dataclass(slots=True)
class _State:
    """The iterate."""

    shared: np.ndarray
    texture: np.ndarray
    frames: list[Performance]

    def moved(self, step: np.ndarray, texture: np.ndarray) -> _State:
        shared = self.shared + step[:SHARED]
        shared[IDENTITY] = np.clip(shared[IDENTITY], -MOST_IDENTITY, MOST_IDENTITY)
        frames = []
        for k, frame in enumerate(self.frames):
            own = step[SHARED + OWN * k : SHARED + OWN * (k + 1)]
            frames.append(
                Performance(
                    np.clip(frame.expression + own[6:82], 0.0, UPPER_BOUND).astype(np.float32),
                    frame.camera_from_model.nudged(own[:3], own[3:6]),
                    (frame.lighting + own[82:].reshape(9, 3)).astype(np.float32),
                )
            )
        return _State(shared, np.clip(self.texture + texture, -TEXTURE_RANGE, TEXTURE_RANGE), frames)


class _Problem:
    """The bundling energy: linearisation at a level, normal equations."""

    def __init__(
        self,
        model: FaceModel,
        samples: SampleSet,
        keyframes: list[Keyframe],
        intrinsics: Intrinsics,
        config: BundleConfig,
        threads: int,
    ) -> None:
        self.threads = threads
        self.model, self.samples, self.keyframes, self.config = model, samples, keyframes, config
        self.intrinsics = intrinsics
        self.valid = np.flatnonzero(model.landmark_valid)
        self.rows = _gather(model, samples, self.valid)
        self.sigma_mm = model.landmark_sigma_mm[self.valid].astype(np.float64)
        self._triangles0 = model.triangles(0)
        self.blocks = [Block.empty(len(samples), len(self.valid)) for _ in keyframes]
        share = np.float32(max(config.color, 1e-6) / len(samples))
        self._texture_precision = np.full(3 * len(samples), share / config.texture_sigma**2, np.float32)
        self.prior = self._prior_precision(0)

    def _prior_precision(self, level: int) -> np.ndarray:
        """Quadratic priors (u, u): only the identity's has more than a diagonal."""
        config, k = self.config, len(self.keyframes)
        precision = np.full(SHARED + OWN * k, 1e-7)
        precision[ALBEDO] = config.albedo * k
        precision[FOCAL] = 1e-2 * k / config.focal_sigma**2
        sigma = expression_sigma(self.model).astype(np.float64)
        for f in range(k):
            start = SHARED + OWN * f
            precision[start + 6 : start + 82] = config.expression / sigma**2
            precision[start + 82 : start + OWN] = 1e-4
        prior = np.diag(precision)
        prior[IDENTITY, IDENTITY] = config.identity[level] * k * identity_precision(config.identity_room)
        return prior

    def _values(self, state: _State) -> np.ndarray:
        """What the priors pull to zero: light and pose are only damped."""
        value = np.zeros(len(self.prior))
        value[:SHARED] = state.shared
        for f, frame in enumerate(state.frames):
            value[SHARED + OWN * f + 6 : SHARED + OWN * f + 82] = frame.expression
        return value

    def visibility(self, state: _State, level: int) -> list[np.ndarray]:
        """Which samples each keyframe sees."""
        pairs = list(zip(self.keyframes, state.frames, strict=True))
        return list(in_order(lambda pair: self._visible(state, pair[0].levels[level], pair[1]), pairs, self.threads))

    def _visible(self, state: _State, level: Level, frame: Performance) -> np.ndarray:
        camera = self.camera(level, state)
        vertices = self.model.geometry0(state.shared[IDENTITY].astype(np.float32), frame.expression)
        pose = frame.camera_from_model
        depth = CpuRasterizer().rasterize(pose.apply(vertices).astype(np.float32), self._triangles0, camera).depth
        points, u, v = self._surface(state, frame)
        points = pose.apply(points)
        normals = np.cross(u, v) @ pose.rotation.T
        pixel = camera.project(points).astype(np.int32)
        inside = (pixel >= 0).all(axis=1) & (pixel[:, 0] < camera.width) & (pixel[:, 1] < camera.height)
        nearest = depth[np.where(inside, pixel[:, 1], 0), np.where(inside, pixel[:, 0], 0)]
        cosine = -np.einsum("pc,pc->p", normals, points)
        cosine /= np.linalg.norm(normals, axis=1) * np.linalg.norm(points, axis=1)
        return inside & (cosine > 0.25) & (points[:, 2] < nearest + OCCLUSION_MARGIN_MM)

    def camera(self, level: Level, state: _State) -> Intrinsics:
        """The level's camera with the iterate's focal length."""
        return replace(level.intrinsics, focal=level.intrinsics.focal * float(np.exp(state.shared[160])))

    def _surface(self, state: _State, frame: Performance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions and tangents of the samples in model space."""
        vertices = self.model.geometry0(state.shared[IDENTITY].astype(np.float32), frame.expression)
        s = self.samples
        return s.position @ vertices, s.tangent_u @ vertices, s.tangent_v @ vertices

    def linearize(self, state: _State, visible: list[np.ndarray], level: int) -> float:
        """Fill the blocks; returns the energy."""
        self.prior = self._prior_precision(level)
        albedo = self.rows.albedo_mean + self.rows.albedo @ state.shared[ALBEDO].astype(np.float32)
        own = np.exp(state.texture)
        albedo = (np.maximum(albedo, 1e-3) * own).astype(np.float32)
        albedo_rows = self.rows.albedo * own[:, :, None]
        value = self._values(state)
        total = float(value @ self.prior @ value) / 2
        total += float((self._texture_precision * state.texture.ravel() ** 2).sum()) / 2

        def one(number: int) -> float:
            return self._linearize_one(state, number, visible[number], level, albedo, albedo_rows)

        return total + sum(in_order(one, range(len(self.keyframes)), self.threads))

    def _linearize_one(
        self,
        state: _State,
        number: int,
        seen: np.ndarray,
        level: int,
        albedo: Float32[np.ndarray, "p 3"],
        albedo_rows: Float32[np.ndarray, "p 3 80"],
    ) -> float:
        """Fill one keyframe's block; returns its energy."""
        keyframe, frame, block = self.keyframes[number], state.frames[number], self.blocks[number]
        camera = self.camera(keyframe.levels[level], state)
        points, u, v = (a.astype(np.float32) for a in self._surface(state, frame))
        energy = bundle_rows(
            points, u, v, frame.camera_from_model.rotation.astype(np.float32),
            frame.camera_from_model.translation.astype(np.float32), keyframe.levels[level].image,
            camera.focal, camera.center_x, camera.center_y, albedo, albedo_rows, frame.lighting, self.samples.area, seen,
            self.rows.position, self.rows.tangent_u, self.rows.tangent_v,
            np.float32(self.config.color), np.float32(self.config.saturation[level]),
            np.float32(self.config.shape_from_shading),
            block.jacobian, block.residual, block.reflectance,
        )  # fmt: skip
        return energy + self._landmark_rows(state, keyframe, frame, camera, level, block)

    def _landmark_rows(
        self, state: _State, keyframe: Keyframe, frame: Performance, camera: Intrinsics, number: int, block: Block
    ) -> float:
        level = keyframe.levels[number]
        coefficients = np.concatenate([state.shared[IDENTITY], frame.expression])
        pose = frame.camera_from_model
        points = pose.apply(self.rows.landmark_mean + self.rows.landmark @ coefficients)
        factor = level.intrinsics.focal / self.intrinsics.focal
        origin = np.array([self.intrinsics.center_x, self.intrinsics.center_y]) * factor
        offset = np.array([camera.center_x, camera.center_y]) - origin
        xy = keyframe.landmarks.xy[self.valid] * factor + offset
        confidence = keyframe.landmarks.confidence[self.valid]
        sigma = self.sigma_mm * camera.pixels_per_mm(float(points[:, 2].mean()))
        scale = np.sqrt(self.config.landmark[number] * confidence / max(float(confidence.sum()), 1e-9)) / sigma
        projected = camera.project(points)
        residual = scale[:, None] * (projected - xy)
        start = 3 * len(self.samples)
        jacobian = block.jacobian[start:]
        jacobian[:] = 0
        z = points[:, 2]
        spin = points - pose.translation
        rows = pose.rotation @ self.rows.landmark
        for axis, center in ((0, camera.center_x), (1, camera.center_y)):
            slope = np.zeros_like(points)
            slope[:, axis] = camera.focal / z
            slope[:, 2] = -(projected[:, axis] - center) / z
            slope *= scale[:, None]
            shape = np.einsum("lc,lck->lk", slope, rows)
            lines = jacobian[axis::2]
            lines[:, IDENTITY] = shape[:, :80]
            lines[:, 160] = scale * (projected[:, axis] - center)
            lines[:, SHARED : SHARED + 3] = np.cross(spin, slope)
            lines[:, SHARED + 3 : SHARED + 6] = slope
            lines[:, SHARED + 6 : SHARED + 82] = shape[:, 80:]
        block.residual[start:] = residual.ravel()
        return 0.5 * float((residual**2).sum())

    def system(self, state: _State) -> System:
        """Normal equations at what was linearised last."""
        return reduced_system(
            self.blocks, self.prior, self._values(state), self._texture_precision, state.texture.ravel(),
            threads=self.threads,
        )  # fmt: skip


def bundle(
    model: FaceModel,
    samples: SampleSet,
    keyframes: list[Keyframe],
    intrinsics: Intrinsics,
    config: BundleConfig,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Bundle:
    """Estimate the person in `keyframes`, filmed with one camera of about `intrinsics`, from the mean face.

    The outcome does not depend on the number of threads.
    """
    problem = _Problem(model, samples, keyframes, intrinsics, config, threads)
    state = _State(np.zeros(SHARED), np.zeros((len(samples), 3), np.float32), [k.start for k in keyframes])
    energies: list[float] = []
    total = sum(config.steps)
    for level, steps in enumerate(config.steps):
        state = _descend(problem, state, level, steps, energies, lambda done: progress(done, total))
    person = Person(
        state.shared[IDENTITY].astype(np.float32),
        state.shared[ALBEDO].astype(np.float32),
        replace(intrinsics, focal=intrinsics.focal * float(np.exp(state.shared[160]))),
        np.median([f.expression for f in state.frames], axis=0).astype(np.float32),
    )
    return Bundle(person, state.frames, energies)


def _descend(
    problem: _Problem, state: _State, level: int, steps: int, energies: list[float], progress: Callable[[int], None]
) -> _State:
    """Gauss-Newton steps at one level, damped by Levenberg and Marquardt's rule; appends to `energies`."""
    visible, before, damping, fresh = [], float("inf"), DAMPING, False
    for step_number in range(steps):
        if step_number % REFRESH == 0 and not fresh:
            visible = problem.visibility(state, level)
            before = problem.linearize(state, visible, level)
        system = problem.system(state)
        try:
            step = system.step(*_room(state), damping)
        except np.linalg.LinAlgError:
            damping *= 10
            continue
        moved = state.moved(step, system.own_step(step).reshape(-1, 3))
        after = problem.linearize(moved, visible, level)
        if after < before:
            fall, state, before, fresh = before - after, moved, after, False
            damping = max(damping / 3, DAMPING)
            energies.append(after)
            progress(len(energies))
            if fall < 1e-5 * after:
                break
            continue
        before = problem.linearize(state, visible, level)
        damping, fresh = damping * 10, True
        if damping > 1e3:
            break
    return state


def _room(state: _State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the unknowns with bounds, and how far each may go down and up from where it is."""
    expressions = [SHARED + OWN * f + np.arange(6, 82) for f in range(len(state.frames))]
    values = [state.shared[IDENTITY], *(frame.expression for frame in state.frames)]
    value = np.concatenate(values).astype(np.float64)
    low, high = np.zeros(len(value)), np.full(len(value), UPPER_BOUND)
    low[IDENTITY], high[IDENTITY] = -MOST_IDENTITY, MOST_IDENTITY
    return np.concatenate([np.arange(IDENTITY.start, IDENTITY.stop), *expressions]), low - value, high - value
