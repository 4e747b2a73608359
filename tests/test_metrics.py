"""Percentiles, rates and stage times; time comes in as an argument."""

from __future__ import annotations

import math

import pytest

from f2fcam.metrics import WINDOW, Durations, Rate, Stages, percentile


def test_percentile_is_the_nearest_rank():
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.95) == 95
    assert percentile([3.0], 0.95) == 3
    assert math.isnan(percentile([], 0.5))


def test_durations_forget_what_is_old():
    durations = Durations()
    assert durations.summary() == {"p50": None, "p95": None}
    for _ in range(WINDOW):
        durations.add(100.0)
    for _ in range(WINDOW):
        durations.add(2.0)
    assert durations.summary() == {"p50": 2.0, "p95": 2.0}


def test_rate_over_the_window():
    rate = Rate(window_s=2.0)
    for tick in range(100):
        rate.add(tick / 25)
    assert rate.per_second(99 / 25) == pytest.approx(25.0, abs=0.01)
    assert rate.per_second(100.0) == 0.0


def test_stage_that_hangs_is_named():
    now = 0.0
    stages = Stages(("track", "render"), clock=lambda: now)
    assert stages.busy() == ("", 0.0)
    with stages.timed("track"):
        now = 1.0
        with stages.timed("render"):
            now = 5.0
            assert stages.busy() == ("track", 5.0)
    assert stages.busy() == ("", 0.0)
    assert stages.summary()["track"]["p50"] == 5000.0
    assert stages.summary()["render"]["p50"] == 4000.0


def test_stage_that_fails_is_not_busy_any_more():
    stages = Stages(("track",))
    with pytest.raises(ZeroDivisionError), stages.timed("track"):
        raise ZeroDivisionError
    assert stages.busy() == ("", 0.0)
