"""The line of a frame: what the output shows when the actor acts, blinks, hides or is gone."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from f2fcam.face.camera import Intrinsics
from f2fcam.face.morphable import load_face_model
from f2fcam.frame import Frame
from f2fcam.reenact import ActorWorkspace, RenderState, RenderWorkspace, State, Workspace, act, show, step
from f2fcam.source_person import nobody
from f2fcam.target_clip import TargetClip
from f2fcam.track import actor as acting
from f2fcam.track.actor import Acted, ActorState, make_actor
from f2fcam.track.fit import FrameFitter
from f2fcam.track.landmarks import FakeDetector, Landmarks, MediaPipeDetector
from f2fcam.track.tracker import Tracked
from tests import enrolled

STEP_S = 1 / enrolled.FPS


@pytest.fixture(scope="module")
def watched() -> list[tuple[Frame, Landmarks | None]]:
    """The actor's film with what the detector finds."""
    detector = MediaPipeDetector()
    seen = [(frame, detector.detect(frame.rgb)) for frame in enrolled.frames(enrolled.ACTOR)[:12]]
    detector.close()
    assert all(found is not None for _, found in seen)
    return seen


@pytest.fixture(scope="module")
def somebody() -> acting.Actor:
    model = load_face_model()
    target = nobody(Intrinsics.guess(enrolled.SIZE, enrolled.SIZE))
    return make_actor(model, nobody(Intrinsics.guess(enrolled.SIZE, enrolled.SIZE)), target)


