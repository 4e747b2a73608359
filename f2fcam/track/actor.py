"""Following the actor: from a source picture to the expression that the target should show, whatever happens to the face.

While the actor is tracked the target follows. When the face is covered or gone, the last expression is held for 0.3 s and
then eased, within 0.5 s, to the target's own idle expression; after a shot cut there is nothing to hold. The state is
explicit and time is an argument, so a file and a camera behave alike.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Float32

from f2fcam.face.morphable import FaceModel
from f2fcam.face.rigid import RigidTransform
from f2fcam.face.state import Person
from f2fcam.frame import Frame
from f2fcam.track.effort import make_fitters, with_person
from f2fcam.track.fit import FitConfig, FrameFitter
from f2fcam.track.landmarks import LandmarkDetector, Landmarks
from f2fcam.track.tracker import Tracked, TrackState, is_cut, thumbnail, track_step
from f2fcam.transfer import Transfer, prepare_transfer, transfer

Status = Literal["tracked", "held", "occluded", "idle", "lost"]
"""What the output shows: the actor now; the actor's last expression; the same or on the way to idle because something
covers the face; the target's own frame; on the way there because the actor is gone."""

HOLD_S, EASE_S = 0.3, 0.5
"""How long the last expression stays when the actor is not to be seen, and how long the way to idle takes."""
RETURN_S = 0.2
"""How long the way back takes."""
CUTOFF_HZ, CUTOFF_SLOPE = 10.0, 30.0
"""One-euro filter (Casiez 2012) of the expression: cut-off at rest, and what each unit per second adds to it."""
SPEED_CUTOFF_HZ = 4.0
STILL_CUTOFF_HZ = 1.0
"""While the landmarks say that nothing moves."""
SWAP_S = 0.6
"""How long a new estimate of the actor takes to replace the old one, so that nothing jumps."""


MAY_SHUT = frozenset(("eyelid_left", "eyelid_right", "chin"))
"""Regions whose covering alone is a blink or a turned-up chin, not an obstacle."""


def trusted(tracked: Tracked) -> bool:
    """Whether the fit shows the person's own expression."""
    if tracked.fit is None or tracked.fit.status == "diverged" or tracked.status == "lost":
        return False
    return set(tracked.occluded) <= MAY_SHUT


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and how their expressions become the target's. A new estimate of the person is a new `Actor`.

    `fitters`: one per level of tracking (`track.effort`), full quality first.
    """

    person: Person
    fitters: tuple[FrameFitter, ...]
    transfer: Transfer


def make_actor(
    model: FaceModel,
    person: Person,
    target: Person,
    config: FitConfig | None = None,
    *,
    seen: Float32[np.ndarray, "n 76"] | None = None,
) -> Actor:
    """Everything that stays fixed for a pair of people; takes some tenths of a second. `seen` as of `prepare_transfer`."""
    fitters = make_fitters(model, person, config or FitConfig())
    return Actor(person, fitters, prepare_transfer(person, target, model, seen))


def relaxed_actor(
    model: FaceModel, actor: Actor, person: Person, target: Person, *, seen: Float32[np.ndarray, "n 76"] | None = None
) -> Actor:
    """The same actor with another neutral face; the tracker goes on where it is."""
    fitters = tuple(with_person(fitter, person) for fitter in actor.fitters)
    return Actor(person, fitters, prepare_transfer(person, target, model, seen))


@dataclass(frozen=True, slots=True)
class ActorState:
    """What one source frame hands to the next.

    Attributes:
        track: the tracker's warm start.
        strength: share of the actor's expression in the output, 0 = the target's own.
        expression, speed: the filtered source expression and its speed per second; None before the first.
        shown: the target expression of the last tracked frame.
        since_ns: when the actor was last tracked. last_ns: time of the last frame.
        actor: whose expressions these are. jump: what is left of the difference to the actor before it.
        cut: the actor vanished in a shot cut.
    """

    track: TrackState = field(default_factory=TrackState)
    strength: float = 0.0
    expression: Float32[np.ndarray, " 76"] | None = None
    speed: Float32[np.ndarray, " 76"] | None = None
    shown: Float32[np.ndarray, " 76"] | None = None
    since_ns: int | None = None
    last_ns: int | None = None
    actor: Actor | None = None
    jump: Float32[np.ndarray, " 76"] | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Acted:
    """What the actor did in one frame, in the target's terms; owns its arrays.

    Attributes:
        expression: what the target should show; None before the first tracked frame.
        strength: how much of it, 0 to 1.
        source: the actor's own filtered expression. pose: the actor's head pose, None when not tracked.
        tracked: the tracker's outcome.
        index, timestamp_ns: of the source frame.
    """

    status: Status
    expression: Float32[np.ndarray, " 76"] | None
    strength: float
    source: Float32[np.ndarray, " 76"] | None
    pose: RigidTransform | None
    tracked: Tracked
    index: int
    timestamp_ns: int


class ActorWorkspace:
    """The source side's tools: the detector and the present estimate of the actor, which may be exchanged between frames."""

    def __init__(self, detector: LandmarkDetector, actor: Actor) -> None:
        self.detector = detector
        self.actor = actor


