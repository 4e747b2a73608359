"""Enrolment: which shot, why not, the neutral face, and what lies in the profile afterwards."""

from __future__ import annotations

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from f2fcam.capture.video import VideoFile
from f2fcam.enroll import enroll_video, usable_shot
from f2fcam.enrolled_clip import smoothed
from f2fcam.errors import F2FError, InputError
from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.frame import Frame
from f2fcam.profile import PREVIEW, REPORT, TARGET, TEXTURE, load_profile
from f2fcam.progress import Silent
from f2fcam.publish.video import VideoWriter
from f2fcam.source_person import nobody
from f2fcam.track import neutral as relaxed
from f2fcam.track.landmarks import INNER_LIP_PAIRS, FakeDetector, Landmarks
from f2fcam.track.scan import MOST_OBSERVATIONS, scan
from f2fcam.trust.consent import self_consent
from tests import enrolled
from tests.faces import flat_face


def face(width_px: float = 160.0, center: tuple[float, float] = (160.0, 120.0)) -> Landmarks:
    points = flat_face()
    points[:, :2] *= width_px / np.ptp(points[:468, 0])
    points[:, :2] += np.array(center) - points[:468, :2].mean(axis=0)
    return Landmarks(points[:, :2].astype(np.float32), points[:, 2].astype(np.float32), np.ones(478, np.float32))


def scanned(found: list[Landmarks | None], fps: float = 10.0, cuts: tuple[int, ...] = ()):
    """A scan of flat pictures in which the detector finds what is given; the picture changes at `cuts`."""
    rng = np.random.default_rng(0)
    picture, frames = np.full((240, 320, 3), 60, np.uint8), []
    for k in range(len(found)):
        if k in cuts:
            picture = cv2.resize(rng.integers(0, 256, (2, 3, 3)).astype(np.uint8), (320, 240)) if k else picture
            picture = np.where(picture > 127, 255, 0).astype(np.uint8)
        frames.append(Frame(picture, k, round(k * 1e9 / fps)))
    return scan(frames, FakeDetector(found))


def test_longest_shot_is_taken():
    found = [face()] * 25 + [None] * 10 + [face()] * 40
    seen = scanned(found)
    assert [(s.start, s.stop) for s in seen.shots] == [(0, 25), (35, 75)]
    shot = usable_shot(seen, "clip")
    assert (shot.start, shot.stop) == (35, 75)
    assert seen.duration_s(shot) == pytest.approx(4.0)
    assert seen.fps == pytest.approx(10.0)


def test_short_gaps_do_not_end_a_shot_and_cuts_do():
    seen = scanned([face()] * 10 + [None] * 2 + [face()] * 10)
    assert [(s.start, s.stop) for s in seen.shots] == [(0, 22)]
    seen = scanned([face()] * 30, cuts=(12,))
    assert [(s.start, s.stop) for s in seen.shots] == [(0, 12), (12, 30)]
    assert seen.seen[12].cut


def test_crops_stay_few_and_spread():
    seen = scanned([face()] * 400)
    indices = [crop.index for crop in seen.shots[0].observations]
    assert MOST_OBSERVATIONS / 2 <= len(indices) <= MOST_OBSERVATIONS
    assert indices[0] == 0 and indices[-1] > 350
    assert len(set(np.diff(indices))) == 1


@pytest.mark.parametrize(
    ("found", "word"),
    [([None] * 30, "No face"), ([face()] * 15, "1.5 s"), ([face(50.0)] * 40, "50 px")],
)
def test_unusable_videos_are_refused_in_words(found, word):
    with pytest.raises(InputError, match=re.escape(word)) as refused:
        usable_shot(scanned(found), "clip.mp4")
    assert refused.value.exit_code == 5
    assert refused.value.hint.endswith(".")


def test_video_without_a_face_leaves_the_profiles_as_they_were(tmp_path):
    path = tmp_path / "wall.mp4"
    with VideoWriter(path, (64, 64), 10) as writer:
        for _ in range(25):
            writer.write(np.full((64, 64, 3), 90, np.uint8))
    profiles = tmp_path / "profiles"
    (profiles / "wall").mkdir(parents=True)
    (profiles / "wall" / "mine").write_text("here")
    with pytest.raises(InputError):
        enroll_video(path, "wall", self_consent(), profiles, detector=FakeDetector([]))
    assert [p.name for p in profiles.iterdir()] == ["wall"]
    assert (profiles / "wall" / "mine").read_text() == "here"


