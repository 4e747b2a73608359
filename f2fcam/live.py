"""Reenactment frame by frame, as the engine and `render` run it: the three parts of `reenact.step` over a profile.

An actor who is not known acts with the mean face at first, and is learnt meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.face.state import Person
from f2fcam.frame import Frame
from f2fcam.learner import Learner, Remembering
from f2fcam.mouth.retouch import RetouchState
from f2fcam.profile import STATUSES, Profile
from f2fcam.profile_store import open_profile
from f2fcam.reenact import ActorWorkspace, Output, RenderWorkspace, Retouched, act, draw, retouch
from f2fcam.remembered import recall, remember, remembered_file
from f2fcam.render.shade import Appearance, LightState
from f2fcam.source_person import nobody
from f2fcam.target_clip import TargetClip, TargetFrames, playback_of
from f2fcam.track.actor import Acted, ActorState, make_actor, relaxed_actor
from f2fcam.track.landmarks import LandmarkDetector, MediaPipeDetector


@dataclass(frozen=True, slots=True)
class Tracked:
    """What goes from the tracking thread to the next: nothing of the actor's picture."""

    acted: Acted
    timings: dict[str, float]


class LivePipeline:
    """`engine.Pipeline` over a profile.

    With `person` the actor is known already and nothing is learnt; `learn_at_once` learns between two frames, which a
    camera cannot wait for. `remembered`: the file that knows the actor of last time, and learns who acts now.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        model: FaceModel | None = None,
        detector: LandmarkDetector | None = None,
        person: Person | None = None,
        target_frames: TargetFrames = "loop",
        appearance: Appearance = "video",
        learn_at_once: bool = False,
        remembered: Path | None = None,
    ) -> None:
        self._model = model or load_face_model()
        self._profile = profile
        self._seen = profile.frames.expressions[profile.frames.status == STATUSES["tracked"]]
        self._clip = TargetClip(profile)
        self._playback = playback_of(self._clip, target_frames)
        self._detector = Remembering(detector or MediaPipeDetector())
        self._known = person
        self._source: ActorWorkspace | None = None
        self._learner: Learner | None = None
        self._acting, self._openings, self._light = ActorState(), RetouchState(), LightState()
        self._render = RenderWorkspace(self._model, profile, appearance)
        self._learn_at_once, self._remembered = learn_at_once, remembered
        self._first_ns: int | None = None

    def track(self, frame: Frame) -> Tracked:
        """The actor's performance, in the target's terms."""
        source = self._source or self._begin(frame)
        self._acting, acted, timings = act(self._acting, frame, source)
        fit = acted.tracked.fit
        landmarks = self._detector.last
        if self._learner is not None and acted.status == "tracked" and fit is not None and landmarks is not None:
            self._learner.watch(frame, landmarks, fit.performance.expression)
        return Tracked(acted, timings)

    def retouch(self, tracked: Tracked) -> Retouched:
        """The target's next frame, with the mouth and eyes of that performance."""
        acted = tracked.acted
        self._first_ns = acted.timestamp_ns if self._first_ns is None else self._first_ns
        row = self._playback.row(
            (acted.timestamp_ns - self._first_ns) * 1e-9, acted.pose, acted.source, acted.expression
        )
        self._openings, retouched = retouch(self._openings, acted, self._clip.frame(row), self._render, tracked.timings)
        return retouched

    def render(self, retouched: Retouched) -> Output:
        """The picture of it."""
        self._light, output = draw(self._light, retouched, self._render)
        return output

    def recalibrate(self) -> None:
        """Take the actor's relaxed face anew."""
        if self._learner is not None:
            self._learner.relearn_neutral()

    def report(self) -> dict[str, Any]:
        """Faces in the picture, and how far the actor is known."""
        return {"faces": self._detector.faces, "actor": self._learner.phase if self._learner else "known"}

    def close(self) -> None:
        """Free the detector and the clip."""
        if self._learner is not None:
            self._learner.close()
        self._detector.close()
        self._clip.close()

    def _begin(self, frame: Frame) -> ActorWorkspace:
        person = self._known
        if person is None and self._remembered is not None:
            person = recall(self._remembered, self._model.hash, frame.size)
        person = person or nobody(Intrinsics.guess(*frame.size))
        source = ActorWorkspace(self._detector, make_actor(self._model, person, self._profile.person, seen=self._seen))
        if self._known is None:
            self._learner = Learner(
                self._model, person, lambda better: self._exchange(source, better), at_once=self._learn_at_once
            )
        self._source = source
        return source

    def _exchange(self, source: ActorWorkspace, person: Person) -> None:
        """In the worker's thread: prepare, then replace in one step; the next frame uses it."""
        known, target = source.actor, self._profile.person
        if person.identity is known.person.identity:
            source.actor = relaxed_actor(self._model, known, person, target, seen=self._seen)
        else:
            source.actor = make_actor(self._model, person, target, seen=self._seen)
        if self._remembered is not None and person.identity.any():
            remember(self._remembered, person, self._model.hash)


def open_pipeline(profile: str, profiles: str | None, source: str) -> LivePipeline:
    """The pipeline of the profile of that name, kept in the folder `profiles`; None: where they are by default.

    Before a webcam the actor is remembered from one start to the next.
    """
    remembered = remembered_file(source) if source.startswith("webcam") else None
    return LivePipeline(open_profile(profile, Path(profiles) if profiles else None), remembered=remembered)
