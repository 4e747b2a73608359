"""The tracker in a process of its own: the same performances, its errors told, and nothing left behind."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
import pytest

from f2fcam.errors import ModelError
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.frame import Frame
from f2fcam.source_person import nobody
from f2fcam.source_process import SourceProcess
from f2fcam.source_side import Casting, SourceSide
from f2fcam.track.landmarks import MediaPipeDetector
from tests import enrolled

FAILING = """
from f2fcam import source_process
from f2fcam.errors import ModelError
def fail(connection, memory):
    connection.recv()
    raise ModelError("The face model is broken.", hint="Install it again.")
source_process._serve = fail
raise SystemExit(source_process.main())
"""


@pytest.fixture(scope="module")
def casting() -> Casting:
    actor = nobody(Intrinsics.guess(enrolled.SIZE, enrolled.SIZE))
    return Casting.of(enrolled.profile(), actor=actor)


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_it_answers_what_the_same_side_answers_here(casting, tmp_path, monkeypatch: pytest.MonkeyPatch):
    frames = enrolled.frames(enrolled.ACTOR)[:4]
    here = SourceSide(load_face_model(), MediaPipeDetector(), casting)
    there = SourceProcess(casting, tmp_path / "tracker.log")
    larger = np.repeat(np.repeat(frames[0].rgb, 2, axis=0), 2, axis=1)  # the shared memory has to grow
    try:
        for frame in (*frames, Frame(larger, 4, 400_000_000)):
            own, theirs = here.track(frame).acted, there.track(frame).acted
            assert theirs.status == own.status
            assert (theirs.index, theirs.timestamp_ns) == (frame.index, frame.timestamp_ns)
            np.testing.assert_allclose(theirs.expression, own.expression, atol=2e-3)  # its BLAS has one thread
            assert theirs.tracked.fit is None
            room = there.room(frame.size)
            np.copyto(room, frame.rgb[::-1])
            np.copyto(room, room[::-1].copy())
            with monkeypatch.context() as patched:  # what is developed there is not copied
                patched.delattr("f2fcam.source_process.np.copyto")
                again = there.track(Frame(room, frame.index, frame.timestamp_ns)).acted
            del room
            assert again.status == here.track(frame).acted.status
        told, known = there.report(), here.report()
        assert told.pop("confidence") == pytest.approx(known.pop("confidence"), abs=0.05)
        assert told == known == {"faces": 1, "actor": "known"}
        pid = there.pid
    finally:
        here.close()
        there.close()
    assert gone(pid)


def test_an_error_of_the_tracker_arrives_as_it_was(casting, tmp_path):
    tracker = SourceProcess(casting, tmp_path / "tracker.log", [sys.executable, "-c", FAILING])
    try:
        with pytest.raises(ModelError, match="broken") as caught:
            for _ in range(3):
                tracker.track(enrolled.frames(enrolled.ACTOR)[0])
        assert caught.value.hint == "Install it again."
    finally:
        tracker.close()


def test_a_killed_tracker_is_an_error_and_not_a_hang(casting, tmp_path):
    tracker = SourceProcess(casting, tmp_path / "tracker.log")
    try:
        tracker.track(enrolled.frames(enrolled.ACTOR)[0])
        os.kill(tracker.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="SIGKILL"):
            tracker.track(enrolled.frames(enrolled.ACTOR)[1])
    finally:
        tracker.close()
