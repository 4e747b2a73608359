"""Tracking real footage: a hand over the mouth is noticed, speech is not taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from f2fcam.capture.video import VideoFile
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.track.bundle import BundleConfig
from f2fcam.track.fit import FitConfig, FrameFitter
from f2fcam.track.landmarks import MediaPipeDetector
from f2fcam.track.person import Observation, estimate_person
from f2fcam.track.samples import choose_samples
from f2fcam.track.tracker import Tracked, TrackState, track_step

CLIPS = Path(__file__).parents[2] / "shared" / "data" / "clips"
SHORT_BUNDLE = BundleConfig(samples=1500, steps=(8, 8, 6))


def followed(name: str, stop: int, step: int, known: range) -> dict[int, Tracked]:
    """Every `step`-th frame's outcome before `stop`; the person is learnt from the frames in `known`."""
    path = CLIPS / name
    if not path.exists():
        pytest.skip(f"{name} is not at {CLIPS}")
    detector, seen = MediaPipeDetector(), {}
    with VideoFile(path) as video:
        for frame in video:
            if frame.index >= stop:
                break
            if frame.index % step == 0:
                landmarks = detector.detect(frame.rgb)
                assert landmarks is not None
                seen[frame.index] = (frame.rgb.copy(), landmarks)
        width, height = video.info.size
    detector.close()
    model, camera = load_face_model(), Intrinsics.guess(width, height)
    observations = [Observation.crop(*seen[i], i) for i in seen if i in known]
    person = estimate_person(model, observations, camera, config=SHORT_BUNDLE).person
    fitter = FrameFitter(model, person, choose_samples(model, 2048), FitConfig(samples=2048))
    state, found = TrackState(), {}
    for index, (rgb, landmarks) in seen.items():
        state, tracked = track_step(state, rgb, landmarks, fitter)
        assert tracked.fit is not None and np.isfinite(tracked.fit.performance.expression).all()
        assert tracked.fit.performance.expression.max() <= 1.2 + 1e-6
        found[index] = tracked
    return found


def test_a_hand_over_the_mouth_is_noticed_and_nothing_explodes():
    seen = followed("hand_over_mouth.mp4", 300, 3, range(300))
    found, sure = ({i: getattr(seen[i], name) for i in seen} for name in ("status", "confidence"))
    before = [found[i] for i in found if i < 48]
    covered = [found[i] for i in found if 96 <= i <= 210]
    after = [found[i] for i in found if i >= 246]
    free, hidden = (np.median([sure[i] for i in sure if begin <= i < end]) for begin, end in ((0, 48), (96, 211)))
    assert 0 <= hidden < free - 0.1 and 0.5 < free <= 1, (free, hidden)
    assert before.count("tracked") >= 0.9 * len(before)
    assert covered.count("occluded") >= 0.8 * len(covered)
    assert after.count("tracked") >= 0.9 * len(after)


def test_speech_is_not_a_hand():
    found = [tracked.status for tracked in followed("expressions.mp4", 240, 3, range(240)).values()]
    assert found.count("tracked") >= 0.97 * len(found)
