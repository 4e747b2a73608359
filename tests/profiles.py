"""A small profile with made-up numbers, for tests of everything around a profile."""

from __future__ import annotations

import datetime
from pathlib import Path

import cv2
import numpy as np

from f2fcam.face.camera import Intrinsics
from f2fcam.face.state import Person
from f2fcam.profile import TARGET, TEXTURE, Profile, TrackedFrames, pack_visibility
from f2fcam.profile_store import ProfileDraft
from f2fcam.publish.video import VideoWriter
from f2fcam.trust.consent import Consent

SIZE = (64, 48)
MODEL_HASH = "5" * 64


def consent(expires: datetime.date = datetime.date(2999, 1, 1)) -> Consent:
    return Consent("Alice", "I allow it.", "tests", expires, "alice@example.org")


def frames(count: int = 4) -> TrackedFrames:
    random = np.random.default_rng(count)

    def draw(*shape: int) -> np.ndarray:
        return random.normal(size=(count, *shape)).astype(np.float32)

    visible = random.integers(0, 2, (count, 53_390), dtype=np.uint8)
    return TrackedFrames(
        index=np.arange(10, 10 + count, dtype=np.int32),
        time_s=np.arange(10, 10 + count) / 25,
        expressions=draw(76),
        rotations=draw(3, 3),
        translations=draw(3),
        lightings=draw(9, 3),
        landmarks=draw(478, 2),
        boxes=draw(4),
        status=np.zeros(count, np.uint8),
        residual=draw(),
        visibility=pack_visibility(visible),
    )


def person(seed: int = 4) -> Person:
    random = np.random.default_rng(seed)
    identity, albedo = random.normal(size=(2, 80)).astype(np.float32)
    return Person(identity, albedo, Intrinsics.guess(*SIZE), random.uniform(0, 1, 76).astype(np.float32))


def make_profile(root: Path, name: str = "alice", *, count: int = 4, given: Consent | None = None) -> Profile:
    """Write one as enrolment would."""
    with ProfileDraft(root, name) as draft:
        with VideoWriter(draft.folder / TARGET, SIZE, 25, intra_only=True) as video:
            for shade in range(count):
                video.write(np.full((SIZE[1], SIZE[0], 3), 20 + 40 * shade, np.uint8))
        cv2.imwrite(str(draft.folder / TEXTURE), np.zeros((8, 8, 3), np.uint8))
        return draft.finish(
            person(count),
            frames(count),
            given or consent(),
            model_hash=MODEL_HASH,
            detector="test 1",
            source="alice.mp4",
            rate=25,  # pyright: ignore[reportArgumentType]
            size=SIZE,
            counts={"keyframes": 6},
            mouth={"labels": np.arange(count)},
        )
