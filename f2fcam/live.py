"""Reenactment frame by frame, as the engine and `render` run it: the three parts of `reenact.step` over a profile.

The actor's side (`source_side`) is given: in this process over a file, in its own before a camera (`source_process`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from f2fcam.deadline import FULL, Levels, Quality
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.frame import Frame
from f2fcam.mouth.retouch import RetouchState
from f2fcam.profile import Profile
from f2fcam.profile_store import open_profile
from f2fcam.reenact import Output, RenderWorkspace, Retouched, draw, retouch
from f2fcam.remembered import remembered_file
from f2fcam.render.shade import Appearance, LightState
from f2fcam.source_process import SourceProcess
from f2fcam.source_side import Casting, Source, Tracked
from f2fcam.target_clip import TargetClip, TargetFrames, playback_of
from f2fcam.track import effort


class LivePipeline:
    """`engine.Pipeline` over a profile and an actor's side; closes both."""

    def __init__(
        self,
        profile: Profile,
        source: Source,
        *,
        model: FaceModel | None = None,
        target_frames: TargetFrames = "loop",
        appearance: Appearance = "video",
    ) -> None:
        self._source, self._consent = source, profile.manifest.consent
        self._render = RenderWorkspace(model or load_face_model(), profile, appearance)
        # the mouths' pictures have been unpacked from theirs, which for a large face are as many megabytes again
        self._clip = TargetClip(replace(profile, mouth={}, enrolment={}))
        self._playback = playback_of(self._clip, target_frames)
        self._openings, self._light = RetouchState(), LightState()
        self._first_ns: int | None = None

    @property
    def levels(self) -> Levels:
        """Of both sides, for this target."""
        return Levels(effort.WORDS, tuple(detail.words for detail in self._render.details))

    def room(self, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
        """Where the actor's side has the next picture's pixels."""
        return self._source.room(size)

    def track(self, frame: Frame, quality: Quality = FULL) -> Tracked:
        """The actor's performance, in the target's terms."""
        return self._source.track(frame, quality)

    def retouch(self, tracked: Tracked) -> Retouched:
        """The target's next frame, with the mouth and eyes of that performance."""
        acted = tracked.acted
        self._first_ns = acted.timestamp_ns if self._first_ns is None else self._first_ns
        row = self._playback.row(
            (acted.timestamp_ns - self._first_ns) * 1e-9, acted.pose, acted.source, acted.expression
        )
        target = self._clip.frame(row)
        self._clip.expect(self._playback.expected())
        self._openings, retouched = retouch(
            self._openings, acted, target, self._render, tracked.timings, tracked.quality.picture
        )
        return retouched

    def render(self, retouched: Retouched) -> Output:
        """The picture of it."""
        self._light, output = draw(self._light, retouched, self._render)
        return output

    def recalibrate(self) -> None:
        """Take the actor's relaxed face anew."""
        self._source.recalibrate()

    def check(self) -> None:
        """Raise `ProfileError` after the last day of the target's consent."""
        self._consent.require_valid()

    def report(self) -> dict[str, Any]:
        """Faces in the picture, and how far the actor is known."""
        return self._source.report()

    def close(self) -> None:
        """Free the actor's side and the clip."""
        self._source.close()
        self._clip.close()


def open_pipeline(
    name: str, profiles: str | None, source: str, size: tuple[int, int], tracker: SourceProcess
) -> LivePipeline:
    """The pipeline of the profile `name`, kept in the folder `profiles` (None: where they are by default).

    `tracker` learns whom it works for as soon as that is read, so that both sides load at the same time; `size` is that of
    the source's pictures. Before a webcam the actor is remembered from one start to the next.
    """
    try:
        profile = open_profile(name, Path(profiles) if profiles else None)
        remembered = remembered_file(source) if source.startswith("webcam") else None
        tracker.cast(Casting.of(profile, remembered=remembered, size=size))
        return LivePipeline(profile, tracker)
    except BaseException:
        tracker.close()
        raise
