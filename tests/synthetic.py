"""People of known shape, expression, pose and light for the trackers' tests: `shots(person, light)` and what they show.

Heads lie outside the identity basis, textures outside the albedo basis; gloss, blur and noise are on by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, UInt8

from f2fcam.face.rigid import RigidTransform, so3_exp
from f2fcam.face.state import Performance
from f2fcam.synthetic.acting import NECK_PIVOT, Script
from f2fcam.synthetic.clip import SyntheticClip, Truth
from f2fcam.synthetic.lights import LIGHTS, Light
from f2fcam.synthetic.person import SyntheticPerson
from f2fcam.synthetic.scene import Camera
from f2fcam.track.landmarks import Landmarks, MediaPipeDetector

PEOPLE = (0, 1, 2, 3, 4)
SIZE = 512
KEYFRAME_YAWS_DEG = (0.0, -18.0, 18.0, 0.0, -9.0, 10.0)
KEYFRAME_PITCHES_DEG = (0.0, 2.0, 3.0, -9.0, 8.0, -3.0)


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture, its truth and what the real detector found (`None`: no face)."""

    rgb: UInt8[np.ndarray, "h w 3"]
    truth: Truth
    landmarks: Landmarks | None

    @property
    def vertices_camera(self) -> Float32[np.ndarray, "53390 3"]:
        """Level-2 vertices in camera space, mm."""
        return self.truth.vertices_camera

    @property
    def performance(self) -> Performance:
        """Expression, pose and light."""
        return self.truth.performance


@lru_cache(maxsize=3)
def clip(person: int, size: int = SIZE, noise: float = 1.5) -> SyntheticClip:
    """Person number `person` before a camera that shows the face about 0.42 of the picture wide; prepared once."""
    camera = Camera.facing(size, size, distance_mm=430.0, drop_mm=8.0)
    return SyntheticClip(SyntheticPerson.held_out(person), Script(seed=person), camera, noise=noise, cells=3)


def shots(
    person: int,
    light: Light = LIGHTS[0],
    times: Sequence[float] = (0.0, 0.4, 0.8, 1.2, 1.6, 2.0),
    script: Script | None = None,
    size: int = SIZE,
    noise: float = 1.5,
    detect: bool = True,
) -> list[Shot]:
    """Frames of a performance at `times` in seconds under `light`."""
    scene = clip(person, size, noise)
    acted = replace(scene, light=light, script=script or scene.script)
    return photograph(acted, [acted.performance(t) for t in times], times, detect)


def keyframes(person: int, light: Light = LIGHTS[0], size: int = SIZE, noise: float = 1.5) -> list[Shot]:
    """Six frames that spread pose and expression, as the bundle likes them."""
    scene = clip(person, size, noise)
    acted = replace(scene, light=light, script=replace(scene.script, sway_deg=0.0))
    times = [0.35 + 0.83 * k for k in range(len(KEYFRAME_YAWS_DEG))]
    performances = []
    for t, yaw, pitch in zip(times, KEYFRAME_YAWS_DEG, KEYFRAME_PITCHES_DEG, strict=True):
        rotation = so3_exp(np.deg2rad([pitch, yaw, 0.0]))
        head = RigidTransform(rotation, NECK_PIVOT - rotation @ NECK_PIVOT)
        performances.append(
            replace(acted.performance(t), camera_from_model=acted.camera.camera_from_rest.compose(head))
        )
    return photograph(acted, performances, times)


def photograph(
    acted: SyntheticClip, performances: Sequence[Performance], times: Sequence[float], detect: bool = True
) -> list[Shot]:
    """Pictures of given performances, each looked at by the real detector as a still."""
    renderer = clip(acted.person.index, acted.camera.intrinsics.width, acted.noise).renderer
    found = []
    for k, (performance, t) in enumerate(zip(performances, times, strict=True)):
        rgb = renderer.render(performance, acted.light, acted.blur_px, acted.noise, k)
        skin = performance.camera_from_model.apply(acted.person.geometry(performance.expression))
        truth = Truth(t, performance, skin.astype(np.float32), acted.camera.intrinsics)
        found.append(Shot(rgb, truth, detector().detect(rgb) if detect else None))
    return found


@lru_cache(maxsize=1)
def detector() -> MediaPipeDetector:
    """The real detector, one picture at a time; loaded once."""
    return MediaPipeDetector(static=True)