def played(somebody, watched, hidden: range, count: int = 24, blank_from: int | None = None) -> list[Acted]:
    """The film over and over, without a face during `hidden`, and another shot from `blank_from` on."""
    frames = [replace(watched[k % 6][0], index=k, timestamp_ns=round(k * STEP_S * 1e9)) for k in range(count)]
    found = [None if k in hidden else watched[k % 6][1] for k in range(count)]
    if blank_from is not None:
        stripes = np.zeros_like(frames[0].rgb)
        stripes[:, ::2] = 255
        stripes[: len(stripes) // 2] = 250
        frames = [replace(f, rgb=stripes) if f.index >= blank_from else f for f in frames]
    state, workspace, out = ActorState(), ActorWorkspace(FakeDetector(found), somebody), []
    for frame in frames:
        state, acted, _ = act(state, frame, workspace)
        out.append(acted)
    return out


def test_hold_then_ease_then_back(somebody, watched):
    gone = range(6, 20)
    acted = played(somebody, watched, gone)
    assert [a.status for a in acted[:6]] == ["tracked"] * 6
    assert acted[5].strength == 1.0
    missing_s = {k: (k - 5) * STEP_S for k in gone}
    for k in gone:
        expected = "held" if missing_s[k] <= acting.HOLD_S else ("lost" if acted[k].strength > 0 else "idle")
        assert acted[k].status == expected
        assert acted[k].pose is None
    strengths = [acted[k].strength for k in gone]
    assert all(s == 1.0 for k, s in zip(gone, strengths) if missing_s[k] <= acting.HOLD_S)
    assert all(a >= b for a, b in itertools.pairwise(strengths))
    assert strengths[-1] == 0.0
    over = [k for k in gone if missing_s[k] > acting.HOLD_S + acting.EASE_S + STEP_S]
    assert over and all(acted[k].status == "idle" for k in over)
    # The expression that fades is the last one that was seen.
    assert all(np.array_equal(acted[k].expression, acted[5].expression) for k in gone)
    assert [a.status for a in acted[20:]] == ["tracked"] * 4
    assert 0 < acted[20].strength < acted[21].strength <= 1.0


def test_after_a_cut_nothing_is_held(somebody, watched):
    acted = played(somebody, watched, range(6, 20), count=14, blank_from=6)
    assert acted[6].tracked.cut
    assert acted[6].status == "lost"
    assert acted[6].strength < 1.0
    ended = 6 + int(np.ceil(acting.EASE_S / STEP_S))
    assert acted[ended].status == "idle" and acted[ended].strength == 0.0


def test_idle_before_anybody_was_seen(somebody, watched):
    acted = played(somebody, watched, range(3), count=5)
    assert [a.status for a in acted[:3]] == ["idle"] * 3
    assert acted[0].expression is None and acted[0].strength == 0.0
    assert acted[3].status == "tracked"


def test_a_covered_mouth_is_an_obstacle_and_a_blink_is_not(somebody, watched, monkeypatch):
    covered: list[tuple[str, ...]] = [()] * 4 + [("eyelid_left", "eyelid_right")] * 2 + [("mouth_area", "chin")] * 12
    real, frames = acting.track_step, iter(covered)

    def step_with_obstacle(*arguments):
        state, tracked = real(*arguments)
        names = next(frames)
        return state, replace(tracked, status="occluded", occluded=names) if names else tracked

    monkeypatch.setattr(acting, "track_step", step_with_obstacle)
    acted = played(somebody, watched, range(0), count=18)
    assert [a.status for a in acted] == ["tracked"] * 6 + ["occluded"] * 12
    assert acted[6].strength == 1.0 and acted[-1].strength == 0.0
    assert np.array_equal(acted[-1].expression, acted[5].expression)


def test_filter_is_calm_at_rest_and_fast_in_motion():
    rest = np.full(76, 0.3, np.float32)
    noise = np.random.default_rng(0).normal(0, 0.01, (60, 76)).astype(np.float32)
    for calm, most in ((0.0, 0.9), (1.0, 0.4)):
        value, speed = acting._one_euro(None, None, rest, 1 / 30, calm)
        assert np.array_equal(value, rest)
        trembling = []
        for n in noise:
            value, speed = acting._one_euro(value, speed, rest + n, 1 / 30, calm)
            trembling.append(value)
        assert np.std(trembling) < most * np.std(noise)
        opened, _ = acting._one_euro(value, speed, rest + 0.5, 1 / 30, 0.0)
        assert (opened > 0.3 + 0.5 * 0.95).all()


@pytest.mark.parametrize("unseen", [(), (4,), (3, 4, 5)])
def test_new_estimate_of_the_actor_does_not_jump(somebody, watched, unseen):
    """Neither when the exchange falls on a picture that shows the actor nor when it falls on one that does not."""
    model = load_face_model()
    other = make_actor(model, replace(somebody.person, neutral=np.full(76, 0.08, np.float32)), somebody.person)
    frames = [replace(watched[0][0], index=k, timestamp_ns=round(k * STEP_S * 1e9)) for k in range(16)]
    workspace = ActorWorkspace(FakeDetector([None if k in unseen else watched[0][1] for k in range(16)]), somebody)
    state, shown = ActorState(), []
    for k, frame in enumerate(frames):
        workspace.actor = other if k >= 4 else somebody
        state, acted, _ = act(state, frame, workspace)
        shown.append(acted.expression)
    points = [model.geometry0(np.zeros(80, np.float32), expression) for expression in shown]
    moved_mm = [float(np.linalg.norm(b - a, axis=1).mean()) for a, b in itertools.pairwise(points)]
    far_mm = float(np.linalg.norm(points[-1] - points[2], axis=1).mean())
    back = max(unseen, default=3)
    assert far_mm > 0.1
    assert moved_mm[back] < 0.01, "the first picture with the new estimate"
    assert max(moved_mm[3:]) < 0.6 * far_mm


def acted_with(expression: np.ndarray | None, strength: float, time_s: float = 0.0) -> Acted:
    return Acted("tracked", expression, strength, expression, None, Tracked("tracked"), 0, round(time_s * 1e9))


@pytest.fixture(scope="module")
def target():
    opened = TargetClip(enrolled.profile())
    yield opened
    opened.close()


def test_without_an_actor_the_frame_is_untouched(target):
    render = RenderWorkspace(load_face_model(), target.profile)
    frame = target.frame(3)
    _, output = show(RenderState(), acted_with(None, 0.0), frame, render)
    assert np.array_equal(output.rgb, frame.view.rgb)
    assert not output.mask.any()
    assert output.target_index == target.profile.frames.index[3]


def test_a_target_frame_without_a_good_fit_is_not_called_tracked(target):
    frame = replace(target.frame(3), usable=False)
    expression = frame.view.performance.expression + 0.3
    render = RenderWorkspace(load_face_model(), target.profile)
    _, output = show(RenderState(), acted_with(expression, 1.0), frame, render)
    assert output.status == "idle"
    assert np.array_equal(output.rgb, frame.view.rgb) and not output.mask.any()


def test_same_expression_gives_the_target_frame(target):
    render, state = RenderWorkspace(load_face_model(), target.profile), RenderState()
    for row in np.flatnonzero(target.usable)[::6]:
        frame = target.frame(int(row))
        state, output = show(
            state, acted_with(frame.view.performance.expression, 1.0, row / enrolled.FPS), frame, render
        )
        outside = output.mask == 0
        assert np.array_equal(output.rgb[outside], frame.view.rgb[outside])
        apart = (output.rgb.astype(float) - frame.view.rgb)[~outside]
        error = float((apart**2).mean()) if apart.size else 0.0
        assert 10 * np.log10(255**2 / max(error, 1e-9)) >= 50


def test_another_expression_changes_the_face_only(target):
    render = RenderWorkspace(load_face_model(), target.profile)
    row = int(np.flatnonzero(target.usable)[0])
    frame = target.frame(row)
    expression = frame.view.performance.expression.copy()
    expression[load_face_model().expression_names.index("jawOpen")] += 0.5
    _, output = show(RenderState(), acted_with(expression, 1.0), frame, render)
    changed = (output.rgb != frame.view.rgb).any(axis=2)
    assert changed.any() and not changed[output.mask == 0].any()
    x0, y0, x1, _y1 = target.profile.frames.boxes[row]
    rows, columns = np.nonzero(changed)
    assert y0 < rows.mean() and x0 < columns.mean() < x1


def test_rendering_needs_neither_detector_nor_solver(target, monkeypatch):
    """The target's fit comes from the profile (`DECISIONS` 21)."""

    def refuse(*_, **__):
        raise AssertionError("the target must not be tracked while it is acted")

    for name in ("fit", "__init__"):
        monkeypatch.setattr(FrameFitter, name, refuse)
    monkeypatch.setattr(MediaPipeDetector, "__init__", refuse)
    render, state = RenderWorkspace(load_face_model(), target.profile), RenderState()
    expression = target.profile.person.neutral.copy()
    for row in np.flatnonzero(target.usable)[:3]:
        state, output = show(state, acted_with(expression, 1.0, float(row)), target.frame(int(row)), render)
        assert output.mask.any()


def test_step_is_act_and_show(somebody, watched, target):
    model = load_face_model()
    pair = make_actor(model, somebody.person, target.profile.person)
    found = [found for _, found in watched[:3]]
    whole = Workspace(ActorWorkspace(FakeDetector(found), pair), RenderWorkspace(model, target.profile))
    acting_side, showing_side = ActorWorkspace(FakeDetector(found), pair), RenderWorkspace(model, target.profile)
    state, actor_state, render_state = State(), ActorState(), RenderState()
    for k, (frame, _) in enumerate(watched[:3]):
        state, output = step(state, frame, target.frame(k), whole)
        actor_state, acted, _ = act(actor_state, frame, acting_side)
        render_state, halves = show(render_state, acted, target.frame(k), showing_side)
        assert np.array_equal(output.rgb, halves.rgb) and np.array_equal(output.mask, halves.mask)
        assert output.status == halves.status == "tracked"
        assert {"landmarks", "track", "mouth", "render"} <= set(output.timings)
