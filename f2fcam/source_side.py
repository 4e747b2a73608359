"""The actor's side of a frame's way: landmarks, tracking and transfer, with what is learnt of the actor meanwhile.

Nothing of the actor's picture leaves it: what comes out is an expression in the target's terms, a pose, and a status.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float32, UInt8

from f2fcam.deadline import FULL, Quality
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import FaceModel
from f2fcam.face.state import Person
from f2fcam.frame import Frame
from f2fcam.profile import STATUSES
from f2fcam.remembered import recall, remember
from f2fcam.track.actor import Acted, ActorState, ActorWorkspace, act, make_actor, relaxed_actor
from f2fcam.track.landmarks import LandmarkDetector

if TYPE_CHECKING:
    from f2fcam.learner import Learner
    from f2fcam.profile import Profile


@dataclass(frozen=True, slots=True)
class Tracked:
    """What goes on to the target's side, which spends what `quality` says; owns its arrays."""

    acted: Acted
    timings: dict[str, float]
    quality: Quality = FULL


@dataclass(frozen=True, slots=True)
class Casting:
    """Who acts, and for whom.

    Attributes:
        target: the person who is to show the expressions. seen: expressions that their clip shows.
        actor: None while nobody is known: the actor acts with the mean face, and is learnt meanwhile.
        remembered: the file that knows the actor of last time, and learns who acts now.
        learn_at_once: learn between two frames, which a camera cannot wait for.
        size: width and height of the pictures, if it is known: then everything is ready before the first.
    """

    target: Person
    seen: Float32[np.ndarray, "n 76"]
    actor: Person | None = None
    remembered: Path | None = None
    learn_at_once: bool = False
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, profile: Profile, **named: Any) -> Casting:
        """For an enrolled target."""
        tracked = profile.frames.status == STATUSES["tracked"]
        return cls(profile.person, profile.frames.expressions[tracked], **named)


class Source(Protocol):
    """Performances from source pictures, here or in a process of its own."""

    def room(self, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
        """Where the pixels of the next `track` need not be copied from; until it returns."""
        ...

    def track(self, frame: Frame, quality: Quality = FULL) -> Tracked:
        """The actor's performance in `frame`, whose pixels are not kept."""
        ...

    def recalibrate(self) -> None:
        """Take the actor's relaxed face anew; called between two `track`."""
        ...

    def report(self) -> dict[str, Any]:
        """Faces in the picture, how far the last fit is to be trusted, and how far the actor is known; from any thread."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class SourceSide:
    """`Source` in this process; one thread calls `track`."""

    def __init__(self, model: FaceModel, detector: LandmarkDetector, casting: Casting) -> None:
        from f2fcam.learner import Remembering  # here, where it is used: the target's side reads what we send, no more

        self._model, self._casting = model, casting
        self._detector = Remembering(detector)
        self._workspace: ActorWorkspace | None = None
        self._learner: Learner | None = None
        self._state = ActorState()
        self._room = np.empty((0, 0, 3), np.uint8)
        self._confidence = 0.0
        if casting.size is not None:
            self._begin(casting.size)

    def room(self, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
        """Memory that is used again."""
        if self._room.shape[1::-1] != size:
            self._room = np.empty((size[1], size[0], 3), np.uint8)
        return self._room

    def track(self, frame: Frame, quality: Quality = FULL) -> Tracked:
        """The actor's performance, in the target's terms."""
        workspace = self._workspace
        if workspace is None or (self._state.last_ns is None and frame.size != self._size):
            workspace = self._begin(frame.size)
        self._state, acted, timings = act(self._state, frame, workspace, quality.tracking)
        fit, landmarks = acted.tracked.fit, self._detector.last
        self._confidence = acted.tracked.confidence
        if self._learner is not None and acted.status == "tracked" and fit is not None and landmarks is not None:
            self._learner.watch(frame, landmarks, fit.performance.expression)
        return Tracked(acted, timings, quality)

    def recalibrate(self) -> None:
        """Take the actor's relaxed face anew."""
        if self._learner is not None:
            self._learner.relearn_neutral()

    def report(self) -> dict[str, Any]:
        """Faces in the picture, how far the last fit is to be trusted, and how far the actor is known."""
        return {
            "faces": self._detector.faces,
            "confidence": round(self._confidence, 2),
            "actor": self._learner.phase if self._learner else "known",
        }

    def close(self) -> None:
        """Free the detector, end the learner."""
        if self._learner is not None:
            self._learner.close()
        self._detector.close()

    def _begin(self, size: tuple[int, int]) -> ActorWorkspace:
        from f2fcam.learner import Learner
        from f2fcam.source_person import nobody

        casting, self._size = self._casting, size
        person = casting.actor
        if person is None and casting.remembered is not None:
            person = recall(casting.remembered, self._model.hash, size)
        person = person or nobody(Intrinsics.guess(*size))
        workspace = ActorWorkspace(self._detector, make_actor(self._model, person, casting.target, seen=casting.seen))
        if casting.actor is None:
            if self._learner is not None:
                self._learner.close()
            self._learner = Learner(
                self._model, person, lambda better: self._exchange(workspace, better), at_once=casting.learn_at_once
            )
        self._workspace = workspace
        return workspace

    def _exchange(self, workspace: ActorWorkspace, person: Person) -> None:
        """In the worker's thread: prepare, then replace in one step; the next frame uses it."""
        known, casting = workspace.actor, self._casting
        if person.identity is known.person.identity:
            workspace.actor = relaxed_actor(self._model, known, person, casting.target, seen=casting.seen)
        else:
            workspace.actor = make_actor(self._model, person, casting.target, seen=casting.seen)
        if casting.remembered is not None and person.identity.any():
            remember(casting.remembered, person, self._model.hash)
