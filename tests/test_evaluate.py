"""The whole ruler: what is identical measures as identical, what is spoilt as spoilt, and the files are written."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from f2fcam import evaluate
from f2fcam.errors import ConfigError, InputError
from f2fcam.evaluate import compare, evaluate_video, mapped, plain, puppet_renderer
from f2fcam.evaluation.clip import Clip, PictureStore, Rendering, Tap, detected_clip
from f2fcam.evaluation.measure import Subject, TargetLooks, looped, measure, nearest_mouth, unmodified
from f2fcam.evaluation.report import contact_sheet, summary_line
from f2fcam.reenact import Output
from f2fcam.track.landmarks import FakeDetector, Landmarks
from tests.faces import performance

WIDTH, HEIGHT, FPS = 260, 320, 25.0


def clip_of(points: np.ndarray, pictures: np.ndarray | None = None) -> Clip:
    """Landmarks of a performance on pictures of smooth noise."""
    points = (points + np.array([WIDTH / 2, 120.0, 0])).astype(np.float32)
    if pictures is None:
        noise = cv2.GaussianBlur(np.random.default_rng(2).normal(0, 1, (HEIGHT, WIDTH, 3)), (0, 0), 1.5)
        pictures = np.repeat(np.clip(130 + 120 * noise, 0, 255).astype(np.uint8)[None], len(points), axis=0)
    index = np.arange(len(points))
    return Clip(pictures, points, index, index / FPS, FPS)


def same(clip: Clip, masks: np.ndarray | None = None) -> Rendering:
    rows = np.arange(len(clip))
    return Rendering(clip, rows, rows, ("tracked",) * len(clip), masks)


@pytest.fixture(scope="module")
def actor() -> Subject:
    points, _ = performance(120, seed=4)
    return Subject.of(clip_of(points))


def test_the_clip_itself_is_perfect(actor):
    masks = np.zeros((120, HEIGHT, WIDTH), np.uint8)
    masks[:, 80:260, 60:200] = 255
    found = measure(actor, same(actor.clip, masks), actor, TargetLooks.of(actor), held_out=True)
    assert found["error"]["mouth_percent"] == pytest.approx(0, abs=1e-4)
    assert found["error"]["mouth_ssim"] == pytest.approx(1) and found["error"]["face_psnr_db"] == 100
    mean = found["motion"]["mean"]
    assert mean["r"] == pytest.approx(1) and mean["gain"] == pytest.approx(1) and mean["ccc"] == pytest.approx(1)
    assert mean["lag_frames"] == pytest.approx(0, abs=0.01)
    assert found["motion"]["blinks"]["recall"] == 1 and found["motion"]["blinks"]["precision"] == 1
    picture = found["picture"]
    for name in ("flicker_ratio", "sharpness_skin_ratio", "seam_ratio", "jitter_mouth_ratio", "jitter_face_ratio"):
        assert picture[name] == pytest.approx(1), name
    assert picture["sharpness_mouth_ratio"] == pytest.approx(1, abs=0.15)
    assert picture["pose_shift_percent"] == 0 and picture["bridge_shift_percent"] == pytest.approx(0, abs=0.02)
    assert picture["background_psnr_db"] == 100 and picture["background_unequal_pixels"] == 0


def test_faults_show(actor):
    """A late, damped, blurred, shifted, flickering output that also touches the background."""
    points = actor.clip.points.astype(np.float64)
    neutral = points[:30].mean(axis=0)
    late = np.concatenate([points[:1].repeat(2, axis=0), points[:-2]])
    damped = (neutral + 0.5 * (late - neutral) + (3.0, 0, 0)).astype(np.float32)
    blurred = np.stack([cv2.GaussianBlur(np.asarray(p), (0, 0), 1.5) for p in actor.clip.frames])
    blurred[::2] = np.clip(blurred[::2].astype(int) + 5, 0, 255).astype(np.uint8)
    spoilt = Clip(blurred, damped, actor.clip.index, actor.clip.time_s, FPS)
    masks = np.zeros((120, HEIGHT, WIDTH), np.uint8)
    found = measure(actor, same(spoilt, masks), actor, TargetLooks.of(actor), held_out=True)
    assert found["error"]["mouth_percent"] > 1
    assert found["error"]["mouth_ssim"] < 0.9
    assert 0.3 < found["motion"]["mean"]["gain"] < 0.52  # half the amplitude, and less by coming late
    assert found["motion"]["mean"]["lag_frames"] == pytest.approx(2, abs=0.1)
    assert found["picture"]["sharpness_skin_ratio"] < 0.8 and found["picture"]["sharpness_mouth_ratio"] < 0.8
    assert found["picture"]["flicker_ratio"] > 5
    assert found["picture"]["pose_shift_percent"] == pytest.approx(3, abs=0.2)
    assert found["picture"]["background_unequal_pixels"] > 1000 and found["picture"]["background_psnr_db"] < 50


def test_freezing_is_seen_from_both_sides(actor):
    still = Clip(actor.clip.frames, actor.clip.points[:1].repeat(120, axis=0), actor.clip.index, actor.clip.time_s, FPS)
    found = measure(actor, same(still), actor, TargetLooks.of(actor), held_out=True)
    assert found["picture"]["jitter_mouth_ratio"] == pytest.approx(0, abs=0.05)
    assert abs(found["motion"]["mean"]["gain"]) < 0.05
    assert found["picture"]["background_psnr_db"] is None


def test_baselines_and_ratios(actor):
    """The nearest mouth of a clip that holds the true frame is the true frame; the ratios are of the errors."""
    points, _ = performance(120, seed=9)
    other = Subject(clip_of(points), actor.person)
    rows = (np.arange(120) + 40) % 120
    wrong = Rendering(actor.clip.picked(rows), np.arange(120), rows, ("tracked",) * 120)
    nearest = nearest_mouth(actor, wrong, actor)
    assert (nearest.target == np.arange(120)).mean() > 0.95
    assert np.array_equal(unmodified(wrong, actor.clip).clip.points, actor.clip.points[rows])
    everything = {"f2fcam": same(actor.clip), "puppet": wrong, "unmodified": unmodified(wrong, actor.clip)}
    result = compare(actor, everything, actor, held_out=True)
    assert result["ratio_to_unmodified"]["mouth_error"] == pytest.approx(0, abs=1e-3)
    assert result["ratio_to_unmodified"]["puppet_mouth_error"] == pytest.approx(1)
    assert "mouth error 0.00 x" in summary_line(result)
    cross = compare(other, everything, actor, held_out=False)
    assert "ratio_to_unmodified" not in cross and set(cross["driver"]) == {"jitter_mouth_ratio", "jitter_face_ratio"}
    assert compare(actor, everything, actor, held_out=False)["driver"]["jitter_mouth_ratio"] == pytest.approx(1)
    sheet = contact_sheet(actor, everything, actor)
    assert sheet.dtype == np.uint8 and sheet.shape[1] > 1000 and sheet.std() > 20
    json.dumps(plain(result), allow_nan=False)


def test_lost_faces_do_not_spoil_the_rest(actor):
    points = actor.clip.points.copy()
    points[60:70] = np.nan
    gone = Clip(actor.clip.frames, points, actor.clip.index, actor.clip.time_s, FPS)
    found = measure(actor, same(gone), actor, TargetLooks.of(actor), held_out=True)
    assert found["frames"]["without_face"] == 10
    assert found["error"]["mouth_percent"] == pytest.approx(0, abs=1e-4)
    assert found["motion"]["signals"]["mouth_opening"]["r"] == pytest.approx(1)


def test_target_loops_at_its_own_speed(actor):
    """A 50 fps source shows every frame of a 25 fps target twice, forwards and then backwards."""
    fast = Clip(actor.clip.frames, actor.clip.points, actor.clip.index, np.arange(120) / 50, 50.0)
    source, target = looped(fast, actor.clip.picked(np.arange(20)))
    assert np.array_equal(source, np.arange(120))
    assert np.array_equal(target[:5], [0, 0, 1, 1, 2])
    assert target.max() == 19 and target[38:44].tolist() == [19, 19, 18, 18, 17, 17]


def test_mapping_counts_in_the_files(actor):
    driving = Clip(actor.clip.frames, actor.clip.points, np.arange(120) + 500, actor.clip.time_s, FPS)
    frames = [{"source_frame": 500 + i, "target_frame": 119 - i, "status": "tracked"} for i in range(120)]
    found = mapped(actor.clip, frames, driving, actor.clip)
    assert np.array_equal(found.source, np.arange(120)) and np.array_equal(found.target, np.arange(120)[::-1])
    with pytest.raises(InputError, match="119"):
        mapped(actor.clip, frames[:-1], driving, actor.clip)
    with pytest.raises(InputError, match="outside"):
        mapped(actor.clip, [{**frames[0], "source_frame": 3}, *frames[1:]], driving, actor.clip)


def test_tap_keeps_pictures_masks_and_places(actor):
    """Arrays that the renderer reuses are copied; frame numbers of the files become rows; the stored clip is found."""
    tap, rgb, mask = Tap(), np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    still = np.zeros(76, np.float32)
    for i in range(3):
        rgb[:], mask[:] = 10 * i, 100 + i
        tap.observe(Output(rgb, mask, "tracked", 50 + i, 7 - i, 0, still, {}))
    driving = Clip(actor.clip.frames, actor.clip.points, np.arange(120) + 50, actor.clip.time_s, FPS)
    stored = actor.clip.picked(np.arange(5, 20))
    found = tap.rendering(driving, actor.clip, stored)
    assert [int(np.asarray(p)[0, 0, 0]) for p in found.clip.frames] == [0, 10, 20]
    assert [int(m[0, 0]) for m in found.masks] == [100, 101, 102]
    assert found.source.tolist() == [0, 1, 2] and found.target.tolist() == [7, 6, 5]
    assert np.array_equal(found.originals[2], actor.clip.frames[5])
    assert np.isnan(found.clip.points).all() and found.status == ("tracked",) * 3


def test_detected_clip_asks_the_detector_once_a_picture():
    mark = Landmarks(np.ones((478, 2), np.float32), np.zeros(478, np.float32), np.ones(478, np.float32))
    pictures = [np.full((8, 10, 3), level, np.uint8) for level in (10, 20, 30)]
    clip = detected_clip(iter(pictures), 30, FakeDetector([mark, None, mark]))
    assert [int(np.asarray(p)[0, 0, 0]) for p in clip.frames] == [10, 20, 30]
    assert np.isfinite(clip.points[:, 0, 0]).tolist() == [True, False, True]


def test_pictures_of_two_sizes_are_refused():
    store = PictureStore()
    store.append(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match="size"):
        store.append(np.zeros((4, 6, 3), np.uint8))


def test_ranges_that_overlap_hold_nothing_out(actor, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "read_clip", lambda path, range_s=None: actor.clip)
    with pytest.raises(ConfigError, match="overlap"):
        evaluate_video(tmp_path / "clip.mp4", (0, 3), (2, 4), renderer=puppet_renderer)
    with pytest.raises(InputError, match="no picture"):
        evaluate_video(tmp_path / "clip.mp4", (0, 2.4), (60, 70), renderer=puppet_renderer)
    with pytest.raises(InputError, match="less than 2 s"):
        evaluate_video(tmp_path / "clip.mp4", (0, 1), (1, 4), renderer=puppet_renderer)


def test_puppet_on_a_real_clip(clips, tmp_path):
    """Held out on some seconds: the puppet beats the unmodified frame, as the ruler is known to say; files are written."""
    result = evaluate_video(
        clips / "expressions.mp4", (4.0, 7.0), (8.0, 10.5), renderer=puppet_renderer, folder=tmp_path
    )
    assert result["ratio_to_unmodified"]["mouth_error"] < 0.8
    assert result["repeatability"]["mean"]["r"] > 0.8
    assert 0 < result["repeatability"]["mouth_percent"] < result["renderings"]["puppet"]["error"]["mouth_percent"]
    assert result["renderings"]["unmodified"]["picture"]["flicker_ratio"] == pytest.approx(1, abs=0.35)
    saved = json.loads((tmp_path / "evaluation.json").read_text())
    assert saved["summary"] == result["summary"] and saved["kind"] == "held_out"
    assert cv2.imread(str(tmp_path / "evaluation.png")).shape[1] > 1000