def test_expired_consent_is_refused_before_any_work(tmp_path):
    with pytest.raises(F2FError, match="expired"):
        enroll_video(
            tmp_path / "none.mp4", "x", replace(self_consent(), expires=self_consent().expires.replace(year=2001))
        )


def test_neutral_is_what_a_talker_comes_back_to():
    rng = np.random.default_rng(1)
    sizes = np.ones(76, np.float32)
    rest = rng.uniform(0, 0.2, 76)
    expressions = np.tile(rest, (200, 1)) + rng.normal(0, 0.01, (200, 76))
    gaps, speeds = np.full(200, 0.01), np.full(200, 0.1)
    talking = rng.random(200) < 0.7
    expressions[talking, :10] += rng.uniform(0.2, 1.0, (int(talking.sum()), 10))
    gaps[talking] = rng.uniform(0.05, 0.4, int(talking.sum()))
    speeds[talking] = rng.uniform(0.5, 2.0, int(talking.sum()))
    # A grimace held with a shut mouth must not pull the mode.
    expressions[:12], gaps[:12], speeds[:12] = rest + 0.4, 0.01, 0.05
    found = relaxed.neutral_expression(expressions.astype(np.float32), gaps, speeds, sizes)
    assert np.abs(found - rest).max() < 0.03
    mean = expressions.mean(axis=0)
    assert np.abs(found - rest).max() < 0.2 * np.abs(mean - rest).max()


def test_a_relaxed_face_has_its_eyes_open():
    """Somebody who keeps their eyes shut for most of a clip is not relaxed with shut eyes: lids would never close."""
    rng = np.random.default_rng(2)
    sizes, shut = np.ones(76, np.float32), np.arange(100) < 70
    expressions = rng.normal(0, 0.01, (100, 76)).astype(np.float32)
    expressions[shut, :2] += 0.9
    expressions[~shut, 5:7] += 0.9  # their brows are up whenever their eyes are open: neither does more than the other
    lids = np.where(shut, 0.02, 0.1) + rng.normal(0, 0.003, 100)
    arguments = expressions, np.full(100, 0.01), np.full(100, 0.1), sizes
    assert np.abs(relaxed.neutral_expression(*arguments, lids)[:2]).max() < 0.05
    assert relaxed.neutral_expression(*arguments)[:2].min() > 0.5
    assert np.abs(relaxed.neutral_expression(*arguments, np.full(100, 0.03))[:2]).min() > 0.5  # narrow eyes, all alike


def test_a_smile_that_lasts_is_not_the_relaxed_face():
    """Somebody who smiles for most of a short clip is taken to be relaxed where the face does less."""
    rng = np.random.default_rng(3)
    sizes, smiling = np.ones(76, np.float32), np.arange(100) < 60
    rest = rng.uniform(0, 0.1, 76)
    expressions = (rest + rng.normal(0, 0.01, (100, 76))).astype(np.float32)
    expressions[smiling, 20:24] += 0.5
    found = relaxed.neutral_expression(expressions, np.full(100, 0.01), np.full(100, 0.1), sizes)
    assert np.abs(found - rest).max() < 0.05


def test_lips_are_shut_where_the_detector_says_so():
    """What fits find there is remembered; of lips that never meet nothing is known."""
    shut = face()
    points = shut.xy.copy()
    points[[lower for _, lower in INNER_LIP_PAIRS], 1] += 0.1 * shut.eye_distance
    parted = replace(shut, xy=points)
    expressions = np.zeros((8, 76), np.float32)
    expressions[:4, 3] = 0.2
    found = relaxed.relaxed_face(expressions, [shut] * 4 + [parted] * 4, np.zeros(8), np.ones(76, np.float32))
    assert found.shut is not None and found.shut[3] == pytest.approx(0.2)
    never = relaxed.relaxed_face(expressions, [parted] * 8, np.zeros(8), np.ones(76, np.float32))
    assert never.shut is None
    person = nobody(Intrinsics.guess(320, 240))
    known = found.given_to(person)
    assert known.shut is not None and never.given_to(known).shut is known.shut
    half = relaxed.RelaxedFace(found.neutral, np.zeros(76, np.float32)).given_to(known, 0.5)
    assert half.shut is not None and half.shut[3] == pytest.approx(0.1)


