"""Levels of tracking: how much work a source picture gets, from full quality to a floor (`f2fcam.deadline`)."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np

from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Person
from f2fcam.track.fit import FitConfig, FrameFitter
from f2fcam.track.samples import SampleSet, choose_samples

WORDS = (
    "full",
    "2 Gauss-Newton steps instead of 4",
    "2 steps, at half the resolution",
    "2 steps, at half the resolution, on half the samples",
)
"""What each level means. They leave 0.83, 0.61 and 0.51 of the time that fit and transfer take; on a real clip the expression's
correlation with full quality is 0.996, 0.993 and 0.982."""
THINNING = 2
"""The floor looks at every so many samples."""


def levels(config: FitConfig) -> tuple[FitConfig, ...]:
    """The fits of each level, of which `config` is the full one."""
    once = replace(config, steps=(1,) * len(config.steps))
    coarse = replace(config, face_px=config.face_px[:1], steps=(len(config.steps),))
    return config, once, coarse, replace(coarse, samples=config.samples // THINNING)


def make_fitters(model: FaceModel, person: Person, config: FitConfig) -> tuple[FrameFitter, ...]:
    """One fitter of the person per level; those on the same samples share memory, so they are for one thread."""
    full, once, coarse, floor = levels(config)
    samples = choose_samples(model, full.samples)
    fitter = FrameFitter(model, person, samples, full)
    few = FrameFitter(model, person, thinned(samples, THINNING), floor)
    return fitter, with_config(fitter, once), with_config(fitter, coarse), few


def with_config(fitter: FrameFitter, config: FitConfig) -> FrameFitter:
    """The same fitter for other weights and steps, on the same samples and in the same memory."""
    other = copy(fitter)
    other.config = config
    return other


def with_person(fitter: FrameFitter, person: Person) -> FrameFitter:
    """The same fitter for a person of the same shape and skin with another neutral face."""
    other = copy(fitter)
    other.person = person
    return other


def thinned(samples: SampleSet, every: int) -> SampleSet:
    """Every so many samples, standing for all: they are in the mesh's order, so what is left is as evenly spread."""
    kept = slice(None, None, every)
    points = samples.points
    few = type(points)(points.level, points.triangle[kept], points.barycentric[kept])
    operators = (samples.position[kept], samples.tangent_u[kept], samples.tangent_v[kept])
    return SampleSet(few, samples.area[kept] * np.float32(every), *operators)
