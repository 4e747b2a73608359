"""From a handful of pictures to a person: candidates, keyframes, bundling, then their own reflectance and landmarks.

Used for the target at enrolment and for the actor before rendering a file or behind the live engine (`DECISIONS` 3, 6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Float32, UInt8

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Performance, Person
from f2fcam.overlap import in_order, with_own
from f2fcam.render.texture import View, unwrap
from f2fcam.track.bundle import Bundle, BundleConfig, Keyframe, bundle
from f2fcam.track.fit import Fit, FitConfig, FrameFitter, face_pyramid
from f2fcam.track.keyframes import Candidate, choose_keyframes, light_direction, sharpness
from f2fcam.track.landmarks import Landmarks
from f2fcam.track.samples import choose_samples
from f2fcam.track.tracker import FIRST_STEPS

R = TypeVar("R")

LANDMARK_ONLY = FitConfig(color=0.0, face_px=(120.0,), steps=(10,), samples=256)
MIN_CANDIDATES = 2


@dataclass(frozen=True, slots=True)
class Observation:
    """A picture that may become a keyframe, cropped to the face to save memory.

    Attributes:
        rgb: the face's surroundings. origin: the crop's left and top in the picture. index: the picture's number.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    origin: tuple[int, int]
    landmarks: Landmarks
    index: int

    @classmethod
    def crop(cls, rgb: UInt8[np.ndarray, "h w 3"], landmarks: Landmarks, index: int) -> Observation:
        """Keep the part of `rgb` that a fit and a texture need: the face and a third of its size around it."""
        low, high = landmarks.xy[:468].min(axis=0), landmarks.xy[:468].max(axis=0)
        margin = 0.35 * (high - low).max()
        x0, y0 = (int(v) for v in np.maximum(low - margin, 0))
        x1, y1 = max(int(high[0] + margin), x0), max(int(high[1] + margin), y0)
        return cls(rgb[y0:y1, x0:x1].copy(), (x0, y0), landmarks, index)

    def shifted(self) -> Landmarks:
        """The landmarks in the crop's pixels."""
        return replace(self.landmarks, xy=self.landmarks.xy - np.array(self.origin, np.float32))

    def intrinsics(self, camera: Intrinsics) -> Intrinsics:
        """The camera that sees the crop, given the whole picture's."""
        x0, y0 = self.origin
        h, w = self.rgb.shape[:2]
        return Intrinsics(camera.focal, camera.center_x - x0, camera.center_y - y0, w, h)


@dataclass(frozen=True, slots=True)
class PersonEstimate:
    """A person and where it came from.

    Attributes:
        person: with `vertex_albedo` and `landmark_offset`.
        texture_confidence: per level-2 vertex in [0, 1]: how well the keyframes saw it.
        keyframes: indices into the observations. performances: theirs. energies: bundling's, per step.
        region_errors: of each observation's own fit, in the order of `WATCHED_REGIONS`; NaN where too little is seen.
    """

    person: Person
    texture_confidence: Float32[np.ndarray, " 53390"]
    keyframes: list[int]
    performances: list[Performance]
    energies: list[float]
    region_errors: Float[np.ndarray, "o r"]


def rough_fits(
    model: FaceModel, observations: list[Observation], camera: Intrinsics, threads: int = 1
) -> list[Candidate]:
    """Landmark-only fits with the mean identity, for choosing keyframes."""
    nobody = Person(np.zeros(80, np.float32), np.zeros(80, np.float32), camera, np.zeros(76, np.float32))

    def candidate(seen: Observation, fitter: FrameFitter) -> Candidate:
        local = seen.shifted().xy[:468]
        levels = face_pyramid(seen.rgb, seen.intrinsics(camera), local, LANDMARK_ONLY.face_px)
        fit = fitter.fit(levels, seen.landmarks, fitter.initial(seen.landmarks))
        light = light_direction(model, fit.performance, seen.rgb, seen.intrinsics(camera))
        return Candidate(fit.performance, fit.landmark_error, sharpness(seen.rgb, local), light)

    return _each(candidate, observations, lambda: _fitter(model, nobody, LANDMARK_ONLY), threads)


