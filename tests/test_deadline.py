"""The deadline's controller: down at once, up on trial, never to and fro, never silently. Time is an argument, or made up."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f2fcam.deadline import (
    FIRST_WAIT_S,
    FULL,
    LONGEST_WAIT_S,
    TRIAL_S,
    WINDOW,
    Deadline,
    Levels,
    Quality,
    Side,
)
from f2fcam.engine import Engine, EngineSetup, Picture
from f2fcam.frame import Frame
from tests.fake_engine import FakePipeline, FakeSource

BUDGET_S = 1 / 30
LEVELS = Levels(("full", "fewer steps"), ("full", "smaller", "smallest"))

ladders = st.lists(st.floats(0.5, 0.9), min_size=1, max_size=4).map(
    lambda ratios: [float(c) for c in np.cumprod([1.0, *ratios])]
)
"""What each level costs, beside full quality: every one brings at least a tenth."""


def play(
    side: Side, costs: list[float], load: Callable[[float], float], start_s: float, end_s: float, seed: int = 0
) -> list[tuple[float, int]]:
    """Pictures one after the other, each taking its level's cost times the machine's load: (time, level) of each."""
    noise = np.random.default_rng(seed).uniform(0.9, 1.1, 512)
    now, played = start_s, []
    for number in itertools.count():
        if now >= end_s:
            return played
        level = side.level
        share = costs[level] * load(now) * float(noise[number % len(noise)])
        now += max(share, 1.0) * BUDGET_S
        side.add("track", share, level, now)
        played.append((now, level))
    raise AssertionError


def changes(played: list[tuple[float, int]]) -> int:
    levels = [level for _, level in played]
    return sum(a != b for a, b in itertools.pairwise(levels))


@given(ladders, st.floats(1.2, 4.0), st.integers(0, 5))
@settings(deadline=None)
def test_goes_to_the_floor_where_nothing_fits_and_says_so(costs: list[float], over: float, seed: int):
    side = Side(len(costs) - 1)
    load = over / costs[-1]
    played = play(side, costs, lambda now: load, 0.0, (WINDOW + 1) * len(costs) * BUDGET_S * load + 1.0, seed)
    assert side.level == side.floor and side.late and side.cause is not None
    assert all(b >= a for (_, a), (_, b) in itertools.pairwise(played)), "it went up under load"


@given(ladders, st.floats(0.6, 3.0), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_does_not_swing_under_a_steady_load(costs: list[float], load: float, seed: int):
    """However near the border: trials become rare, and few pictures are made at a level that is too slow."""
    side, minutes = Side(len(costs) - 1), 10
    played = play(side, costs, lambda now: load, 0.0, 60.0 * minutes, seed)
    trials = 1 + np.log2(LONGEST_WAIT_S / FIRST_WAIT_S) + 60 * minutes / LONGEST_WAIT_S
    assert changes(played) <= len(costs) + 2 * trials
    settled = [(now, level) for now, level in played if now > 60.0]
    too_slow = [level for _, level in settled if costs[level] * load > 1.0 and level < side.floor]
    assert len(too_slow) < 0.02 * len(settled)


@given(ladders, st.floats(1.2, 4.0), st.floats(0.2, 0.75), st.floats(20.0, 300.0), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_recovers_when_the_machine_is_free_again(
    costs: list[float], busy: float, free: float, until_s: float, seed: int
):
    side = Side(len(costs) - 1)
    played = play(side, costs, lambda now: busy, 0.0, until_s, seed)
    assert any(level for _, level in played)
    longest_s = LONGEST_WAIT_S + side.floor * (LONGEST_WAIT_S + TRIAL_S)
    played = play(side, costs, lambda now: free, until_s, until_s + longest_s, seed)
    assert side.level == 0 and side.cause is None and not side.late
    later = [level for now, level in played if now > until_s + 1.0]  # before, busy pictures are among the last ones
    assert all(b <= a for a, b in itertools.pairwise(later)), "it went down on a free machine"


def test_a_load_that_was_heavy_and_is_gone_is_forgotten_quickly():
    """Trials have failed for minutes, so that the next one is a minute away; at less load it comes at once."""
    costs = [1.0, 0.8, 0.6, 0.45]
    side = Side(3)
    played = play(side, costs, lambda now: 1.65, 0.0, 400.0)
    assert side.level == 3 and changes([one for one in played if one[0] > 300.0]) >= 2
    play(side, costs, lambda now: 0.7, 400.0, 400.0 + 3 * (FIRST_WAIT_S + 1.0) + 1.0)
    assert side.level == 0


def feed(side: Side, share: float, start_s: float, end_s: float) -> float | None:
    """A picture every thirtieth of a second; when the level changed first."""
    for now in np.arange(start_s, end_s, BUDGET_S):
        if side.add("track", share, side.level, float(now)):
            return float(now)
    return None


def test_where_there_is_hardly_room_a_better_level_is_tried_seldom():
    side = Side(1)
    assert feed(side, 1.1, 0.0, 5.0) is not None and side.level == 1
    assert feed(side, 0.9, 5.0, 5.0 + LONGEST_WAIT_S) is None
    assert feed(side, 0.9, 5.0 + LONGEST_WAIT_S, 10.0 + LONGEST_WAIT_S) is not None and side.level == 0


def test_a_trial_that_fails_after_seconds_has_failed():
    side = Side(1)
    feed(side, 1.1, 0.0, 5.0)
    risen = feed(side, 0.7, 5.0, 20.0)
    assert risen is not None and side.level == 0
    assert feed(side, 0.8, risen, risen + 0.6 * TRIAL_S) is None
    fallen = feed(side, 1.1, risen + 0.6 * TRIAL_S, risen + 2 * TRIAL_S)
    assert fallen is not None and side.level == 1
    assert feed(side, 0.7, fallen, fallen + 1.5 * FIRST_WAIT_S) is None
    assert feed(side, 0.7, fallen + 1.5 * FIRST_WAIT_S, fallen + 3 * FIRST_WAIT_S) is not None


def test_one_late_picture_is_no_reason():
    side = Side(3)
    for number in range(100):
        assert not side.add("track", 50.0 if number == 40 else 0.8, 0, number * BUDGET_S)
    assert side.level == 0


def test_what_was_begun_before_a_change_does_not_count():
    side = Side(3)
    for number in range(WINDOW):
        side.add("track", 1.2, 0, number * BUDGET_S)
    assert side.level == 1
    for number in range(WINDOW, 5 * WINDOW):
        side.add("track", 1.2, 0, number * BUDGET_S)
    assert side.level == 1


def test_the_slowest_stage_of_a_side_decides():
    deadline = Deadline(LEVELS, 30.0)
    for number in range(WINDOW):
        deadline.took("retouch", 0.01, FULL, number * BUDGET_S)
        deadline.took("render", 0.04, FULL, number * BUDGET_S)
        deadline.took("publish", 9.0, FULL, number * BUDGET_S)
    assert deadline.quality == Quality(tracking=0, picture=1)
    assert "render took 40 ms of 33 ms" in deadline.report()["summary"]


@settings(deadline=None)
@given(st.sampled_from([10.0, 24.0, 30.0, 60.0]), st.sampled_from([15.0, 30.0]))
def test_a_frame_has_the_time_of_the_slower_of_source_and_output(source_fps: float, output_fps: float):
    deadline = Deadline(LEVELS, output_fps)
    for number in range(50):
        lost = number + 3 * (number > 20)
        deadline.arrived(round(lost * 1e9 / source_fps))
    assert deadline.budget_s == pytest.approx(1 / min(source_fps, output_fps), rel=1e-6)


@given(st.lists(st.floats(0.0, 0.2), min_size=1, max_size=300))
@settings(deadline=None)
def test_below_full_quality_the_report_always_says_what_and_why(times: list[float]):
    deadline, now = Deadline(LEVELS, 30.0), 0.0
    for seconds in times:
        quality = deadline.quality
        now += max(seconds, BUDGET_S)
        deadline.took("track", seconds, quality, now)
        deadline.took("render", 0.7 * seconds, quality, now)
        report, quality = deadline.report(), deadline.quality
        assert (report["summary"] == "full") == (quality == FULL)
        for name, words in (("tracking", LEVELS.tracking), ("picture", LEVELS.picture)):
            side = report[name]
            assert side["level"] == getattr(quality, name)
            if side["level"]:
                assert words[side["level"]] in report["summary"] and side["because"] in report["summary"]
                assert "took" in side["because"]


def test_the_log_tells_each_change_once_and_warns_at_the_floor(caplog: pytest.LogCaptureFixture):
    deadline = Deadline(LEVELS, 30.0)
    with caplog.at_level(logging.INFO, "f2fcam.deadline"):
        for number in range(20 * WINDOW):
            deadline.took("track", 0.05, deadline.quality, number * 0.05)
    told = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in told] == [logging.INFO, logging.WARNING]
    assert "fewer steps" in told[0][1] and "still too slow" in told[1][1] and "50 ms of 33 ms" in told[1][1]


class MadeUpTime(threading.local):
    """Each stage's thread has its own, which only its work moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_stages_of_the_engine_get_cheaper_until_they_fit_and_dearer_again():
    """Tracking at full quality takes two frames' time, and less than one once the machine is free."""
    clock, seen, report = MadeUpTime(), [], {}
    free = threading.Event()

    class Priced(FakePipeline):
        def track(self, frame: Frame, quality: Quality = FULL) -> int:
            cost = 0.8 if quality.tracking or free.is_set() else 2.0
            clock.now += cost * BUDGET_S
            return super().track(frame, quality)

    def publish(picture: Picture) -> None:
        seen.append(picture.quality)
        if picture.quality.tracking and not free.is_set():
            report.update(engine.report()["quality"])
            free.set()
        if free.is_set() and picture.quality == FULL and len(seen) > 3 * WINDOW:
            engine.stop()

    setup = EngineSetup("good", "fake", (64, 48), 30.0)
    deadline = Deadline(FakePipeline(setup).levels, 30.0)
    source = FakeSource(fps=60.0, length=5000)
    engine = Engine(
        lambda: source, Priced(setup), publish, every_frame=True, loop=False, deadline=deadline, clock=clock
    )
    engine.run()
    levels = [quality.tracking for quality in seen]
    assert levels[:WINDOW] == [0] * WINDOW, "it went down before it had seen enough"
    assert 1 in levels and levels[-1] == 0 and len(seen) < 5000
    assert {quality.picture for quality in seen} == {0}, "the other side had nothing to give way for"
    assert report["tracking"]["level"] == 1 and "track took 67 ms" in report["summary"]
    assert engine.report()["quality"]["summary"] == "full"


def test_without_a_deadline_everything_is_at_full_quality_and_says_so():
    seen: list[Quality] = []
    engine = Engine(
        lambda: FakeSource(length=40), FakePipeline(EngineSetup("good", "fake", (64, 48), 30.0)),
        lambda picture: seen.append(picture.quality), every_frame=True, loop=False,
    )  # fmt: skip
    engine.run()
    assert set(seen) == {FULL} and engine.report()["quality"]["mode"] == "full"


@pytest.mark.parametrize(
    ("quality", "every_frame", "adapts"), [("auto", False, True), ("full", False, False), ("auto", True, False)]
)
def test_files_and_who_asks_for_it_stay_at_full_quality(quality: str, every_frame: bool, adapts: bool):
    setup = EngineSetup("good", "fake", (64, 48), 30.0, quality=quality, every_frame=every_frame)
    assert setup.adapts is adapts
