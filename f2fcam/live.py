"""Reenactment as the engine runs it: the two halves of `reenact.step`, and the actor learnt while they act.

The first frames use the mean face. A worker of low priority finds the actor's relaxed face after two seconds and their own
shape and reflectance after ten, and exchanges the estimate between two frames (`DECISIONS` 6, 7).
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel, load_face_model
from f2fcam.face.state import Person
from f2fcam.frame import Frame
from f2fcam.profile import Profile
from f2fcam.profile_store import open_profile
from f2fcam.reenact import ActorWorkspace, Output, RenderState, RenderWorkspace, act, show
from f2fcam.source_person import SMALLEST_FACE_PX, estimate_source, nobody
from f2fcam.target_clip import TargetClip, TargetFrames, playback_of
from f2fcam.track.actor import Acted, ActorState, make_actor
from f2fcam.track.landmarks import LandmarkDetector, Landmarks, MediaPipeDetector
from f2fcam.track.neutral import landmark_speeds, lip_gap, neutral_expression, shape_sizes
from f2fcam.track.scan import Scan, Seen, Shot

if TYPE_CHECKING:
    from f2fcam.engine import EngineSetup

log = logging.getLogger(__name__)

NEUTRAL_AFTER_S = 2.0
PERSON_AFTER_S = 10.0
"""How much of the actor is seen before their relaxed face, and before their shape, is estimated."""
LONGEST_GAP_S = 1.5
"""A break after which it may be somebody else; longer than a slow machine takes for a frame."""
WORKER_NICENESS = 15


@dataclass(frozen=True, slots=True)
class Tracked:
    """What goes from the tracking thread to the rendering one: nothing of the actor's picture."""

    acted: Acted
    timings: dict[str, float]


class Remembering:
    """A detector that keeps what it found last, for the learner."""

    def __init__(self, detector: LandmarkDetector) -> None:
        self._detector = detector
        self.last: Landmarks | None = None
        self.faces = 0

    def detect(self, rgb: UInt8[np.ndarray, "h w 3"]) -> Landmarks | None:
        """The actor's landmarks."""
        self.last = self._detector.detect(rgb)
        self.faces = self._detector.faces
        return self.last

    def reset(self) -> None:
        """Forget the last picture."""
        self._detector.reset()

    def close(self) -> None:
        """Give back what the detector holds."""
        self._detector.close()


class Watched:
    """What has been seen of the actor without a break: landmarks, expressions, and crops for keyframes."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.expressions: list[np.ndarray] = []
        self.shot: Shot | None = None
        self._size = (0, 0)

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last picture."""
        return self.seen[-1].time_s - self.seen[0].time_s if self.seen else 0.0

    def add(self, frame: Frame, landmarks: Landmarks, expression: np.ndarray) -> None:
        """Take in a tracked picture; after a long break everything starts anew."""
        if self.seen and (frame.timestamp_ns - self.seen[-1].timestamp_ns) * 1e-9 > LONGEST_GAP_S:
            self.seen, self.expressions, self.shot = [], [], None
        row = len(self.seen)
        self._size = frame.size
        self.seen.append(Seen(frame.index, frame.timestamp_ns, landmarks, False))
        self.expressions.append(expression)
        self.shot = self.shot or Shot(row, row + 1)
        self.shot.add(row, frame, landmarks)

    def scan(self) -> Scan:
        """As a first look at a file would have it."""
        assert self.shot is not None
        shot = Shot(self.shot.start, self.shot.stop, list(self.shot.observations))
        return Scan(list(self.seen), [shot], self._size, 1)

    def neutral_of(self) -> Callable[[FaceModel], np.ndarray]:
        """The relaxed face among what has been seen until now, to be worked out in another thread."""
        seen, expressions = list(self.seen), np.array(self.expressions)

        def neutral(model: FaceModel) -> np.ndarray:
            landmarks = [one.landmarks for one in seen]
            gaps = np.array([lip_gap(found) for found in landmarks if found is not None])
            speeds = landmark_speeds(landmarks, np.array([one.time_s for one in seen]))
            return neutral_expression(expressions, gaps, speeds, shape_sizes(model))

        return neutral


