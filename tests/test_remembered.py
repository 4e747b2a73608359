"""The actor of last time: kept for the user alone, recalled whole, and never in the way."""

from __future__ import annotations

import stat
import sys

import numpy as np
import pytest

from f2fcam.face.camera import Intrinsics
from f2fcam.face.state import Person
from f2fcam.remembered import recall, remember, remembered_file


def somebody() -> Person:
    random = np.random.default_rng(1)
    return Person(
        random.normal(size=80).astype(np.float32),
        random.normal(size=80).astype(np.float32),
        Intrinsics.guess(640, 480),
        random.uniform(size=76).astype(np.float32),
        landmark_offset=random.normal(size=(478, 3)).astype(np.float32),
    )


def test_an_actor_comes_back_as_they_were(tmp_path):
    path = remembered_file("webcam:0", tmp_path / "actors")
    remember(path, somebody(), "model")
    person = recall(path, "model", (640, 480))
    assert person is not None
    for name in ("identity", "albedo", "neutral", "landmark_offset"):
        assert np.array_equal(getattr(person, name), getattr(somebody(), name))
    assert person.intrinsics == somebody().intrinsics
    assert remembered_file("webcam:1", tmp_path / "actors") != path


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are the user's folder's there")
def test_nobody_else_may_read_it(tmp_path):
    path = remembered_file("webcam:0", tmp_path / "actors")
    remember(path, somebody(), "model")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_does_not_fit_is_left_alone(tmp_path):
    path = remembered_file("webcam:0", tmp_path)
    assert recall(path, "model", (640, 480)) is None
    remember(path, somebody(), "model")
    assert recall(path, "another model", (640, 480)) is None
    assert recall(path, "model", (1280, 720)) is None
    path.write_bytes(path.read_bytes()[:200])
    assert recall(path, "model", (640, 480)) is None


def test_a_folder_that_cannot_be_written_does_not_end_the_camera(tmp_path, caplog):
    (tmp_path / "actors").write_text("a file")
    remember(remembered_file("webcam:0", tmp_path / "actors"), somebody(), "model")
    assert "could not be remembered" in caplog.text
