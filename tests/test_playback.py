"""Endless playback: transitions that nobody sees, source time, to and fro without cuts, idle, and nearest pose."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f2fcam.capture.video import VideoFile
from f2fcam.enroll import HEAD, mouth_box
from f2fcam.face.morphable import load_face_model
from f2fcam.face.rigid import so3_exp
from f2fcam.nearest_pose import links_of, nearest
from f2fcam.playback import Playback, PlaybackState, advance, build_playback
from f2fcam.profile_store import open_profile
from f2fcam.speech import SpeechPauses
from f2fcam.target_clip import Loop
from f2fcam.track.landmarks import MediaPipeDetector
from f2fcam.transitions import Comparison, Looks, Transitions, endless, look_at

FPS = 25.0
FRONTAL = np.diag([1.0, -1.0, -1.0])
PX_PER_RADIAN = 200.0


def looks_of(angles: np.ndarray, fps: float = FPS, blurred: tuple[int, ...] = ()) -> Looks:
    """A head that turns by `angles` (radians) over time in front of a still wall."""
    rng = np.random.default_rng(5)
    wall = cv2.GaussianBlur(rng.uniform(0, 255, (240, 320, 3)).astype(np.float32), (0, 0), 5)
    coat = cv2.GaussianBlur(rng.uniform(0, 255, (160, 400, 3)).astype(np.float32), (0, 0), 9)
    wall, coat = (np.clip(128 + 4 * (x - x.mean()), 0, 255).astype(np.uint8) for x in (wall, coat))
    pictures, points = [], rng.uniform([120, 60], [200, 140], (9, 2))
    for angle in angles:
        picture = wall.copy()
        shift = np.array([[1, 0, -80 - PX_PER_RADIAN * angle], [0, 1, 0]])
        picture[80:] = cv2.warpAffine(coat, shift, (320, 160), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        pictures.append(look_at(picture, (150, 100, 170, 110))[0])
    sharpness = np.full(len(angles), 100.0, np.float32)
    sharpness[list(blurred)] = 60.0
    heads = points[None] + PX_PER_RADIAN * angles[:, None, None] * np.array([1.0, 0.0])
    usable = np.ones(len(angles), bool)
    return Looks(np.arange(len(angles)) / fps, np.stack(pictures), heads.astype(np.float32), sharpness, usable)


def clip(angles: np.ndarray, fps: float = FPS) -> Playback:
    """`looks_of` with the mouth open in its first half."""
    count = len(angles)
    rotations = np.stack([FRONTAL @ so3_exp(np.array([0.0, a, 0.0])) for a in angles])
    return build_playback(looks_of(angles, fps), rotations, np.where(np.arange(count) < count // 2, 1.0, 0.1))


SWAY = 0.15 * np.sin(2 * np.pi * np.arange(250) / 75)
DRIFT = np.linspace(-0.4, 0.4, 250) + 0.004 * np.sin(np.arange(250) / 9)


def play(playback: Playback, seconds: float, fps: float = FPS, **options: object) -> np.ndarray:
    state, shown = PlaybackState(), []
    for k in range(int(seconds * fps)):
        state, frame = advance(state, playback, k / fps, **options)
        shown.append(frame)
    return np.array(shown)


def test_a_swaying_head_plays_ten_minutes_forwards_without_a_visible_jump():
    playback = clip(SWAY)
    assert playback.forwards and playback.words.startswith("forwards")
    shown = play(playback, 600)
    angle, step = SWAY[shown], np.abs(np.diff(SWAY))
    assert np.abs(np.diff(angle)).max() <= np.percentile(step, 99) * 1.05
    # Motion goes on as it came: no cut reverses it at speed.
    assert np.abs(np.diff(angle, 2)).max() < 0.5 * step.max()
    assert (np.abs(np.diff(shown)) > 1).sum() > 20
    assert len(set(shown.tolist())) > 120


def test_cuts_are_far_enough_apart_in_the_clip_and_in_time():
    playback = clip(SWAY)
    found = playback.transitions
    assert (np.abs(playback.time_s[found.start] - playback.time_s[found.end]) >= 0.65).all()
    assert (found.size <= 1.0).all()
    cuts = np.flatnonzero(np.abs(np.diff(play(playback, 120))) > 1)
    assert np.diff(cuts).min() >= 1.0 * FPS


def test_a_frame_less_sharp_is_not_cut_to():
    blurred = tuple(range(60, 250, 2))
    looks = looks_of(SWAY, blurred=blurred)
    comparison = Comparison(looks)
    assert (comparison.sizes(np.array([10, 10]), np.array([84, 85])) > 1.0).tolist() == [True, False]


def test_a_change_in_a_corner_is_seen_though_the_picture_as_a_whole_hardly_changes():
    looks = looks_of(SWAY)
    looks.pictures[150:, :6, :6] += 12
    comparison = Comparison(looks)
    # One period later all is as it was, but for the corner.
    sizes = comparison.sizes(np.array([20, 80]), np.array([95, 155]))
    assert sizes[0] <= 1.0 < sizes[1]


def test_a_single_bad_frame_does_not_widen_the_limits():
    looks = looks_of(SWAY)
    before = Comparison(looks).limits
    looks.heads[[30, 90, 180]] += 25.0
    assert Comparison(looks).limits[-1] == pytest.approx(before[-1], rel=0.02)


def test_a_clip_made_as_a_loop_is_played_as_one():
    angles = 0.15 * np.cos(2 * np.pi * np.arange(100) / 100 + 0.4)
    playback = clip(angles)
    assert playback.forwards and len(playback.transitions) == 1 and playback.words == "forwards, by 1 cut"
    shown = play(playback, 60)
    assert np.abs(np.diff(angles[shown], 2)).max() < 2.5 * np.abs(np.diff(angles, 2)).max() + 0.01
    assert set(np.diff(shown).tolist()) - {1} == set((playback.transitions.end - playback.transitions.start).tolist())


def test_the_bundled_profile_plays_on_unseen():
    profile = open_profile("alice")
    playback = Playback.from_arrays(dict(profile.playback))
    shown = play(playback, 600)
    heads = profile.frames.landmarks[:, list(HEAD)]
    moved = np.linalg.norm(heads[1:] - heads[:-1], axis=2).mean(axis=1)
    assert np.linalg.norm(heads[shown[1:]] - heads[shown[:-1]], axis=2).mean(axis=1).max() <= moved.max()
    assert len(set(shown.tolist())) > 0.8 * len(playback)


def test_a_drifting_head_plays_to_and_fro_between_calm_frames_and_says_so():
    playback = clip(DRIFT)
    assert not playback.forwards and playback.words.startswith("to and fro between")
    assert playback.transitions.turns.all()
    shown = play(playback, 120)
    assert np.abs(np.diff(shown)).max() == 1
    assert shown[50:].min() < 40 and shown.max() > 210
    turned = shown[1:-1][np.diff(shown[:-1]) != np.diff(shown[1:])]
    assert set(turned.tolist()) <= {*playback.transitions.start.tolist(), 0, len(playback) - 1}


def test_transitions_that_lead_nowhere_are_left_out():
    time_s = np.arange(100.0)
    # 90 -> 20 and 40 -> 5 lead to each other; 10 -> 95 and the lone turn lead to no other one.
    found = Transitions.of([90, 40, 10, 30], [1, 1, 1, -1], [20, 5, 95, 31], [1, 1, 1, 1], 0.5)
    assert endless(found, time_s).tolist() == [True, True, False, False]
    # A turn at either end of a stretch plays it for ever.
    found = Transitions.of([90, 10, 50], [1, -1, -1], [89, 11, 51], [-1, 1, 1], 0.5)
    assert endless(found, time_s).all()
    assert not endless(found[np.array([1, 2])], time_s).any()


@pytest.mark.parametrize("angles", [SWAY, DRIFT])
def test_speed_is_the_clips_in_any_output_rate(angles: np.ndarray):
    playback = clip(angles)
    slow, fast = play(playback, 8, 25), play(playback, 8, 60)
    assert (slow[np.arange(190)] == fast[(np.arange(190) * 60 / 25 + 1e-6).astype(int) + 1]).mean() > 0.97
    assert (np.diff(play(playback, 4, 30)) == 0).sum() == pytest.approx(4 * 5, abs=2)


def test_like_rates_show_every_frame_once_though_times_are_rounded():
    playback = clip(DRIFT, fps=30)
    jitter = np.random.default_rng(1).uniform(-0.003, 0.003, 1500)
    state, shown = PlaybackState(), []
    for k, off in enumerate(jitter):
        state, frame = advance(state, playback, 0.01 + round(k / 30, 3) + off * (k > 0))
        shown.append(frame)
    assert (np.abs(np.diff(shown)) == 1).mean() > 0.999


@given(steps=st.lists(st.floats(0.001, 0.4), min_size=5, max_size=60), seed=st.integers(0, 5), idle=st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_times_give_frames_of_the_clip_and_the_state_is_a_value(steps: list[float], seed: int, idle: bool):
    playback = clip(SWAY)
    state, now = PlaybackState(seed=seed), 100.0
    for step in steps:
        before = state
        state, frame = advance(before, playback, now, idle)
        assert 0 <= frame < len(playback)
        assert advance(before, playback, now, idle) == (state, frame)
        again, same = advance(state, playback, now - 0.5, idle)
        assert same == frame and again == state
        now += step


def test_a_long_pause_of_the_source_does_not_race_through_the_clip():
    playback = clip(DRIFT)
    state, _ = advance(PlaybackState(), playback, 0.0)
    state, _ = advance(state, playback, 0.5)
    state, frame = advance(state, playback, 3600.0)
    assert abs(frame - 12) < 3
    _, later = advance(state, playback, 3600.5)
    assert 8 <= later - frame <= 14


@pytest.mark.parametrize("angles", [SWAY, DRIFT])
def test_the_idle_stretch_is_reached_without_a_jump_and_left_again(angles: np.ndarray):
    calm = np.where((np.arange(250) > 180) & (np.arange(250) < 225), angles[180] + 0.001 * np.arange(250), angles)
    playback = clip(calm - np.where(np.arange(250) >= 225, calm[225] - calm[224] if angles is SWAY else 0.0, 0.0))
    first, last = playback.idle
    assert first >= 125 and last - first >= 24
    limit = max(np.abs(np.diff(angles)).max() * 1.2, 0.012)
    state, shown = PlaybackState(), []
    for k in range(1500):
        state, frame = advance(state, playback, k / FPS, idle=250 <= k < 1000)
        shown.append(frame)
    quiet = np.array(shown[750:1000])
    assert ((quiet >= first) & (quiet <= last)).all()
    assert len(set(shown[1100:])) > last - first + 10
    cuts = np.flatnonzero(np.abs(np.diff(shown)) > 1)
    assert all(abs(calm[shown[k + 1]] - calm[shown[k]]) <= limit for k in cuts)


def test_the_idle_stretch_is_shown_while_the_actor_says_nothing():
    model, playback = load_face_model(), clip(DRIFT)
    jaw = np.eye(76, dtype=np.float32)[model.expression_names.index("jawOpen")]
    lids = np.eye(76, dtype=np.float32)[model.expression_names.index("eyeBlinkLeft")]
    loop, rng, shown, paused = Loop(playback, SpeechPauses(model)), np.random.default_rng(0), [], []
    watch = SpeechPauses(model)
    for k in range(1500):
        speaking = k < 250 or k >= 1000
        # Syllables or a still mouth; blinks and the tracker's noise in any case; for a while nobody is seen.
        acted = 0.3 * abs(np.sin(k / 3)) * speaking * jaw + (k % 60 < 4) * lids + 0.01 * rng.normal(size=76)
        expression = None if 600 <= k < 700 else acted.astype(np.float32)
        paused.append(watch.pausing(expression, k / FPS))
        shown.append(loop.row(k / FPS, None, expression))
    assert not any(paused[:280]) and all(paused[310:1000]) and not any(paused[1010:])
    first, last = playback.idle
    quiet = np.array(shown[750:1000])
    assert ((quiet >= first) & (quiet <= last)).all()
    assert np.abs(np.diff(shown)).max() == 1


def test_behind_the_last_cut_it_finds_back():
    playback = clip(SWAY)
    state, shown = PlaybackState(frame=len(playback) - 1), []
    for k in range(500):
        state, frame = advance(state, playback, k / FPS)
        shown.append(frame)
    assert len(set(shown[200:])) > 60


def follow(playback: Playback, wanted: np.ndarray, fps: float = FPS) -> np.ndarray:
    state, links, shown = PlaybackState(), links_of(playback), []
    for k, angle in enumerate(wanted):
        state, frame = nearest(state, playback, links, FRONTAL @ so3_exp(np.array([0.0, angle, 0.0])), k / fps)
        shown.append(frame)
    return np.array(shown)


def test_nearest_pose_follows_the_head_smoothly():
    wanted = 0.12 * np.sin(np.arange(400) / 40)
    for angles in (DRIFT, SWAY):
        shown = follow(clip(angles), wanted)
        assert np.abs(angles[shown] - wanted).max() < 0.04
        assert np.abs(np.diff(angles[shown])).max() <= 1.5 * np.abs(np.diff(angles)).max()


def test_of_heads_turned_alike_the_face_that_does_what_is_wanted_is_taken():
    """A smile in the clip is shown for a smile, and reached without a leap; a head turned otherwise is not."""
    playback = clip(SWAY)
    smiling, links = np.sin(np.arange(len(SWAY)) / 11), links_of(playback)
    for wanted in (-1.0, 1.0):
        state, shown = PlaybackState(), []
        for k in range(60):
            state, frame = nearest(state, playback, links, FRONTAL, k / FPS, 4.0 * np.abs(smiling - wanted))
            shown.append(frame)
        assert abs(smiling[shown[-1]] - wanted) < 0.5
        assert np.abs(SWAY[shown]).max() < 0.04
        assert np.abs(np.diff(SWAY[shown])).max() <= 1.5 * np.abs(np.diff(SWAY)).max()


def test_nearest_pose_goes_the_clips_own_way_where_the_actor_leaps():
    playback = clip(DRIFT)
    shown = follow(playback, np.where(np.arange(300) < 60, -0.3, 0.3))
    assert np.abs(np.diff(DRIFT[shown])).max() <= 1.5 * np.abs(np.diff(DRIFT)).max()
    assert np.abs(DRIFT[shown[[59, 299]]] - [-0.3, 0.3]).max() < 0.04
    # An actor who trembles leaves the picture at rest.
    still = follow(playback, 0.1 + 0.002 * np.random.default_rng(2).normal(size=100))
    assert len(set(still.tolist())) == 1


def test_playback_is_stored_without_pickle_in_few_bytes():
    playback = clip(SWAY)
    stored = io.BytesIO()
    np.savez_compressed(stored, **playback.to_arrays())
    assert stored.tell() < 100 * len(playback) + 20_000
    stored.seek(0)
    with np.load(stored, allow_pickle=False) as arrays:
        again = Playback.from_arrays(dict(arrays))
    assert (play(again, 30) == play(playback, 30)).all()
    with pytest.raises(ValueError):
        Playback.from_arrays(playback.to_arrays() | {"end": playback.transitions.end + 1000})


def test_profiles_of_before_play_to_and_fro():
    count, rows = 100, np.array([0, 50], np.int32)
    old = {
        "time_s": np.arange(count) / FPS, "jump_from": rows + 40, "jump_to": rows, "jump_cost": np.ones(2, np.float32),
        "turning": np.array([4, 93], np.int32), "idle": np.array([10, 34], np.int32),
        "features": np.zeros((count, 6943), np.float32), "turn": np.zeros((count, 3), np.float32),
    }  # fmt: skip
    shown = play(Playback.from_arrays(old), 60)
    assert np.abs(np.diff(shown)).max() == 1
    assert shown.max() == 93 and shown[100:].min() == 4


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_shortest_clips_play(count: int):
    shown = play(clip(np.zeros(count)), 2)
    assert set(shown.tolist()) <= set(range(count))


def test_the_small_picture_does_not_see_the_mouth():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)
    talking = image.copy()
    talking[70:90, 60:100] = 0
    assert (look_at(image, (60, 70, 100, 90))[0] == look_at(talking, (60, 70, 100, 90))[0]).all()
    assert (look_at(image, (0, 0, 10, 10))[0] != look_at(talking, (0, 0, 10, 10))[0]).any()
    assert look_at(cv2.GaussianBlur(image, (0, 0), 1), (0, 0, 1, 1))[1] < 0.5 * look_at(image, (0, 0, 1, 1))[1]
    edges = cv2.Laplacian(cv2.extractChannel(image, 1), cv2.CV_16S).astype(np.float64)
    assert look_at(image, (0, 0, 1, 1))[1] == pytest.approx((edges**2).mean(), rel=1e-12)


class Ruler:
    """Motion and colour between frames of a clip by dense optical flow: another measure than the one that chose."""

    def __init__(self, pictures: list[np.ndarray]) -> None:
        self.pictures = [cv2.resize(p, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA) for p in pictures]
        self.grey = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in self.pictures]
        self.flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def __call__(self, first: int, second: int) -> tuple[float, float, float]:
        """Mean and 95th percentile of the motion, mean change of colour."""
        moved = np.linalg.norm(self.flow.calc(self.grey[first], self.grey[second], None), axis=2)
        colour = np.abs(self.pictures[first].astype(np.float32) - self.pictures[second]).mean()
        return float(moved.mean()), float(np.percentile(moved, 95)), float(colour)


@pytest.mark.parametrize(("name", "seconds"), [("kitchen_talk.mp4", 10.0), ("webcam_short.mp4", 20.0)])
def test_ten_minutes_of_a_real_clip_have_no_jump(clips: Path, name: str, seconds: float):
    detector, pictures, seen, heads, times = MediaPipeDetector(), [], [], [], []
    with VideoFile(clips / name, (0.0, seconds), max_side=640) as video:
        for frame in video:
            landmarks = detector.detect(frame.rgb)
            assert landmarks is not None
            pictures.append(frame.rgb.copy())
            seen.append(look_at(frame.rgb, mouth_box(landmarks.xy)))
            heads.append(landmarks.xy[list(HEAD)])
            times.append(frame.timestamp_ns * 1e-9)
    detector.close()
    small, sharp = zip(*seen, strict=True)
    looks = Looks(
        np.array(times), np.stack(small), np.array(heads, np.float32), np.array(sharp, np.float32),
        np.ones(len(times), bool),
    )  # fmt: skip
    playback = build_playback(looks, np.tile(FRONTAL, (len(times), 1, 1)), np.zeros(len(times)))
    shown = play(playback, 600)
    first, second = shown[:-1], shown[1:]
    assert len(set(shown.tolist())) > 0.5 * len(times)

    ruler = Ruler(pictures)
    limit = np.percentile([ruler(k, k + 1) for k in range(len(times) - 1)], 99, axis=0)
    limit = np.maximum(limit, [0.25, 0.5, 0.0])  # the ruler's own noise, quarter pixels
    cuts = sorted({(int(a), int(b)) for a, b in zip(first, second, strict=True) if abs(a - b) > 1})
    for a, b in cuts:
        assert (np.array(ruler(a, b)) <= limit).all(), f"{a} -> {b}"
        assert looks.sharpness[b] >= 0.9 * min(looks.sharpness[a], looks.sharpness[min(a + 1, len(times) - 1)])
    # Where it turns, next to nothing has moved in the frames that come again.
    ways = np.sign(second - first)
    turns = sorted({int(first[k + 1]) for k in np.flatnonzero(ways[1:] * ways[:-1] < 0)} - {b for _, b in cuts})
    for row in turns:
        back = row - 3 if np.isin(row - 1, first) else row + 3
        if 0 <= back < len(times):
            assert ruler(row, back)[0] <= limit[0], row
    assert cuts or len(turns) >= 4


def test_what_was_expected_is_shown_when_it_is_due_within_half_a_frame():
    playback = Playback.to_and_fro(np.arange(50) / 25)
    loop, exact = Loop(playback), Loop(playback)
    rng = np.random.default_rng(0)
    times, hits = np.cumsum(rng.uniform(0.05, 0.09, 200)), 0
    for time_s in times:
        expected, row, due = loop._expected, loop.row(time_s), exact.row(time_s)
        hits += expected == row
        assert abs(row - due) <= 1
        loop.expected()
    assert hits > 150


def test_at_an_even_rate_the_expected_row_is_the_due_one():
    playback = Playback.to_and_fro(np.arange(50) / 25)
    loop, exact = Loop(playback), Loop(playback)
    for k in range(120):
        assert loop.row(k / 30) == exact.row(k / 30)
        loop.expected()
