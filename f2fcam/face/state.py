"""What is estimated once (`Person`) and what is estimated per frame (`Performance`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

from f2fcam.face.camera import Intrinsics
from f2fcam.face.rigid import RigidTransform

FitStatus = Literal["converged", "diverged"]
"""The steps were taken, or they led to values that are no numbers."""


@dataclass(frozen=True, slots=True)
class Person:
    """One face and the camera it was filmed with (alpha, beta, kappa of the paper).

    Attributes:
        identity: shape coefficients in standard deviations.
        albedo: reflectance coefficients in standard deviations.
        intrinsics: the camera.
        neutral: expression of the relaxed face (`DECISIONS` 7).
        shut: expression that fits find while the lips touch; `None` until observed.
        vertex_albedo: personal linear reflectance at the level-2 vertices; `None` until unwrapped (`DECISIONS` 3).
        landmark_offset: where the detector sees its points on this face, from where the model has them, mm in model space;
            `None` until observed.
    """

    identity: Float32[np.ndarray, " 80"]
    albedo: Float32[np.ndarray, " 80"]
    intrinsics: Intrinsics
    neutral: Float32[np.ndarray, " 76"]
    vertex_albedo: Float32[np.ndarray, "53390 3"] | None = None
    landmark_offset: Float32[np.ndarray, "478 3"] | None = None
    shut: Float32[np.ndarray, " 76"] | None = None


@dataclass(frozen=True, slots=True)
class Performance:
    """One frame's expression, head pose and light (delta, R, t, gamma of the paper)."""

    expression: Float32[np.ndarray, " 76"]
    camera_from_model: RigidTransform
    lighting: Float32[np.ndarray, "9 3"]