def act(
    state: ActorState, frame: Frame, workspace: ActorWorkspace, level: int = 0
) -> tuple[ActorState, Acted, dict[str, float]]:
    """What the actor does in `frame`, carried over to the target; with the stages' milliseconds. `level`: see `follow`."""
    start = time.perf_counter()
    if is_cut(state.track.thumbnail, thumbnail(frame.rgb)):
        workspace.detector.reset()
    landmarks = workspace.detector.detect(frame.rgb)
    found = time.perf_counter()
    state, acted = follow(state, frame, landmarks, workspace.actor, level)
    done = time.perf_counter()
    return state, acted, {"landmarks": (found - start) * 1e3, "track": (done - found) * 1e3}


def follow(
    state: ActorState, frame: Frame, landmarks: Landmarks | None, actor: Actor, level: int = 0
) -> tuple[ActorState, Acted]:
    """Track one source picture and carry its expression over to the target (Face2Face, sections 5 and 7).

    `level` of `track.effort`: how much work it may be.
    """
    elapsed_s = 0.0 if state.last_ns is None else max(frame.timestamp_ns - state.last_ns, 0) * 1e-9
    track, tracked = track_step(_warm_start(state, actor), frame.rgb, landmarks, actor.fitters[level])
    state = replace(state, track=track, last_ns=frame.timestamp_ns, cut=state.cut or tracked.cut)
    fit = tracked.fit if trusted(tracked) else None
    if fit is not None:
        state = _take_in(state, fit.performance.expression, tracked.calm, actor, elapsed_s, frame.timestamp_ns)
        status: Status = "tracked"
    else:
        status, strength = _absence(state, tracked, elapsed_s, frame.timestamp_ns)
        state = replace(state, strength=strength)
    pose = None if fit is None else fit.performance.camera_from_model
    return state, Acted(
        status, state.shown, state.strength, state.expression, pose, tracked, frame.index, frame.timestamp_ns
    )


def _warm_start(state: ActorState, actor: Actor) -> TrackState:
    """The last performance belongs to the person that it was fitted with; another one starts from the landmarks."""
    if state.actor is None or state.actor.person.identity is actor.person.identity:
        return state.track
    return replace(state.track, last=None, usual=None, frames=0)


def _take_in(
    state: ActorState, measured: np.ndarray, calm: float, actor: Actor, elapsed_s: float, timestamp_ns: int
) -> ActorState:
    """Filter, transfer, and come back from idle."""
    returning, another = state.strength <= 0.0, state.actor is not None and state.actor is not actor
    known = None if returning or another else state.expression
    expression, speed = _one_euro(known, state.speed, measured, elapsed_s, calm)
    shown = transfer(actor.transfer, expression)
    jump = state.jump
    if jump is not None:
        jump = jump * np.float32(max(0.0, 1.0 - elapsed_s / SWAP_S))
    if another and state.shown is not None and not returning:
        jump = state.shown - shown
    if jump is not None:
        shown, jump = shown + jump, jump if np.abs(jump).max() > 1e-3 else None
    strength = min(1.0, state.strength + (elapsed_s / RETURN_S if state.since_ns is not None else 1.0))
    return replace(
        state, strength=strength, expression=expression, speed=speed, shown=shown.astype(np.float32),
        since_ns=timestamp_ns, actor=actor, jump=jump, cut=False,
    )  # fmt: skip


def _absence(state: ActorState, tracked: Tracked, elapsed_s: float, timestamp_ns: int) -> tuple[Status, float]:
    """Status and strength while the actor is not to be seen."""
    if state.since_ns is None:
        return ("occluded" if tracked.status == "occluded" else "idle"), 0.0
    missing_s = (timestamp_ns - state.since_ns) * 1e-9
    hold_s = 0.0 if state.cut else HOLD_S
    easing_s = min(max(missing_s - hold_s, 0.0), elapsed_s)
    strength = max(0.0, state.strength - easing_s / EASE_S)
    if tracked.status == "occluded":
        return "occluded", strength
    if missing_s <= hold_s:
        return "held", strength
    return ("lost" if strength > 0 else "idle"), strength


def _one_euro(
    last: np.ndarray | None, speed: np.ndarray | None, measured: np.ndarray, elapsed_s: float, calm: float
) -> tuple[Float32[np.ndarray, " 76"], Float32[np.ndarray, " 76"]]:
    """Low-pass whose cut-off rises with the speed: still faces do not tremble, fast ones do not lag.

    `calm` says how far a change is noise although it is fast.
    """
    measured = np.asarray(measured, np.float32)
    if last is None or speed is None or elapsed_s <= 0:
        return measured.copy(), np.zeros_like(measured)
    now = (measured - last) / np.float32(elapsed_s)
    speed = np.asarray(speed + _share(SPEED_CUTOFF_HZ, elapsed_s) * (now - speed))
    # The faster of both: the smoothed speed alone would let the first frame of a blink lag.
    fastest = np.maximum(np.abs(speed), np.abs(now) * np.float32(0.5))
    cutoff_hz = CUTOFF_HZ + CUTOFF_SLOPE * fastest
    share = _share(cutoff_hz + calm * (STILL_CUTOFF_HZ - cutoff_hz), elapsed_s)
    return (last + share * (measured - last)).astype(np.float32), speed.astype(np.float32)


def _share(cutoff_hz: np.ndarray | float, elapsed_s: float) -> np.ndarray:
    return np.float32(1.0) / (
        np.float32(1.0) + np.float32(1.0 / (2 * np.pi * elapsed_s)) / np.asarray(cutoff_hz, np.float32)
    )
