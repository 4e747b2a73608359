"""Endless playback: jumps that nobody sees, source time, to and fro without jumps, idle, and nearest pose."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f2fcam.face.lighting import ambient
from f2fcam.face.rigid import RigidTransform, so3_exp
from f2fcam.face.state import Performance
from f2fcam.playback import (
    Playback,
    PlaybackState,
    advance,
    body_thumbnail,
    build_playback,
    features_of,
    nearest,
)

FPS = 25.0
FRONTAL = np.diag([1.0, -1.0, -1.0])


def clip(angles: np.ndarray, fps: float = FPS) -> Playback:
    """A head that turns by `angles` (radians) over time, and a body that follows."""
    count = len(angles)
    poses = [RigidTransform(FRONTAL @ so3_exp(np.array([0.0, a, 0.0])), np.array([40 * a, 0, 600])) for a in angles]
    shown = [Performance(np.zeros(76, np.float32), pose, ambient()) for pose in poses]
    body = 0.5 + 0.3 * np.sin(angles)[:, None] * np.linspace(-1, 1, 64)[None]
    features = features_of(shown, np.eye(3, 76, dtype=np.float32), body.astype(np.float32))
    gap = np.where(np.arange(count) < count // 2, 1.0, 0.1)
    return build_playback(np.arange(count) / fps, features, gap, np.ones(count, bool))


SWAY = 0.15 * np.sin(2 * np.pi * np.arange(250) / 75)
DRIFT = np.linspace(-0.4, 0.4, 250)


def play(playback: Playback, seconds: float, fps: float = FPS, **options: object) -> np.ndarray:
    state, shown = PlaybackState(), []
    for k in range(int(seconds * fps)):
        state, frame = advance(state, playback, k / fps, **options)
        shown.append(frame)
    return np.array(shown)


def test_a_swaying_head_plays_ten_minutes_without_a_visible_jump():
    playback = clip(SWAY)
    assert playback.endless
    shown = play(playback, 600)
    angle, step = SWAY[shown], np.abs(np.diff(SWAY))
    assert np.abs(np.diff(angle)).max() <= np.percentile(step, 99) * 1.05
    # Motion goes on as it came: no jump reverses it at speed.
    speed = np.diff(angle)
    assert np.abs(np.diff(speed)).max() < 0.5 * step.max()
    assert (np.abs(np.diff(shown)) > 1).sum() > 20
    assert len(set(shown.tolist())) > 120


def test_jumps_are_far_enough_apart_in_the_clip_and_in_time():
    playback = clip(SWAY)
    assert (np.abs(playback.time_s[playback.jump_from] - playback.time_s[playback.jump_to]) >= 0.65).all()
    shown = play(playback, 120)
    cuts = np.flatnonzero(np.abs(np.diff(shown)) > 1)
    assert np.diff(cuts).min() >= 1.0 * FPS


def test_every_jump_leads_to_another():
    playback = clip(SWAY)
    assert (playback.jump_to <= playback.jump_from.max()).all()


def test_a_drifting_head_plays_to_and_fro_between_calm_frames():
    playback = clip(DRIFT)
    assert not playback.endless
    shown = play(playback, 60)
    assert np.abs(np.diff(shown)).max() == 1
    first, last = playback.turning
    assert first < 25 and last >= 225
    assert shown[50:].min() == first and shown.max() == last


@pytest.mark.parametrize("angles", [SWAY, DRIFT])
def test_speed_is_the_clips_in_any_output_rate(angles: np.ndarray):
    playback = clip(angles)
    slow, fast = play(playback, 8, 25), play(playback, 8, 60)
    assert (slow[np.arange(190)] == fast[(np.arange(190) * 60 / 25 + 1e-6).astype(int) + 1]).mean() > 0.97
    assert (np.diff(play(playback, 4, 30)) == 0).sum() == pytest.approx(4 * 5, abs=2)


@given(steps=st.lists(st.floats(0.001, 0.4), min_size=5, max_size=60), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_any_times_give_frames_of_the_clip_and_the_state_is_a_value(steps: list[float], seed: int):
    playback = clip(SWAY)
    state, now = PlaybackState(seed=seed), 100.0
    for step in steps:
        before = state
        state, frame = advance(before, playback, now)
        assert 0 <= frame < len(playback)
        assert advance(before, playback, now) == (state, frame)
        again, same = advance(state, playback, now - 0.5)
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


def test_idle_is_calm_with_a_shut_mouth_and_stays_there():
    playback = clip(np.where(np.arange(250) > 180, 0.02 * np.sin(np.arange(250) / 40), SWAY))
    first, last = playback.idle
    assert first >= 125 and last - first == 24
    state = PlaybackState(frame=int(first) + 3)
    for k in range(400):
        state, frame = advance(state, playback, k / FPS, idle=True)
        assert first <= frame <= last


def test_behind_the_last_jump_it_finds_back():
    playback = clip(SWAY)
    start = PlaybackState(frame=len(playback) - 1)
    state, shown = start, []
    for k in range(500):
        state, frame = advance(state, playback, k / FPS)
        shown.append(frame)
    assert len(set(shown[200:])) > 60


def test_nearest_pose_follows_the_head_smoothly():
    playback = clip(DRIFT)
    state, shown = PlaybackState(), []
    wanted = 0.3 * np.sin(np.arange(200) / 20)
    for k, angle in enumerate(wanted):
        state, frame = nearest(state, playback, FRONTAL @ so3_exp(np.array([0.0, angle, 0.0])), k / FPS)
        shown.append(frame)
    assert np.abs(DRIFT[shown] - wanted).max() < 0.03
    assert np.abs(np.diff(shown)).max() <= 6


def test_playback_is_stored_without_pickle():
    playback = clip(SWAY)
    stored = io.BytesIO()
    np.savez(stored, **playback.to_arrays())
    stored.seek(0)
    with np.load(stored, allow_pickle=False) as arrays:
        again = Playback.from_arrays(dict(arrays))
    assert (play(again, 30) == play(playback, 30)).all()
    with pytest.raises(ValueError):
        Playback.from_arrays(playback.to_arrays() | {"jump_to": playback.jump_to + 1000})


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_shortest_clips_play(count: int):
    shown = play(clip(np.zeros(count)), 2)
    assert set(shown.tolist()) <= set(range(count))


def test_thumbnail_does_not_see_the_mouth():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)
    talking = image.copy()
    talking[70:90, 60:100] = 0
    assert (body_thumbnail(image, (60, 70, 100, 90)) == body_thumbnail(talking, (60, 70, 100, 90))).all()
    assert (body_thumbnail(image, (0, 0, 10, 10)) != body_thumbnail(talking, (0, 0, 10, 10))).any()
