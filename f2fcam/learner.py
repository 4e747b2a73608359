"""The actor learnt while they act: a better estimate of who it is, now and then (`DECISIONS` 6, 7).

A worker of low priority finds the actor's relaxed face after two seconds and their own shape and reflectance after ten; from
then on the relaxed face follows slowly what the actor comes back to. Over a file the same work is done between two frames.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Person
from f2fcam.frame import Frame
from f2fcam.memory import give_back
from f2fcam.source_person import SMALLEST_FACE_PX, estimate_source
from f2fcam.track.landmarks import LandmarkDetector, Landmarks
from f2fcam.track.neutral import RelaxedFace, landmark_speeds, relaxed_face, shape_sizes
from f2fcam.track.scan import Scan, Seen, Shot

log = logging.getLogger(__name__)

NEUTRAL_AFTER_S = 2.0
SOON_AFTER_S = 4.0
PERSON_AFTER_S = 10.0
"""How much of the actor is seen before their relaxed face, and before their shape, is estimated: the shape first from what
little there is, since the mean face's lids and brows move too little, then from more."""
EVERYTHING = ("neutral", "person soon", "person")
FOLLOWED_EVERY_S = 10.0
"""How often the relaxed face is looked for anew, in the last `FOLLOWED_S`."""
FOLLOWED_S = 40.0
FOLLOWED_SHARE = 0.01
"""Most that it gives way per second."""
LONGEST_GAP_S = 1.5
"""A break after which it may be somebody else; longer than a slow machine takes for a frame."""
SOMEBODY_ELSE_S = 10.0
"""A break after which the actor is learnt anew although they were known."""
WORKER_NICENESS = 15


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

    def relaxed_of(self) -> Callable[[FaceModel], RelaxedFace]:
        """The relaxed face among what has been seen until now, to be worked out in another thread."""
        return _relaxed([(one.time_s, one.landmarks) for one in self.seen], list(self.expressions))


class Recent:
    """What has been seen of the actor in the last `FOLLOWED_S`, breaks left out."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Landmarks | None, np.ndarray]] = deque()

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last picture."""
        return self._seen[-1][0] - self._seen[0][0] if self._seen else 0.0

    @property
    def last_s(self) -> float | None:
        """When the actor was last seen."""
        return self._seen[-1][0] if self._seen else None

    def add(self, time_s: float, landmarks: Landmarks, expression: np.ndarray) -> None:
        """Take in a tracked picture, forget the oldest."""
        self._seen.append((time_s, landmarks, expression))
        while self.duration_s > FOLLOWED_S:
            self._seen.popleft()

    def relaxed_of(self) -> Callable[[FaceModel], RelaxedFace]:
        """As `Watched.relaxed_of`."""
        return _relaxed([(time_s, found) for time_s, found, _ in self._seen], [entry[2] for entry in self._seen])


def _relaxed(
    seen: list[tuple[float, Landmarks | None]], expressions: list[np.ndarray]
) -> Callable[[FaceModel], RelaxedFace]:
    def relaxed(model: FaceModel) -> RelaxedFace:
        landmarks = [found for _, found in seen]
        speeds = landmark_speeds(landmarks, np.array([time_s for time_s, _ in seen]))
        return relaxed_face(
            np.array(expressions), [found for found in landmarks if found is not None], speeds, shape_sizes(model)
        )

    return relaxed


class Learner:
    """Estimates the actor behind the tracking thread: hands out a better `Person` now and then.

    `better` is called with each new estimate: in the worker's thread, or with `at_once` within `watch`, so that a film
    always gives the same result.
    """

    def __init__(
        self, model: FaceModel, person: Person, better: Callable[[Person], None], *, at_once: bool = False
    ) -> None:
        self._model, self._person, self._better = model, person, better
        self._watched, self._recent = Watched(), Recent()
        self._followed_s = -math.inf
        self._wants = list(EVERYTHING)
        self._jobs: queue.SimpleQueue[Callable[[], Person] | None] = queue.SimpleQueue()
        self._busy = threading.Event()
        self.phase = "watching"
        self._at_once = at_once
        if not at_once:
            threading.Thread(target=self._work, name="learn", daemon=True).start()

    def watch(self, frame: Frame, landmarks: Landmarks, expression: np.ndarray) -> None:
        """Take in a tracked picture; cheap."""
        if not self._wants:
            self._follow(frame, landmarks, expression)
            return
        watched = self._watched
        watched.add(frame, landmarks, expression)
        if self._busy.is_set():
            return
        if self._wants[0] == "neutral" and watched.duration_s >= NEUTRAL_AFTER_S:
            relaxed = watched.relaxed_of()
            self._start(lambda: relaxed(self._model).given_to(self._person))
        elif self._wants[0] != "neutral" and watched.duration_s >= self._after_s():
            scan = watched.scan()
            if scan.face_px(scan.shots[0]) < SMALLEST_FACE_PX:
                self._watched = Watched()
                return
            self._start(lambda: estimate_source(self._model, scan, "the camera's picture").person)

    def _after_s(self) -> float:
        return min(SOON_AFTER_S, PERSON_AFTER_S) if self._wants[0] == "person soon" else PERSON_AFTER_S

    def _follow(self, frame: Frame, landmarks: Landmarks, expression: np.ndarray) -> None:
        """Let the relaxed face give way to what the actor comes back to."""
        now_s = frame.timestamp_ns * 1e-9
        recent = self._recent
        if recent.last_s is not None and now_s - recent.last_s > SOMEBODY_ELSE_S:
            self._watched, self._recent, self._wants = Watched(), Recent(), list(EVERYTHING)
            self.phase = "watching"
            return
        recent.add(now_s, landmarks, expression)
        if self._busy.is_set() or now_s - self._followed_s < FOLLOWED_EVERY_S or recent.duration_s < FOLLOWED_S / 2:
            return
        share = min(FOLLOWED_SHARE * (now_s - self._followed_s), 2 * FOLLOWED_SHARE * FOLLOWED_EVERY_S)
        relaxed, self._followed_s = recent.relaxed_of(), now_s
        person = self._person
        self._busy.set()
        self._run(lambda: relaxed(self._model).given_to(person, share))

    def relearn_neutral(self) -> None:
        """Take the relaxed face anew, from what comes now."""
        self._watched, self._recent = Watched(), Recent()
        self._wants = ["neutral", *[want for want in self._wants if want != "neutral"]]
        self.phase = "watching"

    def close(self) -> None:
        """Do nothing further."""
        self._jobs.put(None)

    def _start(self, job: Callable[[], Person]) -> None:
        self.phase = f"learning {self._wants.pop(0)}"
        self._busy.set()
        self._run(job)

    def _run(self, job: Callable[[], Person]) -> None:
        if self._at_once:
            self._do(job)
        else:
            self._jobs.put(job)

    def _work(self) -> None:
        if sys.platform.startswith("linux"):  # there a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), WORKER_NICENESS)
        while (job := self._jobs.get()) is not None:
            self._do(job)

    def _do(self, job: Callable[[], Person]) -> None:
        try:
            self._person = job()
            self._better(self._person)
        except Exception:  # the present estimate stays; the camera goes on
            log.exception("the actor could not be learnt")
        if not self._at_once:
            give_back()
        self._busy.clear()
        self.phase = "watching" if self._wants else "done"
