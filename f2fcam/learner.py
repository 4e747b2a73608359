"""The actor learnt while they act: a better estimate of who it is, now and then (`DECISIONS` 6, 7).

A worker of low priority finds the actor's relaxed face after two seconds and their own shape and reflectance after ten.
Over a file the same work is done between two frames.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8

from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Person
from f2fcam.frame import Frame
from f2fcam.source_person import SMALLEST_FACE_PX, estimate_source
from f2fcam.track.landmarks import LandmarkDetector, Landmarks
from f2fcam.track.neutral import landmark_speeds, lip_gap, neutral_expression, shape_sizes
from f2fcam.track.scan import Scan, Seen, Shot

log = logging.getLogger(__name__)

NEUTRAL_AFTER_S = 2.0
PERSON_AFTER_S = 10.0
"""How much of the actor is seen before their relaxed face, and before their shape, is estimated."""
LONGEST_GAP_S = 1.5
"""A break after which it may be somebody else; longer than a slow machine takes for a frame."""
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

    `better` is called with each new estimate: in the worker's thread, or with `at_once` within `watch`, so that a film
    always gives the same result.
    """

    def __init__(
        self, model: FaceModel, person: Person, better: Callable[[Person], None], *, at_once: bool = False
    ) -> None:
        self._model, self._person, self._better = model, person, better
        self._watched = Watched()
        self._wants = ["neutral", "person"]
        self._jobs: queue.SimpleQueue[Callable[[], Person] | None] = queue.SimpleQueue()
        self._busy = threading.Event()
        self.phase = "watching"
        self._at_once = at_once
        if not at_once:
            threading.Thread(target=self._work, name="learn", daemon=True).start()

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
        self._busy.clear()
        self.phase = "watching" if self._wants else "done"
