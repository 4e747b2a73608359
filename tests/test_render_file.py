"""`render`: one synthetic person drives another, end to end, through real files; never skipped."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from f2fcam import learner
from f2fcam.capture.video import VideoFile
from f2fcam.engine import Engine
from f2fcam.errors import ConfigError, InputError
from f2fcam.face.morphable import load_face_model
from f2fcam.live import LivePipeline
from f2fcam.render_file import RenderedVideo, render_video
from f2fcam.source_person import estimate_source
from f2fcam.source_side import Casting, SourceSide
from f2fcam.target_clip import TargetClip, playback_of
from f2fcam.track.landmarks import FakeDetector, MediaPipeDetector
from f2fcam.track.neutral import lip_gap
from f2fcam.track.scan import scan
from f2fcam.trust.badge import badge_box
from tests import enrolled


@dataclass
class Rendering:
    result: RenderedVideo
    path: object
    pictures: list[np.ndarray]
    masks: list[np.ndarray]
    targets: list[int]


@pytest.fixture(scope="module")
def rendering(tmp_path_factory) -> Rendering:
    path = tmp_path_factory.mktemp("render") / "out.mp4"
    pictures, masks, targets = [], [], []

    def observe(output):
        pictures.append(output.rgb.copy())
        masks.append(output.mask.copy())
        targets.append(output.target_index)

    result = render_video(
        enrolled.profile(), enrolled.film(enrolled.ACTOR), path, bundling=enrolled.QUICK, on_output=observe
    )
    return Rendering(result, path, pictures, masks, targets)


def test_one_output_frame_per_source_frame(rendering):
    count = len(enrolled.times())
    assert rendering.result.frames == count == len(rendering.pictures)
    assert rendering.result.statuses.get("tracked", 0) >= 0.9 * count
    with VideoFile(rendering.path) as video:
        assert len(video) == count
        assert video.fps == pytest.approx(enrolled.FPS)
        assert video.size == enrolled.profile().manifest.size


def test_list_of_frames(rendering):
    listed = json.loads(rendering.path.with_suffix(".json").read_text())
    assert set(listed) == {"fps", "frames"} and listed["fps"] == pytest.approx(enrolled.FPS)
    frames = listed["frames"]
    assert [f["source_frame"] for f in frames] == list(range(len(frames)))
    assert [f["target_frame"] for f in frames] == rendering.targets
    assert np.allclose([f["time_s"] for f in frames], enrolled.times(), atol=2e-3)
    assert {f["status"] for f in frames} <= {"tracked", "held", "occluded", "idle", "lost"}


def test_outside_the_mask_the_target_is_untouched(rendering):
    clip = TargetClip(enrolled.profile())
    for picture, mask, index in zip(rendering.pictures, rendering.masks, rendering.targets):
        stored = clip.frame(index).view.rgb
        assert np.array_equal(picture[mask == 0], stored[mask == 0])
        assert (mask > 0).mean() < 0.6
    clip.close()


def test_mouth_follows_the_actor(rendering):
    """Opening of the output's mouth against the actor's, by the detector; the unmodified target must not do as well."""
    detector = MediaPipeDetector(static=True)
    scene = enrolled.frames(enrolled.ACTOR)
    clip = TargetClip(enrolled.profile())
    gaps = []
    for frame, picture, index in zip(scene, rendering.pictures, rendering.targets):
        found = [detector.detect(rgb) for rgb in (frame.rgb, picture, clip.frame(index).view.rgb)]
        if all(f is not None for f in found):
            gaps.append([lip_gap(f) for f in found if f is not None])
    clip.close()
    actor, output, unmodified = np.array(gaps).T
    assert len(gaps) >= 0.8 * len(scene)
    followed = np.corrcoef(actor, output)[0, 1]
    assert followed > 0.8
    assert followed > np.corrcoef(actor, unmodified)[0, 1] + 0.2


def test_every_written_frame_carries_the_badge(rendering):
    width, height = enrolled.profile().manifest.size
    x0, y0, x1, y1 = badge_box(width, height)
    with VideoFile(rendering.path) as video:
        for frame in video:
            plate = frame.rgb[y0:y1, x0:x1].astype(int)
            assert np.median(plate) < 60 and plate.max() > 190


def test_nearest_pose_picks_the_like_head():
    clip = TargetClip(enrolled.profile())
    playback = playback_of(clip, "nearest-pose")
    rotations = clip.profile.frames.rotations
    for row in (0, len(clip) // 2, len(clip) - 1):
        chosen = playback.row(row / enrolled.FPS, clip.profile.frames.performance(row).camera_from_model)
        apart = np.degrees(np.arccos(np.clip((np.trace(rotations[chosen].T @ rotations[row]) - 1) / 2, -1, 1)))
        assert apart < 4.0
    assert playback.row(9.0, None) == chosen
    clip.close()


def test_causally_the_actor_is_learnt_on_the_way(tmp_path, monkeypatch, rendering):
    """Without the first pass the actor is known after a second, at first from little; and every run gives the same."""
    monkeypatch.setattr(learner, "NEUTRAL_AFTER_S", 0.5)
    monkeypatch.setattr(learner, "PERSON_AFTER_S", 1.0)
    learnt = []
    estimate = learner.estimate_source
    monkeypatch.setattr(
        learner, "estimate_source", lambda *args: learnt.append(estimate(*args, bundling=enrolled.QUICK)) or learnt[-1]
    )
    runs = []
    for n in range(2):
        runs.append([])
        render_video(
            enrolled.profile(), enrolled.film(enrolled.ACTOR), tmp_path / f"{n}.mp4",
            causal=True, on_output=lambda shown: runs[-1].append(shown.expression.copy()),
        )  # fmt: skip
    assert len(learnt) == 4 and np.abs(learnt[0].person.identity).max() > 0
    assert len(runs[0]) == rendering.result.frames
    assert np.array_equal(*runs)


def test_source_without_a_face_is_refused_and_leaves_nothing(tmp_path):
    output = tmp_path / "out.mp4"
    output.write_text("mine")
    with pytest.raises(InputError) as refused:
        render_video(enrolled.profile(), enrolled.film(enrolled.ACTOR), output, detector=FakeDetector([]))
    assert refused.value.exit_code == 5
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"] and output.read_text() == "mine"


def test_output_must_not_be_the_source(tmp_path):
    with pytest.raises(ConfigError):
        render_video(enrolled.profile(), enrolled.film(enrolled.ACTOR), enrolled.film(enrolled.ACTOR))


def test_the_live_threads_without_drops_make_the_same_pictures(rendering):
    """Engine, threads, slots and the live pipeline over the same file: bit for bit what `render` makes."""
    model = load_face_model()
    with VideoFile(enrolled.film(enrolled.ACTOR)) as film:
        detector = MediaPipeDetector()
        seen = scan(film, detector)
        detector.close()
    actor = estimate_source(model, seen, "film", bundling=enrolled.QUICK).person
    profile = enrolled.profile()
    casting = Casting.of(profile, actor=actor)
    pipeline = LivePipeline(profile, SourceSide(model, MediaPipeDetector(), casting), model=model)
    pictures: list[np.ndarray] = []
    engine = Engine(
        lambda: VideoFile(enrolled.film(enrolled.ACTOR)),
        pipeline,
        lambda picture: pictures.append(picture.rgb.copy()),
        every_frame=True,
        loop=False,
    )
    engine.run()
    pipeline.close()
    assert len(pictures) == len(rendering.pictures)
    assert all(np.array_equal(live, file) for live, file in zip(pictures, rendering.pictures, strict=True))
