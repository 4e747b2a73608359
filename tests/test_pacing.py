"""Send times and back-off, without a clock."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from f2fcam.pacing import Backoff, Clock, Pacer


def play(output_fps: float, input_fps: float, seconds: float) -> tuple[list[float], int]:
    """Times at which pictures go out while new ones come in, and how many of them were new."""
    pacer, now, fresh, new = Pacer(output_fps, 0.0), 0.0, False, 0
    arrivals = iter([i / input_fps for i in range(1, int(seconds * input_fps) + 1)])
    following = next(arrivals)
    sent = []
    while now < seconds:
        wake = now + pacer.wait_s(now, fresh=fresh)
        if following <= wake:
            now, fresh = following, True
            following = next(arrivals, float("inf"))
        else:
            now = wake
        if pacer.due(now, fresh=fresh):
            pacer.sent(now)
            sent.append(now)
            new += fresh
            fresh = False
    return sent, new


@pytest.mark.parametrize("input_fps", [5.0, 15.0, 24.0, 25.0, 29.97, 30.0, 60.0, 144.0])
def test_a_reader_gets_the_rate_whatever_comes_in(input_fps: float):
    sent, new = play(30.0, input_fps, 20.0)
    assert len(sent) == pytest.approx(600, abs=6)
    assert new >= 0.9 * min(600, 20 * input_fps)


def test_gaps_stay_short():
    sent, _ = play(30.0, 10.0, 10.0)
    assert max(later - earlier for earlier, later in pairwise(sent)) < 2.1 / 30


def test_a_new_picture_at_the_output_rate_never_waits():
    pacer = Pacer(30.0, 0.0)
    for tick in range(1, 200):
        now = tick / 30
        assert pacer.due(now, fresh=True)
        pacer.sent(now)


def test_no_burst_after_a_stall():
    pacer = Pacer(30.0, 0.0)
    sent = 0
    while pacer.due(60.0, fresh=False):
        pacer.sent(60.0)
        sent += 1
    assert sent == 1


@given(st.integers(1, 40))
def test_backoff_doubles_up_to_its_limit(tries: int):
    backoff = Backoff(first_s=0.5, most_s=30.0)
    waits = [backoff.failed(0.0) for _ in range(tries)]
    assert waits[0] == 0.5 and all(wait <= 30.0 for wait in waits)
    assert all(later == min(30.0, 2 * earlier) for earlier, later in pairwise(waits))


def test_backoff_endures_a_night_of_failures():
    backoff = Backoff(first_s=0.25, most_s=30.0)
    assert [backoff.failed(0.0) for _ in range(5000)][-1] == 30.0 and backoff.failures == 5000


def test_backoff_forgets_after_good_work():
    backoff = Backoff(first_s=0.5, calm_s=30.0)
    assert [backoff.failed(0.0), backoff.failed(1.0), backoff.failed(31.0)] == [0.5, 1.0, 0.5]


def test_clock_plays_a_file_at_its_pace_and_loops_without_a_jump():
    clock = Clock()
    step = 40_000_000
    first = [clock.place(index * step) for index in range(5)]
    clock.loop()
    second = [clock.place(index * step) for index in range(5)]
    placed = first + second
    assert placed == [index * step for index in range(10)]
    assert clock.wait_s(placed[0], now=100.0) == 0.0
    assert clock.wait_s(placed[3], now=100.0) == pytest.approx(0.12)
    assert clock.wait_s(placed[3], now=101.0) == pytest.approx(-0.88)