class Learner:
    """Estimates the actor behind the tracking thread: hands out a better `Person` now and then.

    `better` is called in the worker's thread with each new estimate.
    """

    def __init__(self, model: FaceModel, person: Person, better: Callable[[Person], None]) -> None:
        self._model, self._person, self._better = model, person, better
        self._watched = Watched()
        self._wants = ["neutral", "person"]
        self._jobs: queue.SimpleQueue[Callable[[], Person] | None] = queue.SimpleQueue()
        self._busy = threading.Event()
        self.phase = "watching"
        self._thread = threading.Thread(target=self._work, name="learn", daemon=True)
        self._thread.start()

    def watch(self, frame: Frame, landmarks: Landmarks, expression: np.ndarray) -> None:
        """Take in a tracked picture; cheap."""
        if not self._wants:
            return
        watched = self._watched
        watched.add(frame, landmarks, expression)
        if self._busy.is_set():
            return
        if self._wants[0] == "neutral" and watched.duration_s >= NEUTRAL_AFTER_S:
            relaxed = watched.neutral_of()
            self._start(lambda: replace(self._person, neutral=relaxed(self._model)))
        elif self._wants[0] == "person" and watched.duration_s >= PERSON_AFTER_S:
            scan = watched.scan()
            if scan.face_px(scan.shots[0]) < SMALLEST_FACE_PX:
                self._watched = Watched()
                return
            self._start(lambda: estimate_source(self._model, scan, "the camera's picture").person)

    def relearn_neutral(self) -> None:
        """Take the relaxed face anew, from what comes now."""
        self._watched = Watched()
        self._wants = ["neutral", *[want for want in self._wants if want != "neutral"]]
        self.phase = "watching"

    def close(self) -> None:
        """Do nothing further."""
        self._jobs.put(None)

    def _start(self, job: Callable[[], Person]) -> None:
        self.phase = f"learning {self._wants.pop(0)}"
        self._busy.set()
        self._jobs.put(job)

    def _work(self) -> None:
        if sys.platform.startswith("linux"):  # there a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), WORKER_NICENESS)
        while (job := self._jobs.get()) is not None:
            try:
                self._person = job()
                self._better(self._person)
            except Exception:  # the present estimate stays; the camera goes on
                log.exception("the actor could not be learnt")
            self._busy.clear()
            self.phase = "watching" if self._wants else "done"


class LivePipeline:
    """`engine.Pipeline` over a profile. With `person` the actor is known already and nothing is learnt."""

    def __init__(
        self,
        profile: Profile,
        *,
        model: FaceModel | None = None,
        detector: LandmarkDetector | None = None,
        person: Person | None = None,
        target_frames: TargetFrames = "loop",
    ) -> None:
        self._model = model or load_face_model()
        self._profile = profile
        self._clip = TargetClip(profile)
        self._playback = playback_of(self._clip, target_frames)
        self._detector = Remembering(detector or MediaPipeDetector())
        self._known = person
        self._source: ActorWorkspace | None = None
        self._learner: Learner | None = None
        self._acting, self._showing = ActorState(), RenderState()
        self._render = RenderWorkspace(self._model, profile, "video")
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

    def render(self, tracked: Tracked) -> Output:
        """The target's next frame with that performance."""
        acted = tracked.acted
        self._first_ns = acted.timestamp_ns if self._first_ns is None else self._first_ns
        row = self._playback.row((acted.timestamp_ns - self._first_ns) * 1e-9, acted.pose)
        self._showing, output = show(self._showing, acted, self._clip.frame(row), self._render, tracked.timings)
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
        person = self._known or nobody(Intrinsics.guess(*frame.size))
        source = ActorWorkspace(self._detector, make_actor(self._model, person, self._profile.person))
        if self._known is None:
            self._learner = Learner(self._model, person, lambda better: self._exchange(source, better))
        self._source = source
        return source

    def _exchange(self, source: ActorWorkspace, person: Person) -> None:
        """In the worker's thread: prepare, then replace in one step; the next frame uses it."""
        source.actor = make_actor(self._model, person, self._profile.person)


def open_pipeline(setup: EngineSetup) -> LivePipeline:
    """The pipeline for the engine's setup."""
    return LivePipeline(open_profile(setup.profile, Path(setup.profiles) if setup.profiles else None))