def _fitter(model: FaceModel, person: Person, config: FitConfig) -> FrameFitter:
    return FrameFitter(model, person, choose_samples(model, config.samples), config)


def _each(
    function: Callable[[Observation, FrameFitter], R],
    observations: list[Observation],
    fitter: Callable[[], FrameFitter],
    threads: int,
) -> list[R]:
    """`function` of each observation and of a fitter that nobody else uses meanwhile."""
    fitters = [fitter() for _ in range(max(threads, 1))]
    return list(in_order(with_own(function, fitters), observations, threads))


def estimate_person(
    model: FaceModel,
    observations: list[Observation],
    camera: Intrinsics,
    *,
    config: BundleConfig | None = None,
    keyframes: int = 6,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PersonEstimate:
    """Bundle the most telling `keyframes` of the observations and unwrap the person's own reflectance from them.

    `camera` is the prior for the whole picture. Raises ValueError with fewer than two observations.
    """
    if len(observations) < MIN_CANDIDATES:
        raise ValueError(f"bundling needs {MIN_CANDIDATES} pictures, got {len(observations)}")
    config = BundleConfig() if config is None else config
    candidates = rough_fits(model, observations, camera, threads)
    chosen = choose_keyframes(candidates, keyframes)
    starts = [candidates[i].performance for i in chosen]
    result = bundle_observations(
        model, [observations[i] for i in chosen], starts, camera, config, threads=threads, progress=progress
    )
    views = [
        View(observations[i].rgb, observations[i].intrinsics(result.person.intrinsics), performance)
        for i, performance in zip(chosen, result.performances, strict=True)
    ]
    texture = unwrap(model, result.person, views)
    person = replace(result.person, vertex_albedo=texture.albedo)
    offset, errors = observed_misfits(model, person, observations, threads)
    person = replace(person, landmark_offset=offset)
    return PersonEstimate(person, texture.confidence, chosen, result.performances, result.energies, errors)


def observed_misfits(
    model: FaceModel, person: Person, observations: list[Observation], threads: int = 1
) -> tuple[Float32[np.ndarray, "478 3"], Float[np.ndarray, "o r"]]:
    """The detector's points on this face: the median over pictures of how far they lie from the model's; and each picture's
    photometric error per region (`Fit.region_error`).

    A detector has its own idea of where a brow or a lip ends, and it differs from face to face by more than an expression
    moves them; what is the same in all pictures says nothing of any one of them.
    """

    def misfit(seen: Observation, fitter: FrameFitter) -> tuple[np.ndarray, list[float]]:
        fit = _fit_alone(fitter, seen)
        return fitter.landmark_misfit(seen.landmarks, fit.performance), list(fit.region_error.values())

    found = _each(misfit, observations, lambda: _fitter(model, person, FitConfig()), threads)
    misfits, errors = zip(*found, strict=True)
    return np.median(misfits, axis=0).astype(np.float32), np.array(errors)


def fitted_performance(fitter: FrameFitter, seen: Observation) -> Performance:
    """Fit one picture by itself, from its landmarks."""
    return _fit_alone(fitter, seen).performance


def _fit_alone(fitter: FrameFitter, seen: Observation) -> Fit:
    camera = seen.intrinsics(fitter.person.intrinsics)
    levels = face_pyramid(seen.rgb, camera, seen.shifted().xy[:468], fitter.config.face_px)
    return fitter.fit(levels, seen.landmarks, fitter.initial(seen.landmarks), steps=FIRST_STEPS)


def bundle_observations(
    model: FaceModel,
    observations: list[Observation],
    starts: list[Performance],
    camera: Intrinsics,
    config: BundleConfig,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Bundle:
    """Bundle given pictures from given starts."""
    keyframes = []
    for seen, start in zip(observations, starts, strict=True):
        levels = face_pyramid(seen.rgb, seen.intrinsics(camera), seen.shifted().xy[:468], config.face_px)
        keyframes.append(Keyframe(levels, seen.landmarks, start))
    return bundle(
        model, choose_samples(model, config.samples), keyframes, camera, config, threads=threads, progress=progress
    )
