"""The actor is learnt while they act: what is watched, when it is enough, and what recalibration forgets."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from f2fcam import learner as learning
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.frame import Frame
from f2fcam.learner import NEUTRAL_AFTER_S, PERSON_AFTER_S, SOON_AFTER_S, Learner, Watched
from f2fcam.source_person import SourcePerson, nobody
from f2fcam.track.landmarks import POINTS, Landmarks

WAIT_S = 20.0
FPS = 10
CALM = np.full(76, 0.2, np.float32)


def landmarks(shift: float = 0.0) -> Landmarks:
    points = np.random.default_rng(1).uniform(60, 180, (POINTS, 2)).astype(np.float32) + np.float32(shift)
    return Landmarks(points, np.zeros(POINTS, np.float32), np.ones(POINTS, np.float32))


def frame(index: int, at_s: float | None = None) -> Frame:
    time_s = index / FPS if at_s is None else at_s
    return Frame(np.full((240, 240, 3), 90, np.uint8), index, round(time_s * 1e9))


class Better:
    """Waits for the worker's next estimate."""

    def __init__(self) -> None:
        self.people: list = []
        self._came = threading.Semaphore(0)

    def __call__(self, person) -> None:
        self.people.append(person)
        self._came.release()

    def wait(self):
        assert self._came.acquire(timeout=WAIT_S)
        return self.people[-1]


@pytest.fixture
def better() -> Better:
    return Better()


@pytest.fixture
def learner(better: Better, monkeypatch: pytest.MonkeyPatch):
    def estimate(model, scan, name) -> SourcePerson:
        assert scan.shots[0].observations and scan.size == (240, 240)
        return SourcePerson(replace(nobody(Intrinsics.guess(240, 240)), identity=np.ones(80, np.float32)), None)

    monkeypatch.setattr(learning, "estimate_source", estimate)
    learner = Learner(load_face_model(), nobody(Intrinsics.guess(240, 240)), better)
    yield learner
    learner.close()


def act_until(learner: Learner, start: int, seconds: float, expression: np.ndarray) -> int:
    stop = start + round(seconds * FPS) + 1
    for index in range(start, stop):
        learner.watch(frame(index), landmarks(), expression)
    return stop


def test_relaxed_face_first_then_the_person(learner: Learner, better: Better):
    following = act_until(learner, 0, NEUTRAL_AFTER_S, CALM)
    first = better.wait()
    assert np.allclose(first.neutral, CALM, atol=1e-3) and not first.identity.any()
    while learner.phase != "watching":
        threading.Event().wait(0.01)
    following = act_until(learner, following, SOON_AFTER_S, CALM)
    assert better.wait().identity.all()
    while learner.phase != "watching":
        threading.Event().wait(0.01)
    act_until(learner, following, PERSON_AFTER_S, CALM)
    assert better.wait().identity.all()
    assert len(better.people) == 3


def test_then_the_relaxed_face_follows_slowly(better: Better, monkeypatch: pytest.MonkeyPatch):
    """An actor who has settled into another face: a tenth of the way in ten seconds, and never a jump."""
    monkeypatch.setattr(learning, "estimate_source", lambda *_: SourcePerson(nobody(Intrinsics.guess(240, 240)), None))
    learner = Learner(load_face_model(), nobody(Intrinsics.guess(240, 240)), better, at_once=True)
    following = act_until(learner, 0, PERSON_AFTER_S + 1, CALM)
    assert len(better.people) == 3 and learner.phase == "done"
    start = better.people[-1].neutral
    act_until(learner, following, 300.0, 2 * CALM)
    ways = [
        float(np.abs(person.neutral - 2 * CALM).max() / np.abs(start - 2 * CALM).max()) for person in better.people[3:]
    ]
    assert 20 <= len(ways) <= 30 and all(person.identity is better.people[2].identity for person in better.people[3:])
    assert np.all(np.diff([1.0, *ways]) >= -0.21) and ways[-1] < 0.25
    # Ten minutes later somebody sits down: learnt from the start.
    for index in range(round(PERSON_AFTER_S * FPS) + 3):
        learner.watch(frame(0, at_s=1000 + index / FPS), landmarks(), CALM)
    assert better.people[-1].identity is not better.people[2].identity
    learner.close()


def test_too_little_is_not_learnt_from(learner: Learner, better: Better):
    act_until(learner, 0, NEUTRAL_AFTER_S - 0.5, CALM)
    assert better.people == [] and learner.phase == "watching"


def test_recalibration_takes_the_face_of_now(learner: Learner, better: Better):
    following = act_until(learner, 0, NEUTRAL_AFTER_S, CALM)
    better.wait()
    while learner.phase != "watching":
        threading.Event().wait(0.01)
    learner.relearn_neutral()
    act_until(learner, following, NEUTRAL_AFTER_S, 2 * CALM)
    assert np.allclose(better.wait().neutral, 2 * CALM, atol=1e-3)


def test_a_failed_estimate_leaves_the_camera_running(better: Better, monkeypatch: pytest.MonkeyPatch, caplog):
    def fail(model) -> np.ndarray:
        raise ValueError("no")

    with monkeypatch.context() as patch:
        patch.setattr(Watched, "relaxed_of", lambda self: fail)
        learner = Learner(load_face_model(), nobody(Intrinsics.guess(240, 240)), better)
        following = act_until(learner, 0, NEUTRAL_AFTER_S, CALM)
        while learner.phase != "watching":
            threading.Event().wait(0.01)
    assert "could not be learnt" in caplog.text and better.people == []
    learner.relearn_neutral()
    act_until(learner, following, NEUTRAL_AFTER_S, CALM)
    assert np.allclose(better.wait().neutral, CALM, atol=1e-3)
    learner.close()


def test_after_a_long_break_it_may_be_somebody_else():
    watched = Watched()
    for index in range(5):
        watched.add(frame(index), landmarks(), CALM)
    watched.add(frame(5, at_s=30.0), landmarks(), CALM)
    assert len(watched.seen) == 1 and watched.duration_s == 0.0
    assert watched.scan().shots[0].start == 0
