"""Known light for synthetic pictures: lamps and sky as nine spherical-harmonics coefficients per channel, camera space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from f2fcam.face.lighting import ambient, sh_basis

COSINE_LOBE = np.repeat(np.array([1.0, 2.0 / 3.0, 0.25]), [1, 3, 5]) * np.pi
"""The cosine's convolution factor per band (Ramamoorthi and Hanrahan 2001)."""


@dataclass(frozen=True, slots=True)
class Light:
    """Diffuse light as the tracker models it, and a highlight as it does not.

    Attributes:
        name: of the preset.
        lighting: spherical-harmonics coefficients in camera space.
        key_direction: unit vector towards the strongest lamp, camera space.
        key_colour: its linear colour.
        highlight: strength of the skin's gloss; 0 leaves the picture Lambertian.
    """

    name: str
    lighting: Float32[np.ndarray, "9 3"]
    key_direction: Float32[np.ndarray, " 3"]
    key_colour: Float32[np.ndarray, " 3"]
    highlight: float = 1.0


def lamp(direction: tuple[float, float, float], colour: tuple[float, float, float]) -> Float32[np.ndarray, "9 3"]:
    """Coefficients of a distant lamp in camera space; a surface that faces it is lit by about `colour`."""
    towards = np.asarray(direction, np.float64)
    towards = towards / np.sqrt(towards @ towards)
    return np.outer(COSINE_LOBE * sh_basis(towards), colour).astype(np.float32)


def light(
    name: str,
    sky: tuple[float, float, float],
    *lamps: tuple[tuple[float, float, float], tuple[float, float, float]],
    highlight: float = 1.0,
) -> Light:
    """Light from everywhere plus lamps as (direction, colour); the first is the key."""
    total = ambient()[0, 0] * np.eye(9, 1, dtype=np.float32) @ np.array([sky], np.float32)
    for direction, colour in lamps:
        total = total + lamp(direction, colour)
    key = np.asarray(lamps[0][0], np.float32)
    return Light(
        name, total.astype(np.float32), key / np.sqrt(key @ key), np.asarray(lamps[0][1], np.float32), highlight
    )


SOFT = light(
    "soft", (0.34, 0.34, 0.36), ((-0.5, -0.6, -0.8), (0.74, 0.71, 0.66)), ((0.9, -0.1, -0.5), (0.2, 0.22, 0.25))
)
SIDE = light(
    "side", (0.20, 0.21, 0.24), ((0.95, -0.35, -0.55), (0.98, 0.93, 0.84)), ((-0.9, 0.0, 0.3), (0.14, 0.17, 0.22))
)
WARM = light(
    "warm", (0.26, 0.23, 0.20), ((-0.25, -0.95, -0.6), (0.82, 0.70, 0.54)), ((0.3, 0.5, -0.8), (0.25, 0.26, 0.30))
)
LIGHTS = (SOFT, SIDE, WARM)
"""A window from the front, a lamp from the side, a ceiling lamp with the screen's glow from below."""
