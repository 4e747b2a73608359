"""A synthetic person enrolled from a small film, and films to drive with; made once per test run."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from f2fcam.enroll import enroll_video
from f2fcam.face.morphable import load_face_model
from f2fcam.frame import Frame
from f2fcam.profile import Profile
from f2fcam.publish.video import VideoWriter
from f2fcam.synthetic.clip import SyntheticClip
from f2fcam.track.bundle import BundleConfig
from f2fcam.trust.consent import self_consent
from tests.synthetic import clip

SIZE, FPS, SECONDS = 288, 12, 2.5
QUICK = BundleConfig(steps=(8, 3, 1), samples=1000)
TARGET, ACTOR = 1, 2


@lru_cache(maxsize=1)
def folder() -> Path:
    """Where the films and the profile lie until the run ends."""
    path = Path(tempfile.mkdtemp(prefix="f2fcam-tests-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def times() -> np.ndarray:
    """Of the films' frames, in seconds."""
    return np.arange(round(SECONDS * FPS)) / FPS


def acted(person: int) -> SyntheticClip:
    """The performance that `film(person)` shows."""
    return clip(person, SIZE, 1.0)


@lru_cache(maxsize=2)
def frames(person: int) -> list[Frame]:
    """The film's pictures before encoding."""
    scene = acted(person)
    return [Frame(scene.frame(t), k, round(t * 1e9)) for k, t in enumerate(times())]


@lru_cache(maxsize=2)
def film(person: int) -> Path:
    """A short film of a synthetic person."""
    path = folder() / f"person{person}.mp4"
    with VideoWriter(path, (SIZE, SIZE), FPS) as writer:
        for frame in frames(person):
            writer.write(frame.rgb, frame.timestamp_ns)
    return path


@lru_cache(maxsize=1)
def profile() -> Profile:
    """Person `TARGET`, enrolled."""
    return enroll_video(
        film(TARGET), "synthetic", self_consent(), folder() / "profiles", model=load_face_model(), bundling=QUICK
    )
