"""Alice, the bundled demo target: a friendly face shaped by hand from the mean head and some held-out ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from f2fcam.face.morphable import load_face_model
from f2fcam.face.parts import PART_NAMES, load_parts, load_people
from f2fcam.synthetic.acting import Script
from f2fcam.synthetic.lights import light
from f2fcam.synthetic.look import Look
from f2fcam.synthetic.person import SyntheticPerson

BLEND = {14: 0.34, 9: 0.20, 1: 0.12, 6: 0.08}
"""Shares of held-out heads; the rest is the mean head."""

LOOK = Look(
    seed=2024,
    melanin=0.80,
    haemoglobin=0.50,
    ruddiness=1.0,
    freckles=0.35,
    moles=0.4,
    stubble=0.0,
    brow_weight=0.85,
    lip_tint=1.15,
    lashes=1.0,
    hair=(0.085, 0.042, 0.021),
    hair_style="long",
    iris=(0.085, 0.062, 0.030),
    clothes=(0.045, 0.13, 0.17),
)


def alice() -> SyntheticPerson:
    """The person in `profiles/alice`."""
    model, parts, people = load_face_model(), load_parts(), load_people()
    mean_parts = np.concatenate([parts[name].mean for name in PART_NAMES])
    skin, inner = model.mean.copy(), mean_parts.copy()
    for index, share in BLEND.items():
        skin += share * (people.skin[index] - model.mean)
        inner += share * (people.parts[index] - mean_parts)
    skin = (skin + skin[model.mirror0] * [-1, 1, 1]) * 0.5 + 0.25 * (skin - skin[model.mirror0] * [-1, 1, 1])
    centers = {side: inner[parts.slices[f"eye_{side}"]].mean(0) for side in ("left", "right")}
    skin = sculpt(skin, centers)
    inner = sculpt(inner, centers)
    return SyntheticPerson(-1, LOOK, skin.astype(np.float32), inner.astype(np.float32))


def sculpt(points: Float32[np.ndarray, "n 3"], eyes: dict[str, np.ndarray]) -> Float32[np.ndarray, "n 3"]:
    """Smooth displacements: larger eyes, a narrower jaw and nose, fuller lips, a smaller chin."""
    points = points.copy()
    for center in eyes.values():
        away = (points - center) * [1 / 24, 1 / 19, 1 / 30]
        points += (points - center) * (0.13 * np.exp(-(away**2).sum(1)))[:, None]
    x, y, z = points.T
    jaw = 1 / (1 + np.exp((y + 42) / 13)) * (1 / (1 + np.exp(-(y + 112) / 6)))
    points[:, 0] *= 1 - 0.07 * jaw
    nose = np.exp(-((x / 16) ** 2) - ((y + 8) / 15) ** 2) * (z > -23)
    points[:, 0] *= 1 - 0.15 * nose
    lips = np.exp(-((x / 26) ** 2) - ((y + 38) / 9) ** 2)
    points[:, 2] += 1.2 * lips
    return points


LIGHT = light(
    "alice", (0.30, 0.30, 0.33), ((-0.62, -0.55, -0.75), (0.86, 0.82, 0.74)), ((0.95, -0.2, 0.1), (0.20, 0.23, 0.29))
)
"""A window to the camera's left, the sky in the room behind it."""


def alice_script() -> Script:
    """Seven seconds of friendly talk that repeat without a jump."""
    return Script(
        seed=28, talk=1.3, smile=0.6, brows=0.6, blink_s=3.0, blink_depth=1.12, sway_deg=2.6, yaw_deg=3.0, loop_s=7.0
    )