def test_neutral_of_nothing_and_of_one_frame():
    sizes = np.ones(76, np.float32)
    assert not relaxed.neutral_expression(np.zeros((0, 76), np.float32), np.zeros(0), np.zeros(0), sizes).any()
    one = np.full((1, 76), 0.2, np.float32)
    assert np.allclose(relaxed.neutral_expression(one, np.zeros(1), np.full(1, np.inf), sizes), 0.2)


def test_lip_gap_is_zero_for_shut_lips_whatever_the_size():
    assert relaxed.lip_gap(face()) < 0.02
    assert relaxed.lip_gap(face(320.0)) == pytest.approx(relaxed.lip_gap(face()), abs=1e-3)


def test_smoothing_keeps_motion_and_drops_noise():
    t = np.arange(60) / 30
    wave = 0.4 + 0.3 * np.sin(2 * np.pi * 3 * t)
    noise = np.random.default_rng(0).normal(0, 0.02, (60, 76))
    usable = np.ones(60, bool)
    usable[30] = False
    measured, slow = (wave[:, None] + noise).astype(np.float32), np.arange(76) < 70
    out = smoothed(measured, usable, slow)
    assert np.array_equal(out[:, ~slow], measured[:, ~slow])
    out, noise = out[:, slow], noise[:, slow]
    inside = np.abs(np.arange(60) - 30) > 3
    assert np.std((out - wave[:, None])[inside]) < 0.85 * np.std(noise)
    assert np.abs((out - wave[:, None])[inside].mean(axis=1)).max() < 0.02


def test_profile_of_a_synthetic_person_is_whole():
    profile = enrolled.profile()
    again = load_profile(profile.directory)
    assert len(again.frames) == len(enrolled.times())
    assert np.array_equal(again.frames.index, np.arange(len(again.frames)))
    assert np.allclose(again.frames.time_s, enrolled.times(), atol=2e-3)
    assert again.manifest.model_hash == load_face_model().hash
    assert again.manifest.counts["usable_frames"] >= 0.9 * len(again.frames)
    assert again.person.vertex_albedo is not None
    for name in (TEXTURE, PREVIEW, REPORT):
        assert (profile.directory / name).stat().st_size > 2000
    assert again.mouth and again.playback and again.enrolment


def test_enrolled_pose_follows_the_truth():
    """The head's turn, after a constant offset, within 1.5 degrees at this small size."""
    profile = enrolled.profile()
    scene = enrolled.acted(enrolled.TARGET)
    truth = np.stack([scene.performance(t).camera_from_model.rotation for t in enrolled.times()])
    relative = np.einsum("nij,nkj->nik", profile.frames.rotations, truth)
    offset = relative[len(relative) // 2]
    apart = np.einsum("nij,kj->nik", relative, offset)
    angle = np.degrees(np.arccos(np.clip((np.trace(apart, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert np.sqrt((angle**2).mean()) < 1.5


def test_stored_clip_is_nearly_the_video():
    profile = enrolled.profile()
    with VideoFile(enrolled.film(enrolled.TARGET)) as video, VideoFile(profile.directory / TARGET) as stored:
        for original, kept in zip(video, stored):
            error = float(((original.rgb.astype(float) - kept.rgb) ** 2).mean())
            assert 10 * np.log10(255**2 / max(error, 1e-9)) >= 42


def test_report_needs_nothing_from_outside():
    text = (enrolled.profile().directory / REPORT).read_text(encoding="utf-8")
    assert "<script" not in text and "http" not in text.replace("http-equiv", "")
    assert text.count("data:image/jpeg;base64,") >= 6


def test_progress_names_every_stage(tmp_path, monkeypatch):
    stages: list[str] = []

    class Listener(Silent):
        def stage(self, name):
            stages.append(name)
            return super().stage(name)

    with pytest.raises(InputError):
        enroll_video(
            enrolled.film(enrolled.TARGET),
            "x",
            self_consent(),
            tmp_path,
            progress=Listener(),
            detector=FakeDetector([]),
        )
    assert stages == ["Finding the face"]
