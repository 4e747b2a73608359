"""Films of a synthetic person with the truth of every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.face.state import Performance
from f2fcam.publish.video import VideoWriter
from f2fcam.synthetic.acting import Script
from f2fcam.synthetic.lights import SOFT, Light
from f2fcam.synthetic.person import SyntheticPerson
from f2fcam.synthetic.scene import Camera, SceneRenderer


@dataclass(frozen=True, slots=True)
class Truth:
    """What a frame shows.

    Attributes:
        time_s: in the script.
        performance: expression, pose and light.
        vertices_camera: level-2 vertices in camera space, mm.
        intrinsics: the camera.
    """

    time_s: float
    performance: Performance
    vertices_camera: Float32[np.ndarray, "53390 3"]
    intrinsics: Intrinsics


@dataclass(frozen=True)
class SyntheticClip:
    """A person acting a script before a camera, under one light.

    Attributes:
        cells, supersampling: picture quality, as `SceneRenderer` takes them.
        blur_px, noise: the lens and the sensor, as `SceneRenderer.render` takes them.
    """

    person: SyntheticPerson
    script: Script
    camera: Camera
    light: Light = SOFT
    cells: int = 3
    supersampling: float = 1.0
    blur_px: float = 0.45
    noise: float = 0.0

    @cached_property
    def renderer(self) -> SceneRenderer:
        """Prepared on first use; takes a few seconds."""
        return SceneRenderer(self.person, self.camera, self.cells, self.supersampling)

    def performance(self, t: float) -> Performance:
        """Expression, pose and light at `t` seconds."""
        return Performance(
            self.script.expression(load_face_model(), t),
            self.camera.camera_from_rest.compose(self.script.head(t)),
            self.light.lighting,
        )

    def truth(self, t: float) -> Truth:
        """Everything known about the frame at `t` seconds."""
        performance = self.performance(t)
        vertices = performance.camera_from_model.apply(self.person.geometry(performance.expression))
        return Truth(t, performance, vertices.astype(np.float32), self.camera.intrinsics)

    def frame(self, t: float) -> UInt8[np.ndarray, "h w 3"]:
        """The picture at `t` seconds; the same for the same `t`."""
        return self.picture(self.performance(t), noise_seed=round(t * 1000))

    def picture(self, performance: Performance, noise_seed: int = 0) -> UInt8[np.ndarray, "h w 3"]:
        """The picture of a performance of one's own."""
        return self.renderer.render(performance, self.light, self.blur_px, self.noise, noise_seed)


def write_clip(
    path: str | Path, clips: Sequence[SyntheticClip], seconds: float, fps: float = 30.0, crf: int | None = None
) -> list[Truth]:
    """Film `clips` (one after another, equal parts of `seconds`; several lights, say) as H.264; the truth per frame."""
    truths = []
    count = round(seconds * fps)
    intrinsics = clips[0].camera.intrinsics
    with VideoWriter(path, (intrinsics.width, intrinsics.height), fps, crf=crf) as writer:
        for k in range(count):
            clip = clips[k * len(clips) // count]
            truths.append(clip.truth(k / fps))
            writer.write(clip.frame(k / fps))
    return truths
